"""The commands export and cone, on a small survey in memory and, from catalogs on, on a real store."""
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from small_release import CENTRE, small_survey

from crowdsource.cli.commands.healpix import cone, export
from crowdsource.cli.main import main
from crowdsource.io.tables import read_table

pytest.importorskip("pyarrow", reason="needs pyarrow")


@pytest.fixture
def survey(monkeypatch, tmp_path):
    """A `small_survey` that the commands find whatever the store's name."""
    survey = small_survey()
    store = SimpleNamespace(path="store", reading=nullcontext, snapshot=lambda number: survey.snapshot)
    for module in (cone, export):
        monkeypatch.setattr(module, "open_store", lambda path: store)
        monkeypatch.setattr(module, "open_release", lambda store, name: survey.release)
        monkeypatch.setattr(module, "ReleaseReader", lambda store, release: survey)
    monkeypatch.setattr(cone, "releases", lambda store: ["dr1"])
    monkeypatch.chdir(tmp_path)
    return survey


def test_export_tells_what_it_wrote(survey, tmp_path, capsys):
    assert main(["healpix", "export", "s", "out", "--release", "dr1", "--margin", "5", "--maps", "m_", "--picture", "p.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out: a HATS collection" and lines[1].startswith("  objects: 1500 rows in ")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "p.png", *(f"m_{n}.fits" for n in (
        "objects", "detections", "depth_g", "depth_r"))}
    assert (tmp_path/"out"/"objects_5arcs").is_dir()
    words = ["healpix", "export", "s", "out", "--release", "dr1", "--margin", "5", "--maps", "m_", "--picture", "p.png"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[0] == "out: is there already, of the same release and options"
    assert main([*words, "--cone", "45", "0", "900"]) == 2 and "out: exists already" in capsys.readouterr().err


@pytest.mark.parametrize("given, message", [
    (["out", "--margin", "900"], "a margin of 900 arcsec is out of range"),
    (["x.fits", "--detections", "nested"], "detections are nested in HATS collections only"),
    (["x.fits", "--max-rows", "5"], "--margin and --max-rows are of HATS collections"),
    (["x.fits", "--format", "parquet"], r"x.fits: the name of a file of this format ends in .parquet"),
    (["out", "--pixels", "7/x"], "'7/x' is no pixel"), (["out", "--cone", "10", "95", "1"], "there is no position 10, 95"),
    (["x.fits", "--cone", "10", "80", "1"], "release dr1 has no objects there"),
    (["out", "--workers", "0"], "--workers is 0"), (["there.txt/out"], "is not a folder"),
    (["out", "--moc", "there.txt"], "there.txt: exists already")])
def test_export_refuses(survey, tmp_path, capsys, given, message):
    (tmp_path/"there.txt").write_text("x")
    assert main(["healpix", "export", "s", *given, "--release", "dr1"]) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["there.txt"]


def test_cone_prints_the_nearest(survey, capsys):
    objects = survey.release._objects
    assert main(["healpix", "cone", "s", *map(str, CENTRE), "1200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split() for line in lines[1:-1]]
    x = (objects["ra"]-CENTRE[0])*np.cos(np.radians(objects["dec"]))
    distance = np.hypot(x, objects["dec"]-CENTRE[1])*3600
    number = np.sum(distance <= 1200)
    assert len(shown) == 40 and [int(s[1]) for s in shown] == objects["object_id"][np.argsort(distance)[:40]].tolist()
    # milliarcseconds, which the plane is good for here
    assert [float(s[0]) for s in shown] == pytest.approx(np.sort(distance)[:40], abs=0.02)
    assert lines[-1] == f"{number} objects; {number-40} more, farther off: name a file with --out for all"
    assert main(["healpix", "cone", "s", "10", "80", "5", "--detections"]) == 0
    assert capsys.readouterr().out == "no detections within 5 arcsec of 10, 80\n"


def test_cone_writes_a_file(survey, tmp_path, capsys):
    assert main(["healpix", "cone", "s", *map(str, CENTRE), "1200", "--detections", "--out", "near.fits"]) == 0
    found = read_table(str(tmp_path/"near.fits"))
    assert capsys.readouterr().out == f"near.fits: {len(found)} rows\n" and len(found) > 300
    assert set(found["exposure"].astype(str)) == set(survey.snapshot.images.exposure)


def test_cone_asks_which_release(survey, monkeypatch, capsys):
    monkeypatch.setattr(cone, "releases", lambda store: ["dr1", "dr2"])
    assert main(["healpix", "cone", "s", "45", "0", "5"]) == 2
    assert "name a release with --release, one of dr1, dr2" in capsys.readouterr().err


def test_from_catalogs_to_collections_with_any_number_of_workers(tmp_path, monkeypatch, capsys):
    pytest.importorskip("crowdsource.survey.store.store", reason="needs the store")
    small = pytest.importorskip("small_catalogs", reason="needs the store's small catalogs")
    monkeypatch.chdir(tmp_path)
    files = [str(small.write_catalog(tmp_path/f"e{k}.cat.fits", small.rows(800, k//2, ra=150+0.05*(k % 2), image=k+1), f"exp{k}",
                                     header=small.image_header("gr"[k % 2]))) for k in range(4)]
    for command in (["init", "s", "--order", "6", "--margin", "15"], ["ingest", "s", *files],
                    ["assemble", "s", "--release", "dr1"],
                    ["export", "s", "one", "--release", "dr1", "--max-rows", "300"],
                    ["export", "s", "two", "--release", "dr1", "--max-rows", "300", "--workers", "2"]):
        assert main(["healpix", *command]) == 0, command
    assert "  detections: 3200 rows in " in capsys.readouterr().out
    one, two = ({p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (tmp_path/"one", tmp_path/"two"))
    assert one == two and len(one) > 20


@pytest.mark.parametrize("command, loaded", [([], ""), (["init"], "init"), (["cone"], "cone")])
def test_only_the_command_that_is_asked_for_is_imported(command, loaded):
    code = (f"import sys; from crowdsource.cli.main import build_parser; build_parser(['healpix', *{command}]); "
            "name = 'crowdsource.cli.commands.healpix.'; "
            "print(*[m.removeprefix(name) for m in sys.modules if m.startswith(name)], 'healpy' in sys.modules)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == [*loaded.split(), str(bool(loaded))]
