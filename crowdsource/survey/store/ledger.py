"""The ledger: one row for each image that ever came into the store, by the image's number.

An image stands here for the detections of one (exposure, detector, band). Its number is called ``source`` in the store's files.
"""
from math import isnan

import numpy as np

LEDGER_COLUMNS = (
    ("source", "i4"), ("exposure", "S"), ("detector", "S"), ("band", "S"), ("system", "S"), ("mjd", "f8"), ("zeropoint", "f8"),
    ("pixel_scale", "f8"), ("instrument", "S"), ("image", "i8"), ("rows", "i8"), ("rejected", "i8"), ("checksum", "S"),
    ("file", "S"))
"""Names and types of the columns, which docs/store.md explains; strings are as long as the longest value."""
TEXT_COLUMNS = tuple(n for n, t in LEDGER_COLUMNS if t == "S")


def ledger_rows(chunks, numbers):
    """Rows of the ledger by image number, without joining the whole ledger.

    Parameters
    ----------
    chunks : sequence of ndarray
        As in `crowdsource.survey.store.commit_log.StoreState`.
    numbers : ndarray, shape (n,)
        Ascending.

    Returns
    -------
    ndarray, shape (n,)
    """
    ends = np.array([c["source"][-1] for c in chunks])
    which = np.searchsorted(ends, numbers)
    return np.concatenate([chunks[k][numbers[which == k]-chunks[k]["source"][0]] for k in np.unique(which)])


def empty_ledger():
    """A ledger without rows."""
    return np.zeros(0, [(n, t+"1" if t == "S" else t) for n, t in LEDGER_COLUMNS])


def ledger_from_columns(columns):
    """Rows of the ledger from lists by name; strings become bytes, None becomes NaN."""
    arrays = {}
    for name, kind in LEDGER_COLUMNS:
        values = columns[name]
        if kind == "S":
            values = [v.encode() for v in values]
            arrays[name] = np.array(values, f"S{max(1, max(map(len, values), default=0))}")
        else:
            arrays[name] = np.array([np.nan if v is None else v for v in values] if kind == "f8" else values, kind)
    out = np.zeros(len(arrays["source"]), [(n, a.dtype) for n, a in arrays.items()])
    for name, array in arrays.items():
        out[name] = array
    return out


def columns_from_ledger(rows):
    """The opposite of `ledger_from_columns`, for JSON."""
    out = {n: rows[n].tolist() for n, _ in LEDGER_COLUMNS}
    for name, kind in LEDGER_COLUMNS:
        if kind == "S":
            out[name] = [v.decode() for v in out[name]]
        elif kind == "f8":
            out[name] = [None if isnan(v) else v for v in out[name]]
    return out
