"""Bright stars off the image, whose spikes come in."""
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from crowdsource import FitConfig, fit
from crowdsource.config import DetectConfig
from crowdsource.core.flags import ENGINE, decode
from crowdsource.engine.outside import Frame, candidates_in, frame_of
from crowdsource.psf.refit.uncertainty import distances
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.optics import Telescope, optical_psf, simulate_optical_field
from crowdsource.validate.evaluate import compare

CROSS = Telescope(resolution=1.3, vanes=(45, 135, 225, 315), aberrations=(0.03, 0.02, 0.02), jitter=0.2)
CONFIG = SimulationConfig(shape=(300, 320), stars=700., slope=1.75, sky=80., gain=2., readnoise=8., brightest=2e4, nebulosity=0.,
                          saturation=6e4, seed=7)
X, Y, SNR = -11.3, 172.4, 3e4


@pytest.fixture(scope="module")
def field():
    psf = optical_psf(CROSS, CONFIG.shape)
    return *simulate_optical_field(psf, CONFIG), psf


@pytest.fixture(scope="module")
def results(field):
    """Flux of a bright star off the field, and catalogs without it, with it, and where it is not looked for."""
    image, truth, psf = field
    flux = SNR*truth.meta["FLUX5"]/5
    light = np.zeros(image.shape, np.float32)
    psf.add_to(light, np.array([X]), np.array([Y]), np.array([flux]), 301)
    light = np.maximum(light, 0)
    noise = np.random.default_rng(1).normal(0, 1, image.shape)*np.sqrt(light/CONFIG.gain)
    ivar = image.ivar/(1+image.ivar*light/CONFIG.gain)
    more = replace(image, data=(image.data+light+noise).astype(np.float32), ivar=ivar.astype(np.float32))
    return flux, *(rows_of(i) for i in (image, more)), rows_of(more, outside=False)


def rows_of(image, outside=True):
    """The catalog of an image, without units."""
    catalog = fit(image, config=FitConfig(detect=DetectConfig(outside=outside))).catalog
    return Table({name: np.asarray(catalog[name]) for name in ("x", "y", "flux", "dflux", "dx", "dy", "flags", "qf")})


def test_the_star_is_found_where_it_is(results):
    flux, _, catalog, _ = results
    star = catalog[np.argmin(np.hypot(catalog["x"]-X, catalog["y"]-Y))]
    assert "offimage" in decode(star["flags"])
    assert np.hypot(star["x"]-X, star["y"]-Y) < 0.5 and star["flux"] == pytest.approx(flux, rel=0.3)


def test_its_spikes_are_no_sources(field, results):
    image, truth, _ = field
    without, found, ignored = (compare(c, truth, flux5=truth.meta["FLUX5"], shape=image.shape) for c in results[1:])
    assert found.spurious < without.spurious+1 and found.found > without.found-2.5
    assert found.spurious <= ignored.spurious
    # in the part that the wings cross
    without, found, ignored = (int(((c["x"] > -0.5) & (c["x"] < 60) & (abs(c["y"]-Y) < 60)).sum()) for c in results[1:])
    assert abs(found-without) < 0.3*(ignored-without)


def test_an_image_without_one_has_no_rows_far_off_it(results):
    catalog = results[1]
    far = np.maximum(-catalog["x"], catalog["x"]-319) > 8
    assert not far.any() and all((catalog["flags"][catalog["x"] < -0.5] >> 32) & ENGINE.offimage)


def test_a_gradient_of_the_sky_is_no_star(field):
    image = field[0]
    slope = np.linspace(300, 0, image.shape[1], dtype=np.float32)**2/300
    catalog = rows_of(replace(image, data=image.data+slope))
    assert not (np.maximum(-catalog["x"], catalog["x"]-319) > 8).any()


def test_the_ends_of_uncertain_wings_tell_of_no_star(field):
    image, _, psf = field
    # a hundredth of the light is uncertain as far as 20 px from a star, and beyond it three times what there is
    stamp, distance = psf.stamp(149), distances(149)
    doubtful = replace(psf, uncertainty=np.where(distance < 20, 0.01, 3.)*stamp)
    light = np.zeros(image.shape, np.float32)
    known, unsure = (frame_of(SimpleNamespace(image=image, psf=p, model_error=None), light) for p in (psf, doubtful))
    row, columns = known.half+image.shape[0]//2, known.half-np.array([5, 30, 50])
    assert (known.error[row, columns] > 0).all()
    assert unsure.error[row, columns[0]] == known.error[row, columns[0]] and (unsure.error[row, columns[1:]] == 0).all()


def test_no_star_is_found_where_no_light_comes_in():
    nothing = np.zeros((60, 60), np.float32)
    # the rim of the image has no data
    assert len(candidates_in(Frame(nothing, nothing, 10), None)) == 0
