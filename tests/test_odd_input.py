"""Options, catalogs, records and headers that hold what they should not: one line says so, or a finding, never a traceback."""
import json

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from small_fields import star_image, write_fits

from crowdsource.cli.main import main
from crowdsource.config import FitConfig, from_mapping
from crowdsource.config.sections import LEAST
from crowdsource.core.errors import ConfigError, DataFileError, InputError
from crowdsource.engine.given import BOX, check_crowding
from crowdsource.exposure.instrument import load
from crowdsource.io.fits_tables import read_hdu, table_hdu
from crowdsource.io.positions import sky_positions
from crowdsource.production.manifest import read_manifest
from crowdsource.production.plan import files_of
from crowdsource.production.records import OutputPaths, differences, known_records, read_detector_record, read_record
from crowdsource.production.status import read_last_run
from crowdsource.psf.formats.reading import read_psf

SHAPE, DEEP = (48, 64), "["*100_000+"]"*100_000
GAINS = [0, -1, 0., "unknown", "1e99"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_fits("im.fits", star_image(SHAPE, [20., 44.], [15., 30.], [5000., 8000.]))
    return tmp_path


def refused(capsys, *argv):
    """The only line of an error."""
    assert main(["generic", "im.fits", *argv]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "Traceback" not in "".join(lines)
    return lines[-1]


@pytest.mark.parametrize("gain", GAINS)
def test_gains_that_are_none_are_told_of(folder, caplog, gain):
    write_fits("g.fits", star_image(SHAPE, [20.], [15.], [5000.]), GAIN=gain)
    line = f"GAIN in the header is {str(gain)!r}, which is no gain: it is not used"
    (task,) = (exposure := load("generic").open("g.fits")).tasks()
    image = exposure.read(task)
    assert line in image.findings and line in caplog.text and np.isnan(image.gain)
    # a user's own is not doubted, and a keyword that says more is believed
    exposure = load("generic").open("g.fits", gain=2.)
    assert line not in exposure.read(task).findings
    fits.setval("g.fits", "CCDGAIN", value=1.7)
    image = load("generic").open("g.fits").read(task)
    assert image.gain == 1.7 and line in image.findings


@pytest.mark.parametrize("keyword, value, told", [("RDNOISE", -5., "read noise"), ("SATURATE", "full", "level of saturation"),
                                                  ("EXPTIME", -30., "exposure time"), ("EXPTIME", "long", "exposure time")])
def test_other_numbers_that_are_none_are_told_of(folder, keyword, value, told):
    write_fits("g.fits", star_image(SHAPE, [20.], [15.], [5000.]), **{keyword: value})
    (task,) = (exposure := load("generic").open("g.fits")).tasks()
    assert f"{keyword} in the header is {str(value)!r}, which is no {told}: it is not used" in exposure.read(task).findings


@pytest.mark.parametrize("keyword, value", [("GAIN", 2.), ("RDNOISE", 0.), ("SATURATE", 0), ("EXPTIME", 0), ("GAIN", "2.5"),
                                            ("GAIN", "")])
def test_numbers_that_may_be_are_not_told_of(folder, keyword, value):
    write_fits("g.fits", star_image(SHAPE, [20.], [15.], [5000.]), **{keyword: value})
    (task,) = (exposure := load("generic").open("g.fits")).tasks()
    assert not [f for f in exposure.read(task).findings if "in the header" in f]


@pytest.mark.parametrize("text, message", [
    ("a="+DEEP, "bad.toml: is no TOML (things nest too deep in it)"), ("detect=3", "bad.toml: option detect is 3: it is a table"),
    ("psf='x'", "option psf is 'x': it is a table"), ("generic=3", "generic must be a table"),
    ("sky=[1]", "option sky is [1]: it is a table"), ("[solve]\ntile=0", "bad.toml: solve.tile must be at least 16"),
    ("[solve]\ntile=-3", "solve.tile must be at least 16"), ("[solve]\ntolerance=0.0", "solve.tolerance"),
    ("[detect]\nsharpness=nan", "detect.sharpness must be a number"), ("[psf]\ncore=1", "psf.core must be at least 3"),
    ("[psf.core]\na=1", "option psf.core is {'a': 1}"), (".".join("a"*3000)+"=1", "option a is unknown")])
def test_configurations_that_cannot_be_used(folder, capsys, text, message):
    (folder/"bad.toml").write_text(text)
    assert message in refused(capsys, "--config", "bad.toml")


@pytest.mark.parametrize("name", LEAST)
def test_every_whole_number_has_bounds(name):
    section, _, option = name.rpartition(".")
    for value in (LEAST[name]-1, 2**31):
        values = {option: value}
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            from_mapping({section: values} if section else values)
    assert from_mapping({}) == FitConfig()


def test_configurations_of_releases(tmp_path, capsys):
    assert main(["healpix", "init", str(tmp_path/"s")]) == 0
    for text, message in (("association=3", "option association is 3: it is a table"), ("a="+DEEP, "things nest too deep")):
        (tmp_path/"bad.toml").write_text(text)
        assert main(["healpix", "assemble", str(tmp_path/"s"), "--release", "r", "--config", str(tmp_path/"bad.toml")]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--force", "--bright-stars"])
def test_columns_of_several_values_in_a_row(folder, capsys, option):
    Table(dict(x=np.ones((4, 2)), y=np.ones((4, 2)))).write("two.fits")
    assert "two.fits: column x of the catalog has (2,) values in each row; give one" in refused(capsys, option, "two.fits")


def test_sky_positions_of_several_values_in_a_row():
    for table in (Table(dict(ra=[["1", "2"]], dec=[["1", "2"]])), QTable(dict(sky=SkyCoord([[1., 2.]], [[1., 2.]], unit="deg")))):
        with pytest.raises(InputError, match="values in each row"):
            sky_positions(table)


def test_identifiers_of_any_alphabet(folder):
    Table(dict(x=[20., 44.], y=[15., 30.], star_id=["Ångström", "b"], ñ_name=["x", "星"], é_name=["p", "q"])).write("ids.ecsv")
    assert main(["generic", "im.fits", "--force", "ids.ecsv", "--out", "a.cat.fits", "--quiet"]) == 0
    rows = Table.read("a.cat.fits", hdu="CAT")
    assert rows["star_id"].tolist() == ["%C3%85ngstr%C3%B6m", "b"] and rows["__name"].tolist() == ["x", "%E6%98%9F"]
    assert rows["__name_2"].tolist() == ["p", "q"]
    plain = Table(dict(n=["a", "b"], k=[1, 2]))
    assert read_hdu(table_hdu(plain, "CAT"))["n"].tolist() == ["a", "b"]


@pytest.mark.parametrize("option", ["--force", "--bright-stars"])
def test_more_positions_than_pixels(folder, capsys, option):
    rng = np.random.default_rng(1)
    for name, low, high in (("near.fits", 20, 21), ("all.fits", 0, 47)):
        Table(dict(x=rng.uniform(low, high, 20_000), y=rng.uniform(low, high, 20_000))).write(name)
        assert f"{name}: " in (line := refused(capsys, option, name)) and "which do not tell the light of more than 64" in line


def test_crowding_is_counted_in_boxes():
    y, x = (v.ravel() for v in np.mgrid[:40, :40])
    check_crowding(x, y, (40, 40))
    check_crowding(np.append(x, np.nan), np.append(y, 3), (40, 40))
    check_crowding([], [], (40, 40))
    with pytest.raises(InputError, match="65 positions lie on the 8 x 8 pixels from x = 16, y = 32"):
        check_crowding(np.append(x, 2*BOX), np.append(y, 4*BOX+1), (40, 40))
    with pytest.raises(InputError, match="1024 positions lie on the 32 x 32 pixels from x = 0, y = 0"):
        check_crowding(x, y, (40, 40), 4)


def psfex(path, sampling, side=25):
    y, x = np.mgrid[:side, :side]-side//2
    stamp = np.exp(-(x**2+y**2)/5.).astype(np.float32)[None]
    column = fits.Column("PSF_MASK", f"{side**2}E", dim=f"({side},{side},1)", array=stamp[None])
    table = fits.BinTableHDU.from_columns([column], name="PSF_DATA")
    table.header.update(PSF_SAMP=sampling, POLNAXIS=0, POLNGRP=0)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def test_stamps_without_a_shape(folder):
    write_fits("one.fits", np.ones((1, 1)))
    with pytest.raises(DataFileError, match="a single pixel, which has no shape"):
        read_psf("one.fits", SHAPE)
    for sampling in (1e-9, 0., -1., 1e9, 1e300):
        psfex("a.psf", sampling)
        with pytest.raises(DataFileError, match=r"a.psf\[PSF_DATA\]: PSF_SAMP is"):
            read_psf("a.psf", SHAPE)
    psfex("a.psf", 0.5)
    assert read_psf("a.psf", SHAPE).shape == SHAPE


@pytest.mark.parametrize("pattern", ["/tmp/*.fits", "../*", " ", ""])
def test_patterns_that_lead_elsewhere(folder, capsys, pattern):
    assert main(["plan", str(folder), "--pattern", pattern, "--out", "m.ecsv"]) == 2
    assert "give a name with wildcards" in capsys.readouterr().err
    assert [p.name for p in files_of([folder], "i*.fits")] == ["im.fits"]


@pytest.mark.parametrize("text", [DEEP, '{"a":'*100_000, "null", "[]", "3", '{"key": "k", "outputs": 3}', '{"key": "k"}', "\xff",
                                  '{"key": "k", "outputs": [], "state": []}', '{"options": 3, "reads": [], "workers": 1}',
                                  '{"options": {}, "reads": [], "workers": 1e999}', '{"detectors": 3}',
                                  '{"outputs": [[1, 2, 3]]}'])
def test_records_that_are_damaged(tmp_path, text):
    paths = OutputPaths(tmp_path, "e")
    for path in (paths.record, paths.detector_record("N4"), paths.ingested, tmp_path/"run.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    assert read_record(paths.record, "k") is None
    read_detector_record(paths, "N4")
    assert known_records(paths, [], "k").gathered is None
    assert differences(paths.record) or json.loads(text)["outputs"] == []
    with pytest.raises(DataFileError, match="run.json: cannot be read .*; run again"):
        read_last_run(tmp_path)


def test_manifests_that_nest_deep(folder):
    (folder/"im.fits").rename(folder/"a.fits")
    assert main(["plan", str(folder), "--instrument", "generic", "--out", "m.ecsv", "--no-count", "--quiet"]) == 0
    table = Table.read("m.ecsv")
    for column in ("options", "inputs"):
        odd = table.copy()
        odd[column] = [DEEP[90_000:110_000]]
        odd.write("odd.ecsv", overwrite=True)
        with pytest.raises(DataFileError, match="options or inputs cannot be read"):
            read_manifest("odd.ecsv")
    assert json.loads(table["options"][0]) == {}
