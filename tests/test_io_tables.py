"""Users' catalogs in, results out: columns, units, endings, and what is recorded beside the rows."""
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from small_fields import GAIN, NOISE, star_image, tan_wcs

from crowdsource.config import FitConfig, from_mapping
from crowdsource.core.errors import DataFileError, InputError, OutputError
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.exposure.model_files import model_hdus
from crowdsource.exposure.results import Provenance, config_lines, read_config, read_history, write_result
from crowdsource.io.gzip_times import clear_gzip_times
from crowdsource.io.positions import positions
from crowdsource.io.tables import check_ending, read_table, write_catalog

SHAPE = (60, 80)
X, Y = np.array([10.25, 40.5]), np.array([20.75, 30.])


@pytest.fixture(scope="module")
def image():
    return Image.from_arrays(np.zeros(SHAPE), np.ones(SHAPE), wcs=tan_wcs(SHAPE), origin=(0, 0))


@pytest.fixture(scope="module")
def fitted():
    data = star_image(SHAPE, X, Y, [5000., 3000.])
    image = Image.from_arrays(data, np.full(SHAPE, 1/NOISE**2), wcs=tan_wcs(SHAPE), gain=GAIN, zeropoint=25.)
    return image, fit(image)


@pytest.mark.parametrize("name", ["a.fits", "a.ecsv", "a.csv", "a.txt", "a.vot", "a.parquet", "a.hdf5"])
def test_every_form_is_read(tmp_path, name):
    path = tmp_path/name
    table = Table(dict(x=X, y=Y, id=[7, 9]))
    if name.endswith("parquet"):
        write_catalog(table, path)
    else:
        options = {"a.csv": dict(format="ascii.csv"), "a.txt": dict(format="ascii.commented_header"),
                   "a.vot": dict(format="votable"), "a.hdf5": dict(path="cat", serialize_meta=False)}.get(name, {})
        table.write(path, **options)
    again = read_table(path)
    assert list(again["x"]) == list(X) and list(again["id"]) == [7, 9]


def test_table_of_a_fits_file(tmp_path):
    path = tmp_path/"a.fits"
    hdus = [fits.PrimaryHDU(), *(fits.BinTableHDU(Table(dict(k=[k])), name=n) for k, n in enumerate(("HIST", "CAT", "OTHER")))]
    fits.HDUList(hdus).writeto(path)
    assert read_table(path)["k"][0] == 1
    assert read_table(f"{path}:OTHER")["k"][0] == 2
    assert read_table(f"{path}:1")["k"][0] == 0
    with pytest.raises(DataFileError, match=r"a.fits\[0\]: holds no table there; its tables are in HDU 1 \(HIST\), 2 \(CAT\)"):
        read_table(f"{path}:0")


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(DataFileError, match="there is no such file"):
        read_table(tmp_path/"a.csv")
    with pytest.raises(DataFileError, match="is a folder"):
        read_table(tmp_path)
    (tmp_path/"bad.ecsv").write_text("not a table")
    with pytest.raises(DataFileError, match="cannot be read as a table"):
        read_table(tmp_path/"bad.ecsv")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path/"image.fits")
    with pytest.raises(DataFileError, match="holds no table; give a file with one"):
        read_table(tmp_path/"image.fits")
    (tmp_path/"bad.parquet").write_text("no")
    with pytest.raises(DataFileError, match="cannot be read as Parquet"):
        read_table(tmp_path/"bad.parquet")


def test_positions_by_pixel(image):
    rows = positions(Table(dict(X=X, Y=Y)), image)
    assert list(rows["x"]) == list(X) and list(rows["y"]) == list(Y)


def test_positions_on_the_sky(image):
    ra, dec = image.wcs.all_pix2world(X, Y, 0)
    for table in (Table(dict(RA=ra, Dec=dec)), QTable(dict(ra=(ra*u.deg).to(u.rad), dec=(dec*u.deg).to(u.arcsec)))):
        rows = positions(table, image)
        # radians and degrees in float64: 1e-13 of 150 degrees in pixels of 0.26 arcsec
        assert np.allclose(rows["x"], X, rtol=0, atol=1e-6) and np.allclose(rows["y"], Y, rtol=0, atol=1e-6)


def test_sky_positions_go_before_pixels_of_another_image(image):
    ra, dec = image.wcs.all_pix2world(X, Y, 0)
    rows = positions(Table(dict(x=X+100, y=Y, ra=ra, dec=dec)), image)
    assert np.allclose(rows["x"], X, rtol=0, atol=1e-6)
    bare = Image.from_arrays(np.zeros(SHAPE), np.ones(SHAPE))
    assert list(positions(Table(dict(x=X, y=Y, ra=ra, dec=dec)), bare)["x"]) == list(X)


def test_the_other_side_of_the_sky_is_nowhere(image):
    rows = positions(Table(dict(ra=[150., 330., 150.], dec=[2., -2., 60.])), image)
    assert np.isfinite(rows["x"][0]) and np.isnan(rows["x"][1:]).all()


def test_masked_positions_are_nan(image):
    rows = positions(Table(dict(x=MaskedColumn(X, mask=[False, True]), y=Y)), image)
    assert rows["x"][0] == X[0] and np.isnan(rows["x"][1])


@pytest.mark.parametrize("table, message", [
    (dict(a=[1.], b=[2.]), "no columns x and y, or ra and dec; it has a, b"),
    (dict(x=["one"], y=[2.]), "column x of the catalog holds no numbers"),
])
def test_positions_that_are_none(image, table, message):
    with pytest.raises(InputError, match=message):
        positions(Table(table), image)


def test_sky_positions_need_a_wcs():
    with pytest.raises(InputError, match="ra and dec serve an image with a WCS only"):
        positions(Table(dict(ra=[1.], dec=[2.])), Image.from_arrays(np.zeros(SHAPE), np.ones(SHAPE)))


def test_endings():
    check_ending("a.cat.fits")
    with pytest.raises(OutputError, match=r"ends in .cat.fits, .fits, .ecsv, .vot, .xml, .csv or .parquet"):
        check_ending("a.txt")


def test_catalog_file(fitted, tmp_path):
    image, result = fitted
    source = tmp_path/"in.fits"
    source.write_bytes(b"abc")
    path = tmp_path/"a.cat.fits"
    options = dict(gain=GAIN, ivar='odd "name"\\', dq=None)
    write_result(result, path, provenance=Provenance(instrument="generic", inputs=(source,), options=options, exposure="field"))
    with fits.open(path) as hdus:
        names = [h.name for h in hdus]
        assert names[:2] == ["PRIMARY", "PSF"] and names[-2:] == ["CAT", "HIST"]
        header, columns = hdus[0].header, hdus["CAT"].columns
        assert header["NSOURCES"] == len(result.catalog) and header["NPASS"] == len(result.history)
        assert header["EXPOSURE"] == "field"
        assert header["IN001"] == str(source)
        # SHA-256 of "abc", FIPS 180-2 appendix B.1
        assert header["IN001SUM"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert "pass 0: 2 sources" in str(header["HISTORY"])
        assert {n: columns[n].format for n in ("x", "y", "ra", "dec", "flux", "flags", "psf_star")} == dict(
            x="D", y="D", ra="D", dec="D", flux="D", flags="K", psf_star="L")
        assert columns["x"].unit == "pix" and columns["ra"].unit == "deg" and columns["mag"].unit == "mag"
        assert hdus["CAT"].header["TCOMM3"] == \
            "flux from the joint fit of all sources, corrected for the bias of a fitted position"
        for name in result.catalog.colnames:
            assert (hdus["CAT"].data[name] == np.asarray(result.catalog[name])).all(), name
    history = read_history(path)
    assert list(history["passno"]) == list(range(len(result.history)))
    assert history["chi2"][-1] == result.history[-1]["chi2"] and history["kind"][0] == result.history[0]["kind"]
    written = read_config(path)
    own = written.pop("generic")
    assert own == dict(gain=GAIN, ivar='odd "name"\\')
    assert from_mapping(written) == result.config


def test_psf_comes_back_from_the_catalog(fitted, tmp_path):
    from crowdsource.psf.formats.native import read_hdus
    _, result = fitted
    write_result(result, tmp_path/"a.cat.fits")
    with fits.open(tmp_path/"a.cat.fits") as hdus:
        again = read_hdus(hdus, "PSF")
    assert (again.render(X, Y, 19) == result.psf.render(X, Y, 19)).all()


@pytest.mark.parametrize("name", ["a.ecsv", "a.parquet"])
def test_other_catalogs(fitted, tmp_path, name):
    _, result = fitted
    write_result(result, tmp_path/name, provenance=Provenance(instrument="generic"))
    again = read_table(tmp_path/name)
    assert again.colnames == result.catalog.colnames
    for column in again.colnames:
        assert (np.asarray(again[column]) == np.asarray(result.catalog[column])).all(), column
        assert again[column].dtype == result.catalog[column].dtype


def test_parquet_records_units_and_configuration(fitted, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    _, result = fitted
    write_result(result, tmp_path/"a.parquet", provenance=Provenance(instrument="generic"))
    schema = parquet.read_schema(tmp_path/"a.parquet")
    assert schema.field("x").metadata[b"unit"] == b"pix"
    assert b"sky.block = 20" in schema.metadata[b"config"]


def test_configuration_in_lines_is_toml():
    import tomllib
    config = from_mapping(dict(cull=dict(keep_flux=float("inf")), detect=dict(threshold=4.123456789012345)))
    assert from_mapping(tomllib.loads("\n".join(config_lines(config)))) == config
    assert config != FitConfig()


def test_read_config_of_another_file(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path/"a.fits")
    with pytest.raises(DataFileError, match="holds no configuration"):
        read_config(tmp_path/"a.fits")


def test_model_file(fitted, tmp_path):
    image, result = fitted
    planes = {"MOD": result.model, "SKY": result.sky, "MSK": np.arange(result.model.size).reshape(result.model.shape) << 30}
    for name in "ab":
        hdus = [fits.PrimaryHDU(), *model_hdus(planes, NOISE, fits.Header(), "n4")]
        fits.HDUList(hdus).writeto(tmp_path/f"{name}.mod.fits")
        clear_gzip_times(tmp_path/f"{name}.mod.fits")
    with fits.open(tmp_path/"a.mod.fits") as hdus:
        assert [h.name for h in hdus[1:]] == ["N4_MOD", "N4_SKY", "N4_MSK"]
        assert all(isinstance(h, fits.CompImageHDU) for h in hdus[1:])
        # a step of a 32nd of the noise, dithered: at most half a step away
        for name in ("MOD", "SKY"):
            assert np.abs(hdus[f"N4_{name}"].data-planes[name]).max() <= NOISE/64*1.01
        assert (hdus["N4_MSK"].data == planes["MSK"]).all()
    assert (tmp_path/"a.mod.fits").read_bytes() == (tmp_path/"b.mod.fits").read_bytes()
