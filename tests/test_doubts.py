"""What is said of a fit that does not look right."""
from dataclasses import replace

import numpy as np
import pytest
from small_fields import GAIN, NOISE, star_image

from crowdsource import Image, fit
from crowdsource.engine.doubts import doubts

SHAPE = (100, 110)
X, Y, FLUX = np.array([30., 70.3, 50.6]), np.array([20.4, 60., 70.7]), np.array([3e4, 2e4, 4e4])
DATA = star_image(SHAPE, X, Y, FLUX)


def said(image, **options):
    return " ".join(fit(image, **options).image.findings)


def test_nothing_is_said_of_a_fit_that_is_right():
    assert not said(Image.from_arrays(DATA, np.full(SHAPE, NOISE**-2)))
    assert not said(Image.from_arrays(DATA, gain=GAIN))


def test_a_gain_that_is_not_known_is_said_where_it_matters():
    assert "the gain is not known" in said(Image.from_arrays(DATA))
    assert "gain" not in said(Image.from_arrays(DATA, np.full(SHAPE, NOISE**-2)))


def test_noise_that_is_too_small_is_said():
    # positions are given: a search would go on for long
    image = Image.from_arrays(DATA, np.full(SHAPE, 20*NOISE**-2))
    assert "times the noise in the pixels" in said(image, sources=dict(x=X, y=Y), trust_noise=True)


@pytest.mark.parametrize("last, told", [(2.1, True), (2.9, False)])
def test_a_psf_that_shrinks_is_said(last, told):
    states = []
    fit(Image.from_arrays(DATA, np.full(SHAPE, NOISE**-2)), observer=states.append)
    history = tuple(dict(h, fwhm=w) for h, w in zip(states[-1].history, np.linspace(3., last, len(states[-1].history))))
    assert any("has become narrower" in s for s in doubts(replace(states[-1], history=history))) == told
