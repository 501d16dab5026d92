"""Solver by normal equations and preconditioned conjugate gradients."""
import numpy as np
from scipy import sparse

from ...cython_ext import solve as kernel
from ..design import sky_basis, sparse_matrix
from .equations import Step, build_normal


def normal_step(stamps, ivar, residual, precision, config, planes=3, normal=None):
    """Solve by normal equations and conjugate gradients.

    Parameters
    ----------
    stamps : crowdsource.engine.design.StampSet
    ivar, residual : ndarray, shape (ny, nx), float32
        Inverse variance; data less sky and model.
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    config : crowdsource.config.SolveConfig
    planes : int
        3 to let positions move, 1 for fluxes alone.
    normal : NormalEquations, optional
        Those of the stamps, where they are known already, perhaps without pairs that hardly overlap; with all pairs where the
        answer does not come close enough without them.

    Returns
    -------
    Step
    """
    if config.sky_spacing > 0:
        normal = normal or build_normal(stamps, ivar, residual)
        return _normal_step_with_sky(stamps, ivar, residual, normal.with_prior(precision), normal, config, planes)
    if normal is not None:
        step = gradient_step(normal, precision, config, planes)
        if step.reduction <= config.tolerance or config.min_overlap <= 1:
            return step
        # without the blocks of stamps that hardly overlap the matrix need not be positive, where stars stand very densely
    return gradient_step(build_normal(stamps, ivar, residual), precision, config, planes)


def gradient_step(normal, precision, config, planes):
    """A step by conjugate gradients."""
    x, iterations, reduction = kernel.conjugate_gradients(
        normal.with_prior(precision), normal.flat_blocks(), normal.indptr, normal.indices, normal.rhs, planes, config.tolerance,
        config.max_iterations)
    return Step(x, iterations, reduction, normal=normal)


def _normal_step_with_sky(stamps, ivar, residual, diagonal, normal, config, planes):
    """Sources and sky knots together; the sources' blocks are made a sparse matrix, as knots couple to all of them."""
    from scipy.sparse.linalg import cg  # heavy to import, and seldom needed
    root = np.sqrt(ivar)
    design = sparse_matrix(stamps, root, 3)
    hats = sparse.diags_array(root.ravel())@sky_basis(ivar.shape, config.sky_spacing)
    n, knots = design.shape[1], hats.shape[1]
    used = np.arange(n) % 3 < planes
    extra = np.r_[diagonal.reshape(-1, 9)[:, ::4].ravel()-normal.diagonal.reshape(-1, 9)[:, ::4].ravel(), np.zeros(knots)]
    matrix = sparse.hstack([design, hats], format="csc")
    matrix = matrix[:, np.r_[used, np.ones(knots, bool)]].astype(np.float64)
    extra = extra[np.r_[used, np.ones(knots, bool)]]
    product = (matrix.T@matrix+sparse.diags_array(extra)).tocsr()
    scale = 1/np.sqrt(np.maximum(product.diagonal(), 1e-300))
    scaled = sparse.diags_array(scale)@product@sparse.diags_array(scale)
    rhs = scale*(matrix.T@(root*residual).ravel())
    count = [0]
    x, _ = cg(scaled, rhs, rtol=config.tolerance*0.1, maxiter=10*config.max_iterations,
              callback=lambda _: count.__setitem__(0, count[0]+1))
    reduction = np.linalg.norm(rhs-scaled@x)/max(np.linalg.norm(rhs), 1e-300)
    parameters = np.zeros(n)
    parameters[used] = (scale*x)[:used.sum()]
    return Step(parameters.reshape(-1, 3), count[0], reduction, sky=(scale*x)[used.sum():], normal=normal)
