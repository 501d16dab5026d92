"""Fit of a Moffat profile to a few stars, with priors, and what remains uncertain of its shape.

From five stars on the stars outvote each other's noise, and the PSF's own error is small against that of a flux. One faint star
determines the width, but hardly the wings. So each parameter has a prior as wide as the PSFs of telescopes differ, and data
replace it as far as they go; how uncertain the parameters are is known, and is part of the errors of all fluxes.
"""
from dataclasses import replace

import numpy as np

from ...core import linear
from ..grid import render
from ..profiles.moffat import LIMITS, MoffatProfile
from .linear import NUISANCE, in_blocks, nuisance_columns, scaled, solve_robustly
from .profile import LARGEST, SETTLED, normal_of_stars, shape_changes

TYPICAL = np.array([0., 0., 0., 1/3])
"""Of fwhm, e1, e2 and 1/beta, the middle of the prior. Fluxes are nearly linear in 1/beta, which is 0 for a Gaussian."""
SPREAD = np.array([np.inf, 0.1, 0.1, 1/6])
"""Width of the prior: the FWHM may be anything, telescopes are seldom more elliptic, and beta is 2 to 6."""
ITERATIONS = 15
"""The width may be far off: where no star is bright enough to be measured, the fit starts from any."""


def fit_few(psf, stamps):
    """A PSF with a Moffat profile that is the same over the image, fitted to one star or more.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        Its profile, a Moffat, is the starting point.
    stamps : crowdsource.psf.base.StarStamps

    Returns
    -------
    FieldPSF or None
        With the covariance of its parameters; None where they are no stars, as hot pixels.
    """
    # a sky from before the profile was known has wings of the stars
    stamps = stamps.with_sky
    parameters = _inverted(psf.profile.at(*(np.atleast_1d(c) for c in psf.centre))[0])
    for _ in range(ITERATIONS):
        bare = psf.with_parts(_profile(parameters, psf.profile))
        matrix, rhs = normal_of_shape(bare, stamps)
        step = linear.solve(matrix, rhs)
        limit = LARGEST*[parameters[0], 1, 1, TYPICAL[3]]
        before, parameters = parameters, _inverted(_within(parameters+np.clip(step, -limit, limit)))
        if (np.abs(parameters-before) < SETTLED*[1, 1, 1, TYPICAL[3]**2]).all():
            break
    new = psf.with_parts(_profile(parameters, psf.profile))
    if parameters[0] <= LIMITS["fwhm"][0] or not explains(new, stamps):
        return None
    slope = _slope(parameters)
    return replace(new, covariance=linear.matmul(linear.matmul(slope, linear.inverse(normal_of_shape(new, stamps)[0])), slope))


def normal_of_shape(bare, stamps):
    """Matrix and right-hand side of the normal equations of fwhm, e1, e2 and 1/beta, with the prior.

    Parameters
    ----------
    bare : FieldPSF
        The present profile.
    stamps : StarStamps
    """
    changes = shape_changes(bare, stamps.size)
    bare.prepare(stamps.size)
    normal = in_blocks(lambda block: normal_of_stars(bare, block, changes), stamps)
    parameters = _inverted(bare.profile.coefficients[:, 0])
    slope, precision, scatter = _slope(parameters), 1/SPREAD**2, misfit(bare, stamps)
    matrix = linear.matmul(linear.matmul(slope, normal.matrix.sum(axis=0)), slope)/scatter
    rhs = linear.combined(slope, normal.rhs.sum(axis=0))/scatter
    # a width that nothing determines stays
    return matrix+np.diag(precision+1e-9*np.diag(matrix)+1e-30), rhs+precision*(TYPICAL-parameters)


def misfit(bare, stamps):
    """Mean square of what a profile leaves of the stars, weighted by their light, over what noise would leave; at least 1.

    Stars that no Moffat profile fits do not determine one as well as their noise would let them.
    """
    fit, light, _ = fits_of(bare, stamps)
    return max(1., float((light*fit.weight*fit.residual**2).sum()/max(light.sum(), 1e-30)))


def explains(bare, stamps):
    """Whether a profile explains more of the light, where it has its own, than it leaves beyond the noise."""
    fit, light, data = fits_of(bare, stamps)
    found = data.data-fit.residual-fit.parameters[:, NUISANCE-1:NUISANCE]
    return bool((light*data.weight*found**2).sum() > (light*(data.weight*fit.residual**2-1)).sum())


def fits_of(bare, stamps):
    """Fits of each star, the profile in their good pixels, shape (n, pixels), and the scaled stamps."""
    value, ddx, ddy = bare.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    data = scaled(stamps, value)
    return (solve_robustly(nuisance_columns(value, ddx, ddy), data),
            np.maximum(value.reshape(data.weight.shape), 0)*(data.weight > 0), data)


def shape_errors(psf, x, y, size):
    """Independent errors of stamps, one sigma each, that follow from the covariance of a PSF's parameters.

    Parameters
    ----------
    psf : FieldPSF
        With a covariance.
    x, y, size
        As `crowdsource.psf.base.PSF.render`.

    Returns
    -------
    ndarray, shape (4, n, size, size), float32
    """
    bare = psf.with_parts(psf.profile)
    changes = np.concatenate(shape_changes(bare, size))
    values, vectors = linear.symmetric_modes(psf.covariance)
    modes = linear.combined((vectors*np.sqrt(np.maximum(values, 0))).T, changes).astype(changes.dtype)
    one = np.ones((len(x), 1), np.float32)
    return np.array([render(modes[k:k+1], one, x, y, size, psf.oversampling) for k in range(len(modes))])


def _profile(parameters, like):
    """The profile of fwhm, e1, e2 and 1/beta, with the halo of another one."""
    return MoffatProfile.constant(like.shape, *_inverted(parameters)[[0, 3, 1, 2]], halo=like.halo)


def _inverted(parameters):
    """Parameters with beta replaced by its inverse, or the other way round."""
    return np.r_[parameters[:3], 1/parameters[3]]


def _within(parameters):
    """fwhm, e1, e2 and beta within their limits, from parameters with 1/beta."""
    low, high = LIMITS["beta"]
    return np.r_[np.clip(parameters[0], *LIMITS["fwhm"]), np.clip(parameters[1:3], -LIMITS["e"], LIMITS["e"]),
                 1/np.clip(parameters[3], 1/high, 1/low)]


def _slope(parameters):
    """Derivatives of fwhm, e1, e2 and beta with respect to the same with 1/beta, a diagonal matrix."""
    return np.diag([1, 1, 1, -1/parameters[3]**2])
