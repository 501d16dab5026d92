"""A run of a manifest: which tasks are left, and their jobs given to workers until all are settled."""
import heapq
import itertools
import logging
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from dataclasses import astuple
from pathlib import Path

from ..core.errors import ConfigError, OutputError
from ..exposure.finished import FinishedDetectors
from ..io.atomic import check_folder
from ..io.locks import taken
from .child import ABANDONED
from .executors import Gone
from .jobs import drop_parts, failure, gathered_whole, outcome_of, recorded
from .manifest import exposures
from .records import ASSEMBLE, DONE, FAILED, FIT, GATHER, INGEST, Place, brief, key_of, read_record, settled
from .state import Policy, Report, Stop, Task, Unit, retried
from .status import write_run

log = logging.getLogger(__name__)
TICK = 0.5
"""Seconds after which the loop looks around, whether or not a job has ended."""
ELSEWHERE = 2.
"""Seconds after which it looks again at a task that another run is doing."""
TOLD = 300
"""So many looks at such a task are told of once."""
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
        self.arrived, self.held, self.turns = [], frozenset(), itertools.count()
        # whether something was ingested by this run, and whether the release was made of it, or cannot be
        self.came, self.made = False, False

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
        if self.options.task_memory and not self.workers.alone:
            raise ConfigError("--task-memory is the limit of a process: tasks need one each, as with --executor processes")
        check_folder(self.out, overwrite=True)
        _made(self.out)
        reads = self.options.reads()
        self.settings = self.options.of_job(self.instruments, reads)
        write_run(self.out, self.options, reads, self.workers.number)
        if self.then is not None:
            self.held = held_catalogs(self.then.store)
        for e in self.entries:
            if e.problem:
                self.report.count(e.name, dict(state=FAILED, reason="input", error=e.problem))
        for label, entries in units.items():
            place = Place(self.out, label)
            key = key_of(entries[0], self.options.told(entries[0].instrument, reads))
            unit = Unit(place, entries, key, *settled(place, entries, key))
            self._forget(unit)
            for e in entries:
                if e.detector in unit.records:
                    self.report.count(e.name, unit.records[e.detector])
                    self.report.before += unit.records[e.detector]["state"] == DONE
                else:
                    self.ready.append(Task(FIT, e.name, unit, e, e.memory))
            if not unit.left:
                self._settled(unit)
        if self.then is not None and self.then.release and (self.ready or self.arrived) and self._release_exists():
            raise ConfigError(f"release {self.then.release} exists already, and more is to come into the store; give another "
                              "name (--release)")

    def _forget(self, unit):
        """Take out of a unit's records what is to be done again."""
        again = [d for d, r in unit.records.items() if retried(r) or (self.policy.retry_failed and r["state"] == FAILED)]
        for detector in again:
            del unit.records[detector]
        if again or unit.due:
            # what is to be gathered anew must have its part
            for d in [d for d, r in unit.records.items() if r["state"] == DONE]:
                if read_record(unit.place.detector_record(d), unit.key) is None:
                    del unit.records[d]

    def _settled(self, unit):
        """What follows when all detectors of an exposure are settled."""
        if unit.due:
            self.ready.appendleft(Task(GATHER, f"{unit.place.label} gathered", unit, None, GATHERING))
        elif unit.gathered is not None:
            self._gathered(unit)

    def _gathered(self, unit):
        """What follows when an exposure has its catalog."""
        if all(r["state"] == DONE for r in unit.records.values()) and FinishedDetectors(unit.place.catalog).folder.exists():
            drop_parts(unit.place)  # of a run that was killed
        digest = unit.gathered["outputs"][0][2]
        if self.then is not None and (read_record(unit.place.ingested, self._ingest_key(digest)) is None
                                      or str(unit.place.catalog) not in self.held):
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
        if self.then is None or not self.then.release or not self.then.assemble or self.report.stopped or self.made:
            return False
        return self.came or not self._release_exists()

    def _release_exists(self):
        return (Path(self.then.store)/"releases"/self.then.release).exists()

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
            if task.unit is None and self._chained():
                self._postpone(task, ELSEWHERE)
                return True
        task.job = task.job or self._job(task)
        lock = None
        if task.unit is not None:
            try:
                lock = _locked(task)
            except OSError as problem:
                self._judge(task, {**outcome_of(task.job), **failure(problem)})
                return True
            if lock is None:
                self._wait_for_other(task)
                return True
            if self._found(task):
                _free(lock)
                return True
        try:
            future = self.workers.submit(task.job)
        except BrokenExecutor as problem:
            _free(lock)
            self.ready.appendleft(task)
            self.report.stopped = f"the executor takes no more jobs ({problem}); run again"
            return False
        except BaseException:
            _free(lock)
            raise
        self.running[future] = (task, lock)
        return True

    def _wait_for_other(self, task):
        """Another run works on a task: look again later."""
        if task.waited % TOLD == 0:
            path = task.unit.place.lock(task.entry.detector if task.entry else None)
            log.log(logging.WARNING if task.waited else logging.INFO, "%s: another run works on it (%s is locked); waited for",
                    task.name, path)
        task.waited += 1
        self._postpone(task, ELSEWHERE)

    def _chained(self):
        """Whether catalogs are being ingested, or a release is being made."""
        return any(t.kind in (INGEST, ASSEMBLE) for t, _ in self.running.values())

    def _used(self):
        return sum(t.memory for t, _ in self.running.values())

    def _chain(self):
        """The next ingest, or the release, when it is time for one; None otherwise."""
        if self.then is None or self._chained():
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
        gathered = read_record(unit.place.record, unit.key)
        if task.kind == GATHER:
            done = [d for d, r in unit.records.items() if r["state"] == DONE]
            if gathered is None or not gathered_whole(gathered, unit.records, done):
                return False
            unit.gathered = gathered
            self._gathered(unit)
            return True
        record = read_record(unit.place.detector_record(task.entry.detector), unit.key)
        every = [e.detector for e in unit.entries]
        if record is None and gathered is not None and gathered_whole(gathered, every, every):
            # the parts of one that is gathered whole are gone
            unit.gathered, record = gathered, gathered["detectors"][task.entry.detector]
        if record is None or record["state"] == FAILED:
            return False
        self._fitted(task, record)
        return True

    def _job(self, task):
        """What a worker is told."""
        unit, first = task.unit, task.unit.entries[0]
        job = dict(kind=task.kind, task=task.name, key=unit.key, out=str(self.out), label=unit.place.label,
                   settings=self.settings)
        if task.kind == GATHER:
            done = [d for d, r in unit.records.items() if r["state"] == DONE]
            return {**job, "record": str(unit.place.record), "detectors": [e.detector for e in unit.entries], "done": done}
        e = task.entry
        options = {**self.options.of_instrument(first.instrument), **dict(e.options)}
        return {**job, "record": str(unit.place.detector_record(e.detector)), "log": str(unit.place.log(e.detector)),
                "instrument": e.instrument, "image": e.image, "exposure": e.exposure, "detector": e.detector,
                "options": options, "inputs": [list(astuple(i)) for i in e.inputs]}

    def _take(self, task, lock, future):
        """See what became of a job."""
        try:
            outcome = future.result()
        except (Gone, CancelledError) as problem:
            log.warning("%s: the executor has lost it (%s); given again", task.name, problem)
            _free(lock)
            self._postpone(task, self.policy.back_off)
            return
        except BrokenExecutor as problem:
            told = dict(state=FAILED, reason="killed", error=f"its worker was lost ({problem}), perhaps for want of memory")
            outcome = {**outcome_of(task.job), **told, "pid": None}
        except Exception as problem:
            outcome = {**outcome_of(task.job), **failure(problem), "pid": None}
        elsewhere = not outcome["pid"]
        if not self._judge(task, outcome) and elsewhere:
            # what its worker could not tell
            recorded(task.job, outcome)
        _free(lock)

    def _judge(self, task, outcome):
        """Take an outcome as it is, or give the task again later; whether it will be given again."""
        most = {"io": self.policy.retries, "killed": LOSSES}.get(outcome["reason"], 0)
        again = outcome["state"] == FAILED and task.tries < most
        if again:
            task.tries += 1
            log.warning("%s: %s; tried again", task.name, outcome["error"])
            self._postpone(task, self.policy.back_off*2**(task.tries-1))
        elif outcome["reason"] != ABANDONED:
            self._end(task, outcome)
        return again

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
            self.made |= task.kind == ASSEMBLE
        elif task.kind == GATHER:
            task.unit.gathered = brief(outcome)
            self._gathered(task.unit)
        else:
            self.came, self.made = True, task.kind == ASSEMBLE
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


def held_catalogs(store):
    """Names of the files of which a store has sources."""
    from ..survey.store.store import open_store
    sources = open_store(store).snapshot().sources
    return frozenset(sources.file[sources.alive].tolist())


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
