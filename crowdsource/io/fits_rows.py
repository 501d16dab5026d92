"""Rows of FITS binary tables, read straight from the file: for catalogs in great number, where astropy's tables are slow.

A file is scanned once for where its HDUs lie. Of a table, whole rows are read, and each column copied from them in this machine's
byte order.
"""
import hashlib
import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..core.errors import DataFileError
from ..core.memory import check_claim
from .bounded_fits import BLOCK, MOST_BLOCKS, SHORT

CARD = 80
TYPES = {"L": "S1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "A": "S", "E": ">f4", "D": ">f8"}
"""NumPy's types of the columns that are read (FITS standard 4.0, table 18); bits, complex numbers and arrays of variable length
are not."""
WIDTHS = {"L": 1, "X": 0, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
UNSIGNED = {(">i2", 2**15): "u2", (">i4", 2**31): "u4", (">i8", 2**63): "u8", ("u1", -128): "i1"}
"""Types that are written with an offset."""


@dataclass(frozen=True)
class HduSpan:
    """Where an HDU lies in a file, and its header.

    Attributes
    ----------
    name : str
        EXTNAME, upper case; empty where it has none.
    text : str
        Its header.
    begin, start, size : int
        Bytes: where the header begins, where the data do, and their number.
    """

    name: str
    text: str
    begin: int
    start: int
    size: int

    @property
    def table(self):
        """Whether it is a binary table."""
        return self.text.startswith("XTENSION= 'BINTABLE")

    @cached_property
    def cards(self):
        """Texts of the values by keyword; of a card and those that continue it, the first."""
        return _cards(self.text)

    def number(self, keyword, default=0):
        """The value of a keyword as an int, or a float where it is none."""
        text = self.cards.get(keyword)
        if text is None:
            return default
        text = text.partition("/")[0].strip().replace("D", "E")
        return int(text) if text.lstrip("+-").isdigit() else float(text)

    def string(self, keyword, default=""):
        """The value of a keyword as text without spaces at its end."""
        found = re.match(r"\s*'((?:[^']|'')*)'", self.cards.get(keyword, ""))
        return found.group(1).replace("''", "'").rstrip() if found else default

    def header(self):
        """As an astropy header, which takes longer to make."""
        from astropy.io import fits
        return fits.Header.fromstring(self.text)


def locate_hdus(path):
    """Where the HDUs of a file lie.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of HduSpan

    Raises
    ------
    DataFileError
        When it cannot be read, is no FITS, or is cut off.
    """
    path, hdus = Path(path), []
    try:
        with open(path, "rb") as file:
            length = file.seek(0, 2)
            place = 0
            while place < length and (text := _header(file, place, path, len(hdus))) is not None:
                start = place+-(-len(text)//BLOCK)*BLOCK
                hdu = _span(text, place, start)
                if start+hdu.size > length:
                    raise DataFileError(path, SHORT, hdu.name or len(hdus))
                hdus.append(hdu)
                place = start+-(-hdu.size//BLOCK)*BLOCK
    except (OSError, ValueError) as problem:
        if isinstance(problem, DataFileError):
            raise
        raise DataFileError(path, f"cannot be read ({getattr(problem, 'strerror', None) or problem}); check the name, its "
                            "permissions, and that it is FITS") from problem
    if not hdus:
        raise DataFileError(path, "is empty; fetch it again")
    return hdus


def _header(file, place, path, number):
    """The cards from a place on, with END; None where there is but padding at the file's end."""
    file.seek(place)
    text = bytearray()
    for _ in range(MOST_BLOCKS):
        block = file.read(BLOCK)
        if number and not text and not block.startswith(b"XTENSION"):
            return None
        if len(block) < BLOCK or (not number and not text and not block.startswith(b"SIMPLE")):
            raise DataFileError(path, SHORT if text else "is no FITS; give a catalog", number)
        for k in range(0, BLOCK, CARD):
            if block[k:k+8] == b"END     ":
                return (bytes(text)+block[:k+CARD]).decode("latin-1")
        text += block
    raise DataFileError(path, SHORT, number)


def _span(text, begin, start):
    """An HDU from its header; the size of its data by the FITS standard 4.0, equations 1 and 2."""
    hdu = HduSpan("", text, begin, start, 0)
    number = hdu.number
    axes = [number(f"NAXIS{k+1}") for k in range(number("NAXIS"))]
    size = abs(number("BITPIX"))//8*number("GCOUNT", 1)*(number("PCOUNT")+math.prod(axes)) if axes else 0
    return replace(hdu, name=hdu.string("EXTNAME").upper(), size=size)


def _cards(text):
    """Texts of a header's values by keyword."""
    return {text[k:k+8].rstrip(): text[k+10:k+CARD] for k in range(0, len(text), CARD) if text[k+8:k+9] == "="}


def hdu_checksum(path, hdus, *more):
    """SHA-256 over the bytes of HDUs and over further bytes.

    Parameters
    ----------
    path : path-like
    hdus : iterable of HduSpan
    more : bytes

    Returns
    -------
    str
    """
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for hdu in hdus:
            file.seek(hdu.begin)
            left = hdu.start+hdu.size-hdu.begin
            while left and (piece := file.read(min(left, 1 << 22))):
                total.update(piece)
                left -= len(piece)
    for piece in more:
        total.update(piece)
    return total.hexdigest()


@dataclass(frozen=True)
class FitsColumn:
    """A column of a binary table.

    Attributes
    ----------
    name : str
    code : str
        Letter of its type, FITS standard 4.0, table 18.
    raw : numpy.dtype
        In the file.
    dtype : numpy.dtype
        As it is read.
    offset : int
        Bytes from a row's start.
    scale, zero : float or int
    """

    name: str
    code: str
    raw: np.dtype
    dtype: np.dtype
    offset: int
    scale: float = 1
    zero: float = 0


def table_fields(hdu):
    """The columns of a table that can be read.

    Parameters
    ----------
    hdu : HduSpan

    Returns
    -------
    list of FitsColumn
    """
    out, offset = [], 0
    for k in range(1, hdu.number("TFIELDS")+1):
        repeat, code = re.match(r"\s*(\d*)([A-Z])", hdu.string(f"TFORM{k}")).groups()
        repeat = int(repeat or 1)
        width = -(-repeat//8) if code == "X" else repeat*WIDTHS[code]
        name = hdu.string(f"TTYPE{k}", f"col{k}").strip()
        if code in TYPES and width:
            out.append(_field(name, code, repeat, offset, (hdu.number(f"TSCAL{k}", 1), hdu.number(f"TZERO{k}"))))
        offset += width
    return out


def _field(name, code, repeat, offset, scaling):
    """One column; integers with a scale become float64 but for the offsets that stand for another type."""
    base, (scale, zero) = TYPES[code], scaling
    shape = () if repeat == 1 or code == "A" else (repeat,)
    raw = np.dtype(f"S{repeat}") if code == "A" else np.dtype((base, shape))
    read = {"L": "?", "A": f"S{repeat}"}.get(code, base.replace(">", "="))
    if code not in "LA" and (scale, zero) != (1, 0):
        read = UNSIGNED.get((base, zero), "f8") if scale == 1 else "f8"
    return FitsColumn(name, code, raw, np.dtype((read, shape)), offset, scale, zero)


def read_fields(path, hdu, wanted, out):
    """Fill columns of a structured array from a table.

    Parameters
    ----------
    path : path-like
    hdu : HduSpan
    wanted : iterable of (FitsColumn, str)
        Columns and their names in `out`.
    out : ndarray, shape (rows,)
        Structured, in this machine's byte order.

    Raises
    ------
    DataFileError
        When the file has become shorter.
    """
    width, rows = hdu.number("NAXIS1"), hdu.number("NAXIS2")
    check_claim(path, 2*width*rows, "its table", hdu.name)
    with open(path, "rb") as file:
        file.seek(hdu.start)
        data = file.read(width*rows)
    if len(data) < width*rows:
        raise DataFileError(path, SHORT, hdu.name)
    for field, name in wanted:
        values = np.ndarray(rows, np.dtype(dict(names=["v"], formats=[field.raw], offsets=[field.offset], itemsize=width)),
                            data)["v"]
        out[name] = _values(field, values)


def _values(field, values):
    if field.code == "L":
        return values == b"T"
    if field.code == "A":
        return stripped(values)
    if (field.scale, field.zero) == (1, 0):
        return values
    if field.dtype.base.kind in "ui":
        # the offset is the type's sign bit
        return (values.astype(values.dtype.newbyteorder("="))).view(field.dtype.base) ^ field.dtype.base.type(
            1 << 8*field.dtype.base.itemsize-1 if field.dtype.base.kind == "u" else -128)
    return values*float(field.scale)+float(field.zero)


def stripped(values):
    """Bytes without spaces at their ends."""
    return np.char.rstrip(values) if (np.ascontiguousarray(values).view("u1") == 0x20).any() else values
