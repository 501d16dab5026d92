"""Segments: files of rows of one pixel, written once, merged when they are many, divided when they hold too much."""
import hashlib
import json
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError
from ...io.hdf5 import opened_rows, write_rows
from ..healpix import INDEX, INDEX_ORDER, Pixel, at_border
from ..sorting import order_by, taken
from .records import Segment

DETECTIONS, SOURCES = "detections", "sources"
FIRST = (INDEX, "i8"), ("source", "i4"), ("detection_id", "i8")
"""Columns that every row begins with."""
MOST = 8
"""Segments of one pixel and schema above which they are merged."""
FEWEST = 5
"""Segments that a merge takes at least."""


def schema_of(dtype):
    """A word that is the same for the same columns; strings may differ in length."""
    columns = [(n, t.base.kind if t.base.kind == "S" else t.base.str, t.shape) for n, (t, *_) in
               ((n, dtype.fields[n]) for n in dtype.names)]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]


def write_segment(store, name, pixel, parts, sources, border_order):
    """Write rows of one schema.

    Parameters
    ----------
    store : path-like
    name : str
        Of the file, without its ending.
    pixel : Pixel
        In which all rows lie.
    parts : list of (ndarray, ndarray)
        Structured arrays, and which of their rows; at least one row, in any order.
    sources : callable
        Gives the ledger's rows of ascending numbers.
    border_order : int
        Order of the cells that are the border.

    Returns
    -------
    Segment
    """
    rows, border = in_order(parts, pixel, border_order)
    path = Path(DETECTIONS, pixel.path(""), f"{name}.h5")
    Path(store, path).parent.mkdir(parents=True, exist_ok=True)
    first = int(rows["source"].min())
    present = np.flatnonzero(np.bincount(rows["source"]-first))+first
    digest = write_rows(Path(store, path), {DETECTIONS: rows, SOURCES: trimmed(sources(present))},
                        dict(order=pixel.order, pixel=pixel.number, border=border, border_order=border_order), overwrite=True)
    return Segment(path.as_posix(), pixel.order, pixel.number, len(rows), border, first, int(present[-1]),
                   schema_of(rows.dtype), digest)


def in_order(parts, pixel, border_order):
    """Rows in a segment's order, and the number of those in the border.

    First the border's, then the others, each sorted by (index, detection_id).
    """
    index, ids = (np.concatenate([rows[n][which] for rows, which in parts]) for n in (INDEX, "detection_id"))
    border = at_border(index, pixel, border_order)
    order = order_by(index, ids)
    order = np.concatenate([order[border[order]], order[~border[order]]])
    return taken(parts, order, np.result_type(*{rows.dtype for rows, _ in parts})), int(border.sum())


def trimmed(table):
    """A structured array with its strings no longer than they need be."""
    types = []
    for name in table.dtype.names:
        kind = table.dtype[name]
        if kind.kind == "S":
            kind = f"S{max(1, int(np.char.str_len(table[name]).max(initial=0)))}"
        types.append((name, kind))
    return table.astype(types)


def read_segment(store, segment, alive, border=False):
    """Rows of a segment, without those of dead sources.

    Parameters
    ----------
    store : path-like
    segment : Segment
    alive : ndarray of bool
        By source number.
    border : bool
        Of its border only.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    DataFileError
        When it is not there or damaged.
    """
    path = Path(store, segment.path)
    with opened_rows(path) as file:
        try:
            rows = file[DETECTIONS][:segment.border if border else None]
        except (KeyError, OSError) as problem:
            raise DataFileError(path, f"its rows cannot be read ({problem}); restore it from a copy") from problem
    if len(rows) != (segment.border if border else segment.rows):
        raise DataFileError(path, f"has {len(rows)} rows, not {segment.rows}; restore it from a copy")
    if alive[segment.first:segment.last+1].all():
        return rows
    return rows[alive[rows["source"]]]


def by_schema(arrays, schema=lambda a: schema_of(a.dtype)):
    """Things in lists of the same schema, in the order of the schemas' words."""
    groups = {}
    for array in arrays:
        groups.setdefault(schema(array), []).append(array)
    return [groups[k] for k in sorted(groups)]


def to_merge(segments):
    """Which segments of one pixel and schema to merge when another comes: small ones, so that a row is seldom copied.

    Parameters
    ----------
    segments : sequence of Segment

    Returns
    -------
    list of Segment
    """
    if len(segments) < MOST:
        return []
    order = sorted(segments, key=lambda s: (s.rows, s.path))
    sums = np.cumsum([s.rows for s in order])
    n = FEWEST
    while n < len(order) and order[n].rows <= sums[n-1]:
        n += 1
    return order[:n]


def leaves_of(index, order, split):
    """The leaf of each row.

    Parameters
    ----------
    index : ndarray, shape (n,), int64
    order : int
        Of the store.
    split : set of (int, int)
        Order and number of pixels that are divided.

    Returns
    -------
    ndarray, shape (n,), int64
        ``4**(order+1) + number`` of the leaf.
    """
    unique = (index >> 2*(INDEX_ORDER-order)) + (np.int64(4) << 2*order)
    divided = {}
    for k, number in split:
        divided.setdefault(k, []).append(number)
    for k in sorted(divided):
        at = np.isin(unique, np.array(divided[k], np.int64)+(np.int64(4) << 2*k))
        unique[at] = (index[at] >> 2*(INDEX_ORDER-k-1)) + (np.int64(4) << 2*(k+1))
    return unique


def pixel_of(unique):
    """The Pixel that a number of `leaves_of` stands for."""
    order = (int(unique).bit_length()-3)//2
    return Pixel(order, int(unique)-(4 << 2*order))


def divided(pixel, parts, most, deepest):
    """Divide a pixel until no leaf holds more than a number of rows.

    Parameters
    ----------
    pixel : Pixel
    parts : list of (ndarray, ndarray)
        Rows, and which of them lie in the pixel.
    most : int
        Rows.
    deepest : int
        Order at which no pixel is divided.

    Yields
    ------
    pixel : Pixel
    parts : list of (ndarray, ndarray) or None
        None for a pixel that is divided: its children follow.
    """
    if sum(len(which) for _, which in parts) <= most or pixel.order >= deepest:
        yield pixel, parts
        return
    yield pixel, None
    shift = 2*(INDEX_ORDER-pixel.order-1)
    numbers = [rows[INDEX][which] >> shift for rows, which in parts]
    for child in pixel.children():
        own = [(rows, which[n == child.number]) for (rows, which), n in zip(parts, numbers)]
        yield from divided(child, [(r, w) for r, w in own if len(w)], most, deepest)
