"""Solver kernels against their slow twins: dense solutions and dense inverses."""
import numpy as np
import pytest
from crowdsource.cython_ext import reference
from crowdsource.cython_ext import solve as kernel

NOTHING = np.zeros((0, 9)), np.zeros((1, 9), np.float32), np.zeros(1, np.int64), np.zeros(0, np.int32)


def random_system(n=25, seed=1, per_source=4):
    """A positive definite block matrix with random partners, owned as the kernels want it."""
    rng = np.random.default_rng(seed)
    owner, partner = np.triu_indices(n, 1)
    chosen = np.sort(rng.choice(len(owner), per_source*n//2, replace=False))
    owner, partner = owner[chosen], partner[chosen]
    blocks = rng.normal(0, 0.15, (len(owner), 9)).astype(np.float32)
    roots = rng.normal(size=(n, 3, 3))
    diagonal = (roots@roots.transpose(0, 2, 1)+3*np.eye(3)).reshape(n, 9)
    indptr = np.searchsorted(owner, np.arange(n+1)).astype(np.int64)
    return diagonal, blocks, indptr, partner.astype(np.int32)


def neighbours(indptr, indices, n):
    """All partners of every source, and the number of each pair's block, as `local_covariance` wants them."""
    owner = np.repeat(np.arange(n), np.diff(indptr))
    lists = [[] for _ in range(n)]
    for m, (a, b) in enumerate(zip(owner, indices)):
        lists[a].append((b, m))
        lists[b].append((a, ~m))
    flat = [pair for one in lists for pair in one]
    ends = np.r_[0, np.cumsum([len(one) for one in lists])].astype(np.int64)
    return ends, np.array([b for b, _ in flat], np.int32), np.array([m for _, m in flat], np.int32)


@pytest.mark.parametrize("per_source", [0, 1, 6])
def test_partners_are_listed_at_both_ends_of_a_pair(per_source):
    _, _, indptr, indices = random_system(per_source=per_source)
    for fast, slow in zip(kernel.partners(indptr, indices), reference.partners(indptr, indices)):
        assert fast.tolist() == slow.tolist()
    ends, partner, near = kernel.partners(indptr, indices)
    source = np.repeat(np.arange(25), np.diff(ends))
    assert sorted(zip(source.tolist(), partner.tolist())) == sorted(zip(partner.tolist(), source.tolist()))
    assert np.where(near < 0, ~near, near).tolist().count(0) == (2 if len(indices) else 0)


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_conjugate_gradients_reach_the_dense_solution(planes, seed):
    system = random_system(seed=seed)
    rhs = np.random.default_rng(9).normal(size=(25, 3))
    x, iterations, reduction = kernel.conjugate_gradients(*system, rhs, planes, 1e-10, 500)
    assert np.allclose(x, reference.conjugate_gradients(*system, rhs, planes)[0], atol=1e-8)
    assert iterations < 80 and reduction < 1e-10
    assert planes == 3 or (x[:, 1:] == 0).all()


def test_sources_without_information_stay_at_zero():
    diagonal, blocks, indptr, indices = random_system()
    diagonal[7] = 0
    # a source without a good pixel has no products with others either
    owner = np.repeat(np.arange(25), np.diff(indptr))
    blocks[(owner == 7) | (indices == 7)] = 0
    rhs = np.random.default_rng(9).normal(size=(25, 3))
    rhs[7] = 0
    x, _, _ = kernel.conjugate_gradients(diagonal, blocks, indptr, indices, rhs, 3, 1e-10, 500)
    assert (x[7] == 0).all() and np.isfinite(x).all()
    assert np.allclose(x, reference.conjugate_gradients(diagonal, blocks, indptr, indices, rhs, 3)[0], atol=1e-8)


def test_iterations_end_at_the_limit_and_at_the_tolerance():
    system, rhs = random_system(), np.ones((25, 3))
    _, two, far = kernel.conjugate_gradients(*system, rhs, 3, 1e-12, 2)
    _, some, near = kernel.conjugate_gradients(*system, rhs, 3, 1e-3, 500)
    assert two == 2 and far > 1e-3
    assert 2 < some < 40 and near <= 1e-3


def test_nothing_to_solve():
    system = random_system()
    x, iterations, reduction = kernel.conjugate_gradients(*system, np.zeros((25, 3)), 3, 1e-3, 10)
    assert iterations == 0 and reduction == 0 and (x == 0).all()
    empty = np.zeros((0, 9)), np.zeros((1, 9), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int32)
    assert kernel.conjugate_gradients(*empty, np.zeros((0, 3)), 3, 1e-3, 10)[0].shape == (0, 3)


def test_conjugate_gradients_check_shapes():
    diagonal, blocks, indptr, indices = random_system()
    with pytest.raises(ValueError):
        kernel.conjugate_gradients(diagonal, blocks, indptr, indices, np.zeros((24, 3)), 3, 1e-3, 10)


@pytest.mark.parametrize("n, per_source", [(25, 4), (25, 0), (2, 1), (1, 0), (0, 0)])
def test_products_are_those_of_the_dense_matrix(n, per_source):
    system, x = random_system(n, per_source=per_source) if n else NOTHING, np.random.default_rng(9).normal(size=(n, 3))
    system = (system[0], system[1] if len(system[1]) else np.zeros((1, 9), np.float32), *system[2:])
    fast = kernel.product(*system, x)
    assert fast.shape == (n, 3) and fast.flags.c_contiguous
    assert np.allclose(fast, reference.product(*system, x), rtol=1e-12, atol=1e-12)


def test_products_undo_conjugate_gradients():
    system, rhs = random_system(seed=2), np.random.default_rng(9).normal(size=(25, 3))
    x, *_ = kernel.conjugate_gradients(*system, rhs, 3, 1e-12, 500)
    assert np.allclose(kernel.product(*system, x), rhs, atol=1e-9)


def test_products_check_shapes():
    diagonal, blocks, indptr, indices = random_system()
    x = np.zeros((25, 3))
    for bad in ((diagonal, blocks, indptr, indices, x[:24]), (diagonal, blocks, indptr, indices, np.zeros((25, 2))),
                (diagonal, blocks[:-1], indptr, indices, x), (diagonal, blocks, indptr, indices+25, x),
                (diagonal[:, :6].copy(), blocks, indptr, indices, x)):
        with pytest.raises(ValueError):
            kernel.product(*bad)


@pytest.mark.parametrize("least, most", [(0., 64), (0., 3), (0.02, 5), (10., 5), (0., 0)])
def test_local_covariance_is_the_inverse_with_the_chosen_neighbours(least, most):
    diagonal, blocks, indptr, indices = random_system(seed=3, per_source=6)
    near = neighbours(indptr, indices, 25)
    fast = kernel.local_covariance(diagonal, blocks, *near, least, most)
    slow = reference.local_covariance(diagonal, blocks, *near, least, most)
    assert np.allclose(fast, slow, rtol=1e-9, atol=1e-12)


def test_local_covariance_with_all_neighbours_of_a_small_crowd_is_the_whole_inverse():
    # five sources that all overlap: marginalising over neighbours is marginalising over everything
    diagonal, blocks, indptr, indices = random_system(5, 4, per_source=4)
    near = neighbours(indptr, indices, 5)
    covariance = kernel.local_covariance(diagonal, blocks, *near, 0., 10).reshape(5, 3, 3)
    inverse = np.linalg.inv(reference.dense(diagonal, blocks, indptr, indices)).reshape(5, 3, 5, 3)
    assert len(indices) == 10
    for k in range(5):
        assert np.allclose(covariance[k], inverse[k, :, k], rtol=1e-9)


def test_covariance_of_what_is_not_known_is_infinite():
    diagonal, blocks, indptr, indices = random_system()
    diagonal[4] = 0
    owner = np.repeat(np.arange(25), np.diff(indptr))
    blocks[(owner == 4) | (indices == 4)] = 0
    covariance = kernel.local_covariance(diagonal, blocks, *neighbours(indptr, indices, 25), 0.01, 5)
    assert np.isinf(covariance[4]).all() and np.isfinite(np.delete(covariance, 4, axis=0)).all()


def test_too_many_neighbours_are_refused():
    diagonal, blocks, indptr, indices = random_system()
    with pytest.raises(ValueError, match="64"):
        kernel.local_covariance(diagonal, blocks, *neighbours(indptr, indices, 25), 0., 65)


@pytest.mark.parametrize("least, most", [(0., 64), (0., 3), (0.02, 5), (10., 5), (0., 0)])
def test_trial_fluxes_solve_for_a_candidate_and_its_neighbours(least, most):
    diagonal, blocks, indptr, indices = random_system(seed=3, per_source=6)
    near, rhs = neighbours(indptr, indices, 25), np.random.default_rng(5).normal(size=(25, 3))
    fast = kernel.trial_fluxes(diagonal, blocks, *near, rhs, 18, least, most)
    slow = reference.trial_fluxes(diagonal, blocks, *near, rhs, 18, least, most)
    assert fast.shape == (7, 2)
    assert np.allclose(fast, slow, rtol=1e-8, atol=1e-12)


def test_a_candidate_that_its_neighbour_can_stand_for_brings_nothing():
    diagonal = np.tile(np.eye(3).ravel(), (2, 1))
    block = np.zeros((1, 9), np.float32)
    block[0, 0] = 1
    near = np.array([0, 1, 2], np.int64), np.array([1, 0], np.int32), np.array([0, ~0], np.int32)
    diagonal[0, 0] += 1e-9
    assert kernel.trial_fluxes(diagonal, block, *near, np.ones((2, 3)), 1, 0., 5).tolist() == [[0., np.inf]]
    diagonal[1] = 0
    assert kernel.trial_fluxes(diagonal, block, *near, np.ones((2, 3)), 1, 0., 5).tolist() == [[0., np.inf]]
