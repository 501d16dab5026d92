"""Images of telescopes in space, fitted with the PSF that the fit finds, the true one and a part of that: which costs what.

Rows above 5 sigma that no star explains are counted by where they lie: on a spike of a brighter star, in other light of one, or
elsewhere.

python -m benchmarks.studies.optics [NAME ...]
python -m benchmarks.studies.optics --picture FILE.png      a bright star close up, without and with an effective PSF
"""
import argparse
import time

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage
from scipy.spatial import cKDTree

from crowdsource import FitConfig, fit
from crowdsource.config.presets import described
from crowdsource.psf.export import oversampled_stamp
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import GridProfile
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.optics import REACH, Telescope, optical_psf, simulate_optical_field
from crowdsource.validate.evaluate import compare, unexplained

CONFIG = SimulationConfig(shape=(700, 700), stars=3500., slope=1.75, sky=80., gain=2., readnoise=8., brightest=5e4, nebulosity=0.,
                          saturation=6e4, seed=71)
FIELDS = {
    "cross": Telescope(resolution=1.45, vanes=(45, 135, 225, 315), aberrations=(0.03, 0.02, 0.02, 0.01, 0.01), jitter=0.2),
    "segments": Telescope(resolution=1.1, segments=3, obscured=0.2, vanes=(90, 210, 330), aberrations=(0.02, 0., 0.03, 0.02)),
    "narrow": Telescope(resolution=0.6, obscured=0.35, vanes=(20, 140, 260), aberrations=(0.01, 0.03, 0., 0.02), jitter=0.1),
    "wide": Telescope(resolution=1.8, vanes=(0, 60, 120, 180, 240, 300), aberrations=(0.02, 0.02, 0.03, 0., 0.02), jitter=0.2),
}
SPIKE, FAINTEST = 3., 1.
"""A place is on a star's spike where its light is so many times the median at that distance and so many times the sky's noise."""
SHORT = 25
"""Side of the stamps of a short grid, pixels: that of most STDPSF files."""
PICTURED, CLOSE = "cross", 45
"""Field of which a picture is made, and half side of what it shows around the brightest star, pixels."""
BRIGHT = 3.
"""A place is in a star's light where that is so many times the sky's noise."""


def places_of_false_rows(catalog, truth, psf, noise):
    """Rows above 5 sigma that no star explains, by where they lie.

    Parameters
    ----------
    catalog, truth : astropy.table.Table
    psf : crowdsource.psf.base.PSF
        The true one.
    noise : float
        Of a pixel of the bare sky.

    Returns
    -------
    spikes, light, elsewhere : int
        Rows on a spike of a star that is brighter than the row, others in the light of one, and all others.
    counted : int
        All rows above 5 sigma.
    """
    rows = {n: np.asarray(catalog[n], dtype=np.float64) for n in ("x", "y", "flux")}
    stars = {n: np.asarray(truth[n], dtype=np.float64) for n in ("x", "y", "flux")}
    counted = rows["flux"] > truth.meta["FLUX5"]
    false = np.flatnonzero(unexplained(stars, rows) & counted)
    stamp = psf.stamp(2*REACH+1)
    spiky = stamp > SPIKE*median_by_distance(stamp)
    near = cKDTree(np.c_[stars["x"], stars["y"]]).query_ball_point(np.c_[rows["x"], rows["y"]][false], REACH)
    spikes = light = 0
    for k, around in zip(false, near):
        brighter = np.array([j for j in around if stars["flux"][j] > rows["flux"][k]], dtype=int)
        at = tuple(np.round(rows[n][k]-stars[n][brighter]).astype(int)+REACH for n in ("y", "x"))
        there = stamp[at]*stars["flux"][brighter]/noise
        on_spike = bool((spiky[at] & (there > FAINTEST)).any())
        spikes += on_spike
        light += not on_spike and bool((there > BRIGHT).any())
    return spikes, light, len(false)-spikes-light, int(counted.sum())


def median_by_distance(stamp):
    """Median of a stamp at each pixel's distance from the middle, in rings that are a pixel wide."""
    at = np.arange(len(stamp))-len(stamp)//2
    ring = np.round(np.hypot(at[:, None], at[None, :])).astype(int)
    return ndimage.median(stamp, ring, np.arange(ring.max()+1))[ring]


def short_grid(psf):
    """A PSF as a grid of 2x2 stamps of `SHORT` pixels, 4 samples in each."""
    ny, nx = psf.shape
    stamps = [[oversampled_stamp(psf, x, y, SHORT) for x in (0, nx-1)] for y in (0, ny-1)]
    return FieldPSF.of(GridProfile.from_nodes(np.array(stamps), psf.shape, 4), norm_size=psf.norm_size)


def report(name, psf):
    """Print the figures of a field of a PSF."""
    image, truth = simulate_optical_field(psf, CONFIG)
    saturated, noise = image.mask & 2 > 0, np.sqrt(CONFIG.sky/CONFIG.gain+(CONFIG.readnoise/CONFIG.gain)**2)
    for label, given in (("found", None), ("true", psf), ("short", short_grid(psf))):
        start = time.process_time()
        result = fit(image, psf=given)
        cpu = time.process_time()-start
        figures = compare(result.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape, avoid=saturated)
        bins = " ".join(f"{b['found']:.1f}/{b['bias']:+.2f}/{b['pull']:.2f}/{b['position_pull']:.2f}/{b['tails']:.1f}"
                        for b in figures.bins)
        everywhere = compare(result.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape).spurious
        spikes, light, elsewhere, counted = places_of_false_rows(result.catalog, truth, psf, noise)
        print(f"{name} {label:5s} FWHM {result.psf.fwhm():.2f} px, {cpu:.1f} CPU s, {len(result.catalog)} rows, spurious "
              f"{figures.spurious:.1f} % (with the surroundings of saturated stars {everywhere:.1f}); of {counted} rows above 5 "
              f"sigma false on spikes {spikes}, in other light of brighter stars {light}, elsewhere {elsewhere}; "
              f"found/bias/pull/position pull/tails by S/N: {bins}", flush=True)


def picture(name, path):
    """The brightest star of a field close up: image, model and residual, as the published description fits it and as the default.

    The residual is in units of the pixels' noise; rows are circles, red where no star explains them.
    """
    psf = optical_psf(FIELDS[name], CONFIG.shape)
    image, truth = simulate_optical_field(psf, CONFIG)
    star = next(s for s in truth if all(CLOSE <= s[c] < n-CLOSE for c, n in zip("xy", CONFIG.shape[::-1])))
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    for axes, label, config in zip(figure.subplots(2, 3), ("preset described", "default"), (described(), FitConfig())):
        result = fit(image, config=config)
        rows, stars = ({n: np.asarray(t[n], dtype=np.float64) for n in ("x", "y", "flux")} for t in (result.catalog, truth))
        light, false, deepest = image.data-result.sky, unexplained(stars, rows), np.sqrt(np.median(image.ivar[image.ivar > 0]))
        # the saturated core is not shown
        pixel = np.where(image.ivar > 0, np.sqrt(image.ivar), np.nan)
        for ax, plane, low, high, title in ((axes[0], np.arcsinh(light*deepest), -1, 8, f"image, {label}"),
                                            (axes[1], np.arcsinh(result.model*deepest), -1, 8, "model"),
                                            (axes[2], (light-result.model)*pixel, -5, 5, "residual and rows")):
            ax.imshow(plane, origin="lower", cmap="gray", vmin=low, vmax=high)
            ax.set(title=title, xticks=[], yticks=[], xlim=(star["x"]-CLOSE, star["x"]+CLOSE),
                   ylim=(star["y"]-CLOSE, star["y"]+CLOSE))
        for which, colour in ((~false, "#1f77c4"), (false, "#e8333a")):
            axes[2].plot(rows["x"][which], rows["y"][which], "o", mfc="none", mec=colour, ms=5, mew=0.9)
    figure.savefig(path, dpi=72, pil_kwargs=dict(optimize=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(FIELDS), help=", ".join(FIELDS))
    parser.add_argument("--picture", metavar="FILE", help=f"draw the brightest star of the field {PICTURED} instead")
    arguments = parser.parse_args()
    if arguments.picture:
        picture(PICTURED, arguments.picture)
    else:
        for field in arguments.names:
            report(field, optical_psf(FIELDS[field], CONFIG.shape))
