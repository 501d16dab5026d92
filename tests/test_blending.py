"""Signal to noise that blending leaves to stars."""
import numpy as np
import pytest

from crowdsource.core.image import Image
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.blending import blended_signal_to_noise

SHAPE, NOISE = (80, 90), 3.
PSF = FieldPSF.moffat(SHAPE, 4.)
IMAGE = Image.from_arrays(np.zeros(SHAPE), np.full(SHAPE, NOISE**-2))


def test_an_isolated_star_keeps_what_the_matched_filter_gives():
    stamp = PSF.render([45.2], [40.4], 31)[0].astype(float)
    alone = 1000*np.sqrt((stamp**2).sum())/NOISE
    assert blended_signal_to_noise(IMAGE, PSF, [45.2], [40.4], [1000.]) == pytest.approx(alone, rel=0.01)


def test_a_pair_loses_by_as_much_as_its_covariance_says():
    x, y, flux = np.array([45., 47.]), np.array([40., 40.]), np.array([3000., 2000.])
    planes = np.stack([p.astype(float) for p in PSF.render(x, y, 31, derivatives=True)], axis=1)
    columns = np.zeros((6, *SHAPE))
    for k in range(2):
        columns[3*k:3*k+3, 25:56, int(x[k])-15:int(x[k])+16] = planes[k]
    columns = columns.reshape(6, -1)
    prior = np.diag(np.ravel([[0, 1/f**2, 1/f**2] for f in flux]))
    error = np.sqrt(np.diag(np.linalg.inv(columns@columns.T/NOISE**2+prior)))[::3]
    assert blended_signal_to_noise(IMAGE, PSF, x, y, flux) == pytest.approx(flux/error, rel=0.01)


def test_a_star_without_a_good_pixel_has_none():
    assert blended_signal_to_noise(IMAGE, PSF, [500.], [40.], [1000.]) == 0
