"""What the WISE command gives on simulated tiles; prints Markdown.

    python -m benchmarks.studies.wise tiles [FOLDER] [--psf-dir DIR] [--only DENSITY]   cost and scores at three densities
    python -m benchmarks.studies.wise forced [FOLDER] [--psf-dir DIR] [--only DENSITY]  W2 at W1's positions
    python -m benchmarks.studies.wise many [FOLDER] [--psf-dir DIR]                     memory for 500,000 sources in the plane
    python -m benchmarks.studies.wise render [--psf-dir DIR]    error of the rendered PSF between pixels

Tiles are simulated into FOLDER, build/wise when not given, where they are not there. Each fit is a process of its own.
"""
import argparse
import os
import sys
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS
from crowdsource.instruments.wise import Wise
from crowdsource.instruments.wise.atlas import SIDE
from crowdsource.instruments.wise.bits import FLAGS
from crowdsource.instruments.wise.names import TRUTH
from crowdsource.instruments.wise.psf import PSF_VARIABLE, SAMPLES, polar_model, profile_over
from crowdsource.instruments.wise.simulation import BANDS, DENSITIES, FINER, NORM, PixelGrid
from crowdsource.instruments.wise.simulation import SAMPLES as TRUE_SAMPLES
from crowdsource.instruments.wise.writing import tile_header
from scipy.spatial import cKDTree

from benchmarks.shared import ROOT, run, table
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.evaluate import compare, robust_scatter

TILES = {"pole": "1866p257", "mid-latitude": "2700p605", "plane": "2657m288"}
"""At Galactic latitudes 85, 30 and 0.6 degrees; the second at 84 degrees of ecliptic latitude, where the scans turn fast."""
ECLIPTIC_POLE = "2709p666"
BINS = (5., 7., 10., 20., 50., np.inf)
FORCED_BINS, LONELY = (0., 1., 2., 3., 5., 10., 30., 100., np.inf), 2.
"""True S/N of the forced stars, and how far from any other they lie, pixels."""
MANY = 500_000


def tile(folder, density):
    """Folder of the simulated tile of a density, made if it is not there."""
    place = folder/density
    if not (place/TRUTH.format(coadd=TILES[density])).exists():
        place.mkdir(parents=True, exist_ok=True)
        cpu, peak, *_ = run("simulate", place/TILES[density], "--instrument", "wise", "--stars", DENSITIES[density], "--quiet")
        sys.stdout.write(f"{density} ({TILES[density]}) simulated: {cpu:.0f} CPU s, {peak:.0f} MB\n\n")
        sys.stdout.flush()
    return place


def score(place, coadd, band, catalog):
    """The comparison of a catalog with the truth, away from saturated pixels."""
    truth = Table.read(place/TRUTH.format(coadd=coadd), hdu=f"W{band}")
    exposure = Wise().open(coadd, band=band, dir=str(place))
    image = exposure.read(exposure.tasks()[0])
    return compare(Table.read(catalog, hdu="CAT"), truth, avoid=image.dq & FLAGS.crowdsat > 0, bin_edges=BINS)


def tiles(arguments):
    """Fit each tile and band, and score it."""
    costs, lines = [], []
    for density in arguments.only or DENSITIES:
        place, coadd = tile(arguments.folder, density), TILES[density]
        for band in BANDS:
            out = place/f"w{band}.cat.fits"
            cpu, peak, *_ = run("wise", coadd, band, "--dir", place, "--out", out, "--overwrite", "--quiet")
            c = score(place, coadd, band, out)
            rows = len(Table.read(out, hdu="CAT"))
            costs.append([density, f"W{band}", rows, f"{cpu:.0f}", f"{peak:.0f}", f"{1e6*cpu/rows:.0f}"])
            lines.append([density, f"W{band}", c.stars, *(f"{b['found']:.0f}" for b in c.bins), f"{c.spurious:.1f}",
                          f"{c.bias:+.2f}", f"{c.pull:.2f}", f"{c.position_pull:.2f}"])
            sys.stdout.write(f"{costs[-1]} {lines[-1]}\n")
            sys.stdout.flush()
    sys.stdout.write("\n"+table(["tile", "band", "sources", "CPU s", "peak MB", "CPU us per source"], costs)+"\n\n")
    head = ["tile", "band", "stars", *(f"found % at S/N {low:g}-{high:g}" for low, high in zip(BINS[:-1], BINS[1:])),
            "spurious %", "bias % above S/N 10", "pull", "position pull"]
    sys.stdout.write(table(head, lines)+"\n")


def forced(arguments):
    """W2 forced at the positions of W1's catalog: whether signed fluxes are right, and their errors."""
    lines = []
    for density in arguments.only or ["pole", "mid-latitude"]:
        place, coadd = tile(arguments.folder, density), TILES[density]
        first, second = place/"w1.cat.fits", place/"w2-forced.cat.fits"
        if not first.exists():
            run("wise", coadd, 1, "--dir", place, "--out", first, "--quiet")
        cpu, peak, *_ = run("wise", coadd, 2, "--dir", place, "--force", f"{first}:CAT", "--out", second, "--overwrite",
                            "--quiet")
        lines += [[density, f"{cpu:.0f}", f"{peak:.0f}", *row] for row in _forced_rows(place, coadd, second)]
    head = ["tile", "CPU s", "peak MB", "true W2 S/N", "rows", "median of flux-truth, sigma", "mean, sigma", "pull"]
    sys.stdout.write(table(head, lines)+"\n")


def _forced_rows(place, coadd, catalog):
    """Signed errors of forced fluxes by the true S/N of the one star that is near."""
    rows, truth = Table.read(catalog, hdu="CAT"), Table.read(place/TRUTH.format(coadd=coadd), hdu="W2")
    x, y, flux, error = (np.asarray(rows[n], dtype=float) for n in ("x", "y", "flux", "dflux"))
    tree = cKDTree(np.c_[truth["x"], truth["y"]])
    near = tree.query_ball_point(np.c_[x, y], LONELY)
    # a row with two stars near holds the light of both
    one = np.flatnonzero(np.array([len(n) == 1 for n in near]) & (error > 0) & np.isfinite(flux))
    star = np.array([near[k][0] for k in one])
    snr, pull = np.asarray(truth["snr"])[star], (flux[one]-np.asarray(truth["flux"])[star])/error[one]
    for low, high in zip(FORCED_BINS[:-1], FORCED_BINS[1:]):
        p = pull[(snr > low) & (snr <= high)]
        if len(p) >= 20:
            yield [f"{low:g}-{high:g}", len(p), f"{np.median(p):+.2f}", f"{p[np.abs(p) < 6].mean():+.2f}",
                   f"{robust_scatter(p):.2f}"]


def many(arguments):
    """Memory of a fit at 500,000 positions of the plane's tile: the brightest stars of the truth."""
    place, coadd = tile(arguments.folder, "plane"), TILES["plane"]
    truth = Table.read(place/TRUTH.format(coadd=coadd), hdu="W1")
    inside = (np.abs(truth["x"]-SIDE/2) < SIDE/2) & (np.abs(truth["y"]-SIDE/2) < SIDE/2)
    truth[inside]["x", "y"][:MANY].write(place/"many.fits", overwrite=True)
    cpu, peak, *_ = run("wise", coadd, 1, "--dir", place, "--force", place/"many.fits", "--out", place/"many.cat.fits",
                        "--overwrite", "--quiet")
    sys.stdout.write(f"{len(Table.read(place/'many.cat.fits', hdu='CAT'))} sources: {cpu:.0f} CPU s, {peak:.0f} MB\n")


def render(_):
    """Stamps of the fit's PSF against those of the true one, at random positions between pixels."""
    rows = []
    for coadd in (*TILES.values(), ECLIPTIC_POLE):
        pixels = PixelGrid(WCS(tile_header(coadd, (SIDE, SIDE), 1)), (SIDE, SIDE))
        for band in BANDS:
            model = polar_model(os.environ.get(PSF_VARIABLE), band)
            fit = FieldPSF.of(profile_over(model, pixels, SAMPLES, NORM), norm_size=NORM)
            true = FieldPSF(profile_over(model, pixels, TRUE_SAMPLES, NORM, FINER), (SIDE, SIDE), np.zeros((1, 1, 1)), NORM,
                            TRUE_SAMPLES)
            x, y = np.random.default_rng(1).uniform(30, SIDE-30, (2, 500))
            a, b = (p.render(x, y, NORM).astype(np.float64) for p in (true, fit))
            share = (a*b).sum(axis=(1, 2))/(b*b).sum(axis=(1, 2))-1
            rows.append([coadd, f"W{band}", f"{fit.fwhm():.2f}", f"{np.abs(a-b).max()/a.max():.1e}",
                         f"{np.abs((a-b).sum(axis=(1, 2))).max():.1e}", f"{share.mean():+.1e}", f"{share.std():.1e}"])
    head = ["tile", "band", "FWHM, px", "largest error, of the peak", "of the flux in the box", "of a fitted flux: mean",
            "rms"]
    sys.stdout.write(table(head, rows)+"\n")


def main():
    """Run one study."""
    studies = dict(tiles=tiles, forced=forced, many=many, render=render)
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=list(studies))
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT/"build"/"wise")
    parser.add_argument("--psf-dir", help=f"of the PSF's models; ${PSF_VARIABLE}, or the built-in ones, when not given")
    parser.add_argument("--only", nargs="+", choices=list(DENSITIES))
    arguments = parser.parse_args()
    if arguments.psf_dir:
        os.environ[PSF_VARIABLE] = arguments.psf_dir
    studies[arguments.study](arguments)


if __name__ == "__main__":
    main()
