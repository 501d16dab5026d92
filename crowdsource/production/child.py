"""A process of its own for jobs: one that hangs or is killed costs its job only.

It is a new Python with the modules loaded, takes one job after the other as lines of JSON, and ends with the process that
started it. Nothing that it says is executed or unpickled.
"""
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module

from ..core.logs import LOGGER
from .jobs import failure, outcome_of, perform, recorded
from .records import FAILED

MOST = 200
"""Jobs after which a process is replaced: what its libraries may lose of memory stays bounded."""
ABANDONED = "abandoned"
"""Why a job was not done whose process was stopped by wish."""
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Unless the user wants otherwise: threads of the linear algebra library would wait for each other on all processors."""
STARTING = 120.
"""Seconds for a new process to be ready."""


class Lost(Exception):
    """The process of a job is gone."""


class Child:
    """A process that does jobs, started when the first is given and again when it was lost."""

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
            if self.process is None or self.process.poll() is not None or self.count >= MOST:
                self._start()
            self.count += 1
            start = time.monotonic()
            self.process.stdin.write(json.dumps(job)+"\n")
            self.process.stdin.flush()
            outcome = json.loads(self._line(limit))
            if outcome["task"] != job["task"]:
                raise Lost("told of another job")
            return outcome
        except queue.Empty:
            told = dict(reason="time", error=f"took longer than {limit:g} s; allow more (--time-limit) or look at its log")
        except (Lost, OSError, ValueError, AttributeError) as problem:
            told = dict(reason="killed", error=self._end(problem))
        except BaseException:
            # what it tells later must not be taken for the next job's
            self.stop()
            raise
        abandoned = self.abandoned
        self.stop()
        outcome = {**outcome_of(job), "state": FAILED, **told, "seconds": round(time.monotonic()-start, 3)}
        return {**outcome, "reason": ABANDONED} if abandoned else recorded(job, outcome)

    def abandon(self):
        """Kill the process; its job is as if it had not been given."""
        self.abandoned = True
        self.stop()

    def _start(self):
        self.stop()
        # a message of the job, or of what it calls, must not be taken for an outcome
        self.process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, encoding="utf-8", start_new_session=True,
                                        env={**ONE_THREAD, **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        self.lines, self.count, self.abandoned = queue.SimpleQueue(), 0, False
        threading.Thread(target=_listen, args=(self.process.stdout, self.lines), daemon=True).start()
        try:
            self._line(STARTING)
        except queue.Empty:
            raise Lost(f"did not start within {STARTING:g} s") from None

    def _line(self, limit):
        line = self.lines.get(timeout=limit)
        if line is None:
            raise Lost("ended")
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
        # one that waits for a file system which is gone cannot even be killed
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


OF_THREADS = threading.local()
"""The process of each thread that supervises jobs."""


def supervised(job, limit=None, group=""):
    """Do a job in this thread's own process; parameters and return as `Child.run`, and a word for `stop_all`."""
    if not hasattr(OF_THREADS, "child"):
        OF_THREADS.child = Child()
        OF_GROUPS.setdefault(group, []).append(OF_THREADS.child)
    return OF_THREADS.child.run(job, limit)


OF_GROUPS = {}
"""The processes of this one, by the words they were begun with."""


def stop_all(group):
    """Kill the processes of a group, whose jobs are as if they had not been given."""
    for child in OF_GROUPS.pop(group, ()):
        child.abandon()


def main():
    """Do the jobs that come in, until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs = queue.SimpleQueue()
    threading.Thread(target=_take, args=(jobs,), daemon=True).start()
    _ready()
    out.write("ready\n")
    out.flush()
    while True:
        job = jobs.get()
        try:
            outcome = perform(job, own=True)
        except BaseException as problem:
            outcome = {**outcome_of(job), **failure(problem)}
        out.write(json.dumps(outcome)+"\n")
        out.flush()


def _take(jobs):
    """Jobs from the standard input; at its end the one who gave them is gone, and nobody wants the outcome."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(1)


def _ready():
    """Load what fits need, so that the first job takes as long as the others, and has memory for its work alone."""
    import logging

    from ..exposure.run import FITTING
    for name in (FITTING, "astropy.table"):
        import_module(name)
    logging.getLogger(LOGGER).setLevel(logging.INFO)
    logging.getLogger(LOGGER).addHandler(logging.NullHandler())
    logging.captureWarnings(True)


if __name__ == "__main__":
    main()
