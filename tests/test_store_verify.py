"""``crowdsource healpix info``: what a store holds, and that one wrong byte in any of its files is found and named."""
import hashlib

import pytest
from small_catalogs import image_header, rows, write_catalog

from crowdsource.cli.main import main
from crowdsource.survey.store import commit_log
from crowdsource.survey.store.ingest import ingest, ingest_zero_points
from crowdsource.survey.store.store import LOCKS, create_store, open_store


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with a file of each kind: segments, rejects, zero points, a checkpoint, a release."""
    monkeypatch.setattr(commit_log, "COMMITS_PER_CHECKPOINT", 3)
    store = create_store(tmp_path/"s", bands=("g", "r"))
    for k in range(3):
        table, header = rows(40, k, image=k+1), image_header("grz"[k])
        ingest(store, [write_catalog(tmp_path/f"e{k}.cat.fits", table, f"exp{k}", header=header)])
    (tmp_path/"zp.csv").write_text("exposure,detector,zeropoint\nexp0,,24.5\n")
    ingest_zero_points(store, str(tmp_path/"zp.csv"))
    folder = store.path/"releases"/"dr1"/"objects"
    folder.mkdir(parents=True)
    (folder/"a.h5").write_bytes(b"some objects")
    content = dict(files={"objects/a.h5": hashlib.sha256(b"some objects").hexdigest()})
    (folder.parent/"release.json").write_bytes(commit_log.signed_json(content))
    return store


def told(capsys, *args):
    status = main(["healpix", "info", *map(str, args)])
    return status, capsys.readouterr().out


def test_info_tells_what_is_there(store, capsys):
    status, text = told(capsys, store.path)
    assert status == 0
    assert "commit 4, order 5" in text and "rows: 80, rejected 40" in text and "images: 3, and 0 replaced ones" in text
    assert "band g: 1 images, 40 rows, magnitudes AB, MJD 57000.500 to 57000.500" in text
    assert "rejected: 40 rows, band z is none of the store's" in text
    assert "zero points: 1 versions" in text and "releases: dr1" in text


def test_a_whole_store_has_no_problem(store, capsys):
    status, text = told(capsys, store.path, "--verify")
    # 4 commits, 2 segments, rejects, zero points, checkpoint, and the release's file
    assert status == 0 and "10 files checked, 0 problems, 0 unknown files" in text


def test_one_wrong_byte_in_any_file_is_found_and_named(store, capsys):
    files = [p for p in sorted(store.path.rglob("*")) if p.is_file() and p.name not in LOCKS]
    assert len(files) == 12
    for path in files:
        whole = path.read_bytes()
        at = len(whole)//2
        path.write_bytes(whole[:at]+bytes([whole[at] ^ 1])+whole[at+1:])
        status, text = told(capsys, store.path, "--verify")
        assert status == 1 and path.relative_to(store.path).as_posix() in text, path
        path.write_bytes(whole)
    assert told(capsys, store.path, "--verify")[0] == 0


def test_what_is_missing_or_unknown_is_named(store, capsys):
    segment = next((store.path/"detections").rglob("*.h5"))
    stray = segment.with_name("000000000099.h5")
    segment.rename(stray)
    status, text = told(capsys, store.path, "--verify")
    assert status == 1 and f"{segment.relative_to(store.path)}: cannot be read" in text
    stray.rename(segment)
    stray.write_bytes(b"")
    status, text = told(capsys, store.path, "--verify")
    assert status == 1 and f"unknown: {stray.relative_to(store.path)}" in text
    ingest(open_store(store.path), [])
    assert told(capsys, store.path, "--verify")[0] == 0


def test_a_store_that_is_none(tmp_path, capsys):
    assert main(["healpix", "info", str(tmp_path)]) == 2
    assert "is no store" in capsys.readouterr().err
