"""Locks that a crash does not leave behind: files locked by the system."""
import contextlib
import errno
import fcntl
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)
NO_LOCKS = errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS


class Lock:
    """A locked file, from `take_lock`."""

    def __init__(self, path, descriptor):
        self.path, self.descriptor = path, descriptor

    def free(self):
        """Remove the file and unlock it."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def take_lock(path):
    """Lock a file, made where it is not there.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Lock or None
        None where another process, or another lock of this one, has it.

    Raises
    ------
    OSError
        When the file cannot be made.
    """
    path = Path(path)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            if is_locked(path):
                return None
            continue  # one who only looked had it, as `is_locked` does for a moment
        except OSError as problem:
            if problem.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            log.debug("%s: the file system has no locks; two runs at once do the same work twice", path)
        # the one who had it may have removed it between opening and locking
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return Lock(path, descriptor)
        os.close(descriptor)


def is_locked(path):
    """Whether a file is there and locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
