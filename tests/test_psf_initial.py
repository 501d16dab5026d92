"""The PSF that a fit starts from, found from the image alone."""
import logging

import numpy as np
import pytest

from crowdsource.core.image import Image
from crowdsource.core.kinds import narrow_kind
from crowdsource.psf.initial import FALLBACK_FWHM, initial_psf, measure_fwhm, width_of_stars
from crowdsource.simulate import SimulationConfig, simulate_field


@pytest.mark.parametrize("fwhm", [2.2, 4., 8.])
@pytest.mark.parametrize("stars", [100, 900])
def test_width_of_the_image_s_stars(fwhm, stars):
    field = simulate_field(SimulationConfig(shape=(200, 200), stars=stars*(4/fwhm)**0.5, fwhm=fwhm, seed=2))
    # a pixel widens thin stars, blends widen all: the fit starts from within a fifth or so
    assert measure_fwhm(field.image()) == pytest.approx(np.hypot(fwhm, 0.6), rel=0.22)


def test_hot_pixels_and_dead_columns_are_no_stars():
    field = simulate_field(SimulationConfig(shape=(200, 200), stars=150, fwhm=4.5, bad_columns=5, seed=3))
    rng = np.random.default_rng(4)
    data = field.data.copy()
    data[rng.integers(0, 200, 150), rng.integers(0, 200, 150)] += 20000
    image = Image.from_arrays(data, field.ivar)
    assert measure_fwhm(image) == pytest.approx(4.5, rel=0.2)


def test_few_stars_among_many_galaxies_give_the_width():
    """Without a gap, or where a single peak is narrow, the low quantile of all counts."""
    stars, galaxies = [5.8, 6.1, 6.2], [11.5, 11.7, 12.4, 13., 14., 15., 17., 18.]
    assert width_of_stars(np.array(galaxies+stars)) == 6.1
    blends = np.linspace(6, 18, 20)
    assert width_of_stars(blends) == pytest.approx(np.quantile(blends, 0.3))
    assert width_of_stars(np.array([2., *galaxies])) > 11


def test_a_kind_of_its_own_is_shared_by_several():
    values = np.array([5., 0.1, 5.2, 0., 5.1])
    assert narrow_kind(values, 1).tolist() == [False, True, False, True, False]
    assert narrow_kind(values, 6).all()
    # one outlier on either side is no kind
    assert narrow_kind(np.r_[-9., np.zeros(9)], 1).all() and narrow_kind(np.r_[9., np.zeros(9)], 1).all()


def test_no_star_gives_the_fallback_and_says_so(caplog):
    image = Image.from_arrays(np.random.default_rng(1).normal(0, 1, (50, 60)), np.ones((50, 60)))
    with caplog.at_level(logging.WARNING):
        psf = initial_psf(image)
    assert "no star is bright enough" in caplog.text
    assert psf.profile.at([30], [20])[0, 0] == FALLBACK_FWHM and psf.shape == (50, 60)


@pytest.mark.parametrize("shape", [(5, 5), (1, 40), (12, 300)])
def test_small_images_do_not_fail(shape):
    data = np.zeros(shape)
    data[shape[0]//2, shape[1]//2] = 1000
    assert initial_psf(Image.from_arrays(data, np.ones(shape))).fwhm() > 0


def test_a_given_width_is_taken():
    image = Image.from_arrays(np.zeros((50, 60)), np.ones((50, 60)))
    psf = initial_psf(image, fwhm=6.5, norm_size=41)
    assert psf.profile.at([30], [20])[0, 0] == 6.5 and psf.norm_size == 41
    assert psf.stamp(41).sum() == pytest.approx(1, abs=1e-5)
