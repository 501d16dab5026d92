"""What a command writes beside the catalog, and catalogs in all forms as other programs read them."""
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from small_fields import NOISE, star_image, tan_wcs, write_fits

import crowdsource as cs
from crowdsource.cli.main import main
from crowdsource.core.errors import InputError
from crowdsource.core.world import pixel_scale
from crowdsource.io.fits_tables import read_hdu, table_hdu
from crowdsource.io.regions import write_regions
from crowdsource.io.tables import read_table

SHAPE = (64, 80)
RNG = np.random.default_rng(11)
X, Y = (RNG.uniform(8, n-8, 8) for n in SHAPE[::-1])
FLUX = np.geomspace(4000, 30000, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an image and all that is written of it; no warning is raised by reading them."""
    folder = tmp_path_factory.mktemp("outputs")
    image = write_fits(folder/"im.fits", star_image(SHAPE, X, Y, FLUX), tan_wcs(SHAPE).to_header(), MAGZERO=25., GAIN=4.,
                       FILTER="r")
    files = ["--out", "a.cat.fits", "--residual-out", "a.res.fits", "--regions", "a.reg"]
    assert main(["generic", image, "--out-dir", str(folder), "--quiet", *files]) == 0
    assert main(["generic", image, "--out", str(folder/"a.vot"), "--quiet"]) == 0
    result = cs.fit(cs.Image.from_arrays(star_image(SHAPE, X, Y, FLUX), np.full(SHAPE, NOISE**-2), wcs=tan_wcs(SHAPE)))
    for ending in ("ecsv", "csv", "fits"):
        cs.write_result(result, folder/f"b.{ending}")
    return folder


def test_a_table_is_read_without_a_warning_and_tells_of_the_fit(folder):
    table = Table.read(folder/"a.cat.fits")
    assert table["flux"].description.startswith("flux from the joint fit") and str(table["flux"].unit) == "ct"
    assert str(table["ra"].unit) == "deg" and all(table[n].description for n in table.colnames)
    primary = fits.getheader(folder/"a.cat.fits")
    assert {k: table.meta[k] for k in ("CHI2", "FWHM", "NSOURCES", "NPASS", "VERSION", "BAND", "ZEROPT")} == \
        {k: primary[k] for k in ("CHI2", "FWHM", "NSOURCES", "NPASS", "VERSION", "BAND", "ZEROPT")}
    assert table.meta["ZEROPT"] == 25 and table.meta["BAND"] == "r"
    # the WCS has 0.26 arcsec in a pixel
    assert table.meta["PIXSCALE"] == pytest.approx(0.26, rel=1e-6)
    assert table.meta["SEEING"] == pytest.approx(0.26*table.meta["FWHM"], rel=1e-6)


def test_all_forms_hold_the_same_rows(folder):
    for name, ending in (("a", "vot"), ("b", "ecsv"), ("b", "csv")):
        table, whole = (Table.read(folder/f"{name}.{e}") for e in (ending, "cat.fits" if name == "a" else "fits"))
        assert table.colnames == whole.colnames
        for column in ("x", "flux", "flags"):
            assert (np.asarray(table[column]) == np.asarray(whole[column])).all(), (ending, column)
        if ending != "csv":
            # lines of a VOTable are broken
            assert " ".join(table["flux"].description.split()) == whole["flux"].description
            assert table["flux"].unit == whole["flux"].unit
        # which plain text has as words
        again = read_table(folder/f"{name}.{ending}")
        assert again["good"].dtype == bool and all(np.array_equal(again[c], whole[c]) for c in ("good", "psf_star"))
    meta = Table.read(folder/"b.ecsv").meta
    assert meta["chi2"] == whole.meta["CHI2"] and meta["seeing"] == whole.meta["SEEING"] and meta["sources"] == len(whole)
    fwhm = Table.read(folder/"a.cat.fits").meta["FWHM"]
    assert f"fwhm: {fwhm}" in " ".join(Table.read(folder/"a.vot").meta["description"].split())


def test_the_residual_is_what_the_stars_leave(folder):
    with fits.open(folder/"a.res.fits") as hdus:
        assert [h.name for h in hdus[1:]] == ["RES"]
        # pixels under the stars are noise too
        assert np.std(hdus["RES"].data) == pytest.approx(NOISE, rel=0.15)
        assert np.allclose(WCS(hdus["RES"].header).all_pix2world(3, 4, 0), tan_wcs(SHAPE).all_pix2world(3, 4, 0), atol=1e-9)


def test_regions_lie_on_the_stars(folder):
    lines = (folder/"a.reg").read_text().splitlines()
    assert "icrs" in lines
    circles = np.array([re.match(r'circle\(([\d.]+),([\d.]+),([\d.]+)"\)', line).groups() for line in lines
                        if line.startswith("circle")], dtype=float)
    x, y = tan_wcs(SHAPE).all_world2pix(circles[:, 0], circles[:, 1], 0)
    assert all(np.hypot(x-a, y-b).min() < 0.2 for a, b in zip(X, Y))
    fwhm = np.median(Table.read(folder/"a.cat.fits")["fwhm"])
    assert np.median(circles[:, 2]) == pytest.approx(fwhm/2*0.26, abs=0.001)


def test_regions_in_pixels_count_from_one(tmp_path):
    table = Table(dict(x=[9., np.nan], y=[4., 5.], fwhm=[3., 3.], psf_star=[True, False]))
    write_regions(table, tmp_path/"a.reg")
    lines = (tmp_path/"a.reg").read_text().splitlines()
    assert lines[2:] == ["image", "circle(10.000,5.000,1.500) # color=cyan tag={psf_star}"]
    table["detector"] = "N1"
    with pytest.raises(InputError, match="have no image in common"):
        write_regions(table, tmp_path/"b.reg")


def test_units_that_fits_does_not_know_come_back_and_are_no_warning(tmp_path):
    table = Table(dict(flux=[1., 2.]), units=dict(flux="nmgy"), descriptions=dict(flux="of a star"))
    fits.HDUList([fits.PrimaryHDU(), table_hdu(table, "CAT")]).writeto(tmp_path/"a.fits")
    assert Table.read(tmp_path/"a.fits")["flux"].description == "of a star"
    with fits.open(tmp_path/"a.fits") as hdus:
        again = read_hdu(hdus["CAT"])
    assert str(again["flux"].unit) == "nmgy" and again["flux"].info.description == "of a star"


def test_scale_of_pixels_that_are_no_squares():
    wcs = tan_wcs(SHAPE)
    wcs.wcs.cdelt = -0.2/3600, 0.8/3600
    assert pixel_scale(wcs, 20., 30.) == pytest.approx(0.4, rel=1e-6)
