"""Memory: how much of it reading files may take, and how the C library manages it, where that is GNU's."""
import ctypes
import math
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DataFileError

VARIABLE = "CROWDSOURCE_MEMORY"
"""Variable of the environment with the budget in MB: so that processes which are started have it too."""
SHARE = 0.75
"""Part of the machine's memory that is the budget where none is given."""
MEGA = 1e6
BYTES_OF_PIXEL = 46
"""What a fit takes for each pixel of its image."""
CGROUPS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"
"""Files with the limit of the control group: of its second version, of its first."""

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (malloc.h)."""
LARGE, SMALL = 1 << 30, 1 << 20


def budget():
    """Bytes that what a file claims to hold may take: as given, else three quarters of what the machine or its group has."""
    with suppress(ValueError):
        given = float(os.environ.get(VARIABLE, ""))
        if 0 < given < math.inf:
            return given*MEGA
    return SHARE*min(_machine(), *(_limit(path) for path in _group_files()))


@contextmanager
def memory_budget(megabytes):
    """Let `budget` be so many MB while the block runs, in processes too that it starts; None leaves it as it is."""
    before = os.environ.get(VARIABLE)
    if megabytes is not None:
        os.environ[VARIABLE] = f"{megabytes:.17g}"
    try:
        yield
    finally:
        if before is not None:
            os.environ[VARIABLE] = before
        elif megabytes is not None:
            os.environ.pop(VARIABLE, None)


def check_claim(path, size, what, hdu=None):
    """Raise `DataFileError` when what a file claims would take more memory than the `budget`, before any is taken.

    Parameters
    ----------
    path : path-like
    size : float
        Bytes.
    what : str
        What claims it, as the subject of a sentence.
    hdu : int or str, optional
    """
    most = budget()
    if size > most:
        raise DataFileError(path, f"{what} would take {size/MEGA:,.0f} MB of memory, and {most/MEGA:,.0f} MB are allowed; if the "
                            f"file is right, allow more (--memory, or {VARIABLE}), in MB", hdu)


def check_fit(path, shape, hdu=None):
    """Raise `DataFileError` when a fit of an image of a shape (ny, nx) would take more memory than the `budget`."""
    check_claim(path, BYTES_OF_PIXEL*math.prod(shape), f"a fit of {shape[1]} x {shape[0]} pixels", hdu)


def _machine():
    """Bytes of memory of the machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE")*os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return math.inf


def _group_files():
    """Files that may hold limits of the control group of this process."""
    found = list(CGROUPS)
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::/") and len(line) > len("0::/"):
                found.append(f"/sys/fs/cgroup{line[3:]}/memory.max")
    return found


def _limit(path):
    """The limit that a file holds; infinite where it is not there or holds none."""
    try:
        return float(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return math.inf


def return_memory():
    """Give freed memory back to the system at once.

    The C library learns from arrays that are freed to keep such memory, which grows into several gigabytes where images of many
    megabytes are worked on one after the other.
    """
    _set(SMALL)


def keep_memory():
    """Let freed memory serve again instead of giving it back to the system at once.

    Commands that go through tables of a hundred megabytes each spend a sixth of their time on new pages otherwise, and threads
    that ask for pages at the same time wait for each other.
    """
    _set(LARGE)


def _set(threshold):
    """Memory of more than so many bytes is the system's when it is freed."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        # another C library
        return
    mallopt(MMAP_THRESHOLD, threshold)
    mallopt(TRIM_THRESHOLD, threshold)
