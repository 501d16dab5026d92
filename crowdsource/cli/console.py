"""What a command shows while it runs: log lines and a progress bar on stderr, results on stdout."""
import contextlib
import logging
import os
import re
import sys
import threading
from multiprocessing import parent_process

from ..api.progress import shown_on
from ..core.logs import CURRENT_DETECTOR, LOGGER


class Console:
    """A progress bar where stderr is a terminal, log lines elsewhere.

    Parameters
    ----------
    log : logging.Logger
    """

    def __init__(self, log):
        self.log = log
        self.bar = False
        self.configure(False, False)

    def configure(self, verbose, quiet):
        """Choose how much is shown, by the user's options and by whether there is a terminal."""
        self.bar = sys.stderr.isatty() and not quiet and not verbose
        self.log.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.WARNING if self.bar else logging.INFO)

    def print(self, *lines):
        """Print lines on stdout."""
        for line in lines:
            print(line)

    def error(self, text):
        """Print what was wrong on stderr, on one line."""
        print(f"crowdsource: error: {with_options(' '.join(text.split()))}", file=sys.stderr)

    @contextlib.contextmanager
    def progress(self):
        """A callback for `crowdsource.exposure.run.run` that draws the bar; None where log lines show the progress."""
        if not self.bar:
            yield None
            return
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm
        with logging_redirect_tqdm([self.log]), tqdm(leave=False) as bar:
            yield shown_on(bar)

    @contextlib.contextmanager
    def processes(self, workers):
        """An executor with so many processes, which log as this one does; None for one."""
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


ARGUMENT = re.compile(r"`(?P<name>\w+)(?:=(?P<value>[^`]*))?`")
"""An argument of Python in a message."""


def with_options(message):
    """A message with options of the command in the place of arguments of Python: ``--overwrite`` for ```overwrite=True```."""
    def option(found):
        value = "" if found["value"] in (None, "True") else " "+found["value"].strip("'")
        return f"--{found['name'].replace('_', '-')}{value}"
    return ARGUMENT.sub(option, message)


class DetectorFormatter(logging.Formatter):
    """Log lines that begin with the name of the detector that is being fitted, and name options of the command."""

    def format(self, record):
        """The line; see `logging.Formatter`."""
        return f"{CURRENT_DETECTOR.get()}: "*bool(CURRENT_DETECTOR.get())+with_options(super().format(record))


def _handler():
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(DetectorFormatter("%(message)s"))
    return handler


@contextlib.contextmanager
def open_console():
    """A `Console`; while it is open, the package's log goes to stderr."""
    log = logging.getLogger(LOGGER)
    level, handler = log.level, _handler()
    log.addHandler(handler)
    try:
        yield Console(log)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def start_worker(level):
    """Let a worker process log as the command does, at a logging level, and end when the command ends."""
    log = logging.getLogger(LOGGER)
    log.addHandler(_handler())
    log.setLevel(level)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()


def _end_with(parent):
    """End this process when its parent has ended: a killed parent cannot tell its workers, which would wait for ever."""
    parent.join()
    os._exit(1)
