"""What static wings are worth: fluxes of saturated stars and what is left around them; prints Markdown.

    python -m benchmarks.studies.wings FOLDER

Stars of a simulated field are Moffat profiles convolved with the published pictures of FOLDER, not with the model that was
fitted to them. The field is fitted with the adapter's prior, and once more with a plain Moffat profile.
"""
import argparse
import sys

import numpy as np
from crowdsource.instruments.decam import Decam
from scipy.signal import fftconvolve

from benchmarks.calibrate.fit_wings import NORM, SIDE, middle, published
from benchmarks.shared import table
from crowdsource.config import FitConfig
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.exposure.instrument import complete
from crowdsource.psf.grid import area_width
from crowdsource.psf.initial import initial_psf
from crowdsource.psf.profiles.moffat import pixel_moffat
from crowdsource.simulate import SimulationConfig, draw_stars, pipeline_ivar, render_stars, true_psf

BANDS, SEEDS = "ugrizY", (31, 32)
LEVELS = 1.5, 3., 10., 30.
SHAPE, MARGIN, SPACING = 1500, 256, 300
RINGS = (20, 40), (40, 80), (80, 140)
RADIUS = 3.
"""A row so near, in pixels, is the star's; the brightest counts."""


def field(band, folder, seed, beta):
    """An image, and x, y, flux (as the fit counts it) and level of its saturated stars."""
    wide = SHAPE+2*MARGIN
    c = SimulationConfig(shape=(wide, wide), stars=2500*(wide/SHAPE)**2, saturated_stars=0, beta=beta, brightest=500.,
                         seed=seed)
    rng, psf, picture = np.random.default_rng(seed), true_psf(c), published(folder, band)
    picture /= picture.sum()
    star = fftconvolve(pixel_moffat(SIDE, (c.fwhm, 0., 0., c.beta)), picture, mode="same")
    x, y, flux = draw_stars(c, psf, rng)
    grid = np.arange(MARGIN+SPACING/2, wide-MARGIN, SPACING)
    sx, sy = (v.ravel()+rng.uniform(-40, 40, len(grid)**2) for v in np.meshgrid(grid, grid))
    level = np.resize(LEVELS, len(sx))
    bright = level*c.saturation/star.max()
    x, y, flux = np.r_[sx, x], np.r_[sy, y], np.r_[bright, flux]
    plain = render_stars(c.shape, psf, x, y, flux, np.where(flux > bright.min()/20, 401, 101))
    cut = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    counts = c.sky+fftconvolve(plain, picture, mode="same")[cut]
    data = rng.poisson(np.maximum(counts, 0)*c.gain)/c.gain+rng.normal(0, c.readnoise/c.gain, counts.shape)
    saturated = data >= c.saturation
    data = np.minimum(data, c.saturation)
    ivar = np.where(saturated, 0, pipeline_ivar(data, saturated, c.gain, c.readnoise))
    meta = dict(fwhm=area_width(star), options=complete(Decam.options, {}))
    image = Image.from_arrays(data, ivar, mask=np.where(saturated, ENGINE.saturated, 0).astype(np.uint16), bad=saturated,
                              band=band, gain=c.gain, meta=meta)
    share = middle(star, NORM).sum()
    return image, (sx-MARGIN, sy-MARGIN, bright*share, level)


def measured(image, stars, halo):
    """Flux error of each saturated star, NaN when lost, and the mean residual over the noise in rings around it."""
    prior = Decam().psf_prior(image) if halo else initial_psf(image, image.meta["fwhm"])
    result = fit(image, prior, Decam().fit_config(image, FitConfig()))
    rows = {n: np.asarray(getattr(result.catalog[n], "value", result.catalog[n]), dtype=float) for n in ("x", "y", "flux")}
    left = (image.data-result.sky-result.model)*np.sqrt(image.ivar)
    yy, xx = np.indices(image.shape)
    out = []
    for x, y, flux, _ in zip(*stars):
        near = np.flatnonzero(np.hypot(rows["x"]-x, rows["y"]-y) < RADIUS)
        r = np.hypot(xx-x, yy-y)
        rings = [left[(r >= low) & (r < high) & image.good].mean() for low, high in RINGS]
        out.append((rows["flux"][near].max()/flux-1 if len(near) else np.nan, *rings))
    return np.array(out)


def lines_of(band, folder, beta):
    """Rows of the table: one for each level and prior."""
    fields = [field(band, folder, seed, beta) for seed in SEEDS]
    for halo in (True, False):
        found = np.concatenate([measured(image, stars, halo) for image, stars in fields])
        level = np.concatenate([stars[-1] for _, stars in fields])
        for one in LEVELS:
            error, *rings = found[level == one].T
            known = error[np.isfinite(error)]
            middle_error = np.median(known)
            yield [band, "static wings" if halo else "Moffat", f"{one:g}", f"{len(known)} of {len(error)}",
                   f"{100*middle_error:+.2f}",
                   f"{148.26*np.median(np.abs(known-middle_error)):.2f}", f"{100*np.abs(known).max():.1f}",
                   *(f"{np.mean(ring):+.2f}" for ring in rings)]


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", help="of the published pictures")
    parser.add_argument("bands", nargs="*", default=[*BANDS])
    parser.add_argument("--beta", type=float, default=3., help="power of the Moffat profile of the seeing")
    arguments = parser.parse_args()
    head = ["filter", "prior", "peak / saturation", "found", "flux bias %", "scatter %", "largest error %",
            *(f"left at {low}-{high} px, sigma" for low, high in RINGS)]
    rows = [row for band in arguments.bands for row in lines_of(band, arguments.folder, arguments.beta)]
    sys.stdout.write(table(head, rows)+"\n")


if __name__ == "__main__":
    main()
