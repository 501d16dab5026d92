"""The noise of stars that are no sources: how it follows their number, the limit of detection and a source's width."""
from dataclasses import replace

import numpy as np
import pytest

from crowdsource.config import FitConfig
from crowdsource.engine.confusion import (
    CELL,
    EXTENT_RANGE,
    TYPICAL_SLOPE,
    confusion_noise,
    extent_factor,
    local_density,
    local_mean,
    power_law_slope,
    response,
    undetected_power,
)
from crowdsource.engine.sources import Sources
from crowdsource.engine.undetected import UndetectedLight
from crowdsource.psf.model import FieldPSF

SHAPE = (512, 640)
REPLY = response(FieldPSF.moffat(SHAPE, 4.).stamp(19))


def crowd(count, seed=1, slope=TYPICAL_SLOPE, shape=SHAPE):
    """Sources above 15 sigma whose counts follow a power law, with errors of 1."""
    rng = np.random.default_rng(seed)
    flux = 15*rng.random(count)**(-1/(slope-1))
    x, y = (rng.uniform(0, n-1, count) for n in shape[::-1])
    return Sources.new(x, y, flux, np.ones(count))


def noise(sources, joint=1., config=None, shape=SHAPE):
    return confusion_noise(sources, np.full(len(sources), joint), np.ones(shape, bool), REPLY, config or FitConfig())


def test_response_is_the_psf_against_itself():
    p = FieldPSF.moffat(SHAPE, 4.).stamp(19).astype(float)
    padded = np.pad(p, 19)
    shifted = [np.roll(padded, (j, i), (0, 1)) for j in range(-19, 20) for i in range(-19, 20)]
    products = np.array([(padded*s).sum() for s in shifted])/(p**2).sum()
    assert REPLY.area == pytest.approx((products**2).sum(), rel=0.02)
    # a source is moved by light on the scale of its own width
    assert 0.5 < REPLY.lever < 2


def test_a_fit_in_confusion_answers_less_to_it_and_more_to_photons():
    stamp = FieldPSF.moffat(SHAPE, 4.).stamp(19)
    assert REPLY.photons == pytest.approx(np.ones(3))
    replies = [response(stamp, UndetectedLight(stamp, power, 2.)) for power in (1e-6, 10., 60.)]
    assert replies[0].area == pytest.approx(REPLY.area, rel=1e-4) and replies[0].lever == pytest.approx(REPLY.lever, rel=1e-4)
    areas, photons = np.array([r.area for r in replies]), np.array([r.photons for r in replies])
    assert (np.diff(areas) < -0.1*areas[:-1]).all() and (np.diff(photons, axis=0) > 0.01).all()
    # what a filter gains in confusion it must not lose in photons: with the power of 60 the sum of both is least for its own
    noise = [60*r.area+r.photons[0]*4/(stamp.astype(float)**2).sum() for r in replies]
    assert noise[2] < noise[1] < noise[0]


def test_power_of_undetected_stars_is_the_integral_of_their_counts():
    s, density = crowd(4000), 4000/np.prod(SHAPE)
    flux = np.linspace(1e-3, 3., 100_000)
    wanted = np.trapezoid(density*(TYPICAL_SLOPE-1)/15*(flux/15)**-TYPICAL_SLOPE*flux**2, flux)
    assert undetected_power(s, np.ones(SHAPE, bool), 3.) == pytest.approx(wanted, rel=0.1)
    # half of the pixels hold all of them
    half = np.ones(SHAPE, bool)
    half[::2] = False
    assert undetected_power(s, half, 3.) == pytest.approx(2*undetected_power(s, np.ones(SHAPE, bool), 3.))
    assert undetected_power(Sources.new([], []), half, 3.) == 0 and undetected_power(s, np.zeros(SHAPE, bool), 3.) == 0


def test_noise_grows_with_the_crowd_and_is_that_of_a_power_law():
    few, many = (np.median(noise(crowd(n))) for n in (1000, 4000))
    # variance in proportion to the number
    assert many/few == pytest.approx(2, rel=0.1)
    # by hand: stars below the limit of 0.85 * 4.5 sigma, dN/dF = N (s-1) / 15 (F/15)^-s
    limit, density = 0.85*4.5, 4000/np.prod(SHAPE)
    flux = np.linspace(1e-3, limit, 200_000)
    variance = REPLY.area*np.trapezoid(density*(TYPICAL_SLOPE-1)/15*(flux/15)**-TYPICAL_SLOPE*flux**2, flux)
    assert many == pytest.approx(np.sqrt(variance), rel=0.1)


def test_noise_grows_with_the_error_that_a_hidden_star_must_overcome():
    s = crowd(4000)
    # twice the limit: variance times 2^(3-s); bright stars hide by their own light
    assert np.median(noise(s, 2.)/noise(s, 1.)) == pytest.approx(2**((3-TYPICAL_SLOPE)/2), rel=0.03)
    careless = replace(FitConfig(), detect=replace(FitConfig().detect, threshold=9.))
    assert (noise(s, 1., careless) >= noise(s, 1.)).all() and np.median(noise(s, 1., careless)) > 1.3*np.median(noise(s, 1.))


def test_the_blending_that_counts_is_the_usual_one_around_not_a_sources_own():
    s = crowd(4000)
    joint = np.where(np.arange(len(s)) % 2, 3., 1.)
    n = confusion_noise(s, joint, np.ones(SHAPE, bool), REPLY, FitConfig())
    assert np.median(n[1::2]) == pytest.approx(np.median(n[::2]), rel=0.05)
    assert np.median(n/noise(s, 2.)) == pytest.approx(1, rel=0.02)
    # one that is hardly known counts no more than four times, and where stars are blended more it matters
    joint[5:7] = 1e9, np.nan
    assert confusion_noise(s, joint, np.ones(SHAPE, bool), REPLY, FitConfig()).max() < 1.1*n.max()
    left = s.x < SHAPE[1]/2-2*CELL
    n = confusion_noise(s, np.where(s.x < SHAPE[1]/2, 3., 1.), np.ones(SHAPE, bool), REPLY, FitConfig())
    assert np.median((n/noise(s, 3.))[left]) == pytest.approx(1, rel=0.05)
    assert np.median((n/noise(s, 1.))[s.x > SHAPE[1]/2+2*CELL]) == pytest.approx(1, rel=0.05)


def test_local_means_follow_their_sources_and_few_are_drawn_to_the_mean_of_all():
    s = crowd(4000)
    mean = local_mean(s, s.x, SHAPE)
    assert mean.shape == (SHAPE[0]//CELL, SHAPE[1]//CELL)
    middle = CELL*(np.arange(mean.shape[1])+0.5)
    assert mean[:, 1:-1] == pytest.approx(np.tile(middle[1:-1], (len(mean), 1)), abs=20)
    lone = Sources.new(np.r_[10., np.full(99, 600.)], np.r_[10., np.full(99, 500.)])
    lone = local_mean(lone, np.r_[100., np.zeros(99)], SHAPE)
    assert lone[0, 0] == pytest.approx((100+4)/5) and lone[4, 4] == pytest.approx(1) and abs(lone[-1, -1]) < 0.05


def test_bright_stars_hide_more():
    s = crowd(4000)
    order = np.argsort(s.flux)
    n = noise(s)
    assert n[order[-40:]].mean() > 1.5*n[order[:40]].mean()


def test_density_follows_the_stars_and_the_good_pixels():
    s = crowd(4000)
    left = s.subset(s.x < SHAPE[1]/2)
    good = np.ones(SHAPE, bool)
    density = local_density(left, good)
    assert density.shape == (SHAPE[0]//CELL, SHAPE[1]//CELL)
    assert density[:, :3].mean() == pytest.approx(4000/np.prod(SHAPE), rel=0.15)
    assert density[:, -3:].mean() < 0.2*density[:, :3].mean()
    # half of the pixels masked, the same stars on the others: twice the density
    good[::8] = good[1::8] = good[2::8] = good[3::8] = False
    assert local_density(s, good).mean() == pytest.approx(2*local_density(s, np.ones(SHAPE, bool)).mean(), rel=0.05)


def test_slope_is_found_and_few_sources_keep_the_common_one():
    for slope in (1.5, 2.2):
        assert power_law_slope(crowd(5000, slope=slope).flux/15) == pytest.approx(slope, abs=0.05)
    assert power_law_slope(np.array([])) == pytest.approx(TYPICAL_SLOPE)


def test_wide_sources_have_more_noise_and_thin_ones_less():
    assert extent_factor(0.) == 1
    values = extent_factor(np.linspace(-5, 8, 50))
    assert (np.diff(values) >= 0).all() and values[0] < 1 < values[-1]
    assert extent_factor(np.inf) == extent_factor(EXTENT_RANGE[1])


def test_no_sources_no_noise():
    assert noise(Sources.new([], [])).shape == (0,)
    lonely = Sources.new([10.], [10.], [100.], [np.inf])
    assert noise(lonely).tolist() == [0]
