"""Plans and manifests: what is found in folders, and what of a manifest is not believed."""
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from small_survey import CCDS, REQUEST, damage, make_survey

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError, DataFileError
from crowdsource.io.file_names import distinct_name, is_safe, safe_name
from crowdsource.io.tables import read_table
from crowdsource.production.estimate import costs
from crowdsource.production.manifest import COLUMNS, InputFile, ManifestEntry, read_manifest, with_distinct_labels, write_manifest
from crowdsource.production.plan import PlanRequest, files_of, plan
from crowdsource.production.state import part_of_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("survey")
    make_survey(place, 3, 1)
    damage(place/"single"/"field0001.fits", 0)
    (place/"single"/"notes.fits.txt").write_text("no image")
    (place/"single"/".hidden.fits").write_bytes(b"")
    (place/"single"/"field0000.cat.fits").write_bytes(b"ours")
    return place


def entry_of(exposure, label, image):
    """An entry of an exposure with one detector."""
    return ManifestEntry(exposure=exposure, label=label, detector="", instrument="generic", image=str(image))


@pytest.fixture
def entries(folder):
    return plan([folder/"single"], REQUEST).entries


def test_exposures_are_found_with_their_files_and_costs(folder, entries):
    assert [e.label for e in entries] == ["field0000", "field0001.fits", "field0002"]
    good, bad = entries[0], entries[1]
    assert "field0001.fits[DQ]: it has no HDU DQ" in bad.problem and bad.cpu == 0
    (file,) = good.inputs
    assert file == InputFile.of(folder/"single"/"field0000.fits", file.sha256) and len(file.sha256) == 64
    assert dict(good.options)["ivar"] == f"{folder}/single/field0000.fits:IVAR"
    assert good.instrument == "generic" and 0 < good.stars < 200 and good.cpu >= 1 and good.memory > 100


def test_files_are_claimed_by_their_instrument(folder):
    found = plan([folder/"mosaic", folder/"single"], PlanRequest(count=False), workers=2)
    claimed = [e for e in found.entries if not e.problem]
    assert [e.detector for e in claimed] == list(CCDS) and {e.instrument for e in claimed} == {"decam"}
    # one exposure, though each of its planes is claimed; the truth beside it is none
    assert len({e.label for e in claimed}) == 1 and len(claimed[0].inputs) == 3 and "_ooi_" in claimed[0].image
    truth = "c4d_170316_062100_ooi_z_v1_truth.fits"
    assert [p.name for p in found.unclaimed] == [truth, "field0000.fits", "field0001.fits", "field0002.fits"]


def test_what_is_ours_or_hidden_is_no_input(folder):
    assert [p.name for p in files_of([folder/"single"])] == [f"field000{k}.fits" for k in range(3)]
    with pytest.raises(DataFileError, match="no such file or folder"):
        files_of([folder/"nowhere"])


@pytest.mark.parametrize("ending", ["ecsv", "parquet"])
def test_manifest_survives_its_file(folder, entries, ending):
    pytest.importorskip("pyarrow")
    path = folder/f"all.{ending}"
    write_manifest(entries, path, overwrite=True)
    again = read_manifest(path)
    assert [e.name for e in again] == [e.name for e in entries]
    assert again[0] == entries[0] and again[1].problem == entries[1].problem
    table = read_table(str(path))
    assert table.colnames == list(COLUMNS) and json.loads(table["inputs"][0])[0][0] == "single/field0000.fits"


def write(folder, row, name="bad.ecsv"):
    """A manifest of one row with some values of our choice."""
    path = folder/name
    entry = entry_of("a", "a", folder/"single"/"field0000.fits")
    write_manifest([entry], path, overwrite=True)
    table = Table.read(path, format="ascii.ecsv")
    for column, value in row.items():
        table[column] = [value]
    table.write(path, format="ascii.ecsv", overwrite=True)
    return path


@pytest.mark.parametrize("row, told", [
    (dict(image="/etc/passwd"), "outside"), (dict(image="../../x.fits"), "outside"),
    (dict(inputs='[["/etc/passwd", 1, 1, "0"]]'), "outside"), (dict(label="../up"), "file's name"),
    (dict(label=".."), "file's name"),
    (dict(label="a/b"), "file's name"), (dict(detector="../N4"), "file's name"), (dict(label="a"*300), "file's name"),
    (dict(inputs="{"), "cannot be read"), (dict(inputs="[[1]]"), "cannot be read"), (dict(options="[]"), "cannot be read"),
    (dict(inputs='[["a.fits", Infinity, 1, "x"]]'), "cannot be read"), (dict(options="["*100_000), "cannot be read"),
    (dict(cpu=-1.), "cpu"), (dict(memory=np.nan), "memory"), (dict(label=""), "file's name"),
])
def test_what_a_manifest_says_is_not_believed(folder, row, told):
    with pytest.raises(DataFileError, match=told):
        read_manifest(write(folder, row))


def test_folders_are_allowed_by_wish_only(folder, tmp_path):
    path = tmp_path/"m.ecsv"
    write_manifest([entry_of("a", "a", folder/"single"/"field0000.fits")], path)
    with pytest.raises(DataFileError, match="--root"):
        read_manifest(path)
    assert read_manifest(path, [folder])[0].image == str(folder/"single"/"field0000.fits")
    # a link that leads out is outside
    (tmp_path/"link.fits").symlink_to(folder/"single"/"field0000.fits")
    write_manifest([entry_of("a", "a", tmp_path/"link.fits")], path, overwrite=True)
    with pytest.raises(DataFileError, match="outside"):
        read_manifest(path)


def test_what_is_no_manifest_is_refused(folder, tmp_path):
    Table({"ra": [1.]}).write(tmp_path/"t.ecsv", format="ascii.ecsv")
    with pytest.raises(DataFileError, match="crowdsource plan"):
        read_manifest(tmp_path/"t.ecsv")
    with pytest.raises(ConfigError, match="ends with"):
        read_manifest(tmp_path/"t.csv")
    twice = [entry_of("a", "a", tmp_path/"x")]*2
    write_manifest(twice, tmp_path/"twice.ecsv")
    with pytest.raises(DataFileError, match="twice"):
        read_manifest(tmp_path/"twice.ecsv")
    clash = [entry_of("a", "a", tmp_path/"x"), entry_of("b", "a", tmp_path/"y")]
    write_manifest(clash, tmp_path/"clash.ecsv")
    with pytest.raises(DataFileError, match="label"):
        read_manifest(tmp_path/"clash.ecsv")
    first, second = (e.label for e in with_distinct_labels(clash))
    assert first == "a" and second.startswith("a_b-")


def test_one_exposure_of_two_folders_is_told(tmp_path):
    for night in ("a", "b"):
        make_survey(tmp_path/night, 1, side=32)
    found = plan([tmp_path], PlanRequest(REQUEST.instrument, count=False))
    good, bad = found.entries
    assert not good.problem and "field0000.fits: is exposure field0000, as is" in bad.problem and good.label != bad.label
    write_manifest(found.entries, tmp_path/"m.ecsv")
    assert len(read_manifest(tmp_path/"m.ecsv")) == 2


def test_names_that_are_no_utf8(tmp_path):
    make_survey(tmp_path, 1, side=32)
    path = os.fsencode(tmp_path/"single"/"field0000.fits")
    os.rename(path, path.replace(b"0000", b"\xff"))
    found = plan([tmp_path/"single"], PlanRequest(REQUEST.instrument, count=False))
    assert len(found.problems) == 1
    write_manifest(found.entries, tmp_path/"m.ecsv")
    assert "\\udcff" in read_manifest(tmp_path/"m.ecsv")[0].problem


def test_detectors_of_an_exposure_are_read_alike(folder, tmp_path):
    found = plan([folder/"mosaic"], PlanRequest(count=False)).entries
    write_manifest([found[0], replace(found[1], options=(("ccds", "S4"),))], tmp_path/"m.ecsv")
    with pytest.raises(DataFileError, match="read otherwise"):
        read_manifest(tmp_path/"m.ecsv", [folder])


@pytest.mark.parametrize("text", ["../../etc/passwd", "..", ".", "", "a b\nc", "x"*1000, "-rf", "name\0", "ä/ö", "con.fits",
                                  "星"*80, "\udcff"])
def test_names_of_files_lead_nowhere(text):
    name = distinct_name(text)
    assert is_safe(name) and os.path.basename(name) == name and len(name) <= 130
    assert safe_name(text) == "" or is_safe(safe_name(text))
    assert distinct_name(text+"?") != name


def test_costs_grow_with_pixels_and_stars():
    few, many = costs(1., 1000.), costs(1., 50_000.)
    assert many > few and costs(8., 1000.) > few and costs(1.)[0] == 3000


def test_parts_of_a_manifest_hold_each_exposure_once():
    entries = [ManifestEntry(exposure=f"e{k}", label=f"e{k}", detector=d, instrument="decam", image="x")
               for k in range(7) for d in CCDS]
    parts = [part_of_manifest(entries, k, 3) for k in (1, 2, 3)]
    assert sorted(e.name for p in parts for e in p) == sorted(e.name for e in entries)
    assert all(len({e.label for e in p}) == len(p)/2 for p in parts)
    for number, of in ((0, 3), (4, 3), (1, 0)):
        with pytest.raises(ConfigError):
            part_of_manifest(entries, number, of)


def test_command(folder, tmp_path, capsys):
    path = tmp_path/"m.ecsv"
    assert main(["plan", str(folder/"mosaic"), "--out", str(path), "--no-count", "--quiet"]) == 0
    assert len(Table.read(path, format="ascii.ecsv")) == 2
    assert main(["plan", str(folder/"mosaic"), "--out", str(path), "--quiet"]) == 2
    assert "exists already" in capsys.readouterr().err
    words = ["--instrument", "generic", "--option", "ivar={path}:IVAR", "--overwrite"]
    assert main(["plan", str(folder/"single"), "--out", str(path), *words]) == 1
    told = capsys.readouterr()
    assert "2 detectors of 2 exposures" in told.out and "it has no HDU IVAR" in told.err
    for wrong in (["--option", "ivar"], ["--option", "ivar=x"], ["--workers", "0"]):
        assert main(["plan", str(folder), "--out", str(tmp_path/"n.ecsv"), *wrong, "--quiet"]) == 2
    assert main(["plan", str(folder/"single"), "--out", str(tmp_path/"n.ecsv"), "--pattern", "none*"]) == 2
    assert not (tmp_path/"n.ecsv").exists()
