"""Columns of any catalog as those of the store: which name becomes which, and in what type."""
import logging
from dataclasses import dataclass

import numpy as np

from ...core.errors import ConfigError, DataFileError
from ..healpix import INDEX
from .segments import FIRST

log = logging.getLogger(__name__)
NEEDED = "ra", "dec", "flux", "dflux"
IDENTITY = "exposure", "detector", "band"
PER_ROW = *IDENTITY, "mjd", "zeropoint", "system"
"""Columns that tell of a source; a table that has them may hold several."""
CANONICAL = (*NEEDED, "x", "y", "dx", "dy", "detection_id", "flags", "qf", "rchi2", "fracflux", "primary", *PER_ROW)
"""Names with a meaning here; a column that is called so in other letters is stored under the name."""
LEFT = "_unmapped"
"""Ending of a column whose name another takes."""
RESERVED = INDEX, "source"


@dataclass(frozen=True)
class Given:
    """What a user says of catalogs that do not say it themselves.

    Attributes
    ----------
    mapping : tuple of (str, str)
        Names here and columns there; an empty column for one that is not to be used.
    exposure, detector, band, system : str or None
    mjd, zeropoint : float or None
    """
    mapping: tuple = ()
    exposure: str = None
    detector: str = None
    band: str = None
    system: str = None
    mjd: float = None
    zeropoint: float = None

    def __post_init__(self):
        unknown = [c for c, _ in self.mapping if c not in CANONICAL]
        if unknown:
            raise ConfigError(f"no column {unknown[0]} is known here: map one of {', '.join(CANONICAL)}")
        if self.system not in (None, "AB", "Vega"):
            raise ConfigError(f"the magnitude system {self.system!r} is unknown; give AB or Vega")

    def key(self):
        """Bytes that differ when what is given differs; none when nothing is."""
        return b"" if self == Given() else repr(self).encode()


def stored_names(path, names, mapping):
    """The name under which each column is stored.

    Parameters
    ----------
    path : path-like
        For messages.
    names : sequence of str
        Of the catalog's columns.
    mapping : tuple of (str, str)
        As in `Given`.

    Returns
    -------
    dict of str to str
        Stored name by the catalog's; columns that are not stored are missing.

    Raises
    ------
    DataFileError
        When a mapped column, or one that is needed, is not there.
    """
    lower = {n.lower(): n for n in reversed(names)}
    chosen = {c: column if column in names else lower.get(column.lower()) for c, column in mapping if column}
    for canonical, column in mapping:
        if column and chosen[canonical] is None:
            raise DataFileError(path, f"has no column {column} to take as {canonical}; it has {', '.join(names)}")
    for c in CANONICAL:
        if c not in dict(mapping) and c in lower:
            chosen.setdefault(c, c if c in names else lower[c])
    missing = [c for c in NEEDED if c not in chosen]
    if missing:
        raise DataFileError(path, f"has no column {', '.join(missing)}; name it as in --map {missing[0]}=COLUMN, one of "
                            f"{', '.join(names)}")
    out = {column: canonical for canonical, column in chosen.items()}
    taken = {*chosen, *RESERVED, *dict(mapping)}
    for n in names:
        if n not in out and n != INDEX:
            out[n] = n if n not in taken else n+LEFT
    return out


def row_type(columns):
    """The structured type of a segment's rows.

    Parameters
    ----------
    columns : mapping of str to numpy.dtype
        Stored names and types, as they come.

    Returns
    -------
    numpy.dtype
        The `FIRST` columns and the others in their order; text that tells of a source stands in the ledger only.
    """
    own = dict(FIRST)
    return np.dtype([*FIRST, *((n, t) for n, t in columns.items()
                               if n not in own and not (n in (*IDENTITY, "system") and t.base.kind == "S"))])


def plain(path, column):
    """A table's column as numbers, booleans or bytes in this machine's byte order; None, and a word in the log, for others.

    Missing numbers are NaN, missing text is empty.
    """
    values, mask = np.asarray(getattr(column, "value", column)), getattr(column, "mask", None)
    if isinstance(column, np.ma.MaskedArray):
        values = np.asarray(column.data)
    if values.dtype.kind == "O":
        if not all(isinstance(v, str | bytes | None) for v in values):
            log.warning("%s: column %s holds neither numbers nor text and is left out", path, column.name)
            return None
        values = np.array(["" if v is None else v.decode() if isinstance(v, bytes) else v for v in values], str)
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8") if len(values) else values.astype("S1")
    if values.dtype.kind not in "fiubS":
        log.warning("%s: column %s of type %s is left out", path, column.name, values.dtype)
        return None
    if mask is not None and np.any(mask):
        # what stands beneath a mask is arbitrary: astropy reads an empty field of text as 0
        values = np.where(mask, b"", values) if values.dtype.kind == "S" else np.where(mask, np.nan, values.astype("f8"))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype("S1") if values.dtype.itemsize == 0 else values


def as_labels(values):
    """Names from a column of `plain`: whole numbers without a point, nothing where a number is missing; ndarray of str."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind != "f":
        return values.astype(str)
    known = np.isfinite(values)
    whole = (values[known] == np.round(values[known])).all()
    text = np.where(known, values, 0).astype("i8" if whole else "f8").astype(str)
    return np.where(known, text, "")
