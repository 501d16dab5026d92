"""Tables: users' catalogs are read, catalogs are written."""
import warnings
from pathlib import Path

import numpy as np

from ..core.errors import DataFileError, OutputError, need
from .atomic import atomic_path
from .hdus import UNREADABLE, existing, one_line, opened
from .image_name import ImageName

ENDINGS = (".fits", ".fit", ".ecsv", ".vot", ".xml", ".csv", ".parquet")
PREFERRED = ("CAT", "OBJECTS", "LDAC_OBJECTS")
"""Table HDUs taken before the first."""
FORMATS = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".vot": "votable", ".xml": "votable", ".hdf5": "hdf5", ".h5": "hdf5"}
"""astropy's names of formats by ending; text of any form otherwise."""
LONG = 100
"""Values of so many characters are left out of descriptions."""


def check_ending(path):
    """Raise `OutputError` when no catalog can be written under that name."""
    if not str(path).lower().endswith(ENDINGS):
        raise OutputError(f"{path}: a catalog's name ends in .cat.fits, .fits, .ecsv, .vot, .xml, .csv or .parquet; choose one")


def read_table(name):
    """Read a table of any form that astropy or pyarrow reads.

    Parameters
    ----------
    name : str
        ``FILE``, or ``FILE:HDU`` for FITS: else the HDU ``CAT``, or the first table.

    Returns
    -------
    astropy.table.Table

    Raises
    ------
    DataFileError
        When it is not there or cannot be read.
    MissingExtraError
        When a Parquet file is given without pyarrow.
    """
    place = ImageName.parse(name)
    path = existing(place.path, "a table")
    if path.suffix.lower() == ".parquet":
        return _from_parquet(path)
    with open(path, "rb") as start:
        head = start.read(9)
    if head.startswith((b"SIMPLE", b"\x1f\x8b")):
        return _from_fits(path, place.hdu)
    from astropy.table import Table
    kind = FORMATS.get(path.suffix.lower(), "ascii")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Table.read(path, format=kind)
    except Exception as problem:
        raise DataFileError(path, f"cannot be read as a table ({one_line(problem)[:120]}); "
                            "give FITS, ECSV, CSV, VOTable or Parquet") from problem


def _from_fits(path, hdu):
    from astropy.table import Table
    with opened(path) as hdus:
        tables = [k for k, h in enumerate(hdus) if _has_rows(h)]
        names = [hdus[k].name for k in tables]
        try:
            chosen = hdus.index_of(hdu) if hdu is not None else \
                next((k for k, n in zip(tables, names) if n in PREFERRED), tables[0] if tables else None)
        except UNREADABLE:
            chosen = None
        if chosen not in tables:
            offer = ", ".join(f"{k} ({n})" if n else str(k) for k, n in zip(tables, names))
            raise DataFileError(path, f"holds no table there; its tables are in HDU {offer}" if tables else
                                "holds no table; give a file with one", hdu)
        try:
            return Table.read(hdus[chosen])
        except UNREADABLE as problem:
            raise DataFileError(path, f"its table cannot be read ({one_line(problem)}); fetch the file again",
                                chosen) from problem


def _has_rows(hdu):
    try:
        return getattr(hdu, "columns", None) is not None
    except UNREADABLE:
        return False


def _from_parquet(path):
    parquet = need("pyarrow.parquet", "parquet", "reading a Parquet file")
    from astropy.table import Table
    try:
        columns = parquet.read_table(path)
    except (OSError, ValueError) as problem:
        raise DataFileError(path, f"cannot be read as Parquet ({problem}); fetch it again") from problem
    return Table({n: columns[n].to_numpy() for n in columns.column_names})


def write_catalog(table, path, meta=None, overwrite=False):
    """Write a catalog as ECSV, VOTable, CSV or Parquet, by the name's ending, whole or not at all.

    Parameters
    ----------
    table : astropy.table.QTable
    path : path-like
    meta : mapping of str to str or number, optional
        Recorded in the file, but for CSV: there are the rows alone.
    overwrite : bool

    Raises
    ------
    OutputError
        When the ending is not known, the file exists or cannot be written.
    MissingExtraError
        When Parquet is wanted and pyarrow is not installed.
    """
    check_ending(path)
    ending = Path(path).suffix.lower()
    if ending == ".parquet":
        parquet = need("pyarrow.parquet", "parquet", "a Parquet catalog")
        with atomic_path(path, overwrite) as temporary:
            parquet.write_table(arrow_table(table, meta), temporary)
        return
    table = table.copy(copy_data=False)
    # ECSV loses the ends of lines
    table.meta.update({name: text.split("\n") if "\n" in str(text) else text for name, text in (meta or {}).items()})
    with atomic_path(path, overwrite) as temporary:
        if FORMATS[ending] == "votable":
            _votable(table).to_xml(str(temporary))
        else:
            table.write(temporary, format=FORMATS[ending])


def _votable(table):
    """A table as a binary VOTable; ``meta`` stands in INFO elements, short values in the description too, which astropy reads."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info
    from astropy.table import Column, Table
    values = {k: " ".join(str(v).split()) for k, v in table.meta.items()}
    bare = Table([Column(plain(c), c.info.name, unit=c.info.unit, description=c.info.description) for c in table.itercols()])
    bare.meta = {"description": "; ".join(f"{k}: {v}" for k, v in values.items() if v and len(v) < LONG)}
    for column in bare.itercols():
        if column.info.unit is not None and not _known_to_votable(column.info.unit):
            column.info.description = f"{column.info.description or ''} ({column.info.unit})".strip()
            column.info.unit = None
    document = from_table(bare)
    document.set_all_tables_format("binary2")
    for name, value in values.items():
        document.get_first_table().infos.append(Info(name=name, value=value))
    return document


def _known_to_votable(unit):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return bool(unit.to_string("vounit"))
        except (ValueError, Warning):
            return False


def plain(column):
    """A column's values without their unit."""
    return getattr(column, "value", column)


def native_values(column):
    """A column's values without their unit, in the machine's byte order."""
    values = np.asarray(plain(column))
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def arrow_table(table, meta=None):
    """A pyarrow Table with each column's unit and description in its field's metadata, and `meta` in the schema's."""
    arrow = need("pyarrow", "parquet", "a Parquet catalog")
    fields, arrays = [], []
    for name in table.colnames:
        info = table[name].info
        array = arrow.array(native_values(table[name]))
        notes = {"unit": str(info.unit or ""), "description": info.description or ""}
        fields.append(arrow.field(name, array.type, metadata=notes))
        arrays.append(array)
    schema = arrow.schema(fields, metadata={str(k): str(v) for k, v in (meta or {}).items()})
    return arrow.Table.from_arrays(arrays, schema=schema)
