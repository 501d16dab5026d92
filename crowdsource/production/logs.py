"""A log file for each task: a line of JSON for each message."""
import json
import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..core.logs import LOGGER


class Lines(logging.Formatter):
    """Messages as lines of JSON."""

    def format(self, record):
        """The line; see `logging.Formatter`."""
        line = dict(time=datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
                    level=record.levelname.lower(), logger=record.name, message=record.getMessage())
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


@contextmanager
def logged(path, own):
    """The package's log in a file meanwhile; what this thread says only, where the process is not its `own`."""
    if path is None:
        yield
        return
    logger, thread = logging.getLogger(LOGGER), threading.get_ident()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(Lines())
        if not own:
            handler.addFilter(lambda record: record.thread == thread)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
