"""Where jobs are done: processes of this machine, threads, a Dask cluster, or any executor of `concurrent.futures`.

A third party registers one through the entry-point group ``crowdsource.executors``: a callable that takes the number of workers
and gives a `concurrent.futures.Executor`, in whose workers crowdsource can be imported and which see the same files.
"""
import logging
import time
import uuid
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from importlib.metadata import entry_points
from threading import TIMEOUT_MAX

from ..core.errors import ConfigError, need
from .child import stop_all, supervised
from .jobs import perform

log = logging.getLogger(__name__)
GROUP = "crowdsource.executors"
OWN = "processes", "threads", "dask"
PATIENCE = 600.
"""Seconds for which a scheduler that went away is waited for."""


class Gone(Exception):
    """The executor has lost a job, which is not the job's fault: it is given again."""


class Workers:
    """An executor with what its workers do.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    number : int
        Jobs that are given at a time.
    limit : float or None
        Seconds for each job.
    alone : bool
        Each job in a process of its own.
    """

    def __init__(self, executor, number, limit=None, alone=True):
        self.executor, self.number, self.limit, self.alone = executor, number, limit, alone
        self.group = uuid.uuid4().hex

    def submit(self, job):
        """The Future of a job's outcome."""
        return self.executor.submit(supervised, job, self.limit, self.group) if self.alone else self.executor.submit(perform, job)

    def look(self):
        """See whether the executor has lost what it was given."""
        getattr(self.executor, "look", lambda: None)()

    def close(self, abandon=False):
        """End; with `abandon`, without waiting for what is being done."""
        if abandon:
            stop_all(self.group)
        self.executor.shutdown(wait=not abandon, cancel_futures=True)
        stop_all(self.group)


def workers_of(name, number, limit=None, scheduler=None):
    """The `Workers` that a name stands for.

    Parameters
    ----------
    name : str
        Of `OWN`, or registered.
    number : int
    limit : float, optional
        Seconds for each job.
    scheduler : str, optional
        Address of Dask's.

    Raises
    ------
    ConfigError
        When there is none of the name, or it cannot do what is asked.
    MissingExtraError
        When Dask is not installed.
    """
    if scheduler is not None and name != "dask":
        raise ConfigError(f"--scheduler is of --executor dask, not {name}")
    if limit is not None and not limit < TIMEOUT_MAX:
        raise ConfigError(f"--time-limit is {limit:g} s: at most {TIMEOUT_MAX:.0f}")
    if name == "processes":
        return Workers(ThreadPoolExecutor(number), number, limit)
    if name == "threads":
        if limit is not None:
            raise ConfigError("--time-limit: threads cannot be stopped; use --executor processes")
        return Workers(ThreadPoolExecutor(number), number, alone=False)
    if name == "dask":
        if scheduler is None:
            raise ConfigError("--executor dask needs --scheduler ADDRESS, as tcp://host:8786")
        return Workers(DaskExecutor(scheduler), number, limit)
    points = {p.name: p for p in entry_points(group=GROUP)}
    if name not in points:
        raise ConfigError(f"no executor {name!r}: choose one of {', '.join((*OWN, *points))}")
    try:
        executor = points[name].load()(number)
    except Exception as problem:
        raise ConfigError(f"executor {name} ({points[name].value}) cannot be used: {problem}") from problem
    if not isinstance(executor, Executor):
        raise ConfigError(f"executor {name} ({points[name].value}) gives no concurrent.futures.Executor")
    return Workers(executor, number, limit)


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
        """As `concurrent.futures.Executor.submit`; the future has `Gone` when the cluster has lost the job."""
        if self.client.status != "running":
            self._connect(self.patience)
        out = Future()
        out.set_running_or_notify_cancel()
        future = self.client.submit(fn, *args, pure=False, **kwargs)
        self.waiting[out] = future
        future.add_done_callback(lambda f: self._finish(out, f))
        return out

    def look(self):
        """Tell of jobs that went with the scheduler: their callbacks may never come."""
        if self.client.status != "running":
            for out in list(self.waiting):
                self._settle(out, error=Gone("the scheduler is gone"))

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
                # as of workers that died of it, one after the other
                self._settle(out, error=BrokenExecutor(str(future.exception())))
            else:
                self._settle(out, error=Gone(future.status))
        except Exception as problem:
            # its result was on a worker that is gone, or the connection is
            self._settle(out, error=Gone(str(problem)))

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
