"""Weighted-moment centroids: unbiased with masks and offsets, and in agreement with the derivative method."""
import numpy as np
import pytest

from crowdsource.config import SolveConfig
from crowdsource.engine.centroid import moment_centroids
from crowdsource.engine.design import model_image, render_stamps
from crowdsource.engine.solvers import LinearProblem, normal_step, prior_precision
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.stamp import StampProfile

SHAPE = (80, 90)
SIZE = 19


def gaussian(sigma=2.):
    yy, xx = np.mgrid[-20:21, -20:21]
    return FieldPSF.of(StampProfile.from_stamp(np.exp(-(xx**2+yy**2)/(2*sigma**2)), SHAPE))


MOFFAT, GAUSSIAN = FieldPSF.moffat(SHAPE, 4., 3.), gaussian()
every_psf = pytest.mark.parametrize("psf", [GAUSSIAN, MOFFAT], ids=["gaussian", "moffat"])


def shifts(psf, true, told, flux, ivar=None, noise=0., first=False, seed=1, neighbours=()):
    """Centroid shifts of stars that stand at `true` and are believed at `told`."""
    true, told, flux = (np.array(v, dtype=float) for v in (true, told, flux))
    size = np.full(len(flux), 31)
    data = model_image(psf, *true.T, flux, size, SHAPE)
    data += np.random.default_rng(seed).normal(0, noise, SHAPE).astype(np.float32) if noise else 0
    residual = data-model_image(psf, *told.T, flux, size, SHAPE)
    ivar = np.ones(SHAPE, np.float32) if ivar is None else ivar
    parameters = np.c_[flux, np.zeros((len(flux), 2))]
    planes = psf.render(*told.T, SIZE, derivatives=True)
    return moment_centroids(residual, ivar, planes, *told.T, parameters, use_psf_weight=not first)


@every_psf
@pytest.mark.parametrize("offset", [(0.3, 0.), (-0.1, 0.2), (0., -0.3)])
def test_offsets_are_found(psf, offset):
    found = shifts(psf, [(40+offset[0], 30+offset[1])], [(40., 30.)], [1000.])[0]
    # third order in the offset over the width: 0.3 px over 1.7 px
    assert found == pytest.approx(offset, abs=0.005)


@every_psf
@pytest.mark.parametrize("position", [(40., 30.), (40.4, 29.7), (1.2, 77.8), (88.9, 0.3)])
def test_a_star_at_its_place_stays_there(psf, position):
    assert shifts(psf, [position], [position], [1000.])[0] == pytest.approx([0, 0], abs=1e-4)


@every_psf
@pytest.mark.parametrize("first", [True, False])
def test_masks_bring_no_bias(psf, first):
    ivar = np.random.default_rng(2).uniform(0.3, 2, SHAPE).astype(np.float32)
    ivar[:, 41:44] = 0
    ivar[27, :] = 0
    position = [(40.3, 29.8)]
    assert shifts(psf, position, position, [1000.], ivar, first=first)[0] == pytest.approx([0, 0], abs=1e-4)
    # without the correction the mask alone would pull by a third of a pixel
    bare = psf.render([40.3], [29.8], SIZE)[0]
    weight = bare*ivar[21:40, 31:50]*(bare if not first else 1)
    assert abs((weight*(np.arange(SIZE)-9)).sum()/weight.sum()-0.3) > 0.2


@every_psf
def test_offsets_are_found_beside_a_mask_in_the_right_direction(psf):
    ivar = np.ones(SHAPE, np.float32)
    ivar[:, 42:46] = 0
    found = shifts(psf, [(40.2, 30.)], [(40., 30.)], [1000.], ivar)[0]
    # the description leaves the multiplicative bias of masks alone
    assert 0.08 < found[0] < 0.25 and found[1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("x", [-1.4, -4.3, 92.8])
def test_stars_just_off_the_image_are_seen_by_what_shines_into_it(x):
    found = shifts(MOFFAT, [(x, 30.3)], [(x, 30.)], [1000.])[0]
    assert found[1] == pytest.approx(0.3, abs=0.03)


def test_first_pass_uses_an_aperture_whatever_the_psf():
    wrong = FieldPSF.moffat(SHAPE, 7.)
    planes = wrong.render([40.], [30.], SIZE, derivatives=True)
    data = model_image(MOFFAT, np.array([40.3]), np.array([29.8]), np.array([1000.]), np.array([31]), SHAPE)
    place = np.array([40.]), np.array([30.])
    found = moment_centroids(data, np.ones(SHAPE, np.float32), planes, *place, np.zeros((1, 3)), use_psf_weight=False)[0]
    # an aperture of 3 px holds 70 % of the light and sees about that part of the shift
    assert 0.5*0.3 < found[0] < 0.3 and -0.2 < found[1] < -0.5*0.2


def test_neighbours_are_taken_off_and_the_own_model_put_back():
    places = [(40., 30.), (44., 31.), (37.5, 33.)]
    found = shifts(MOFFAT, places, places, [500., 2000., 1000.])
    assert np.abs(found).max() < 1e-4
    moved = shifts(MOFFAT, [(40.2, 30.), *places[1:]], places, [500., 2000., 1000.])
    assert moved[0, 0] == pytest.approx(0.2, abs=0.003)


def test_derivative_terms_are_put_back_too():
    """The own model holds flux times shift: what the fit moved already is not lost."""
    place, shift, flux = (40., 30.), 0.15, 1000.
    _, ddx, _ = planes = MOFFAT.render([40.], [30.], SIZE, derivatives=True)
    data = model_image(MOFFAT, np.array([40+shift]), np.array([30.]), np.array([flux]), np.array([SIZE]), SHAPE)
    model = model_image(MOFFAT, np.array([40.]), np.array([30.]), np.array([flux]), np.array([SIZE]), SHAPE)
    model[21:40, 31:50] += flux*shift*ddx[0]
    found = moment_centroids(data-model, np.ones(SHAPE, np.float32), planes, *(np.array([v]) for v in place),
                             np.array([[flux, flux*shift, 0.]]))[0]
    assert found == pytest.approx([shift, 0], abs=0.003)


def test_both_methods_agree_on_stars_with_noise():
    rng = np.random.default_rng(4)
    gx, gy = np.meshgrid(np.arange(12, 80, 15.), np.arange(12, 70, 15.))
    told = np.c_[gx.ravel(), gy.ravel()]+rng.uniform(-0.5, 0.5, (20, 2))
    true = told+rng.normal(0, 0.1, told.shape)
    flux, noise = np.full(20, 3000.), 2.
    moment = shifts(MOFFAT, true, told, flux, np.full(SHAPE, 0.25, np.float32), noise, seed=5)
    data = model_image(MOFFAT, *true.T, flux, np.full(20, 31), SHAPE)
    data += np.random.default_rng(5).normal(0, noise, SHAPE).astype(np.float32)
    stamps = render_stamps(MOFFAT, *told.T, np.full(20, 31))
    residual = data-model_image(MOFFAT, *told.T, flux, np.full(20, 31), SHAPE)
    step = normal_step(LinearProblem(stamps=stamps, ivar=np.full(SHAPE, 0.25, np.float32), residual=residual,
                                     precision=prior_precision(flux, flux*0.01, 1.)), SolveConfig())
    derivative = step.parameters[:, 1:]/(flux+step.parameters[:, 0])[:, None]
    # errors: fwhm/2.35/(S/N of 250) is 0.007 px for the best method; the offsets themselves scatter by 0.1
    assert np.std(derivative-(true-told)) < 0.015
    assert np.std(moment-(true-told)) < 0.025
    assert np.corrcoef(moment.ravel(), derivative.ravel())[0, 1] > 0.97


def test_sources_off_the_image_and_without_weight_stay():
    ivar = np.ones(SHAPE, np.float32)
    ivar[20:41, 30:51] = 0
    places = [(40., 30.), (-30., 20.), (200., 20.), (20., -50.)]
    found = shifts(MOFFAT, places, places, [100.]*4, ivar)
    assert (found == 0).all()
