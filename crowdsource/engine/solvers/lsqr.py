"""Solver by the explicit sparse matrix and LSQR (Paige and Saunders 1982)."""
import numpy as np
from scipy import sparse

from ..design import sky_basis
from .equations import build_normal
from .problem import Step


def lsqr_step(problem, config, n_parameters=3, normal=None):
    """Solve by the explicit sparse matrix and LSQR, columns scaled to unit norm; the prior enters as further rows.

    Parameters and result as `crowdsource.engine.solvers.normal.normal_step`.
    """
    from scipy.sparse.linalg import lsqr  # slow to import, and seldom needed
    root, design, n = np.sqrt(problem.ivar), problem.design_matrix(n_parameters), len(problem)
    prior = np.zeros((n, n_parameters))
    prior[:, 1:] = np.sqrt(problem.precision)[:, None]
    parts = [sparse.vstack([design, sparse.diags_array(prior.ravel())], format="csc")]
    if config.sky_spacing > 0:
        hats = sparse.diags_array(root.ravel())@sky_basis(root.shape, config.sky_spacing)
        parts.append(sparse.vstack([hats, sparse.csr_array((n*n_parameters, hats.shape[1]))], format="csc"))
    matrix = sparse.hstack(parts, format="csc") if len(parts) > 1 else parts[0]
    norm = np.sqrt(np.asarray((matrix*matrix).sum(axis=0)).ravel())
    scale = np.where(norm > 0, 1/np.maximum(norm, 1e-300), 0)
    matrix = (matrix@sparse.diags_array(scale)).tocsc()
    rhs = np.r_[(root*problem.residual).ravel(), np.zeros(n*n_parameters)].astype(np.float64)
    answer = lsqr(matrix, rhs, atol=config.tolerance*0.01, btol=0., iter_lim=10*config.max_iterations)
    x = answer[0]*scale
    parameters = np.zeros((n, 3))
    parameters[:, :n_parameters] = x[:n*n_parameters].reshape(n, n_parameters)
    sky = x[n*n_parameters:] if config.sky_spacing > 0 else None
    reduction = answer[7]/max(np.linalg.norm(matrix.T@rhs), 1e-300)
    return Step(parameters=parameters, iterations=answer[2], reduction=reduction, sky=sky, normal=normal or build_normal(problem))
