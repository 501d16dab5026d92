"""Artificial stars: their light, their noise and what they saturate."""
import numpy as np
import pytest

from crowdsource.core.errors import InputError
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.artificial_stars import inject, variance_per_count

SHAPE = (120, 140)
PSF = FieldPSF.moffat(SHAPE, 4.)


def image_of(sky=100., gain=2., **metadata):
    """Sky with its photon noise; a masked column."""
    data = np.random.default_rng(1).normal(sky, np.sqrt(sky/2.), SHAPE)
    ivar = np.full(SHAPE, 2./sky)
    ivar[:, 70] = 0
    return Image.from_arrays(data, ivar, gain=gain, **metadata)


def at(x, y, flux):
    return dict(x=np.atleast_1d(x), y=np.atleast_1d(y), flux=np.atleast_1d(flux))


def test_light_and_variance_are_added():
    image = image_of()
    new = inject(image, PSF, at(40., 50., 5000.))
    added = (new.data-image.data).astype(float)
    # 59 px hold all that the PSF's norm box does; photon noise of 5,000 counts at gain 2 is 50
    assert added[20:80, 10:69].sum() == pytest.approx(5000, abs=250)
    variance = 1/new.ivar[50, 40]-1/image.ivar[50, 40]
    assert variance == pytest.approx(5000*PSF.stamp(1)[0, 0]/2, rel=1e-3)
    assert new.ivar[110, 130] == image.ivar[110, 130]
    assert (new.ivar[:, 70] == 0).all() and np.array_equal(new.mask, image.mask)
    assert np.array_equal(image.data, image_of().data)


def test_noise_of_the_star_is_that_of_its_photons():
    image = image_of()
    p = PSF.stamp(1)[0, 0]
    values = np.array([inject(image, PSF, at(40., 50., 5000.), seed=s).data[50, 40] for s in range(400)])
    # 400 draws: 3.5 % on a standard deviation
    assert values.std() == pytest.approx(np.sqrt(5000*p/2), rel=0.13)
    assert values.mean()-image.data[50, 40] == pytest.approx(5000*p, abs=4*np.sqrt(5000*p/2)/20)


def test_same_seed_same_image_and_other_seed_other_noise():
    one, two, three = (inject(image_of(), PSF, at(40., 50., 5000.), seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.data, two.data) and not np.array_equal(one.data, three.data)


def test_positions_are_the_parents():
    image = image_of().cutout(20, 100, 30, 110)
    new = inject(image, PSF, at(60., 70., 50000.))
    peak = np.unravel_index((new.data-image.data).argmax(), image.shape)
    assert peak == (40, 40)


def test_stars_off_the_image_shine_in_or_are_left_out():
    image = image_of()
    near, far = inject(image, PSF, at(-3., 50., 1e5)), inject(image, PSF, at(-500., 50., 1e5))
    assert near.data[50, 0] > image.data[50, 0]+500
    assert np.array_equal(far.data, image.data)


def test_saturated_pixels_are_clipped_flagged_and_masked():
    image = image_of(saturation=2000.)
    new = inject(image, PSF, at(40., 50., 2e5))
    over = (new.mask & ENGINE.saturated) > 0
    assert 10 < over.sum() < 200 and over[50, 40]
    assert (new.data[over] == 2000).all() and (new.ivar[over] == 0).all() and new.data.max() == 2000


def test_variance_per_count_from_the_gain_or_from_the_image():
    assert variance_per_count(image_of(gain=4.)) == 0.25
    rng = np.random.default_rng(3)
    truth = 100+rng.exponential(500, SHAPE)*(rng.random(SHAPE) < 0.1)
    variance = truth/3
    image = Image.from_arrays(truth+rng.normal(0, np.sqrt(variance)), 1/variance)
    assert variance_per_count(image) == pytest.approx(1/3, rel=0.1)
    flat = Image.from_arrays(truth, np.full(SHAPE, 0.04))
    assert variance_per_count(flat) == 0
    assert np.array_equal(inject(flat, PSF, at(40., 50., 500.), seed=1).data, inject(flat, PSF, at(40., 50., 500.), seed=2).data)


@pytest.mark.parametrize("sources, message", [(dict(x=[1.], y=[1.]), "no column flux"),
                                              (dict(x=[np.nan], y=[1.], flux=[1.]), "finite")])
def test_sources_that_cannot_be_injected(sources, message):
    with pytest.raises(InputError, match=message):
        inject(image_of(), PSF, sources)
