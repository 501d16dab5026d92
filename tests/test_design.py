"""Stamps of many sources, the model image, the design matrix and the sizes of stamps."""
import logging

import numpy as np
import pytest

from crowdsource.config import SolveConfig
from crowdsource.engine.design import (
    Workspace,
    add_stamps,
    chunks_by_size,
    model_image,
    render_stamps,
    sky_basis,
    sparse_matrix,
    stamp_levels,
    stamp_sizes,
)
from crowdsource.psf.base import pixel
from crowdsource.psf.model import FieldPSF

SHAPE = (60, 70)
PSF = FieldPSF.moffat(SHAPE, 4., 3., 0.05)


def sources(n=30, seed=1):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-6, SHAPE[1]+6, n), rng.uniform(-6, SHAPE[0]+6, n)
    return x, y, rng.uniform(100, 1000, n), rng.choice([9, 19, 31], n)


def plane_of(stamps, k, plane):
    offset, size, stride = stamps.layout[k, :3]
    rows = stamps.buffer[offset+plane*size*stride:offset+(plane+1)*size*stride].reshape(size, stride)
    assert (rows[:, size:] == 0).all()
    return rows[:, :size]


def test_stamp_set_holds_what_the_psf_renders():
    x, y, _, size = sources()
    stamps = render_stamps(PSF, x, y, size, origin=(7, -3))
    assert len(stamps) == 30
    for k in range(30):
        for plane, true in enumerate(PSF.render(x[k:k+1], y[k:k+1], int(size[k]), derivatives=True)):
            # sums of six products in another order
            assert np.allclose(plane_of(stamps, k, plane), true[0], rtol=1e-6, atol=1e-7*true[0].max())
    assert np.array_equal(stamps.layout[:, 3]+size//2+7, pixel(x))
    assert np.array_equal(stamps.layout[:, 4]+size//2-3, pixel(y))


def test_a_used_workspace_gives_the_same_stamps():
    x, y, _, size = sources()
    fresh, workspace = render_stamps(PSF, x, y, size), Workspace()
    workspace.give(np.full(len(fresh.buffer)+100, np.nan, np.float32))
    used = render_stamps(PSF, x, y, size, workspace=workspace)
    assert len(used.buffer) == len(fresh.buffer)+100
    for k in range(30):
        assert all(np.array_equal(plane_of(used, k, p), plane_of(fresh, k, p)) for p in range(3))


def test_chunks_hold_every_source_once_and_one_size_each():
    _, _, _, size = sources(500)
    chunks = list(chunks_by_size(np.append(size, [1501]*3)))
    assert np.array_equal(np.sort(np.concatenate(chunks)), np.arange(503))
    sizes = np.append(size, [1501]*3)
    assert all(len(set(sizes[c])) == 1 and (np.diff(c) > 0).all() for c in chunks)
    # three stamps of 1501 px hold 27 MB each: one at a time
    assert [len(c) for c in chunks[-3:]] == [1, 1, 1]


def test_model_image_is_the_sum_of_stars():
    x, y, flux, size = sources()
    image = model_image(PSF, x, y, flux, size, SHAPE)
    true = np.zeros((SHAPE[0]+200, SHAPE[1]+200))
    for k in range(30):
        half = size[k]//2
        at = np.s_[100+pixel(y[k])-half:100+pixel(y[k])+half+1, 100+pixel(x[k])-half:100+pixel(x[k])+half+1]
        true[at] += flux[k]*PSF.render(x[k:k+1], y[k:k+1], int(size[k]))[0]
    assert image.dtype == np.float32
    assert np.allclose(image, true[100:-100, 100:-100], atol=1e-3*flux.min()*PSF.stamp(1)[0, 0])
    more = model_image(PSF, x[:3], y[:3], -flux[:3], size[:3], SHAPE, out=image.copy())
    assert np.allclose(more, model_image(PSF, x[3:], y[3:], flux[3:], size[3:], SHAPE), atol=1e-3)


def test_add_stamps_in_place():
    image = np.zeros(SHAPE, np.float32)
    add_stamps(image, PSF.render([0.2, 30.], [0., 20.], 9), np.array([0.2, 30.]), np.array([0., 20.]), np.array([2., 3.]))
    assert image[20, 30] == pytest.approx(3*PSF.stamp(1)[0, 0], rel=1e-6)
    assert image[0, 0] > 1.9*PSF.render([0.2], [0.], 1)[0, 0, 0]


def test_sizes_follow_the_table():
    config = SolveConfig(stamp_sizes=(19, 59, 149), stamp_levels=(20., 1000.))
    peak, noise = PSF.stamp(5)[2, 2], 3.
    flux = np.array([0., 19.9, 20.1, 999., 1001., -1001.])*noise/peak
    assert stamp_sizes(flux, PSF, noise, config).tolist() == [19, 19, 59, 59, 149, 149]
    bright = np.array([False, True, False, False, False, True])
    assert stamp_sizes(flux, PSF, noise, config, bright).tolist() == [19, 299, 59, 59, 149, 299]


@pytest.mark.parametrize("fwhm", [2.5, 4., 8.])
def test_without_a_table_what_is_cut_off_stays_below_the_noise(fwhm):
    psf = FieldPSF.moffat(SHAPE, fwhm)
    config = SolveConfig(stamp_sizes=(19, 31, 59, 149), stamp_levels=(), cut_off=0.1)
    noise = 5.
    flux = np.geomspace(10, 1e8, 60)
    size = stamp_sizes(flux, psf, noise, config)
    assert (np.diff(size) >= 0).all() and size[0] == 19 and size[-1] == 149
    levels = stamp_levels(psf, config)
    assert (np.diff(levels) >= 0).all()
    profile = psf.stamp(149)[74, 74:]
    for f, s in zip(flux, size):
        if s < 149:
            assert f*profile[s//2] <= 0.1*noise*1.01
        # and the next smaller one would not do
        smaller = [c for c in config.stamp_sizes if c < s]
        assert not smaller or f*profile[smaller[-1]//2] >= 0.1*noise*0.99


def test_too_many_bright_stars_get_smaller_stamps_and_a_warning(caplog):
    config = SolveConfig(stamp_sizes=(19, 59, 149), stamp_levels=(20., 1000.), max_stamp_pixels=40_000)
    peak = PSF.stamp(5)[2, 2]
    flux = np.array([1e4]*3+[100.]*4+[1.])/peak
    with caplog.at_level(logging.WARNING):
        size = stamp_sizes(flux, PSF, 1., config)
    # 3 of 149 and 4 of 59 hold 80,527 pixels; 7 of 59 hold 24,367
    assert size.tolist() == [59]*7+[19]
    assert "3 bright stars" in caplog.text and "59 px stamps instead of 149" in caplog.text
    tight = SolveConfig(stamp_sizes=(19, 59), stamp_levels=(20.,), max_stamp_pixels=1)
    assert stamp_sizes(flux, PSF, 1., tight).tolist() == [19]*8


@pytest.mark.parametrize("planes", [1, 3])
def test_matrix_times_fluxes_is_the_model_over_sigma(planes):
    x, y, flux, size = sources()
    rng = np.random.default_rng(3)
    root = rng.uniform(0.5, 2, SHAPE).astype(np.float32)
    root[10:20, 30:33] = 0
    matrix = sparse_matrix(render_stamps(PSF, x, y, size), root, planes)
    assert matrix.shape == (SHAPE[0]*SHAPE[1], 30*planes)
    parameters = np.zeros((30, planes))
    parameters[:, 0] = flux
    image = (matrix@parameters.ravel()).reshape(SHAPE)
    assert np.allclose(image, model_image(PSF, x, y, flux, size, SHAPE)*root, atol=1e-3)


def test_derivative_columns_move_a_star():
    x, y = np.array([30.2]), np.array([25.7])
    matrix = sparse_matrix(render_stamps(PSF, x, y, np.array([31])), np.ones(SHAPE, np.float32), 3)
    step = 0.05
    moved = (matrix@np.array([1000., 1000*step, -1000*step])).reshape(SHAPE)
    true = model_image(PSF, x+step, y-step, np.array([1000.]), np.array([31]), SHAPE)
    # second order: half a step squared over the width squared
    assert np.abs(moved-true).max() < 2e-3*true.max()


@pytest.mark.parametrize("spacing", [7., 20., 500.])
def test_sky_basis_holds_constants_and_planes(spacing):
    basis = sky_basis(SHAPE, spacing)
    assert basis.shape[0] == SHAPE[0]*SHAPE[1]
    assert np.allclose(np.asarray(basis.sum(axis=1)).ravel(), 1, atol=1e-6)
    knots = [max(2, int(np.ceil(n/spacing))+1) for n in SHAPE]
    assert basis.shape[1] == knots[0]*knots[1]
    ky, kx = np.meshgrid(np.linspace(0, SHAPE[0]-1, knots[0]), np.linspace(0, SHAPE[1]-1, knots[1]), indexing="ij")
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    assert np.allclose((basis@(3*kx-2*ky+5).ravel()).reshape(SHAPE), 3*xx-2*yy+5, atol=1e-3)
