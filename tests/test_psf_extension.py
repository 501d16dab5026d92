"""The PSF model and the PSF file format of the page on extending, registered by entry points as a third party's would be."""
import importlib
import sys

import numpy as np
import pytest
from astropy.io import fits
from small_fields import NOISE, star_image, write_fits
from test_extend_page import EXAMPLES

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.core.errors import DataFileError
from crowdsource.exposure.earlier import earlier_psf
from crowdsource.psf.formats.native import read_hdus
from crowdsource.psf.formats.reading import read_psf
from crowdsource.testing import PSFContract

SHAPE = 120, 130
X, Y, FLUX = np.array([30.3, 80.7, 61.2]), np.array([40.1, 33.8, 90.4]), np.array([20000., 9000., 5000.])
pytestmark = pytest.mark.skipif(not EXAMPLES, reason="the source is not beside the tests")


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The examples as an installed distribution."""
    folder = tmp_path_factory.mktemp("site")
    blocks = [block for title in ("A PSF model", "A PSF file format") for block in EXAMPLES[title]]
    (folder/"own_psf.py").write_text("\n\n".join(blocks))
    about = folder/"own_psf-1.0.dist-info"
    about.mkdir()
    (about/"METADATA").write_text("Metadata-Version: 2.1\nName: own-psf\nVersion: 1.0\n")
    (about/"entry_points.txt").write_text("[crowdsource.psf_models]\ngauss = own_psf:GaussPSF\n"
                                          "[crowdsource.psf_formats]\nmoffat = own_psf:MoffatText\n")
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("own_psf")
    sys.path.remove(str(folder))
    sys.modules.pop("own_psf", None)


class TestGaussPSF(PSFContract):
    @pytest.fixture
    def psf(self, package):
        return package.GaussPSF(SHAPE, 3.5)


def image_of(psf):
    """Stars of the PSF on a flat sky with noise."""
    data = np.full(SHAPE, 100., np.float32)
    psf.add_to(data, X, Y, FLUX, 59)
    return data+np.random.default_rng(2).normal(0, NOISE, SHAPE).astype(np.float32)


def test_a_fit_with_it_and_its_catalog_read_back(package, tmp_path):
    psf = package.GaussPSF(SHAPE, 3.5)
    image = cs.Image.from_arrays(image_of(psf), np.full(SHAPE, NOISE**-2))
    result = cs.fit(image, psf)
    for x, y, flux in zip(X, Y, FLUX):
        row = result.catalog[np.argmin(np.hypot(result.catalog["x"].value-x, result.catalog["y"].value-y))]
        # the error of the faintest is 25
        assert row["flux"].value == pytest.approx(flux, abs=100) and abs(row["x"].value-x) < 0.03
    cs.write_result(result, tmp_path/"stars.cat.fits")
    with fits.open(tmp_path/"stars.cat.fits") as hdus:
        assert hdus["PSF"].header["PSFCLASS"] == "gauss"
        again = read_hdus(hdus, "PSF")
    assert type(again) is package.GaussPSF
    assert np.array_equal(again.render(X, Y, 31), psf.render(X, Y, 31))
    assert type(earlier_psf(tmp_path/"stars.cat.fits", "", image)) is package.GaussPSF


@pytest.mark.parametrize("option", ["--psf-from", "--psf"])
def test_the_command_takes_it_from_a_catalog(package, tmp_path, option):
    psf = package.GaussPSF(SHAPE, 3.5)
    data = image_of(psf)
    cs.write_result(cs.fit(cs.Image.from_arrays(data, np.full(SHAPE, NOISE**-2)), psf), tmp_path/"stars.cat.fits")
    image, out = write_fits(tmp_path/"image.fits", data), tmp_path/"again.cat.fits"
    assert main(["generic", image, option, str(tmp_path/"stars.cat.fits"), "--out", str(out), "--quiet"]) == 0
    with fits.open(out) as hdus:
        again = read_hdus(hdus, "PSF")
    assert type(again) is package.GaussPSF and np.array_equal(again.render(X, Y, 31), psf.render(X, Y, 31))


def test_a_class_that_is_not_installed_is_named(package, tmp_path):
    class Unknown(package.GaussPSF):
        registered_as = "elsewhere"

    image = cs.Image.from_arrays(image_of(Unknown(SHAPE, 3.5)), np.full(SHAPE, NOISE**-2))
    cs.write_result(cs.fit(image, Unknown(SHAPE, 3.5)), tmp_path/"stars.cat.fits")
    with fits.open(tmp_path/"stars.cat.fits") as hdus, pytest.raises(DataFileError, match="Unknown.*"):
        read_hdus(hdus, "PSF")


def test_a_file_of_the_format(package, tmp_path):
    (tmp_path/"psf.moffat").write_text("3.2 2.9\n")
    psf = read_psf(tmp_path/"psf.moffat", SHAPE)
    assert psf.profile.at(np.array([60.]), np.array([50.]))[0] == pytest.approx([3.2, 0, 0, 2.9])
    image = write_fits(tmp_path/"image.fits", star_image(SHAPE, X, Y, FLUX))
    assert main(["generic", image, "--psf", str(tmp_path/"psf.moffat"), "--out", str(tmp_path/"out.cat.fits"), "--quiet"]) == 0
    (tmp_path/"bad.moffat").write_text("wide\n")
    with pytest.raises(DataFileError, match="bad.moffat: two numbers are needed"):
        read_psf(tmp_path/"bad.moffat", SHAPE)
