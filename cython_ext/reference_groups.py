"""Slow twins of the kernels of `merge`; see `reference`."""
import numpy as np
from crowdsource.cython_ext.reference import add_stamps


def group_models(stamps, x0, y0, flux, side):
    """Twin of `merge.group_models`."""
    n, members, size, _ = stamps.shape
    out = np.zeros((n, side, side))
    for g in range(n):
        for k in range(members):
            add_stamps(out[g], stamps[g, k][None].astype(float), [x0[g, k]], [y0[g, k]], [flux[g, k]])
    return out


def group_equations(residual, weight, stamps, x0, y0):
    """Twin of `merge.group_equations`."""
    n, members = x0.shape
    normal, right = np.zeros((n, 3*members, 3*members)), np.zeros((n, 3*members))
    for g in range(n):
        at = [(plane[g:g+1, k:k+1], x0[g:g+1, k:k+1], y0[g:g+1, k:k+1]) for k in range(members) for plane in stamps]
        columns = np.array([group_models(*one, np.ones((1, 1)), residual.shape[1]) for one in at]).reshape(3*members, -1)
        normal[g] = (columns*weight[g].ravel())@columns.T
        right[g] = columns@(weight[g]*residual[g].astype(float)).ravel()
    chi2 = (residual.astype(float)**2*weight).sum(axis=(1, 2))
    return normal.reshape(n, members, 3, members, 3), right.reshape(n, members, 3), chi2


def group_steps(residual, weight, stamps, x0, y0):
    """Twin of `merge.group_steps`."""
    normal, right, chi2 = group_equations(residual, weight, stamps, x0, y0)
    n, members, terms = *x0.shape, 3*x0.shape[1]
    normal, right = normal.reshape(n, terms, terms), right.reshape(n, terms)
    diagonal = np.diagonal(normal, axis1=1, axis2=2)
    normal = normal+np.where(diagonal > 0, 1e-3*diagonal, 1)[:, :, None]*np.eye(terms)
    change = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return change.reshape(n, members, 3), chi2, (right*change).sum(axis=1)
