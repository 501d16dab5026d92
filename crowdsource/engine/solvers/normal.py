"""Solver by the normal equations and preconditioned conjugate gradients."""
import numpy as np
from scipy import sparse

from ...core import linear
from ...cython_ext import solve as kernel
from ..design import sky_basis
from .equations import build_normal
from .problem import Step


def normal_step(problem, config, n_parameters=3, normal=None):
    """Solve by normal equations and conjugate gradients.

    Parameters
    ----------
    problem : LinearProblem
    config : crowdsource.config.SolveConfig
    n_parameters : int
        3 to let positions move, 1 for fluxes alone.
    normal : NormalEquations, optional
        Those of the problem, where they are known already, perhaps without pairs that hardly overlap. Where the answer does not
        come close enough without these pairs, all pairs are used.

    Returns
    -------
    Step
    """
    if config.sky_spacing > 0:
        return _step_with_sky(problem, config, n_parameters, normal or build_normal(problem))
    if normal is not None:
        step = gradient_step(normal, problem.precision, config, n_parameters)
        if step.reduction <= config.tolerance or config.min_overlap <= 1:
            return step
        # without the blocks of stamps that hardly overlap the matrix need not be positive definite, in very dense fields
    return gradient_step(build_normal(problem), problem.precision, config, n_parameters)


def gradient_step(normal, precision, config, n_parameters):
    """A step by conjugate gradients on normal equations. Parameters as `normal_step` and `LinearProblem`."""
    x, iterations, reduction = kernel.conjugate_gradients(
        normal.with_prior(precision), normal.flat_blocks(), normal.indptr, normal.indices, normal.rhs, n_parameters,
        config.tolerance, config.max_iterations)
    return Step(parameters=x, iterations=iterations, reduction=reduction, normal=normal)


def _step_with_sky(problem, config, n_parameters, normal):
    """Sources and sky knots together; the sources' blocks are made a sparse matrix, as knots couple to all of them."""
    root, diagonal = np.sqrt(problem.ivar), normal.with_prior(problem.precision)
    design = problem.design_matrix()
    hats = sparse.diags_array(root.ravel())@sky_basis(root.shape, config.sky_spacing)
    n, knots = design.shape[1], hats.shape[1]
    used = np.arange(n) % 3 < n_parameters
    extra = np.r_[diagonal.reshape(-1, 9)[:, ::4].ravel()-normal.diagonal.reshape(-1, 9)[:, ::4].ravel(), np.zeros(knots)]
    matrix = sparse.hstack([design, hats], format="csc")
    matrix = matrix[:, np.r_[used, np.ones(knots, bool)]].astype(np.float64)
    extra = extra[np.r_[used, np.ones(knots, bool)]]
    product = (matrix.T@matrix+sparse.diags_array(extra)).tocsr()
    scale = 1/np.sqrt(np.maximum(product.diagonal(), 1e-300))
    scaled = sparse.diags_array(scale)@product@sparse.diags_array(scale)
    rhs = scale*(matrix.T@(root*problem.residual).ravel())
    x, count = linear.conjugate_gradients(lambda v: scaled@v, rhs, lambda v: v, config.tolerance*0.1, 10*config.max_iterations)
    left = rhs-scaled@x
    reduction = np.sqrt(linear.dot(left, left)/max(linear.dot(rhs, rhs), 1e-300))
    parameters = np.zeros(n)
    parameters[used] = (scale*x)[:used.sum()]
    return Step(parameters=parameters.reshape(-1, 3), iterations=count, reduction=reduction, sky=(scale*x)[used.sum():],
                normal=normal)
