"""The noise that bright stars have beyond their weights: errors of the PSF, and photons that the weights count elsewhere.

Weights that a pipeline makes from a smoothed image spread the photons of a star over its neighbouring pixels: at the peak of a
narrow PSF they leave out half of the variance and more, around it they count too much.

Stars of which the PSF was made tell little about its errors, since it follows their noise. So the PSF is made from each half of
them, and compared with the other half. Where they are few, the covariance of the PSF's parameters tells its errors.
"""
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..core import linear
from ..core.calibration import calibration
from ..psf.refit.linear import diagonal_part, nuisance_columns
from ..psf.refit.refit import NARROW
from .design import chunks_by_size, sizes
from .measure import boxes
from .psf_stars import PARTLY, stamps_of

LEAST_STARS = calibration.psf_error.least_stars
"""With fewer stars nothing is measured."""
SIDE = calibration.psf_error.side
"""Side of the stamps that are compared, pixels."""
CORE = calibration.psf_error.core
"""Pixels count where the PSF exceeds this share of its peak."""
CLIP, CLIPPED_MEAN = 9., 0.9735
"""Square of a residual over its variance at which it is clipped, and the mean of such a square of Gaussian noise."""
ITERATIONS = 30
LOW = 0.25
"""Quantile of the variances of a stamp that stands for its background."""
LEAST_VARIANCE = 0.05
"""A pixel has at least this share of the variance that its weight tells."""


@dataclass(frozen=True)
class ExcessNoise:
    """Variance of a pixel of a star beyond that of its weights: (psf*model)^2 + photons*model - misplaced*counted.

    ``counted`` is the part of the weights' variance that light causes, see `counted_light`.

    Attributes
    ----------
    psf : float
        Relative error of the PSF.
    photons : float
        Image units: the inverse of the gain, where the weights do not count the star's own light, or count it in other pixels.
    misplaced : float
        Share of the light in the weights that is not where the star's is, 0 to 1.
    """

    psf: float = 0.
    photons: float = 0.
    misplaced: float = 0.


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Residuals of stars from a PSF that was made from others; n is the number of pixels of all stars.

    Attributes
    ----------
    square, variance : ndarray, shape (n,)
        Squared residual, and its expectation by the weights.
    of_psf, of_photons, of_misplaced : ndarray, shape (n,)
        What each attribute of `ExcessNoise` adds to the expectation, for 1 of it (of the square of ``psf``).
    """

    square: np.ndarray
    variance: np.ndarray
    of_psf: np.ndarray
    of_photons: np.ndarray
    of_misplaced: np.ndarray


def excess_noise(state, stars):
    """The `ExcessNoise` of the PSF stars; none where they are too few, not narrow, or no PSF is made from them.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    stars : ndarray of int
        Indices of the PSF stars.
    """
    if not state.config.psf.refit or (state.psf.uncertainty is None and state.psf.fwhm() >= NARROW):
        return ExcessNoise()
    if len(stars) < LEAST_STARS:
        return ExcessNoise()
    halves = [held_out(state, stars[k::2], stars[1-k::2]) for k in (0, 1)]
    square, variance, *terms = (np.concatenate([getattr(h, name) for h in halves])
                                for name in ("square", "variance", "of_psf", "of_photons", "of_misplaced"))
    terms, found = np.array(terms), np.zeros(3)
    for _ in range(ITERATIONS):
        expected = np.maximum(variance+linear.combined(found, terms), LEAST_VARIANCE*variance)
        clipped = np.minimum(square/expected, CLIP)/CLIPPED_MEAN*expected
        found = _bounded_solution(terms/expected, (clipped-variance)/expected, (np.inf, np.inf, 1.))
    return ExcessNoise(float(np.sqrt(found[0])), float(found[1]), float(found[2]))


def _bounded_solution(terms, data, most):
    """Least squares of terms, each between 0 and its largest value; terms that are 0 everywhere stay 0."""
    scale = np.sqrt((terms**2).sum(axis=1))
    scale[scale == 0] = 1
    terms, largest = terms/scale[:, None], np.array(most)*scale
    normal, right = linear.products(terms, terms), linear.products(terms, data[None])[:, 0]
    best, lowest = np.zeros(len(terms)), 0.
    # few terms: each is 0, as large as it may be, or free
    for fixed in product(*((0., np.nan, m) if np.isfinite(m) else (0., np.nan) for m in largest)):
        x = np.array(fixed)
        free = np.isnan(x)
        x[free] = 0
        try:
            x[free] = linear.solve(normal[np.ix_(free, free)], (right-linear.combined(normal, x))[free])
        except np.linalg.LinAlgError:
            continue
        chi2 = linear.dot(x, linear.combined(normal, x)-2*right)
        if chi2 < lowest and (x >= 0).all() and (x <= largest).all():
            best, lowest = x, chi2
    return best/scale


def counted_light(ivar):
    """The part of the variances of stamps that light causes: what exceeds the variance of their background.

    Parameters
    ----------
    ivar : ndarray, shape (n, side, side)
        Inverse variance; 0 marks bad pixels.

    Returns
    -------
    ndarray, shape (n, side, side)
        Not negative; 0 in bad pixels.
    """
    good = ivar > 0
    variance = np.divide(1, ivar, out=np.full(ivar.shape, np.inf), where=good)
    ordered = np.sort(variance.reshape(len(ivar), ivar[0].size if len(ivar) else 0), axis=1)
    rank = np.maximum(np.ceil(LOW*good.sum(axis=(1, 2))).astype(int)-1, 0)
    low = np.take_along_axis(ordered, rank[:, None], axis=1)[:, :, None]
    return np.where(good, np.maximum(variance, low)-np.where(np.isfinite(low), low, 0), 0)


def held_out(state, made_from, compared):
    """The `HeldOut` of some stars against a PSF made from others.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    made_from, compared : ndarray of int
        Indices of stars.
    """
    psf = state.psf.refit(stamps_of(state, made_from, state.config.psf.stamp), state.config.psf)
    stamps = stamps_of(state, compared, SIDE)
    stamps = stamps.subset((stamps.ivar > 0).mean(axis=(1, 2)) > PARTLY)
    columns = nuisance_columns(*psf.render(stamps.x, stamps.y, SIDE, derivatives=True)).transpose(0, 2, 1).astype(np.float64)
    value = columns[:, :, 0]
    counted = counted_light(stamps.ivar).reshape(value.shape).astype(np.float64)
    ivar, data = (v.reshape(value.shape).astype(np.float64) for v in (stamps.ivar, stamps.data))
    weighted = (columns*ivar[:, :, None]).transpose(0, 2, 1)
    normal = linear.matmul(weighted, columns)
    hat = linear.matmul(columns, linear.solve(normal+1e-12*diagonal_part(normal), weighted))
    remains = np.eye(value.shape[1])-hat
    light = stamps.flux[:, None]*value
    use = (value > CORE*value.max(axis=1, keepdims=True)) & (ivar > 0)

    def seen(variance):
        """Variance of the residuals that a variance of the pixels makes."""
        return linear.products(remains**2, variance[:, None])[:, :, 0][use]

    # pixels without weight do not reach the others
    of_pixels = np.divide(1, ivar, out=np.zeros_like(ivar), where=ivar > 0)
    left = linear.products(remains, data[:, None])[:, :, 0][use]
    return HeldOut(left**2, seen(of_pixels), seen(light**2), seen(np.maximum(light, 0)), -seen(counted))


def added_errors(state, excess):
    """Errors of flux, and of flux times shift in x and y, from noise beyond that of the weights, shape (n, 3).

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    excess : ExcessNoise
    """
    s, out = state.sources, np.zeros((len(state.sources), 3))
    if excess == ExcessNoise():
        return out
    _, ivar = boxes(state, s.x, s.y, SIDE)
    planes = state.psf.render(s.x, s.y, SIDE, derivatives=True)
    light = np.maximum(s.flux, 0)[:, None, None]*np.abs(planes[0])
    variance = (excess.psf*light)**2+excess.photons*light
    if excess.misplaced:
        variance -= excess.misplaced*counted_light(ivar)
    for k, plane in enumerate(planes):
        information = (ivar*plane**2).sum(axis=(1, 2), dtype=np.float64)
        noise = (variance*(ivar*plane)**2).sum(axis=(1, 2), dtype=np.float64)
        # where less noise is left than the weights tell, their word stands
        out[:, k] = np.sqrt(np.maximum(noise, 0))/np.where(information > 0, information, np.inf)
    return out


def shape_errors(state):
    """Errors of flux, and of flux times shift in x and y, that an uncertain shape of the PSF causes, shape (n, 3).

    A wrong shape dP changes what a fit of P finds by sum(w P dP)/sum(w P^2), likewise along the derivatives of P. The shape was
    fitted with the fluxes of its stars free, so that this adds to the noise of these stars' fluxes as well.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    """
    s, out = state.sources, np.zeros((len(state.sources), 3))
    if state.psf.covariance is None:
        return out
    size = sizes(state, s)
    for k in chunks_by_size(size):
        x, y, side = s.x[k], s.y[k], int(size[k[0]])
        _, ivar = boxes(state, x, y, side)
        errors = state.psf.shape_errors(x, y, side)
        for column, plane in enumerate(state.psf.render(x, y, side, derivatives=True)):
            information = (ivar*plane**2).sum(axis=(1, 2), dtype=np.float64)
            change = (ivar*plane*errors).sum(axis=(2, 3), dtype=np.float64)
            share = np.sqrt((change**2).sum(axis=0))/np.where(information > 0, information, np.inf)
            out[k, column] = np.abs(s.flux[k])*share
    return out
