"""The uncertainty of a PSF: what is not known of it at first, and how the stars scatter around it once it is fitted."""
import numpy as np
from scipy import ndimage

from ...core.calibration import calibration
from ..base import MODEL_ERROR
from ..grid import middle_continued
from .linear import nuisance_columns, scaled, solve_robustly

WIDE = 149
"""Side of the stamps on which the wings of a PSF are found that had no uncertainty before, pixels."""
CORE_ERROR, DIFFRACTED = calibration.uncertainty.core_error, calibration.uncertainty.diffracted
"""Uncertainty of a PSF of which only the width is known: this share of itself, and of its peak at a distance of one FWHM."""
WING_SHARE = calibration.uncertainty.wing_share
"""Least uncertainty of fitted wings, relative to what is around."""
WINGS_FROM = calibration.uncertainty.wings_from
"""Distance from which wings are fitted to the brightest stars, pixels."""
SMOOTHED = calibration.uncertainty.smoothed
"""Side of the boxes over which the scatter is averaged, pixels."""
DETERMINED = 1e-3
"""Stars of almost the same flux do not tell errors of the PSF from undetected stars."""


def unknown_wings(psf, size):
    """Uncertainty of a PSF of which only the width is known, shape (size, size), float32.

    Rings and spikes that diffraction makes: the brightest fall about as the square of the distance.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    size : int
        Odd side, pixels.
    """
    stamp = psf.stamp(size)
    return np.hypot(CORE_ERROR*stamp, DIFFRACTED*stamp.max()*inverse_square(distances(size), psf)).astype(np.float32)


def distances(size, sampling=1):
    """Distance of each sample of a square from its middle, pixels, shape (size, size)."""
    at = (np.arange(size)-size//2)/sampling
    return np.hypot(at[:, None], at[None, :])


def inverse_square(distance, psf):
    """Square of the FWHM over a distance, at most 1."""
    return 1/np.maximum(distance/float(psf.fwhm()), 1)**2


def measured_uncertainty(psf, stamps):
    """Uncertainty from the scatter of the stars around the PSF, relative to their fluxes.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
        Fitted to the stars.
    stamps : crowdsource.psf.base.StarStamps

    Returns
    -------
    ndarray, shape (psf.wide_stamp, psf.wide_stamp), float32
        Beyond `WINGS_FROM` that of the wide stamps, or what it was where there are none.
    """
    size = psf.wide_stamp
    wings = psf.uncertainty if stamps.wide is None else scatter_around(psf, stamps.wide)
    core, wings = (middle_continued(v, size) for v in (scatter_around(psf, stamps), wings))
    distance = distances(size)
    around = ndimage.uniform_filter(ndimage.maximum_filter(np.abs(psf.stamp(size)), 3), 3)
    least = WING_SHARE*around*np.clip((distance-WINGS_FROM/2)/WINGS_FROM, 0, 1)
    return np.hypot(least, np.where(distance < WINGS_FROM+2, core, wings)).astype(np.float32)


def scatter_around(psf, stamps):
    """Scatter of stars around a PSF beyond their noise, relative to the flux, smoothed, shape (size, size).

    Light of undetected stars scatters the residuals of all stars alike, errors of the PSF in proportion to their fluxes: in each
    pixel a variance of either kind is fitted.
    """
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    data = scaled(stamps, value)
    fit = solve_robustly(nuisance_columns(value, ddx, ddy), data)
    flux = fit.flux
    ivar = stamps.ivar.reshape(data.weight.shape)*(stamps.flux[:, None]*flux)**2
    # outliers count less, as in the fit
    kept = fit.weight/np.maximum(data.weight, 1e-30)
    weight, variance = (kept*ivar**2).astype(np.float64), np.divide(1, ivar, out=np.zeros_like(ivar), where=ivar > 0)
    excess = (fit.residual/flux)**2-variance
    fixed = np.square(np.median(stamps.flux)/(stamps.flux[:, None]*flux))
    one, other, square, seen, seen_other = (
        ndimage.uniform_filter(v.sum(axis=0).reshape(stamps.size, stamps.size), SMOOTHED, mode="nearest")
        for v in (weight, weight*fixed, weight*fixed**2, weight*excess, weight*fixed*excess))
    determinant = one*square-other**2
    both = (determinant > DETERMINED*one*square) & (one*seen_other > other*seen)
    relative = np.where(both, square*seen-other*seen_other, seen)
    scale = np.where(both, determinant, one)
    scatter = np.sqrt(np.maximum(np.divide(relative, scale, out=np.zeros_like(scale), where=scale > 0), 0))
    return np.hypot(scatter, MODEL_ERROR*np.abs(psf.stamp(stamps.size)))


def with_uncertainty(data, psf, share):
    """Scaled stamps whose weights count a share of the PSF's uncertainty: the brightest star does not outweigh the others.

    Parameters
    ----------
    data : crowdsource.psf.refit.linear.ScaledStamps
    psf : crowdsource.psf.base.PSF
    share : float
    """
    size = round(np.sqrt(data.weight.shape[1]))
    error = share*middle_continued(psf.uncertainty, size).reshape(1, -1)
    return type(data)(data.data, data.weight/(1+data.weight*error**2))
