"""A run of a manifest: finds the tasks that are left and gives them to workers until all are done or failed."""
import heapq
import itertools
import logging
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from pathlib import Path

from ..core.errors import ConfigError, OutputError
from ..exposure.finished import FinishedDetectors
from ..io.atomic import check_folder
from ..io.locks import take_lock
from .executors import JobLost, outcome_of
from .follow_up import StoreFollowUp
from .manifest import entries_by_label
from .outcomes import failure, new_outcome, write_outcome
from .records import (
    ASSEMBLE,
    DONE,
    FAILED,
    FIT,
    GATHER,
    INGEST,
    OutputPaths,
    gathered_whole,
    known_records,
    read_record,
    record_summary,
    remove_finished,
    results_key,
)
from .state import ExposureState, Failure, RunReport, ScheduledTask, SchedulingPolicy, StopRequest, may_be_retried
from .status import LastRun, write_last_run
from .worker_process import ABANDONED

log = logging.getLogger(__name__)
TICK = 0.5
"""Seconds between two looks at what else is to be done, whether or not a job has ended."""
LOCKED_WAIT = 2.
"""Seconds after which a task that another run is doing is looked at again."""
LOCKED_LOG_INTERVAL = 300
"""Such a wait is logged once in so many looks."""
MOST_LOSSES = 3
"""How often a task is tried again whose worker was killed."""
GATHER_MEMORY = 300.
"""MB that gathering is expected to take."""


class Run:
    """A run of a manifest, or of a part of it.

    Parameters
    ----------
    entries : list of ManifestEntry
    out : path-like
        Folder of the results, made when it is not there.
    options : RunOptions
    workers : Workers
    policy : SchedulingPolicy, optional
    follow_up : FollowUp, optional
    """

    def __init__(self, entries, out, options, workers, policy=None, follow_up=None):
        self.entries, self.out, self.options, self.workers = entries, Path(out).absolute(), options, workers
        self.policy, self.wanted_follow_up = policy or SchedulingPolicy(), follow_up
        self.report, self.follow_up = RunReport(total=len(entries)), None
        self.ready, self.later, self.running = deque(), [], {}
        self._order = itertools.count()

    def __call__(self, stop=None, progress=None):
        """Do all that is left.

        Parameters
        ----------
        stop : StopRequest, optional
        progress : callable, optional
            Called with ("run", settled, total, figures) as tasks are settled.

        Returns
        -------
        RunReport

        Raises
        ------
        CrowdsourceError
            When the options cannot be used or the folder cannot be written.
        """
        stop = stop or StopRequest()
        self.progress = progress or (lambda *_: None)
        claim = self._prepare()
        self._show_progress()
        abandoned = True
        try:
            while not self._over(stop):
                self._wake()
                while not stop.level and self._start_next():
                    pass
                if self.running:
                    finished, _ = wait(self.running, TICK, FIRST_COMPLETED)
                    self.workers.check_connection()
                    for future in finished:
                        self._finish(*self.running.pop(future), future)
                elif self.later and not stop.level:
                    time.sleep(max(0., min(self.later[0][0]-time.monotonic(), TICK)))
            abandoned = stop.level > 1
        finally:
            # whatever ends the loop, an exception too: nobody waits for the jobs that run
            self.workers.close(abandon=abandoned)
            for lock in (claim, *(lock for _, lock in self.running.values())):
                _free(lock)
        if stop.level and not self.report.stopped:
            self.report.stopped = "by a signal"
        return self.report

    def _prepare(self):
        """Check the options, and find what is done already; gives the lock of the release that is going to be made."""
        if self.wanted_follow_up is not None:
            self.follow_up = StoreFollowUp(self.wanted_follow_up)
        instruments = {e.instrument for e in self.entries if not e.problem}
        self.options.check(instruments)
        if self.options.task_memory and not self.workers.own_process:
            raise ConfigError("--task-memory is the limit of a process: tasks need one each, as with --executor processes")
        check_folder(self.out, overwrite=True)
        _make_folder(self.out)
        reads = self.options.reads()
        self.settings = self.options.job_settings(instruments, reads)
        write_last_run(self.out, LastRun(options=self.options, reads=reads, workers=self.workers.number))
        for e in self.entries:
            if e.problem:
                self.report.add_settled(e.name, dict(state=FAILED, reason="input", error=e.problem))
        for label, entries in entries_by_label(self.entries).items():
            self._prepare_exposure(label, entries, reads)
        if self.follow_up is None:
            return None
        if self.ready or self.follow_up.waiting:
            self.follow_up.check_release()
        return self.follow_up.claim_release(self.out)

    def _prepare_exposure(self, label, entries, reads):
        """Find what is done of an exposure, and queue the rest."""
        paths = OutputPaths(self.out, label)
        key = results_key(entries[0], self.options.result_settings(entries[0].instrument, reads))
        known = known_records(paths, entries, key)
        exposure = ExposureState(paths=paths, entries=entries, key=key, gathered=known.gathered, records=known.detectors)
        self._drop_what_is_done_again(exposure)
        for e in entries:
            if e.detector in exposure.records:
                self.report.add_settled(e.name, exposure.records[e.detector])
                self.report.before += exposure.records[e.detector]["state"] == DONE
            else:
                self.ready.append(ScheduledTask(kind=FIT, name=e.name, exposure=exposure, entry=e, memory=e.memory))
        if not exposure.left:
            self._exposure_settled(exposure)

    def _drop_what_is_done_again(self, exposure):
        """Take the records out of an exposure whose tasks are done again."""
        again = [d for d, r in exposure.records.items()
                 if may_be_retried(r) or (self.policy.retry_failed and r["state"] == FAILED)]
        for detector in again:
            del exposure.records[detector]
        if again or exposure.gathering_due:
            # a detector that is to be gathered anew must be among the finished ones
            for d in exposure.done:
                if read_record(exposure.paths.detector_record(d), exposure.key) is None:
                    del exposure.records[d]

    def _exposure_settled(self, exposure):
        """Go on with an exposure whose detectors are all done or failed."""
        if exposure.gathering_due:
            self.ready.appendleft(ScheduledTask(kind=GATHER, name=exposure.name, exposure=exposure, memory=GATHER_MEMORY))
        elif exposure.gathered is not None:
            self._exposure_gathered(exposure)

    def _exposure_gathered(self, exposure):
        """Go on with an exposure that has its catalog."""
        if len(exposure.done) == len(exposure.records) and FinishedDetectors(exposure.paths.catalog).folder.exists():
            remove_finished(exposure.paths)  # a run that was killed has left them
        problem = None if self.follow_up is None else self.follow_up.add(exposure)
        if problem is not None:
            self.report.failed[f"{exposure.name} into the store"] = problem

    def _over(self, stop):
        """Whether the run has come to its end."""
        if stop.level > 1 or (not self.running and (stop.level or self.report.stopped)):
            return True
        if self.running or self.ready or self.later:
            return False
        after = self.follow_up
        return after is None or not (after.waiting or (not self.report.stopped and after.release_due()))

    def _wake(self):
        """Make postponed tasks ready whose time has come."""
        while self.later and self.later[0][0] <= time.monotonic():
            self.ready.appendleft(heapq.heappop(self.later)[2])

    def _postpone(self, task, seconds):
        heapq.heappush(self.later, (time.monotonic()+seconds, next(self._order), task))

    def _start_next(self):
        """Give a worker the next job for which there is room; whether one was started or found done."""
        if len(self.running) >= self.workers.number or self.report.stopped:
            return False
        task = self._next_task()
        if task is None:
            return False
        if task.exposure is None and self._following_up():
            self._postpone(task, LOCKED_WAIT)
            return True
        task.job = task.job or self._job(task)
        lock = None
        if task.exposure is not None:
            try:
                lock = _locked(task)
            except OSError as problem:
                self._judge(task, {**new_outcome(task.job), **failure(problem)})
                return True
            if lock is None:
                self._wait_for_other_run(task)
                return True
            if self._done_by_other_run(task):
                _free(lock)
                return True
        return self._submit(task, lock)

    def _submit(self, task, lock):
        """Give a task to the executor; whether it takes it."""
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

    def _next_task(self):
        """The task that is started next; None where there is none or no room for it."""
        if self.follow_up is not None and not self._following_up():
            task = self.follow_up.next_task(fits_left=bool(self.ready or self.later or self.running))
            if task is not None:
                return task
        if not self.ready:
            return None
        used = sum(t.memory for t, _ in self.running.values())
        if self.running and used+self.ready[0].memory > self.policy.memory:
            return None
        return self.ready.popleft()

    def _following_up(self):
        """Whether catalogs are being ingested, or a release is being made: one at a time."""
        return any(t.kind in (INGEST, ASSEMBLE) for t, _ in self.running.values())

    def _wait_for_other_run(self, task):
        """Look again later at a task that another run is doing."""
        if task.waits % LOCKED_LOG_INTERVAL == 0:
            path = task.exposure.paths.lock(task.entry.detector if task.entry else None)
            log.log(logging.WARNING if task.waits else logging.INFO, "%s: another run works on it (%s is locked); waited for",
                    task.name, path)
        task.waits += 1
        self._postpone(task, LOCKED_WAIT)

    def _done_by_other_run(self, task):
        """Whether another run has done a task meanwhile; if so, its result is taken."""
        exposure = task.exposure
        gathered = read_record(exposure.paths.record, exposure.key)
        if task.kind == GATHER:
            if gathered is None or not gathered_whole(gathered, exposure.records, exposure.done):
                return False
            exposure.gathered = gathered
            self._exposure_gathered(exposure)
            return True
        record = read_record(exposure.paths.detector_record(task.entry.detector), exposure.key)
        every = [e.detector for e in exposure.entries]
        if record is None and gathered is not None and gathered_whole(gathered, every, every):
            # the finished detectors of an exposure that is gathered whole are removed
            exposure.gathered, record = gathered, gathered["detectors"][task.entry.detector]
        if record is None or record["state"] == FAILED:
            return False
        self._detector_settled(task, record)
        return True

    def _job(self, task):
        """What a worker is given."""
        exposure, e = task.exposure, task.entry
        job = dict(kind=task.kind, task=task.name, key=exposure.key, out=str(self.out), label=exposure.paths.label,
                   settings=self.settings)
        if task.kind == GATHER:
            return {**job, "record": str(exposure.paths.record), "detectors": [e.detector for e in exposure.entries],
                    "done": exposure.done}
        return {**job, "record": str(exposure.paths.detector_record(e.detector)), "log": str(exposure.paths.log(e.detector)),
                "instrument": e.instrument, "image": e.image, "exposure": e.exposure, "detector": e.detector,
                "options": {**self.options.of_instrument(e.instrument), **dict(e.options)},
                "inputs": [[i.path, i.size, i.mtime, i.sha256] for i in e.inputs]}

    def _finish(self, task, lock, future):
        """Take the outcome of a job that has ended."""
        try:
            outcome = outcome_of(task.job, future)
        except (JobLost, CancelledError) as problem:
            log.warning("%s: the executor has lost it (%s); given again", task.name, problem)
            _free(lock)
            self._postpone(task, self.policy.back_off)
            return
        if not self._judge(task, outcome) and outcome["pid"] is None:
            # its worker could not write the record
            write_outcome(task.job, outcome)
        _free(lock)

    def _judge(self, task, outcome):
        """Accept an outcome, or try the task again later; whether it is tried again."""
        most = {"io": self.policy.retries, "killed": MOST_LOSSES}.get(outcome["reason"], 0)
        again = outcome["state"] == FAILED and task.tries < most
        if again:
            task.tries += 1
            log.warning("%s: %s; tried again", task.name, outcome["error"])
            self._postpone(task, self.policy.back_off*2**(task.tries-1))
        elif outcome["reason"] != ABANDONED:
            self._accept(task, outcome)
        return again

    def _accept(self, task, outcome):
        """Go on after a task by its outcome."""
        failed = outcome["state"] == FAILED
        if failed:
            log.error("%s: %s", task.name, outcome["error"])
        if failed and outcome["reason"] == "output":
            self.report.stopped = outcome["error"]
        elif task.kind == FIT:
            self._detector_settled(task, outcome)
        elif failed:
            self.report.failed[task.name] = Failure(outcome["reason"], outcome["error"])
            if task.kind != GATHER:
                self.follow_up.task_failed(task)
        elif task.kind == GATHER:
            task.exposure.gathered = record_summary(outcome)
            self._exposure_gathered(task.exposure)
        else:
            self.follow_up.task_done(task)
            figures = ", ".join(f"{v} {n}" for n, v in outcome["figures"].items())
            self.report.lines.append(f"{task.name}: {figures}")

    def _detector_settled(self, task, record):
        """Go on after a detector that is done or failed."""
        exposure = task.exposure
        exposure.records[task.entry.detector] = record_summary(record)
        self.report.add_settled(task.name, record)
        self._show_progress()
        if not exposure.left:
            self._exposure_settled(exposure)

    def _show_progress(self):
        self.progress("run", self.report.settled, self.report.total, dict(failed=len(self.report.failed)))


def _make_folder(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{folder}: cannot be made ({problem.strerror}); choose another place (--out)") from problem


def _locked(task):
    """The lock of a task; None where another run has it."""
    paths = task.exposure.paths
    _make_folder(paths.folder)
    try:
        return take_lock(paths.lock(task.entry.detector if task.entry else None))
    except OSError as problem:
        raise OutputError(f"{paths.folder}: cannot be written ({problem.strerror}); free space or choose another place") \
            from problem


def _free(lock):
    if lock is not None:
        lock.free()
