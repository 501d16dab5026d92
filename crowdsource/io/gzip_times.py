"""Compressed images without the time at which they were compressed, so that the same pixels are the same bytes."""
import re

import numpy as np
from astropy.io import fits

MAGIC = b"\x1f\x8b"
"""First bytes of a gzip stream; bytes 4 to 8 are a time (RFC 1952)."""
WORDS = {"P": ">i4", "Q": ">i8"}
"""Types of length and place of an array in a table's heap (FITS standard 4.0, 7.3.5)."""


def clear_gzip_times(path):
    """Set the times in a file's gzip streams to 0, in place.

    Parameters
    ----------
    path : path-like
        FITS with tile-compressed images.
    """
    with fits.open(path, disable_image_compression=True, memmap=False) as hdus:
        places = [(h.fileinfo()["datLoc"], h.header) for h in hdus if h.header.get("ZIMAGE", False)]
    with open(path, "r+b") as file:
        for start, header in places:
            for place in streams(file, start, header):
                file.seek(place)
                if file.read(2) == MAGIC:
                    file.seek(place+4)
                    file.write(bytes(4))


def streams(file, start, header):
    """Where in a file the tiles of a compressed image lie.

    Parameters
    ----------
    file : binary file
    start : int
        Where the table begins.
    header : astropy.io.fits.Header
        The table's own.

    Yields
    ------
    int
    """
    width, rows = header["NAXIS1"], header["NAXIS2"]
    file.seek(start)
    table = np.frombuffer(file.read(width*rows), np.uint8).reshape(rows, width)
    heap, column = start+header.get("THEAP", width*rows), 0
    for k in range(1, header["TFIELDS"]+1):
        count, kind = re.match(r"(\d*)([A-Z])", header[f"TFORM{k}"]).groups()
        if kind not in WORDS:
            column += int(count or 1)*{"D": 8, "J": 4, "E": 4, "K": 8, "I": 2, "B": 1}[kind]
            continue
        size = 2*np.dtype(WORDS[kind]).itemsize
        for length, offset in np.ascontiguousarray(table[:, column:column+size]).view(WORDS[kind]):
            if length:
                yield heap+int(offset)
        column += size
