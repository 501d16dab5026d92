"""How the C library manages memory, where that is GNU's."""
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (malloc.h)."""
LARGE, SMALL = 1 << 30, 1 << 20


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
