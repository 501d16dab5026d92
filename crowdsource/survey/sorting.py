"""StackedTables of rows sorted by whole numbers."""
import numpy as np

from ..cython_ext import order as kernel

STRIP = 8192
"""Number of rows that are copied at a time, so that they are still in the processor's cache when their columns are read."""


def order_by(*keys):
    """The order of rows by integer keys, the most important first; equal rows keep their order.

    Parameters
    ----------
    *keys : ndarray, shape (n,)
        Integers.

    Returns
    -------
    ndarray, shape (n,), intp
    """
    order = None
    for key in reversed(keys):
        order = kernel.order_of(np.ascontiguousarray(key, dtype=np.int64), order)
    return order


def take_rows(parts, order, dtype):
    """Rows of several structured arrays in an order.

    Parameters
    ----------
    parts : list of (ndarray, ndarray)
        At least one structured array, each with the numbers of the rows that are used.
    order : ndarray, shape (m,)
        Numbers of rows, counted through all that are used.
    dtype : dtype
        Of the result.

    Returns
    -------
    ndarray, shape (m,)
    """
    return _rows([(rows.astype(dtype, copy=False), which) for rows, which in parts]).take(order).reshape(-1).view(dtype)


def sorted_rows(rows, *keys):
    """A structured array in the order of `order_by`."""
    return take_rows([(rows, np.arange(len(rows)))], order_by(*keys), rows.dtype)


class StackedTables:
    """Structured arrays one after the other, to be read in another order.

    Parameters
    ----------
    tables : list of ndarray
        Those of the same dtype are treated as one.

    Attributes
    ----------
    dtypes : list of dtype
        The different dtypes.
    """

    def __init__(self, tables):
        self.dtypes = list(dict.fromkeys(t.dtype for t in tables))
        self.kind = np.repeat(*np.array([(self.dtypes.index(t.dtype), len(t)) for t in tables], np.intp).reshape(-1, 2).T)
        self.groups = [_rows([(t, np.arange(len(t))) for t in tables if t.dtype == d]) for d in self.dtypes]
        self.within = np.empty(len(self.kind), np.intp)
        for k, group in enumerate(self.groups):
            self.within[self.kind == k] = np.arange(len(group))

    def strips(self, order):
        """The rows in an order, `STRIP` at a time.

        Parameters
        ----------
        order : ndarray, shape (m,)
            Numbers of rows, counted through all tables.

        Yields
        ------
        at : slice or ndarray of int
            Positions of the rows in the order.
        rows : ndarray
            Structured, of one of the dtypes.
        """
        for start in range(0, len(order), STRIP):
            place = order[start:start+STRIP]
            kind, at = self.kind[place], slice(start, start+len(place))
            for k, (dtype, group) in enumerate(zip(self.dtypes, self.groups)):
                if len(self.groups) > 1:
                    own = np.flatnonzero(kind == k)
                    place, at = order[start:start+STRIP][own], own+start
                yield at, group.take(self.within[place]).reshape(-1).view(dtype)


def _rows(parts):
    return kernel.Rows([(_as_bytes(rows), np.ascontiguousarray(which, dtype=np.intp)) for rows, which in parts])


def _as_bytes(rows):
    return np.ascontiguousarray(rows).view(np.int8).reshape(len(rows), rows.dtype.itemsize)
