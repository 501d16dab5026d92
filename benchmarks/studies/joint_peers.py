"""Light curves of a joint fit, of the published program on the same list, and of single images; prints Markdown.

    python -m benchmarks.studies.joint_peers PYTHON IMAGE ...

PYTHON is that of an environment with the published program, whose module has this one's name. Options of the instrument are
those of `joint.py`. All light curves are brought onto the scale of the joint fit, by maps of the same degree.
"""
import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from benchmarks.shared import table
from benchmarks.studies.joint import (
    MANY,
    at_objects,
    columns,
    curves_of,
    magnitude_bins,
    on_one_scale,
    read,
    rms,
    scatter,
    text,
)
from crowdsource import fit
from crowdsource.joint.frame import powers
from crowdsource.joint.lightcurves import MAP_DEGREE, ROUNDS
from crowdsource.joint.loop import fit_joint

BRIGHT = 3
"""Stars of so many magnitudes from the brightest tell the scale of an image, but for those `CLIP` times the scatter off."""
CLIP = 3.
FORCED = Path(__file__).parent.parent/"peers"/"forced.py"


def forced(python, images, result, folder):
    """Catalogs of the published program: of each image, at the places of the objects that a joint fit puts on it."""
    paths = []
    for image, ours, name, fwhm in zip(images, result.fits, result.names, result.images["fwhm"]):
        places = columns(ours.catalog, "xy")
        hdus = fits.HDUList([fits.PrimaryHDU(image.data), fits.ImageHDU(image.ivar), fits.BinTableHDU(Table(places))])
        hdus[0].header["FWHM"] = float(fwhm.value)
        paths.append(folder/f"{name}.fits")
        hdus.writeto(paths[-1])
    out = folder/"out"
    out.mkdir()
    # without variables that would bring in this module instead
    subprocess.run([python, "-E", FORCED, *paths, out], check=True, stdout=subprocess.DEVNULL)
    return [Table.read(out/p.name) for p in paths]


def mapped(result, fluxes, like, stars):
    """Fluxes of other catalogs on the scale of a joint fit: a polynomial of second degree on each image, from bright stars."""
    place = [2*(v-v.min())/np.ptp(v)-1 for v in columns(result.objects, "xy").values()]
    terms, out = powers(*place, MAP_DEGREE), np.full(fluxes.shape, np.nan)
    for k, ratio in enumerate(on_one_scale(fluxes, like, stars)/like):
        off = np.where(stars, ratio-1, np.nan)
        for _ in range(ROUNDS):
            good = np.abs(off) < CLIP*scatter(off)
            here = terms@np.linalg.lstsq(terms[good], ratio[good], rcond=None)[0]
            off = np.where(stars, ratio-here, np.nan)
        out[k] = ratio*like[k]/here
    return out


def rows_of(result, catalogs):
    """Cells by bin of magnitude of the joint fit and others, by name: of all objects, and of those that all have."""
    flux, _ = curves_of(result)
    others = {name: at_objects(result, found) for name, found in catalogs.items()}
    seen = {name: np.isfinite(values).sum(axis=0) >= MANY*len(flux) for name, values in others.items()}
    bins, rows = magnitude_bins(result, flux), []
    bright = np.any(bins[:BRIGHT], axis=0)
    others = {name: mapped(result, values, flux, bright & seen[name]) for name, values in others.items()}
    both = np.all(list(seen.values()), axis=0)
    for b, s in enumerate(bins[:5]):
        t = s & both
        rows.append([b+1, f"{s.sum()}, {t.sum()}", text(rms(flux[:, s])), text(rms(others["forced"][:, s])),
                     text(rms(flux[:, t])), *(text(rms(values[:, t])) for values in others.values())])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--gain", type=float, default=1.9)
    parser.add_argument("--saturation", type=float, default=60000.)
    parser.add_argument("--readnoise", type=float, default=5.)
    args = parser.parse_args()
    images = [read(path, args) for path in args.images]
    names = [f"{k:03d}" for k in range(len(images))]
    start = time.process_time()
    result = fit_joint(images, names=names)
    together = time.process_time()-start
    by_name = dict(zip(names, images))
    images = [by_name[name] for name in result.names]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        published = forced(args.python, images, result, Path(folder))
        elsewhere = time.perf_counter()-start
    catalogs = dict(forced=published, alone=[fit(image).catalog for image in images])
    print(f"{len(images)} images; {together:.1f} CPU seconds together, {elsewhere:.1f} s of the published program\n")
    print(table(["magnitude from the brightest", "objects, those that all have", "together", "published, same list",
                 "together, of those", "published, of those", "alone, of those"], rows_of(result, catalogs)))


if __name__ == "__main__":
    main()
