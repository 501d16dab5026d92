"""How positions move in a pass: by the fit's own derivative terms, or by weighted moments.

A centroid method is a callable ``method(state, sources, parameters, size)`` that gives shifts in x and y, shape (n, 2), pixels.
"""
import numpy as np

from ..cython_ext import centroid as kernel
from ..psf.base import pixel
from .design import add_stamps, chunks_by_size

MULTIPLICATIVE = 2.
"""A centroid weighted with the PSF sees half of a small offset, for any profile: the integral of x p(x) p'(x) is half that of
p(x)^2."""
APERTURE = 3
"""Half width of the aperture for the barycentre of the first pass, pixels."""


def derivative_shifts(state, sources, parameters, size):
    """Shifts by the derivative terms of the fit.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        Before the fit.
    sources : crowdsource.engine.sources.Sources
        With their new fluxes, at their old positions.
    parameters : ndarray, shape (n, 3)
        The fit's changes of flux, and flux times shift in x and y.
    size : ndarray of int, shape (n,)
        Stamp sizes, pixels.

    Returns
    -------
    ndarray, shape (n, 2), float64
        Pixels; 0 for sources without positive flux.
    """
    positive = sources.flux > 0
    return np.where(positive[:, None], parameters[:, 1:]/np.where(positive, sources.flux, 1)[:, None], 0)


def moment_shifts(state, sources, parameters, size):
    """Shifts by weighted moments on the image with the other sources removed. Parameters and result as `derivative_shifts`."""
    full = np.c_[sources.flux, parameters[:, 1:]]
    residual = state.residual
    shifts = np.zeros((len(sources), 2))
    for m in chunks_by_size(size):
        planes = state.psf.render(sources.x[m], sources.y[m], int(size[m[0]]), derivatives=True)
        for plane, factor in zip(planes, -parameters[m].T):
            add_stamps(residual, plane, sources.x[m], sources.y[m], factor)
    core = state.config.solve.stamp_sizes[0]
    for m in chunks_by_size(np.full(len(sources), core)):
        planes = state.psf.render(sources.x[m], sources.y[m], core, derivatives=True)
        shifts[m] = moment_centroids(residual, state.image.ivar, planes, sources.x[m], sources.y[m], full[m],
                                     use_psf_weight=state.passno > 0)
    return shifts


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
