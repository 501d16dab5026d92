"""Where jobs are done: processes of this machine, threads, a Dask cluster, or any executor of `concurrent.futures`.

An executor is chosen by a name of the registry `EXECUTORS`, or handed over itself. A third party registers one through the
entry-point group ``crowdsource.executors``: a callable that takes the number of workers and returns a
`concurrent.futures.Executor`, in whose workers crowdsource can be imported and which see the same files. Where it takes a second
argument ``scheduler``, it gets the address that the user gives.
"""
import inspect
import logging
import time
import uuid
from collections import deque
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from threading import TIMEOUT_MAX

from ..core.errors import ConfigError, CrowdsourceError, OutputError, need
from ..core.registry import Registry
from .jobs import perform
from .outcomes import failure, new_outcome
from .records import FAILED, lasts, read_record
from .worker_process import run_supervised, stop_all

log = logging.getLogger(__name__)
TICK = 0.5
"""Seconds between two looks at whether the workers are there."""
MOST_TRIES = 3
"""How often a task is tried whose worker was lost, or whose files could not be read or written."""
PATIENCE = 600.
"""Seconds for which a scheduler that went away is waited for."""


def makes_executors(part):
    """Whether something is an executor, or makes one."""
    return isinstance(part, Executor) or callable(part)


EXECUTORS = Registry("crowdsource.executors", "executor", {
    "processes": f"{__name__}:ThreadPoolExecutor", "threads": f"{__name__}:InThreads", "dask": f"{__name__}:dask_executor",
}, keeps=makes_executors)
"""Executors by name. With all but ``threads`` each worker supervises a process that does its jobs."""


class JobLost(Exception):
    """The executor has lost a job, which is not the job's fault: it is given again."""


def outcome_of(job, future):
    """The outcome of a job that has ended; that of a failure where its worker was lost or an error came from the executor.

    Raises
    ------
    JobLost, concurrent.futures.CancelledError
        When the executor has lost the job: it is to be given again.
    """
    try:
        return future.result()
    except (JobLost, CancelledError):
        raise
    except BrokenExecutor as problem:
        lost = dict(state=FAILED, reason="killed", error=f"its worker was lost ({problem}), perhaps for want of memory")
        return {**new_outcome(job), **lost, "pid": None}
    except Exception as problem:
        return {**new_outcome(job), **failure(problem), "pid": None}


class InThreads(ThreadPoolExecutor):
    """Does jobs in threads of this process."""


class Workers:
    """An executor and how its workers do jobs.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    number : int
        Jobs that are given at a time.
    limit : float or None
        Seconds for each job.
    own_process : bool
        Each job is done in a process that does nothing else.
    """

    def __init__(self, executor, number, limit=None, own_process=True):
        self.executor, self.number, self.limit, self.own_process = executor, number, limit, own_process
        self.group = uuid.uuid4().hex

    def submit(self, job):
        """The Future of a job's outcome."""
        if not self.own_process:
            return self.executor.submit(perform, job)
        return self.executor.submit(run_supervised, job, self.limit, self.group)

    def check_connection(self):
        """Let an executor that can lose its workers notice it."""
        if isinstance(self.executor, DaskExecutor):
            self.executor.check_connection()

    def close(self, abandon=False):
        """End; with `abandon`, without waiting for the jobs that run."""
        if abandon:
            stop_all(self.group)
        self.executor.shutdown(wait=not abandon, cancel_futures=True)
        stop_all(self.group)


def outcomes(workers, jobs):
    """Let workers do jobs; yields each with its outcome as it ends.

    Those whose worker was lost, or whose files could not be read or written, are tried again.

    Parameters
    ----------
    workers : Workers
    jobs : sequence of dict
    """
    waiting, running = deque((job, 1) for job in jobs), {}
    while waiting or running:
        while waiting and len(running) < workers.number:
            job, tries = waiting.popleft()
            try:
                running[workers.submit(job)] = job, tries
            except BrokenExecutor as problem:
                raise OutputError(f"the executor takes no more jobs ({problem}); run again") from problem
        finished, _ = wait(running, TICK, FIRST_COMPLETED)
        workers.check_connection()
        for future in finished:
            job, tries = running.pop(future)
            try:
                outcome = outcome_of(job, future)
            except (JobLost, CancelledError) as problem:
                outcome = {**new_outcome(job), **failure(problem), "reason": "killed"}
            if outcome["state"] == FAILED and outcome["reason"] in ("killed", "io") and tries < MOST_TRIES:
                log.warning("%s: %s; tried again", job["task"], outcome["error"])
                waiting.append((job, tries+1))
            else:
                yield job, outcome


def records_of(workers, jobs):
    """Records by task, of jobs that were done before, and again after each job that is done now.

    Jobs that are done, or failed for a reason that the same inputs give again, are not done again.

    Parameters
    ----------
    workers : Workers
    jobs : sequence of dict

    Yields
    ------
    dict of str to dict or None
        The same one, which grows.
    """
    records = {job["task"]: read_record(job["record"], job["key"]) for job in jobs}
    left = [job for job in jobs if not lasts(records[job["task"]])]
    yield records
    for job, outcome in outcomes(workers, left):
        records[job["task"]] = outcome
        yield records


def open_workers(executor, number, limit=None, scheduler=None):
    """The `Workers` of an executor.

    Parameters
    ----------
    executor : str, callable or concurrent.futures.Executor
        A name of `EXECUTORS`, a callable as it is registered there, or an executor.
    number : int
    limit : float, optional
        Seconds for each job.
    scheduler : str, optional
        Address of the scheduler of a running cluster.

    Raises
    ------
    ConfigError
        When there is no executor of the name, or it cannot do what is asked.
    MissingExtraError
        When Dask is not installed.
    """
    if limit is not None and not limit < TIMEOUT_MAX:
        raise ConfigError(f"--time-limit is {limit:g} s: at most {TIMEOUT_MAX:.0f}")
    name, made = EXECUTORS.name_of(executor), EXECUTORS.resolve(executor)
    if not isinstance(made, Executor):
        made = _make(made, name, number, limit, scheduler)
    in_threads = isinstance(made, InThreads)
    if in_threads and limit is not None:
        raise ConfigError("--time-limit: threads cannot be stopped; use --executor processes")
    return Workers(made, number, limit, own_process=not in_threads)


def _make(factory, name, number, limit, scheduler):
    """The executor that a callable makes."""
    takes_scheduler = "scheduler" in _parameters(factory)
    if scheduler is not None and not takes_scheduler:
        raise ConfigError(f"--scheduler is of --executor dask, not {name}")
    try:
        executor = factory(number, scheduler=scheduler) if takes_scheduler else factory(number)
    except CrowdsourceError:
        raise
    except Exception as problem:
        raise ConfigError(f"executor {name} cannot be used: {problem}") from problem
    if not isinstance(executor, Executor):
        raise ConfigError(f"executor {name} gives no concurrent.futures.Executor")
    return executor


def _parameters(function):
    """Names of a callable's parameters; none where they are not known, as of some written in C."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return ()


def dask_executor(number, scheduler=None):
    """The executor of a running Dask cluster, whose workers are its own."""
    if scheduler is None:
        raise ConfigError("--executor dask needs --scheduler ADDRESS, as tcp://host:8786")
    return DaskExecutor(scheduler)


class DaskExecutor(Executor):
    """The workers of a running Dask cluster.

    Parameters
    ----------
    address : str
        Of the scheduler.
    patience : float
        Seconds for which it is waited for when it cannot be reached.
    """

    def __init__(self, address, patience=PATIENCE):
        self.distributed = need("distributed", "dask", "--executor dask")
        self.address, self.patience, self.client = address, patience, None
        self.waiting = {}
        self._connect(min(patience, 30.))

    def submit(self, fn, /, *args, **kwargs):
        """As `concurrent.futures.Executor.submit`; the future has the error `JobLost` when the cluster has lost the job."""
        if self.client.status != "running":
            self._connect(self.patience)
        out = Future()
        out.set_running_or_notify_cancel()
        future = self.client.submit(fn, *args, pure=False, **kwargs)
        self.waiting[out] = future
        future.add_done_callback(lambda f: self._finish(out, f))
        return out

    def check_connection(self):
        """Give up the jobs that went with a lost scheduler: their callbacks may never come."""
        if self.client.status != "running":
            for out in list(self.waiting):
                self._settle(out, error=JobLost("the scheduler is gone"))

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Leave the cluster as it is."""
        if cancel_futures and self.waiting and self.client.status == "running":
            self.client.cancel(list(self.waiting.values()))
        self.client.close(timeout=5)

    def _finish(self, out, future):
        try:
            if future.status == "finished":
                self._settle(out, future.result())
            elif future.status == "error":
                # for example of workers that were killed by it, one after the other
                self._settle(out, error=BrokenExecutor(str(future.exception())))
            else:
                self._settle(out, error=JobLost(future.status))
        except Exception as problem:
            # the worker that held the result is gone, or the connection is
            self._settle(out, error=JobLost(str(problem)))

    def _settle(self, out, result=None, error=None):
        """Finish a future, once."""
        if self.waiting.pop(out, None) is not None:
            out.set_exception(error) if error is not None else out.set_result(result)

    def _connect(self, patience):
        """Join the cluster; wait while it is not there."""
        end, pause = time.monotonic()+patience, 1.
        if self.client is not None:
            self.client.close(timeout=1)
        while True:
            try:
                self.client = self.distributed.Client(self.address, timeout=5, set_as_default=False)
                return
            except (OSError, TimeoutError) as problem:
                if time.monotonic()+pause > end:
                    raise ConfigError(f"{self.address}: no scheduler answers ({problem}); start one (dask scheduler), and run "
                                      "again") from problem
                log.warning("%s: no scheduler answers; trying again", self.address)
                time.sleep(pause)
                pause = min(2*pause, 30.)
