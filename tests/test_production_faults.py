"""What may happen to a run: full disks, killed, hung and greedy tasks, changing inputs, signals, two runs at once."""
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from dataclasses import astuple, replace
from pathlib import Path

import pytest
from small_survey import catalogs, leftovers, make_manifest, make_survey, slow_camera

from crowdsource.core.errors import ConfigError, DataFileError, OutputError
from crowdsource.exposure.instrument import load
from crowdsource.io import atomic
from crowdsource.io.locks import is_locked, take_lock
from crowdsource.production import exposure_jobs, worker_process
from crowdsource.production import run as running
from crowdsource.production.executors import JobLost, Workers, open_workers
from crowdsource.production.exposure_jobs import VerifiedExposure
from crowdsource.production.jobs import perform
from crowdsource.production.manifest import InputFile, read_manifest, write_manifest
from crowdsource.production.options import RunOptions
from crowdsource.production.outcomes import ChangedError, failure_reason
from crowdsource.production.records import LASTING, OutputPaths
from crowdsource.production.run import Run
from crowdsource.production.state import Failure, SchedulingPolicy, StopRequest
from crowdsource.production.worker_process import ABANDONED, WorkerProcess, run_supervised, stop_all

COMMAND = Path(sys.executable).with_name("crowdsource")
QUIET = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A folder with a manifest of four exposures, and what an undisturbed run of it gives."""
    folder = tmp_path_factory.mktemp("survey")
    make_survey(folder, 3, 1, side=64)
    make_manifest(folder, folder/"m.ecsv")
    assert run(read_manifest(folder/"m.ecsv"), folder/"whole").status == 0
    return folder


@pytest.fixture
def entries(survey):
    return read_manifest(survey/"m.ecsv")


def run(entries, out, executor="threads", limit=None, stop=None, options=None):
    """Run a manifest; gives the report."""
    given = executor if isinstance(executor, Workers) else open_workers(executor, 2, limit)
    return Run(entries, out, options or RunOptions(), given, SchedulingPolicy(back_off=0.01))(stop)


@pytest.fixture
def waits(entries, tmp_path_factory, monkeypatch):
    """An exposure that is never read to its end, by an instrument that other processes find too."""
    folder = tmp_path_factory.mktemp("slow")
    slow_camera(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(QUIET, "PYTHONPATH", str(folder))
    return replace(entries[0], instrument="slow", exposure="field0000", label="hangs", options=())


def job_of(entry, out, **changes):
    """A job of an entry's fit."""
    return dict(kind="fit", task="t", key="k", log=None, out=str(out), label=entry.label, detector="", image=entry.image,
                instrument=entry.instrument, exposure=entry.exposure, options={}, inputs=[list(astuple(i)) for i in entry.inputs],
                settings=RunOptions().job_settings({entry.instrument}, []), **changes)


def test_hung_task_is_stopped(survey, entries, waits, tmp_path):
    # other tests may keep the machine busy: fits take some seconds then
    report = run([waits, *entries], tmp_path/"out", "processes", limit=15.)
    assert report.failed == {"hangs": Failure("time", "took longer than 15 s; allow more (--time-limit) or look at its log")}
    assert report.done == 5 and catalogs(tmp_path/"out") == catalogs(survey/"whole")
    # it may have been the machine's fault: the next run tries again
    assert run([waits], tmp_path/"out", "processes", limit=0.5).before == 0


def test_killed_process_costs_its_task_only(tmp_path, waits):
    child, record = WorkerProcess(), tmp_path/"r.json"
    bad = child.run(dict(kind="fit", task="t", key="k", inputs=[], log=None, record=str(record)))
    assert bad["state"] == "failed" and bad["reason"] == "internal" and "KeyError" in bad["traceback"]
    pid = child.process.pid
    threading.Timer(1., lambda: os.kill(pid, signal.SIGKILL)).start()
    outcome = child.run(job_of(waits, tmp_path, record=str(record)))
    assert (outcome["state"], outcome["reason"]) == ("failed", "killed") and "SIGKILL" in outcome["error"]
    assert json.loads(record.read_text())["reason"] == "killed"
    # the next job gets a new process
    assert child.run(dict(kind="none", task="t", key="k"))["reason"] == "internal" and child.process.pid != pid
    threading.Timer(1., child.abandon).start()
    record.unlink()
    assert child.run(job_of(waits, tmp_path, record=str(record)))["reason"] == ABANDONED and not record.exists()
    child.stop()


def test_group_is_stopped_while_a_process_starts(tmp_path, waits, monkeypatch):
    """The job is abandoned though there is no process to kill yet; one that an executor begins later is not done."""
    real, stopping = subprocess.Popen, threading.Thread(target=stop_all, args=("g",))

    def slow(*args, **options):
        stopping.start()
        time.sleep(0.3)
        return real(*args, **options)

    monkeypatch.setattr(worker_process.subprocess, "Popen", slow)
    job = job_of(waits, tmp_path, record=str(tmp_path/"r.json"))
    assert run_supervised(job, 20., "g")["reason"] == ABANDONED
    stopping.join()
    assert run_supervised(job, 20., "g")["reason"] == ABANDONED and list(tmp_path.iterdir()) == []


def test_executor_of_several_groups(tmp_path, waits):
    """A thread that did a job of one run does one of another, which is stopped."""
    assert run_supervised(dict(kind="none", task="t", key="k"), 60., "first")["reason"] == "internal"
    stop_all("first")
    threading.Timer(1., stop_all, ("second",)).start()
    assert run_supervised(job_of(waits, tmp_path, record=str(tmp_path/"r.json")), 20., "second")["reason"] == ABANDONED


def test_process_ends_with_the_one_that_started_it(tmp_path, waits):
    program = ("import sys, json; from crowdsource.production.worker_process import WorkerProcess; "
               "c = WorkerProcess(); c.start(); "
               "print(c.process.pid, flush=True); c.run(json.loads(sys.argv[1]))")
    words = [sys.executable, "-c", program, json.dumps(job_of(waits, tmp_path))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=QUIET) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    assert soon(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def soon(holds):
    """Whether something comes true; after ten minutes it never will, however busy the machine is."""
    end = time.monotonic()+600
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_task_that_wants_too_much_memory(survey, entries, tmp_path):
    little = RunOptions(task_memory=60.)
    report = run(entries[:1], tmp_path, "processes", options=little)
    assert [f.reason for f in report.failed.values()] == ["memory"] and report.status == 2
    # the limit is none of the results' settings
    report = run(entries, tmp_path, "processes")
    assert report.status == 0 and report.before == 0 and catalogs(tmp_path) == catalogs(survey/"whole")


def test_full_disk(survey, entries, tmp_path):
    """Files may not grow beyond what a catalog needs: nothing is half-written, and the run goes on when there is room."""
    words = [COMMAND, "run", survey/"m.ecsv", "--out", tmp_path/"out", "--retries", "1"]
    full = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=QUIET, check=False, preexec_fn=lambda:
                          resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    assert full.returncode == 2 and "Traceback" not in full.stderr and "tried again" in full.stderr
    assert full.stdout.count("failed, io: ") == 5 and catalogs(tmp_path/"out") == {}
    assert not [p for p in (tmp_path/"out").rglob("*.cat.fits*") if p.is_file()]
    assert run(entries, tmp_path/"out").status == 0 and catalogs(tmp_path/"out") == catalogs(survey/"whole")


@pytest.mark.parametrize("number, failures, status", [(errno.ENOSPC, 2, 0), (errno.EIO, 4, 2), (errno.EROFS, 1, 2)])
def test_outputs_that_cannot_be_written(survey, entries, tmp_path, monkeypatch, number, failures, status):
    """Errors that pass are waited for, so many times; a disk that takes nothing at all ends the run."""
    real, left = os.replace, [failures]

    def fails(source, target):
        if str(target).endswith("image.cat.fits") and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return real(source, target)

    monkeypatch.setattr(atomic.os, "replace", fails)
    report = run(entries[:1], tmp_path)
    assert report.status == status and (number != errno.EROFS) == (not report.stopped)
    monkeypatch.undo()
    assert run(entries, tmp_path).status == 0 and catalogs(tmp_path) == catalogs(survey/"whole") and leftovers(tmp_path) == []


def test_file_that_changes_while_it_is_read(survey, entries, tmp_path):
    first = entries[0]
    copy = tmp_path/"copy.fits"
    copy.write_bytes(Path(first.image).read_bytes())
    exposure = load("generic").open(str(copy), ivar=f"{copy}:IVAR")
    facts = InputFile.of(copy, first.inputs[0].sha256)
    known = [[facts.path, facts.size, facts.mtime, facts.sha256]]
    watched = VerifiedExposure(exposure, known)
    assert watched.read(watched.tasks()[0]).shape == (64, 64)

    def touch(task):
        with open(copy, "ab") as file:
            file.write(b" ")
        raise DataFileError(copy, "is damaged")

    object.__setattr__(exposure, "read", touch)
    with pytest.raises(ChangedError, match="while it was read") as caught:
        watched.read(watched.tasks()[0])
    assert failure_reason(caught.value) == "changed" and "changed" not in LASTING
    with pytest.raises(ChangedError, match="plan again"):
        watched.read(watched.tasks()[0])
    with pytest.raises(DataFileError, match="does not list it"):
        VerifiedExposure(exposure, [])


def test_copy_of_another_time_is_the_same(survey, entries, tmp_path):
    folder = tmp_path/"moved"
    folder.mkdir()
    (folder/"single").mkdir()
    path = folder/"single"/"field0000.fits"
    path.write_bytes((survey/"single"/"field0000.fits").read_bytes())
    os.utime(path, (1e9, 1e9))
    text = (survey/"m.ecsv").read_text().replace(str(survey), str(folder))
    (folder/"m.ecsv").write_text(text)
    some = [e for e in read_manifest(folder/"m.ecsv") if e.label == "field0000"]
    assert run(some, tmp_path/"out").status == 0
    path.write_bytes(path.read_bytes()[:-2880]+b"x"*2880)
    assert "plan again" in run(some, tmp_path/"new").failed["field0000"].message


def test_workers_that_are_lost(survey, entries, tmp_path):
    class Forgetful(ThreadPoolExecutor):
        """Loses the first jobs."""
        lost = iter([JobLost("gone"), BrokenExecutor("broken")]+[JobLost("gone")]*20)

        def submit(self, fn, /, *args, **kwargs):
            problem = next(self.lost, None)
            if problem is None:
                return super().submit(fn, *args, **kwargs)
            return super().submit(_raise, problem)

    report = run(entries, tmp_path, Workers(Forgetful(2), 2, own_process=False))
    assert report.status == 0 and catalogs(tmp_path) == catalogs(survey/"whole")

    class Broken(ThreadPoolExecutor):
        """Loses all."""
        def submit(self, fn, /, *args, **kwargs):
            return super().submit(_raise, BrokenExecutor("worker died"))

    report = run(entries[:1], tmp_path/"other", Workers(Broken(1), 1, own_process=False))
    assert [f.reason for f in report.failed.values()] == ["killed"]
    record = json.loads(OutputPaths(tmp_path/"other", "field0000").detector_record("").read_text())
    assert record["reason"] == "killed" and "lost" in record["error"]


def test_what_a_killed_worker_left_goes(survey, entries, tmp_path):
    """A worker that is killed while it gathers an exposure leaves files under temporary names, which nobody would look for."""
    folder = OutputPaths(tmp_path, entries[0].label).folder
    folder.mkdir(parents=True)
    left, other = folder/f".1247-cf874829-{entries[0].label}.task.json", folder/".notes-of-the-user"
    for path in (left, other):
        path.touch()
    assert run(entries[:1], tmp_path).status == 0 and other.exists() and not left.exists()


def _raise(problem):
    raise problem


def test_two_runs_at_once(survey, entries, tmp_path):
    words = [str(COMMAND), "run", str(survey/"m.ecsv"), "--out", str(tmp_path/"out")]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=QUIET) for _ in range(2)]
    told = [p.communicate()[0] for p in both]
    assert [p.returncode for p in both] == [0, 0] and all("5 of 5 detectors are done" in t for t in told)
    assert catalogs(tmp_path/"out") == catalogs(survey/"whole") and leftovers(tmp_path/"out") == []


def test_locks(tmp_path):
    path = tmp_path/".a.lock"
    lock = take_lock(path)
    assert is_locked(path) and take_lock(path) is None
    lock.free()
    assert not path.exists() and not is_locked(path)
    # one that a killed run has left
    path.touch()
    assert not is_locked(path)
    lock = take_lock(path)
    assert lock is not None
    lock.free()
    with pytest.raises(OSError):
        take_lock(tmp_path/"none"/".a.lock")


def test_look_at_a_lock_keeps_nobody_from_it(tmp_path):
    path, over = tmp_path/".a.lock", threading.Event()

    def look():
        while not over.is_set():
            is_locked(path)

    looks = threading.Thread(target=look)
    looks.start()
    try:
        for _ in range(3000):
            take_lock(path).free()
    finally:
        over.set()
        looks.join()


@pytest.mark.parametrize("number, signals", [(signal.SIGTERM, 1), (signal.SIGTERM, 2), (signal.SIGINT, 2)])
def test_signals(survey, entries, waits, tmp_path, number, signals):
    """The first ends the run after what it is doing, which here takes long; the second at once. Nothing is recorded as failed."""
    path = tmp_path/"m.ecsv"
    write_manifest([waits, *entries], path)
    words = [str(COMMAND), "run", str(path), "--root", str(survey), "--out", str(tmp_path/"out"),
             "--time-limit", "8" if signals == 1 else "600"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET)
    lock = OutputPaths(tmp_path/"out", "hangs").lock("")
    assert soon(lambda: is_locked(lock))
    # the process that does the job must be there, so that it can be abandoned
    task = Path(f"/proc/{child.pid}/task")
    assert soon(lambda: not task.is_dir() or any(p.read_text() for p in task.glob("*/children")))
    time.sleep(0.5)
    child.send_signal(number)
    err = next(line for line in child.stderr if "no more tasks are started" in line)
    for _ in range(signals-1):
        child.send_signal(number)
    with child:
        err, out = err+child.stderr.read(), child.stdout.read()
    assert child.returncode == 128+number and "Traceback" not in err and not lock.exists()
    assert "stopped: by a signal" in out and "5 left" in out if signals == 1 else "6 left" in out
    records = list((tmp_path/"out").rglob("*.task.json"))
    assert len(records) == (signals == 1) and not list((tmp_path/"out").rglob(".*.fits"))
    assert run(entries, tmp_path/"out").status == 0 and catalogs(tmp_path/"out") == catalogs(survey/"whole")


def test_stop_before_anything(entries, tmp_path):
    report = run(entries, tmp_path, stop=StopRequest(1))
    assert (report.done, report.left, report.status) == (0, 5, 2)


def test_reasons_of_failures():
    def caused(problem, by):
        problem.__cause__ = by
        return problem

    for problem, reason in (
            (DataFileError("f", "bad"), "input"), (caused(DataFileError("f", "x"), OSError(errno.EIO, "x")), "io"),
            (caused(OutputError("x"), OSError(errno.ENOSPC, "x")), "io"), (OutputError("x"), "place"),
            (PermissionError(errno.EACCES, "x"), "output"), (caused(ChangedError("f", "x"), OSError(errno.EIO, "x")), "io"),
            (FileExistsError(errno.EEXIST, "x"), "place"), (ChangedError("f", "x"), "changed"), (MemoryError(), "memory"),
            (KeyError("x"), "internal"), (OSError(errno.ENOMEM, "x"), "memory"),
            (caused(DataFileError("f", "x"), MemoryError()), "memory")):
        assert failure_reason(problem) == reason


def test_output_folder_that_cannot_be_made(entries, tmp_path):
    (tmp_path/"file").touch()
    for out in (tmp_path/"file", tmp_path/"file"/"below", Path("/proc/none")):
        with pytest.raises(OutputError):
            run(entries, out)


def failing(monkeypatch, detector, problem):
    """Let the fit of a detector fail."""
    real = exposure_jobs.fit_detector

    def fit(work, task):
        if task.detector == detector:
            raise problem
        return real(work, task)

    monkeypatch.setattr(exposure_jobs, "fit_detector", fit)


def test_parts_of_other_settings_are_not_gathered(survey, entries, tmp_path, monkeypatch):
    """Of an exposure that is gathered in part the parts stay; a run with other settings that was stopped leaves its own there."""
    some = [e for e in entries if e.instrument == "decam"]
    failing(monkeypatch, "S4", OSError(errno.EIO, "no answer"))
    one = SchedulingPolicy(retries=0, back_off=0.01)
    assert Run(some, tmp_path, RunOptions(), open_workers("threads", 1), one)().done == 1
    assert Run(some, tmp_path, RunOptions(config={"detect": {"threshold": 20.}}), open_workers("threads", 1), one)().done == 1
    monkeypatch.undo()
    assert run(some, tmp_path).status == 0
    label = f"{some[0].label}/{some[0].label}.cat.fits"
    assert catalogs(tmp_path)[label] == catalogs(survey/"whole")[label]


def test_parts_that_are_lost_are_fitted_again(survey, entries, tmp_path, monkeypatch):
    some = [e for e in entries if e.instrument == "decam"]
    failing(monkeypatch, "S4", OSError(errno.EIO, "no answer"))
    Run(some, tmp_path, RunOptions(), open_workers("threads", 1), SchedulingPolicy(retries=0))()
    monkeypatch.undo()
    shutil.rmtree(next(tmp_path.glob("*/*.parts")))
    assert run(some, tmp_path).status == 0
    label = f"{some[0].label}/{some[0].label}.cat.fits"
    assert catalogs(tmp_path)[label] == catalogs(survey/"whole")[label]


def test_pool_that_breaks_ends_the_run_with_its_report(entries, tmp_path):
    class Broken(ThreadPoolExecutor):
        """Takes one job."""
        jobs = 0

        def submit(self, fn, /, *args, **kwargs):
            self.jobs += 1
            if self.jobs > 1:
                raise BrokenExecutor("a process died")
            return super().submit(fn, *args, **kwargs)

    report = run(entries, tmp_path, Workers(Broken(1), 1, own_process=False))
    assert report.done == 1 and report.left == 4 and "a process died" in report.stopped and report.status == 1
    assert run(entries, tmp_path).status == 0


def test_something_else_in_the_place_of_an_exposure(entries, tmp_path):
    (tmp_path/"field0001").write_text("no folder")
    report = run(entries, tmp_path)
    assert report.done == 4 and report.failed["field0001"].reason == "place" and not report.stopped
    (tmp_path/"field0001").unlink()
    assert run(entries, tmp_path).status == 0


def test_full_disk_at_a_lock(entries, tmp_path, monkeypatch):
    real, left = running.take_lock, [1]

    def full(path):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "no room")
        return real(path)

    monkeypatch.setattr(running, "take_lock", full)
    assert run(entries[:1], tmp_path).status == 0


def test_file_that_was_away(entries, tmp_path):
    copy = tmp_path/"field0000.fits"
    copy.write_bytes(Path(entries[0].image).read_bytes())
    facts = InputFile.of(copy, entries[0].inputs[0].sha256)
    entry = replace(entries[0], image=str(copy), options=(), inputs=(facts,))
    copy.rename(tmp_path/"away.fits")
    report = run([entry], tmp_path/"out")
    assert report.failed["field0000"].reason == "changed" and "when it is there" in report.failed["field0000"].message
    (tmp_path/"away.fits").rename(copy)
    assert run([entry], tmp_path/"out").status == 0


def test_limit_of_memory_needs_processes(entries, tmp_path):
    with pytest.raises(ConfigError, match="--task-memory"):
        run(entries, tmp_path, "threads", options=RunOptions(task_memory=100.))


def test_gathering_twice_is_gathering_once(survey, entries, tmp_path):
    """A worker may be lost when all is done but before that is told: the job is given again."""
    some = [e for e in entries if e.instrument == "decam"]
    assert run(some, tmp_path).status == 0
    place = OutputPaths(tmp_path, some[0].label)
    record = json.loads(place.record.read_text())
    job = dict(kind="gather", task="again", key=record["key"], out=str(tmp_path), label=place.label,
               detectors=list(record["detectors"]), done=list(record["detectors"]),
               settings=RunOptions().job_settings({"decam"}, []), record=str(place.record))
    outcome = perform(job)
    assert outcome["state"] == "done" and outcome["outputs"] == record["outputs"] and catalogs(tmp_path)
    assert json.loads(place.record.read_text())["detectors"] == record["detectors"]
    place.record.unlink()
    assert perform(job)["reason"] == "io"
