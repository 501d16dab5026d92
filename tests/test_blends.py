"""Stars closer to each other than their images are wide."""
import numpy as np

from crowdsource.config import FitConfig, PSFConfig
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.evaluate import match_stars

SHAPE, SIGMA = (200, 200), 9.
PSF = FieldPSF.moffat(SHAPE, 4., 3.)


def pairs(separation, flux, seed):
    """25 pairs of stars: their positions, brighter ones first, fluxes, and the image."""
    rng = np.random.default_rng(seed)
    x, y = (v.ravel()+rng.uniform(-1, 1, 25) for v in np.meshgrid(np.arange(20, 200, 38.), np.arange(20, 200, 38.)))
    angle = rng.uniform(0, 2*np.pi, 25)
    dx, dy = separation/2*np.cos(angle), separation/2*np.sin(angle)
    x, y, flux = np.r_[x+dx, x-dx], np.r_[y+dy, y-dy], np.repeat(flux, 25)
    data = rng.normal(0, SIGMA, SHAPE).astype(np.float32)
    PSF.add_to(data, x, y, flux, 59)
    return x, y, flux, Image.from_arrays(data, np.full(SHAPE, 1/SIGMA**2))


def right_stars(*blends):
    """How many of the stars of `pairs` a fit finds with the right flux."""
    x, y, flux, image = pairs(*blends)
    rows = fit(image, PSF, FitConfig(psf=PSFConfig(refit=False))).catalog
    rows = {n: np.asarray(rows[n], dtype=float) for n in ("x", "y", "flux")}
    match = match_stars(dict(x=x, y=y, flux=flux), rows)
    near = np.abs(np.log(rows["flux"][match]/flux)) < np.log(1.5)
    assert len(rows["x"]) < 56
    return int(((match >= 0) & near).sum())


def test_both_stars_of_a_pair_are_found():
    # some 50 and 30 sigma, then some 23 and 13
    assert right_stars(2.6, (3500., 2000.), 5) > 47
    assert sum(right_stars(2.6, (1575., 900.), seed) for seed in range(4)) > 130
    # half a FWHM apart, some 85 and 48
    assert min(right_stars(2., (6000., 3400.), seed) for seed in range(2)) >= 46
