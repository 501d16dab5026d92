"""Wings beyond the edge of a given grid of stamps, from the brightest stars."""
from dataclasses import replace

import numpy as np
import pytest

from crowdsource import FitConfig, fit
from crowdsource.config import PSFConfig
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import GridProfile
from crowdsource.psf.refit.uncertainty import distances
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.optics import Telescope, optical_psf, optical_stamp, simulate_optical_field
from crowdsource.validate.evaluate import compare

CROSS = Telescope(resolution=1.3, vanes=(45, 135, 225, 315), aberrations=(0.03, 0.02, 0.02), jitter=0.2)
CONFIG = SimulationConfig(shape=(300, 320), stars=700., slope=1.75, sky=80., gain=2., readnoise=8., brightest=2e4, nebulosity=0.,
                          saturation=6e4, seed=7)
REACH = 12


def given(reach, telescope=CROSS):
    """The telescope's PSF on a grid of 2x2 nodes whose stamps end at a distance in pixels."""
    stamp = optical_stamp(telescope, reach)
    return FieldPSF.of(GridProfile.from_nodes(np.array([[stamp]*2]*2), CONFIG.shape, 4))


@pytest.fixture(scope="module")
def results():
    """Image, truth, true PSF, and fits with the grid refined and as it is."""
    psf = optical_psf(CROSS, CONFIG.shape)
    image, truth = simulate_optical_field(psf, CONFIG)
    return image, truth, psf, *(fit(image, given(REACH), FitConfig(psf=PSFConfig(refit=refit))) for refit in (True, False))


def test_wings_are_those_of_the_stars(results):
    _, _, psf, refined, kept = results
    true, found, cut = (p.stamp(101) for p in (psf, refined.psf, kept.psf))
    at = distances(101)
    beyond = (at > 1.5*REACH) & (at < 45)
    assert np.abs(cut[beyond]).sum() < 0.01*true[beyond].sum()
    # few stars, of a signal to noise up to 20,000, tell of it: a fifth of the light is left to the prior, which is none
    assert (found*true)[beyond].sum() == pytest.approx(np.square(true[beyond]).sum(), rel=0.25)
    assert np.square(found-true)[beyond].sum() < 0.4*np.square(true[beyond]).sum()
    assert found[beyond].sum() == pytest.approx(true[beyond].sum(), rel=0.3)
    # within the grid nothing but the norm and the core of 9x9 pixels changes
    ring = (at > 6) & (at < REACH-3)
    ratio = found[ring]/cut[ring]
    assert np.abs(ratio/np.median(ratio)-1).max() < 1e-4


def test_what_is_known_has_no_uncertainty(results):
    uncertainty, at = results[3].psf.uncertainty, np.abs(np.arange(149)-74)
    box = np.maximum(at[:, None], at)
    assert (uncertainty[box < REACH-3] == 0).all() and (uncertainty[box > REACH] > 0).all()
    assert results[4].psf.uncertainty is None


def test_spikes_beyond_the_grid_are_no_sources(results):
    image, truth, _, refined, kept = results
    found, cut = (compare(r.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape) for r in (refined, kept))
    # 12 % of the rows are false without wings; faint stars in those that are uncertain are lost
    assert found.spurious < 0.25*cut.spurious and found.found > cut.found-4


@pytest.mark.parametrize("psf, config", [
    (given(80), PSFConfig()), (given(REACH), PSFConfig(refit=False)), (given(REACH), PSFConfig(method="median")),
    (given(30, replace(CROSS, resolution=3.)), PSFConfig())])
def test_grids_that_are_left_as_they_are(psf, config):
    assert psf.as_first_guess(config) is psf or psf.as_first_guess(config).uncertainty is None
