"""Objects of a simulated sky through the pixels: images, fits, store, release, scores; prints Markdown.

    python -m benchmarks.studies.repeatability [FOLDER]   FOLDER: build/repeatability by default; files that exist are kept
    python -m benchmarks.studies.repeatability --why r1   fits that know more and more of the truth, and which errors remain

Twelve images of the same stars, four in each of g, r and i, dithered and turned, of different seeing, sky and transparency. Half
of the field is crowded, half sparse. `crowdsource generic` fits each, `crowdsource healpix` brings the catalogs together.
"""
import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from benchmarks.shared import COMMAND, ROOT, table, timed
from benchmarks.studies.repeatability_scores import Sky, bright_row, floors, mean_tables, repeatability, uses_table
from crowdsource import FitConfig
from crowdsource.engine.loop import fit
from crowdsource.psf.model import FieldPSF
from crowdsource.simulate import SimulationConfig, simulate_field, star_stamps
from crowdsource.simulate.files import write_simulation

SHAPE, SCALE, CENTRE = (1024, 1024), 0.27, (200.3, -11.7)
BOX = 59
"""A PSF sums to 1 in a box of so many pixels: what lies beyond is no part of a star's flux, nor of the zero point."""
CROWDED, SPARSE = 13000, 800
"""Stars above 5 sigma of r in a whole half of an image, at a depth of `DEPTH`."""
DEPTH, BRIGHTEST, FAINTEST, SLOPE = 21.3, 12.2, 22.6, 0.32
"""Magnitudes of r; stars in a magnitude go as 10^(slope r)."""
BRIGHT = 300, 13.5, 18.
"""So many more stars are all over the sky, as many of each magnitude between these: there would be few in the sparse half."""
EDGE = 25.
"""Width of the step between the halves, pixels."""
REACH = 680.
"""Stars lie so far from the middle of the sky along both axes, pixels."""
MJD, SEED = 59000., 20
SEEING = dict(g=(3.8, 5.1, 4.4, 6.8), r=(3.5, 4.3, 6.0, 4.9), i=(3.6, 4.0, 5.5, 4.6))
"""FWHM of each image, pixels."""
LEVEL = dict(g=(150., 220., 180., 260.), r=(300., 420., 260., 500.), i=(600., 900., 750., 500.))
"""Sky of each image, counts."""
ZERO = dict(g=(28.0, 27.8, 28.1, 27.9), r=(27.6, 27.4, 27.7, 27.5), i=(27.6, 27.3, 27.5, 27.7))
"""Zero point of each image."""


def truth_of_sky():
    """Places on the tangent plane (pixels from the middle) and magnitudes g, r, i of all stars."""
    rng = np.random.default_rng(SEED)
    more = 10**(SLOPE*(FAINTEST-DEPTH))
    n = rng.poisson(CROWDED*more*(2*REACH)**2*2/np.prod(SHAPE))
    x, y = rng.uniform(-REACH, REACH, (2, n))
    part = SPARSE/CROWDED+(1-SPARSE/CROWDED)/(1+np.exp(np.clip(x/EDGE, -50, 50)))
    low, high = 10**(SLOPE*BRIGHTEST), 10**(SLOPE*FAINTEST)
    r = np.log10(rng.uniform(low, high, n))/SLOPE
    more, brightest, faintest = BRIGHT
    x, y = (np.r_[v, rng.uniform(-REACH, REACH, more)] for v in (x, y))
    r, part = np.r_[r, rng.uniform(brightest, faintest, more)], np.r_[part, np.ones(more)]
    color = np.clip(rng.normal(0.7, 0.3, n+BRIGHT[0]), 0.1, 1.6)
    keep = rng.random(len(r)) < part
    return x[keep], y[keep], dict(g=(r+color)[keep], r=r[keep], i=(r-0.4*color)[keep])


def frame(name, band, k):
    """The configuration and the world coordinates of an image."""
    rng = np.random.default_rng([SEED, *name.encode()])
    c = SimulationConfig(shape=SHAPE, fwhm=SEEING[band][k], sky=LEVEL[band][k], zeropoint=ZERO[band][k], pixel_scale=SCALE,
                         nebulosity=0.02*LEVEL[band][k], ellipticity=tuple(rng.uniform(-0.04, 0.04, 2)),
                         fwhm_gradient=tuple(rng.uniform(-0.03, 0.03, 2)), position=CENTRE, seed=int(rng.integers(1 << 30)))
    angle, (x, y) = np.radians(rng.uniform(-4, 4)), rng.uniform(-50, 50, 2)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), CENTRE
    wcs.wcs.crpix = (SHAPE[1]+1)/2+x, (SHAPE[0]+1)/2+y
    wcs.wcs.cd = np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])*SCALE/3600
    return c, wcs


def flat():
    """World coordinates of the sky's tangent plane, whose pixels have the images' size."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), CENTRE, (1, 1)
    wcs.wcs.cdelt = -SCALE/3600, SCALE/3600
    return wcs


def simulated(name):
    """An image, and the part of a star's light that lies in the box in which a PSF sums to 1."""
    band, k = name[0], int(name[1:])-1
    c, wcs = frame(name, band, k)
    x, y, mags = truth_of_sky()
    px, py = wcs.all_world2pix(*flat().all_pix2world(x, y, 0), 0)
    near = (np.abs(px-511.5) < 512+5*c.fwhm) & (np.abs(py-511.5) < 512+5*c.fwhm)
    made = simulate_field(c, wcs, stars=(px[near], py[near], 10**(0.4*(c.zeropoint-mags[band][near]))))
    share = float(star_stamps(made.psf.at([511.5], [511.5]), np.zeros(1), np.zeros(1), BOX).sum())
    made.header.update({"MAGZERO": c.zeropoint+2.5*np.log10(share), "FILTER": band, "MJD-OBS": MJD+31*k+"gri".index(band)})
    return made, share


def make_image(path):
    """Write an image with its noise map, flags and truth, if it is not there."""
    if not path.exists():
        write_simulation(simulated(path.stem)[0], path)


def command(*words):
    """Run the command; CPU seconds and MiB."""
    used = timed([str(COMMAND), *map(str, words), "--quiet"])
    if used is None:
        raise RuntimeError(" ".join(map(str, words))+": failed")
    return used


def fit_image(image):
    """Fit an image in a process of its own, if that is not done; what it cost."""
    out, cost = image.with_suffix(".cat.fits"), image.with_suffix(".json")
    if not cost.exists():
        used = command("generic", f"{image}:IMAGE", "--ivar", f"{image}:IVAR", "--dq", f"{image}:DQ", "--out", out, "--overwrite")
        cost.write_text(json.dumps(used))
    return json.loads(cost.read_text())


def assembled(folder, images):
    """A store of all catalogs with a release; rows of costs."""
    store = folder/"store"
    costs = []
    if not (store/"releases"/"one"/"release.json").exists():
        command("healpix", "init", store, "--bands", "g", "r", "i")
        for words in (["ingest", store, *(i.with_suffix(".cat.fits") for i in images)], ["assemble", store, "--release", "one"]):
            costs.append([words[0], *command("healpix", *words)])
        (folder/"store.json").write_text(json.dumps(costs))
    return store, json.loads((folder/"store.json").read_text())


def costs_table(images, fit_costs, store_costs):
    """What images are like, and what all cost."""
    rows = []
    for image, (cpu, peak) in zip(images, fit_costs):
        c, _ = frame(image.stem, image.stem[0], int(image.stem[1:])-1)
        truth = Table.read(image, hdu="TRUTH")
        inside = (np.abs(truth["x"]-511.5) < 512) & (np.abs(truth["y"]-511.5) < 512)
        rows.append([image.stem, f"{c.fwhm:.1f}", f"{c.fwhm*SCALE:.2f}", f"{c.sky:.0f}",
                     f"{c.zeropoint-2.5*np.log10(truth.meta['FLUX5']):.2f}", int((inside & (truth["snr"] > 5)).sum()),
                     fits.getval(image.with_suffix(".cat.fits"), "NAXIS2", "CAT"), f"{cpu:.1f}", f"{peak:.0f}"])
    lines = [table(["image", "FWHM px", "arcsec", "sky", "5 sigma mag", "stars above", "detections", "CPU s", "MB"], rows), ""]
    return "\n".join(lines+[f"{what}: {cpu:.1f} CPU s, {peak:.0f} MB" for what, cpu, peak in store_costs])


def why(names):
    """Errors of bright stars in fits of an image that know more and more of the truth; a table."""
    rows, config = [], FitConfig()
    fixed = replace(config, psf=replace(config.psf, refit=False))
    for name in names:
        made, share = simulated(name)
        image, psf = made.image(), FieldPSF.of(made.psf)
        bright = [made.truth["snr"] > low for low in (5, 2)]
        kinds = {"free": fit(image), "true PSF": fit(image, psf, fixed), "true PSF, and true sky under all stars":
                 fit(image, psf, replace(fixed, sky=replace(config.sky, keep=True)), sky=made.sky),
                 **{f"true PSF, and places of stars above {low} sigma": fit(image, psf, fixed, sources=made.truth[s]["x", "y"])
                    for low, s in zip((5, 2), bright)}}
        rows += [[name, kind, half, *bright_row(result, made, share, half)] for kind, result in kinds.items()
                 for half in ("crowded", "sparse")]
    return table(["image", "fit", "half", "stars", "offset mmag", "scatter mmag", "error mmag", "pull", "pull of dflux_joint",
                  "sky too high", "PSF's area too large %"], rows)


def main():
    """Make what is not there, and score it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT/"build"/"repeatability")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--why", nargs="+", metavar="IMAGE")
    arguments = parser.parse_args()
    if arguments.why:
        sys.stdout.write(why(arguments.why)+"\n")
        return
    folder = arguments.folder
    images = [folder/f"{b}{k+1}.fits" for b in SEEING for k in range(4)]
    folder.mkdir(parents=True, exist_ok=True)
    # not in this process: the memory of a process counts as that of those that it starts
    with ProcessPoolExecutor(arguments.processes) as pool:
        list(pool.map(make_image, images))
    with ThreadPoolExecutor(arguments.processes) as pool:
        costs = list(pool.map(fit_image, images))
    store, store_costs = assembled(folder, images)
    sky = Sky.read(store, "one", truth_of_sky(), flat())
    for part in (costs_table(images, costs, store_costs), uses_table(sky), repeatability(sky), floors(sky), *mean_tables(sky)):
        sys.stdout.write(part+"\n\n")


if __name__ == "__main__":
    main()
