"""Artificial stars: added to an image together with their photon noise."""
from dataclasses import replace

import numpy as np

from ..config import SolveConfig
from ..core.errors import InputError
from ..core.flags import ENGINE
from ..engine.design import model_image, stamp_sizes
from ..psf.base import pixel
from .columns import plain_columns


def inject(image, psf, sources, *, seed=0, config=None):
    """The image with stars added.

    The stars' photon noise is drawn, and its variance added to the image's. Where the gain is not known, it is derived from the
    growth of the given variance with the data; where the variance does not grow, the stars add no noise. Masked pixels stay
    masked, and pixels above the saturation level are clipped, flagged and masked.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    psf : crowdsource.psf.base.PSF
    sources : Table or mapping with x, y, flux
        Positions in the parent image's pixels, fluxes in the image's units.
    seed : int or tuple of int
        Of the noise.
    config : crowdsource.config.SolveConfig, optional
        Stamp sizes, and the levels at which they are chosen.

    Returns
    -------
    crowdsource.core.image.Image

    Raises
    ------
    InputError
        When a column is missing or a value is not finite.
    """
    columns = _finite_columns(sources)
    x, y, flux = columns["x"]-image.origin[0], columns["y"]-image.origin[1], columns["flux"]
    size = stamp_sizes(flux, psf, image.noise, config or SolveConfig())
    # stars whose stamps miss the image are left out
    ny, nx = image.shape
    half = size//2
    px, py = pixel(x), pixel(y)
    touches = (px+half >= 0) & (px-half < nx) & (py+half >= 0) & (py-half < ny)
    added = model_image(psf, x[touches], y[touches], flux[touches], size[touches], image.shape)
    per_count = variance_per_count(image)
    rng = np.random.default_rng(seed)
    light = np.maximum(added, 0).astype(np.float64)
    drawn = rng.poisson(light/per_count)*per_count-light if per_count > 0 else 0.
    data = (image.data+added+drawn).astype(np.float32)
    variance = 1/np.where(image.good, image.ivar, 1)+light*per_count
    ivar = np.where(image.good, 1/variance, 0).astype(np.float32)
    return _saturated(replace(image, data=data, ivar=ivar))


def _finite_columns(sources):
    """x, y, flux as float64 arrays; an error where one is not finite."""
    columns = plain_columns(sources)
    if not all(np.isfinite(c).all() for c in columns.values()):
        raise InputError("positions and fluxes of injected stars must be finite: remove the rows with NaN")
    return columns


def _saturated(image):
    """The image with pixels above the saturation level clipped and masked; its arrays frozen."""
    over = image.data > image.saturation
    if over.any():
        image = replace(image, data=np.where(over, np.float32(image.saturation), image.data))
        image = image.masked(over, ENGINE.saturated)
    for array in (image.data, image.ivar):
        array.flags.writeable = False
    return image


def variance_per_count(image):
    """Photon variance that light of one unit adds: by the gain, or by how the image's variance grows with its data.

    Returns
    -------
    float
        In the image's units; 0 when the variance does not grow.
    """
    if np.isfinite(image.gain) and image.gain > 0:
        return 1/image.gain
    data, variance = image.data[image.good].astype(np.float64), 1/image.ivar[image.good].astype(np.float64)
    low, high = np.quantile(data, [0.5, 0.99])
    faint, bright = data <= low, data >= high
    rise = np.median(data[bright])-np.median(data[faint])
    if not rise > 0:
        return 0.
    return max(0., float((np.median(variance[bright])-np.median(variance[faint]))/rise))
