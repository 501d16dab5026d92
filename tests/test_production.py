"""Runs of manifests: the same results in any way, what is done is not done again, and what failed is told."""
import json
import logging
import os
import re
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from importlib.metadata import EntryPoint
from multiprocessing import get_context
from pathlib import Path

import pytest
from crowdsource.cython_ext import kinds
from small_survey import CCDS, catalogs, damage, leftovers, make_manifest, make_survey
from test_extend_page import EXAMPLES

from crowdsource.cli.main import main
from crowdsource.core import registry
from crowdsource.core.errors import ConfigError
from crowdsource.production.executors import Workers, open_workers
from crowdsource.production.manifest import InputFile, read_manifest, write_manifest
from crowdsource.production.options import RunOptions
from crowdsource.production.records import OutputPaths
from crowdsource.production.run import Run
from crowdsource.production.state import Failure, SchedulingPolicy, part_of_manifest
from crowdsource.production.status import read_last_run, status_of

MOSAIC = "c4d_170316_062100_ooi_z_v1"


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A folder with a manifest of seven exposures, one of two detectors, two of them damaged."""
    folder = tmp_path_factory.mktemp("survey")
    make_survey(folder, 6, 1)
    for k, name in enumerate(("field0001.fits", "field0004.fits")):
        damage(folder/"single"/name, 2*k)
    make_manifest(folder, folder/"m.ecsv")
    return folder


def run(survey, out, executor="threads", workers=1, options=None, entries=None, **settings):
    """Run a manifest; gives the report."""
    entries = read_manifest(survey/"m.ecsv") if entries is None else entries
    given = executor if isinstance(executor, Workers) else open_workers(executor, workers)
    return Run(entries, out, options or RunOptions(), given, SchedulingPolicy(back_off=0.01, **settings))()


@pytest.fixture(scope="module")
def whole(survey, tmp_path_factory):
    """The folder of a run, one task after the other in this process."""
    out = tmp_path_factory.mktemp("whole")/"out"
    report = run(survey, out, options=RunOptions(plot=True, model=True))
    assert (report.total, report.done, report.before, report.left, report.status) == (8, 6, 0, 0, 1)
    assert {name: f.reason for name, f in report.failed.items()} == {"field0001": "input", "field0004": "input"}
    return out


def test_results_lie_beside_their_record(whole):
    folder = whole/MOSAIC
    names = {p.name for p in folder.iterdir()}
    endings = ".cat.fits", ".mod.fits", ".task.json", "-N4.png", "-S4.png"
    assert names == {*(MOSAIC+e for e in endings), "N4.log", "S4.log"}
    record = json.loads((folder/f"{MOSAIC}.task.json").read_text())
    assert list(record["detectors"]) == sorted(CCDS) and record["figures"]["detectors"] == 2
    for detector in record["detectors"].values():
        assert detector["state"] == "done" and detector["seconds"] > 0 and detector["memory"] > 50
        assert len(detector["inputs"]) == 3
        assert detector["figures"]["nsources"] > 0 and detector["version"] and detector["started"].endswith("+00:00")
        assert detector["kernels"] == kinds.KIND
    lines = [json.loads(line) for line in (folder/"N4.log").read_text().splitlines()]
    assert all(set(line) >= {"time", "level", "message"} for line in lines) or not lines
    failed = json.loads(next((whole/"field0001").rglob("*.task.json")).read_text())
    assert failed["state"] == "failed" and "DataFileError" in failed["traceback"] and "field0001.fits" in failed["error"]
    assert leftovers(whole) == ["field0001/field0001.cat.fits.parts", "field0004/field0004.cat.fits.parts"]


def a_pool(workers):
    return ProcessPoolExecutor(workers, get_context("spawn"))


@pytest.mark.parametrize("way", ["processes", "threads", "executor", "slices"])
def test_any_way_gives_the_same(survey, whole, tmp_path, way):
    options = RunOptions(model=True)
    if way == "slices":
        for k in (2, 3, 1):
            run(survey, tmp_path, options=options, entries=part_of_manifest(read_manifest(survey/"m.ecsv"), k, 3))
    elif way == "executor":
        run(survey, tmp_path, Workers(a_pool(2), 2, own_process=False), options=options)
    else:
        run(survey, tmp_path, way, 2, options)
    assert catalogs(tmp_path) == catalogs(whole) and len(catalogs(whole)) == 5
    for name in ("N4", "S4"):
        record = json.loads((tmp_path/MOSAIC/f"{MOSAIC}.task.json").read_text())["detectors"][name]
        assert record["outputs"] == json.loads((whole/MOSAIC/f"{MOSAIC}.task.json").read_text())["detectors"][name]["outputs"]


def untouched(out):
    return {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name != "run.json"}


def test_what_is_done_is_not_done_again(survey, whole):
    before = untouched(whole)
    report = run(survey, whole, options=RunOptions(plot=True, model=True))
    assert untouched(whole) == before
    assert (report.done, report.before, len(report.failed), report.status) == (6, 6, 2, 1)


@pytest.fixture
def small(survey, tmp_path):
    """Entries of two exposures, of one detector and of two, and the folder of a run of them."""
    entries = [e for e in read_manifest(survey/"m.ecsv") if e.label in ("field0000", MOSAIC)]
    assert run(survey, tmp_path/"out", entries=entries).status == 0
    return entries, tmp_path/"out"


@pytest.mark.parametrize("change", ["settings", "input", "options", "catalog", "record", "detectors", "cut"])
def test_what_is_outdated_is_done_again(survey, small, change):
    entries, out = small
    options, expected = RunOptions(), 1
    place = OutputPaths(out, "field0000")
    if change == "settings":
        options, expected = RunOptions(config={"detect": {"threshold": 6.}}), 3
    elif change == "input":
        path = survey/"other.fits"
        path.write_bytes((survey/"single"/"field0002.fits").read_bytes())
        entries = [replace(e, image=str(path), options=tuple((n, v.replace("single/field0000", "other")) for n, v in e.options),
                           inputs=(InputFile.of(path, "f"*64),)) if e.label == "field0000" else e for e in entries]
        # the content is another than before, and what the manifest says of it is believed where size and time fit
        report = run(survey, out, entries=entries)
        assert "is other, not field0000" in report.failed["field0000"].message
        return
    elif change == "options":
        entries = [replace(e, options=e.options+(("gain", 3.),)) if e.label == "field0000" else e for e in entries]
    elif change == "catalog":
        place.catalog.unlink()
    elif change == "record":
        place.record.write_text("{")
    elif change == "detectors":
        # one CCD more would be planned: here one less is wanted
        entries, expected = [e for e in entries if e.detector != "S4"], 1
    else:
        with open(place.catalog, "r+b") as file:
            file.truncate(2880)
    before = catalogs(out)
    report = run(survey, out, entries=entries, options=options)
    assert report.done-report.before == expected and report.status == 0
    if change in ("catalog", "record", "cut"):
        assert catalogs(out) == {**before, "field0000/field0000.cat.fits": catalogs(out)["field0000/field0000.cat.fits"]}
    assert run(survey, out, entries=entries, options=options).before == len(entries) and leftovers(out) == []


def test_times_of_files_do_not_matter(survey, small):
    entries, out = small
    for k, path in enumerate(sorted(out.rglob("*"))):
        os.utime(path, (1e9*(k % 3), 1e9*(k % 3)))
    assert run(survey, out, entries=entries).before == 3


def test_clock_that_jumps(survey, small, tmp_path, monkeypatch):
    entries, out = small
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: 2e9-1e7*next(jumps))
    assert run(survey, tmp_path/"again", entries=entries).status == 0
    assert catalogs(tmp_path/"again") == catalogs(out)


def test_any_path_will_do(tmp_path):
    folder = tmp_path/"sp äü 星"
    make_survey(folder, 1, side=64)
    entries = make_manifest(folder, folder/"m.ecsv")
    report = run(folder, folder/"out", entries=entries)
    assert report.status == 0
    from astropy.io import fits
    assert "%E6%98%9F/single" in fits.getheader(folder/"out"/"field0000"/"field0000.cat.fits")["IN001"]


def test_tables_of_instruments_that_are_not_there(survey, tmp_path):
    entries = [e for e in read_manifest(survey/"m.ecsv") if e.label == "field0000"]
    options = RunOptions(config={"decam": {"ccds": ["N4"]}, "wise": {"band": 1}})
    assert run(survey, tmp_path, entries=entries, options=options).status == 0
    assert run(survey, tmp_path/"none", entries=[], options=options).status == 0


def test_failed_tasks_are_tried_again_by_wish(survey, tmp_path):
    entries = read_manifest(survey/"m.ecsv")
    mosaic = [e for e in entries if e.label == MOSAIC]
    broken = [replace(mosaic[0], detector="N5"), *mosaic]
    report = run(survey, tmp_path, entries=broken)
    assert "has no detector N5" in report.failed[f"{MOSAIC}/N5"].message and report.done == 2 and report.status == 1
    place = OutputPaths(tmp_path, MOSAIC)
    # what is there of the exposure has its catalog, and the parts wait for the rest
    assert place.catalog.is_file() and len(list(place.folder.glob("*.parts/*.cat.fits"))) == 2
    assert run(survey, tmp_path, entries=broken).before == 2
    before = untouched(tmp_path)
    report = run(survey, tmp_path, entries=broken, retry_failed=True)
    assert report.before == 2 and len(report.failed) == 1 and untouched(tmp_path) != before


@pytest.mark.parametrize("memory, most", [(1e9, 3), (450., 2), (1., 1)])
def test_memory_admits_tasks(survey, tmp_path, memory, most):
    entries = [replace(e, memory=200.) for e in read_manifest(survey/"m.ecsv") if e.instrument == "generic"][:6]
    counts, running = [], [0]

    class Counting(ThreadPoolExecutor):
        """Counts the jobs that it was given and that have not ended."""

        def submit(self, fn, /, *args, **kwargs):
            running[0] += 1
            counts.append(running[0])
            future = super().submit(fn, *args, **kwargs)
            future.add_done_callback(ended)
            return future

    def ended(_):
        running[0] -= 1

    report = run(survey, tmp_path, Workers(Counting(3), 3, own_process=False), entries=entries, memory=memory)
    assert report.done == 4 and max(counts) == most


def not_an_executor(number):
    """Makes something else."""
    return number


def a_broken_factory(number):
    """Makes nothing."""
    return 1/0


def test_executors_by_name(monkeypatch):
    points = [EntryPoint(name, f"{__name__}:{made}", "crowdsource.executors") for name, made in (
        ("mine", "ThreadPoolExecutor"), ("broken", "a_broken_factory"), ("other", "not_an_executor"))]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "crowdsource.executors" else [])
    mine = open_workers("mine", 3, 10.)
    assert isinstance(mine.executor, ThreadPoolExecutor) and mine.number == 3 and mine.limit == 10 and mine.own_process
    mine.close()
    for name, settings, message in (("none", {}, "processes, threads, dask, broken, mine"), ("broken", {}, "division"),
                                    ("other", {}, "Executor"), ("threads", dict(limit=1.), "cannot be stopped"),
                                    ("dask", {}, "--scheduler"), ("threads", dict(scheduler="tcp://x"), "--executor dask"),
                                    ("mine", dict(scheduler="tcp://x"), "--executor dask"), (3, {}, "is no executor")):
        with pytest.raises(ConfigError, match=message):
            open_workers(name, 1, **settings)


@pytest.mark.skipif(not EXAMPLES, reason="the source is not beside the tests")
def test_the_executor_of_the_page_runs_a_survey_by_its_name(survey, whole, tmp_path, monkeypatch):
    (tmp_path/"own_executor.py").write_text(EXAMPLES["An executor"][0])
    about = tmp_path/"own_executor-1.0.dist-info"
    about.mkdir()
    (about/"METADATA").write_text("Metadata-Version: 2.1\nName: own-executor\nVersion: 1.0\n")
    (about/"entry_points.txt").write_text("[crowdsource.executors]\ntwo = own_executor:two_at_most\n")
    monkeypatch.syspath_prepend(tmp_path)
    manifest, name = tmp_path/"m.ecsv", Path("field0000", "field0000.cat.fits")
    write_manifest([e for e in read_manifest(survey/"m.ecsv") if e.label == "field0000"], manifest)
    out = tmp_path/"out"
    words = ["run", str(manifest), "--root", str(survey), "--out", str(out), "--executor", "two", "--workers", "5"]
    assert main([*words, "--pictures", "--models"]) == 0
    assert (out/name).read_bytes() == (whole/name).read_bytes()


def test_an_executor_object_of_a_third_party(survey, whole, tmp_path):
    class Mine(Executor):
        """Does each job at once, one after the other."""
        jobs = 0

        def submit(self, fn, /, *args, **kwargs):
            self.jobs += 1
            future = Future()
            future.set_result(fn(*args, **kwargs))
            return future

    mine = Mine()
    entries = [e for e in read_manifest(survey/"m.ecsv") if e.label == "field0000"]
    report = Run(entries, tmp_path, RunOptions(plot=True, model=True), open_workers(mine, 1))()
    # one job fits, one gathers
    assert report.status == 0 and mine.jobs == 2
    name = Path("field0000", "field0000.cat.fits")
    assert (tmp_path/name).read_bytes() == (whole/name).read_bytes()


def test_status_tells_how_far_a_run_is(survey, whole, tmp_path):
    entries = read_manifest(survey/"m.ecsv")
    none = status_of(entries, tmp_path)
    assert (none.total, none.done, none.left, none.finish) == (8, 0, 8, None)
    state = status_of(entries, whole, pictures=True)
    assert (state.total, state.done, state.left, state.gathered, state.exposures) == (8, 6, 0, 5, 7)
    assert state.reasons() == [("input", ["field0001", "field0004"])] and state.again == 0 and state.finish is None
    assert len(state.pictures) == 6 and all(re.search(r"\d+ sources, FWHM", p.caption) for p in state.pictures)
    more = [*entries, replace(entries[0], exposure="new", label="new", cpu=100.)]
    now = datetime(2026, 1, 1)
    state = status_of(more, whole, now=now)
    factor = state.seconds/sum(e.cpu for e in entries if e.label not in ("field0001", "field0004"))
    assert state.left == 1 and (state.finish-now).total_seconds() == pytest.approx(100*factor, rel=1e-6)
    assert read_last_run(whole).options.model and read_last_run(tmp_path) is None


def test_page_of_status(survey, whole, tmp_path, capsys):
    page = tmp_path/"page.html"
    words = ["status", str(survey/"m.ecsv"), "--out", str(whole)]
    assert main([*words, "--html", str(page), "--verify"]) == 1
    told, text = capsys.readouterr().out, page.read_text()
    assert "6 of 8 detectors are done" in told and "5 exposures compared with their records, 0 files differ" in told
    assert text.count("<img") == 6 and "field0001" in text and 'lang="en"' in text
    for source in re.findall(r'src="([^"]+)"', text):
        assert (tmp_path/source).resolve().is_file()
    catalog = OutputPaths(whole, "field0000").catalog
    content = catalog.read_bytes()
    catalog.write_bytes(content[:-1]+b"x")
    try:
        assert main([*words, "--verify"]) == 1
        assert "field0000.cat.fits: differs from its checksum in field0000.task.json" in capsys.readouterr().out
    finally:
        catalog.write_bytes(content)


def test_names_and_messages_are_no_html(survey, tmp_path):
    from crowdsource.production.status import RunStatus, TaskPicture, write_page
    evil = "<script>alert(1)</script>"
    write_page(RunStatus(total=2, failed={evil: Failure(evil, evil)}, running=[evil],
                         pictures=[TaskPicture(evil, evil, tmp_path/f"{evil[:8]}.png")]),
               evil, tmp_path/"page.html")
    assert "<script" not in (tmp_path/"page.html").read_text()


def test_command(survey, tmp_path, capsys, caplog):
    path = tmp_path/"few.ecsv"
    entries = [e for e in read_manifest(survey/"m.ecsv") if e.label in ("field0000", "field0001")]
    write_manifest(entries, path)
    words = ["run", str(path), "--root", str(survey), "--executor", "threads"]
    (tmp_path/"c.toml").write_text('detect.threshold = 5.5\n[generic]\ngain = 2.0\n')
    with caplog.at_level(logging.INFO, "crowdsource"):
        assert main([*words, "--config", str(tmp_path/"c.toml")]) == 1
    told = capsys.readouterr()
    assert "few: 1 of 2 detectors are done (0 were before), 1 failed" in told.out and "failed, input: field0001" in told.out
    from crowdsource.exposure.results import read_config
    config = read_config(tmp_path/"few"/"field0000"/"field0000.cat.fits")
    assert config["detect"]["threshold"] == 5.5 and config["generic"]["gain"] == 2.
    assert main(["status", str(path), "--root", str(survey)]) == 1
    assert "1 of 2 detectors are done, 0 running, 1 failed" in capsys.readouterr().out
    (tmp_path/"bad.toml").write_text("[generic]\ngian = 2\n")
    for wrong in (["--config", str(tmp_path/"bad.toml")], ["--config", str(tmp_path/"none.toml")], ["--workers", "0"],
                  ["--memory", "0"], ["--task", "3", "--of", "2"], ["--then", "healpix"], ["--store", "x"], ["--executor", "x"],
                  ["--then", "healpix", "--store", str(tmp_path/"none")], ["--out", str(path)], ["--out", "/proc/none"],
                  ["--force", str(tmp_path/"none.ecsv")]):
        assert main([*words, *wrong]) == 2
        told = capsys.readouterr().err
        assert told.count("crowdsource: error: ") == 1 and "Traceback" not in told
