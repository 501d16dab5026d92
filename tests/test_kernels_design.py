"""Design kernels against their slow twins: stamps that leave the image, of mixed sizes, over pixels without weight."""
import tracemalloc

import numpy as np
import pytest
from crowdsource.cython_ext import design as kernel
from crowdsource.cython_ext import reference

from crowdsource.engine.design import StampSet

SHAPE = (40, 37)
SIZES = 5, 9, 13, 23


def random_stamps(n=40, seed=1, sizes=SIZES, shape=SHAPE):
    """Stamps of random values; some leave the image on every side, two lie off it wholly."""
    rng = np.random.default_rng(seed)
    size = rng.choice(sizes, n)
    ny, nx = shape
    x0, y0 = rng.integers(-12, nx, n), rng.integers(-12, ny, n)
    edges = [(-3, 10), (nx-3, 10), (10, -3), (10, ny-3), (-3, -3), (nx-2, ny-2), (-60, 5), (5, ny+9)]
    if n > len(edges):
        x0[:len(edges)], y0[:len(edges)] = np.transpose(edges)
    stride = (size+7)//8*8
    offset = np.r_[0, np.cumsum(3*size*stride)]
    layout = np.stack([offset[:-1], size, stride, x0, y0], axis=1).astype(np.intp)
    buffer = np.zeros(offset[-1]+8, np.float32)
    for o, s, t, *_ in layout:
        for row in range(3*s):
            buffer[o+row*t:o+row*t+s] = rng.normal(size=s)
    return StampSet(buffer, layout)


def planes_of_pixels(seed=2, shape=SHAPE):
    rng = np.random.default_rng(seed)
    ivar = rng.uniform(0.5, 2, shape).astype(np.float32)
    ivar[rng.random(shape) < 0.1] = 0
    ivar[8:14, 20:30] = 0
    return ivar, rng.normal(size=shape).astype(np.float32)


def test_pack_puts_rows_at_the_stride_and_zeros_behind_them():
    stamps = np.arange(2*25, dtype=np.float32).reshape(2, 5, 5)+1
    fast, slow = np.full(100, 7, np.float32), np.full(100, 7, np.float32)
    offset = np.array([50, 0], dtype=np.intp)
    kernel.pack(stamps, fast, offset, 8)
    reference.pack(stamps, slow, offset, 8)
    assert np.array_equal(fast, slow)
    assert fast[50+8+2] == stamps[0, 1, 2] and (fast[5:8] == 0).all()


@pytest.mark.parametrize("offset, stride", [([0, 61], 8), ([-1, 8], 8), ([0, 50], 4), ([0], 8)])
def test_pack_refuses_what_does_not_fit(offset, stride):
    with pytest.raises(ValueError):
        kernel.pack(np.zeros((2, 5, 5), np.float32), np.zeros(100, np.float32), np.array(offset, dtype=np.intp), stride)


@pytest.mark.parametrize("size", [1, 5, 11, 61])
def test_add_stamps_cuts_at_every_edge(size):
    rng = np.random.default_rng(size)
    n = 60
    stamps = rng.normal(size=(n, size, size)).astype(np.float32)
    x0, y0 = (rng.integers(-size-4, m+4, n).astype(np.intp) for m in (SHAPE[1], SHAPE[0]))
    flux = rng.normal(size=n)*10
    fast = rng.normal(size=SHAPE).astype(np.float32)
    slow = fast.astype(float)
    kernel.add_stamps(fast, stamps, x0, y0, flux)
    reference.add_stamps(slow, stamps, x0, y0, flux)
    # up to 60 float32 terms of about 10
    assert np.allclose(fast, slow, atol=2e-4)


def test_add_stamps_checks_lengths():
    with pytest.raises(ValueError):
        kernel.add_stamps(np.zeros(SHAPE, np.float32), np.zeros((2, 3, 3), np.float32), np.zeros(2, np.intp),
                          np.zeros(1, np.intp), np.zeros(2))


@pytest.mark.parametrize("planes", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_design_matrix_times_parameters_and_times_pixels(planes, seed):
    stamps, rng = random_stamps(seed=seed), np.random.default_rng(seed)
    parameters, pixels = rng.normal(size=(len(stamps), 3)), rng.normal(size=SHAPE).astype(np.float32)
    fast, slow = np.ones(SHAPE, np.float32), np.ones(SHAPE)
    kernel.spread(stamps.buffer, stamps.layout, parameters, planes, fast)
    reference.spread(stamps.buffer, stamps.layout, parameters, planes, slow)
    assert np.allclose(fast, slow, atol=2e-4)
    sums = kernel.project(stamps.buffer, stamps.layout, pixels, planes)
    assert np.allclose(sums, reference.project(stamps.buffer, stamps.layout, pixels, planes), atol=2e-4)
    assert (sums[:, planes:] == 0).all()
    # one is the other's transpose
    assert (sums*parameters).sum() == pytest.approx(((slow-1)*pixels).sum(), rel=1e-4)


def test_design_matrix_times_a_vector_checks_lengths():
    stamps, image = random_stamps(3), np.zeros(SHAPE, np.float32)
    for parameters, planes in ((np.zeros((2, 3)), 3), (np.zeros((3, 2)), 1), (np.zeros((3, 3)), 0), (np.zeros((3, 3)), 4)):
        with pytest.raises(ValueError):
            kernel.spread(stamps.buffer, stamps.layout, parameters, planes, image)
    for planes in (0, 4):
        with pytest.raises(ValueError):
            kernel.project(stamps.buffer, stamps.layout, image, planes)


def pairs(indptr, indices):
    return {(a, int(b)) for a in range(len(indptr)-1) for b in indices[indptr[a]:indptr[a+1]]}


@pytest.mark.parametrize("cell", [3, 16, 1000])
@pytest.mark.parametrize("seed, least", [(1, 1), (2, 1), (3, 5)])
def test_overlaps_are_all_pairs_that_share_pixels_once_at_their_owner(cell, seed, least):
    layout = random_stamps(60, seed).layout
    indptr, indices = kernel.overlaps(layout, SHAPE, least, cell)
    assert pairs(indptr, indices) == pairs(*reference.overlaps(layout, SHAPE, least))
    assert len(pairs(indptr, indices)) == len(indices) == indptr[-1]


def test_stamps_that_touch_without_sharing_a_pixel_do_not_overlap():
    layout = np.array([[0, 5, 8, 0, 0], [0, 5, 8, 5, 0], [0, 5, 8, 4, 4], [0, 9, 16, -9, 0]], dtype=np.intp)
    # a corner pixel is shared by the first and third
    assert pairs(*kernel.overlaps(layout, SHAPE)) == {(0, 2), (1, 2)}


def test_no_sources_and_one_source():
    for n in (0, 1):
        indptr, indices = kernel.overlaps(np.array([[0, 5, 8, 3, 3]]*n, dtype=np.intp).reshape(n, 5), SHAPE)
        assert len(indptr) == n+1 and len(indices) == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_normal_equations_agree_with_pasted_columns(seed):
    stamps, (ivar, residual) = random_stamps(40, seed), planes_of_pixels()
    indptr, indices = kernel.overlaps(stamps.layout, SHAPE)
    fast = kernel.normal_equations(stamps.buffer, stamps.layout, ivar, residual, indptr, indices)
    slow = reference.normal_equations(stamps.buffer, stamps.layout, ivar, residual, indptr, indices)
    # float32 sums of up to 529 products of order 1
    for a, b in zip(fast, slow):
        assert np.allclose(a, b, atol=5e-4)
    # the two off the image know nothing
    assert (fast[0][6:8] == 0).all() and (fast[2][6:8] == 0).all()


def test_block_of_a_pair_is_the_same_whoever_owns_it():
    stamps, (ivar, residual) = random_stamps(2, 5, (9,)), planes_of_pixels()
    swapped = StampSet(stamps.buffer, np.ascontiguousarray(stamps.layout[::-1]))
    stamps.layout[:, 3:] = (10, 11), (14, 9)
    swapped.layout[:, 3:] = (14, 9), (10, 11)
    one, two = (kernel.normal_equations(s.buffer, s.layout, ivar, residual, *kernel.overlaps(s.layout, SHAPE))[1]
                for s in (stamps, swapped))
    assert np.allclose(one[0], two[0].T, atol=1e-5)


def test_normal_equations_check_shapes():
    stamps, (ivar, residual) = random_stamps(8), planes_of_pixels()
    with pytest.raises(ValueError, match="same shape"):
        kernel.normal_equations(stamps.buffer, stamps.layout, ivar, np.ascontiguousarray(residual[:-1]),
                                *kernel.overlaps(stamps.layout, SHAPE))


@pytest.mark.parametrize("planes", [1, 3])
def test_sparse_columns_agree_with_pasted_columns(planes):
    stamps, (ivar, _) = random_stamps(30, 4), planes_of_pixels()
    root = np.sqrt(ivar)
    fast = kernel.sparse_columns(stamps.buffer, stamps.layout, root, planes)
    slow = reference.sparse_columns(stamps.buffer, stamps.layout, root, planes)
    assert np.allclose(fast[0], slow[0], rtol=1e-6)
    assert np.array_equal(fast[1], slow[1]) and np.array_equal(fast[2], slow[2])


def test_far_sources_take_no_more_memory_than_near_ones():
    layout = random_stamps(60).layout
    far = layout.copy()
    far[::3, 3:] = [[2**30, -2**30], [-2**30, 5], [7, 10**6], [-9999, -9999]]*5
    tracemalloc.start()
    try:
        indptr, indices = kernel.overlaps(far, SHAPE)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    near = np.arange(60) % 3 > 0
    assert pairs(indptr, indices) == {(a, b) for a, b in pairs(*kernel.overlaps(layout, SHAPE)) if near[a] and near[b]}


def test_sources_off_the_image_have_no_partners_however_many_share_a_place():
    layout = np.tile(np.array([0, 19, 24, -9999, -9999], dtype=np.intp), (20_000, 1))
    layout[5, 3:], layout[7, 3:] = (3, 4), (-18, -18)
    indptr, indices = kernel.overlaps(layout, SHAPE)
    # one pixel of the second is on the image, none of the others
    assert pairs(indptr, indices) == set() and indptr[-1] == 0
    layout[7, 3:] = -14, -14
    assert pairs(*kernel.overlaps(layout, SHAPE)) == {(5, 7)}


def test_a_pair_of_which_the_smaller_owns_is_computed_as_well():
    stamps, (ivar, residual) = random_stamps(2, 5, (9, 23)), planes_of_pixels()
    stamps.layout[:, 3:] = (10, 11), (4, 9)
    indptr, indices = (np.array(v, dtype=t) for v, t in (([0, 1, 2], np.int64), ([1, 0], np.int32)))
    blocks = kernel.normal_equations(stamps.buffer, stamps.layout, ivar, residual, indptr, indices)[1]
    assert np.abs(blocks[0]).max() > 1 and np.allclose(blocks[0], blocks[1].T, atol=1e-4)
