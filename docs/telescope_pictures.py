"""The picture of the page on telescopes: simulated images as they see them, what the fit leaves, and the PSF that it found.

``python docs/telescope_pictures.py`` writes docs/images/telescopes.png.
"""
from pathlib import Path

import matplotlib
import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize

from crowdsource import SimulationConfig, fit, simulate_field
from crowdsource.simulate.optics import Telescope, optical_psf, simulate_optical_field

matplotlib.use("Agg")
PATH = Path(__file__).parent/"images"/"telescopes.png"
CONFIG = SimulationConfig(shape=(240, 240), stars=420., slope=1.75, sky=80., gain=2., readnoise=8., brightest=2e4, nebulosity=0.,
                          saturation=6e4, seed=11)
TELESCOPES = {
    "as Webb": Telescope(resolution=1.9, segments=2, obscured=0.2, vanes=(30, 150, 270), aberrations=(0.02, 0.02, 0.01),
                         jitter=0.2),
    "as Hubble": Telescope(resolution=1.45, obscured=0.33, vanes=(45, 135, 225, 315), aberrations=(0.03, 0.02, 0.02), jitter=0.2),
    "as Roman": Telescope(resolution=1.2, obscured=0.31, vanes=(0, 60, 120, 180, 240, 300), aberrations=(0.02, 0.02, 0.02),
                          jitter=0.2),
}
COLOURS = 96
GROUND = SimulationConfig(shape=(240, 240), stars=420., fwhm=3.6, nebulosity=0., seed=11)


def images():
    """Name and `Image` of each."""
    for name, telescope in TELESCOPES.items():
        yield name, simulate_optical_field(optical_psf(telescope, CONFIG.shape), CONFIG)[0]
    yield "from the ground", simulate_field(GROUND).image()


def main():
    """Fit all, and draw."""
    from matplotlib import pyplot
    from PIL import Image as Picture
    figure, axes = pyplot.subplots(3, 4, figsize=(10, 7.7), layout="constrained")
    for (name, image), (top, middle, bottom) in zip(images(), axes.T):
        result = fit(image)
        noise = 1/np.sqrt(np.where(image.ivar > 0, image.ivar, np.nan))
        light = image.data-result.sky
        sigma = float(np.nanmedian(noise))
        stretch = ImageNormalize(vmin=-2*sigma, vmax=300*sigma, stretch=AsinhStretch(0.02))
        top.imshow(light, origin="lower", cmap="gray", norm=stretch)
        top.set_title(f"{name}: {len(result.catalog)} rows, FWHM {float(result.psf.fwhm()):.2f} px", fontsize=8)
        middle.imshow((light-result.model)/noise, origin="lower", cmap="RdBu_r", vmin=-5, vmax=5)
        stamp = result.psf.stamp(101)
        bottom.imshow(np.log10(np.maximum(stamp/stamp.max(), 1e-6)), origin="lower", cmap="magma", vmin=-5.5, vmax=0)
        for axis in (top, middle, bottom):
            axis.set(xticks=[], yticks=[])
    for axis, text in zip(axes[:, 0], ("image", "residual, -5 to 5 sigma", "PSF, five decades")):
        axis.set_ylabel(text, fontsize=9)
    figure.savefig(PATH, dpi=80)
    with Picture.open(PATH) as page:
        few = page.convert("RGB").quantize(COLOURS, Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
    few.save(PATH, optimize=True)


if __name__ == "__main__":
    main()
