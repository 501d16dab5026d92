"""Tables: users' catalogs are read, catalogs are written."""
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..core.errors import DataFileError, OutputError, need
from ..core.memory import check_claim
from .atomic import atomic_path
from .fits_tables import FITS_ENDINGS, described, plain, table_hdu
from .hdf5 import check_datasets
from .hdus import UNREADABLE, existing, one_line, opened, printable
from .image_name import ImageName
from .packed import ENDINGS as PACKED_ENDINGS
from .packed import starts_with, unpacked

ENDINGS = (".fits", ".fit", ".ecsv", ".vot", ".xml", ".csv", ".parquet")
PREFERRED = ("CAT", "OBJECTS", "LDAC_OBJECTS")
"""Table HDUs taken before the first."""
FORMATS = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".vot": "votable", ".xml": "votable", ".hdf5": "hdf5", ".h5": "hdf5"}
"""astropy's names of formats by ending; text of any form otherwise."""
OF_TEXT, COPIES = 4, 3
"""A table takes so many times the bytes of its text, and of its columns, while it is read."""
BYTES_OF_ROW = 48
"""What is made of each row beside, such as its position on an image."""
WIDTHS, POINTER = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}, 8
"""Bytes of a value of Parquet by its type; of one of any length at least a pointer."""
OF_FILES = {"EXTNAME", "comments", "ARROW:schema", "pandas"}
"""What a table that was read says of its file, and not of itself."""
KEYWORD = 8
"""Characters of a keyword of FITS."""
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
    if starts_with(path, 6).startswith(b"SIMPLE"):
        return _from_fits(path, place.hdu)
    whole = unpacked(path)
    named = path.with_suffix("") if whole is not None and path.suffix.lower() in PACKED_ENDINGS else path
    kind = FORMATS.get(named.suffix.lower(), "ascii")
    if kind == "hdf5":
        check_datasets(path if whole is None else whole, path)
    else:
        check_claim(path, OF_TEXT*(path.stat().st_size if whole is None else whole.getbuffer().nbytes), "its text")
    from astropy.table import Table
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _with_booleans(Table.read(path if whole is None else whole, format=kind))
    except Exception as problem:
        raise DataFileError(path, f"cannot be read as a table ({one_line(problem)[:120]}); "
                            "give FITS, ECSV, CSV, VOTable or Parquet") from problem


def read_meta(name):
    """What a table's file says of itself, by names in small letters. Parameters and errors as `read_table`."""
    meta = read_table(name).meta
    # of a VOTable astropy reads the description, which tells all that is short, with ends of lines in the place of blanks
    text = " ".join(str(meta.get("description", "")).split())
    meta = {**dict(part.partition(": ")[::2] for part in text.split("; ")), **meta}
    return {str(k).lower(): v for k, v in meta.items()}


def _with_booleans(table):
    """The table with booleans in the place of their words, which are all that plain text has."""
    for name in table.colnames:
        column = table[name]
        if getattr(column, "dtype", None) is not None and column.dtype.kind == "U" and len(column) and column.ndim == 1:
            words = np.char.lower(np.ma.getdata(column).astype(str))
            if np.isin(words, ("true", "false")).all() and not np.ma.is_masked(column):
                table[name] = words == "true"
    return table


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
        header = hdus[chosen].header
        try:
            _check_rows(path, header["NAXIS2"], header["NAXIS1"]*header["NAXIS2"]+header.get("PCOUNT", 0), chosen)
            return described(Table.read(hdus[chosen]), hdus[chosen])
        except DataFileError:
            raise
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
    try:
        footer = parquet.read_metadata(path)
        _check_rows(path, footer.num_rows, _claimed(footer))
        return _of_arrow(parquet.read_table(path))
    except DataFileError:
        raise
    except UNREADABLE as problem:
        raise DataFileError(path, f"cannot be read as Parquet ({one_line(problem)}); fetch it again") from problem


def _of_arrow(columns):
    """The table of an arrow table, with units and descriptions."""
    from astropy.table import Table
    table = Table({n: columns[n].to_numpy() for n in columns.column_names})
    for f in columns.schema:
        notes = {k.decode(): v.decode() for k, v in (f.metadata or {}).items()}
        table[f.name].unit, table[f.name].description = notes.get("unit") or None, notes.get("description") or None
    table.meta.update({k.decode(): v.decode() for k, v in (columns.schema.metadata or {}).items() if k.decode() not in OF_FILES})
    return table


def _check_rows(path, rows, size, hdu=None):
    """Raise `DataFileError` when rows of a size in bytes would take more memory than there is."""
    check_claim(path, COPIES*size+BYTES_OF_ROW*rows, f"a table of {rows:,} rows", hdu)


def _claimed(metadata):
    """Bytes that the columns of a Parquet file take as arrays, by what its footer says.

    What it says of each chunk of a column is not asked for: where that is damaged, the library ends the process.
    """
    row = sum(WIDTHS.get(metadata.schema.column(k).physical_type, POINTER) for k in range(metadata.num_columns))
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return sum(max(row*group.num_rows, group.total_byte_size) for group in groups)


def write_catalog(table, path, meta=None, overwrite=False):
    """Write a catalog as FITS, ECSV, VOTable, CSV or Parquet, by the name's ending, whole or not at all.

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
    table = table.copy(copy_data=False)
    table.meta = {**{k: v for k, v in table.meta.items() if k not in OF_FILES}, **(meta or {})}
    if ending == ".parquet":
        parquet = need("pyarrow.parquet", "parquet", "a Parquet catalog")
        with atomic_path(path, overwrite) as temporary:
            parquet.write_table(arrow_table(table, table.meta), temporary)
        return
    if ending == ".ecsv":
        # it loses the ends of lines
        table.meta.update({name: text.split("\n") for name, text in table.meta.items() if "\n" in str(text)})
    with atomic_path(path, overwrite) as temporary:
        if ending in FITS_ENDINGS:
            fits.HDUList([fits.PrimaryHDU(), table_hdu(table, PREFERRED[0], _cards(table.meta))]).writeto(temporary)
        elif FORMATS[ending] == "votable":
            _votable(table).to_xml(str(temporary))
        else:
            table.write(temporary, format=FORMATS[ending])


def _cards(meta):
    """Header cards of what a table says of itself, as far as FITS can say it."""
    for name, value in meta.items():
        if isinstance(value, (str, int)) or (isinstance(value, float) and np.isfinite(value)):
            keyword = name if len(name) <= KEYWORD else f"HIERARCH {name}"
            yield fits.Card(keyword, printable(value) if isinstance(value, str) else value)


def _votable(table):
    """A table as a binary VOTable; ``meta`` stands in INFO elements, short values in the description too, which astropy reads."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info
    from astropy.table import Column, MaskedColumn, Table
    values = {k: " ".join(str(v).split()) for k, v in table.meta.items()}
    bare = Table([(MaskedColumn if hasattr(c, "mask") else Column)(
        plain(c), c.info.name, unit=c.info.unit, description=c.info.description) for c in table.itercols()])
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
