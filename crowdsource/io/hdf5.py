"""Tables of numbers in HDF5: structured arrays as datasets, written whole and with the file's checksum."""
import hashlib
import io
import os

import h5py
import numpy as np

from ..core.errors import DataFileError
from .atomic import atomic_path


def write_rows(path, tables, attributes=None, overwrite=False):
    """Write structured arrays as the datasets of a new file; the same rows give the same bytes.

    Parameters
    ----------
    path : path-like
    tables : mapping of str to ndarray, shape (n,)
        Numbers, booleans and bytes of fixed length by column.
    attributes : mapping, optional
        Of the file: strings and numbers.
    overwrite : bool

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    OutputError
        When the file exists already or cannot be written.
    """
    content = _image(tables, attributes or {})
    with atomic_path(path, overwrite) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _image(tables, attributes):
    """The bytes of an HDF5 file, made in memory: what is written piece by piece may be cut off in the middle."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs.update(attributes)
        for name, rows in tables.items():
            file.create_dataset(name, data=rows)
    return buffer.getbuffer()


def read_rows(path, name, start=0, stop=None):
    """Rows of a dataset.

    Parameters
    ----------
    path : path-like
    name : str
        Of the dataset.
    start, stop : int, optional
        Range of rows; all when not given.

    Returns
    -------
    ndarray, shape (n,)
        Structured.

    Raises
    ------
    DataFileError
        When the file is not there, damaged, or has no such dataset.
    """
    with opened_rows(path) as file:
        if name not in file:
            raise DataFileError(path, f"has no dataset {name}; it was damaged, or is of another kind")
        return file[name][start:stop]


def read_attributes(path):
    """Attributes of a file, as a dict; errors as `read_rows`."""
    with opened_rows(path) as file:
        return {n: v.item() if isinstance(v, np.generic) else v for n, v in file.attrs.items()}


def opened_rows(path):
    """The file, open for reading.

    Raises
    ------
    DataFileError
        When it is not there or no HDF5.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as problem:
        raise DataFileError(path, f"cannot be read as HDF5 ({problem}); restore it from a copy") from problem
