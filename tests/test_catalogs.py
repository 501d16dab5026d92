"""Two catalogs: columns of any naming, pairs by the sky and by the stars' pattern, known zero points and colour terms."""
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable, Table
from small_fields import NOISE, star_image, tan_wcs, write_fits

import crowdsource as cs
from crowdsource.catalogs import calibrated_files
from crowdsource.catalogs.calibrate import aperture_corrections, fitted
from crowdsource.catalogs.calibrated_files import calibrate_file
from crowdsource.catalogs.catalog import read_rows
from crowdsource.catalogs.columns import band_word, colour_for, magnitudes_of
from crowdsource.cli.main import main
from crowdsource.core.errors import DataFileError, InputError, OutputError
from crowdsource.io.fits_tables import table_hdu
from crowdsource.io.tables import write_catalog
from crowdsource.psf.formats.native import read_hdus
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.moffat import MoffatProfile

match_command = import_module("crowdsource.cli.commands.match")
SCALE = 0.26/3600
SHAPE = (200, 220)


def names_found(*columns):
    return [(m.column, m.band, m.error) for m in magnitudes_of(Table({n: np.zeros(2) for n in columns}))]


@pytest.mark.parametrize("columns, found", [
    ("phot_g_mean_mag phot_g_mean_flux_over_error bp_rp", [("phot_g_mean_mag", "G", "phot_g_mean_flux_over_error")]),
    ("Gmag e_Gmag BPmag e_BPmag", [("Gmag", "G", "e_Gmag"), ("BPmag", "BP", "e_BPmag")]),
    ("raMean gMeanPSFMag gMeanPSFMagErr", [("gMeanPSFMag", "g", "gMeanPSFMagErr")]),
    ("j_m j_cmsig k_m k_msigcom", [("j_m", "J", "j_cmsig"), ("k_m", "K", "k_msigcom")]),
    ("w1mpro w1sigmpro", [("w1mpro", "W1", "w1sigmpro")]), ("psfMag_r psfMagErr_r", [("psfMag_r", "r", "psfMagErr_r")]),
    ("x y V e_V z", [("V", "V", "e_V"), ("z", "z", None)]), ("MAG_AUTO MAGERR_AUTO FLUX_AUTO", [("MAG_AUTO", "", "MAGERR_AUTO")]),
    ("flux mag dmag mag_cal dmag_cal flags", [("mag", "", "dmag"), ("mag_cal", "", "dmag_cal")]),
    ("F606W F606Werr F814W_VEGA", [("F606W", "F606W", "F606Werr"), ("F814W_VEGA", "F814W", None)])])
def test_magnitudes_by_their_usual_names(columns, found):
    assert names_found(*columns.split()) == found


def test_bands_and_colours():
    assert [band_word(t) for t in ("r DECam SDSS c0002 6415.0 1480.0", "SDSS-r'", "Bessell V", "F606W", "clear")] == \
        ["r", "r", "V", "F606W", ""]

    def colour(band, *columns):
        pair = colour_for(band, magnitudes_of(Table({n: np.zeros(2) for n in columns})))
        return pair and tuple(m.column for m in pair)
    assert colour("r", "gmag", "rmag", "imag") == ("gmag", "rmag") and colour("g", "gmag", "rmag") == ("gmag", "rmag")
    assert colour("G", "Gmag", "BPmag", "RPmag") == ("BPmag", "RPmag") and colour("r", "rmag") is None
    assert colour("F814W", "F435W", "F606W", "F814W") == ("F606W", "F814W")


RNG = np.random.default_rng(5)
STARS = 600
U, V = RNG.uniform(0, 1000, (2, STARS))
MAG = 16+5*RNG.uniform(size=STARS)**0.5


def listed(keep, band, *, offset=(0., 0.), colour=0., scatter=0.02, **columns):
    """Some of the stars as a catalog, their number in ``star``; offset and scatter in arcsec."""
    east, north = (RNG.normal(o, scatter, STARS)/3600 for o in offset)
    flux = 10**(-0.4*(MAG+colour-25))
    table = Table(dict(ra=(20+(U*SCALE+east)/np.cos(np.radians(-40))) % 360, dec=-40+V*SCALE+north, flux=flux, dflux=0.005*flux,
                       x=U, y=V, star=np.arange(STARS), **columns))[keep]
    table.meta["BAND"] = band
    return table


def test_match_on_the_sky_takes_an_offset_out():
    first, second = listed(slice(0, 500), "g"), listed(slice(100, 600), "r", offset=(2.2, -1.7), colour=-0.4)
    table = cs.match(first, second, all_columns=True)
    assert len(table) == pytest.approx(400, abs=8) and table.meta["matched_by"] == "sky"
    same = np.asarray(table["star_1"] == table["star_2"])
    assert same.mean() > 0.99
    assert np.median(table["colour"]) == pytest.approx(0.4, abs=1e-6) and table["dcolour"][0] == pytest.approx(0.00768, rel=0.01)
    # two coordinates that scatter by 0.02 arcsec in each catalog
    assert np.sqrt(np.mean(table["separation"][same]**2)) == pytest.approx(0.04, rel=0.15)
    assert (first["star"][table["row_1"]] == table["star_1"]).all() and (second["star"][table["row_2"]] == table["star_2"]).all()
    assert table["mag_1"].description == "-2.5 log10 of the flux of the first catalog, band g"


@pytest.mark.parametrize("mirror", [1, -1])
def test_match_by_the_pattern_where_there_is_no_sky(mirror):
    first, second = listed(slice(0, 500), "g"), listed(slice(100, 600), "r")
    turned = (second["x"]+1j*mirror*second["y"])*1.4*np.exp(0.7j)+(30-80j)
    second["x"], second["y"] = turned.real, turned.imag
    second.remove_columns(["ra", "dec"])
    table = cs.match(first, second, all_columns=True)
    assert len(table) == 400 and table.meta["matched_by"] == "pattern" and (table["star_1"] == table["star_2"]).all()


def test_catalogs_that_have_nothing_in_common():
    first, second = listed(slice(0, 50), "g"), listed(slice(0, 50), "r")
    second["dec"] += 3
    with pytest.raises(InputError, match="are of different parts of the sky"):
        cs.match(first, second)
    with pytest.raises(InputError, match="has no positions by any usual name"):
        cs.match(first, Table(dict(a=[1.])))
    with pytest.raises(InputError, match="the first catalog has no magnitudes of band or column 'i': it has none"):
        cs.match(first, first, magnitudes=("i", None))


def test_the_command_matches_files_of_any_form(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    listed(slice(0, 300), "g").write("a.ecsv")
    other = listed(slice(0, 300), "r")
    Table(dict(RAJ2000=other["ra"], DEJ2000=other["dec"], rmag=MAG[:300], e_rmag=np.full(300, 0.01))).write("b.csv")
    assert main(["match", "a.ecsv", "b.csv", "-o", "m.fits"]) == 0
    assert "m.fits: " in capsys.readouterr().out
    table = Table.read("m.fits")
    assert len(table) > 290 and table.meta["band_2".upper()] == "r" and str(table["separation"].unit) == "arcsec"
    assert np.median(table["mag_1"]-table["mag_2"]) == pytest.approx(-25, abs=1e-6)
    assert main(["match", "a.ecsv", "b.csv"]) == 0
    assert "stars by the sky" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["fits", "ecsv", "vot", "parquet", "csv"])
def test_another_match_is_refused_before_it_is_made(tmp_path, monkeypatch, capsys, ending):
    monkeypatch.chdir(tmp_path)
    for name, band in (("a", "g"), ("b", "r")):
        listed(slice(0, 200), band).write(f"{name}.ecsv")
    out, made = Path(f"m.{ending}"), []
    monkeypatch.setattr(match_command, "match", lambda *a, **k: made.append(a) or cs.match(*a, **k))
    argv = ["match", "a.ecsv", "b.ecsv", "-o", str(out)]
    assert main(argv) == 0
    before = out.read_bytes()
    # the same again is a success that changes nothing; CSV does not tell what it is made of
    assert main(argv) == (2 if ending == "csv" else 0) and out.read_bytes() == before
    made.clear()
    assert main([*argv, "--all-columns"]) == 2 and main([*argv, "--radius", "0.5"]) == 2
    listed(slice(0, 100), "r").write("b.ecsv", overwrite=True)
    assert main(argv) == 2
    assert made == [] and out.read_bytes() == before and "exists already" in capsys.readouterr().err
    assert main([*argv, "--overwrite"]) == 0 and len(made) == 1 and out.read_bytes() != before


def test_fits_of_zero_points_have_the_errors_that_they_say():
    """Stars of unequal errors with a scatter of their own and a tenth of outliers: pulls of 100 fits are normal."""
    rng, pulls = np.random.default_rng(3), []
    for _ in range(100):
        n = rng.integers(60, 200)
        colour, sigma = rng.normal(0.8, 0.3, n), np.hypot(0.01, rng.uniform(0, 0.03, n))
        off = 25.3+0.12*(colour-0.8)+rng.normal(0, np.hypot(sigma, 0.015))
        off[:n//10] += rng.uniform(-0.2, 2, n//10)
        found = fitted(off, sigma**2, colour)
        truth = 25.3+0.12*(found["pivot"]-0.8)
        pulls.append([(found["zeropoint"]-truth)/found["zeropoint_error"],
                      (found["colour_term"]-0.12)/found["colour_term_error"]])
    # of 100 the scatter is known to 7 %; outliers near the others cost a little more
    assert np.std(pulls, axis=0) == pytest.approx(1, abs=0.2) and np.abs(np.mean(pulls, axis=0)).max() < 0.35


def test_few_stars_have_no_colour_term():
    found = fitted(np.array([25., 25.01, 24.99, 25.]), np.full(4, 1e-4), np.array([0., 0.5, 1., 1.5]))
    assert found["colour_term"] == 0 and np.isnan(found["colour_term_error"])
    assert found["zeropoint"] == pytest.approx(25, abs=0.01)
    with pytest.raises(InputError, match="only 2 good stars in common"):
        fitted(np.zeros(2), np.ones(2))


TRUE_ZERO_POINT, TRUE_TERM, PIVOT = 26.4, 0.15, 0.6


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A folder with an image, its catalog, and a reference whose zero point and colour term are known, a tenth of it wrong."""
    folder, rng = tmp_path_factory.mktemp("field"), np.random.default_rng(12)
    x, y = (g.ravel()+rng.uniform(-3, 3, g.size) for g in np.meshgrid(np.arange(14, 210, 24.), np.arange(14, 190, 24.)))
    flux, colour = rng.permutation(np.geomspace(5000, 80000, len(x))), rng.normal(PIVOT, 0.35, len(x))
    image = write_fits(folder/"im.fits", star_image(SHAPE, x, y, flux), tan_wcs(SHAPE).to_header(), FILTER="r SDSS", GAIN=4.)
    write_fits(folder/"ivar.fits", np.full(SHAPE, NOISE**-2, np.float32))
    red = TRUE_ZERO_POINT-2.5*np.log10(flux)+TRUE_TERM*(colour-PIVOT)+rng.normal(0, 0.008, len(x))
    red[::10] += 0.7
    ra, dec = tan_wcs(SHAPE).all_pix2world(x, y, 0)
    reference = Table(dict(RA_ICRS=ra+0.9/3600, DE_ICRS=dec, gmag=red+colour, rmag=red, e_rmag=np.full(len(x), 0.008)))
    reference.write(folder/"ref.vot", format="votable")
    assert main([image, "--ivar", str(folder/"ivar.fits"), "--out-dir", str(folder), "--quiet"]) == 0
    return folder


def check(found):
    """Whether a calibration is that of the field."""
    truth = TRUE_ZERO_POINT+TRUE_TERM*(found.pivot-PIVOT)
    # the PSF is measured on the same stars: a tenth of a per cent
    assert found.zeropoint == pytest.approx(truth, abs=2.5*found.zeropoint_error+0.001)
    assert found.colour_term == pytest.approx(TRUE_TERM, abs=3*found.colour_term_error) and found.colour == "g-r"
    assert found.zeropoint_error < 0.004 and found.scatter < 0.02
    # a tenth is wrong
    assert found.matched-found.stars >= 7 and found.stars > 50


def test_zero_point_and_colour_term_of_a_simulated_field(field):
    table = cs.match(field/"im.cat.fits", field/"ref.vot", magnitudes=(None, "r"))
    assert len(table) > 68 and np.median(table["colour"]) == pytest.approx(-TRUE_ZERO_POINT, abs=0.15)
    found = cs.calibrate(Table.read(field/"im.cat.fits"), field/"ref.vot")
    check(found)
    assert np.isnan(found.zeropoint_total)
    plain = cs.calibrate(field/"im.cat.fits", field/"ref.vot", colour="none")
    # the term is part of the scatter then
    assert plain.colour == "" and plain.scatter > 1.5*found.scatter
    with pytest.raises(InputError, match=r"ref.vot has no magnitudes of band or column 'i': it has gmag \(band g\)"):
        cs.calibrate(field/"im.cat.fits", field/"ref.vot", band="i")


@pytest.mark.parametrize("ending", ["cat.fits", "ecsv", "vot", "parquet"])
def test_calibrated_files(field, tmp_path, ending):
    out = tmp_path/f"a.{ending}"
    found = calibrate_file(field/"im.cat.fits", field/"ref.vot", out=out)
    check(found)
    before = Table.read(field/"im.cat.fits")
    after = Table.read(out) if ending != "parquet" else QTable(read_rows(out))
    assert after.colnames == [*before.colnames, "mag_cal", "dmag_cal"]
    mag = np.asarray(getattr(after["mag_cal"], "value", after["mag_cal"]))
    assert mag == pytest.approx(found.zeropoint-2.5*np.log10(before["flux"]), abs=0.002)
    assert after["mag_cal"].info.description.startswith("magnitude as in rmag of ")
    assert str(after["mag_cal"].info.unit) == "mag" and str(after["flux"].info.unit) == "ct"
    if ending == "cat.fits":
        assert after.meta["CALZP"] == found.zeropoint == fits.getheader(out)["CALZP"]
        assert after.meta["CHI2"] == before.meta["CHI2"]
        with fits.open(out) as one, fits.open(field/"im.cat.fits") as two:
            assert [h.name for h in one] == [h.name for h in two]
            assert (read_hdus(one).stamp(31) == read_hdus(two).stamp(31)).all()
        # once more: the same columns, replaced
        assert calibrate_file(out, field/"ref.vot").zeropoint == found.zeropoint
        assert Table.read(out).colnames == after.colnames


@pytest.mark.parametrize("ending", ["cat.fits", "vot"])
def test_another_calibration_is_refused_before_it_is_made(field, tmp_path, monkeypatch, ending):
    out, made = tmp_path/f"a.{ending}", []
    monkeypatch.setattr(calibrated_files, "calibrate", lambda *a, **k: made.append(a) or cs.calibrate(*a, **k))
    calibrate_file(field/"im.cat.fits", field/"ref.vot", out=out)
    before = out.read_bytes()
    calibrate_file(field/"im.cat.fits", field/"ref.vot", out=out)
    assert out.read_bytes() == before
    made.clear()
    for other in (dict(radius=0.7), dict(band="g", colour="g-r")):
        with pytest.raises(OutputError, match="exists already"):
            calibrate_file(field/"im.cat.fits", field/"ref.vot", out=out, **other)
    assert made == [] and out.read_bytes() == before
    calibrate_file(field/"im.cat.fits", field/"ref.vot", out=out, radius=0.7, overwrite=True)
    assert len(made) == 1


def test_a_fit_calibrates_its_catalog(field, capsys):
    argv = [str(field/"im.fits"), "--ivar", str(field/"ivar.fits"), "--out", str(field/"b.cat.fits")]
    assert main([*argv, "--calibrate", str(field/"ref.vot")]) == 0
    out = capsys.readouterr().out
    assert "zero point 26.4" in out and "colour term +0.1" in out and "aperture correction" in out
    assert {"mag_cal", "dmag_cal"} <= set(Table.read(field/"b.cat.fits").colnames)
    assert main([*argv, "--overwrite", "--calibrate", str(field/"im.fits")]) == 2
    assert main(["calibrate", str(field/"b.cat.fits"), str(field/"ref.vot"), "--band", "g", "--colour", "g-r", "--quiet"]) == 0
    meta = Table.read(field/"b.cat.fits").meta
    assert meta["CALBAND"] == "g" and meta["CALCTERM"] == pytest.approx(TRUE_TERM+1, abs=0.05)


def test_detectors_of_a_file_are_calibrated_together(field, tmp_path):
    with fits.open(field/"im.cat.fits") as hdus:
        rows = Table.read(hdus["CAT"])
    half = len(rows)//2
    parts = [table_hdu(QTable(rows[:half]), "N1_CAT"), table_hdu(QTable(rows[half:]), "N2_CAT")]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path/"two.fits")
    check(calibrate_file(tmp_path/"two.fits", field/"ref.vot", band="r"))
    with fits.open(tmp_path/"two.fits") as hdus:
        mags = [hdus[n].data["mag_cal"] for n in ("N1_CAT", "N2_CAT")]
    whole = calibrate_file(field/"im.cat.fits", field/"ref.vot", out=tmp_path/"one.fits")
    assert np.concatenate(mags) == pytest.approx(np.asarray(Table.read(tmp_path/"one.fits")["mag_cal"]), abs=0.002)
    assert whole.stars > 30


def test_a_foreign_file_is_not_replaced(field, tmp_path):
    listed(slice(0, 50), "r").write(tmp_path/"mine.fits")
    with pytest.raises(DataFileError, match="is no catalog of crowdsource: name a new file"):
        calibrate_file(tmp_path/"mine.fits", field/"ref.vot")


def test_light_outside_of_the_box_of_fluxes():
    """A Moffat profile whose width grows along x: the part outside of the box of 59 pixels follows from the profile alone."""
    shape, beta = (200, 300), 2.
    coefficients = np.array([[6., 2., 0.], [0., 0., 0.], [0., 0., 0.], [beta, 0., 0.]])
    psf = FieldPSF.of(MoffatProfile(coefficients, shape, 1, None))
    x = np.array([0., 149.5, 299.])
    corrections, middle = aperture_corrections(psf, x, np.full(3, 99.5))
    expected = [2.5*np.log10(psf.stamp(299, u, 99.5).sum()) for u in x]
    assert middle == pytest.approx(expected[1], abs=1e-4) and corrections == pytest.approx(expected, abs=3e-4)
    assert corrections[0] > 0.005 and corrections[2] > 1.5*corrections[0]


def test_columns_of_any_kind_go_along(tmp_path):
    first, second = listed(slice(0, 40), "g"), listed(slice(0, 40), "r")
    first["name"] = np.array([f"star {k}" for k in range(40)], dtype=object)
    first["colour"] = np.ma.masked_array(np.arange(40.), np.arange(40) == 3)
    table = cs.match(first, QTable(second, units=dict(x="pix")), all_columns=True)
    for ending in ("fits", "ecsv", "vot"):
        write_catalog(table, tmp_path/f"m.{ending}")
        again = Table.read(tmp_path/f"m.{ending}")
        row = again[np.flatnonzero(np.asarray(again["row_1"]) == 3)[0]]
        assert row["name_1"] == "star 3"
        assert row["colour_1"] is np.ma.masked or np.isnan(row["colour_1"])
        assert str(again["x_2"].unit) in ("pix", "pixel")


def test_a_field_around_the_zero_of_right_ascension():
    first, second = listed(slice(0, 300), "g"), listed(slice(0, 300), "r", offset=(1., 0.))
    for table in (first, second):
        table["ra"] = (table["ra"]-20.04) % 360
    assert np.ptp(first["ra"]) > 300
    assert len(cs.match(first, second)) > 290
