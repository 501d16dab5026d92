"""A noise map that is not what it is given as is told, with what it looks like."""
from dataclasses import replace

import numpy as np
import pytest
from crowdsource.instruments.generic import Generic
from scipy.ndimage import gaussian_filter
from small_fields import write_fits

from crowdsource.core.errors import CrowdsourceError
from crowdsource.core.noise import scatter_in_units_of
from crowdsource.simulate import SimulationConfig, simulate_field

CROWD = SimulationConfig(shape=(300, 320), stars=3000, fwhm=3., saturated_stars=0)
UNIT = np.float32(8)
MAPS = {"ivar": lambda ivar: ivar, "inverse_sigma": np.sqrt, "rms": lambda ivar: ivar**-0.5, "variance": lambda ivar: 1/ivar}


@pytest.fixture(scope="module")
def field():
    """In units in which one sigma is far from 1, so that maps are not alike."""
    made = simulate_field(CROWD)
    return replace(made, data=made.data*UNIT, ivar=made.ivar/UNIT**2)


@pytest.fixture
def folder(tmp_path, field, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", field.data, GAIN=CROWD.gain/float(UNIT))
    for name, of in MAPS.items():
        write_fits(f"{name}.fits", of(np.maximum(field.ivar, 1e-12)).astype(np.float32))
    return tmp_path


def read(**options):
    exposure = Generic().open("im.fits", **options)
    return exposure.read(exposure.tasks()[0])


def one_sigma(values):
    return values


def test_the_scatter_of_a_crowd_is_that_of_its_noise(field):
    noise = np.maximum(field.ivar, 1e-12)**-0.5
    one, third = scatter_in_units_of([one_sigma, lambda v: 3*v], noise, field.data)
    assert 0.93 < one < 1.03 and third == pytest.approx(one/3)
    assert np.isnan(scatter_in_units_of([one_sigma], noise*0, field.data)[0])
    assert np.isnan(scatter_in_units_of([one_sigma], noise[:2, :2], field.data[:2, :2])[0])
    assert np.isnan(scatter_in_units_of([one_sigma], noise, np.full_like(field.data, np.nan))[0])


@pytest.mark.parametrize("name", MAPS)
def test_each_map_gives_the_same_image(folder, field, name):
    image = read(**{name: f"{name}.fits"})
    good = field.ivar > 0
    assert np.allclose(image.ivar[good & image.good], field.ivar[good & image.good], rtol=1e-5) and not image.findings


@pytest.mark.parametrize("given", MAPS)
@pytest.mark.parametrize("taken", MAPS)
def test_a_map_taken_for_another_is_told(folder, given, taken):
    if given == taken:
        return
    with pytest.raises(CrowdsourceError, match=f"{given}.fits.*`{taken}` gives; taken as `{given}`"):
        read(**{taken: f"{given}.fits"})
    assert read(**{taken: f"{given}.fits", "trust_noise": True}).good.any()


@pytest.mark.parametrize("factor", [5., 1000., 0.05, 1e-4])
def test_noise_that_is_off_by_a_factor_is_told(folder, field, factor):
    write_fits("off.fits", (field.ivar*factor**2).astype(np.float32))
    with pytest.raises(CrowdsourceError, match="off.fits.*scatters by.*check the units"):
        read(ivar="off.fits")
    write_fits("near.fits", (field.ivar*2.5**2).astype(np.float32))
    assert not read(ivar="near.fits").findings


def test_smooth_noise_of_resampled_pixels_is_taken_with_a_word(folder, field):
    rng = np.random.default_rng(1)
    smooth = gaussian_filter(rng.normal(0, 1, CROWD.shape), 0.9)
    write_fits("smooth.fits", (100+smooth/smooth.std()).astype(np.float32))
    write_fits("one.fits", np.ones(CROWD.shape, np.float32))
    exposure = Generic().open("smooth.fits", ivar="one.fits")
    assert any("correlated noise" in f for f in exposure.read(exposure.tasks()[0]).findings)


def test_bits_on_most_stars_are_doubted(folder, field):
    from scipy.ndimage import maximum_filter
    rng = np.random.default_rng(2)
    light = field.data-np.median(field.data)
    stars = (light == maximum_filter(light, 5)) & (light > 20*np.median(field.ivar)**-0.5)
    dq = np.where(rng.random(CROWD.shape) < 0.03, 1 << 0, 0) | np.where(maximum_filter(stars, 3), 1 << 5, 0)
    write_fits("dq.fits", dq.astype(np.int32))
    doubted = [f for f in read(ivar="ivar.fits", dq="dq.fits").findings if "peaks of stars" in f]
    assert len(doubted) == 1 and doubted[0].startswith("bit 5 of the flags")
    assert not read(ivar="ivar.fits", dq="dq.fits", bad_bits="0").findings


def test_bits_of_bad_and_saturated_pixels_are_not(folder, field):
    bright = field.data > np.quantile(field.data, 0.999)
    dq = np.where(np.random.default_rng(3).random(CROWD.shape) < 0.2, 1, 0) | np.where(bright, 2, 0)
    write_fits("dq.fits", dq.astype(np.int32))
    assert not read(ivar="ivar.fits", dq="dq.fits").findings


def test_bad_columns_and_hot_pixels_are_no_stars(folder):
    """On a field of few stars most of the brightest pixels are bad ones, whose flags are right."""
    rng = np.random.default_rng(4)
    field = simulate_field(replace(CROWD, stars=30.))
    bad = rng.random(CROWD.shape) < 0.003
    bad[:, [20, 90]] = True
    write_fits("dirty.fits", np.where(bad, rng.uniform(1e4, 3e4, CROWD.shape), field.data).astype(np.float32))
    write_fits("dirty_ivar.fits", field.ivar)
    write_fits("dq.fits", bad.astype(np.int32))
    exposure = Generic().open("dirty.fits", ivar="dirty_ivar.fits", dq="dq.fits")
    image = exposure.read(exposure.tasks()[0])
    assert not image.findings and not image.good[bad].any()


@pytest.mark.parametrize("unit, gain, exptime, electrons", [
    ("", 2., 100., 2.), ("adu", 2., 100., 2.), ("ELECTRONS", 2., 100., 1.), ("electron", None, None, 1.), ("e-", 4., 10., 1.),
    ("ELECTRONS/S", 1., 500., 500.), ("electron s-1", 2., 500., 500.), ("counts/s", 2., 100., 200.), ("DN / s", 2., 100., 200.),
    ("ELECTRONS/S", 1.5, None, None), ("counts / sec", None, 100., None), ("MJy/sr", 2., 100., None), ("ct", None, 5., None)])
def test_unit_gain_and_exposure_time_are_understood_together(tmp_path, monkeypatch, unit, gain, exptime, electrons):
    monkeypatch.chdir(tmp_path)
    cards = {"BUNIT": unit, "CCDGAIN": gain, "EXPTIME": exptime}
    data = np.random.default_rng(0).normal(50, 3, (40, 40)).astype(np.float32)
    write_fits("im.fits", data, **{k: v for k, v in cards.items() if v not in (None, "")})
    image = read()
    assert image.gain == electrons or (electrons is None and np.isnan(image.gain))
    assert read(gain=7.).gain == 7
