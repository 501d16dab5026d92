"""Catalogs into the store: what of them is known, what is replaced, what is rejected, and that nothing else is lost."""
import signal
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_catalogs import SCALE, image_header, rows, write_catalog
from small_fields import star_image, tan_wcs, write_fits
from test_decam import write_exposure
from test_store import everything

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, DataFileError
from crowdsource.io.tables import write_catalog as write_table
from crowdsource.survey.store.columns import IngestOptions
from crowdsource.survey.store.ingest import catalog_files, ingest, ingest_zero_points
from crowdsource.survey.store.store import create_store, open_store

PROGRAM = """import sys
from crowdsource.survey.store.ingest import ingest
from crowdsource.survey.store.store import open_store
sys.exit(ingest(open_store(sys.argv[1]), sys.argv[2:], batch_rows=300).status)"""


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path/"store")


def plain_table(n=20, seed=0, **columns):
    """A table of another program, without identifiers."""
    rng = np.random.default_rng(seed)
    return Table(dict(RA=150+rng.random(n)/10, DEC=rng.random(n)/10, FLUX_PSF=rng.random(n), ERR=rng.random(n)/10, **columns))


MAP = IngestOptions(mapping=(("flux", "FLUX_PSF"), ("dflux", "err")), band="g")


def test_ingesting_again_changes_nothing(store, tmp_path):
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(30, k, image=k+1), f"e{k}") for k in range(3)]
    first = ingest(store, files)
    assert first.counts == {"new": 3} and first.rows == 90 and first.status == 0
    before = {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()}
    again = ingest(open_store(store.path), files)
    assert again.counts == {"unchanged": 3} and again.rows == 0
    assert {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()} == before


def test_a_new_version_replaces_the_old_one(store, tmp_path):
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(30, k, image=k+1), f"e{k}") for k in range(3)]
    ingest(store, files)
    old = store.snapshot()
    new = rows(25, 77, image=2)
    write_catalog(files[1], new, "e1")
    assert ingest(store, files).counts == {"unchanged": 2, "replaced": 1}
    snapshot = store.snapshot()
    found = everything(snapshot)
    assert len(found) == 85 and snapshot.images.alive.tolist() == [True, False, True, True]
    assert (found["ra"][found["source"] == 3] == new["ra"]).all()
    assert len(everything(open_store(store.path).snapshot(old.number))) == 90


def test_a_corrected_header_replaces_too(store, tmp_path):
    path = write_catalog(tmp_path/"a.cat.fits", rows(30), "e", header=image_header("r", 25.))
    ingest(store, [path])
    write_catalog(path, rows(30), "e", header=image_header("g", 26.))
    assert ingest(store, [path]).counts == {"replaced": 1}
    snapshot = store.snapshot()
    assert snapshot.bands == ("g",) and snapshot.zero_points()[snapshot.images.alive].tolist() == [26.]
    assert len(everything(snapshot)) == 30
    assert ingest(store, [path], IngestOptions(zeropoint=27.)).counts == {"replaced": 1}
    assert store.snapshot().zero_points()[-1] == 27.


def test_an_exposure_of_several_detectors(store, tmp_path):
    tables = {"N4": rows(30, 1, image=5 << 7 | 7), "S7": rows(20, 2, image=5 << 7 | 8)}
    header = image_header("", system="", BAND="z DECam SDSS c0004 9260.0 1520.0")
    path = write_catalog(tmp_path/"a.cat.fits", tables, "c4d_x", "decam", header)
    assert ingest(store, [path]).counts == {"new": 2}
    images = store.snapshot().images
    assert images.exposure.tolist() == ["c4d_x"]*2 and images.detector.tolist() == ["N4", "S7"]
    assert images.band.tolist() == ["z"]*2 and images.system.tolist() == [""]*2 and images.rows.tolist() == [30, 20]
    tables["S7"] = rows(21, 3, image=5 << 7 | 8)
    write_catalog(path, tables, "c4d_x", "decam", header)
    assert ingest(store, [path]).counts == {"unchanged": 1, "replaced": 1}


def test_band_and_system_are_what_the_catalog_states(store, tmp_path):
    header = image_header("clear filter", system="AB")
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(30, k, image=k), f"e{k}w1", name, header, BAND=band, MAGSYS=system)
             for k, (name, band, system) in enumerate([("wise", "W9", "AB"), ("decam", "N 964", ""), ("other", "J", "Vega")])]
    files.append(write_catalog(tmp_path/"3.cat.fits", rows(30, 3, image=3), "e3", "decam", header, MAGSYS=""))
    report = ingest(store, files)
    assert report.counts == {"new": 4} and report.rejects == {"no band is known": 30}
    images = store.snapshot().images
    assert images.band.tolist() == ["W9", "N 964", "J", ""] and images.system.tolist() == ["AB", "", "Vega", ""]


def test_an_unknown_magnitude_system_is_told(store, tmp_path):
    path = write_catalog(tmp_path/"a.cat.fits", rows(30), BAND="g", MAGSYS="STMAG")
    assert "system STMAG, which is unknown" in ingest(store, [path]).failed[0][1]


@pytest.mark.parametrize("ending", ["ecsv", "parquet"])
@pytest.mark.parametrize("system", [dict(system="AB"), {}])
def test_tables_that_crowdsource_wrote_state_band_and_system(store, tmp_path, ending, system):
    table = rows(30, image=9, columns=dict(band=np.full(30, 2, np.int16)))
    record = dict(version="1", instrument="wise", exposure="1866p257w2", band="W2", mjd=57000., config="", inputs="", **system)
    write_table(table, tmp_path/f"a.{ending}", record)
    assert ingest(store, [tmp_path/f"a.{ending}"]).counts == {"new": 1}
    images = store.snapshot().images
    assert (images.band[0], images.system[0]) == ("W2", "AB" if system else "Vega")


def test_wise(store, tmp_path):
    table = rows(30, image=9, columns=dict(band=np.full(30, 2, np.int16), coadd_id=np.full(30, "1866p257"),
                                           primary=np.arange(30) % 2 == 0))
    ingest(store, [write_catalog(tmp_path/"a.cat.fits", table, "1866p257w2e003", "wise", image_header("", system="Vega"))])
    images, found = store.snapshot().images, everything(store.snapshot())
    assert (images.exposure[0], images.band[0], images.system[0]) == ("1866p257w2e003", "W2", "Vega")
    assert found["primary"].sum() == 15 and found["coadd_id"].tolist() == [b"1866p257"]*30 and found["band"].tolist() == [2]*30


@pytest.mark.parametrize("ending", ["ecsv", "parquet", "fits"])
def test_tables_of_other_programs(store, tmp_path, ending):
    path = tmp_path/f"field.{ending}"
    table = plain_table(name=np.array(["a star"]*20), good=np.arange(20) > 4)
    table.write(path)
    report = ingest(store, [path], MAP)
    assert report.failed == [] and report.counts == {"new": 1}
    found, images = everything(store.snapshot()), store.snapshot().images
    assert (images.exposure[0], images.detector[0], images.band[0]) == ("field", "", "g")
    assert (found["flux"] == table["FLUX_PSF"]).all() and (found["dflux"] == table["ERR"]).all()
    assert (found["dec"] == table["DEC"]).all() and found["good"].sum() == 15 and set(found["name"]) == {b"a star"}
    # 31 bits of SHA-256 of "field", and the row
    assert found["detection_id"].tolist() == [0x606942b5 << 32 | k for k in range(20)]
    assert ingest(store, [path], MAP).counts == {"unchanged": 1}


@pytest.mark.parametrize("ending", ["ecsv", "fits"])
def test_a_table_of_several_exposures(store, tmp_path, ending):
    path = tmp_path/f"many.{ending}"
    table = plain_table(exposure=np.repeat(["a", "b"], 10), detector=np.tile([1, 2], 10), band=np.repeat(["g", "r"], 10),
                        mjd=np.repeat([57000., 57010.], 10), zeropoint=np.repeat([25., 26.], 10))
    table.write(path)
    given = IngestOptions(mapping=MAP.mapping)
    assert ingest(store, [path], given).counts == {"new": 4}
    s = store.snapshot().images
    assert list(zip(s.exposure, s.detector, s.band)) == [("a", "1", "g"), ("a", "2", "g"), ("b", "1", "r"), ("b", "2", "r")]
    assert s.mjd.tolist() == [57000., 57000., 57010., 57010.] and s.zeropoint.tolist() == [25., 25., 26., 26.]
    assert s.rows.tolist() == [5]*4 and len(np.unique(everything(store.snapshot())["detection_id"])) == 20
    table["FLUX_PSF"][0] += 1
    table.write(path, overwrite=True)
    assert ingest(store, [path], given).counts == {"replaced": 1, "unchanged": 3}


def test_pixel_scale_from_positions_where_no_header_tells(store, tmp_path):
    table = rows(50)
    path = tmp_path/"a.fits"
    Table({n: table[n] for n in ("x", "y", "ra", "dec", "flux", "dflux")}).write(path)
    ingest(store, [path], IngestOptions(band="g"))
    # x, y are a plane's, ra and dec a sphere's: they differ by the cosine of half a field at most
    assert store.snapshot().images.pixel_scale[0] == pytest.approx(SCALE, rel=1e-4)


def test_what_cannot_be_placed_is_told(store, tmp_path):
    store = create_store(tmp_path/"s", bands=("g", "r"))
    table = rows(30)
    table["ra"][3], table["dec"][4] = np.nan, 91.
    files = [write_catalog(tmp_path/"a.cat.fits", table, "a", header=image_header("g")),
             write_catalog(tmp_path/"b.cat.fits", rows(20, image=2), "b", header=image_header("Y")),
             write_catalog(tmp_path/"c.cat.fits", rows(10, image=3), "c", header=image_header("")),
             write_catalog(tmp_path/"d.cat.fits", rows(5, image=4), "d", header=image_header("g", system="Vega"))]
    report = ingest(store, files[:3])
    report.rejects += ingest(store, files).rejects
    assert report.rows == 28 and report.rejects == {
        "position is not a number": 1, "declination beyond a pole, or right ascension beyond 360 degrees": 1,
        "band Y is none of the store's": 20, "no band is known": 10, "magnitudes are Vega, those of the store's band g are AB": 5}
    from crowdsource.io.hdf5 import read_rows
    listed = [read_rows(store.path/r.path, "rejects") for r in store.state().rejects]
    assert [len(r) for r in listed] == [32, 5]
    first = listed[0][0]
    assert (first["file"], first["exposure"], first["row"]) == (str(files[0]).encode(), b"a", 3)
    assert len(everything(store.snapshot())) == 28
    assert ingest(store, files).counts == {"unchanged": 4}


def test_bands_that_differ_in_case_only(store, tmp_path):
    ingest(store, [write_catalog(tmp_path/"a.cat.fits", rows(9), "a", header=image_header("g"))])
    report = ingest(store, [write_catalog(tmp_path/"b.cat.fits", rows(9, image=2), "b", header=image_header("G"))])
    assert report.rejects == {"band G differs from the store's g in case only": 9}


def test_identifiers_of_another_image_are_refused(store, tmp_path):
    files = [write_catalog(tmp_path/"a.cat.fits", rows(9), "a"), write_catalog(tmp_path/"b.cat.fits", rows(9, 1), "b"),
             write_catalog(tmp_path/"c.cat.fits", rows(9, 2, image=3), "c")]
    report = ingest(store, files)
    assert report.status == 1 and report.counts == {"new": 2, "refused": 1}
    assert "b.cat.fits: the identifiers of b r are those of a r" in report.failed[0][1]
    again = ingest(store, files[1:2])
    assert again.status == 2 and "the identifiers of b r are those of a r" in again.failed[0][1]
    assert ingest(store, files[1:2], IngestOptions(mapping=(("detection_id", ""),))).counts == {"new": 1}


def test_identifiers_that_are_none(store, tmp_path):
    table = rows(9)
    table["detection_id"][4] = table["detection_id"][3]
    twice = write_catalog(tmp_path/"a.cat.fits", table, "a")
    table["detection_id"][4] = 7 << 32
    mixed = write_catalog(tmp_path/"b.cat.fits", table, "b")
    report = ingest(store, [twice, mixed])
    assert report.status == 2 and "have the same identifier" in report.failed[0][1]
    assert "not those of one image" in report.failed[1][1]


def test_a_file_that_cannot_be_read_costs_only_itself(store, tmp_path):
    good = write_catalog(tmp_path/"good.cat.fits", rows(30), "good")
    cut, text = tmp_path/"cut.cat.fits", tmp_path/"text.cat.fits"
    cut.write_bytes(good.read_bytes()[:-3000])
    text.write_text("no table")
    lacking = tmp_path/"lacking.fits"
    plain_table().write(lacking)
    report = ingest(store, [cut, text, tmp_path/"gone.fits", lacking, good])
    assert report.status == 1 and [f.rpartition("/")[2] for f, _ in report.failed] == \
        ["cut.cat.fits", "text.cat.fits", "gone.fits", "lacking.fits"]
    for (_, problem), told in zip(report.failed, ("truncated", "is no FITS", "cannot be read", "--map flux=COLUMN")):
        assert told in problem
    assert len(everything(store.snapshot())) == 30


def test_an_ldac_catalog_whatever_its_name(store, tmp_path):
    table = fits.table_to_hdu(plain_table())
    table.name = "LDAC_OBJECTS"
    first = fits.BinTableHDU.from_columns([fits.Column("Field Header Card", "80A", array=["SIMPLE"])], name="LDAC_IMHEAD")
    fits.HDUList([fits.PrimaryHDU(), first, table]).writeto(tmp_path/"field.ldac")
    assert ingest(store, [tmp_path/"field.ldac"], MAP).counts == {"new": 1}
    assert len(everything(store.snapshot())) == 20


def test_types_of_fits_columns(store, tmp_path):
    columns = [fits.Column("ra", "D", array=[1., 2.]), fits.Column("dec", "D", array=[3., 4.]),
               fits.Column("flux", "I", array=[-4, -1]), fits.Column("dflux", "E", array=[1, 2]),
               fits.Column("u2", "I", bzero=32768, array=np.array([1, 65535], np.uint16)),
               fits.Column("u8", "K", bzero=2**63, array=np.array([1, 2**64-1], np.uint64)),
               fits.Column("i1", "B", bzero=-128, array=np.array([-128, 127], np.int8)),
               fits.Column("pair", "2E", array=[[1, 2], [3, 4]]), fits.Column("yes", "L", array=[True, False]),
               fits.Column("bits", "11X", array=np.zeros((2, 11), bool)), fits.Column("name", "4A", array=["ab", "c d"]),
               fits.Column("far", "PJ()", array=np.array([np.arange(3), np.arange(2)], object)),
               fits.Column("last", "J", array=[5, -6])]
    path = tmp_path/"a.fits"
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["TSCAL3"], hdu.header["TZERO3"] = 0.5, 3.
    hdu.writeto(path)
    report = ingest(store, [path], IngestOptions(band="g"))
    assert report.failed == []
    found = everything(store.snapshot())
    assert found["u2"].tolist() == [1, 65535] and found["u8"].tolist() == [1, 2**64-1] and found["i1"].tolist() == [-128, 127]
    assert found["pair"].tolist() == [[1, 2], [3, 4]] and found["yes"].tolist() == [True, False]
    assert found["name"].tolist() == [b"ab", b"c d"] and found["last"].tolist() == [5, -6]
    # steps of 0.5 from 3
    assert found["flux"].tolist() == [1., 2.5] and not {"bits", "far"} & set(found.dtype.names)


def test_zero_points_have_versions(store, tmp_path):
    tables = {"N1": rows(5, image=1), "N2": rows(5, 1, image=2)}
    ingest(store, [write_catalog(tmp_path/"a.cat.fits", tables, "a", header=image_header("g", 25.))])
    path = tmp_path/"zp.ecsv"
    Table(dict(exposure=["a", "other"], detector=["N1", "N1"], zeropoint=[24.5, 20.])).write(path)
    assert ingest_zero_points(store, str(path)) == 1 and ingest_zero_points(store, str(path)) == 1
    Table(dict(exposure=["a"], detector=["N2"], band=["g"], zeropoint=[np.nan])).write(path, overwrite=True)
    assert ingest_zero_points(store, str(path)) == 2
    snapshot = open_store(store.path).snapshot()
    assert snapshot.zero_points(0).tolist() == [25., 25.] and snapshot.zero_points(1).tolist() == [24.5, 25.]
    assert snapshot.zero_points()[0] == 24.5 and np.isnan(snapshot.zero_points()[1])
    assert len(snapshot.zero_point_table(2)) == 3


def test_batches_are_commits_and_a_name_that_comes_twice_is_one_source(store, tmp_path):
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(30, k, image=k+1), f"e{k}") for k in range(5)]
    ingest(store, files, batch_rows=60)
    assert store.snapshot().number == 3
    other = write_catalog(tmp_path/"again.cat.fits", rows(10, 9, image=1), "e0")
    report = ingest(store, [other, files[0], other])
    assert report.counts == {"replaced": 1, "refused": 1, "unchanged": 1} and report.status == 1
    assert "0.cat.fits: has e0 r, of which" in report.failed[0][1]
    assert len(everything(store.snapshot())) == 130
    # once more, nothing changes
    assert ingest(store, [other, files[0], other]).counts == {"unchanged": 2, "refused": 1} and store.snapshot().number == 4


def test_folders(tmp_path):
    path = write_catalog(tmp_path/"a.cat.fits", rows(3))
    assert catalog_files([tmp_path, path]) == [path]
    (tmp_path/"empty").mkdir()
    with pytest.raises(DataFileError, match=r"is a folder without \*.cat.fits"):
        catalog_files([tmp_path/"empty"])
    with pytest.raises(ConfigError, match="no column colour is known"):
        IngestOptions(mapping=(("colour", "c"),))
    with pytest.raises(ConfigError, match="give AB or Vega"):
        IngestOptions(system="ST")


def test_two_ingests_at_once(store, tmp_path):
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(100, k, ra=150+k/20, image=k+1), f"e{k}") for k in range(16)]
    run = [subprocess.Popen([sys.executable, "-c", PROGRAM, store.path, *order]) for order in (files, files[::-1])]
    assert [p.wait() for p in run] == [0, 0]
    snapshot = store.snapshot()
    assert sorted(snapshot.images.exposure[snapshot.images.alive]) == sorted(f"e{k}" for k in range(16))
    ids = everything(snapshot)["detection_id"]
    assert len(ids) == 1600 and len(np.unique(ids)) == 1600 and len(snapshot.images) == 16
    assert main(["healpix", "info", str(store.path), "--verify", "--quiet"]) == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_a_kill_loses_and_doubles_nothing(store, tmp_path):
    files = [write_catalog(tmp_path/f"{k}.cat.fits", rows(200, k, ra=150+k/20, image=k+1), f"e{k}") for k in range(16)]
    rng, kills = np.random.default_rng(5), 0
    while kills < 5:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, store.path, *files])
        try:
            # it takes a second before the first commit
            process.wait(rng.uniform(0.6, 1.8))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert subprocess.run([sys.executable, "-c", PROGRAM, store.path, *files], check=False).returncode == 0
    snapshot = store.snapshot()
    found = everything(snapshot)
    assert sorted(snapshot.images.exposure) == sorted(f"e{k}" for k in range(16))
    assert found["detection_id"].tolist() == [k+1 << 32 | r for k in range(16) for r in range(200)]
    assert main(["healpix", "info", str(store.path), "--verify", "--quiet"]) == 0


def test_the_commands(tmp_path, capsys):
    store = tmp_path/"s"
    assert main(["healpix", "init", str(store), "--order", "6", "--bands", "g", "r"]) == 0
    assert "order 6, at most 1000000 rows a pixel, margin 15 arcsec, bands: g, r" in capsys.readouterr().out
    plain_table().write(tmp_path/"t.ecsv")
    line = ["healpix", "ingest", str(store), str(tmp_path/"t.ecsv"), "--map", "flux=FLUX_PSF", "dflux=ERR", "--band", "g"]
    assert main([*line, "--mjd", "57000"]) == 0
    assert "1 files, 0 failed; images: 1 new; 20 rows came in" in capsys.readouterr().out
    (tmp_path/"zp.csv").write_text("exposure,detector,zeropoint\nt,,24.5\n")
    assert main(["healpix", "ingest", str(store), "--zero-points", str(tmp_path/"zp.csv")]) == 0
    assert "zero points: version 1" in capsys.readouterr().out
    assert open_store(store).snapshot().zero_points().tolist() == [24.5]
    assert main(["healpix", "ingest", str(store), str(tmp_path/"none.fits")]) == 2
    assert "none.fits: cannot be read" in capsys.readouterr().err
    assert main(["healpix", "ingest", str(store)]) == 2
    assert main([*line[:4], "--map", "flux"]) == 2


@pytest.mark.parametrize("ending", ["cat.fits", "ecsv", "parquet"])
def test_what_the_generic_command_wrote(store, tmp_path, ending):
    header = tan_wcs((128, 128)).to_header()
    header.update(FILTER="r", MAGZERO=27.5)
    header["MJD-MID"] = 57828.25
    image = star_image((128, 128), [30.2, 90.7, 60.1], [40.4, 80.9, 100.3], [6000., 9000., 20000.])
    path = tmp_path/f"out.{ending}"
    assert main(["generic", write_fits(tmp_path/"field.fits", image, header), "--out", str(path), "--quiet"]) == 0
    assert ingest(store, [path]).failed == []
    images, found = store.snapshot().images, everything(store.snapshot())
    assert (images.exposure[0], images.band[0], images.mjd[0]) == ("field", "r", 57828.25)
    # from magnitudes in float32 where no header tells
    assert images.zeropoint[0] == pytest.approx(27.5, abs=2e-6) and images.pixel_scale[0] == pytest.approx(0.26, rel=1e-4)
    assert len(found) == images.rows[0] >= 3 and images.instrument[0] == "generic"
    # 31 bits of SHA-256 of "field"
    assert (found["detection_id"] >> 32 == 0x606942b5).all()


def test_what_the_decam_command_wrote(store, tmp_path):
    path = write_exposure(tmp_path, ("N4",), band="z DECam SDSS c0004 9260.0 1520.0")
    assert main(["decam", path, "--out", str(tmp_path/"out.cat.fits"), "--quiet"]) == 0
    assert ingest(store, [tmp_path/"out.cat.fits"]).failed == []
    images = store.snapshot().images
    assert (images.detector[0], images.band[0], images.zeropoint[0]) == ("N4", "z", 29.9)
    # from 57828.26, half of 107 s later
    assert images.mjd[0] == pytest.approx(57828.26+53.5/86400, abs=1e-9) and images.image[0] == 630780 << 7 | 7
