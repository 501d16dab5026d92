"""Trails of satellites: straight lines of peaks from edge to edge; and nothing else is one."""
import numpy as np
import pytest

from crowdsource import FitConfig, Image, fit
from crowdsource.config import ArtifactsConfig
from crowdsource.core.flags import ENGINE
from crowdsource.engine.trails import best_line, chord, fitted_line, trails
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import render_stars

SHAPE, FWHM = (220, 260), 3.


def points(n, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, SHAPE[1], n), rng.uniform(0, SHAPE[0], n)


def on_line(angle, offset, spacing=4., scatter=0.5, seed=2):
    """Points on a line through the image, its direction at an angle to the columns."""
    rng, along = np.random.default_rng(seed), np.arange(-400, 400, spacing)
    x = SHAPE[1]/2-along*np.sin(angle)+offset*np.cos(angle)+rng.normal(0, scatter, len(along))
    y = SHAPE[0]/2+along*np.cos(angle)+offset*np.sin(angle)+rng.normal(0, scatter, len(along))
    inside = (x > 0) & (x < SHAPE[1]) & (y > 0) & (y < SHAPE[0])
    return x[inside], y[inside]


@pytest.mark.parametrize("angle", [0., 0.4, 1.2, np.pi/2, 2.5])
@pytest.mark.parametrize("n", [30, 600])
def test_a_line_of_peaks_is_found_where_it_is(angle, n):
    x, y = (np.r_[a, b] for a, b in zip(points(n), on_line(angle, 12.)))
    where = trails(x, y, FWHM, SHAPE)
    line = on_line(angle, 12., spacing=0.5, scatter=0.)
    assert where[tuple(np.clip(np.round(v).astype(int), 0, m-1) for v, m in zip(line[::-1], SHAPE))].mean() > 0.98
    assert where.sum() < 3.3*FWHM*np.hypot(*SHAPE)


def test_two_lines():
    x, y = (np.concatenate(v) for v in zip(points(100), on_line(0.4, 12.), on_line(1.9, -20., seed=3)))
    both, one = trails(x, y, FWHM, SHAPE), trails(*(np.r_[a, b] for a, b in zip(points(100), on_line(0.4, 12.))), FWHM, SHAPE)
    assert (both & one).sum() > 0.95*one.sum() and both.sum() > 1.7*one.sum()


@pytest.mark.parametrize("n", [0, 1, 20, 300, 3000, 12000])
def test_stars_by_chance_are_no_line(n):
    for seed in range(4):
        assert trails(*points(n, seed), FWHM, SHAPE) is None


def test_a_short_row_of_stars_and_a_cluster_are_no_trail():
    x, y = on_line(0.4, 12.)
    part = slice(len(x)//3, len(x)*2//3)
    assert trails(*(np.r_[a, b[part]] for a, b in zip(points(200), (x, y))), FWHM, SHAPE) is None
    cluster = np.random.default_rng(4).normal(110, 8, (2, 300))
    assert trails(*(np.r_[a, b] for a, b in zip(points(200), cluster)), FWHM, SHAPE) is None


def test_geometry():
    assert chord((1., 0., 50.), SHAPE) == pytest.approx((-0.5, SHAPE[0]-0.5))
    c, s, distance = fitted_line(np.array([0., 1., 2.]), np.array([1., 2., 3.]))
    assert abs(c*0+s*1-distance) < 1e-12 and abs(c*2+s*3-distance) < 1e-12
    assert best_line(np.zeros(3), np.zeros(3), FWHM, SHAPE) is None


def test_a_fit_masks_a_trail_and_says_so():
    x, y = points(60)
    flux = np.geomspace(3e3, 1e5, 60)
    light = render_stars(SHAPE, MoffatProfile.constant(SHAPE, FWHM), x, y, flux, np.full(60, 59))
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    across = (xx-130)*np.cos(0.5)+(yy-110)*np.sin(0.5)
    noise = np.random.default_rng(5).normal(0, 5, SHAPE)
    image = Image.from_arrays(light+60*np.exp(-4*np.log(2)*(across/FWHM)**2)+noise, np.full(SHAPE, 1/25))
    result = fit(image)
    masked = result.image.mask & ENGINE.trail > 0
    assert masked[np.abs(across) < 0.4*FWHM].all() and not masked[np.abs(across) > 2.5*FWHM].any()
    assert "straight lines of peaks" in result.image.findings[-1] and len(result.catalog) < 90
    x, y = (np.asarray(result.catalog[name]) for name in "xy")
    assert (np.abs((x-130)*np.cos(0.5)+(y-110)*np.sin(0.5)) < 1).sum() < 4
    off = FitConfig(artifacts=ArtifactsConfig(trails=False))
    assert len(fit(image, config=off).catalog) > 100
