"""The estimate of noise: right level on bare, crowded, uneven and tiny images; a pixel's own noise does not set its weight."""
import numpy as np
import pytest

from crowdsource.core.errors import InputError
from crowdsource.core.image import Image
from crowdsource.core.noise import background, estimate_ivar, scaled_weight
from crowdsource.simulate import SimulationConfig, simulate_field


def test_level_of_white_noise():
    data = np.random.default_rng(1).normal(50, 2.5, (256, 256))
    sigma = 1/np.sqrt(estimate_ivar(data))
    # one block of 64 x 64 pixels is good to 4% (differences of neighbours are correlated); the median of 9, of which 16 here
    assert sigma == pytest.approx(2.5, rel=0.08)
    assert sigma.mean() == pytest.approx(2.5, rel=0.03)


def test_noise_that_changes_over_the_image_is_followed():
    ramp = np.linspace(1, 3, 512)
    data = np.random.default_rng(2).normal(0, 1, (256, 512))*ramp
    sigma = 1/np.sqrt(estimate_ivar(data))
    # constant within half a block of the edges, where the ramp moves by 0.12 and the median of blocks by 0.1
    assert np.abs(sigma.mean(axis=0)-ramp).max() < 0.3
    assert sigma[:, 64:448].mean(axis=0) == pytest.approx(ramp[64:448], rel=0.06)


@pytest.mark.parametrize("stars", [200., 2500.])
def test_stars_do_not_raise_the_noise(stars):
    config = SimulationConfig(shape=(128, 128), stars=stars, brightest=2e3, seed=4)
    field = simulate_field(config)
    data = np.where(field.dq > 0, np.nan, field.data)
    ivar = estimate_ivar(data, config.gain, config.readnoise)
    good = field.dq == 0
    # the simulator's own estimate knows sky and gain; with 2,500 stars in 128 x 128 pixels no pixel is free of light, and
    # the robust scatter of pixels is twenty times their noise
    ratio = ivar[good]/field.ivar[good]
    assert np.median(ratio) == pytest.approx(1, abs=0.15)
    assert np.quantile(ratio, 0.02) > 0.75 and np.quantile(ratio, 0.98) < 1.4


def test_own_noise_does_not_set_the_weight():
    rng = np.random.default_rng(3)
    light = 400*np.exp(-((np.arange(200)-100)/40.)**2)[None, :]*np.ones((200, 1))
    data = light+rng.normal(0, 5, light.shape)
    ivar = estimate_ivar(data, gain=1.)
    own = (data-light)[:, 90:110]
    # uncorrelated within 4 standard errors of 4000 pixels; a 3x3 mean with the pixel itself would give about -0.3
    assert abs(np.corrcoef(own.ravel(), ivar[:, 90:110].ravel())[0, 1]) < 4/np.sqrt(4000)


def test_photons_of_light_above_the_background_add_their_variance():
    data = np.full((128, 128), 10.)
    data[40:60, 40:60] += 1000
    data = data+np.random.default_rng(5).normal(0, 2, data.shape)
    ivar = estimate_ivar(data, gain=2.5)
    assert 1/ivar[45:55, 45:55] == pytest.approx(4+1000/2.5, rel=0.03)
    assert estimate_ivar(data)[50, 50] == pytest.approx(1/4, rel=0.1)


def test_read_noise_is_the_least():
    data = np.full((40, 40), 7.)
    assert estimate_ivar(data, gain=2., readnoise=8.) == pytest.approx(1/16)


def test_whole_numbers_have_at_least_the_noise_of_rounding():
    data = np.round(np.random.default_rng(6).normal(100, 0.05, (64, 64)))
    data[0, 0] = 101
    assert estimate_ivar(data) == pytest.approx(12, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 5), (3, 70), (40, 7)])
def test_small_images(shape):
    data = np.random.default_rng(7).normal(20, 2, shape)
    ivar = estimate_ivar(data)
    assert ivar.shape == shape and ivar.dtype == np.float32
    assert np.isfinite(ivar).all() and (ivar > 0).all()


@pytest.mark.parametrize("value", [0., 7., -1e-5])
def test_constant_images(value):
    ivar = estimate_ivar(np.full((50, 50), value))
    assert np.isfinite(ivar).all() and (ivar > 0).all()


def test_unit_does_not_matter():
    data = np.random.default_rng(8).normal(1, 0.1, (64, 64))
    assert estimate_ivar(data*1e-9) == pytest.approx(estimate_ivar(data)*1e18, rel=1e-3)


def test_pixels_without_value_have_no_weight_and_do_not_spread():
    data = np.random.default_rng(9).normal(0, 1, (128, 128))
    data[::7, ::5] = np.nan
    ivar = estimate_ivar(data, gain=1.)
    assert (ivar[::7, ::5] == 0).all()
    assert np.median(ivar[np.isfinite(data)]) == pytest.approx(1, rel=0.05)


def test_weights_are_scaled_by_the_measured_noise():
    rng = np.random.default_rng(10)
    sigma = np.where(np.arange(256) < 128, 1., 3.)[None, :]*np.ones((256, 1))
    data = 20+rng.normal(0, 1, sigma.shape)*sigma
    weight = 700/sigma**2
    weight[:4] = 0
    ivar = scaled_weight(data, weight)
    assert (ivar[:4] == 0).all()
    assert ivar[4:] == pytest.approx(1/sigma[4:]**2, rel=0.05)


def test_background_level_lies_at_the_sky():
    data = np.random.default_rng(11).normal(300, 10, (128, 128)).astype(np.float32)
    level, sigma = background(data, 0.)
    # the median of the fainter half of 5x5 means lies 0.67 of their scatter below the mean
    assert level.mean() == pytest.approx(300-0.67*10/5, abs=0.5)


def test_image_estimates_from_good_pixels_only():
    data = np.random.default_rng(12).normal(0, 1, (256, 256))
    bad = np.zeros(data.shape, bool)
    bad[:, 100:] = True
    data[bad] *= 100
    image = Image.from_arrays(data, bad=bad)
    assert image.ivar_estimated
    assert (image.ivar[bad] == 0).all()
    assert np.median(image.ivar[~bad]) == pytest.approx(1, rel=0.1)


def test_noise_beyond_float32_is_refused_with_a_remedy():
    with pytest.raises(InputError, match=r"multiply the data by 1e\+18"):
        Image.from_arrays(np.random.default_rng(1).normal(0, 1e-18, (20, 20)))
