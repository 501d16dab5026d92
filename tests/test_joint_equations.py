"""The equations that images share against dense matrices, and what follows from them."""
from dataclasses import replace

import numpy as np
import pytest
from crowdsource.cython_ext import reference

from crowdsource.config import SolveConfig
from crowdsource.engine.solvers import NormalEquations
from crowdsource.joint.equations import Band, ImageEquations, SharedEquations, joint_step
from crowdsource.joint.fit import best_significance, spreads
from crowdsource.joint.frame import Frame

STARS = 24
EXACT = SolveConfig(search_tolerance=1e-11, max_iterations=2000)
PLACE = np.random.default_rng(1).uniform(0, 100, (2, STARS))
MEAN = np.random.default_rng(2).uniform(50, 2000, STARS)
FRAMES = Frame.similarity(1.2, 0.5, (3., 4.)), Frame.similarity(0.8, -2., (90., 80.), True), Frame.identity()
SCALES = 0.7, 1.3, 1.


def image(number, n=17, pairs=45, dark=()):
    """What an image says of some of the stars, in an order of its own: random, but positive definite equations."""
    rng = np.random.default_rng([number, 5])
    rows = rng.choice(STARS, n, replace=False)
    owner, partner = np.triu_indices(n, 1)
    some = np.sort(rng.choice(len(owner), pairs, replace=False))
    owner, partner = owner[some], partner[some]
    roots = rng.normal(size=(n, 3, 3))
    diagonal, blocks = roots@roots.transpose(0, 2, 1)+3*np.eye(3), rng.normal(0, 0.2, (pairs, 3, 3)).astype(np.float32)
    rhs = rng.normal(size=(n, 3))
    for k in dark:
        diagonal[k], rhs[k], blocks[(owner == k) | (partner == k)] = 0, 0, 0
    indptr = np.searchsorted(owner, np.arange(n+1)).astype(np.int64)
    normal = NormalEquations(diagonal, blocks, indptr, partner.astype(np.int32), rhs)
    flux = SCALES[number]*MEAN[rows]*rng.uniform(0.8, 1.2, n)
    return ImageEquations(normal=normal, rows=rows, flux=flux, jacobian=FRAMES[number].jacobian(*PLACE[:, rows]))


def dense(normal):
    return reference.dense(normal.diagonal.reshape(-1, 9), normal.flat_blocks(), normal.indptr, normal.indices)


def change(part, number):
    """Derivatives of an image's parameters by those of the reference, shape (3 sources, 3 stars), by their meaning."""
    out = np.zeros((len(part.rows), 3, STARS, 3))
    for k, (row, jacobian) in enumerate(zip(part.rows, part.jacobian)):
        out[k, 0, row, 0] = SCALES[number]
        # flux times shift on the image is its flux times J times the shift, which is what the reference has over its flux
        out[k, 1:, row, 1:] = part.flux[k]*jacobian/MEAN[row]
    return out.reshape(3*len(part.rows), 3*STARS)


def summed(numbers, **options):
    shared = SharedEquations(MEAN)
    for number in numbers:
        shared.add(image(number, **options), SCALES[number])
    return Band(shared.normal(), MEAN, shared.shown)


def test_factors_are_what_a_change_in_the_reference_means_on_an_image():
    part = image(0)
    out = part.factors(SCALES[0], MEAN[part.rows])
    expected = change(part, 0).reshape(17, 3, STARS, 3)[np.arange(17), :, part.rows]
    assert np.allclose(out, expected)


@pytest.mark.parametrize("numbers", [(0,), (0, 1), (2, 1, 0)])
def test_the_equations_of_images_add_up_to_the_dense_sum(numbers):
    band, whole, right = summed(numbers), 0, 0
    for number in numbers:
        part = image(number)
        by = change(part, number)
        whole, right = whole+by.T@dense(part.normal)@by, right+by.T@part.normal.rhs.ravel()
    assert np.allclose(dense(band.normal), whole, atol=2e-5*np.abs(whole).max())
    assert np.allclose(band.normal.rhs.ravel(), right)
    assert band.shown.tolist() == [sum(row in image(k).rows for k in numbers) for row in range(STARS)]
    owner = np.repeat(np.arange(STARS), np.diff(band.normal.indptr))
    assert (owner < band.normal.indices).all() and len({*zip(owner, band.normal.indices)}) == len(owner)
    assert (np.diff(owner*STARS+band.normal.indices) > 0).all()


def test_what_a_change_of_the_fluxes_and_positions_gives_in_chi2_is_the_same_on_the_images_and_in_the_sum():
    rng, band = np.random.default_rng(4), summed((0, 1))
    flux, shift = rng.normal(0, 10, STARS), rng.normal(0, 0.1, (STARS, 2))
    together = np.c_[flux, MEAN[:, None]*shift].ravel()
    loss = together@dense(band.normal)@together
    apart = 0
    for number in (0, 1):
        part = image(number)
        own = np.einsum("nij,nj->ni", part.jacobian, shift[part.rows])*part.flux[:, None]
        moved = np.c_[SCALES[number]*flux[part.rows], own].ravel()
        apart += moved@dense(part.normal)@moved
    assert loss == pytest.approx(apart, rel=1e-5)


def test_a_star_without_a_good_pixel_on_an_image_is_not_shown_by_it():
    part, band = image(0, dark=(3,)), summed((0,), dark=(3,))
    assert band.shown[part.rows[3]] == 0 and band.shown.sum() == 16
    assert not band.normal.diagonal[part.rows[3]].any()


def test_a_subset_leaves_stars_out_of_the_problem():
    band, keep = summed((0, 1, 2)), np.arange(STARS) % 3 != 1
    some = band.subset(keep)
    three = np.repeat(keep, 3)
    assert np.allclose(dense(some.normal), dense(band.normal)[np.ix_(three, three)])
    assert np.array_equal(some.mean, MEAN[keep]) and np.array_equal(some.shown, band.shown[keep])
    assert np.allclose(band.precision(0.3), 1/(0.3*MEAN)**2)


def dense_step(bands, width):
    """The step by one dense solution: fluxes of all bands, then shifts, with the prior."""
    count = len(bands)
    whole, right = np.zeros((STARS*(count+2), STARS*(count+2))), np.zeros(STARS*(count+2))
    for b, band in enumerate(bands):
        by = np.zeros((STARS, 3, STARS, count+2))
        for k in range(STARS):
            by[k, 0, k, b] = 1
            by[k, 1:, k, count:] = band.mean[k]*np.eye(2)
        by = by.reshape(3*STARS, -1)
        whole, right = whole+by.T@dense(band.normal)@by, right+by.T@band.normal.rhs.ravel()
    prior = np.tile(np.r_[np.zeros(count), 1/width**2, 1/width**2], STARS)
    whole += np.diag(prior)
    used = np.diag(whole) > 0
    x = np.zeros(len(right))
    x[used] = np.linalg.solve(whole[np.ix_(used, used)], right[used])
    return x.reshape(STARS, count+2)


@pytest.mark.parametrize("width", [1e-3, 0.3])
@pytest.mark.parametrize("numbers", [[(0, 1, 2)], [(0, 1), (2,)]])
def test_the_common_step_is_the_dense_solution(numbers, width):
    bands = [summed(n) for n in numbers]
    bands[-1] = replace(bands[-1], mean=1.7*bands[-1].mean)
    flux, shift, iterations, reduction = joint_step(bands, width, 1e-12, 3000)
    expected = dense_step(bands, width)
    assert flux.shape == (len(bands), STARS) and shift.shape == (STARS, 2)
    assert np.allclose(flux.T, expected[:, :len(bands)], atol=1e-7*np.abs(expected[:, :len(bands)]).max())
    assert np.allclose(shift, expected[:, len(bands):], atol=1e-7*np.abs(expected[:, len(bands):]).max())
    assert 0 < iterations < 400 and reduction <= 1e-12


def test_stars_that_no_image_of_a_band_shows_keep_their_flux_in_it():
    bands = [summed((0, 1, 2)), summed((2,))]
    flux, shift, *_ = joint_step(bands, 0.3, 1e-10, 3000)
    unseen = bands[1].shown == 0
    assert unseen.any() and not flux[1, unseen].any() and flux[1, ~unseen].all() and np.isfinite(shift).all()


def test_iterations_end_at_the_limit_and_there_may_be_nothing_to_do():
    band = summed((0, 1, 2))
    assert joint_step([band], 0.3, 1e-12, 2)[2] == 2
    still = replace(band, normal=replace(band.normal, rhs=np.zeros((STARS, 3))))
    flux, shift, iterations, reduction = joint_step([still], 0.3, 1e-3, 50)
    assert not flux.any() and not shift.any() and iterations == 0 and reduction == 0
    flux, shift, *_ = joint_step([band.subset(np.zeros(STARS, bool))], 0.3, 1e-3, 50)
    assert flux.shape == (1, 0) and shift.shape == (0, 2)


def test_own_fluxes_are_the_dense_solution_with_their_prior_and_are_taken_from_the_residual():
    part, rng = image(1), np.random.default_rng(3)
    own, spread = rng.normal(0, 1, 17), rng.uniform(0.2, 2, 17)
    spread[4], own[4] = 0, 0.7
    left, step = part.with_own_fluxes(own, spread, EXACT)
    matrix = dense(part.normal)
    flux = np.arange(17)*3
    precision = np.where(spread > 0, 1/np.where(spread > 0, spread, 1)**2, np.inf)
    free = np.isfinite(precision)
    normal = matrix[np.ix_(flux, flux)][np.ix_(free, free)]+np.diag(precision[free])
    expected = np.linalg.solve(normal, part.normal.rhs[free, 0]-own[free]*precision[free])
    assert np.allclose(step[free], expected, atol=1e-8) and abs(step[4]) < 1e-20
    assert np.allclose(left.normal.rhs.ravel(), part.normal.rhs.ravel()-matrix[:, flux]@step, atol=1e-8)
    assert np.array_equal(left.normal.diagonal, part.normal.diagonal) and np.array_equal(part.rows, left.rows)


def test_own_fluxes_of_constant_stars_change_nothing():
    part = image(1)
    left, step = part.with_own_fluxes(np.zeros(17), np.zeros(17), EXACT)
    assert np.abs(step).max() < 1e-20 and np.allclose(left.normal.rhs, part.normal.rhs, atol=1e-15)


def test_an_image_alone_says_what_its_own_blocks_do():
    part = image(0, dark=(3,))
    flux, error, shift, variance = part.alone()
    for k in np.delete(np.arange(17), 3):
        own, right = part.normal.diagonal[k], part.normal.rhs[k]
        assert flux[k] == pytest.approx(right[0]/own[0, 0]) and error[k] == pytest.approx(own[0, 0]**-0.5)
        assert shift[k] == pytest.approx(np.linalg.solve(own, right)[1:]/part.flux[k])
        assert variance[k] == pytest.approx(np.trace(np.linalg.inv(own)[1:, 1:])/2/part.flux[k]**2)
    assert flux[3] == 0 and not shift[3].any() and np.isinf(error[3]) and np.isinf(variance[3])


def test_a_candidate_counts_in_all_bands_together_or_in_the_one_that_shows_it_best():
    flux, error = [np.array([3., 5., 0., 2.])]*2, [np.ones(4), np.array([1., np.inf, 1., 0.1])]
    flux[1] = np.array([3., 9., 8., 0.])
    assert best_significance(flux, error) == pytest.approx([18**0.5, 5, 8, 2])


def test_how_much_stars_vary_is_found_beyond_the_errors():
    rng, error = np.random.default_rng(5), 10.
    varied = np.repeat([0., 60.], 200)
    off = rng.normal(0, np.hypot(error, varied), (20, 400))
    off[:, 7] = np.nan
    off[3:, 8] = np.nan
    got = spreads(off, np.where(np.isfinite(off), error, np.nan), np.full(400, 100.))
    assert np.mean(got[:200] == 2.) > 0.97 and got[7] == 2
    assert np.sqrt(np.mean(got[200:]**2)) == pytest.approx(60, rel=0.05) and got[200:].min() > 20
