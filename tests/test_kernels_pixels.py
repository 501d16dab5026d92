"""Kernels on pixels and stamps against their slow twins: rendering, correlation, maxima, sky, centroids, measurements."""
import re
from pathlib import Path

import numpy as np
import pytest
from crowdsource.cython_ext import (
    centroid,
    detect,
    measure,
    merge,
    near,
    reference,
    reference_artifacts,
    reference_groups,
    reference_sky,
    render,
    sky,
)


def coefficient_planes(count, side, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, side, side)).astype(np.float32)


@pytest.mark.parametrize("oversampling", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 5, 19, 41])
def test_render_is_the_sum_of_splines(oversampling, size):
    rng = np.random.default_rng(2)
    planes, factors = coefficient_planes(3, 33), rng.normal(size=(12, 3)).astype(np.float32)
    x, y = rng.uniform(-20, 20, 12), rng.uniform(-20, 20, 12)
    x[:4], y[:3] = (0.5, -0.5, 7., -3.49999), (0.5, 1.5, -2.)
    fast = render.render(planes, factors, x, y, size, oversampling, True)
    slow = reference.render(planes, factors, x, y, size, oversampling, True)
    for a, b in zip(fast, slow):
        # 36 float32 products of order 1; slopes grow with the sampling
        assert np.allclose(a, b, atol=2e-6*oversampling*np.abs(b).max()+1e-12)
    assert np.array_equal(render.render(planes, factors, x, y, size, oversampling, False)[0], fast[0])


@pytest.mark.parametrize("oversampling, size, side", [(1, 5, 9), (2, 5, 13), (3, 3, 11), (2, 9, 7)])
def test_the_transpose_of_render(oversampling, size, side):
    rng = np.random.default_rng(4)
    images, factors = rng.normal(size=(5, size, size)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)
    x, y = rng.uniform(-20, 20, 5), np.r_[0.5, -0.5, rng.uniform(-20, 20, 3)]
    fast = render.render_transposed(images, factors, x, y, side, oversampling)
    slow = reference.render_transposed(images, factors, x, y, side, oversampling)
    assert np.allclose(fast, slow, atol=3e-6*np.abs(slow).max())
    with pytest.raises(ValueError, match="square"):
        render.render_transposed(images[:, :, 1:].copy(), factors, x, y, side, oversampling)


def test_splines_are_a_partition_of_one_and_their_slopes_of_nothing():
    # planes of ones make stamps of ones, at any phase
    planes = np.ones((1, 31, 31), np.float32)
    x = np.linspace(-0.5, 0.4999, 23)
    value, ddx, ddy = render.render(planes, np.ones((23, 1), np.float32), x, x[::-1].copy(), 9, 1, True)
    assert np.allclose(value, 1, atol=1e-6) and np.allclose(ddx, 0, atol=1e-6) and np.allclose(ddy, 0, atol=1e-6)


@pytest.mark.parametrize("oversampling", [1, 3])
@pytest.mark.parametrize("size", [5, 8*2+1, 19])
def test_render_into_the_designs_buffer(oversampling, size):
    rng = np.random.default_rng(3)
    planes, factors = coefficient_planes(3, 33), rng.normal(size=(6, 3)).astype(np.float32)
    x, y = rng.uniform(-20, 20, (2, 6))
    stride = (size+7)//8*8
    offset = (3*size*stride*np.array([5, 0, 3, 1, 2, 4])).astype(np.intp)
    fast, slow = np.zeros(18*size*stride+8, np.float32), np.zeros(18*size*stride+8)
    render.render_packed(planes, factors, x, y, size, oversampling, fast, offset, stride)
    reference.render_packed(planes, factors, x, y, size, oversampling, slow, offset, stride)
    assert np.allclose(fast, slow, atol=2e-6*oversampling*np.abs(slow).max())
    # vectors read a row to its stride: what lies past the size must be nothing
    assert (fast[:-8].reshape(-1, stride)[:, size:] == 0).all()
    for where in ((offset, size-1), (offset+10, stride), (offset[:3], stride)):
        with pytest.raises(ValueError):
            render.render_packed(planes, factors, x, y, size, oversampling, fast, *where)


@pytest.mark.parametrize("oversampling", [1, 2])
@pytest.mark.parametrize("size", [1, 9, 41])
def test_render_into_an_image_cuts_at_every_edge(oversampling, size):
    rng = np.random.default_rng(4)
    planes, factors, shape = coefficient_planes(2, 33), rng.normal(size=(60, 2)).astype(np.float32), (23, 30)
    x, y, flux = rng.uniform(-size, 30+size, 60), rng.uniform(-size, 23+size, 60), rng.normal(0, 10, 60)
    fast = rng.normal(size=shape).astype(np.float32)
    slow = fast.astype(float)
    render.add_rendered(fast, planes, factors, x, y, flux, size, oversampling)
    reference.add_rendered(slow, planes, factors, x, y, flux, size, oversampling)
    # 60 float32 terms of about 10
    assert np.allclose(fast, slow, atol=3e-4)
    # a band of the image takes the same stars in the same order: the same sums
    band = np.zeros((9, 30), np.float32)
    whole = np.zeros(shape, np.float32)
    render.add_rendered(whole, planes, factors, x, y, flux, size, oversampling)
    render.add_rendered(band, planes, factors, x, y, flux, size, oversampling, 7)
    assert np.array_equal(band, whole[7:16])
    with pytest.raises(ValueError, match="as many"):
        render.add_rendered(fast, planes, factors, x, y, flux[:5], size, oversampling)


@pytest.mark.parametrize("change", [dict(size=8), dict(planes=coefficient_planes(2, 8)), dict(y=np.zeros(2)),
                                    dict(factors=np.ones((3, 1), np.float32)), dict(oversampling=0)])
def test_render_checks_its_arguments(change):
    good = dict(planes=coefficient_planes(2, 9), factors=np.ones((3, 2), np.float32), x=np.zeros(3), y=np.zeros(3), size=9,
                oversampling=1)
    with pytest.raises(ValueError):
        render.render(*(good | change).values(), True)


@pytest.mark.parametrize("shape", [(40, 70), (5, 5), (1, 33), (64, 32), (3, 200)])
@pytest.mark.parametrize("size", [1, 3, 19])
def test_correlation_with_zeros_around(shape, size):
    rng = np.random.default_rng(3)
    image, kernel = rng.normal(size=shape).astype(np.float32), rng.normal(size=(size, size)).astype(np.float32)
    # 361 float32 products of order 1
    assert np.allclose(detect.correlate(image, kernel), reference.correlate(image, kernel), atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 50), (32, 31), (33, 64), (70, 5)])
def test_correlation_of_some_rows_with_weights_and_factors(shape):
    image, weight, factor = np.random.default_rng(3).normal(size=(3, *shape)).astype(np.float32)
    kernel = np.random.default_rng(4).normal(size=(7, 7)).astype(np.float32)
    slow, fast = reference.correlate(image, kernel, weight, factor), detect.correlate(image, kernel, weight, factor)
    assert np.allclose(fast, slow, atol=1e-4)
    out = np.full(shape, np.float32(99))
    last = shape[0]-1
    assert detect.correlate(image, kernel, weight, factor, 1, last, out) is not None
    # the same bits whatever rows are asked for, and no others touched
    assert np.array_equal(out[1:last], fast[1:last]) and (out[0] == 99).all() and (out[last] == 99).all()
    for bad in ((weight[:, 1:].copy(), None), (None, factor[1:].copy()), (weight, factor, -1), (weight, factor, 2, 1),
                (weight, factor, 0, shape[0]+1), (weight, factor, 0, 1, out[1:])):
        with pytest.raises(ValueError):
            detect.correlate(image, kernel, *bad)


def test_correlation_at_some_pixels():
    rng = np.random.default_rng(8)
    image, weight = rng.normal(size=(2, 30, 40)).astype(np.float32)
    kernel = rng.normal(size=(7, 7)).astype(np.float32)
    y, x = rng.integers(0, 30, 200), rng.integers(0, 40, 200)
    y[:4], x[:4] = (0, 0, 29, 29), (0, 39, 0, 39)
    fast, slow = (module.correlate_at(image, weight, kernel, y, x) for module in (detect, reference))
    assert np.allclose(fast, slow, atol=1e-4)
    assert detect.correlate_at(image, weight, kernel, y[:0], x[:0]).shape == (0,)
    for bad in ((image, weight[:9], kernel, y, x), (image, weight, kernel[:6], y, x), (image, weight, kernel, y+30, x),
                (image, weight, kernel, y-30, x), (image, weight, kernel, y, x[:3])):
        with pytest.raises(ValueError):
            detect.correlate_at(*bad)


@pytest.mark.parametrize("steps", [0, 1, 4, 30])
def test_bits_near_pixels_also_of_the_edge(steps):
    rng = np.random.default_rng(8)
    mask = rng.choice([0, 1, 2, 5], (25, 19), p=[0.96, 0.02, 0.01, 0.01]).astype(np.uint16)
    y, x = (v.astype(np.intp).ravel() for v in np.indices(mask.shape))
    for bits in (1, 4, 6):
        near_bits = detect.bits_near(mask, bits, y, x, steps)
        assert near_bits.dtype == bool and np.array_equal(near_bits, reference.bits_near(mask, bits, y, x, steps))
    assert detect.bits_near(mask, 1, y[:0], x[:0], steps).shape == (0,)
    with pytest.raises(ValueError, match="same length"):
        detect.bits_near(mask, 1, y, x[1:], steps)


@pytest.mark.parametrize("points, centres", [(0, 3), (1, 1), (3, 0), (300, 200)])
def test_neighbours(points, centres):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(-5, 95, (2, points))
    cx, cy, reach = *rng.uniform(-30, 120, (2, centres)), rng.uniform(0, 9, centres)
    fast, slow = near.neighbours(x, y, cx, cy, reach), reference.neighbours(x, y, cx, cy, reach)
    assert np.array_equal(fast[0], slow[0])
    for a, b in zip(fast[0], fast[0][1:]):
        assert np.array_equal(np.sort(fast[1][a:b]), slow[1][a:b])


def test_neighbours_on_one_spot_and_on_a_line():
    x, y = np.zeros(50), np.r_[np.zeros(25), np.full(25, 1e9)]
    indptr, found = near.neighbours(x, y, x, y, np.full(50, 1.))
    assert (np.diff(indptr) == 25).all() and set(found[:25]) == set(range(25))
    with pytest.raises(ValueError, match="as many"):
        near.neighbours(x, y[:3], x, y, x)


def stars_in_boxes(groups=6, members=3, size=7, side=9):
    """Residuals, weights, planes, places and fluxes of small groups of stars; one is not there, one lies off its box."""
    rng = np.random.default_rng(21)
    left, weight = (rng.uniform(0, 3, (groups, side, side)).astype(np.float32) for _ in range(2))
    planes = [rng.normal(size=(groups, members, size, size)).astype(np.float32) for _ in range(3)]
    x0, y0 = (rng.integers(-4, 6, (groups, members)) for _ in range(2))
    for plane in planes:
        plane[0, 0] = 0
    x0[1, 1] = side
    weight[2, :, :4] = 0
    return left, weight, tuple(planes), x0, y0, rng.uniform(-1, 5, (groups, members))


def test_models_and_steps_of_small_groups():
    left, weight, planes, x0, y0, flux = stars_in_boxes()
    model = merge.group_models(planes[0], x0, y0, flux, 9)
    assert np.allclose(model, reference_groups.group_models(planes[0], x0, y0, flux, 9), atol=1e-4)
    fast, slow = (f(left, weight, planes, x0, y0) for f in (merge.group_steps, reference_groups.group_steps))
    for a, b in zip(fast, slow):
        assert np.allclose(a, b, rtol=2e-3, atol=1e-4)
    change, chi2, gain = fast
    assert not change[0, 0].any() and not change[1, 1].any() and (gain > 0).all()
    # linear as it is, chi2 falls by what was foretold, but for the ridge
    terms = np.stack(planes, axis=2).reshape(6, 9, 7, 7)
    after = left-merge.group_models(terms, np.repeat(x0, 3, axis=1), np.repeat(y0, 3, axis=1), change.reshape(6, 9), 9)
    assert (after.astype(float)**2*weight).sum(axis=(1, 2)) == pytest.approx(chi2-gain, rel=0.02)


def test_equations_of_small_groups():
    left, weight, planes, x0, y0, _ = stars_in_boxes()
    fast, slow = (f(left, weight, planes, x0, y0) for f in (merge.group_equations, reference_groups.group_equations))
    for a, b in zip(fast, slow):
        assert a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5*np.abs(b).max())
    normal, right, chi2 = fast
    assert np.array_equal(normal, normal.transpose(0, 3, 4, 1, 2))
    # the step of a group alone follows from them, with the ridge and what stays where there is nothing
    change, before, gain = merge.group_steps(left, weight, planes, x0, y0)
    n, terms = len(left), right[0].size
    matrix, right = normal.reshape(n, terms, terms).copy(), right.reshape(n, terms)
    own = np.einsum("nii->ni", matrix)
    assert (own == 0).any() and (own > 0).any()
    matrix += np.where(own > 0, 1e-3*own, 1)[:, :, None]*np.eye(terms)
    step = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    assert np.allclose(change.reshape(n, terms), step, rtol=1e-9, atol=1e-12*np.abs(step).max())
    assert np.array_equal(chi2, before) and gain == pytest.approx((right*step).sum(axis=1), rel=1e-9)


def test_small_groups_check_their_arguments():
    left, weight, planes, x0, y0, flux = stars_in_boxes()
    none = tuple(np.zeros((0, 3, 7, 7), np.float32) for _ in range(3))
    nobody = tuple(np.zeros((6, 0, 7, 7), np.float32) for _ in range(3))
    many = tuple(np.zeros((1, 9, 3, 3), np.float32) for _ in range(3))
    with pytest.raises(ValueError, match="as many groups"):
        merge.group_models(planes[0], x0[:2], y0, flux, 9)
    for kernel in (merge.group_steps, merge.group_equations):
        assert [len(a) for a in kernel(left[:0], weight[:0], none, x0[:0], y0[:0])] == [0, 0, 0]
        assert kernel(left, weight, nobody, x0[:, :0].copy(), y0[:, :0].copy())[0].size == 0
        for bad in ((left[:2], weight, planes, x0, y0), (left, weight[:, :5].copy(), planes, x0, y0),
                    (left, weight, planes, x0, y0[:, :1].copy())):
            with pytest.raises(ValueError, match="as many groups"):
                kernel(*bad)
        with pytest.raises(ValueError, match="at most 8"):
            kernel(left[:1], weight[:1], many, np.zeros((1, 9), np.intp), np.zeros((1, 9), np.intp))
        with pytest.raises(ValueError, match="two derivatives are needed"):
            kernel(left, weight, planes[:2], x0, y0)


def test_correlation_does_not_flip_the_kernel():
    kernel = np.zeros((3, 3), np.float32)
    kernel[0, 2] = 2
    image = np.zeros((5, 5), np.float32)
    image[1, 3] = 1
    out = detect.correlate(image, kernel)
    assert out[2, 2] == 2 and out.sum() == 2


@pytest.mark.parametrize("shape", [(2, 2), (3, 5)])
def test_correlation_refuses_kernels_without_a_middle(shape):
    with pytest.raises(ValueError, match="odd"):
        detect.correlate(np.zeros((9, 9), np.float32), np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(60, 90), (1, 40), (40, 1), (7, 7), (80, 81)])
def test_local_maxima(shape):
    rng = np.random.default_rng(4)
    image = np.round(rng.normal(size=shape), 1).astype(np.float32)  # with many equal neighbours
    image[rng.random(shape) < 0.02] = -np.inf
    fast, slow = detect.local_maxima(image, 0.25), reference.local_maxima(image, 0.25)
    assert len(slow[0]) > 1
    assert np.array_equal(fast[0], slow[0]) and np.array_equal(fast[1], slow[1])


def test_local_maxima_of_plateaus_nan_and_the_densest_grid():
    plateau = np.zeros((5, 6), np.float32)
    plateau[1:3, 2:4] = 3
    assert [v.tolist() for v in detect.local_maxima(plateau, 1.)] == [[1], [2]]
    broken = np.full((5, 5), np.nan, np.float32)
    assert len(detect.local_maxima(broken, -10.)[0]) == 0
    grid = np.zeros((101, 75), np.float32)
    grid[::2, ::2] = 1
    assert len(detect.local_maxima(grid, 0.5)[0]) == 51*38
    assert len(detect.local_maxima(plateau, 3.)[0]) == 0


@pytest.mark.parametrize("clip", [1., 3., 1e9])
def test_block_statistics(clip):
    rng = np.random.default_rng(5)
    image = (rng.normal(size=(50, 64))*5+rng.exponential(3, (50, 64))).astype(np.float32)
    weight = rng.uniform(0.5, 2, image.shape).astype(np.float32)
    weight[rng.random(image.shape) < 0.3] = 0
    weight[10:20, :21] = 0
    weight[20:30, 0:21] = 0
    weight[25, 7] = 1  # a block of one pixel
    edges = np.array([0, 10, 20, 30, 50], dtype=np.intp), np.array([0, 21, 40, 64], dtype=np.intp)
    fast, slow = sky.block_statistics(image, weight, *edges, clip), reference.block_statistics(image, weight, *edges, clip)
    assert np.array_equal(fast[1], slow[1]) and fast[1][1, 0] == 0 and fast[1][2, 0] == 1
    assert np.isnan(fast[0][1, 0]).all()
    assert np.allclose(fast[0], slow[0], rtol=2e-6, atol=1e-6, equal_nan=True)


def test_blocks_of_equal_values_and_of_nan():
    edges = np.array([0, 20, 40], dtype=np.intp)
    weight = np.ones((40, 40), np.float32)
    values, _ = sky.block_statistics(weight*7, weight, edges, edges, 3.)
    assert (values == 7).all()
    broken = weight.copy()
    broken[:20, :20] = np.nan
    values, count = sky.block_statistics(broken, weight, edges, edges, 3.)
    assert np.isnan(values[0, 0, :3]).all() and (values[1] == 1).all() and (count == 400).all()


def test_splines_along_rows():
    rng = np.random.default_rng(14)
    values, bends = (rng.normal(size=(5, 4)).astype(np.float32) for _ in range(2))
    # the second piece has no pixel
    start, weights = np.array([0, 9, 9, 30], dtype=np.intp), rng.normal(size=(4, 30)).astype(np.float32)
    fast, slow = np.empty((5, 30), np.float32), np.empty((5, 30))
    for module, out in ((sky, fast), (reference, slow)):
        module.spline_rows(values, bends, start, weights, out)
    assert np.allclose(fast, slow, atol=1e-5)
    for bad in (np.array([0, 9, 8, 30]), np.array([1, 9, 9, 30]), np.array([0, 9, 9, 31])):
        with pytest.raises(ValueError, match="cover the rows"):
            sky.spline_rows(values, bends, bad.astype(np.intp), weights, fast)
    with pytest.raises(ValueError, match="same rows"):
        sky.spline_rows(values, bends[:3], start, weights, fast)


def test_block_edges_must_lie_in_the_image():
    image = np.zeros((9, 9), np.float32)
    with pytest.raises(ValueError, match="edges"):
        sky.block_statistics(image, image, np.array([0, 10], dtype=np.intp), np.array([0, 9], dtype=np.intp), 3.)
    with pytest.raises(ValueError, match="same shape"):
        sky.block_statistics(image, image[:8], np.array([0, 9], dtype=np.intp), np.array([0, 9], dtype=np.intp), 3.)


@pytest.mark.parametrize("weighted", [True, False])
def test_centroids(weighted):
    rng = np.random.default_rng(6)
    at = np.arange(13)-6
    psf = np.exp(-(at[:, None]**2+at[None, :]**2)/9)[None].repeat(9, axis=0)*rng.uniform(0.9, 1.1, (9, 13, 13))
    light = psf*100+rng.normal(size=psf.shape)
    weight = rng.uniform(0.5, 2, psf.shape)*(rng.random(psf.shape) > 0.2)
    light[7], weight[8] = -light[7], 0  # undefined: negative light, no weight
    arrays = [a.astype(np.float32) for a in (psf, light, weight)]
    fast, slow = centroid.centroids(*arrays, weighted, 3), reference.centroids(*arrays, weighted, 3)
    for a, b in zip(fast, slow):
        assert np.allclose(a, b, atol=1e-6)
        assert (a[7:] == 0).all() and (a[:7] != 0).any()
    with pytest.raises(ValueError, match="same shape"):
        centroid.centroids(arrays[0], arrays[1][:5], arrays[2], weighted, 3)


def test_measurements():
    rng = np.random.default_rng(7)
    n, size, shape = 30, 19, (45, 50)
    at = np.arange(size)-size//2
    sharp, wide = (np.exp(-(at[:, None]**2+at[None, :]**2)/s)/(np.pi*s) for s in (8, 9))
    planes = [np.repeat(v[None], n, axis=0)*rng.uniform(0.95, 1.05, (n, 1, 1))
              for v in (sharp, at*sharp/4, at[:, None]*sharp/4, wide)]
    planes = tuple(np.ascontiguousarray(v, dtype=np.float32) for v in planes)
    residual, model = rng.normal(size=shape).astype(np.float32), rng.uniform(0, 30, shape).astype(np.float32)
    ivar = rng.uniform(0.5, 1.5, shape).astype(np.float32)*(rng.random(shape) > 0.1).astype(np.float32)
    ivar[:25, :24] = 0
    x0, y0 = rng.integers(-15, 48, n).astype(np.intp), rng.integers(-15, 43, n).astype(np.intp)
    x0[:6], y0[:6] = (-25, 60, 3, 3, 2, -9), (3, 3, -22, 50, 2, 40)  # off on every side; all masked; a corner
    flux = rng.uniform(-100, 3000, n)
    fast = measure.measure(residual, model, ivar, planes, x0, y0, flux)
    slow = reference.measure(residual, model, ivar, planes, x0, y0, flux)
    assert measure.COLUMNS == reference.MEASURED
    # products are float32; a position from the few pixels of a corner loses most
    assert np.allclose(fast, slow, rtol=5e-5, atol=1e-6)
    assert (fast[:5, [c for c in range(11) if c != 5]] == 0).all()
    # the width is the PSF's own, on the image or off it
    assert np.ptp(fast[:, 5]) < 1e-5*fast[0, 5]


@pytest.mark.parametrize("shape", [(1, 1), (5, 16), (7, 21)])
def test_chi2_of_all_pixels_with_a_weight(shape):
    rng = np.random.default_rng(12)
    data, background, model, ivar = (rng.uniform(0, 9, shape).astype(np.float32) for _ in range(4))
    ivar[rng.random(shape) < 0.3] = 0
    total, count = measure.chi2(data, background, model, ivar)
    assert (total, count) == pytest.approx(reference.chi2(data, background, model, ivar), rel=1e-6)
    with pytest.raises(ValueError, match="same shape"):
        measure.chi2(data, background, model, ivar[:, :-1].copy())


def test_cutouts_on_and_off_a_plane():
    plane = np.random.default_rng(3).normal(size=(11, 14)).astype(np.float32)
    x0, y0 = (np.array(v, dtype=np.intp) for v in ((2, -3, 12, -9, 5, 20, 3), (4, -2, 8, 3, 30, 1, -5)))
    fast = measure.cutouts(plane, x0, y0, 5)
    np.testing.assert_array_equal(fast, reference.cutouts(plane, x0, y0, 5))
    assert fast[0].all() and not fast[3:].any()
    with pytest.raises(ValueError, match="as many"):
        measure.cutouts(plane, x0, y0[:3], 5)


def test_measure_checks_its_arguments():
    planes = tuple(np.zeros((2, 5, 5), np.float32) for _ in range(4))
    image, at, flux = np.zeros((9, 9), np.float32), np.zeros(2, np.intp), np.zeros(2)
    with pytest.raises(ValueError, match="as many"):
        measure.measure(image, image, image, planes, at, at[:1], flux)
    with pytest.raises(ValueError, match="same shape"):
        measure.measure(image, image[:5], image, planes, at, at, flux)


def test_every_public_kernel_has_a_slow_twin():
    folder = Path(__file__).parent.parent/"cython_ext"
    if not folder.is_dir():
        pytest.skip("the kernels' source is not beside the tests")
    # of those NumPy and SciPy are the twins, in tests of their own; one only names the kernels
    others = {"linear.pyx", "functions.pyx", "kinds.pyx"}
    public = {name for path in folder.glob("*.pyx") if path.name not in others
              for name in re.findall(r"^def (\w+)", path.read_text(encoding="utf-8"), re.M)}
    # what only raises has no result to compare
    twins = set().union(*(vars(module) for module in (reference, reference_artifacts, reference_groups, reference_sky)))
    assert len(public) > 10 and public-{"check"} <= twins
