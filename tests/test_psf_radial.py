"""Stars that no Moffat profile fits: how this is seen, and what is done about it."""
import logging

import numpy as np
import pytest

from crowdsource.config import FitConfig, PSFConfig
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.psf.base import StarStamps
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.refit.effective import is_effective
from crowdsource.psf.refit.radial import misfits, radial_correction, relevant_solution, stamp_size
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.optics import Telescope, optical_psf, simulate_optical_field
from crowdsource.validate.evaluate import compare

NOISE = 1.


def gauss(distance, fwhm):
    """Light of a Gaussian star of unit flux, per pixel."""
    sigma = fwhm/np.sqrt(8*np.log(2))
    return np.exp(-distance**2/2/sigma**2)/(2*np.pi*sigma**2)


def stamps(shape, size, count=40, flux=3e4, seed=1, of=gauss, fwhm=10., sky=0.):
    """Stamps of stars of a given profile, at random positions in their pixels, on a sky."""
    rng, at = np.random.default_rng(seed), np.arange(size)-size//2
    x, y = (rng.uniform(200, 300, count) for _ in range(2))
    dx, dy = (v-np.round(v) for v in (x, y))
    distance = np.hypot((at-dx[:, None])[:, None, :], (at-dy[:, None])[:, :, None])
    data = flux*of(distance, fwhm)+rng.normal(0, NOISE, distance.shape)+sky
    return StarStamps(x=x, y=y, flux=np.full(count, flux), data=data.astype(np.float32),
                      ivar=np.full(data.shape, NOISE**-2, np.float32), shape=shape)


def test_the_mean_over_rings_and_stars_gives_the_wings_that_a_profile_lacks():
    shape, fwhm = (512, 512), 10.
    bare = FieldPSF.moffat(shape, fwhm, 3.)
    size = stamp_size(fwhm, bare.norm_size)
    made = stamps(shape, size, sky=5.)
    assert misfits(bare, made)
    corrected = bare.with_parts(bare.profile, radial_correction(bare, made)[None])
    at = np.arange(59)-29
    distance = np.hypot(at[:, None], at[None, :])
    true = gauss(distance, fwhm)
    before, after = (np.abs([psf.stamp(59)[distance < r].sum()-true[distance < r].sum() for r in (5, 10, 15, 20)]).max()
                     for psf in (bare, corrected))
    # the profile is far from a Gaussian, which it would not be after a fit of its power
    assert before > 0.15 and after < before/4


def test_stars_as_the_profile_has_them_are_left_alone():
    shape, psf = (512, 512), FieldPSF.moffat((512, 512), 4., 2.5)
    rng = np.random.default_rng(2)
    x, y = (rng.uniform(100, 400, 40) for _ in range(2))
    data = (3e4*psf.render(x, y, 95)+rng.normal(0, NOISE, (40, 95, 95))).astype(np.float32)
    assert not misfits(psf, StarStamps(x=x, y=y, flux=np.full(40, 3e4), data=data, ivar=np.ones_like(data), shape=shape))


def test_what_no_data_support_stays_zero():
    matrix = np.diag([1e4, 1e4, 1e4])
    solution = relevant_solution(matrix, np.array([1e4, 30., -60.]))
    # the second and the third are 0.3 and 0.6 of their errors
    np.testing.assert_allclose(solution, [1., 0., 0.], atol=1e-3)


def test_a_correction_that_makes_the_star_another_thing_is_refused(caplog):
    bare = FieldPSF.moffat((512, 512), 10., 3.)
    with caplog.at_level(logging.WARNING, logger="crowdsource.psf.refit.radial"):
        assert radial_correction(bare, stamps((512, 512), stamp_size(10., 59), fwhm=19.)) is None
    assert "hardly stars" in caplog.text


def test_the_middle_of_stamps_and_their_sky():
    made = stamps((512, 512), 31, count=3)
    assert made.with_sky is made and made.middle(41).size == 31
    with_sky = StarStamps(x=made.x, y=made.y, flux=made.flux, data=made.data, ivar=made.ivar, shape=made.shape,
                          sky=np.ones_like(made.data))
    small = with_sky.subset([0, 2]).middle(11)
    assert small.sky.shape == small.data.shape == (2, 11, 11)
    np.testing.assert_array_equal(small.with_sky.data, made.data[[0, 2], 10:21, 10:21]+1)
    assert small.with_sky.sky is None


@pytest.fixture(scope="module")
def rings():
    """An image of few stars with rings, well sampled, its truth, and the fit of it."""
    config = SimulationConfig(shape=(400, 400), stars=100., slope=1.75, sky=80., gain=2., readnoise=8., brightest=1e3,
                              saturated_stars=0, nebulosity=0., saturation=6e4, seed=3)
    psf = optical_psf(Telescope(resolution=3.6, obscured=0.2, aberrations=(0.02, 0.01)), config.shape, half=100)
    image, truth = simulate_optical_field(psf, config)
    return image, truth, psf, fit(image)


def test_stars_with_rings_get_an_effective_psf(rings):
    image, truth, psf, result = rings
    assert is_effective(result.psf.profile) and result.psf.uncertainty is not None
    c = compare(result.catalog, truth, shape=image.shape)
    assert c.spurious < 6 and c.found > 80
    assert abs(c.bins["bias"][-1]) < 1.5
    at = np.arange(59)-29
    distance = np.hypot(at[:, None], at[None, :])
    found, true = (np.array([p.stamp(59)[distance < r].sum() for r in (4, 8, 12, 20)]) for p in (result.psf, psf))
    np.testing.assert_allclose(found, true, atol=0.02)


def test_a_psf_that_stays_a_profile_makes_false_stars_of_rings(rings):
    image, truth, psf, result = rings
    # what the effective PSF is for: the same start, kept
    kept = fit(image, FieldPSF.moffat(image.shape, float(psf.fwhm())), FitConfig(psf=PSFConfig(refit=False)))
    before, after = (compare(r.catalog, truth, shape=image.shape).spurious for r in (kept, result))
    assert before > 2*after


def test_moffat_stars_keep_their_profile():
    field = simulate_field(SimulationConfig(shape=(300, 300), stars=150., seed=5))
    assert not is_effective(fit(field.image()).psf.profile)


def test_bright_moffat_stars_close_to_each_other_keep_their_profile():
    x, y = (v.ravel()+10. for v in np.mgrid[0:7, 0:7]*16)
    rng = np.random.default_rng(6)
    x, y = (v+rng.uniform(-3, 3, len(v)) for v in (x, y))
    shape, psf, flux = (120, 120), FieldPSF.moffat((120, 120), 3.8), 10**rng.uniform(3.5, 4.5, len(x))
    data = np.zeros(shape, np.float32)
    psf.add_to(data, x, y, flux, 119)
    result = fit(Image.from_arrays(data+rng.normal(0, 3, shape), np.full(shape, 1/9)))
    assert not is_effective(result.psf.profile)
    found = [result.catalog[n].value[:, None] for n in "xy"]
    assert np.hypot(found[0]-x, found[1]-y).min(axis=0).max() < 0.3
