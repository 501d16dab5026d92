"""What blending leaves of the signal to noise of stars whose truth is known."""
import numpy as np

from ..engine.design import render_stamps
from ..engine.solvers import LinearProblem, build_normal, covariances, prior_precision

STAMP = 31
"""Side of the stamps, pixels."""
POSITION_PRIOR = 1.
"""Width of the prior on positions, pixels."""
MIN_CORRELATION, MAX_NEIGHBOURS = 0.01, 40
"""Neighbours whose flux is correlated less than this count as known; and the largest number of those that are free."""


def blended_signal_to_noise(image, psf, x, y, flux):
    """Signal to noise that an image holds for stars when the fluxes and positions of all are free: their Cramer-Rao bounds.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    psf : crowdsource.psf.base.PSF
    x, y : ndarray, shape (n,)
        True positions of all stars that could be detected, pixels.
    flux : ndarray, shape (n,)
        True fluxes.

    Returns
    -------
    ndarray, shape (n,)
        0 for stars without a good pixel.
    """
    x, y, flux = (np.asarray(v, dtype=np.float64) for v in (x, y, flux))
    precision = prior_precision(flux, np.zeros(len(flux)), POSITION_PRIOR)
    problem = LinearProblem(stamps=render_stamps(psf, x, y, np.full(len(x), STAMP)), ivar=image.ivar,
                            residual=np.zeros(image.shape, np.float32), precision=precision)
    variance = covariances(build_normal(problem), precision, MIN_CORRELATION, MAX_NEIGHBOURS)[:, 0, 0]
    return np.where(np.isfinite(variance), flux/np.sqrt(variance), 0)
