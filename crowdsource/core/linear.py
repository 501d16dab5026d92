"""Dense linear algebra whose bits do not depend on the processor, in the place of NumPy's, which calls a BLAS library.

A BLAS adds in the order that suits the vectors of the processor that it runs on. Here sums have one order; matrices are small,
so that little is lost. Fits are the same bits anywhere.
"""
from math import prod

import numpy as np

from ..cython_ext import linear as kernel

ORTHOGONAL = 1e-15
"""Vectors whose cosine is less are orthogonal: what rounding makes of it."""
SWEEPS = 60
"""Far more than rotations take to converge."""


def products(a, b):
    """Sums over the last axis of products of each row of a with each row of b, as ``a@b.T``.

    Parameters
    ----------
    a, b : array_like, shapes (..., i, p) and (..., j, p)
        Axes before these are the same, or one has none. float32 where both are.

    Returns
    -------
    ndarray, shape (..., i, j), float64
        Sums of eight floats, or four doubles, at a time.
    """
    a, b = _of_one_type(a, b)
    return kernel.row_products(_stack(a), _stack(b)).reshape((*_longer(a, b), a.shape[-2], b.shape[-2]))


def matmul(a, b):
    """The matrix product a b, one row of b added after the other.

    Parameters
    ----------
    a, b : array_like, shapes (..., i, k) and (..., k, p)
        Axes before these are the same, or one has none. float32 where both are.

    Returns
    -------
    ndarray, shape (..., i, p), float32 or float64
    """
    a, b = _of_one_type(a, b)
    return kernel.combinations(_stack(a), _stack(b)).reshape((*_longer(a, b), a.shape[-2], b.shape[-1]))


def combined(factors, planes):
    """Sums of planes times factors: ``np.tensordot(factors, planes, axes=1)``.

    Parameters
    ----------
    factors : array_like, shape (..., k)
    planes : array_like, shape (k, ...)

    Returns
    -------
    ndarray, shape (..., ...)
    """
    factors, planes = np.asarray(factors), np.asarray(planes)
    shape = factors.shape[:-1]+planes.shape[1:]
    # sizes in full: -1 is none where there are no values
    many, wide = prod(factors.shape[:-1]), prod(planes.shape[1:])
    return matmul(factors.reshape(many, len(planes)), planes.reshape(len(planes), wide)).reshape(shape)


def dot(a, b):
    """The sum of the products of the values of two arrays of one shape, float64."""
    return float(products(np.reshape(a, (1, -1)), np.reshape(b, (1, -1)))[0, 0])


def solve(matrix, values):
    """Solutions of linear equations by elimination, for stacks of them; NaN of NaN.

    Parameters
    ----------
    matrix : array_like, shape (..., k, k)
    values : array_like, shape (k,) or (..., k, m)

    Returns
    -------
    ndarray, shape (k,) or (..., k, m), float64

    Raises
    ------
    numpy.linalg.LinAlgError
        When a matrix is singular.
    """
    a, b = np.array(matrix, dtype=np.float64, order="C"), np.asarray(values, dtype=np.float64)
    vector = b.ndim == 1
    b = np.array(np.broadcast_to(b[:, None] if vector else b, (*a.shape[:-1], 1 if vector else b.shape[-1])), order="C")
    if kernel.solutions(_stack(a), _stack(b)) >= 0:
        raise np.linalg.LinAlgError("a matrix of linear equations is singular")
    return b[..., 0] if vector else b


def inverse(matrix):
    """Inverse of each of a stack of matrices, shape (..., k, k); errors as `solve`."""
    return solve(matrix, np.eye(np.shape(matrix)[-1]))


def determinant(matrix):
    """Determinants of matrices of two rows, shape (..., 2, 2)."""
    return matrix[..., 0, 0]*matrix[..., 1, 1]-matrix[..., 0, 1]*matrix[..., 1, 0]


def symmetric_modes(matrix):
    """Eigenvalues of a symmetric matrix, ascending, and its eigenvectors, as `numpy.linalg.eigh` gives them up to their signs.

    Parameters
    ----------
    matrix : array_like, shape (k, k)

    Returns
    -------
    values : ndarray, shape (k,)
    vectors : ndarray, shape (k, k)
        In columns.
    """
    matrix = np.array(matrix, dtype=np.float64)
    # rotations tell eigenvalues by their absolute values: all are made positive (Gershgorin 1931)
    radius, diagonal = np.abs(matrix).sum(axis=1), np.diagonal(matrix)
    shift = max(0., np.max(radius-np.abs(diagonal)-diagonal, initial=0.))
    shifted, vectors = matrix+shift*np.eye(len(matrix)), np.eye(len(matrix))
    kernel.rotated(shifted, vectors, ORTHOGONAL, SWEEPS)
    values = np.array([dot(row, vector) for row, vector in zip(shifted, vectors)])-shift
    order = np.argsort(values, kind="stable")
    return values[order], np.ascontiguousarray(vectors[order].T)


def singular_modes(matrix):
    """Left singular vectors and singular values, the largest first, as `numpy.linalg.svd` gives them up to signs.

    Parameters
    ----------
    matrix : array_like, shape (k, n)

    Returns
    -------
    vectors : ndarray, shape (k, k)
        In columns.
    values : ndarray, shape (k,)
    """
    rows, turns = np.array(matrix, dtype=np.float64, order="C"), np.eye(len(matrix))
    kernel.rotated(rows, turns, ORTHOGONAL, SWEEPS)
    values = np.sqrt((rows**2).sum(axis=1))
    order = np.argsort(-values, kind="stable")
    return np.ascontiguousarray(turns[order].T), values[order]


def pseudo_inverse(matrix, least=None):
    """The matrix, shape (k, n), that gives the least-squares solution of least norm for any values.

    Parameters
    ----------
    matrix : array_like, shape (n, k)
    least : float, optional
        Singular values below this part of the largest one count as 0; what rounding makes of 0 when not given.
    """
    rows = np.array(np.transpose(matrix), dtype=np.float64, order="C")
    turns = np.eye(len(rows))
    kernel.rotated(rows, turns, ORTHOGONAL, SWEEPS)
    square = (rows**2).sum(axis=1)
    cut = np.finfo(float).eps*max(rows.shape) if least is None else least
    keep = np.sqrt(square) > cut*np.sqrt(np.max(square, initial=0.))
    return matmul(turns[keep].T, rows[keep]/square[keep, None])


def least_squares(matrix, values, least=None):
    """Least-squares solutions of least norm, as those of `numpy.linalg.lstsq`.

    Parameters
    ----------
    matrix : array_like, shape (n, k)
    values : array_like, shape (n,) or (n, m)
    least : float, optional
        As `pseudo_inverse`.

    Returns
    -------
    ndarray, shape (k,) or (k, m), float64
    """
    values = np.asarray(values, dtype=np.float64)
    found = matmul(pseudo_inverse(matrix, least), values.reshape(len(values), -1))
    return found.reshape(found.shape[:1]+values.shape[1:])


def conjugate_gradients(multiply, values, precondition, tolerance, steps):
    """Solution of linear equations with a symmetric positive matrix, from 0 on (Hestenes and Stiefel 1952).

    Parameters
    ----------
    multiply, precondition : callable
        The matrix, and something like its inverse, times a vector.
    values : ndarray, shape (n,)
        Right-hand side.
    tolerance : float
        Stop when the norm of the residual is less than this part of that of the right-hand side.
    steps : int
        Stop after so many.

    Returns
    -------
    x : ndarray, shape (n,)
    taken : int
        Steps.
    """
    x, residual, direction, before, taken = np.zeros(len(values)), np.array(values, dtype=np.float64), None, 0., 0
    enough = tolerance**2*dot(values, values)
    while taken < steps and dot(residual, residual) > enough:
        better = precondition(residual)
        now = dot(residual, better)
        direction = better if direction is None else better+now/before*direction
        image = multiply(direction)
        curvature = dot(direction, image)
        if not curvature > 0:
            break
        x, residual, before, taken = x+now/curvature*direction, residual-now/curvature*image, now, taken+1
    return x, taken


def _of_one_type(a, b):
    """Two arrays as float32 where both are, else as float64, their rows in order in memory."""
    a, b = np.asarray(a), np.asarray(b)
    kind = np.float32 if a.dtype == b.dtype == np.float32 else np.float64
    return np.ascontiguousarray(a, dtype=kind), np.ascontiguousarray(b, dtype=kind)


def _stack(matrices):
    """Matrices as one stack of them, shape (n, i, j)."""
    return matrices.reshape((prod(matrices.shape[:-2]), *matrices.shape[-2:]))


def _longer(a, b):
    """The axes before those of the matrices."""
    return a.shape[:-2] if a.ndim >= b.ndim else b.shape[:-2]
