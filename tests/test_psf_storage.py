"""PSFs written and read back: the same bits when rendered, and files that tell what is wrong with them."""
from dataclasses import replace

import h5py
import numpy as np
import pytest
from astropy.io import fits

from crowdsource.core.errors import DataFileError
from crowdsource.psf.formats.field import describe
from crowdsource.psf.formats.native import read_group, read_hdus, to_group, to_hdus
from crowdsource.psf.grid import terms
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import GridProfile
from crowdsource.psf.profiles.halo import Halo
from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.psf.profiles.stamp import StampProfile

SHAPE = (90, 120)


def moffat_profile(order, fwhm=4.):
    rng = np.random.default_rng(order)
    coefficients = rng.normal(0, 0.02, (4, terms(order)))
    coefficients[:, 0] += fwhm, 0, 0, 3.1
    return MoffatProfile(coefficients, SHAPE, order)


def stamp_profile(order, oversampling):
    yy, xx = np.mgrid[-30:31, -30:31]
    nodes = np.array([[x, y] for y in (0, 45, 89) for x in (0, 60, 119)], dtype=float)
    stamps = [np.exp(-np.hypot(xx, yy*(1+0.001*x))/(2.+0.003*y)/oversampling) for x, y in nodes]
    return StampProfile.from_stamps(stamps, *nodes.T, SHAPE, order, oversampling)


def grid_profile(oversampling=1):
    yy, xx = np.mgrid[-30:31, -30:31]/oversampling
    nodes = [[np.exp(-np.hypot(xx*(1+0.02*i), yy*(1+0.03*j)+0.1*i*xx)/2) for i in range(4)] for j in range(3)]
    return GridProfile.from_nodes(np.array(nodes), SHAPE, oversampling)


def core(order, size=19):
    rng = np.random.default_rng(size)
    yy, xx = np.mgrid[-(size//2):size//2+1, -(size//2):size//2+1]
    return rng.normal(0, 1e-3, (terms(order), size, size))*np.exp(-(xx**2+yy**2)/20)


CASES = {
    "moffat": FieldPSF.moffat(SHAPE, 4.),
    "thin": FieldPSF.moffat(SHAPE, 1.4, 2.5, 0.1, -0.05, 33),
    "varying": FieldPSF.of(moffat_profile(2)),
    "core": FieldPSF.of(moffat_profile(1), core(2), 41),
    "constant core": FieldPSF.of(moffat_profile(2, 2.5), core(0, 9)),
    "halo": FieldPSF.of(replace(moffat_profile(1), halo=Halo.of([(0.1, 20, 2)], [(0.01, 45, 3, 0.01, 2, 10, 2)])), core(1, 9)),
    "grid": FieldPSF.of(grid_profile(), core(0, 9)),
    "grid without a core": FieldPSF.of(grid_profile(2)),
    "stamp": FieldPSF.of(stamp_profile(0, 1)),
    "oversampled": FieldPSF.of(stamp_profile(1, 3), core(1)),
    "oversampled quadratic": FieldPSF.of(stamp_profile(2, 4)),
}


def same_renders(a, b):
    x, y = np.array([0., 33.3, 60.5, 119., 140.]), np.array([0.2, 80.7, 44.5, 89., -5.])
    for size in (5, 19, 59):
        for one, two in zip(a.render(x, y, size, derivatives=True), b.render(x, y, size, derivatives=True)):
            assert np.array_equal(one, two)
    assert np.array_equal(a.render_smeared(x, y, 19, 0.3), b.render_smeared(x, y, 19, 0.3))
    told = [(p.norm_size, p.oversampling, p.shape, p.varies, p.fwhm()) for p in (a, b)]
    assert told[0] == told[1]


@pytest.mark.parametrize("psf", CASES.values(), ids=CASES.keys())
def test_fits_round_trip_is_exact(psf, tmp_path):
    path = tmp_path/"psf.fits"
    fits.HDUList([fits.PrimaryHDU(), *psf.to_hdus("N4_PSF"), *to_hdus(CASES["moffat"])]).writeto(path)
    with fits.open(path) as hdus:
        again = read_hdus(hdus, "N4_PSF")
    same_renders(psf, again)


@pytest.mark.parametrize("psf", CASES.values(), ids=CASES.keys())
def test_hdf5_round_trip_is_exact(psf, tmp_path):
    with h5py.File(tmp_path/"psf.h5", "w") as file:
        psf.to_group(file.create_group("a/psf"))
    with h5py.File(tmp_path/"psf.h5") as file:
        same_renders(psf, read_group(file["a/psf"]))


def test_first_hdu_is_the_psf_to_look_at():
    psf = CASES["core"]
    look, model = to_hdus(psf)[:2]
    assert look.data.shape == (41, 41)
    assert look.data.sum(dtype=float) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(look.data, psf.render([59.5+0.5], [44.5+0.5], 41)[0])
    assert look.header["OVERSAMP"] == 1 and look.header["NORMSIZE"] == 41
    assert look.header["FWHM"] == pytest.approx(psf.fwhm(), abs=1e-4)
    assert (look.header["PSFNX"], look.header["PSFNY"]) == (120, 90)
    assert model.header["TERM2"] == "u^1 v^0"


def test_description_names_what_matters():
    assert "fwhm 4.0" in describe(CASES["varying"]) and "order 2" in describe(CASES["varying"])
    assert "19x19 pixels, order 2" in describe(CASES["core"]) and "core" not in describe(CASES["varying"])
    assert "61x61 samples, 4 a pixel" in describe(CASES["oversampled quadratic"])


def test_files_that_hold_no_psf(tmp_path):
    plain = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((5, 5)), name="PSF")])
    with pytest.raises(DataFileError, match="PSF_MODEL.*PRIMARY, PSF"):
        read_hdus(plain)
    newer = fits.HDUList([fits.PrimaryHDU(), *to_hdus(CASES["moffat"])])
    newer["PSF_MODEL"].header["PSFVERS"] = 99
    with pytest.raises(DataFileError, match="layout 99.*update"):
        read_hdus(newer)
    damaged = fits.HDUList([fits.PrimaryHDU(), *to_hdus(CASES["varying"])])
    damaged["PSF_MODEL"].data = damaged["PSF_MODEL"].data[:, :5]
    with pytest.raises(DataFileError, match="damaged"):
        read_hdus(damaged)
    del damaged["PSF_MODEL"].header["NORMSIZE"]
    with pytest.raises(DataFileError, match="NORMSIZE"):
        read_hdus(damaged)
    with h5py.File(tmp_path/"a.h5", "w") as file:
        with pytest.raises(DataFileError, match="a.h5.*no PSF"):
            read_group(file)
        to_group(CASES["moffat"], file)
