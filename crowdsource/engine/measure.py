"""Measurements of sources on the neighbour-subtracted image."""
import numpy as np

from ..core.calibration import calibration
from ..core.tiles import bands
from ..cython_ext import measure as kernel
from ..psf.base import CENTROID_SIZE, pixel
from .design import chunks_by_size

SPREAD_SCALE = 1/16
"""Scale length of the disc that spread_model compares with, in FWHM (Desai et al. 2012)."""

INNER_HALF_SIDE = calibration.measure.inner_half_side
"""Half side of the inner box in which the extent of a source is its own, FWHM: farther out the light of others increases it."""


def measure(image, residual, model, psf, sources, run=map, side=CENTROID_SIZE):
    """Every measured column of a catalog; definitions are in `crowdsource.engine.schema`.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    residual : ndarray, shape (ny, nx), float32
        Data less sky and model.
    model : ndarray, shape (ny, nx), float32
        Model of all sources.
    psf : crowdsource.psf.base.PSF
    sources : crowdsource.engine.sources.Sources
        Positions in the image's own pixels, fluxes in its units.
    run : callable
        ``map`` or an executor's.
    side : int
        Odd side of the stamps, pixels.

    Returns
    -------
    dict of ndarray, shape (n,), float64
        Finite everywhere; a source without a good pixel has 0 in all but fwhm.
    """
    x, y, flux = sources.x, sources.y, np.ascontiguousarray(sources.flux, dtype=np.float64)
    out = np.zeros((len(x), len(kernel.COLUMNS)))
    residual, model = (np.ascontiguousarray(a, dtype=np.float32) for a in (residual, model))
    scale = SPREAD_SCALE*float(psf.fwhm()) if len(x) else 1.

    def one(m):
        planes = (*psf.render(x[m], y[m], side, derivatives=True), psf.render_smeared(x[m], y[m], side, scale))
        out[m] = kernel.measure(residual, model, image.ivar, planes, pixel(x[m])-side//2, pixel(y[m])-side//2, flux[m])

    chunks = list(chunks_by_size(np.full(len(x), side)))
    if chunks:
        psf.render_smeared(x[:1], y[:1], side, scale)
    list(run(one, chunks))
    return dict(zip(kernel.COLUMNS, out.T))


def measured(state, which=slice(None), side=CENTROID_SIZE):
    """`measure` of a state's sources, or of those that an index array selects.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    which : ndarray of int or slice
    side : int
    """
    return measure(state.image, state.residual, state.model, state.psf, state.sources.subset(which), state.run, side)


def boxes(state, x, y, side):
    """Residual and inverse variance of the pixels around positions, both 0 off the image.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    x, y : ndarray, shape (n,)
    side : int
        Odd, pixels.

    Returns
    -------
    residual, ivar : ndarray, shape (n, side, side), float32
    """
    data, sky, model, ivar = (cutouts(plane, x, y, side)
                              for plane in (state.image.data, state.sky, state.model, state.image.ivar))
    data -= sky
    data -= model
    return data, ivar


def cutouts(plane, x, y, side):
    """Square parts of a plane around positions, shape (n, side, side), float32; 0 off the image. Parameters as `boxes`."""
    return kernel.cutouts(plane, pixel(x)-side//2, pixel(y)-side//2, side)


def mean_chi2(state):
    """Mean of (residual/sigma)^2 over the good pixels."""
    planes = state.image.data, state.sky, state.model, state.image.ivar
    parts = state.run(lambda rows: kernel.chi2(*(plane[rows] for plane in planes)), bands(len(state.model)))
    total, count = (sum(part) for part in zip(*parts))
    return total/max(1, count)


def extent_significance(columns):
    """Extent of each source beyond the PSF in sigma, from the columns of `measure`; 0 where nothing is known."""
    error = columns["dspread_model"]
    return np.where(error > 0, columns["spread_model"]/np.where(error > 0, error, 1), 0.)


def inner_side(psf):
    """Odd side of the inner box in which the extent of a source is its own, pixels."""
    return 2*min(max(2, round(INNER_HALF_SIDE*float(psf.fwhm()))), CENTROID_SIZE//2)+1
