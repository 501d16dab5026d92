"""A pixel core for stars that are too narrow to be shifted to a common centre.

Interpolation between the pixels of such a star leaves ripples. So stars are not shifted: each pixel of the core is rendered at
every star, by the same splines as the PSF itself, and the pixels that fit all stars best are the solution of one linear system.
"""
import logging
from dataclasses import dataclass, replace

import numpy as np

from ...core import linear
from ...core.calibration import calibration
from ..grid import coefficients, middle_samples, render
from .core import taper
from .linear import NUISANCE, normal_equations, nuisance_columns, scaled, solve_robustly, without_nuisances

log = logging.getLogger(__name__)
LARGEST_CORE = calibration.narrow.largest_core
"""Largest side of a core whose pixels are fitted to all stars in one system."""
MARGIN = calibration.narrow.margin
"""The stamps of the stars are larger than the core by this many pixels, which determine flux and sky."""
PRIOR, WIDTH_STEPS = calibration.narrow.prior, 30
"""Initial width of the prior on a pixel of the core, in units of the peak of the PSF, and number of steps that improve it."""
ITERATIONS = 2
SIGNIFICANCE = calibration.narrow.significance
"""A core must improve chi2 by more than noise alone would: by the expected improvement plus so many of its standard
deviations."""


@dataclass(frozen=True, eq=False)
class CoreEquations:
    """Normal equations of the change of a core.

    Attributes
    ----------
    matrix : ndarray, shape (k, k)
    rhs : ndarray, shape (k,)
    scatter : float
        Mean square of the residual over its error, at least 1.
    """

    matrix: np.ndarray
    rhs: np.ndarray
    scatter: float


def fit_narrow_core(psf, stamps, size):
    """A PSF with a core that is constant over the image, fitted without shifting stars.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        New profile and old core.
    stamps : crowdsource.psf.base.StarStamps
    size : int
        Side of the core, pixels; at most 9.

    Returns
    -------
    FieldPSF
        Without a core when none is significant.
    """
    size = min(size, LARGEST_CORE, stamps.size-2)
    bare, margin = psf.with_parts(psf.profile), max(0, stamps.size-size-MARGIN)//2
    inner = np.s_[:, margin:stamps.size-margin, margin:stamps.size-margin]
    stamps = replace(stamps, data=stamps.data[inner], ivar=stamps.ivar[inner])
    templates, fade = core_templates(bare, stamps, size), taper(size)
    core = psf.core if psf.core.shape == (1, size, size) else np.zeros((1, size, size))
    for _ in range(ITERATIONS):
        normal = normal_of_core(replace(bare, core=core), stamps, templates)
        before = (core[0]/np.where(fade > 0, fade, 1)).ravel()
        rhs = (normal.rhs+linear.combined(normal.matrix, before))/normal.scatter
        pixels = regularised_solution(normal.matrix/normal.scatter, rhs, PRIOR*bare.stamp(1)[0, 0])
        if pixels is None:
            log.info("PSF without a pixel core: none is significant")
            return bare
        core = (pixels.reshape(size, size)*fade)[None]
    return psf.with_parts(psf.profile, core)


def regularised_solution(matrix, rhs, width):
    """Solution of normal equations with a Gaussian prior around 0 whose width is determined from the data (empirical Bayes).

    Combinations of pixels that the stars determine badly, as those equivalent to a change of flux, position or sky, stay near 0.

    Parameters
    ----------
    matrix : ndarray, shape (k, k)
    rhs : ndarray, shape (k,)
    width : float
        Initial width of the prior.

    Returns
    -------
    ndarray, shape (k,), or None
        None when the improvement of chi2 is compatible with noise.
    """
    known, modes = linear.symmetric_modes(matrix)
    known, seen = np.maximum(known, 0), linear.combined(modes.T, rhs)
    precision = 1/width**2
    free = (known/(known+precision)).sum()
    if (seen**2/(known+precision)).sum() < free+SIGNIFICANCE*np.sqrt(2*free):
        return None
    for _ in range(WIDTH_STEPS):
        # expectation and maximisation: mean square of the modes, from mean and variance given the width
        precision = 1/np.mean((seen/(known+precision))**2+1/(known+precision))
    return linear.combined(modes, seen/(known+precision))


def core_templates(bare, stamps, size):
    """Contribution of each pixel of a core, faded towards the rim, to the stamp of each star; shape (size^2, n, side, side)."""
    units = np.eye(size**2).reshape(-1, size, size)*taper(size)
    wide = stamps.size+4
    planes = replace(bare, core=units).core_samples(max(wide, bare.norm_size))
    one = np.ones((len(stamps), 1))
    return np.array([render(coefficients(middle_samples(plane[None], wide, bare.oversampling)), one, stamps.x, stamps.y,
                            stamps.size, bare.oversampling) for plane in planes])


def normal_of_core(psf, stamps, templates):
    """Normal equations of the change of a core, with the nuisance parameters of each star eliminated.

    Parameters
    ----------
    psf : FieldPSF
        With the core that is to be changed.
    stamps : crowdsource.psf.base.StarStamps
    templates : ndarray, shape (k, n, side, side)
        As `core_templates` gives them.

    Returns
    -------
    CoreEquations
    """
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    data, n = scaled(stamps, value), len(stamps)
    columns = nuisance_columns(value, ddx, ddy, *templates)
    fits = solve_robustly(columns[:, :NUISANCE], data)
    stars = without_nuisances(normal_equations(columns, fits.weight, data.data-value.reshape(n, -1)))
    matrix, rhs = stars.matrix.sum(axis=0), stars.rhs.sum(axis=0)
    explained = linear.dot(rhs, linear.least_squares(matrix, rhs, 1e-6))
    scatter = ((fits.weight*fits.residual**2).sum()-explained)/max(1, (fits.weight > 0).sum()-NUISANCE*n)
    return CoreEquations(matrix, rhs, max(1., float(scatter)))
