"""Sums of the equations of several images: kernels against dense matrices."""
import numpy as np
import pytest
from crowdsource.cython_ext import reference
from crowdsource.cython_ext import shared as kernel

TOTAL, OWN, PAIRS = 30, 18, 40


def of_an_image(seed):
    """Blocks of an image's pairs, each at either of its numbers; these pairs, the rows of the numbers, and their factors."""
    rng = np.random.default_rng(seed)
    ends = np.stack(np.triu_indices(OWN, 1))[:, rng.choice(OWN*(OWN-1)//2, PAIRS, replace=False)]
    ends = np.where(rng.random(PAIRS) < 0.5, ends, ends[::-1])
    owner, partner = ends[:, np.argsort(ends[0], kind="stable")]
    pairs = np.searchsorted(owner, np.arange(OWN+1)).astype(np.int64), partner.astype(np.int32)
    rows = rng.choice(TOTAL, OWN, replace=False).astype(np.int32)
    return rng.normal(size=(PAIRS, 3, 3)).astype(np.float32), *pairs, rows, rng.normal(size=(OWN, 3, 3))


def all_pairs(share=1.):
    """Pairs of all numbers, each at the smaller one, or a share of them."""
    owner, partner = np.triu_indices(TOTAL, 1)
    some = np.random.default_rng(4).random(len(owner)) < share
    return np.searchsorted(owner[some], np.arange(TOTAL+1)).astype(np.int64), partner[some].astype(np.int32)


@pytest.mark.parametrize("share", [1., 0.4, 0.])
def test_pairs_of_an_image_are_found_among_those_of_all_or_not(share):
    _, *part, _ = of_an_image(1)
    fast, slow = (f(*all_pairs(share), *part) for f in (kernel.places, reference.places))
    assert fast.tolist() == slow.tolist() and len(fast) == PAIRS
    assert (share == 1) == (fast >= 0).all() and (share == 0) == (fast < 0).all()


def test_sums_of_blocks_are_those_of_dense_matrices():
    indptr, indices = all_pairs()
    total, slow, whole = *np.zeros((2, len(indices), 3, 3), np.float32), np.zeros((3*TOTAL, 3*TOTAL))
    for seed in (1, 2, 3):
        blocks, *pairs, rows, factors = of_an_image(seed)
        where = kernel.places(indptr, indices, *pairs, rows)
        for f, out in ((kernel.add_blocks, total), (reference.add_blocks, slow)):
            f(blocks, *pairs, rows, factors, where, out)
        change = np.zeros((OWN, 3, TOTAL, 3))
        change[np.arange(OWN), :, rows] = factors
        change = change.reshape(3*OWN, 3*TOTAL)
        whole += change.T@reference.dense(np.zeros((OWN, 9)), blocks, *pairs)@change
    assert np.allclose(total, slow, atol=1e-4)
    assert np.allclose(reference.dense(np.zeros((TOTAL, 9)), total, indptr, indices), whole, atol=1e-4)


def test_an_image_without_pairs_or_numbers_adds_nothing():
    indptr, indices = all_pairs()
    no_pair, blocks, total = np.zeros(0, np.int32), np.zeros((0, 3, 3), np.float32), np.ones((len(indices), 3, 3), np.float32)
    for n in (0, 5):
        part = np.zeros(n+1, np.int64), no_pair, np.arange(n, dtype=np.int32)
        where = kernel.places(indptr, indices, *part)
        assert len(where) == 0
        kernel.add_blocks(blocks, *part, np.ones((n, 3, 3)), where, total)
    assert (total == 1).all()


def test_rows_must_be_among_all_numbers():
    _, *pairs, rows, _ = of_an_image(1)
    for value in (TOTAL, -1):
        wrong = rows.copy()
        wrong[5] = value
        with pytest.raises(ValueError, match=rf"rows\[5\] is {value}: there are {TOTAL}"):
            kernel.places(*all_pairs(), *pairs, wrong)
    with pytest.raises(ValueError, match="indptr"):
        kernel.places(*all_pairs(), *pairs, rows[:-1].copy())


def test_blocks_need_places_and_factors():
    blocks, *pairs, rows, factors = of_an_image(1)
    indptr, indices = all_pairs()
    where, total = kernel.places(indptr, indices, *pairs, rows), np.zeros((len(indices), 3, 3), np.float32)
    for value in (-1, len(indices), -2**63, 2**63-1):
        wrong = where.copy()
        wrong[7] = value
        with pytest.raises(ValueError, match=rf"where\[7\] is {value}"):
            kernel.add_blocks(blocks, *pairs, rows, factors, wrong, total)
    for bad in ((blocks[:-1], *pairs, rows, factors, where), (blocks, *pairs, rows, factors[:-1], where),
                (blocks, *pairs, rows, factors, where[:-1]), (blocks[:, :2].copy(), *pairs, rows, factors, where),
                (blocks, *pairs, rows, factors[:, :, :2].copy(), where)):
        with pytest.raises(ValueError, match="3x3"):
            kernel.add_blocks(*bad, total)
    assert not total.any()
