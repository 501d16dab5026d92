"""Forced fits: one row for each position that is given, in their order."""
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table
from small_fields import star_image, tan_wcs, write_fits

from crowdsource import Image, fit
from crowdsource.cli.main import main
from crowdsource.core.errors import InputError
from crowdsource.core.flags import ENGINE, MASK_SHIFT
from crowdsource.io.positions import positions
from crowdsource.io.tables import read_table

SHAPE = (90, 110)
X, Y, FLUX = np.array([30., 70.3, 50.6]), np.array([20.4, 60., 70.7]), np.array([3e4, 2e4, 4e4])
OFF, SAME = ENGINE.offimage << MASK_SHIFT, ENGINE.duplicate << MASK_SHIFT


@pytest.fixture(scope="module")
def image():
    return Image.from_arrays(star_image(SHAPE, X, Y, FLUX), gain=4.)


def values(column):
    return np.asarray(getattr(column, "value", column))


def test_a_row_for_each_position_in_the_order_given(image):
    x, y = [500., X[1], np.nan, X[0], -40., X[2], 3.], [5., Y[1], 6., Y[0], 7., Y[2], np.inf]
    plain, given = fit(image, sources=dict(x=X, y=Y)).catalog, fit(image, sources=dict(x=x, y=y))
    catalog, on = given.catalog, [1, 3, 5]
    assert len(catalog) == len(x) and catalog.colnames == plain.colnames and catalog["flux"].unit == plain["flux"].unit
    assert catalog["flux"].info.description == plain["flux"].info.description
    assert np.array_equal(values(catalog["flux"])[on], values(plain["flux"])[[1, 0, 2]])
    off = [0, 2, 4, 6]
    assert np.isnan(values(catalog["flux"])[off]).all() and np.isnan(values(catalog["dflux"])[off]).all()
    assert (values(catalog["flags"])[off] == OFF).all() and not (values(catalog["flags"])[on] & OFF).any()
    assert np.array_equal(values(catalog["x"])[off], np.array(x)[off], equal_nan=True)
    assert any("4 of 7 given positions are not known or off the image" in f for f in given.image.findings)


def test_positions_that_are_the_same_are_fitted_once(image):
    order = [0, 1, 1, 2, 0]
    once, given = fit(image, sources=dict(x=X, y=Y)).catalog, fit(image, sources=dict(x=X[order], y=Y[order]))
    for name in ("flux", "dflux", "x", "rchi2"):
        assert np.array_equal(values(given.catalog[name]), values(once[name])[order])
    assert (values(given.catalog["flags"]) & SAME > 0).tolist() == [True, True, True, False, True]
    assert any("4 of 5 given positions are the same as others" in f for f in given.image.findings)


def test_two_thousand_positions_at_one_place_cost_one(image):
    given = fit(image, sources=dict(x=np.full(2000, X[0]), y=np.full(2000, Y[0]))).catalog
    assert len(given) == 2000 and np.ptp(values(given["flux"])) == 0 and np.abs(given["flux"][0].value/FLUX[0]-1) < 0.05


def test_no_position_on_the_image_leaves_nothing_but_flags(image):
    catalog = fit(image, sources=dict(x=[np.nan, 900.], y=[1., 1.])).catalog
    assert np.isnan(values(catalog["flux"])).all() and (values(catalog["flags"]) == OFF).all()


def test_where_no_pixel_is_good_nothing_is_said_of_the_flux():
    mask = np.zeros(SHAPE, bool)
    mask[55:, :40] = True
    image = Image.from_arrays(star_image(SHAPE, X, Y, FLUX), gain=4., mask=mask)
    given = fit(image, sources=dict(x=[X[0], X[1], 12.], y=[Y[0], Y[1], 78.]))
    assert np.isfinite(values(given.catalog["flux"])).tolist() == [True, True, False]
    for name in ("dflux", "dx", "fluxlbs", "rchi2"):
        assert np.isnan(values(given.catalog[name])).tolist() == [False, False, True], name
    assert given.catalog["qf"][2] == 0 and given.catalog["x"][2].value == 12 and not given.catalog["good"][2]
    assert values(given.catalog["flags"])[2] & ENGINE.bad << MASK_SHIFT
    assert any("1 of 3 given positions have no good pixel around" in f for f in given.image.findings)


def test_units_and_masked_positions(image):
    x = np.ma.masked_array(X, [False, True, False])
    catalog = fit(image, sources=Table(dict(x=x, y=Y*units.pix))).catalog
    assert np.isfinite(values(catalog["flux"])).tolist() == [True, False, True]


def test_a_list_in_a_file_keeps_its_rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", star_image(SHAPE, X, Y, FLUX), GAIN=4.)
    Table(dict(star_id=[7, 8, 9, 10], x=[X[2], -50., np.nan, X[0]], y=[Y[2], 3., 3., Y[0]])).write("list.ecsv")
    assert main(["generic", "im.fits", "--force", "list.ecsv", "--out", "a.cat.fits", "--quiet"]) == 0
    catalog = read_table("a.cat.fits")
    assert catalog["star_id"].tolist() == [7, 8, 9, 10] and catalog["input_row"].tolist() == [0, 1, 2, 3]
    assert np.isfinite(np.ma.filled(catalog["flux"], np.nan)).tolist() == [True, False, False, True]


RA, DEC = 150., 2.


@pytest.fixture(scope="module")
def sky_image():
    return Image.from_arrays(star_image(SHAPE), wcs=tan_wcs(SHAPE, RA, DEC))


def on_sky(names, values=((RA,), (DEC,)), unit=None):
    return Table(dict(zip(names, values)), units=None if unit is None else dict.fromkeys(names, unit))


@pytest.mark.parametrize("table", [
    *(on_sky(names) for names in (("RAJ2000", "DEJ2000"), ("ALPHA_J2000", "DELTA_J2000"), ("_RAJ2000", "_DEJ2000"), ("ra", "Dec"),
                                  ("RA_ICRS", "DE_ICRS"), ("right_ascension", "declination"))),
    on_sky(("ra", "dec"), (np.radians([RA]), np.radians([DEC])), "rad"), on_sky(("RA", "DEC"), (["150.0"], ["2.0"])),
    on_sky(("RAJ2000", "DEJ2000"), (["10:00:00.0"], ["+02:00:00.0"])), on_sky(("ra", "dec"), (["10h00m00s"], ["2d0m0s"])),
    on_sky(("ra", "dec"), (["10 00 00"], ["02 00 00"])), Table(dict(place=SkyCoord([RA], [DEC], unit="deg"))),
    Table(dict(place=SkyCoord([RA], [DEC], unit="deg").galactic))], ids=lambda t: "-".join(t.colnames))
def test_positions_on_the_sky_by_other_names_and_in_other_forms(sky_image, table):
    rows = positions(table, sky_image)
    assert np.allclose([rows["x"][0], rows["y"][0]], [(SHAPE[1]-1)/2, (SHAPE[0]-1)/2], atol=1e-3)


@pytest.mark.parametrize("names, first", [(("X_IMAGE", "Y_IMAGE"), 1), (("xcentroid", "ycentroid"), 0), (("x_fit", "y_fit"), 0),
                                          (("XWIN_IMAGE", "YWIN_IMAGE"), 1), (("XCENTER", "YCENTER"), 1)])
def test_pixels_by_other_names_begin_where_these_do(image, names, first):
    rows = positions(Table(dict(zip(names, (X+first, Y+first)))), image)
    assert np.allclose(rows["x"], X) and np.allclose(rows["y"], Y)


def test_text_that_is_no_angle_is_told(sky_image):
    with pytest.raises(InputError, match="column RA of the catalog holds no angles"):
        positions(on_sky(("RA", "DEC"), (["north"], ["2"])), sky_image)
