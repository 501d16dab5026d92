"""The rows that are `good`: how many are stars, and how many stars are lost with the others; prints Markdown.

python -m benchmarks.studies.selection truth FIELD ...      fields with a truth, named as benchmarks.peers.fields writes them
python -m benchmarks.studies.selection repeats FIRST SECOND [--gain G --readnoise R --saturation S]
rows of one image that another one of the same stars repeats
"""
import argparse

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

import crowdsource as cs
from benchmarks.shared import table
from crowdsource.validate.evaluate import unexplained

SNR = (-np.inf, 3), (3, 4), (4, 5), (5, 7), (7, 10), (10, 20), (20, np.inf)
EDGE = 12
BRIGHTEST = 20
RINGS = (4, 8), (8, 12), (12, 16), (16, 24), (24, 40)
"""Distances from the nearest of the brightest stars, pixels."""
RADIUS = 1.


def columns(catalog):
    """What is needed of a catalog, as plain arrays."""
    return {n: np.asarray(getattr(catalog[n], "value", catalog[n])) for n in ("x", "y", "flux", "dflux", "flags", "good")}


def inside(rows, shape):
    """Rows away from the edge."""
    ny, nx = shape
    x, y = rows["x"], rows["y"]
    return (x > EDGE) & (x < nx-1-EDGE) & (y > EDGE) & (y < ny-1-EDGE) & np.isfinite(rows["flux"])


def lines(rows, right, counted, label):
    """Table lines: by signal to noise rows, those that are right, good ones, and those of them that are right."""
    snr = rows["flux"]/rows["dflux"]
    for low, high in (*SNR, (-np.inf, np.inf)):
        here = counted & (snr > low) & (snr <= high)
        good = here & rows["good"]
        bounds = "all" if low == -high else f"{low:g}-{high:g}" if np.isfinite(low) and np.isfinite(high) else \
            f"< {high:g}" if np.isfinite(high) else f"> {low:g}"
        yield [label, bounds, here.sum(), percent(right, here), good.sum(), percent(right, good),
               percent(rows["good"], here & right)]


def percent(which, of):
    return f"{100*which[of].mean():.1f}" if of.any() else ""


def against_truth(names):
    """Purity and completeness on fields whose stars are known."""
    out = []
    for name in names:
        data, ivar, dq = (fits.getdata(f"{name}_{plane}.fits") for plane in ("im", "ivar", "dq"))
        truth = Table.read(f"{name}_truth.fits")
        rows = columns(cs.fit(cs.Image.from_arrays(data, ivar, dq=dq)).catalog)
        counted = inside(rows, data.shape) & (rows["flux"] > 0)
        positive = {n: v[rows["flux"] > 0] for n, v in rows.items()}
        star = np.zeros(len(counted), bool)
        star[rows["flux"] > 0] = ~unexplained(truth, positive)
        out += lines(rows, star, counted, name.rsplit("/", 1)[-1])
    return table(["field", "S/N", "rows", "stars %", "good", "stars among them %", "of the stars good %"], out)


def repeated(names, options):
    """Rows of one image that the other one repeats."""
    first, second = (cs.fit(name, **options) for name in names)
    rows, other = columns(first.catalog), columns(second.catalog)
    pairs = cs.match(first.catalog, second.catalog, radius=RADIUS)
    found = np.zeros(len(rows["x"]), bool)
    found[np.asarray(pairs["row_1"])] = True
    # where the second image shows the sky of the first: its matched rows' outline
    shift = [np.median(other[n][pairs["row_2"]]-rows[n][pairs["row_1"]]) for n in ("x", "y")]
    ny, nx = first.image.shape
    there = inside({**rows, "x": rows["x"]+shift[0], "y": rows["y"]+shift[1]}, second.image.shape)
    counted = inside(rows, (ny, nx)) & there
    out = table(["image", "S/N", "rows", "repeated %", "good", "repeated among them %", "of the repeated good %"],
                lines(rows, found, counted, "first"))
    return out, rings(rows, found, counted, (ny, nx))


def rings(rows, found, counted, shape):
    """Rows around the brightest stars: their density, and how many are repeated."""
    bright = np.argsort(-rows["flux"])[:BRIGHTEST]
    tree = cKDTree(np.c_[rows["x"], rows["y"]][bright])
    distance = tree.query(np.c_[rows["x"], rows["y"]])[0]
    y, x = np.mgrid[:shape[0], :shape[1]]
    of_pixels = tree.query(np.c_[x.ravel(), y.ravel()])[0]
    on = (rows["x"] > -0.5) & (rows["x"] < shape[1]-0.5) & (rows["y"] > -0.5) & (rows["y"] < shape[0]-0.5)
    mean, out = on.sum()/of_pixels.size, []
    for low, high in RINGS:
        here = on & (distance > low) & (distance <= high)
        area = ((of_pixels > low) & (of_pixels <= high)).sum()
        out.append([f"{low}-{high}", here.sum(), f"{here.sum()/area/mean:.2f}", percent(found, here & counted),
                    f"{(here & rows['good']).sum()/area/mean:.2f}", percent(found, here & counted & rows["good"])])
    return table(["distance, px", "rows", "density over the mean", "repeated %", "of good ones", "repeated %"], out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("truth", "repeats"))
    parser.add_argument("names", nargs="+")
    for option in ("gain", "readnoise", "saturation"):
        parser.add_argument(f"--{option}", type=float)
    args = parser.parse_args()
    if args.kind == "truth":
        print(against_truth(args.names))
        return
    options = {n: getattr(args, n) for n in ("gain", "readnoise", "saturation") if getattr(args, n) is not None}
    for part in repeated(args.names, options):
        print(part, "\n")


if __name__ == "__main__":
    main()
