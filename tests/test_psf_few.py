"""Images with one to four stars: the PSF they give, what is uncertain of it, and the errors of fluxes."""
from io import BytesIO

import h5py
import numpy as np
import pytest
from astropy.io import fits

from crowdsource import Image, fit
from crowdsource.config import PSFConfig
from crowdsource.core.errors import DataFileError
from crowdsource.psf.base import StarStamps
from crowdsource.psf.initial import FALLBACK_FWHM
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.refit.effective import is_effective
from crowdsource.psf.refit.few import TYPICAL, fit_few

SHAPE = (160, 150)
NOISE, SKY = 5., 100.


def stamps_of(truth, flux, rng, n=1, size=39):
    """Stamps of stars of one flux with noise."""
    x, y = rng.uniform(40, SHAPE[1]-40, n), rng.uniform(40, SHAPE[0]-40, n)
    data = flux*truth.render(x, y, size)+rng.normal(0, NOISE, (n, size, size))
    return StarStamps(x=x, y=y, flux=np.full(n, flux), data=data.astype(np.float32), shape=SHAPE,
                      ivar=np.full(data.shape, 1/NOISE**2, np.float32))


def flux_of_snr(truth, snr):
    """Flux of an isolated star at a signal to noise."""
    return snr*NOISE/np.sqrt((truth.stamp(59)**2).sum())


def image_of(truth, positions, flux, rng):
    """An image of stars on a plain sky."""
    x, y = np.ascontiguousarray(np.array(positions, dtype=float).reshape(-1, 2).T)
    data = rng.normal(SKY, NOISE, SHAPE).astype(np.float32)
    truth.add_to(data, x, y, np.full(len(x), flux), 101)
    return Image.from_arrays(data, np.full(SHAPE, 1/NOISE**2))


@pytest.mark.parametrize("start, fwhm", [(4., 4.3), (4., 8.), (4., 1.6), (2.5, 2.), (12., 4.)])
def test_one_bright_star_is_enough(start, fwhm):
    truth = FieldPSF.moffat(SHAPE, fwhm, 2.7, 0.08, -0.05)
    stamps = stamps_of(truth, flux_of_snr(truth, 1e4), np.random.default_rng(1))
    psf = FieldPSF.moffat(SHAPE, start).refit(stamps, PSFConfig())
    assert not psf.core.any() and not is_effective(psf.profile)
    # errors of the model, 0.5 % of each pixel, limit what a bright star tells; the grid of a narrow one follows it to 1 %
    assert np.abs(psf.stamp(59)-truth.stamp(59)).max() < 0.01*truth.stamp(1).max()
    # narrow stars keep the uncertainty of wings that nobody has seen
    assert (psf.uncertainty is not None) == (fwhm < 2.3)


def test_faint_stars_leave_beta_and_ellipticity_to_the_prior():
    truth = FieldPSF.moffat(SHAPE, 4., 2., 0.3, 0.)
    psf = fit_few(FieldPSF.moffat(SHAPE, 4.), stamps_of(truth, flux_of_snr(truth, 5), np.random.default_rng(2)))
    _, e1, _, beta = psf.profile.coefficients[:, 0]
    assert abs(e1) < 0.15 and abs(1/beta-TYPICAL[3]) < 0.1
    assert np.sqrt(psf.covariance[1, 1]) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("beta", [2.5, 4.5])
def test_covariance_tells_how_the_parameters_scatter(beta):
    truth, rng = FieldPSF.moffat(SHAPE, 4., beta, 0.05, 0.), np.random.default_rng(3)
    flux, start = flux_of_snr(truth, 150), FieldPSF.moffat(SHAPE, 4.5)
    psfs = [fit_few(start, stamps_of(truth, flux, rng, n=2)) for _ in range(60)]
    off = np.array([p.profile.coefficients[:3, 0]-truth.profile.coefficients[:3, 0] for p in psfs])
    claimed = np.sqrt([np.diag(p.covariance)[:3] for p in psfs])
    # 60 fits tell a scatter to 9 %; robust weights and the prior make it a little smaller than claimed
    assert np.all(np.abs(np.sqrt((off**2).mean(axis=0))/claimed.mean(axis=0)-0.95) < 0.25)


@pytest.mark.parametrize("fwhm, beta", [(1.6, 3.), (3., 4.5), (6., 2.5)])
def test_fluxes_of_few_stars_keep_their_errors(fwhm, beta):
    truth, rng = FieldPSF.moffat(SHAPE, fwhm, beta, 0.06, 0.06), np.random.default_rng(4)
    flux, pulls = flux_of_snr(truth, 100), []
    for n in (1, 2, 3, 1, 2, 3):
        where = np.array([(40.3, 41.2), (110.4, 50.9), (75.7, 118.6)])[:n]+rng.uniform(-0.5, 0.5, (n, 2))
        rows = fit(image_of(truth, where, flux, rng)).catalog
        brightest = rows[np.argsort(-rows["flux"].value)[:n]]
        pulls += list((brightest["flux"].value-flux)/brightest["dflux"].value)
        assert (brightest["dflux"] > 1.2*brightest["dflux_joint"]).all()
    # stars of an image have the same error of the PSF: 12 pulls, of which about 6 are independent
    assert 0.3 < np.sqrt(np.mean(np.square(pulls))) < 1.7


def test_a_faint_star_alone_is_measured_and_an_empty_image_is_empty():
    truth, rng = FieldPSF.moffat(SHAPE, 1.6), np.random.default_rng(5)
    flux = flux_of_snr(truth, 30)
    rows = fit(image_of(truth, [(70.2, 80.4)], flux, rng)).catalog
    star = rows[np.argmax(rows["flux"])]
    assert abs(star["flux"].value-flux) < 3*star["dflux"].value < 0.4*flux
    result = fit(image_of(truth, [], 0., rng))
    assert result.psf.covariance is None and not (result.catalog["flux"] > 6*result.catalog["dflux"]).any()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_hot_pixels_are_no_stars(n):
    truth, rng = FieldPSF.moffat(SHAPE, 3., 3.), np.random.default_rng(9)
    image = image_of(truth, [(40.3, 41.2), (110.4, 50.9)][:n], flux_of_snr(truth, 100), rng)
    data = image.data.copy()
    data[[110, 125], [75, 30]] += [100*NOISE, 200*NOISE]
    psf = fit(Image.from_arrays(data, image.ivar)).psf
    assert (psf.covariance is None) == (n == 0)
    if n:
        # a star of S/N 100 tells the width to 2 %
        assert abs(psf.profile.width-3) < 0.2
    else:
        # as in an empty image
        assert psf.profile.width == FALLBACK_FWHM


def test_covariance_goes_to_files_and_back():
    truth = FieldPSF.moffat(SHAPE, 4.)
    psf = fit_few(truth, stamps_of(truth, flux_of_snr(truth, 50), np.random.default_rng(6)))
    assert psf.shape_errors(np.zeros(2), np.zeros(2), 19).shape == (4, 2, 19, 19)
    assert truth.shape_errors(np.zeros(2), np.zeros(2), 19).shape == (0, 2, 19, 19)
    back = FieldPSF.from_hdus(fits.HDUList([fits.PrimaryHDU(), *psf.to_hdus()]))
    with h5py.File(BytesIO(), "w") as file:
        psf.to_group(file.create_group("psf"))
        again = FieldPSF.from_group(file["psf"])
    for one in (back, again):
        assert np.array_equal(one.covariance, psf.covariance)
    hdus = fits.HDUList([fits.PrimaryHDU(), *psf.to_hdus()])
    hdus["PSF_COVARIANCE"].data = np.eye(3)
    with pytest.raises(DataFileError, match="no covariance"):
        FieldPSF.from_hdus(hdus)


def test_errors_of_the_shape_are_those_that_a_changed_shape_makes():
    truth = FieldPSF.moffat(SHAPE, 4.)
    psf = fit_few(truth, stamps_of(truth, flux_of_snr(truth, 50), np.random.default_rng(7)))
    x, y = np.array([50.3]), np.array([60.8])
    variance = (psf.shape_errors(x, y, 39).astype(float)**2).sum(axis=0)[0]
    draws = np.random.default_rng(8).multivariate_normal(psf.profile.coefficients[:, 0], psf.covariance/100, 400)
    changed = np.array([FieldPSF.moffat(SHAPE, f, b, e1, e2).render(x, y, 39)[0] for f, e1, e2, b in draws], dtype=float)
    core = psf.render(x, y, 39)[0] > 0.05*psf.stamp(1).max()
    # 400 draws of a tenth of the error tell its size to 4 %
    ratio = 10*changed.std(axis=0)[core].mean()/np.sqrt(variance[core]).mean()
    assert ratio == pytest.approx(1, abs=0.12)
