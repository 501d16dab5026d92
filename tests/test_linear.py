"""Linear algebra in a fixed order, against NumPy's."""
import numpy as np
import pytest

from crowdsource.core import linear


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("kind, tolerance", [(np.float32, 2e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("rows, columns, n", [(1, 1, 1), (3, 5, 7), (4, 4, 361), (0, 3, 5), (2, 3, 0)])
def test_products(kind, tolerance, rows, columns, n):
    a, b = random(6, rows, n).astype(kind), random(6, columns, n, seed=1).astype(kind)
    wanted = a.astype(float)@b.astype(float).transpose(0, 2, 1)
    np.testing.assert_allclose(linear.products(a, b), wanted, atol=tolerance*max(1, n))
    wanted_of_one = a[0].astype(float)@b.astype(float).transpose(0, 2, 1)
    np.testing.assert_allclose(linear.products(a[0], b), wanted_of_one, atol=tolerance*max(1, n))
    found = linear.matmul(a, b.transpose(0, 2, 1))
    assert found.dtype == kind
    np.testing.assert_allclose(found, wanted, atol=tolerance*max(1, n))


def test_combinations_of_planes():
    factors, planes = random(2, 3, 4), random(4, 5, 6)
    np.testing.assert_allclose(linear.combined(factors, planes), np.tensordot(factors, planes, axes=1), atol=1e-13)
    assert linear.combined(random(0, 4), planes).shape == (0, 5, 6)
    assert linear.dot(planes, planes) == pytest.approx((planes**2).sum(), rel=1e-14)


def test_equations():
    matrices, values = random(7, 5, 5), random(7, 5, 2, seed=1)
    matrices[0, 0, 0] = 0  # a pivot that must be exchanged
    np.testing.assert_allclose(linear.solve(matrices, values), np.linalg.solve(matrices, values), rtol=1e-9)
    one, value = matrices[1], values[1, :, 0]
    np.testing.assert_allclose(linear.solve(one, value), np.linalg.solve(one, value), rtol=1e-9)
    np.testing.assert_allclose(linear.inverse(matrices), np.linalg.inv(matrices), rtol=1e-9)
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        linear.solve(np.zeros((2, 2)), np.ones(2))
    # one that is not known does not keep the others from their solutions
    matrices[2, 3, 1] = np.nan
    found = linear.inverse(matrices)
    assert np.isnan(found[2]).all() and np.isfinite(np.delete(found, 2, axis=0)).all()
    np.testing.assert_allclose(linear.determinant(matrices[:2, :2, :2]), np.linalg.det(matrices[:2, :2, :2]), rtol=1e-12)


@pytest.mark.parametrize("side, rank", [(1, 1), (2, 2), (6, 6), (25, 25), (25, 10)])
def test_modes_of_symmetric_matrices(side, rank):
    half = random(side, rank)
    for matrix in (half@half.T, half@half.T-0.5*side*np.eye(side)):
        values, vectors = linear.symmetric_modes(matrix)
        np.testing.assert_allclose(values, np.linalg.eigh(matrix)[0], atol=1e-13*side**2)
        np.testing.assert_allclose(vectors*values@vectors.T, matrix, atol=1e-13*side**2)
        np.testing.assert_allclose(vectors.T@vectors, np.eye(side), atol=1e-13*side)
    # opposite eigenvalues, whose squares are the same
    assert linear.symmetric_modes([[0, 1], [1, 0]])[0] == pytest.approx([-1, 1])
    assert linear.symmetric_modes(np.zeros((0, 0)))[0].shape == (0,)


@pytest.mark.parametrize("k, n, rank", [(6, 20, 6), (20, 6, 6), (8, 30, 3), (1, 4, 1)])
def test_singular_modes(k, n, rank):
    matrix = random(k, rank)@random(rank, n, seed=1)
    vectors, values = linear.singular_modes(matrix)
    wanted = np.linalg.svd(matrix)[1]
    np.testing.assert_allclose(values[:len(wanted)], wanted[:k], atol=1e-12*wanted[0])
    np.testing.assert_allclose(vectors.T@vectors, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(np.sqrt(((vectors.T@matrix)**2).sum(axis=1)), values, atol=1e-12*wanted[0])


def test_least_squares():
    design, values = random(30, 4), random(30, 2, seed=1)
    np.testing.assert_allclose(linear.least_squares(design, values), np.linalg.lstsq(design, values)[0], rtol=1e-10)
    np.testing.assert_allclose(linear.least_squares(design, values[:, 0]), np.linalg.lstsq(design, values[:, 0])[0], rtol=1e-10)
    # what is determined twice is shared: the solution of least norm
    twice = np.c_[design, design[:, :1]]
    np.testing.assert_allclose(linear.pseudo_inverse(twice), np.linalg.pinv(twice), atol=1e-12)
    scaled = design*[1, 1, 1, 1e-8]
    np.testing.assert_allclose(linear.pseudo_inverse(scaled, 1e-6), np.linalg.pinv(scaled, rcond=1e-6), atol=1e-9)
    assert linear.pseudo_inverse(twice[:3]).shape == (5, 3)
    np.testing.assert_allclose(twice[:3]@linear.pseudo_inverse(twice[:3]), np.eye(3), atol=1e-12)


def test_conjugate_gradients():
    half = random(12, 12)
    matrix, values = half@half.T+np.eye(12), random(12, seed=1)
    diagonal = np.diagonal(matrix)
    x, steps = linear.conjugate_gradients(lambda v: (matrix*v).sum(axis=1), values, lambda v: v/diagonal, 1e-10, 50)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, values), rtol=1e-7)
    assert 5 < steps < 50
    assert linear.conjugate_gradients(lambda v: -v, values, lambda v: v, 1e-10, 50)[1] == 0
