"""The error of the model that the uncertainty of the PSF causes: near bright stars it exceeds the noise."""
from dataclasses import replace

import numpy as np

from ..core.calibration import calibration
from .design import add_stamps, chunks_by_size

LEAST = calibration.model_error.least
"""Errors below this share of the noise of a pixel are left out."""
HALF_SIDES = 8, 16, 32
"""Half sides of the stamps of errors; the brightest stars' are as large as what is known of the PSF."""
JUDGED = calibration.model_error.judged
"""Share of the error that counts when a source is judged that a fit has accepted."""


def with_model_error(state):
    """The state with the model's error, where the PSF has an uncertainty.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    """
    return state if state.psf.uncertainty is None else replace(state, model_error=model_error(state))


def model_error(state):
    """Error of the model in each pixel: uncertainties of the PSF times the fluxes of all stars, added in quadrature.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        Its PSF has an uncertainty.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    error, s = state.psf.uncertainty, state.sources
    middle, variance = len(error)//2, np.zeros(state.image.shape, np.float32)
    sides = [h for h in HALF_SIDES if h < middle]+[middle]
    for inner, half in zip([0, *sides], sides):
        # stars whose error matters beyond the next smaller stamp
        some = s.subset(s.flux*_largest_beyond(error, inner) > LEAST*state.noise)
        some = some.subset(some.flux*_largest_beyond(error, half) <= LEAST*state.noise) if half < middle else some
        stamp = np.square(error[middle-half:middle+half+1, middle-half:middle+half+1])
        for k in chunks_by_size(np.full(len(some), len(stamp))):
            add_stamps(variance, np.repeat(stamp[None], len(k), axis=0), some.x[k], some.y[k], some.flux[k]**2)
    return np.sqrt(variance)


def _largest_beyond(error, half):
    """Largest value outside the central square of a half side; 0 where there is nothing outside."""
    outside, middle = error.copy(), len(error)//2
    outside[middle-half:middle+half+1, middle-half:middle+half+1] = 0
    return float(outside.max())


def coherence(stamp):
    """Error of a flux that an error of one unit in each pixel causes: errors of a PSF are alike over an area like its core."""
    return float(stamp.sum()/(stamp**2).sum())


def error_of_others(state):
    """Error of each source's flux that the uncertain PSFs of the other stars cause, shape (n,).

    Parameters
    ----------
    state : crowdsource.engine.state.PassState

    Returns
    -------
    ndarray, shape (n,), float64
        0 where the PSF's uncertainty is not known.
    """
    s, error = state.sources, state.psf.uncertainty
    if error is None or state.model_error is None:
        return np.zeros(len(s))
    total = state.model_error[s.inside(state.image.shape)].astype(np.float64)
    # a source of this pass was a candidate when the error was computed
    own = np.where(s.passno < state.passno, s.flux*error[len(error)//2, len(error)//2], 0)
    return coherence(state.psf.stamp(state.config.solve.stamp_sizes[0]))*np.sqrt(np.maximum(total**2-own**2, 0))
