"""What the catalog says beside what the fit has found."""
import numpy as np
import pytest
from small_fields import NOISE, SKY, star_image

from crowdsource.config import FitConfig, PSFConfig, SkyConfig
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.evaluate import match_stars

SNR, ACROSS, APART = 8., 40, 16


@pytest.fixture(scope="module")
def lone_stars():
    """An image of stars of one flux on a grid, without sky, its PSF, their flux and positions."""
    shape, rng = (ACROSS*APART, ACROSS*APART), np.random.default_rng(3)
    psf = FieldPSF.moffat(shape, 4.)
    flux = SNR*NOISE/np.sqrt((psf.stamp(59)**2).sum())
    x, y = (APART*(at.ravel()+0.5)+rng.uniform(-0.5, 0.5, at.size) for at in np.mgrid[:ACROSS, :ACROSS])
    data = star_image(shape, x, y, np.full(len(x), flux), seed=4)-np.float32(SKY)
    return Image.from_arrays(data, np.full(shape, NOISE**-2)), psf, flux, x, y


def test_a_free_position_does_not_make_a_flux_larger(lone_stars):
    image, psf, flux, x, y = lone_stars
    config, sky = FitConfig(psf=PSFConfig(refit=False), sky=SkyConfig(keep=True)), np.zeros(image.shape)
    free, forced = (fit(image, psf, config, sources=given, sky=sky).catalog for given in (None, dict(x=x, y=y)))
    rows = {n: np.asarray(free[n], dtype=float) for n in ("x", "y", "flux")}
    match = match_stars(dict(x=x, y=y, flux=np.full(len(x), flux)), rows, radius=2.)
    free, forced = rows["flux"][match[match >= 0]]/flux, np.asarray(forced["flux"])/flux
    assert len(free) > 0.99*len(x) and len(forced) == len(x)
    # without the correction it would be 1/64 more, five times the error of the mean
    for values in free, forced:
        assert np.mean(values) == pytest.approx(1, abs=0.5/SNR**2)
