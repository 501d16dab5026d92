"""Solver by the explicit sparse matrix and LSQR."""
import numpy as np
from scipy import sparse

from ..design import sky_basis, sparse_matrix
from .equations import Step, build_normal


def lsqr_step(stamps, ivar, residual, precision, config, planes=3, normal=None):
    """Solve by the explicit sparse matrix and LSQR, columns scaled to unit norm.

    The prior enters as further rows. The residual holds what the model of the last pass left, so that starting from a
    zero step is the warm start. Parameters and result as `normal_step`.
    """
    from scipy.sparse.linalg import lsqr  # heavy to import, and seldom needed
    root = np.sqrt(ivar)
    design = sparse_matrix(stamps, root, planes)
    n = len(stamps)
    prior = np.zeros((n, planes))
    prior[:, 1:] = np.sqrt(precision)[:, None]
    parts = [sparse.vstack([design, sparse.diags_array(prior.ravel())], format="csc")]
    if config.sky_spacing > 0:
        hats = sparse.diags_array(root.ravel())@sky_basis(ivar.shape, config.sky_spacing)
        parts.append(sparse.vstack([hats, sparse.csr_array((n*planes, hats.shape[1]))], format="csc"))
    matrix = sparse.hstack(parts, format="csc") if len(parts) > 1 else parts[0]
    norm = np.sqrt(np.asarray((matrix*matrix).sum(axis=0)).ravel())
    scale = np.where(norm > 0, 1/np.maximum(norm, 1e-300), 0)
    matrix = (matrix@sparse.diags_array(scale)).tocsc()
    rhs = np.r_[(root*residual).ravel(), np.zeros(n*planes)].astype(np.float64)
    answer = lsqr(matrix, rhs, atol=config.tolerance*0.01, btol=0., iter_lim=10*config.max_iterations)
    x = answer[0]*scale
    parameters = np.zeros((n, 3))
    parameters[:, :planes] = x[:n*planes].reshape(n, planes)
    sky = x[n*planes:] if config.sky_spacing > 0 else None
    reduction = answer[7]/max(np.linalg.norm(matrix.T@rhs), 1e-300)
    return Step(parameters, answer[2], reduction, sky=sky, normal=normal or build_normal(stamps, ivar, residual))
