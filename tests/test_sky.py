"""The sky: estimators against distributions that are known, filling and interpolation of blocks."""
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from crowdsource.config import SkyConfig
from crowdsource.engine.background import estimate_sky, fill_from_neighbours, interpolated, mode

SHAPE = (200, 240)
YY, XX = np.mgrid[:SHAPE[0], :SHAPE[1]]
ONES = np.ones(SHAPE, np.float32)


def noise(seed=1, sigma=3.):
    return np.random.default_rng(seed).normal(0, sigma, SHAPE)


@pytest.mark.parametrize("estimator", ["median", "mean", "mode"])
@pytest.mark.parametrize("block", [0, 20, 50, 1000])
def test_flat_sky_is_found_without_bias(estimator, block):
    sky = estimate_sky((noise()+50).astype(np.float32), ONES, SkyConfig(estimator=estimator), block)
    assert sky.dtype == np.float32 and sky.shape == SHAPE
    # 48,000 pixels: 0.014 for a mean; the mode leans on the difference of two quantiles, but only ever downwards
    assert sky.mean() == pytest.approx(50, abs=0.1 if estimator != "mode" else 0.5)
    # blocks of 400 pixels: 3*1.25/20 for a median
    assert np.std(sky) < (1e-4 if block in (0, 1000) else 0.35)


def test_one_block_is_one_value_and_blocks_follow_a_slope():
    slope = (0.05*XX-0.08*YY).astype(np.float32)
    one = estimate_sky(slope, ONES, SkyConfig(estimator="median"), 0)
    assert np.ptp(one) == 0 and one[0, 0] == pytest.approx(np.median(slope), abs=1e-4)
    blocks = estimate_sky(slope, ONES, SkyConfig(estimator="median"), 20)
    inner = np.s_[12:-12, 12:-12]
    # medians of blocks of an even number of pixels lie on the slope; splines through them keep it
    assert np.abs(blocks-slope)[inner].max() < 0.05
    # the outermost half block keeps its value: ten pixels of slope
    assert np.abs(blocks-slope).max() < 10*0.13+0.05


def test_interpolation_is_smooth():
    wave = (10*np.sin(XX/25.)*np.cos(YY/30.)).astype(np.float32)
    sky = estimate_sky(wave, ONES, SkyConfig(estimator="median"), 20)
    inner = np.s_[12:-12, 12:-12]
    # a block averages a wave of 157 px over 20 px: 3 % of its height
    assert np.abs(sky-wave)[inner].max() < 0.08*10
    # second differences of blocks that were not interpolated would be steps of up to 10*20/25
    assert np.abs(np.diff(sky, 2, axis=1))[inner].max() < 0.06


def test_stars_pull_the_median_less_than_the_mean_and_the_mode_least():
    rng = np.random.default_rng(3)
    faint = rng.exponential(3, SHAPE)*(rng.random(SHAPE) < 0.5)
    image = (noise(4)+faint).astype(np.float32)
    mean, median, lowest = (estimate_sky(image, ONES, SkyConfig(estimator=e, clip=3.), 0)[0, 0]
                            for e in ("mean", "median", "mode"))
    assert 0.05 < lowest < median < mean < faint.mean()
    # the clipped mean is blind to what stands out far
    image[::7, ::5] += 1e5
    assert estimate_sky(image, ONES, SkyConfig(estimator="mean", clip=3.), 0)[0, 0] == pytest.approx(mean, abs=0.25)


def test_mean_is_weighted_and_clipped_where_the_config_says():
    values = np.where(XX < 120, 10., 11.)
    ivar = np.where(XX < 120, 3., 1.).astype(np.float32)
    image = (values+noise(5)).astype(np.float32)
    weighted = estimate_sky(image, ivar, SkyConfig(estimator="mean", clip=5.), 0)[0, 0]
    assert weighted == pytest.approx(10.25, abs=0.06)
    # one sided tail: the clip decides how much of it counts
    tail = (noise(6)+np.random.default_rng(7).exponential(6, SHAPE)).astype(np.float32)
    narrow, wide = (estimate_sky(tail, ONES, SkyConfig(estimator="mean", clip=c), 0)[0, 0] for c in (1., 100.))
    assert wide == pytest.approx(6, abs=0.1) and narrow < 5.5


def test_masked_pixels_do_not_count():
    image = (noise(8)+20).astype(np.float32)
    ivar = np.where(np.random.default_rng(9).random(SHAPE) < 0.3, 0, 1).astype(np.float32)
    image[ivar == 0] = -1e5
    for estimator in ("median", "mean", "mode"):
        assert abs(estimate_sky(image, ivar, SkyConfig(estimator=estimator), 20)-20).max() < 2.5


def test_blocks_with_too_few_good_pixels_are_filled_from_their_neighbours():
    image = (0.1*XX).astype(np.float32)
    ivar = ONES.copy()
    # the block of columns 100-119 and rows 100-119 keeps a fifth of its pixels, which lie
    ivar[100:120, 100:116] = 0
    image[100:120, 116:120] = 500
    used = estimate_sky(image, ivar, SkyConfig(estimator="median", min_good=0.1), 20)
    filled = estimate_sky(image, ivar, SkyConfig(estimator="median", min_good=0.25), 20)
    assert used[110, 110] > 200
    assert filled[110, 110] == pytest.approx(11, abs=0.3)


def test_median_filter_over_blocks_removes_one_that_stands_out():
    image = noise(10).astype(np.float32)
    image[80:100, 80:100] += 100
    rough, smooth = (estimate_sky(image, ONES, SkyConfig(estimator="median", smooth=s), 20)[90, 90] for s in (1, 3))
    assert rough > 80 and abs(smooth) < 1


def test_fill_from_neighbours():
    level = np.full((5, 6), np.nan)
    level[0, 0] = 3.
    assert np.allclose(fill_from_neighbours(level), 3) and np.isnan(level[4, 5])
    level[:, :] = np.arange(6)
    level[2, 2:4] = np.nan
    out = fill_from_neighbours(level)
    # five good neighbours each: columns 1, 1, 1, 2, 2 and 3, 3, 4, 4, 4
    assert out[2, 2:4] == pytest.approx([(1*3+2*2+3*2)/7, (2*2+3*2+4*3)/7])
    assert np.isnan(fill_from_neighbours(np.full((2, 2), np.nan))).all()


def test_every_block_too_poor_gives_the_median_of_what_there_is():
    ivar = np.zeros(SHAPE, np.float32)
    ivar[::40, ::40] = 1
    sky = estimate_sky((XX*0+7).astype(np.float32), ivar, SkyConfig(min_good=0.5), 20)
    assert np.allclose(sky, 7)


@pytest.mark.parametrize("shape", [(5, 5), (1, 7), (30, 9)])
def test_small_images(shape):
    sky = estimate_sky(np.full(shape, 4, np.float32), np.ones(shape, np.float32), SkyConfig(), 20)
    assert sky.shape == shape and np.allclose(sky, 4)


def test_mode_of_symmetric_and_stretched_distributions():
    assert mode(np.array([[-1., 0., 1., 9.]])) == 0
    assert mode(np.array([[-1., 0., 2., 9.]])) == -0.5
    assert mode(np.array([[-2., 0., 1., 9.]])) == 0


@pytest.mark.parametrize("block", [12, 20, 31])
def test_blocks_are_interpolated_by_cubic_splines(block):
    level = np.random.default_rng(block).normal(50, 5, tuple(round(n/block) for n in SHAPE))
    edges = [np.linspace(0, n, k+1).astype(int) for n, k in zip(SHAPE, level.shape)]
    centres = [(e[:-1]+e[1:]-1)/2 for e in edges]
    inside = [np.clip(np.arange(n), c[0], c[-1]) for n, c in zip(SHAPE, centres)]
    wanted = CubicSpline(centres[1], CubicSpline(centres[0], level)(inside[0]), axis=1)(inside[1])
    # rows of float32, and weights of float32
    assert np.abs(interpolated(level, SHAPE, block)-wanted).max() < 2e-5*wanted.max()
