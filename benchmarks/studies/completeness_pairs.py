"""Artificial stars in two real images of the same stars: do their fluxes repeat as those of the real stars do? Prints Markdown.

python -m benchmarks.studies.completeness_pairs FIRST SECOND [--gain G --readnoise R --saturation S] [--runs 5] [--local]

Each image is fitted by itself. The same artificial stars are put into both, each time by itself as well. What both images share,
faint neighbours that none of them shows, is in the error of a flux and not in the difference of two.
"""
import argparse
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np

import crowdsource as cs
from benchmarks.shared import table
from benchmarks.studies.completeness import PULL_SNR, SCALED, on_good, plain
from crowdsource.api.fitting import divided
from crowdsource.api.images import as_image, image_options
from crowdsource.validate.completeness.plan import StarOptions
from crowdsource.validate.completeness.runs import ImageRuns, scene_of
from crowdsource.validate.evaluate import robust_scatter

PAIR_RADIUS, MOST_VARIABLE = 1., 0.1
"""Stars of two images are the same within so many pixels; such are no variables that differ by less than this (logarithm)."""
IMAGE_OPTIONS = "gain", "readnoise", "saturation"
COLUMNS = "x", "y", "flux", "dflux", "good"


@dataclass(frozen=True, eq=False)
class Moved:
    """The stars of another image's plan where this image shows them.

    Attributes
    ----------
    plan : StarPlan
    good : ndarray of bool
        Pixels of the other image that are used.
    place : callable
        Gives positions on this image of those on the other one.
    scale : float
        Flux on this image of a star of unit flux on the other one.
    """

    plan: object
    good: np.ndarray
    place: object
    scale: float

    @property
    def seed(self):
        """Of the noise of their photons."""
        return self.plan.seed+1

    @property
    def local(self):
        """Whether cut-outs are fitted."""
        return self.plan.local

    def stars(self, run, good):
        """As of `StarPlan`."""
        stars = self.plan.stars(run, self.good)
        x, y = self.place(stars["x"], stars["y"])
        use = on_good(good, x, y)
        return dict(x=x[use], y=y[use], flux=self.scale*stars["flux"][use])


@dataclass(frozen=True, eq=False)
class Frame:
    """A real image, its own fit and its artificial stars."""

    result: object
    runs: ImageRuns

    @classmethod
    def of(cls, name, options):
        """An image of a file."""
        of_image, of_fit = divided(options, image_options(name, None))
        image = as_image(name, instrument=None, detector=None, **of_image)
        fit = partial(cs.fit, **of_fit)
        result = fit(image)
        return cls(result, ImageRuns(scene_of(image, result, fit), result))

    def measured(self, stars, plan, asked):
        """What became of the stars of a plan, or of those of another image's: a `Completeness`."""
        return self.runs.measured([self.runs.star_run(stars, k) for k in range(asked.runs)], plan, asked)[""]

    def rows(self, found):
        """Columns of the catalog, and the factor of each row's error."""
        row = plain(self.result.catalog, *COLUMNS)
        return row | dict(factor=found.dflux_factor(row["flux"], found.density_of(row)))


def fitted_plane(x, y, values, use):
    """A function of position: the plane through values."""
    def design(x, y):
        return np.c_[np.ones(len(x)), x, y]
    found = np.linalg.lstsq(design(x[use], y[use]), values[use], rcond=None)[0]
    return lambda x, y: design(x, y) @ found


def repeats(names, options, how):
    """Differences of two images' fluxes over their errors: of real stars, and of artificial ones that both images have."""
    first, second = (Frame.of(name, options) for name in names)
    asked = StarOptions(layout="random", **how)
    pairs = cs.match(first.result.catalog, second.result.catalog, radius=PAIR_RADIUS)
    plan = first.runs.plan(asked)
    found = first.measured(plan, plan, asked)
    one, two = (taken(plain(f.result.catalog, *COLUMNS), pairs[n]) for f, n in ((first, "row_1"), (second, "row_2")))
    snr, ratio = one["flux"]/one["dflux"], np.log(np.abs(two["flux"]/one["flux"]))
    bright = snr > SCALED
    same = bright & (np.abs(ratio-np.median(ratio[bright])) < MOST_VARIABLE)
    # transparency and flat fields: a plane through the ratios of bright stars
    scale = fitted_plane(one["x"], one["y"], ratio, same)
    to_x, to_y = (fitted_plane(one["x"], one["y"], two[n], bright) for n in "xy")
    moved = Moved(plan, first.runs.scene.image.good, lambda x, y: (to_x(x, y), to_y(x, y)), float(np.exp(np.median(ratio[same]))))
    again = second.measured(moved, plan, asked)
    for name, completeness in zip(names, (found, again)):
        sys.stdout.write(f"{name}\n\n"+"\n".join(completeness.lines())+"\n\n")
    one, two = taken(first.rows(found), pairs["row_1"]), taken(second.rows(again), pairs["row_2"])
    keep = (one["flux"] > 0) & (two["flux"] > 0) & (one["good"] > 0) & (two["good"] > 0)
    factor = np.exp(scale(one["x"], one["y"]))
    difference = two["flux"]/factor-one["flux"]
    before, after = (np.hypot(a*one["dflux"], b*two["dflux"]/factor) for a, b in ((1, 1), (one["factor"], two["factor"])))
    added, other = found.table, again.table
    x, y = moved.place(np.asarray(added["x"]), np.asarray(added["y"]))
    near = [np.flatnonzero((other["run"] == run) & (np.hypot(other["x"]-a, other["y"]-b) < 1e-6))
            for run, a, b in zip(added["run"], x, y)]
    both = np.array([len(n) == 1 and bool(m) and bool(other["matched"][n[0]]) for n, m in zip(near, added["matched"])])
    added, other = added[both], other[[n[0] for n, use in zip(near, both) if use]]
    shift = np.asarray(other["flux_found"]/moved.scale-added["flux_found"])
    of_added = shift/np.hypot(np.asarray(added["dflux"]), np.asarray(other["dflux"])/moved.scale)
    added_snr, good = np.asarray(added["flux_found"]/added["dflux"]), np.asarray(added["good"] & other["good"])
    for low, high in zip(PULL_SNR[:-1], PULL_SNR[1:]):
        some, new = keep & (snr > low) & (snr <= high), good & (added_snr > low) & (added_snr <= high)
        yield [f"{low}-{high}", some.sum(), *(with_error((difference/error)[some]) for error in (before, after)), new.sum(),
               with_error(of_added[new]), *(with_error(pull_of(t, new)) for t in (added, other))]


def taken(columns, rows):
    """Some rows."""
    return {n: v[np.asarray(rows)] for n, v in columns.items()}


def pull_of(stars, some):
    """Pulls of some artificial stars."""
    return np.asarray((stars["flux_found"]-stars["flux"])/stars["dflux"])[some]


def with_error(values):
    """Robust scatter and its error as text."""
    scatter = robust_scatter(values)
    return f"{scatter:.2f} +- {1.17*scatter/np.sqrt(max(len(values), 1)):.2f}"


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs=2, metavar="IMAGE")
    for name in IMAGE_OPTIONS:
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--local", action="store_true")
    o = parser.parse_args()
    options = {n: getattr(o, n) for n in IMAGE_OPTIONS if getattr(o, n) is not None}
    heads = ("S/N", "pairs", "pull of the difference", "after", "artificial pairs", "pull of the difference", "pull, first image",
             "pull, second image")
    sys.stdout.write(table(heads, repeats(o.names, options, dict(runs=o.runs, local=o.local)))+"\n")


if __name__ == "__main__":
    main()
