"""Halos: light that is conserved, kernels that agree with plain convolution, fits that keep them."""
from dataclasses import replace

import numpy as np
import pytest
from scipy import special
from scipy.signal import fftconvolve

from crowdsource.config import PSFConfig
from crowdsource.core.errors import InputError
from crowdsource.psf.base import StarStamps
from crowdsource.psf.initial import initial_psf
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.halo import Halo, spike
from crowdsource.psf.profiles.moffat import MoffatProfile, moffat, moffat_transform, pixel_moffat
from crowdsource.psf.refit.refit import refit

SHAPE = 400, 500
HALO = Halo.of([(0.12, 9., 3.), (0.03, 40., 2.2)], [(0.004, 45., 4., 0.01, 2., 8., 2.2)])


@pytest.mark.parametrize("shape", [(30., 4., 0.02, 2., 10., 3.), (-135., 6., 0.1, 4., 5., 4.)])
def test_a_spike_holds_unit_light(shape):
    at = np.arange(-1500, 1500.5, 0.5)
    total = spike(at[None, :], at[:, None], *shape).sum()/4
    # beyond 1500 px: (scale/1500)^(slope-1), below 1e-4
    assert total == pytest.approx(1, abs=2e-3)


def test_a_spike_lies_at_its_angle_and_opens():
    on, off = spike(np.array([60*np.cos(0.5)]), np.array([60*np.sin(0.5)]), np.degrees(0.5), 4., 0.02, 2., 10., 2.), \
        spike(np.array([-60*np.cos(0.5)]), np.array([-60*np.sin(0.5)]), np.degrees(0.5), 4., 0.02, 2., 10., 2.)
    assert on[0] > 0 and off[0] == 0
    half = spike(np.array([60.]), np.array([(4+0.02*60)/2]), 0., 4., 0.02, 2., 10., 2.)
    assert half[0] == pytest.approx(spike(np.array([60.]), np.array([0.]), 0., 4., 0.02, 2., 10., 2.)[0]/2)


def test_light_is_conserved_and_convolution_is_the_plain_one():
    size, wide = 121, 801
    halo = Halo.of(HALO.moffats, [*HALO.spikes, (0.004, -135., *HALO.spikes[0][2:])])
    got = halo.convolved(lambda side: pixel_moffat(side, (4., 0., 0., 3.)), size)
    kernel = halo.rendered(wide//2)
    kernel[wide//2, wide//2] += 1-halo.fraction
    plain = fftconvolve(pixel_moffat(wide, (4., 0., 0., 3.)), kernel, mode="same")
    cut = np.s_[wide//2-size//2:wide//2+size//2+1]
    # what lies more than 32 px outside the stamp, 1e-3 of the light, is spread over all of it
    assert np.abs(got-plain[cut, cut]).max() < 1e-8
    assert np.abs(got/plain[cut, cut]-1).max() < 2e-3
    assert plain.sum() == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("beta", [1.01, 1.3, 2., 3.7, 12., 30.])
def test_the_transform_is_a_bessel_function(beta):
    frequency, order = 10**np.linspace(-4, 0, 60), beta-1
    u = 2*np.pi*frequency*2.4/(2*np.sqrt(2**(1/beta)-1))
    wanted = 2*(u/2)**order*special.kv(order, u)/special.gamma(order)
    np.testing.assert_allclose(moffat_transform(frequency, 2.4, beta), wanted, atol=1e-12)
    assert moffat_transform(np.zeros(2), 2.4, beta).tolist() == [1, 1]


@pytest.mark.parametrize("fwhm, beta", [(2., 2.5), (3.5, 18.)])
def test_the_transform_of_a_moffat_profile(fwhm, beta):
    # sampled eight times a pixel over 256 px: what is cut off is below 1e-4
    at = np.arange(-1024, 1024)/8
    picture = moffat(at[None, :], at[:, None], fwhm, 0., 0., beta)/64
    frequency = np.fft.rfftfreq(2048)[:80]*8
    assert np.abs(np.fft.rfft2(np.fft.ifftshift(picture))[0, :80]-moffat_transform(frequency, fwhm, beta)).max() < 2e-4


@pytest.mark.parametrize("oversampling, tolerance", [(1, 2e-4), (2, 2e-5)])
def test_a_narrow_profile_blurs_exactly(oversampling, tolerance):
    got = Halo.of([(1., 2., 6.)]).convolved(lambda side: pixel_moffat(side, (3., 0.1, 0., 3.), oversampling), 41, oversampling)
    # the same with nine samples a pixel, where the blur is 18 samples wide
    fine = 9*oversampling
    at = np.arange(-30*fine, 30*fine+1)/fine
    blur = moffat(at[None, :], at[:, None], 2., 0., 0., 6.)/fine**2
    wide = fftconvolve(pixel_moffat(121, (3., 0.1, 0., 3.), fine), blur, mode="same")
    m, reach = wide.shape[0]//2, 20*fine
    # a core of 3 px sampled once a pixel still has 1e-3 of its power above the highest frequency, and the blur a tenth of that
    assert np.abs(got-wide[m-reach:m+reach+1:9, m-reach:m+reach+1:9]).max() < tolerance*got.max()


def test_narrow_stamps_are_the_middle_of_wide_ones():
    small, large = (HALO.convolved(lambda side: pixel_moffat(side, (4., 0.1, 0., 3.)), n) for n in (33, 163))
    assert np.array_equal(small, large[65:98, 65:98])


def test_rows_make_the_same_halo():
    assert Halo.from_rows(HALO.rows) == HALO and HALO.rows.shape == (3, 7)
    assert Halo.from_rows(Halo.of([(0.1, 9, 2)]).rows) == Halo.of([(0.1, 9, 2)])


@pytest.mark.parametrize("moffats, spikes, words", [
    ([(0.1, 9.)], [], "rows of fraction, fwhm, beta"), ([(0.1, 9., 0.9)], [], "beta > 1"),
    ([(0.1, -9., 2.)], [], "fwhm > 0"), ([], [(0.1, 0., 1., 0., 2., 5., 0.5)], "slope > 1"),
    ([(1.1, 9., 2.)], [], "share from 0 to 1"), ([(np.nan, 9., 2.)], [], "rows of"),
])
def test_what_is_no_halo_is_refused(moffats, spikes, words):
    with pytest.raises(InputError, match=words):
        Halo.of(moffats, spikes)


def test_rows_of_another_shape_are_refused():
    with pytest.raises(InputError, match="7 numbers"):
        Halo.from_rows(np.ones((2, 3)))


@pytest.mark.parametrize("fwhm", [3.7, 5.])
def test_the_first_psf_has_the_width_asked_for(fwhm):
    image = type("Picture", (), dict(shape=SHAPE))
    # the halo widens by a few per cent, and widths are told to about one
    assert initial_psf(image, fwhm, halo=HALO).fwhm() == pytest.approx(initial_psf(image, fwhm).fwhm(), rel=0.02)


def stars(psf, count=40, noise=2e-5, size=39):
    """Stamps of a PSF's stars at random places."""
    rng = np.random.default_rng(5)
    x, y = rng.uniform(20, SHAPE[1]-20, count), rng.uniform(20, SHAPE[0]-20, count)
    flux = np.full(count, 1e4)
    data = psf.render(x, y, size)*np.float32(1e4)+rng.normal(0, noise*1e4, (count, size, size)).astype(np.float32)
    return StarStamps(x=x, y=y, flux=flux, data=data, ivar=np.full_like(data, 1/(noise*1e4)**2), shape=SHAPE)


def test_a_refit_keeps_the_halo_and_finds_the_shape():
    truth = FieldPSF.of(MoffatProfile(np.array([[4.4, 0.2, 0.], [0.05, 0., 0.], [0., 0., 0.03], [3.4, 0., 0.]]), SHAPE, 1, HALO))
    start = FieldPSF.of(MoffatProfile.constant(SHAPE, 3.8, halo=HALO))
    got = refit(start, stars(truth), PSFConfig(order=1))
    assert got.profile.halo is HALO
    assert got.profile.coefficients[0, :2] == pytest.approx([4.4, 0.2], abs=0.03)
    # far outside the stamps the light is the halo's: within its own per cent, where a plain profile lacks nearly all
    far = np.s_[150, 50:100]
    bare = refit(FieldPSF.of(replace(start.profile, halo=None)), stars(truth), PSFConfig(order=1))
    assert got.stamp(301)[far].sum() == pytest.approx(truth.stamp(301)[far].sum(), rel=0.05)
    assert not bare.stamp(301)[far].sum() == pytest.approx(truth.stamp(301)[far].sum(), rel=0.3)


def test_a_refit_far_from_the_expected_width_is_not_taken(caplog):
    truth, start = (FieldPSF.moffat(SHAPE, fwhm) for fwhm in (2.4, 4.2))
    config = PSFConfig(order=0)
    assert refit(start, stars(truth), config).fwhm() < 3
    kept = refit(start, stars(truth), replace(config, expected_fwhm=4.2))
    assert kept is start and "4.20 px is expected" in caplog.text
    assert refit(start, stars(FieldPSF.moffat(SHAPE, 4.8)), replace(config, expected_fwhm=4.2)).fwhm() > 4.5


def test_a_halo_of_moffats_is_their_sum():
    at = np.arange(-5, 6.)
    assert np.allclose(Halo.of([(0.2, 8, 2.), (0.1, 30, 1.5)]).rendered(5),
                       0.2*moffat(at[None, :], at[:, None], 8, 0, 0, 2.)+0.1*moffat(at[None, :], at[:, None], 30, 0, 0, 1.5))
