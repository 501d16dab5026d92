"""Which points lie near which."""
import numpy as np

from ..cython_ext import near as kernel


def neighbours(x, y, centre_x, centre_y, reach):
    """The points within reach of each centre.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Points.
    centre_x, centre_y : array_like, shape (m,)
    reach : float or array_like, shape (m,)

    Returns
    -------
    indptr : ndarray, shape (m+1,), intp
    indices : ndarray, intp
        Points near centre k are ``indices[indptr[k]:indptr[k+1]]``, in no particular order.
    """
    reach = np.broadcast_to(reach, np.shape(centre_x))
    return kernel.neighbours(*(np.ascontiguousarray(v, dtype=np.float64) for v in (x, y, centre_x, centre_y, reach)))


def pairs(x, y, reach):
    """Pairs of points within reach of each other.

    Parameters
    ----------
    x, y : array_like, shape (n,)
    reach : float

    Returns
    -------
    ndarray of intp, shape (m, 2)
        Each pair once, the smaller number first.
    """
    indptr, second = neighbours(x, y, x, y, reach)
    first = np.repeat(np.arange(len(indptr)-1), np.diff(indptr))
    once = first < second
    return np.stack([first[once], second[once]], axis=1)
