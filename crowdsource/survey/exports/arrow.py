"""Columns as Arrow tables: types, descriptions of the columns, and how Parquet encodes them."""
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ...core.errors import need
from ..healpix import SPATIAL_INDEX
from .release_reader import TEXT, DictionaryColumn

PURPOSE = "a Parquet catalog"
COMPRESSION = {"compression": "zstd", "compression_level": 1}
REPEATED = {"source", "mjd", "flags", "passno"}
"""Columns of numbers that Parquet encodes by a dictionary; columns of text always are."""
VO_TYPES = {"b": "boolean", "i1": "short", "u1": "unsignedByte", "i2": "short", "i4": "int", "i8": "long", "f4": "float",
            "f8": "double"}


def arrow():
    """pyarrow, if it is installed."""
    return need("pyarrow", "parquet", PURPOSE)


def parquet():
    """pyarrow.parquet, if it is installed."""
    return need("pyarrow.parquet", "parquet", PURPOSE)


def schema_of(columns):
    """The Arrow schema of columns; unit, ucd and description stand in the fields' metadata.

    Parameters
    ----------
    columns : iterable of VOColumn

    Returns
    -------
    pyarrow.Schema
    """
    return arrow().schema([arrow_field(c) for c in columns])


def arrow_field(column, kind=None):
    """The Arrow field of a column, of its own type or another."""
    notes = {n: getattr(column, n) for n in ("unit", "ucd", "description") if getattr(column, n)}
    return arrow().field(column.name, kind or _arrow_type(column.dtype), metadata=notes or None)


def _arrow_type(dtype):
    pa = arrow()
    if isinstance(dtype, str) and dtype == TEXT:
        return pa.dictionary(pa.int32(), pa.string())
    dtype = np.dtype(dtype)
    if dtype.subdtype is not None:
        # of no fixed size: before pyarrow 26 Parquet with nulls among such lists was neither written nor read
        return pa.list_(_arrow_type(dtype.base))
    return pa.string() if dtype.kind in "SU" else pa.from_numpy_dtype(dtype)


def arrow_array(values, kind):
    """Values of a column as an Arrow array of a type.

    Parameters
    ----------
    values : ndarray, shape (n,) or (n, ...), or DictionaryColumn
        Masked values become nulls.
    kind : pyarrow.DataType
    """
    pa = arrow()
    if isinstance(values, DictionaryColumn):
        return pa.DictionaryArray.from_arrays(pa.array(values.code), pa.array(values.words, pa.string()))
    mask = np.ma.getmask(values)
    mask, values = None if mask is np.ma.nomask else mask, np.ma.getdata(values)
    if values.ndim > 1:
        lost = np.zeros(len(values), bool) if mask is None else mask.reshape(len(values), -1).any(axis=1)
        ends = np.cumsum(np.where(lost, 0, np.prod(values.shape[1:])), dtype=np.int32)
        flat = pa.array(values[~lost].reshape(-1), kind.value_type)
        return pa.ListArray.from_arrays(pa.array(np.r_[np.int32(0), ends]), flat, kind, mask=pa.array(lost))
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    return pa.array(values, kind, mask=mask)


def arrow_table(columns, schema):
    """An Arrow table of columns by name; a structured array will do."""
    arrays = [arrow_array(np.ascontiguousarray(v) if isinstance(v := columns[f.name], np.ndarray) and not np.ma.isMA(v) else v,
                          f.type) for f in schema]
    return arrow().Table.from_arrays(arrays, schema=schema)


def joined_tables(tables, schema):
    """Tables one after the other, with one dictionary for each column of text."""
    pa = arrow()
    return (pa.concat_tables(tables) if tables else schema.empty_table()).unify_dictionaries()


def parquet_options(schema):
    """Options with which Parquet is written: byte streams of floats are split, the spatial index is encoded as differences."""
    pa = arrow()
    leaves = list(_leaves(schema))
    dictionary = [path for path, name, kind in leaves
                  if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or name in REPEATED]
    encoding = {path: "BYTE_STREAM_SPLIT" for path, _, kind in leaves if pa.types.is_floating(kind) and path not in dictionary}
    if SPATIAL_INDEX in schema.names:
        encoding[SPATIAL_INDEX] = "DELTA_BINARY_PACKED"
    return {**COMPRESSION, "use_dictionary": dictionary, "column_encoding": encoding}


def _leaves(schema):
    """(path in Parquet, name, type) of the columns that hold values."""
    pa = arrow()
    for f in schema:
        if pa.types.is_struct(f.type):
            yield from ((f"{f.name}.{g.name}.list.element", g.name, g.type.value_type) for g in f.type)
        elif pa.types.is_list(f.type):
            yield f"{f.name}.list.element", f.name, f.type.value_type
        else:
            yield f.name, f.name, f.type


def with_votable(schema, columns, name):
    """The schema with the columns' descriptions as a VOTable without rows, as in the VOParquet convention."""
    fields = "\n".join(_vo_field(c) for c in columns)
    text = ('<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">\n'
            f"<RESOURCE type=\"results\">\n<TABLE name={quoteattr(name)}>\n{fields}\n</TABLE>\n</RESOURCE>\n</VOTABLE>\n")
    return schema.with_metadata({**(schema.metadata or {}), b"IVOA.VOTable-Parquet.version": b"1.0",
                                 b"IVOA.VOTable-Parquet.content": text.encode()})


def _vo_field(column):
    dtype = None if isinstance(column.dtype, str) and column.dtype == TEXT else np.dtype(column.dtype)
    size = "" if dtype is None or dtype.subdtype is None else f' arraysize="{int(np.prod(dtype.shape))}"'
    base = None if dtype is None else dtype.base
    kind = None if base is None or base.kind in "SU" else VO_TYPES.get("b" if base.kind == "b" else base.str[1:], "double")
    given = f"datatype={quoteattr(kind)}{size}" if kind else 'datatype="char" arraysize="*"'
    given += "".join(f" {n}={quoteattr(v)}" for n, v in (("unit", column.unit), ("ucd", column.ucd)) if v)
    description = f"<DESCRIPTION>{escape(column.description)}</DESCRIPTION>" if column.description else ""
    return f"<FIELD name={quoteattr(column.name)} {given}>{description}</FIELD>"
