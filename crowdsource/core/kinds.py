"""Two kinds among values: those that several share at the narrow end, and wider ones apart from them."""
import numpy as np

FEWEST, LEAST_NARROW, LEAST_WIDE = 2, 0.1, 0.25
"""Smallest number of values that are a narrow kind, and smallest shares of both kinds: a few blends are none."""


def narrow_kind(values, gap):
    """Which values belong to the narrow kind where there are two; all where there is one.

    Parameters
    ----------
    values : ndarray, shape (n,)
    gap : float
        Between both kinds there is no value over this range.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    ordered, n = np.sort(values), len(values)
    below = np.flatnonzero(np.diff(ordered) > gap)+1
    below = below[(below >= max(FEWEST, LEAST_NARROW*n)) & (n-below >= LEAST_WIDE*n)]
    return values <= ordered[below[0]-1] if len(below) else np.ones(n, bool)
