"""A process of its own for jobs: one that hangs or is killed costs its job only.

It is a new Python with the modules loaded, takes one job after the other as lines of JSON, and ends with the process that
started it. Nothing that it sends is executed or unpickled.
"""
import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module

from ..core.logs import LOGGER
from .jobs import load_kind, perform
from .outcomes import failure, new_outcome, write_outcome
from .records import FAILED, FIT

MOST_JOBS = 200
"""Jobs after which a process is replaced: memory that libraries do not free stays bounded."""
ABANDONED = "abandoned"
"""Reason of a job that was not done because the user stopped its process."""
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Unless the user wants otherwise: threads of the linear algebra library would wait for each other on all processors."""
START_LIMIT = 120.
"""Seconds for a new process to be ready."""


class WorkerLost(Exception):
    """The process of a job is gone."""


class WorkerProcess:
    """A process that does jobs, started when the first is given and again when it was lost, unless it was abandoned."""

    def __init__(self):
        self.process, self.lines, self.count, self.abandoned = None, None, 0, False
        self.guard = threading.Lock()

    def run(self, job, limit=None):
        """Do a job.

        Parameters
        ----------
        job : dict
        limit : float, optional
            Seconds after which the process is killed.

        Returns
        -------
        dict
            The outcome; that of a failure where the process was killed or hangs.
        """
        start = time.monotonic()
        try:
            if self.process is None or self.process.poll() is not None or self.count >= MOST_JOBS:
                self.start()
            self.count += 1
            start = time.monotonic()
            self.process.stdin.write(json.dumps(job)+"\n")
            self.process.stdin.flush()
            outcome = json.loads(self._line(limit))
            if outcome["task"] != job["task"]:
                raise WorkerLost("it reported another job")
            return outcome
        except queue.Empty:
            lost = dict(reason="time", error=f"took longer than {limit:g} s; allow more (--time-limit) or look at its log")
        except (WorkerLost, OSError, ValueError, AttributeError) as problem:
            lost = dict(reason="killed", error=self._end(problem))
        except BaseException:
            # the outcome that is still to come must not be taken for that of the next job
            self.stop()
            raise
        abandoned = self.abandoned
        self.stop()
        outcome = {**new_outcome(job), "state": FAILED, **lost, "seconds": round(time.monotonic()-start, 3)}
        return {**outcome, "reason": ABANDONED} if abandoned else write_outcome(job, outcome)

    def abandon(self):
        """Kill the process for good; its job is as if it had not been given."""
        with self.guard:
            self.abandoned = True
        self.stop()

    def start(self):
        """Start the process, or another one, and wait until it is ready."""
        self.stop()
        # whoever abandons the process while it is being started waits until it is there and can be killed
        with self.guard:
            if self.abandoned:
                raise WorkerLost(ABANDONED)
            # the process logs to stderr: what a library prints must not be taken for an outcome
            process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True, encoding="utf-8", start_new_session=True,
                                       env={**ONE_THREAD, **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
            self.process, self.lines, self.count = process, queue.SimpleQueue(), 0
        threading.Thread(target=_listen, args=(process.stdout, self.lines), daemon=True).start()
        try:
            self._line(START_LIMIT)
        except queue.Empty:
            raise WorkerLost(f"did not start within {START_LIMIT:g} s") from None

    def _line(self, limit):
        line = self.lines.get(timeout=limit)
        if line is None:
            raise WorkerLost("ended")
        return line

    def _end(self, problem):
        """How the process ended."""
        process = self.process
        try:
            code = process.wait(5)
        except (subprocess.TimeoutExpired, AttributeError):
            return f"its process cannot be used ({problem}); run again"
        if code == -signal.SIGKILL:
            return "its process was killed (SIGKILL), as for want of memory: use fewer workers, or --memory"
        name = signal.Signals(-code).name if code < 0 else f"status {code}"
        return f"its process ended with {name}; look at its log, and run again"

    def stop(self):
        """Kill the process, and all that it started."""
        with self.guard:
            process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        # a process that waits for a lost network file system cannot be killed
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for stream in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                stream.close()


def _listen(stream, lines):
    """Put the lines of a stream into a queue, and None at its end."""
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            lines.put(line)
    lines.put(None)


class _OfThread(threading.local):
    """The process of each thread that supervises jobs."""

    worker = None


_CURRENT = _OfThread()
_GROUPS = {}
"""The worker processes of this process and the groups of their jobs: executors share nothing else with the functions that they
call."""
_STOPPED = set()
"""Groups that were stopped: an executor may still begin a job that it had taken before."""
_GUARD = threading.Lock()
"""Of the two above: a group is stopped either before a job is begun, which then is not, or after, and finds its process."""


def run_supervised(job, limit=None, group=""):
    """Do a job in the worker process of this thread.

    Parameters
    ----------
    job : dict
    limit : float, optional
        As `WorkerProcess.run`.
    group : str
        For `stop_all`.

    Returns
    -------
    dict
        The outcome.
    """
    with _GUARD:
        if group in _STOPPED:
            return {**new_outcome(job), "state": FAILED, "reason": ABANDONED}
        if _CURRENT.worker is None or _CURRENT.worker.abandoned:
            _CURRENT.worker = WorkerProcess()
        # an executor that the user made may do the jobs of several groups
        _GROUPS[_CURRENT.worker] = group
    return _CURRENT.worker.run(job, limit)


def stop_all(group):
    """Kill the processes of a group, now and for good; their jobs are as if they had not been given."""
    with _GUARD:
        _STOPPED.add(group)
        for worker in [w for w, g in _GROUPS.items() if g == group]:
            del _GROUPS[worker]
            worker.abandon()


def main():
    """Do the jobs that come in, until the process that gives them is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs = queue.SimpleQueue()
    threading.Thread(target=_take, args=(jobs,), daemon=True).start()
    _load_modules()
    out.write("ready\n")
    out.flush()
    while True:
        job = jobs.get()
        try:
            outcome = perform(job, own_process=True)
        except BaseException as problem:
            outcome = {**new_outcome(job), **failure(problem)}
        out.write(json.dumps(outcome)+"\n")
        out.flush()


def _take(jobs):
    """Queue the jobs from the standard input. At its end nobody wants the outcomes any more, and the process ends."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(1)


def _load_modules():
    """Load what fits need: the first job then takes as long as the others, and its memory limit counts its own memory only."""
    load_kind(FIT)
    import_module("astropy.table")
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    logging.getLogger(LOGGER).addHandler(logging.NullHandler())
    logging.captureWarnings(True)


if __name__ == "__main__":
    main()
