"""Files that are compressed as a whole: unpacked as a stream, and no further than memory allows."""
import bz2
import gzip
import io
import lzma
import zlib

from ..core.errors import DataFileError
from ..core.memory import MEGA, budget
from .bounded_fits import PACKED

OPENERS = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
"""What opens files that begin so."""
ENDINGS = ".gz", ".bz2", ".xz"
BROKEN = EOFError, OSError, lzma.LZMAError, zlib.error


def unpacked(path):
    """What a compressed file holds, as a file in memory; None where it is not compressed.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    DataFileError
        When it is damaged, or unpacks to more than a part of the budget.
    """
    with open(path, "rb") as file:
        opener = OPENERS.get(file.read(3))
    if opener is None:
        return None
    most = int(budget()/PACKED)
    try:
        with opener(path, "rb") as file:
            content = file.read(most+1)
    except BROKEN as problem:
        raise DataFileError(path, f"cannot be unpacked ({problem}); fetch it again") from problem
    if len(content) > most:
        raise DataFileError(path, f"unpacks to more than {most/MEGA:,.0f} MB, which are allowed; if the file is right, unpack "
                            "it, or allow more memory (--memory)")
    return io.BytesIO(content)


def starts_with(path, length):
    """The first bytes of a file, unpacked where it is compressed."""
    with open(path, "rb") as file:
        head = file.read(length)
        opener = OPENERS.get(head[:3])
    if opener is None:
        return head
    try:
        with opener(path, "rb") as file:
            return file.read(length)
    except BROKEN as problem:
        raise DataFileError(path, f"cannot be unpacked ({problem}); fetch it again") from problem
