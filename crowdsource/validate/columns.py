"""Columns of catalogs and truth tables as plain arrays."""
import numpy as np

from ..core.errors import InputError

NEEDED = "x", "y", "flux"


def plain_columns(table, optional=()):
    """x, y, flux and optional columns without units.

    Parameters
    ----------
    table : Table or mapping of arrays
    optional : sequence of str
        Columns that need not be there.

    Returns
    -------
    dict of str to ndarray, shape (n,), float64
        NaN where values are masked, and for optional columns that are not there.

    Raises
    ------
    InputError
        When x, y or flux is missing.
    """
    names = list(table.keys())
    missing = [n for n in NEEDED if n not in names]
    if missing:
        raise InputError(f"the table has no column {', '.join(missing)}; it has {', '.join(names)}")
    rows = len(np.atleast_1d(table["x"]))
    return {n: plain_column(table[n]) if n in names else np.full(rows, np.nan) for n in (*NEEDED, *optional)}


def plain_column(column):
    """A column without unit and mask."""
    return np.atleast_1d(np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan))
