"""Tables of numbers in HDF5: structured arrays as datasets, written whole and with the file's checksum."""
import hashlib
import io
import math
import os

import h5py
import numpy as np

from ..core.errors import DataFileError
from ..core.memory import check_claim
from .atomic import atomic_path

MOST_PACKED = 1100
"""Bytes that a byte of a file stands for at most: deflate, the strongest of the usual filters, reaches 1,032."""
COPIES = 2


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
        rows = file[name]
        if not isinstance(rows, h5py.Dataset) or not rows.shape:
            raise DataFileError(path, f"{name} is no table; it was damaged, or is of another kind")
        _check(rows, os.path.getsize(path), path)
        try:
            return rows[start:stop]
        except (OSError, ValueError, TypeError) as problem:
            raise DataFileError(path, f"its dataset {name} cannot be read ({problem}); restore it from a copy") from problem


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


def check_datasets(file, path):
    """Raise `DataFileError` when the datasets of a user's file claim more than it can hold, or than memory does.

    Parameters
    ----------
    file : path-like or file object
    path : path-like
        Its name.
    """
    size = os.path.getsize(path) if file is path else file.seek(0, 2)

    def look(name, found):
        if isinstance(found, h5py.Dataset):
            _check(found, size, path)

    try:
        with h5py.File(file, "r", **({"locking": False} if file is path else {})) as whole:
            whole.visititems(look)
    except DataFileError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError) as problem:
        raise DataFileError(path, f"cannot be read as HDF5 ({problem}); fetch it again") from problem


def _check(dataset, size, path):
    """Raise `DataFileError` when a dataset claims more than a file of a size can hold, or than memory does."""
    claimed = math.prod(dataset.shape or ())*dataset.dtype.itemsize
    if claimed > MOST_PACKED*size:
        raise DataFileError(path, f"its dataset {dataset.name} claims {claimed:,} bytes, which a file of {size:,} cannot hold: "
                            "it is damaged; fetch it again")
    check_claim(path, COPIES*claimed, f"its dataset {dataset.name}")
