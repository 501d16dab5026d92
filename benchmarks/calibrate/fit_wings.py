"""Fit the parameters of DECam's static wings to the published pictures of them; prints the residuals as Markdown.

    python -m benchmarks.calibrate.fit_wings FOLDER [--out data/decam_wings.toml]

FOLDER holds psf_{u,g,r,i,z,Y}_deconv_mod.fits.gz. A model has a narrow core of two and a halo of four circular Moffat
profiles, and eight diffraction spikes: three alike and a brighter one along the diagonals, a pair along each axis. Its
parameters are written; no pixel is.
"""
import argparse
import logging
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.optimize import least_squares
from scipy.signal import fftconvolve

from benchmarks.shared import table
from crowdsource.psf.base import MODEL_ERROR
from crowdsource.psf.grid import area_width
from crowdsource.psf.profiles.halo import Halo
from crowdsource.psf.profiles.moffat import pixel_moffat, profile_stamp

log = logging.getLogger(__name__)
BANDS = "ugrizY"
SIDE, NORM, STAMP = 511, 59, 39
RINGS = 0, 2, 5, 10, 20, 40, 80, 160, 255
SEEING = 4.
"""FWHM in pixels of the Moffat profile that makes a star of a picture."""
NOISE = 1e-4
"""Of such a star, in a pixel, in units of its peak."""
FAINT = 3e-9
"""Share of light in a pixel below which the pictures, cut off somewhere, tell nothing."""
NARROWEST = 5.
"""FWHM in pixels from which a profile is part of the halo and not of the star's core."""
START_CORE = (0.6, 2., 4.), (0.25, 3., 4.)
START_MOFFATS = (0.05, 9., 5.), (0.05, 16., 3.), (0.01, 40., 2.), (0.003, 150., 2.)
DIAGONALS, BRIGHT, ALONG_X, ALONG_Y = (45., 135., -45.), (-135.,), (0., 180.), (90., -90.)
START_SPIKES = {DIAGONALS: (3e-4, 4., 0.01, 2., 20., 2.5), BRIGHT: (1e-3, 4., 0.01, 2., 20., 2.5),
                ALONG_X: (1e-4, 2., 0.1, 4., 20., 2.2), ALONG_Y: (1e-4, 2., 0.1, 4., 20., 2.2)}
LOWEST = [*2*[1e-6, 1., 1.5], *4*[1e-6, NARROWEST, 1.15], *2*[1e-9, 1., 1e-4, 1., 3., 1.05], *2*[1e-9, 1., 0.05, 1., 3., 1.05]]
HIGHEST = [*2*[1.5, NARROWEST, 20.], *4*[0.5, 900., 15.], *2*[0.03, 9., 0.05, 8., 100., 5.], *2*[0.1, 9., 0.2, 8., 100., 5.]]
CORE = 6.
"""Within so many pixels residuals count three times: there are few pixels and most of the light."""
ALL_WITHIN, THINNED = 40, 12000
"""Pixels of the radius within which all are fitted, and how many of the others, as many in each octave."""


def published(folder, band):
    """A filter's picture, stored transposed, with sum 1 over its central 59x59 pixels; shape (511, 511), float64."""
    picture = fits.getdata(Path(folder)/f"psf_{band}_deconv_mod.fits.gz").T.astype(np.float64)
    return picture/middle(picture, NORM).sum()


def middle(picture, size):
    """The central size x size pixels."""
    m = picture.shape[0]//2
    return picture[m-size//2:m+size//2+1, m-size//2:m+size//2+1]


def radius(size):
    """Distance of each pixel from the middle, shape (size, size), pixels."""
    at = np.arange(size)-size//2
    return np.hypot(at[None, :], at[:, None])


def parts(p):
    """Rows of the core's and the halo's Moffat profiles, and of the spikes, from the logarithms of the fit's parameters."""
    p = np.exp(p)
    moffats, groups = p[:18].reshape(6, 3), p[18:].reshape(4, 6)
    spikes = [(own[0], angle, *own[1:]) for own, angles in zip(groups, START_SPIKES) for angle in angles]
    return moffats[:2], moffats[2:], spikes


def core_picture(rows, size):
    """The core's picture, integrated over pixels, shape (size, size)."""
    return sum(fraction*pixel_moffat(size, (fwhm, 0., 0., beta)) for fraction, fwhm, beta in rows)


def chosen():
    """Rows and columns of the pixels that are fitted."""
    r = radius(SIDE)
    far = np.flatnonzero((r > ALL_WITHIN) & (r < RINGS[-1]))
    share = r.flat[far]**-2.
    far = np.random.default_rng(1).choice(far, THINNED, replace=False, p=share/share.sum())
    return np.unravel_index(np.r_[np.flatnonzero(r <= ALL_WITHIN), far], r.shape)


def fitted(data):
    """Logarithms of the parameters closest to a picture: relative residuals, each octave of the radius counting as much."""
    low, high = np.log(LOWEST), np.log(HIGHEST)
    start = np.log([*np.ravel(START_CORE), *np.ravel(START_MOFFATS), *np.ravel(list(START_SPIKES.values()))])
    rows, columns = chosen()
    dy, dx = (v.astype(np.float64)-SIDE//2 for v in (rows, columns))
    r = np.hypot(dx, dy)
    near = r <= ALL_WITHIN
    # the others stand for those that were not chosen, whose number goes as the square of the radius
    weight = 1/((np.abs(data[rows, columns])+FAINT)*np.where(near, np.clip(r, 1, None), ALL_WITHIN))*np.where(r < CORE, 3, 1)

    def left(p):
        core, moffats, spikes = parts(p)
        model = Halo(tuple(moffats), tuple(spikes)).light(dx, dy)
        model[near] += core_picture(core, 2*ALL_WITHIN+1)[rows[near]-SIDE//2+ALL_WITHIN, columns[near]-SIDE//2+ALL_WITHIN]
        return (model-data[rows, columns])*weight

    p = least_squares(left, np.clip(start, low+1e-6, high-1e-6), bounds=(low, high), loss="soft_l1", f_scale=0.01,
                      max_nfev=80).x
    # a core that is not round must not cost light: the halo's share of all is what counts
    core, moffats, spikes = parts(p)
    halo = middle(Halo(tuple(moffats), tuple(spikes)).rendered(NORM//2), NORM).sum()
    p[[0, 3]] += np.log((1-halo)/middle(core_picture(core, NORM), NORM).sum())
    return p


def rounded(p):
    """Core, Moffat profiles and spikes as shares of all light, five digits each."""
    core, moffats, spikes = parts(p)
    total = sum(row[0] for rows in (core, moffats, spikes) for row in rows)
    return [[[float(f"{v:.5g}") for v in (row[0]/total, *row[1:])] for row in rows] for rows in (core, moffats, spikes)]


def as_star(data, halo):
    """A picture convolved with a Moffat profile of the seeing, and the wings that a refit finds for it, each (511, 511)."""
    seen = fftconvolve(data, pixel_moffat(SIDE, (SEEING, 0., 0., 3.)), mode="same")
    seen /= middle(seen, NORM).sum()
    stamp = middle(seen, STAMP)
    error = np.hypot(MODEL_ERROR*stamp, NOISE*stamp.max())

    def model(p, size):
        whole = profile_stamp(max(size, NORM), (p[0], 0., 0., p[1]), halo=halo)
        return middle(whole, size)/middle(whole, NORM).sum()

    p = least_squares(lambda p: ((p[2]*model(p, STAMP)-stamp)/error).ravel(), [SEEING+1, 4., 1.], x_scale=[1., 1., 0.1],
                      bounds=([2., 1.5, 0.5], [9., 12., 2.])).x
    log.info("a star of FWHM %.2f px: Moffat profile of FWHM %.2f, beta %.2f", area_width(seen), p[0], p[1])
    return seen, model(p, SIDE)


def residuals(model, data):
    """Mean and rms of model-data over the mean of the data, and the share of light, in each ring; shape (rings, 3)."""
    r = radius(SIDE)
    rows = []
    for low, high in pairwise(RINGS):
        ring = (r >= low) & (r < high)
        off, mean = (model-data)[ring], data[ring].mean()
        rows.append((off.mean()/mean, np.sqrt((off**2).mean())/mean, data[ring].sum()/data.sum()))
    return np.array(rows)


def toml(found):
    """The file's text."""
    lines = ["# DECam's static wings by filter, fitted by benchmarks/calibrate/fit_wings.py. Rows of core and moffats: share of",
             "# all light, FWHM (pixels), beta. Rows of spikes: share, angle (degrees from x towards y), width (pixels),",
             "# opening, power, scale (pixels), slope; see crowdsource.psf.profiles.halo."]
    for band, rows in found.items():
        lines.append(f"\n[{band}]")
        for name, values in zip(("core", "moffats", "spikes"), rows):
            lines += [f"{name} = [", *(f"    {row}," for row in values), "]"]
    return "\n".join(lines)+"\n"


def main():
    """Fit, write and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of the published pictures")
    parser.add_argument("--out", default="data/decam_wings.toml", help="where the parameters go")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found, lines = {}, {"picture": [], "star": []}
    for band in BANDS:
        data = published(arguments.folder, band)
        found[band] = core, moffats, spikes = rounded(fitted(data))
        wide, halo = Halo.of(moffats, spikes), Halo.of(core+moffats, spikes)
        model = core_picture(core, SIDE)+wide.rendered(SIDE//2)
        log.info("%s: %.1f %% of the light outside the core", band, 100*wide.fraction)
        for name, (one, other) in (("picture", (model/middle(model, NORM).sum(), data)), ("star", as_star(data, halo)[::-1])):
            lines[name].append([band, *(f"{100*mean:+.1f} ({100*rms:.1f})" for mean, rms, _ in residuals(one, other))])
        lines["picture"].append(["", *(f"[{100*share:.3f}]" for *_, share in residuals(data, data))])
    Path(arguments.out).write_text(toml(found), encoding="utf-8")
    head = ["filter", *(f"{low}-{high} px" for low, high in pairwise(RINGS))]
    for name, rows in lines.items():
        sys.stdout.write(f"\n{name}: mean (rms) of model-data, % of the ring's mean [share of all light, %]\n\n")
        sys.stdout.write(table(head, rows)+"\n")


if __name__ == "__main__":
    main()
