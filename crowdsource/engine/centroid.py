"""The weighted-moment centroid of the published description."""
import numpy as np

from ..cython_ext import centroid as kernel
from ..psf.base import pixel

MULTIPLICATIVE = 2.
"""Weighting with the PSF halves a small offset of any profile: the integral of x p(x) p'(x) is half of that of p(x)^2."""
APERTURE = 3


def moment_centroids(residual, ivar, planes, x, y, parameters, use_psf_weight=True):
    """Offsets of the light's centroid from the current positions.

    Each source's own model is added back to the residual. The centroid is weighted with inverse variance and PSF, doubled
    because that weighting pulls it half way to the middle, and freed of the additive bias that the PSF itself shows in
    the same weights.

    Parameters
    ----------
    residual, ivar : ndarray, shape (ny, nx), float32
        Data less sky and all sources' models; inverse variance.
    planes : tuple of three ndarrays, shape (n, size, size), float32
        PSF and derivatives at each source.
    x, y : ndarray, shape (n,), float64
        Current positions, pixels.
    parameters : ndarray, shape (n, 3)
        Flux, and flux times shift in x and in y, of each source's own model.
    use_psf_weight : bool
        False in the first pass, when the PSF may be bad: a barycentre in a small aperture.

    Returns
    -------
    ndarray, shape (n, 2), float64
        Pixels; 0 where undefined.
    """
    size = planes[0].shape[1]
    half = size//2
    # so much border holds every stamp that touches the image, and one for those that do not
    padded = np.pad(residual, size), np.pad(ivar, size)
    (py, ny), (px, nx) = (pixel(y), residual.shape[0]), (pixel(x), residual.shape[1])
    rows = np.clip(py-half, -size, ny)[:, None, None]+size+np.arange(size)[None, :, None]
    columns = np.clip(px-half, -size, nx)[:, None, None]+size+np.arange(size)[None, None, :]
    light, weight = (np.ascontiguousarray(p[rows, columns]) for p in padded)
    for plane, factor in zip(planes, parameters.T):
        light += plane*factor[:, None, None].astype(np.float32)
    measured, expected = kernel.centroids(planes[0], light, weight, use_psf_weight, APERTURE)
    return (MULTIPLICATIVE if use_psf_weight else 1.)*(measured-expected)
