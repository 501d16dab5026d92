"""Segments: files with rows of one HEALPix pixel, written once; many are merged, and pixels with too many rows are divided."""
import hashlib
import json
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError
from ...io.hdf5 import opened_rows, write_rows
from ..healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER, HealpixPixel, at_border
from ..sorting import order_by, take_rows
from .commits import Segment

DETECTIONS, SOURCES = "detections", "sources"
LEADING_COLUMNS = (SPATIAL_INDEX, "i8"), ("source", "i4"), ("detection_id", "i8")
"""The first columns of every row; ``source`` is the image number."""
MOST_SEGMENTS = 8
"""Number of segments of one pixel and schema above which some are merged."""
FEW_ROWS = 1000
"""Arrays with fewer rows are joined before they are divided among pixels."""
FEWEST_MERGED = 5
"""Lowest number of segments that are merged."""


@lru_cache(maxsize=256)
def schema_id(dtype):
    """An identifier that is equal for equal columns; strings may differ in length."""
    columns = [(n, t.base.kind if t.base.kind == "S" else t.base.str, t.shape) for n, (t, *_) in
               ((n, dtype.fields[n]) for n in dtype.names)]
    return hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:16]


def write_segment(store, name, pixel, parts, ledger_of, border_order):
    """Write rows of one schema.

    Parameters
    ----------
    store : path-like
    name : str
        Of the file, without its ending.
    pixel : HealpixPixel
        In which all rows lie.
    parts : list of (ndarray, ndarray)
        Structured arrays, and which of their rows; at least one row, in any order.
    ledger_of : callable
        Takes ascending image numbers, returns their rows of the ledger.
    border_order : int
        Order of the cells that make the border.

    Returns
    -------
    Segment
    """
    rows, border = sorted_for_segment(parts, pixel, border_order)
    path = Path(DETECTIONS, pixel.path(""), f"{name}.h5")
    Path(store, path).parent.mkdir(parents=True, exist_ok=True)
    first = int(rows["source"].min())
    present = np.flatnonzero(np.bincount(rows["source"]-first))+first
    digest = write_rows(Path(store, path), {DETECTIONS: rows, SOURCES: trim_strings(ledger_of(present))},
                        dict(order=pixel.order, pixel=pixel.number, border=border, border_order=border_order), overwrite=True)
    return Segment(path=path.as_posix(), order=pixel.order, pixel=pixel.number, rows=len(rows), border=border, first=first,
                   last=int(present[-1]), schema=schema_id(rows.dtype), sha256=digest)


def sorted_for_segment(parts, pixel, border_order):
    """Rows in a segment's order, and the number of those in the border.

    The rows in the border come first, then the others, each part sorted by (spatial index, detection_id).
    """
    index, ids = (np.concatenate([rows[n][which] for rows, which in parts]) for n in (SPATIAL_INDEX, "detection_id"))
    border = at_border(index, pixel, border_order)
    order = order_by(index, ids)
    order = np.concatenate([order[border[order]], order[~border[order]]])
    return take_rows(parts, order, np.result_type(*{rows.dtype for rows, _ in parts})), int(border.sum())


def joined(arrays):
    """Structured arrays with those of few rows and the same columns in one, since each part of a segment costs time."""
    out, small = [a for a in arrays if len(a) >= FEW_ROWS], {}
    for a in arrays:
        if len(a) < FEW_ROWS:
            small.setdefault(a.dtype, []).append(a)
    for dtype, group in small.items():
        rows, at = np.empty(sum(map(len, group)), dtype), 0
        for a in group:
            rows[at:at+len(a)] = a
            at += len(a)
        out.append(rows)
    return out


def trim_strings(table):
    """A structured array whose strings are as long as the longest value."""
    types = []
    for name in table.dtype.names:
        kind = table.dtype[name]
        if kind.kind == "S":
            kind = f"S{max(1, int(np.char.str_len(table[name]).max(initial=0)))}"
        types.append((name, kind))
    return table.astype(types)


def read_segment(store, segment, alive, border=False):
    """Rows of a segment, without those of replaced images.

    Parameters
    ----------
    store : path-like
    segment : Segment
    alive : ndarray of bool
        By image number.
    border : bool
        Rows in its border only.

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


def group_by_schema(arrays, schema=lambda a: schema_id(a.dtype)):
    """Lists of items with the same schema, sorted by schema."""
    groups = {}
    for array in arrays:
        groups.setdefault(schema(array), []).append(array)
    return [groups[k] for k in sorted(groups)]


def segments_to_merge(segments):
    """Which segments of one pixel and schema to merge with a new one: small ones, so that a row is seldom copied.

    Parameters
    ----------
    segments : sequence of Segment

    Returns
    -------
    list of Segment
    """
    if len(segments) < MOST_SEGMENTS:
        return []
    order = sorted(segments, key=lambda s: (s.rows, s.path))
    sums = np.cumsum([s.rows for s in order])
    n = FEWEST_MERGED
    while n < len(order) and order[n].rows <= sums[n-1]:
        n += 1
    return order[:n]


def uniq_leaves(index, order, split):
    """The leaf of each row, as a UNIQ number of HEALPix.

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
    uniq = (index >> 2*(SPATIAL_INDEX_ORDER-order)) + (np.int64(4) << 2*order)
    divided = {}
    for k, number in split:
        divided.setdefault(k, []).append(number)
    for k in sorted(divided):
        at = np.isin(uniq, np.array(divided[k], np.int64)+(np.int64(4) << 2*k))
        uniq[at] = (index[at] >> 2*(SPATIAL_INDEX_ORDER-k-1)) + (np.int64(4) << 2*(k+1))
    return uniq


def pixel_from_uniq(uniq):
    """The HealpixPixel of a number from `uniq_leaves`."""
    order = (int(uniq).bit_length()-3)//2
    return HealpixPixel(order, int(uniq)-(4 << 2*order))


def divide(pixel, parts, most, deepest):
    """Divide a pixel until no leaf holds more than a number of rows.

    Parameters
    ----------
    pixel : HealpixPixel
    parts : list of (ndarray, ndarray)
        Rows, and which of them lie in the pixel.
    most : int
        Rows.
    deepest : int
        Order at which no pixel is divided.

    Yields
    ------
    pixel : HealpixPixel
    parts : list of (ndarray, ndarray) or None
        None for a pixel that is divided: its children follow.
    """
    if sum(len(which) for _, which in parts) <= most or pixel.order >= deepest:
        yield pixel, parts
        return
    yield pixel, None
    shift = 2*(SPATIAL_INDEX_ORDER-pixel.order-1)
    numbers = [rows[SPATIAL_INDEX][which] >> shift for rows, which in parts]
    for child in pixel.children():
        own = [(rows, which[n == child.number]) for (rows, which), n in zip(parts, numbers)]
        yield from divide(child, [(r, w) for r, w in own if len(w)], most, deepest)
