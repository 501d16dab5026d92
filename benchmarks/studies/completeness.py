"""Artificial stars against the true stars of the same simulated field, cut-outs against whole images, errors made right.

python -m benchmarks.studies.completeness [--side 512] [--stars 1500] [--fields 4] [--whole-runs N | --local-runs 5]
python -m benchmarks.studies.completeness --bench FOLDER NAME ... [--whole-runs N | --local-runs 5]

With --bench fields as `benchmarks.peers.fields` writes them to FOLDER.
"""
import argparse
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import binom_conf_interval
from astropy.table import Table, vstack

import crowdsource as cs
from benchmarks.peers.fields import SLOPE
from benchmarks.shared import table
from crowdsource.psf.base import pixel
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.validate.completeness.local import LocalFit
from crowdsource.validate.completeness.plan import StarOptions, star_plan
from crowdsource.validate.completeness.runs import scene_of
from crowdsource.validate.completeness.trial import one_run
from crowdsource.validate.evaluate import FLUX_FACTOR, match_stars, robust_scatter

SNR = 3, 4, 5, 7, 10, 15, 20, 50, 100
"""Bounds of bins of the signal to noise of an isolated star."""
PULL_SNR = 5, 7, 10, 20, 50, 200
SCALED = 50
"""Rows of so many errors tell what a catalog's unit is of the truth's."""


def plain(catalog, *names):
    """Columns as plain arrays."""
    return {n: np.asarray(getattr(catalog[n], "value", catalog[n])) for n in names}


def on_good(good, x, y):
    """Which positions lie on pixels that are used."""
    x, y, (ny, nx) = pixel(x), pixel(y), good.shape
    on = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    on[on] = good[y[on], x[on]]
    return on


@dataclass(frozen=True, eq=False, kw_only=True)
class Field:
    """A simulated image, and what is true of it.

    Attributes
    ----------
    image : crowdsource.core.image.Image
    stars : dict of str to ndarray
        x, y, flux.
    flux5 : float
        Flux of an isolated star of five times its error.
    slope : float
        True stars go as flux^-slope.
    """

    image: object
    stars: dict
    flux5: float
    slope: float

    def snr(self, flux):
        """Signal to noise of isolated stars."""
        return 5*np.asarray(flux)/self.flux5

    def used(self, stars):
        """Which stars are on pixels that are used, as artificial ones are."""
        return on_good(self.image.good, stars["x"], stars["y"])


def simulated(side, number, seed):
    """A field of our own simulator."""
    sim = simulate_field(SimulationConfig(shape=(side, side), stars=float(number), seed=seed, nebulosity=0., saturated_stars=0,
                                          brightest=2000.))
    return Field(image=sim.image(), stars=plain(sim.truth, "x", "y", "flux"), flux5=sim.truth.meta["FLUX5"],
                 slope=sim.config.slope)


def of_bench(folder, name):
    """A field of the comparison with other programs."""
    data, ivar, dq = (fits.getdata(Path(folder)/f"{name}_{kind}.fits") for kind in ("im", "ivar", "dq"))
    truth = Table.read(Path(folder)/f"{name}_truth.fits")
    return Field(image=cs.Image.from_arrays(data, ivar=ivar, dq=dq), stars=plain(truth, "x", "y", "flux"),
                 flux5=float(np.median(5*truth["flux"]/truth["snr5"])), slope=SLOPE)


def true_stars(field, catalog):
    """Which true stars a catalog has, and the row of each."""
    stars, rows = field.stars, plain(catalog, "x", "y", "flux", "dflux")
    rows = {n: v[rows["flux"] > 0] for n, v in rows.items()}
    match = match_stars(stars, rows)
    ratio = np.where(match >= 0, rows["flux"][match], np.inf)/stars["flux"]
    return stars, rows, match, np.abs(np.log(ratio)) < np.log(FLUX_FACTOR)


def against_truth(fields):
    """Parts that are found, by artificial stars and of the true ones, of (field, result, completeness) of several fields."""
    for low, high in zip(SNR[:-1], SNR[1:]):
        of_true, of_artificial, weights = [], [], []
        for field, result, found in fields:
            stars, _, _, right = true_stars(field, result.catalog)
            snr, added = field.snr(stars["flux"]), field.snr(found.table["flux"])
            of_true.append(right[field.used(stars) & (snr > low) & (snr <= high)])
            some = (added > low) & (added <= high)
            of_artificial.append(np.asarray(found.table["found"])[some])
            # artificial stars have as many in each interval of magnitude; true ones go as flux^-slope
            weights.append(added[some]**(1-field.slope))
        true, artificial, weight = (np.concatenate(v) for v in (of_true, of_artificial, weights))
        share, effective = np.average(artificial, weights=weight), weight.sum()**2/(weight**2).sum()
        bounds = binom_conf_interval([true.sum(), share*effective], [len(true), effective], interval="jeffreys")
        error = np.hypot(*(np.diff(bounds, axis=0)[0]/2))
        yield [f"{low}-{high}", len(true), f"{100*true.mean():.1f}", len(artificial), f"{100*share:.1f}",
               f"{100*(share-true.mean()):+.1f}", f"{100*error:.1f}"]


def pulls(fields):
    """Pulls of the true stars before and after errors are multiplied by the factors of the artificial ones."""
    values = []
    for field, result, found in fields:
        stars, rows, match, _ = true_stars(field, result.catalog)
        hit = match >= 0
        row, true = {n: v[match[hit]] for n, v in rows.items()}, stars["flux"][hit]
        # catalogs and truths refer to circles of their own
        scale = np.median((row["flux"]/true)[(row["flux"] > SCALED*row["dflux"])])
        pull = (row["flux"]-scale*true)/row["dflux"]
        after = pull/found.dflux_factor(row["flux"], found.density_of(row))
        values.append((field.snr(row["flux"]), pull, after))
    snr, before, after = (np.concatenate(v) for v in zip(*values))
    for low, high in zip(PULL_SNR[:-1], PULL_SNR[1:]):
        some = (snr > low) & (snr <= high)
        yield [f"{low}-{high}", some.sum(), f"{robust_scatter(before[some]):.2f}", f"{robust_scatter(after[some]):.2f}",
               f"{1.17/np.sqrt(max(some.sum(), 1)):.2f}"]


def local_against_whole(image, result, runs):
    """The same stars fitted in cut-outs and in whole images: cost, and what differs."""
    scene = scene_of(image, result, partial(cs.fit))
    plan = star_plan(image, scene.catalog, scene.fwhm, StarOptions())
    start = time.process_time()
    whole = vstack([one_run(scene, plan, k) for k in range(runs)])
    middle = time.process_time()
    local = LocalFit(scene, result)
    cut = vstack([local(plan, k) for k in range(runs)])
    end = time.process_time()
    most = star_plan(image, scene.catalog, scene.fwhm, StarOptions(local=True))
    as_usual = local(most, 0)
    last = time.process_time()
    both = np.asarray(whole["found"] & cut["found"])
    change = np.asarray((cut["flux_found"]-whole["flux_found"])/whole["dflux"])[both]
    return [[len(whole), f"{1000*(middle-start)/len(whole):.1f}", f"{1000*(end-middle)/len(cut):.2f}",
             f"{(end-middle)/(middle-start):.3f}", f"{(last-end)/len(as_usual)/((middle-start)/len(whole)):.3f}",
             whole["found"].sum(), cut["found"].sum(), np.sum(whole["found"] != cut["found"]), f"{np.median(change):+.3f}",
             f"{robust_scatter(change):.2f}", f"{np.median((cut['dflux']/whole['dflux'])[both]):.2f}"]]


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, value in (("side", 512), ("stars", 1500), ("runs", 4), ("fields", 4), ("whole-runs", 0),
                        ("local-runs", 5), ("seed", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--bench", nargs="+", metavar=("FOLDER", "NAME"), help="fields of the comparison with other programs")
    o = parser.parse_args()
    how = dict(runs=o.whole_runs) if o.whole_runs else dict(runs=o.local_runs, local=True)
    fields = ([of_bench(o.bench[0], name) for name in o.bench[1:]] if o.bench else
              [simulated(o.side, o.stars, seed) for seed in range(o.seed, o.seed+o.fields)])
    done = []
    for field in fields:
        result = cs.fit(field.image)
        if not done and o.runs:
            heads = ("stars", "ms a star, whole", "ms, cut-outs", "ratio", "ratio, as many as have room", "found, whole",
                     "found, cut-outs", "differ", "flux, median change/dflux", "scatter", "dflux ratio")
            sys.stdout.write(table(heads, local_against_whole(field.image, result, o.runs))+"\n\n")
            sys.stdout.flush()
        done.append((field, result, cs.completeness(field.image, result=result, layout="random", purity=0, **how)))
    sys.stdout.write(table(("S/N", "true stars", "found %", "artificial stars", "found %", "difference", "error"),
                           against_truth(done))+"\n\n")
    sys.stdout.write(table(("S/N", "rows", "pull", "after", "error"), pulls(done))+"\n")


if __name__ == "__main__":
    main()
