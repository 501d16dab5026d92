"""Fit of the parameters of a Moffat profile, as polynomials of the position, to stars."""
from dataclasses import replace

import numpy as np

from ...core import linear
from ..grid import basis, coefficients, render, terms
from ..profiles.moffat import unit_stamps
from .linear import NUISANCE, in_blocks, normal_equations, nuisance_columns, scaled, solve_robustly, without_nuisances

STEPS = dict(fwhm=0.02, e=0.02, beta=0.05)
"""Steps of the finite differences that give the derivatives of the shape; relative for fwhm and beta."""
LARGEST = np.array([0.3, 0.1, 0.1, 0.5])
"""Largest change of fwhm (relative), e1, e2 and beta (relative) in one iteration."""
ITERATIONS = 3
SETTLED = np.array([0.01, 0.003, 0.003, 0.05])
"""The iteration ends when fwhm (pixels), e1, e2 and beta change by less."""


def fit_profile(psf, stamps, order):
    """Gauss-Newton fit of the polynomials of the parameters of a Moffat profile.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        Its profile is the starting point; its core is not used.
    stamps : crowdsource.psf.base.StarStamps
    order : int
        Of the polynomials.

    Returns
    -------
    crowdsource.psf.profiles.moffat.MoffatProfile
    """
    profile = psf.profile.raised(order)
    design = basis(stamps.x, stamps.y, psf.shape, order)
    # beta varies slowly and is the least certain parameter: one value for the image
    free = [terms(order)]*3+[1]
    for _ in range(ITERATIONS):
        before = profile
        matrix, rhs = normal_of_polynomials(psf.with_parts(profile), stamps, design, free)
        step = linear.least_squares(matrix, rhs, 1e-10)
        profile = stepped(profile, step, free)
        if (np.abs(profile.coefficients-before.coefficients).sum(axis=1) < SETTLED).all():
            break
    return profile


def normal_of_polynomials(psf, stamps, design, free):
    """Matrix and right-hand side of the normal equations of the polynomials.

    Parameters
    ----------
    psf : FieldPSF
        The present profile without a core.
    stamps : StarStamps
    design : ndarray, shape (n, terms)
        Terms of the polynomials at the stars.
    free : list of int
        Number of free coefficients of fwhm, e1, e2 and beta.
    """
    n, changes = len(stamps), shape_changes(psf, stamps.size)
    # threads must find the planes already made
    psf.prepare(stamps.size)
    normal = in_blocks(lambda block: normal_of_stars(psf, block, changes), stamps)
    # derivative of the shape of each star with respect to the coefficients
    slope = np.zeros((n, 4, sum(free)))
    start = 0
    for k, count in enumerate(free):
        slope[:, k, start:start+count] = design[:, :count]
        start += count
    wide = slope.reshape(-1, slope.shape[-1])
    matrix = linear.products(wide.T, linear.matmul(normal.matrix, slope).reshape(wide.shape).T)
    return matrix+1e-9*np.diag(np.diag(matrix)), np.einsum("nka,nk->a", slope, normal.rhs)


def shape_changes(psf, size):
    """Spline coefficients of the derivatives of the profile with respect to fwhm, e1, e2 and beta, in the middle."""
    middle = psf.profile.at(*(np.atleast_1d(c) for c in psf.centre))[0]
    steps = np.diag([STEPS["fwhm"]*middle[0], STEPS["e"], STEPS["e"], STEPS["beta"]*middle[3]])
    stamps = unit_stamps(np.r_[middle+steps, middle-steps], size+4, psf.oversampling, psf.norm_size, psf.profile.halo)
    change = coefficients((stamps[:4]-stamps[4:])/(2*np.diag(steps)[:, None, None]))
    return [change[k:k+1] for k in range(4)]


def normal_of_stars(psf, stamps, changes):
    """The `NormalEquations` of fwhm, e1, e2 and beta of each star on its own, nuisance parameters eliminated."""
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    data = scaled(stamps, value)
    one = np.ones((len(stamps), 1))
    shapes = [render(change, one, stamps.x, stamps.y, stamps.size, psf.oversampling) for change in changes]
    columns = nuisance_columns(value, ddx, ddy, *shapes)
    weight = solve_robustly(columns[:, :NUISANCE], data).weight
    return without_nuisances(normal_equations(columns, weight, data.data-value.reshape(len(stamps), -1)))


def stepped(profile, step, free):
    """The profile after a step, which is limited so that a bad start cannot diverge."""
    change = np.zeros_like(profile.coefficients)
    start = 0
    for k, count in enumerate(free):
        change[k, :count] = step[start:start+count]
        start += count
    limit = LARGEST*np.array([profile.coefficients[0, 0], 1, 1, profile.coefficients[3, 0]])
    change *= np.minimum(1, limit/np.maximum(np.abs(change).sum(axis=1), 1e-30))[:, None]
    return replace(profile, coefficients=profile.coefficients+change)
