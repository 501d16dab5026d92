"""What is shown while a command runs: log lines and bars of progress."""
import contextlib
import logging
import os
import sys
import threading
from multiprocessing import parent_process

NAME = "crowdsource"


class Talk:
    """How much is shown: a bar on a terminal, log lines elsewhere.

    Parameters
    ----------
    log : logging.Logger
    """

    def __init__(self, log):
        self.log = log
        self.bar = False
        self.set(False, False)

    def set(self, verbose, quiet):
        """Choose by the user's wish and by whether there is a terminal."""
        self.bar = sys.stderr.isatty() and not quiet and not verbose
        self.log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING if self.bar else logging.INFO)

    @contextlib.contextmanager
    def progress(self):
        """A callback for `crowdsource.exposure.run.run`, or None where log lines tell enough."""
        if not self.bar:
            yield None
            return
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm
        with logging_redirect_tqdm([self.log]), tqdm(leave=False) as bar:
            def show(stage, number, total, info):
                bar.total, bar.n = (number if stage == "measure" else total), number
                bar.set_description(stage, refresh=False)
                bar.set_postfix(info)
            yield show


    @contextlib.contextmanager
    def processes(self, workers):
        """A pool of so many processes that talk as this one does; None for one."""
        if workers == 1:
            yield None
            return
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context
        # a new interpreter for each: a copy of this one would have its locks and threads too
        with ProcessPoolExecutor(workers, get_context("spawn"), start_worker, (self.log.level,)) as pool:
            try:
                yield pool
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


class Named(logging.Formatter):
    """Log lines after the name of the detector that is worked on."""

    def format(self, record):
        """The line; see `logging.Formatter`."""
        from ..exposure.run import CURRENT
        return f"{CURRENT.get()}: "*bool(CURRENT.get())+super().format(record)


def _handler():
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Named("%(message)s"))
    return handler


@contextlib.contextmanager
def talking():
    """The package's log on stderr while a command runs; gives the `Talk`."""
    log = logging.getLogger(NAME)
    level, handler = log.level, _handler()
    log.addHandler(handler)
    try:
        yield Talk(log)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def start_worker(level):
    """Let the process of a worker talk as the command does, and end with it; `level` is the log's."""
    log = logging.getLogger(NAME)
    log.addHandler(_handler())
    log.setLevel(level)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent):
    """End this process when its parent has: one that was killed tells nobody, and a worker would wait for work for ever."""
    parent.join()
    os._exit(1)
