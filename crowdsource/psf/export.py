"""PSFs for other programs: finer stamps, STDPSF files, models of photutils, and how much of the light lies within a radius."""
import numpy as np
from astropy.io import fits

from ..core.errors import ConfigError, need
from ..io.atomic import atomic_path

SIDE, OVERSAMPLING, NODES = 51, 4, (3, 3)
"""Side of a stamp, pixels, samples in a pixel, and columns and rows of a grid of stamps, where nothing else is asked for."""

LEAST_SIDE = 149
"""Side of the stamp in which light is summed, pixels, at least."""


def oversampled_stamp(psf, x=None, y=None, side=SIDE, oversampling=OVERSAMPLING):
    """A stamp of a PSF with several samples in a pixel; each is an integral over a whole pixel.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    x, y : float, optional
        Position in the image, pixels, of which the nearest pixel counts; its middle when not given.
    side : int
        Odd side, pixels.
    oversampling : int
        Samples in a pixel.

    Returns
    -------
    ndarray, shape ((side-1)*oversampling+1, (side-1)*oversampling+1), float64
        One in so many samples, from the middle on, is a stamp of pixels that sums to 1 over the PSF's norm box.

    Raises
    ------
    ConfigError
        When the side is even, or no whole number of samples is asked for.
    """
    if side % 2 == 0 or side < 1 or oversampling < 1 or int(oversampling) != oversampling:
        raise ConfigError(f"a stamp of {side} pixels with {oversampling} samples in each: the side must be odd, and samples a "
                          "whole number")
    x, y = np.floor(np.array(psf.centre if x is None else (x, y))+0.5)
    # a star that lies a part of a pixel to the left shows the samples to the right of its pixels' middles
    before, wide = (oversampling-1)//2, side+2
    part = (np.arange(oversampling)-before)/oversampling
    left, down = (v.ravel() for v in np.meshgrid(part, part))
    stamps = psf.render(x-left, y-down, wide).reshape(oversampling, oversampling, wide, wide)
    fine = stamps.transpose(2, 0, 3, 1).reshape(wide*oversampling, wide*oversampling).astype(np.float64)
    middle, reach = wide//2*oversampling+before, side//2*oversampling
    return fine[middle-reach:middle+reach+1, middle-reach:middle+reach+1]


def write_stdpsf(psf, path, nodes=NODES, side=SIDE, oversampling=OVERSAMPLING, overwrite=False):
    """Write a PSF as a STDPSF file (Anderson 2016), which other programs interpolate bilinearly between its positions.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    path : path-like
    nodes : tuple of int
        Numbers of positions along x and y, from one edge of the image to the other.
    side, oversampling
        As `oversampled_stamp`.
    overwrite : bool

    Raises
    ------
    OutputError
        When the file exists or cannot be written.
    ConfigError
        As `oversampled_stamp`, or when there is no position, or more than 99 along an axis.
    """
    x, y, stamps = _grid(psf, nodes, side, oversampling)
    hdu = fits.PrimaryHDU(stamps.reshape(-1, *stamps.shape[2:]).astype(np.float32))
    hdu.header["NXPSFS"], hdu.header["NYPSFS"] = len(x), len(y)
    for name, values in (("IPSFX", x), ("JPSFY", y)):
        for k, value in enumerate(values, 1):
            hdu.header[f"{name}{k:02d}"] = (value+1, "pixels, from 1")
    hdu.header["OVERSAMP"] = (oversampling, "samples in a pixel")
    with atomic_path(path, overwrite) as temporary:
        hdu.writeto(temporary)


def to_photutils(psf, nodes=NODES, side=SIDE, oversampling=OVERSAMPLING):
    """A PSF as a `photutils.psf.GriddedPSFModel`.

    Parameters and errors as `write_stdpsf`.

    Raises
    ------
    MissingExtraError
        When photutils is not installed.
    """
    models = need("photutils.psf", "photutils", "a PSF as a model of photutils")
    from astropy.nddata import NDData  # slow to import, and needed here alone
    x, y, stamps = _grid(psf, nodes, side, oversampling)
    where = [(u, v) for v in y for u in x]
    return models.GriddedPSFModel(NDData(stamps.reshape(-1, *stamps.shape[2:]),
                                         meta=dict(grid_xypos=where, oversampling=oversampling)))


def _grid(psf, nodes, side, oversampling):
    """Positions along x and y, and the stamps there, shape (rows, columns, m, m)."""
    if len(nodes) != 2 or not all(1 <= n <= 99 for n in nodes):
        raise ConfigError(f"a grid of {nodes} positions: two numbers from 1 to 99 are needed")
    x, y = ((np.linspace(0, n-1, count) if count > 1 else np.array([(n-1)/2]))
            for n, count in zip(psf.shape[::-1], nodes))
    x, y = np.floor(x+0.5), np.floor(y+0.5)
    return x, y, np.array([[oversampled_stamp(psf, u, v, side, oversampling) for u in x] for v in y])


def curve_of_growth(psf, radii, x=None, y=None, side=None, oversampling=OVERSAMPLING):
    """The part of a star's flux within circles: 1 is the flux of a catalog, that in the PSF's norm box.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    radii : array_like, shape (n,)
        Pixels.
    x, y, side, oversampling
        As `oversampled_stamp`; the side is that of the largest circle where it is not given.

    Returns
    -------
    ndarray, shape (n,), float64
        Above 1 where a circle holds light from outside the box.
    """
    side = side or max(LEAST_SIDE, 2*int(np.ceil(np.max(radii, initial=0)))+1)
    stamp = oversampled_stamp(psf, x, y, side, oversampling)
    at = (np.arange(len(stamp))-len(stamp)//2)/oversampling
    distance = np.hypot(at[:, None], at[None, :]).ravel()
    order = np.argsort(distance, kind="stable")
    light = np.r_[0., np.cumsum(stamp.ravel()[order])/oversampling**2]
    # a circle cuts samples in two: their number is that of its area
    return np.interp(np.pi*np.square(np.asarray(radii, dtype=np.float64))*oversampling**2, np.arange(len(light)), light)
