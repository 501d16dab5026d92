"""Columns of any catalog as those of the store: under which name a column is stored, and as which type."""
import logging
from dataclasses import dataclass, fields

import numpy as np

from ...core.errors import ConfigError, DataFileError
from ..healpix import SPATIAL_INDEX
from .segments import LEADING_COLUMNS

log = logging.getLogger(__name__)
REQUIRED_COLUMNS = "ra", "dec", "flux", "dflux"
IMAGE_IDENTITY = "exposure", "detector", "band"
IMAGE_COLUMNS = *IMAGE_IDENTITY, "mjd", "zeropoint", "system"
"""Columns that describe a row's image; a table that has them may hold several images."""
KNOWN_COLUMNS = (*REQUIRED_COLUMNS, "x", "y", "dx", "dy", "detection_id", "flags", "qf", "rchi2", "fracflux", "primary",
                 *IMAGE_COLUMNS)
"""Names with a meaning in the store; a column of the same name in other letters is stored under this name."""
UNMAPPED = "_unmapped"
"""Suffix of a column whose own name another column takes."""
JOINT_FIT, JOINT_ID = "joint_fit", "joint_id"
"""Columns of detections of a joint fit: its number, and the star's ``object_id`` there."""
RESERVED = SPATIAL_INDEX, "source", JOINT_FIT, JOINT_ID


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """What the user adds to catalogs that do not state it themselves, or states in their place.

    Attributes
    ----------
    mapping : tuple of (str, str)
        Names in the store and columns of the catalog; an empty column for a name that is not to be filled.
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
        unknown = [c for c, _ in self.mapping if c not in KNOWN_COLUMNS]
        if unknown:
            raise ConfigError(f"no column {unknown[0]} is known here: map one of {', '.join(KNOWN_COLUMNS)}")
        if self.system not in (None, "AB", "Vega"):
            raise ConfigError(f"the magnitude system {self.system!r} is unknown; give AB or Vega")

    def key(self):
        """Bytes that differ when the options differ; none when there are none."""
        # part of checksums in stores: the text stays the same, whatever the class is called
        return b"" if self == IngestOptions() else f"Given({assignments(self)})".encode()


def assignments(record, **others):
    """The fields of a dataclass as text, ``name=value, ...``, some of them with other values."""
    return ", ".join(f"{f.name}={others.get(f.name, getattr(record, f.name))!r}" for f in fields(record))


def stored_names(path, names, mapping):
    """The name under which each column is stored.

    Parameters
    ----------
    path : path-like
        For messages.
    names : sequence of str
        Of the catalog's columns.
    mapping : tuple of (str, str)
        As in `IngestOptions`.

    Returns
    -------
    dict of str to str
        Stored name by the catalog's name; columns that are not stored are missing.

    Raises
    ------
    DataFileError
        When the catalog lacks a mapped or a required column.
    """
    lower = {n.lower(): n for n in reversed(names)}
    chosen = {c: column if column in names else lower.get(column.lower()) for c, column in mapping if column}
    for known, column in mapping:
        if column and chosen[known] is None:
            raise DataFileError(path, f"has no column {column} to take as {known}; it has {', '.join(names)}")
    for c in KNOWN_COLUMNS:
        if c not in dict(mapping) and c in lower:
            chosen.setdefault(c, c if c in names else lower[c])
    missing = [c for c in REQUIRED_COLUMNS if c not in chosen]
    if missing:
        raise DataFileError(path, f"has no column {', '.join(missing)}; name it as in --map {missing[0]}=COLUMN, one of "
                            f"{', '.join(names)}")
    out = {column: known for known, column in chosen.items()}
    taken = {*chosen, *RESERVED, *dict(mapping)}
    for n in names:
        if n not in out and n != SPATIAL_INDEX:
            out[n] = n if n not in taken else n+UNMAPPED
    return out


def stored_dtype(columns):
    """The structured dtype of a segment's rows.

    Parameters
    ----------
    columns : mapping of str to numpy.dtype
        Stored names and the types of the catalog.

    Returns
    -------
    numpy.dtype
        `LEADING_COLUMNS`, then the others in their order. Text that describes the image stands in the ledger only.
    """
    leading = dict(LEADING_COLUMNS)
    return np.dtype([*LEADING_COLUMNS, *((n, t) for n, t in columns.items() if n not in leading
                                         and not (n in (*IMAGE_IDENTITY, "system") and t.base.kind == "S"))])


def plain_values(path, column):
    """A table's column as numbers, booleans or bytes in this machine's byte order.

    None, and a warning in the log, for columns of other types. Missing numbers become NaN, missing text becomes empty.
    """
    values, mask = np.asarray(getattr(column, "value", column)), getattr(column, "mask", None)
    if isinstance(column, np.ma.MaskedArray):
        values = np.asarray(column.data)
    if values.dtype.kind == "O":
        if not all(issubclass(kind, str | bytes | None) for kind in set(map(type, values))):
            log.warning("%s: column %s holds neither numbers nor text and is left out", path, column.name)
            return None
        values = np.array([b"" if v is None else v.encode() if isinstance(v, str) else v for v in values], "S")
    if values.dtype.kind == "U":
        values = np.char.encode(values, "utf-8") if len(values) else values.astype("S1")
    if values.dtype.kind not in "fiubS":
        log.warning("%s: column %s of type %s is left out", path, column.name, values.dtype)
        return None
    if mask is not None and np.any(mask):
        # values under a mask are arbitrary: astropy reads an empty text field as 0
        values = np.where(mask, b"", values) if values.dtype.kind == "S" else np.where(mask, np.nan, values.astype("f8"))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype("S1") if values.dtype.itemsize == 0 else values


def label_text(values):
    """A column from `plain_values` as names: whole numbers without a decimal point, missing numbers empty; ndarray of str."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind != "f":
        return values.astype(str)
    known = np.isfinite(values)
    whole = (values[known] == np.round(values[known])).all()
    text = np.where(known, values, 0).astype("i8" if whole else "f8").astype(str)
    return np.where(known, text, "")
