"""StackedTables of rows sorted by whole numbers."""
import numpy as np

from ..cython_ext import order as kernel

STRIP = 8192
"""Rows that are copied together, so that they are still in the processor's cache when their columns are read."""


def order_by(*keys):
    """The order of rows by whole numbers, the most important first; equal rows stay as they are.

    Parameters
    ----------
    *keys : ndarray, shape (n,)
        Whole numbers.

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
        Structured arrays, one at least, and which of their rows are meant.
    order : ndarray, shape (m,)
        Numbers of rows, counted through all that are meant.
    dtype : dtype
        Of the rows that are wanted.

    Returns
    -------
    ndarray, shape (m,)
    """
    return _rows([(rows.astype(dtype, copy=False), which) for rows, which in parts]).take(order).reshape(-1).view(dtype)


def sorted_rows(rows, *keys):
    """A structured array in the order of `order_by`."""
    return take_rows([(rows, np.arange(len(rows)))], order_by(*keys), rows.dtype)


class StackedTables:
    """Structured arrays, one after the other, whose rows are wanted in another order.

    Parameters
    ----------
    tables : list of ndarray
        Those of one dtype count as one.

    Attributes
    ----------
    dtypes : list of dtype
        All that there are.
    """

    def __init__(self, tables):
        self.dtypes = list(dict.fromkeys(t.dtype for t in tables))
        self.kind = np.repeat(*np.array([(self.dtypes.index(t.dtype), len(t)) for t in tables], np.intp).reshape(-1, 2).T)
        self.groups = [_rows([(t, np.arange(len(t))) for t in tables if t.dtype == d]) for d in self.dtypes]
        self.within = np.empty(len(self.kind), np.intp)
        for k, group in enumerate(self.groups):
            self.within[self.kind == k] = np.arange(len(group))

    def strips(self, order):
        """The rows in an order, some at a time.

        Parameters
        ----------
        order : ndarray, shape (m,)
            Numbers of rows, counted through all tables.

        Yields
        ------
        at : slice or ndarray of int
            Where in the order they are.
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
