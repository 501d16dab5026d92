"""A run of a manifest: which tasks are left, and their jobs given to workers until all are settled."""
import heapq
import itertools
import logging
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from dataclasses import astuple
from pathlib import Path

from ..errors import OutputError
from ..io.atomic import check_folder
from ..io.locks import taken
from ..io.parts import Parts
from .child import ABANDONED
from .executors import Gone
from .jobs import drop_parts, failure, outcome_of, recorded
from .manifest import exposures
from .records import ASSEMBLE, DONE, FAILED, FIT, GATHER, INGEST, Place, brief, key_of, read_record, settled
from .state import Policy, Report, Stop, Task, Unit, retried
from .status import write_run

log = logging.getLogger(__name__)
TICK = 0.5
"""Seconds after which the loop looks around, whether or not a job has ended."""
ELSEWHERE = 2.
"""Seconds after which it looks again at a task that another run is doing."""
LOSSES = 3
"""So often a task is given again whose worker was killed."""
GATHERING, INGESTING = 300., 1000.
"""MB that gathering and ingesting are expected to take."""
TOGETHER = 16
"""Catalogs that are ingested at a time while fits go on."""


class Run:
    """A run of a manifest, or of a part of it.

    Parameters
    ----------
    entries : list of Entry
    out : path-like
        Folder of the results, made when it is not there.
    options : RunOptions
    workers : Workers
    policy : Policy, optional
    then : Then, optional
    """

    def __init__(self, entries, out, options, workers, policy=None, then=None):
        self.entries, self.out, self.options, self.workers = entries, Path(out).absolute(), options, workers
        self.policy, self.then = policy or Policy(), then
        self.report = Report(total=len(entries))
        self.ready, self.later, self.running = deque(), [], {}
        self.arrived, self.came, self.turns = [], False, itertools.count()

    def __call__(self, stop=None, progress=None):
        """Do all that is left.

        Parameters
        ----------
        stop : Stop, optional
        progress : callable, optional
            Called with ("run", settled, total, figures) as tasks are settled.

        Returns
        -------
        Report

        Raises
        ------
        CrowdsourceError
            When the options cannot be used or the folder cannot be written.
        """
        stop = stop or Stop()
        self._prepare()
        self.progress = progress or (lambda *_: None)
        self._tell()
        abandoned = True
        try:
            while not self._over(stop):
                self._wake()
                while not stop.level and self._give():
                    pass
                if self.running:
                    finished, _ = wait(self.running, TICK, FIRST_COMPLETED)
                    self.workers.look()
                    for future in finished:
                        self._take(*self.running.pop(future), future)
                elif self.later and not stop.level:
                    time.sleep(max(0., min(self.later[0][0]-time.monotonic(), TICK)))
            abandoned = stop.level > 1
        finally:
            # whatever ends this: nobody waits for what was given
            self.workers.close(abandon=abandoned)
            for _, lock in self.running.values():
                _free(lock)
        if stop.level and not self.report.stopped:
            self.report.stopped = "by a signal"
        return self.report

    def _prepare(self):
        """Check everything, and see what is done already."""
        units = exposures(self.entries)
        self.instruments = {e.instrument for e in self.entries if not e.problem}
        self.options.check(self.instruments)
        check_folder(self.out, overwrite=True)
        _made(self.out)
        reads = self.options.reads()
        self.settings = self.options.of_job(self.instruments, reads)
        write_run(self.out, self.options, reads, self.workers.number)
        for e in self.entries:
            if e.problem:
                self.report.count(e.name, dict(state=FAILED, reason="input", error=e.problem))
        for label, entries in units.items():
            place = Place(self.out, label)
            key = key_of(entries[0], self.options.told(entries[0].instrument, reads))
            unit = Unit(place, entries, key, *settled(place, entries, key))
            again = [d for d, r in unit.records.items() if retried(r) or (self.policy.retry_failed and r["state"] == FAILED)]
            for detector in again:
                del unit.records[detector]
            for e in entries:
                if e.detector in unit.records:
                    self.report.count(e.name, unit.records[e.detector])
                    self.report.before += unit.records[e.detector]["state"] == DONE
                else:
                    self.ready.append(Task(FIT, e.name, unit, e, e.memory))
            if not unit.left:
                self._settled(unit)

    def _settled(self, unit):
        """What follows when all detectors of an exposure are settled."""
        if unit.due:
            self.ready.appendleft(Task(GATHER, f"{unit.place.label} gathered", unit, None, GATHERING))
        elif unit.gathered is not None:
            self._gathered(unit)

    def _gathered(self, unit):
        """What follows when an exposure has its catalog."""
        if all(r["state"] == DONE for r in unit.records.values()) and Parts(unit.place.catalog).folder.exists():
            drop_parts(unit.place)  # of a run that was killed
        digest = unit.gathered["outputs"][0][2]
        if self.then is not None and read_record(unit.place.ingested, self._ingest_key(digest)) is None:
            self.arrived.append((unit, digest))

    def _ingest_key(self, digest):
        return f"{Path(self.then.store).absolute()} {digest}"

    def _over(self, stop):
        """Whether the run has come to its end."""
        if stop.level > 1 or (not self.running and (stop.level or self.report.stopped)):
            return True
        return not (self.running or self.ready or self.later or self.arrived or self._release_is_due())

    def _release_is_due(self):
        """Whether a release is to be made of what was ingested."""
        if self.then is None or not self.then.release or not self.then.assemble or self.report.stopped:
            return False
        return self.came or not (Path(self.then.store)/"releases"/self.then.release).exists()

    def _wake(self):
        """Tasks whose time has come."""
        while self.later and self.later[0][0] <= time.monotonic():
            task = heapq.heappop(self.later)[2]
            self.ready.appendleft(task)

    def _postpone(self, task, seconds):
        heapq.heappush(self.later, (time.monotonic()+seconds, next(self.turns), task))

    def _give(self):
        """Give a worker the next job that fits; whether one was given, or found settled."""
        if len(self.running) >= self.workers.number or self.report.stopped:
            return False
        task = self._chain()
        if task is None:
            if not self.ready:
                return False
            if self.running and self._used()+self.ready[0].memory > self.policy.memory:
                return False
            task = self.ready.popleft()
        lock = None
        if task.unit is not None:
            lock = _locked(task)
            if lock is None:
                self._postpone(task, ELSEWHERE)
                return True
            if self._found(task):
                _free(lock)
                return True
        task.job = task.job or self._job(task)
        self.running[self.workers.submit(task.job)] = (task, lock)
        return True

    def _used(self):
        return sum(t.memory for t, _ in self.running.values())

    def _chain(self):
        """The next ingest, or the release, when it is time for one; None otherwise."""
        if self.then is None or any(t.kind in (INGEST, ASSEMBLE) for t, _ in self.running.values()):
            return None
        rest = self.ready or self.later or self.running
        if self.arrived and (len(self.arrived) >= TOGETHER or not rest):
            some, self.arrived = self.arrived[:TOGETHER], self.arrived[TOGETHER:]
            catalogs = [dict(catalog=str(u.place.catalog), record=str(u.place.ingested), key=self._ingest_key(digest))
                        for u, digest in some]
            return Task(INGEST, "catalogs into the store", memory=INGESTING, job=dict(
                kind=INGEST, task="ingest", key="", store=str(Path(self.then.store).absolute()), catalogs=catalogs))
        if not rest and self._release_is_due():
            return Task(ASSEMBLE, "the release", memory=INGESTING, job=dict(
                kind=ASSEMBLE, task="assemble", key="", store=str(Path(self.then.store).absolute()), release=self.then.release))
        return None

    def _found(self, task):
        """Whether another run has settled a task meanwhile."""
        unit = task.unit
        if task.kind == GATHER:
            found = read_record(unit.place.record, unit.key)
            if found is not None and found["state"] == DONE and set(found["detectors"]) == set(unit.records):
                unit.gathered = found
        else:
            gathered, records = settled(unit.place, unit.entries, unit.key)
            record = records.get(task.entry.detector)
            if record is None or record["state"] == FAILED:
                return False
            unit.gathered = gathered
            self._fitted(task, record)
            return True
        if unit.gathered is not None and not unit.due:
            self._gathered(unit)
            return True
        return False

    def _job(self, task):
        """What a worker is told."""
        unit, first = task.unit, task.unit.entries[0]
        job = dict(kind=task.kind, task=task.name, key=unit.key, out=str(self.out), label=unit.place.label,
                   settings=self.settings)
        if task.kind == GATHER:
            return {**job, "record": str(unit.place.record), "detectors": [e.detector for e in unit.entries]}
        e = task.entry
        options = {**self.options.of_instrument(first.instrument), **dict(e.options)}
        return {**job, "record": str(unit.place.detector_record(e.detector)), "log": str(unit.place.log(e.detector)),
                "instrument": e.instrument, "image": e.image, "exposure": e.exposure, "detector": e.detector,
                "options": options, "inputs": [list(astuple(i)) for i in e.inputs]}

    def _take(self, task, lock, future):
        """See what became of a job."""
        try:
            outcome = future.result()
        except (Gone, BrokenExecutor, CancelledError) as problem:
            told = dict(state=FAILED, reason="killed", error=f"its worker was lost ({problem}), perhaps for want of memory")
            outcome = {**outcome_of(task.job), **told, "pid": None}
        except Exception as problem:
            outcome = {**outcome_of(task.job), **failure(problem), "pid": None}
        most = {"io": self.policy.retries, "killed": LOSSES}.get(outcome["reason"], 0)
        again = outcome["state"] == FAILED and task.tries < most
        if again:
            task.tries += 1
            log.warning("%s: %s; tried again", task.name, outcome["error"])
            self._postpone(task, self.policy.back_off*2**(task.tries-1))
        elif not outcome["pid"]:
            # what its worker could not tell
            outcome = recorded(task.job, outcome)
        _free(lock)
        if not again and outcome["reason"] != ABANDONED:
            self._end(task, outcome)

    def _end(self, task, outcome):
        """A task has its outcome."""
        failed = outcome["state"] == FAILED
        if failed:
            log.error("%s: %s", task.name, outcome["error"])
        if failed and outcome["reason"] == "output":
            self.report.stopped = outcome["error"]
        elif task.kind == FIT:
            self._fitted(task, outcome)
        elif failed:
            self.report.failed[task.name] = (outcome["reason"], outcome["error"])
            self.came = False
            self.then = None if task.kind == ASSEMBLE else self.then
        elif task.kind == GATHER:
            task.unit.gathered = brief(outcome)
            self._gathered(task.unit)
        else:
            self.came = task.kind == INGEST
            figures = ", ".join(f"{v} {n}" for n, v in outcome["figures"].items())
            self.report.lines.append(f"{task.name}: {figures}")

    def _fitted(self, task, record):
        """A detector is settled."""
        unit = task.unit
        unit.records[task.entry.detector] = brief(record)
        self.report.count(task.name, record)
        self._tell()
        if not unit.left:
            self._settled(unit)

    def _tell(self):
        """Say how far the run is."""
        self.progress("run", self.report.settled, self.report.total, dict(failed=len(self.report.failed)))


def _made(folder):
    """Make a folder where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{folder}: cannot be made ({problem.strerror}); choose another place (--out)") from problem


def _locked(task):
    """The lock of a task, None where another run has it."""
    place = task.unit.place
    _made(place.folder)
    try:
        return taken(place.lock(task.entry.detector if task.entry else None))
    except OSError as problem:
        raise OutputError(f"{place.folder}: cannot be written ({problem.strerror}); free space or choose another place") \
            from problem


def _free(lock):
    if lock is not None:
        lock.free()
