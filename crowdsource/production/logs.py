"""The log file of a task: a line of JSON for each message."""
import json
import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..core.logs import LOGGER


class JsonFormatter(logging.Formatter):
    """Messages as lines of JSON."""

    def format(self, record):
        """The line; see `logging.Formatter`."""
        line = dict(time=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                    level=record.levelname.lower(), logger=record.name, message=record.getMessage())
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


@contextmanager
def log_file(path, own_process):
    """Write the package's log to a file while the block runs.

    Parameters
    ----------
    path : path-like or None
        None for no file.
    own_process : bool
        The process does nothing else meanwhile; otherwise only messages of this thread are written.
    """
    if path is None:
        yield
        return
    logger, thread = logging.getLogger(LOGGER), threading.get_ident()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(JsonFormatter())
        if not own_process:
            handler.addFilter(lambda record: record.thread == thread)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
