"""How the C library manages memory, where that is GNU's."""
import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of ``mallopt`` (malloc.h)."""
LARGE = 1 << 30


def keep_memory():
    """Let freed memory serve again instead of giving it back to the system at once.

    Commands that go through tables of a hundred megabytes each spend a sixth of their time on new pages otherwise, and threads
    that ask for pages at the same time wait for each other.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        # another C library
        return
    mallopt(MMAP_THRESHOLD, LARGE)
    mallopt(TRIM_THRESHOLD, LARGE)
