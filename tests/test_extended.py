"""Extended sources: a galaxy is one row, a cluster of stars stays stars."""
import numpy as np
import pytest
from scipy.signal import fftconvolve

from crowdsource import Image, fit
from crowdsource.config import FitConfig
from crowdsource.config.presets import PRESETS, preset_config
from crowdsource.core.flags import ENGINE, MASK_SHIFT
from crowdsource.engine.profiles import ConvolvedDisc, axes, distance, within
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import render_stars

SIDE, FWHM, NOISE = 160, 3., 3.


def disc(x, y, scale, ratio, angle, flux):
    """An elliptical exponential disc on five samples a pixel, convolved with the PSF."""
    at = np.arange(-0.4, SIDE-0.5, 0.2)
    dx, dy = at[None, :]-x, at[:, None]-y
    u, v = dx*np.cos(angle)+dy*np.sin(angle), dy*np.cos(angle)-dx*np.sin(angle)
    light = np.exp(-np.hypot(u, v/ratio)/scale).reshape(SIDE, 5, SIDE, 5).mean(axis=(1, 3))
    light = fftconvolve(light, FieldPSF.moffat((SIDE, SIDE), FWHM, 3.).stamp(59), mode="same")
    return flux*light/light.sum()


def field(light=0., extra=()):
    """30 stars that are apart from the middle, and others (x, y, flux), with light, sky and noise."""
    rng = np.random.default_rng(5)
    stars = np.c_[rng.uniform(8, SIDE-8, (60, 2)), np.exp(rng.uniform(np.log(2e3), np.log(2e4), 60))]
    stars = stars[np.abs(stars[:, :2]-80).max(axis=1) > 35][:30]
    x, y, flux = np.vstack([stars, *(np.atleast_2d(e) for e in extra)]).T
    light = light+render_stars((SIDE, SIDE), MoffatProfile.constant((SIDE, SIDE), FWHM), x, y, flux, np.full(len(x), 59))
    variance = NOISE**2+light/4
    return Image.from_arrays(light+100+rng.normal(0, np.sqrt(variance)), 1/variance, gain=4.)


def rows_near(catalog, radius):
    """Rows within a radius of the middle, and whether each is extended."""
    x, y = catalog["x"].value, catalog["y"].value
    near = catalog[np.hypot(x-80, y-80) < radius]
    return near, np.asarray(near["flags"]) >> MASK_SHIFT & ENGINE.extended > 0


def test_a_galaxy_is_one_row_with_its_flux():
    """The errors of the profile's flux are 1 %; of points there would be 40."""
    result = fit(field(disc(80.3, 79.6, 5., 0.5, 0.6, 6e4)))
    near, extended = rows_near(result.catalog, 25)
    assert len(near) == 1 and extended[0]
    assert abs(near["flux"].value[0]/6e4-1) < 0.05
    assert np.hypot(near["x"].value[0]-80.3, near["y"].value[0]-79.6) < 0.3
    assert not near["psf_star"][0] and near["spread_model"][0] > 5*near["dspread_model"][0]
    assert np.abs((result.image.data-result.sky-result.model)[60:100, 60:100].mean()) < 0.2*NOISE


def test_a_star_on_a_galaxy_stays_a_star():
    """Its flux is right within 10 %: what the galaxy's light there is known to."""
    near, extended = rows_near(fit(field(disc(80.3, 79.6, 5., 0.5, 0.6, 6e4), [(86., 83., 8e3)])).catalog, 25)
    assert extended.sum() == 1
    stars = near[~extended]
    k = np.argmin(np.hypot(stars["x"].value-86, stars["y"].value-83))
    assert len(stars) <= 2 and abs(stars["flux"].value[k]/8e3-1) < 0.1


@pytest.mark.parametrize("flux", [1500., 4000., 20000.])
def test_a_tight_cluster_stays_stars(flux):
    """Six stars of similar flux on a ring of one FWHM in radius, with one in the middle."""
    angle = np.arange(5)*2*np.pi/5
    cluster = np.c_[80+3.2*np.r_[np.cos(angle), 0], 80+3.2*np.r_[np.sin(angle), 0], flux*np.linspace(0.8, 1.2, 6)]
    near, extended = rows_near(fit(field(extra=[cluster])).catalog, 10)
    assert not extended.any()
    assert len(near) == 6


def test_galaxies_that_outnumber_the_stars_are_not_the_psf():
    """Three stars and six galaxies, all brighter than the stars: the width is that of the stars, to 3 %."""
    places = [(30, 30), (30, 80), (30, 130), (80, 30), (130, 80), (130, 30)]
    light = sum(disc(x, y, 1.5*FWHM, 0.7, 0.5*k, 1e5) for k, (x, y) in enumerate(places))
    psf, spots = MoffatProfile.constant((SIDE, SIDE), FWHM), np.array([[80.3, 80.2], [80.1, 130.4], [131.2, 131.]])
    light = light+render_stars((SIDE, SIDE), psf, *spots.T, np.full(3, 2e4), np.full(3, 59))
    variance = NOISE**2+light/4
    data = light+100+np.random.default_rng(5).normal(0, np.sqrt(variance))
    result = fit(Image.from_arrays(data, 1/variance, gain=4.))
    assert float(result.psf.fwhm()) == pytest.approx(float(FieldPSF.moffat((SIDE, SIDE), FWHM, 3.).fwhm()), rel=0.03)


def test_no_profile_where_the_option_is_off():
    """The presets that follow the published program have it off."""
    assert FitConfig().detect.extended
    assert not any(preset_config(name).detect.extended for name in PRESETS if name != "default")


def test_a_convolved_disc_and_its_derivatives():
    """The rendered disc is that of five samples a pixel, which know its cusp to about 1 %; derivatives are differences."""
    psf, shape = FieldPSF.moffat((SIDE, SIDE), FWHM, 3.), np.array([9., 3., 5.])
    stamps = ConvolvedDisc(psf, 80.3, 79.6, 101).derivatives(shape)
    short, long = axes(shape)
    angle = 0.5*np.arctan2(2*shape[1], shape[0]-shape[2])
    wanted = disc(80.3, 79.6, long, short/long, angle, 1.)[30:131, 30:131]
    assert np.abs(stamps[0]-wanted).max() < 0.02*wanted.max()
    for k in range(3):
        step = np.zeros(3)
        step[k] = 1e-3
        high, low = (ConvolvedDisc(psf, 80.3, 79.6, 101).stamp(shape+sign*step) for sign in (1, -1))
        np.testing.assert_allclose(stamps[3+k], (high-low)/2e-3, atol=1e-3*np.abs(stamps[3+k]).max())


def test_shapes():
    """Distances are 1 on the ellipse, and limited axes keep their direction."""
    shape = np.array([4., 0., 1.])
    assert axes(shape) == (1., 2.)
    np.testing.assert_allclose(distance(shape, np.array([2., 0.]), np.array([0., 1.])), 1)
    np.testing.assert_allclose(within(shape, 1.5), [2.25, 0, 1])
