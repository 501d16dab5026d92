"""What the log of a store tells of: sources, segments, other files, and the changes of a commit."""
from dataclasses import dataclass

import numpy as np

SOURCE = (("source", "i4"), ("exposure", "S"), ("detector", "S"), ("band", "S"), ("system", "S"), ("mjd", "f8"),
          ("zeropoint", "f8"), ("pixel_scale", "f8"), ("instrument", "S"), ("image", "i8"), ("rows", "i8"), ("rejected", "i8"),
          ("checksum", "S"), ("file", "S"))
"""What is known of a source: names and types; strings are as long as they need be."""


@dataclass(frozen=True)
class Segment:
    """A file of rows of one pixel.

    Attributes
    ----------
    path : str
        In the store.
    order, pixel : int
    rows, border : int
        Numbers of rows, and of those among them that lie in the pixel's border.
    first, last : int
        The lowest and highest source number in it.
    schema : str
        The same for segments of the same columns.
    sha256 : str
    """
    path: str
    order: int
    pixel: int
    rows: int
    border: int
    first: int
    last: int
    schema: str
    sha256: str


@dataclass(frozen=True)
class Listed:
    """A file of rejects or zero points.

    Attributes
    ----------
    path : str
        In the store.
    rows : int
    sha256 : str
    """
    path: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """What one commit changes.

    Attributes
    ----------
    added : tuple of Segment
    removed : tuple of Segment
    split : tuple of (int, int)
        Order and number of pixels that are leaves no more.
    sources : ndarray, shape (n,)
        New rows of the ledger; None for none.
    dead : tuple of int
        Numbers of sources that are replaced.
    rejects, zeropoints : Listed or None
    """
    added: tuple = ()
    removed: tuple = ()
    split: tuple = ()
    sources: np.ndarray = None
    dead: tuple = ()
    rejects: Listed = None
    zeropoints: Listed = None


def lookup(chunks, numbers):
    """Rows of the ledger by number, ascending, without joining all of it.

    Parameters
    ----------
    chunks : sequence of ndarray
        As of `State`.
    numbers : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
    """
    ends = np.array([c["source"][-1] for c in chunks])
    which = np.searchsorted(ends, numbers)
    return np.concatenate([chunks[k][numbers[which == k]-chunks[k]["source"][0]] for k in np.unique(which)])


def no_sources():
    """A ledger without rows."""
    return np.zeros(0, [(n, t+"1" if t == "S" else t) for n, t in SOURCE])


def source_rows(columns):
    """Rows of the ledger from lists by name; strings become bytes, None becomes NaN."""
    arrays = {}
    for name, kind in SOURCE:
        values = [v.encode() if isinstance(v, str) else np.nan if v is None else v for v in columns[name]]
        arrays[name] = np.array(values, f"S{max([1, *map(len, values)])}" if kind == "S" else kind)
    out = np.zeros(len(arrays["source"]), [(n, a.dtype) for n, a in arrays.items()])
    for name, array in arrays.items():
        out[name] = array
    return out


def source_columns(rows):
    """The opposite of `source_rows`, for JSON."""
    plain = lambda v: v.decode() if isinstance(v, bytes) else None if isinstance(v, float) and np.isnan(v) else v
    return {n: [plain(v) for v in rows[n].tolist()] for n, _ in SOURCE}
