"""From a manifest to a release: finished catalogs are ingested as they appear, and assembled at the end."""
import shutil
from dataclasses import replace

import pytest
from astropy.io import fits
from small_survey import make_manifest, make_survey

from crowdsource.cli.main import main
from crowdsource.core.errors import ConfigError
from crowdsource.production import follow_up as following
from crowdsource.production import run as running
from crowdsource.production.executors import open_workers
from crowdsource.production.manifest import read_manifest
from crowdsource.production.options import RunOptions
from crowdsource.production.state import FollowUp, part_of_manifest
from crowdsource.production.status import status_of
from crowdsource.survey.objects.release import open_release
from crowdsource.survey.store.store import create_store, open_store


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survey")
    make_survey(folder, 4, 1, side=64)
    for path in (folder/"single").iterdir():
        fits.setval(path, "FILTER", value="r")
    make_manifest(folder, folder/"m.ecsv")
    return folder


def test_catalogs_come_into_the_store_and_its_release(survey, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(following, "TOGETHER", 2)
    store = create_store(tmp_path/"store")
    words = ["run", str(survey/"m.ecsv"), "--out", str(tmp_path/"out"), "--executor", "threads", "--then", "healpix", "--store",
             str(tmp_path/"store"), "--release", "one"]
    assert main(words) == 0
    told = capsys.readouterr().out
    # some were ingested before the last was fitted
    assert told.count("catalogs into the store: ") >= 3 and told.count("the release: ") == 1
    images = open_store(tmp_path/"store").snapshot().images
    assert len(set(images.exposure)) == 5 and len(images.exposure) == 6 and sum(images.rows) > 0
    release = open_release(open_store(tmp_path/"store"), "one")
    assert sum(n for n, _ in release.record["counts"]) > 0
    number = store.snapshot().number
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "into the store" not in told and "the release" not in told and store.snapshot().number == number


def test_slices_ingest_and_leave_the_release_to_the_end(survey, tmp_path):
    create_store(tmp_path/"store")
    entries = read_manifest(survey/"m.ecsv")
    then = FollowUp(str(tmp_path/"store"), "one")
    for k in (1, 2):
        report = running.Run(part_of_manifest(entries, k, 2), tmp_path/"out", RunOptions(), open_workers("threads", 1),
                             follow_up=replace(then, assemble=False))()
        assert report.status == 0 and not any("release" in line for line in report.lines)
    assert len(open_store(tmp_path/"store").snapshot().images.exposure) == 6
    report = running.Run(entries, tmp_path/"out", RunOptions(), open_workers("threads", 1), follow_up=then)()
    assert report.before == 6 and [line.split(":")[0] for line in report.lines] == ["the release"]


def test_catalogs_that_cannot_be_ingested_are_told(survey, tmp_path):
    create_store(tmp_path/"store", bands=("y",))
    entries = [e for e in read_manifest(survey/"m.ecsv") if e.instrument == "generic"][:1]
    out = tmp_path/"out"
    report = running.Run(entries, out, RunOptions(), open_workers("threads", 1),
                         follow_up=FollowUp(str(tmp_path/"store"), "one"))()
    # the fit is good, but nothing of it came into the store: so it is told, now, by a second run, and by the status
    assert sum(open_store(tmp_path/"store").snapshot().images.rejected) > 0
    then = FollowUp(str(tmp_path/"store"), "one")
    again = running.Run(entries, out, RunOptions(), open_workers("threads", 1), follow_up=then)()
    for each in report, again:
        assert each.done == 1 and each.status == 1
        assert any("rows are rejected by the store" in f.message for f in each.failed.values())
    state = status_of(entries, out)
    assert list(state.outside) and "rows are rejected" in "".join(state.lines())
    assert main(["status", str(survey/"m.ecsv"), "--out", str(out)]) == 1
    catalog = next(out.rglob("*.cat.fits"))
    assert main(["healpix", "ingest", str(tmp_path/"store"), str(catalog)]) == 2
    # a store that takes them
    create_store(tmp_path/"other")
    then = FollowUp(str(tmp_path/"other"), "one")
    assert running.Run(entries, out, RunOptions(), open_workers("threads", 1), follow_up=then)().status == 0
    assert not status_of(entries, out).outside


def test_two_chains_to_one_release_at_once(survey, tmp_path):
    store = create_store(tmp_path/"store")
    entries = [e for e in read_manifest(survey/"m.ecsv") if e.instrument == "generic"][:1]

    def run_into(name, release="one"):
        then = FollowUp(str(store.path), release)
        return running.Run(entries, tmp_path/name, RunOptions(), open_workers("threads", 1), follow_up=then)

    tried = []

    def meanwhile(*_):
        if tried:
            return
        tried.append(True)
        # before its work: no folder of an exposure is made
        with pytest.raises(ConfigError, match="release one is being made by a run into .*first"):
            run_into("second")()
        assert {p.name for p in (tmp_path/"second").iterdir()} == {"run.json"}
        # the same run twice, and another release
        assert following.StoreFollowUp(FollowUp(str(store.path), "one")).claim_release(tmp_path/"first") is None
        following.StoreFollowUp(FollowUp(str(store.path), "two")).claim_release(tmp_path/"third").free()

    (store.path/"releases").mkdir()
    # of a run that was killed
    (store.path/"releases"/".one.0123456789abcdef.run").write_text("killed")
    assert run_into("first")(progress=meanwhile).status == 0 and tried
    assert [p.name for p in (store.path/"releases").iterdir()] == ["one"]
    with pytest.raises(ConfigError, match="release one exists already"):
        run_into("second")()


def test_store_made_anew_gets_all_again(survey, tmp_path):
    entries = read_manifest(survey/"m.ecsv")[:2]

    def go(release=None):
        then = FollowUp(str(tmp_path/"store"), release)
        return running.Run(entries, tmp_path/"out", RunOptions(), open_workers("threads", 1), follow_up=then)()

    create_store(tmp_path/"store")
    assert go().lines and not go().lines
    shutil.rmtree(tmp_path/"store")
    create_store(tmp_path/"store")
    assert go().lines and len(open_store(tmp_path/"store").snapshot().images.exposure) == 2


def test_release_that_exists_gets_nothing_more(survey, tmp_path):
    create_store(tmp_path/"store")
    entries = read_manifest(survey/"m.ecsv")

    def go(number, release):
        then = FollowUp(str(tmp_path/"store"), release)
        return running.Run(entries[:number], tmp_path/"out", RunOptions(), open_workers("threads", 1), follow_up=then)()

    assert go(1, "one").status == 0
    with pytest.raises(ConfigError, match="release one exists already"):
        go(2, "one")
    assert go(2, "two").status == 0 and go(2, "two").lines == []
