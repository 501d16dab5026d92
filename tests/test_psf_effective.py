"""PSFs of telescopes in space, found from the image: core, wings and spikes, and what their errors add to those of fluxes."""
import logging
from dataclasses import replace
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from astropy.io import fits
from crowdsource.instruments.generic import Generic
from scipy.ndimage import uniform_filter

from crowdsource import FitConfig, Image, fit
from crowdsource.cli.main import main
from crowdsource.config import PSFConfig
from crowdsource.core.errors import InputError
from crowdsource.core.flags import ENGINE
from crowdsource.engine.model_error import error_of_others, model_error
from crowdsource.engine.psf_error import excess_noise
from crowdsource.engine.psf_stars import select
from crowdsource.io.fits import write_image
from crowdsource.psf.export import write_stdpsf
from crowdsource.psf.formats.reading import read_psf
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.refit.effective import is_effective, over_pixel
from crowdsource.psf.refit.linear import ScaledStamps
from crowdsource.psf.refit.uncertainty import with_uncertainty
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.optics import Telescope, optical_psf, optical_stamp, pupil, simulate_optical_field
from crowdsource.validate.evaluate import compare

CROSS = Telescope(resolution=1.3, vanes=(45, 135, 225, 315), aberrations=(0.03, 0.02, 0.02), jitter=0.2)
CONFIG = SimulationConfig(shape=(420, 420), stars=1100., slope=1.75, sky=80., gain=2., readnoise=8., brightest=2e4, nebulosity=0.,
                          saturation=6e4, seed=5)


@pytest.fixture(scope="module")
def field():
    psf = optical_psf(CROSS, CONFIG.shape)
    return *simulate_optical_field(psf, CONFIG), psf


@pytest.fixture(scope="module")
def passes():
    return []


@pytest.fixture(scope="module")
def result(field, passes):
    return fit(field[0], observer=passes.append)


def figures(result, field, avoid=True):
    image, truth, _ = field
    return compare(result.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape,
                   avoid=image.mask & ENGINE.saturated > 0 if avoid else None)


def test_as_good_as_with_the_true_psf(field, result):
    own, true = figures(result, field), figures(fit(field[0], psf=field[2]), field)
    assert own.found > true.found-2.5 and own.spurious < 2.5 and abs(own.bias) < 1.
    # of 1,100 stars a few hundred are above 10 sigma
    assert 0.85 < own.pull < 1.25 and 0.85 < own.position_pull < 1.25
    # spikes of saturated stars are no sources
    assert figures(result, field, avoid=False).spurious < 4


def test_the_psf_is_the_true_one_from_core_to_spikes(field, result):
    size, truth = 81, field[2]
    found, true = result.psf.stamp(size), truth.stamp(size)
    at = np.arange(size)-size//2
    distance = np.hypot(at[:, None], at[None, :])
    assert np.abs(found-true)[distance < 5].max() < 0.02*true.max()
    for inner, outer, share in ((5, 12, 0.3), (12, 20, 0.5), (20, 35, 0.7)):
        ring = (distance >= inner) & (distance < outer)
        assert np.sqrt(np.mean((found-true)[ring]**2)) < share*np.sqrt(np.mean(true[ring]**2))
        assert found[ring].sum() == pytest.approx(true[ring].sum(), rel=0.25)


def test_a_flux_does_not_depend_on_the_phase_of_the_star(result):
    phase = np.arange(0, 1, 0.1)+200.
    stamps = result.psf.render(phase, phase[::-1].copy(), 59)
    assert np.ptp(stamps.sum(axis=(1, 2))) < 2e-3


@pytest.mark.parametrize("sampling", [2, 3, 4])
def test_each_phase_of_a_grid_has_the_same_sum_of_pixels(sampling):
    planes = np.zeros((1, 41, 41))
    planes[0, 15:26, 15:26] = np.random.default_rng(1).normal(size=(11, 11))
    over = over_pixel(planes, sampling)[0]
    sums = [over[j::sampling, i::sampling].sum() for j in range(sampling) for i in range(sampling)]
    assert np.allclose(sums, planes.sum()/sampling**2) and over.sum() == pytest.approx(planes.sum())


def test_round_trips(result, tmp_path):
    psf = result.psf
    assert is_effective(psf.profile) and psf.uncertainty.shape == (psf.wide_stamp,)*2
    fits.HDUList([fits.PrimaryHDU(), *psf.to_hdus("PSF")]).writeto(tmp_path/"a.fits")
    with fits.open(tmp_path/"a.fits") as hdus:
        from_fits = FieldPSF.from_hdus(hdus, "PSF")
    with h5py.File(tmp_path/"a.h5", "w") as file:
        psf.to_group(file.create_group("psf"))
        from_hdf5 = FieldPSF.from_group(file["psf"])
    x, y = np.array([33.3, 210.]), np.array([7.9, 15.5])
    for copy in (from_fits, from_hdf5):
        assert np.array_equal(copy.render(x, y, 75), psf.render(x, y, 75)) and is_effective(copy.profile)
        assert np.array_equal(copy.uncertainty, psf.uncertainty)


def test_a_narrow_stamp_is_only_a_start(field, caplog):
    stamp = FieldPSF.of(replace(field[2].profile, samples=field[2].stamp(59)[None], oversampling=1))
    with caplog.at_level(logging.WARNING):
        first = stamp.as_first_guess(PSFConfig())
        assert stamp.as_first_guess(PSFConfig(refit=False)) is stamp
    assert "too few to be interpolated" in caplog.text and "let the fit find" in caplog.text
    assert is_effective(first.profile) and first.uncertainty is not None
    wide = FieldPSF.of(replace(stamp.profile, samples=FieldPSF.moffat(CONFIG.shape, 4.).stamp(59)[None]))
    assert wide.as_first_guess(PSFConfig()) is wide


def test_a_given_psf_is_kept_where_the_user_wants_it(field, tmp_path):
    image, psf = field[0], optical_psf(replace(CROSS, jitter=0.35), CONFIG.shape)
    name, given, out = (str(tmp_path/n) for n in ("image.fits", "STDPSF.fits", "out.cat.fits"))
    write_image(image, name)
    write_stdpsf(psf, given, side=61)
    words = ["generic", f"{name}:IMAGE", "--ivar", f"{name}:IVAR", "--dq", f"{name}:DQ", "--psf", given, "--quiet", "--overwrite"]
    stamps = []
    for more in ([], ["--no-refit-psf"]):
        assert main([*words, *more, "--out", out]) == 0
        stamps.append(read_psf(out, image.shape).stamp(59))
    as_given = read_psf(given, image.shape).stamp(59)
    assert np.abs(stamps[1]-as_given).max() < 1e-6 < np.abs(stamps[0]-as_given).max()
    with pytest.raises(InputError, match="there is none"):
        Generic().open(name, no_refit_psf=True)


def test_photons_that_the_weights_do_not_count(field):
    """A user whose weights are those of the sky alone gets honest errors of bright stars as well."""
    image, truth, psf = field
    level = (CONFIG.sky/CONFIG.gain+(CONFIG.readnoise/CONFIG.gain)**2)
    sky_only = Image.from_arrays(image.data, np.where(image.ivar > 0, 1/level, 0).astype(np.float32))
    states = []
    result = fit(sky_only, psf=psf, observer=states.append)
    found = excess_noise(states[-1], select(states[-1]))
    assert found.photons == pytest.approx(1/CONFIG.gain, rel=0.3)
    assert found.psf < 0.02
    assert 0.8 < figures(result, field).pull < 1.3
    kept = fit(sky_only, psf=psf, config=FitConfig(psf=PSFConfig(refit=False)))
    assert figures(kept, field).bins["pull"][-1] > 1.5


def test_photons_that_the_weights_count_in_other_pixels(field):
    """Weights of a smoothed image leave out half of the photons of a narrow peak, and count them around it."""
    image, truth, psf = field
    background = CONFIG.sky/CONFIG.gain+(CONFIG.readnoise/CONFIG.gain)**2
    good = image.ivar > 0
    level = float(np.median(image.data[good]))
    light = uniform_filter(np.where(good, image.data-level, 0), 3)
    smoothed = np.where(good, 1/(background+np.maximum(light, 0)/CONFIG.gain), 0)
    states = []
    result = fit(Image.from_arrays(image.data, smoothed.astype(np.float32)), psf=psf, observer=states.append)
    found = excess_noise(states[-1], select(states[-1]))
    assert found.photons == pytest.approx(1/CONFIG.gain, rel=0.3)
    assert 0.5 < found.misplaced <= 1 and found.psf < 0.02
    assert (np.abs(figures(result, field).bins["pull"][-3:]-1) < 0.2).all()


def test_the_models_error_is_large_near_bright_stars_alone(field, passes, result):
    state = passes[-1]
    error = model_error(state)
    brightest = np.argmax(state.flux)
    y, x = (int(round(v[brightest])) for v in (state.y, state.x))
    assert error[max(0, y-6):y+7, max(0, x-6):x+7].max() > 2*state.noise and np.median(error) < 0.02*state.noise
    others = error_of_others(replace(state, model_error=error))
    near = np.hypot(state.x-state.x[brightest], state.y-state.y[brightest])
    assert others[(near > 0) & (near < 12)].max() > 10*np.median(others)


def test_few_stars_and_no_bright_ones():
    """Neither wings nor the uncertainty of the PSF need stars that are not there."""
    few = replace(CONFIG, shape=(150, 150), stars=40., brightest=60., saturated_stars=0)
    image, truth = simulate_optical_field(optical_psf(CROSS, few.shape), few)
    result = fit(image)
    right = compare(result.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape, edge=5)
    assert right.found > 70 and right.spurious < 12


def test_narrow_stars_are_found_from_a_wide_start():
    few = replace(CONFIG, shape=(150, 150), stars=60., saturated_stars=0)
    image, _ = simulate_optical_field(optical_psf(CROSS, few.shape), few)
    result = fit(image, FieldPSF.moffat(image.shape, 6.), replace(FitConfig(), max_passes=5))
    assert result.psf.fwhm() == pytest.approx(1.5, abs=0.1) and len(result.catalog) > 40


def test_stamps_wider_than_the_uncertainty_have_that_of_its_edge():
    error = np.full((5, 5), 0.02, np.float32)
    error[2, 2] = 0.3
    one = np.ones((2, 81), np.float32)
    psf = SimpleNamespace(uncertainty=error)
    doubted = with_uncertainty(ScaledStamps(one, one), psf, 2.).weight.reshape(2, 9, 9)
    assert doubted[:, 4, 4] == pytest.approx(1/(1+0.6**2)) and doubted[:, 0, 8] == pytest.approx(1/(1+0.04**2))


def test_optics():
    airy = optical_stamp(Telescope(resolution=6., obscured=0.), 20)
    middle = len(airy)//2
    above = (airy[middle] > airy.max()/2).sum()/4
    assert above == pytest.approx(1.029*6, rel=0.05) and airy.sum() == pytest.approx(16)
    # the first dark ring
    assert np.argmin(airy[middle, middle:middle+4*10])/4 == pytest.approx(1.22*6, rel=0.06)
    crossed = optical_stamp(replace(CROSS, aberrations=(), jitter=0.), 40)
    middle, far = (slice(at-4, at+4) for at in (len(crossed)//2, len(crossed)//2+4*25))
    assert crossed[far, far].mean() > 3*crossed[far, middle].mean()
    hexagons = pupil(Telescope(resolution=1., segments=2, obscured=0.1))
    assert 0.5 < hexagons.mean() < 0.75 and np.array_equal(hexagons, hexagons[::-1, ::-1])
