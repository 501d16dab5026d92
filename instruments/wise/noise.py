"""Noise and saturation of unWISE coadds: what their inverse variance leaves out, and which pixels are not used."""
import numpy as np
from scipy import ndimage

from .bits import MASK_BITS, any_of

FLOOR, FACTOR = {1: 0.5, 2: 2.0}, {1: 0.15, 2: 0.3}
"""Noise that the inverse variance leaves out, by band: a constant, and the factor on the root of a pixel's flux."""
SATURATED, GROW = 85000., 3
"""Level of saturation, Vega nanomaggies, and radius around saturated pixels in which others are not used, pixels."""
SMALLEST = 1e-12
"""Least variance that is written: pixels of a user's may have less than the noise which reading adds."""


def full_ivar(data, ivar, band):
    """Inverse variance with the noise that the coadd's leaves out: ``1/(1/ivar+floor^2+factor^2 max(data, 0))``; 0 stays 0."""
    good = np.isfinite(ivar) & (ivar > 0) & np.isfinite(data)
    variance = 1/np.where(good, ivar, 1).astype(np.float64)+FLOOR[band]**2+FACTOR[band]**2*np.where(good, np.maximum(data, 0), 0)
    return np.where(good, 1/variance, 0)


def invvar_of(data, ivar, band):
    """The inverse variance of which `full_ivar` makes `ivar`; 0 stays 0.

    Parameters
    ----------
    data, ivar : ndarray, shape (ny, nx)
    band : int

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    good = ivar > 0
    variance = 1/np.where(good, ivar, 1).astype(np.float64)-FLOOR[band]**2-FACTOR[band]**2*np.maximum(data, 0, dtype=np.float64)
    return np.where(good, 1/np.maximum(variance, SMALLEST), 0).astype(np.float32)


def crowd_saturated(data, bits, exposures, band):
    """Pixels saturated by the mask, by their value, or because no exposure was kept, and those next to them.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    bits : ndarray of int, shape (ny, nx)
    exposures : tuple of ndarray, shape (ny, nx)
        Numbers of exposures that were kept, and of all.
    band : int
    """
    kept, all_of_them = exposures
    where = any_of(bits, MASK_BITS["saturation"][band-1]) | (data > SATURATED) | ((kept == 0) & (all_of_them > 1))
    at = np.arange(-GROW, GROW+1)
    return ndimage.binary_dilation(where, np.hypot(at[:, None], at[None, :]) <= GROW) if where.any() else where
