"""The noise of stars that are no sources, against simulated stars whose light is measured with the filter itself."""
from dataclasses import replace

import numpy as np
import pytest

from crowdsource.config import FitConfig
from crowdsource.core.matched_filter import correlated
from crowdsource.engine.confusion import (
    CELL,
    EXTENT_RANGE,
    KEPT_SHARE,
    POSITION_SHARE,
    SPLIT_RATIO,
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
PSF = FieldPSF.moffat(SHAPE, 4.)
STAMP = PSF.stamp(19).astype(np.float32)
SLOPE_STAMP = np.pad(STAMP[:, :-2]-STAMP[:, 2:], ((0, 0), (1, 1)))/2
"""Change of the stamp when its star moves by a pixel along x."""
INNER = np.s_[40:-40, 40:-40]
"""Pixels around which stars lie on all sides."""
RESPONSE = response(STAMP)
DEFAULT = FitConfig()
FAINTEST = 0.1
"""Flux of the faintest simulated stars: those below it have 0.2 to 3 % of the power of those up to the limit of detection."""


def crowd(count, seed=1, slope=TYPICAL_SLOPE, shape=SHAPE):
    """Sources above 15 sigma whose counts follow a power law, with errors of 1."""
    rng = np.random.default_rng(seed)
    flux = 15*rng.random(count)**(-1/(slope-1))
    x, y = (rng.uniform(0, n-1, count) for n in shape[::-1])
    return Sources.new(x, y, flux, np.ones(count))


def noise(sources, joint=1., config=DEFAULT, shape=SHAPE):
    return confusion_noise(sources, np.full(len(sources), joint), np.ones(shape, bool), RESPONSE, config)


class Population:
    """Stars of a power law, `count` of them expected above 15 sigma, of which those and no others are sources."""

    def __init__(self, count, seed, slope=TYPICAL_SLOPE):
        rng = np.random.default_rng(seed)
        n = rng.poisson(count*(15/FAINTEST)**(slope-1))
        self.flux = FAINTEST*rng.random(n)**(-1/(slope-1))
        self.x, self.y = (rng.uniform(0, length-1, n) for length in SHAPE[::-1])
        bright = self.flux > 15
        self.sources = Sources.new(self.x[bright], self.y[bright], self.flux[bright], np.ones(bright.sum()))

    def below(self, limit):
        """Image of the stars fainter than a limit, and the sum of their squared fluxes per pixel."""
        faint = self.flux < limit
        image = np.zeros(SHAPE, np.float32)
        PSF.add_to(image, self.x[faint], self.y[faint], self.flux[faint], 31)
        return image, (self.flux[faint]**2).sum()/np.prod(SHAPE)


def spread(image, template=STAMP, faint=None):
    """Standard deviation over an image of what a filter takes for a star's flux, or for its flux times its shift."""
    def weighed(plane):
        if faint is None:
            return plane
        ivar = np.full(SHAPE, faint.noise**-2, np.float32)
        return faint.weighed(plane, ivar, faint.amplitude(ivar))

    lone = np.zeros(SHAPE, np.float32)
    y, x, half = SHAPE[0]//2, SHAPE[1]//2, len(template)//2
    lone[y-half:y+half+1, x-half:x+half+1] = template
    unit = correlated(weighed(lone), template)[y, x]
    return (correlated(weighed(image), template)[INNER]/unit).std()


@pytest.mark.parametrize("slope, count, joint, threshold, flux", [
    (1.8, 4000, 1., 2.8, 15.), (1.8, 1000, 1., 2.8, 15.), (1.5, 4000, 1., 2.8, 15.), (2., 2000, 1., 2.8, 15.),
    (1.8, 4000, 2., 2.8, 15.), (1.8, 4000, 1., 9., 15.), (1.8, 4000, 1., 2.8, 1000.)])
def test_noise_is_the_scatter_of_the_filters_flux_between_undetected_stars(slope, count, joint, threshold, flux):
    config = replace(DEFAULT, detect=replace(DEFAULT.detect, threshold=threshold))
    # stars become sources above a share of the bounds in errors, or of a bright neighbour's flux
    limit = np.hypot(KEPT_SHARE*max(threshold, config.cull.prune)*joint, SPLIT_RATIO*config.detect.blend_ratio*flux)
    ratio = []
    for seed in range(6):
        stars = Population(count, seed, slope)
        alike = np.abs(np.log(stars.sources.flux/flux)) < 0.15
        assert alike.sum() > 3
        ratio.append(np.median(noise(stars.sources, joint, config)[alike])/spread(stars.below(limit)[0]))
    # of one population 3 to 5 %: the slope of 1000 to 4000 counted stars is known to 0.025 to 0.013, and the noise comes from
    # stars a quarter as bright; the filter's scatter is that of some 9,000 independent places. Of six populations: 2 %
    assert np.mean(ratio) == pytest.approx(1, abs=0.05) and np.std(ratio) < 0.1


@pytest.mark.parametrize("power", [1e-6, 10., 60.])
def test_the_filter_responds_to_undetected_stars_and_photons_as_is_said(power):
    faint = UndetectedLight(STAMP, power, 2.)
    expected = response(STAMP, faint)
    image, squares = Population(4000, 1).below(4.)
    # scatters of 9,000 places: 1 %, or 2 % of a variance, and more since few stars bring most of it
    assert spread(image, STAMP, faint)**2/squares == pytest.approx(expected.area, rel=0.06)
    lever = spread(image, SLOPE_STAMP, faint)/spread(image, STAMP, faint)
    assert POSITION_SHARE*lever == pytest.approx(expected.lever, rel=0.03)
    white = np.random.default_rng(2).normal(0, 2, SHAPE).astype(np.float32)
    for template, photons in ((STAMP, expected.photons[0]), (SLOPE_STAMP, expected.photons[1])):
        least = 4/(template.astype(float)**2).sum()
        assert spread(white, template, faint)**2/least == pytest.approx(photons, rel=0.05)
    if power < 1:
        assert (expected.area, expected.lever) == pytest.approx((RESPONSE.area, RESPONSE.lever), rel=1e-4)


def test_the_filter_for_a_power_is_the_best_one_for_that_power():
    replies = [response(STAMP, UndetectedLight(STAMP, power, 2.)) for power in (1e-6, 10., 60., 400.)]
    total = [60*r.area+r.photons[0]*4/(STAMP.astype(float)**2).sum() for r in replies]
    assert total[2] < min(total[1], total[3]) and total[1] < total[0]


def test_power_of_undetected_stars_is_that_of_a_population():
    ratio, good = [], np.ones(SHAPE, bool)
    for seed in range(6):
        stars = Population(4000, seed)
        ratio.append(undetected_power(stars.sources, good, 3.)/stars.below(3.)[1])
    # the power law's error of 0.013 changes this by 5 % for one population
    assert np.mean(ratio) == pytest.approx(1, abs=0.06)
    # half of the pixels hold all of them
    half = good.copy()
    half[::2] = False
    s = crowd(4000)
    assert undetected_power(s, half, 3.) == pytest.approx(2*undetected_power(s, good, 3.))
    assert undetected_power(Sources.new([], []), half, 3.) == 0 and undetected_power(s, np.zeros(SHAPE, bool), 3.) == 0


def test_the_blending_that_counts_is_the_usual_one_around_not_a_sources_own():
    s = crowd(4000)
    joint = np.where(np.arange(len(s)) % 2, 3., 1.)
    n = confusion_noise(s, joint, np.ones(SHAPE, bool), RESPONSE, DEFAULT)
    assert np.median(n[1::2]) == pytest.approx(np.median(n[::2]), rel=0.05)
    assert np.median(n/noise(s, 2.)) == pytest.approx(1, rel=0.02)
    # one that is hardly known counts no more than four times, and where stars are blended more it matters
    joint[5:7] = 1e9, np.nan
    assert confusion_noise(s, joint, np.ones(SHAPE, bool), RESPONSE, DEFAULT).max() < 1.1*n.max()
    left = s.x < SHAPE[1]/2-2*CELL
    n = confusion_noise(s, np.where(s.x < SHAPE[1]/2, 3., 1.), np.ones(SHAPE, bool), RESPONSE, DEFAULT)
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
