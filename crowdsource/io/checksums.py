"""Checksums of files."""
import hashlib
from pathlib import Path

from ..core.errors import DataFileError

PIECE = 1 << 23
"""Bytes of a file that are read at a time."""


def checksums(paths):
    """(path, SHA-256) of files, as strings.

    Raises
    ------
    DataFileError
        When one cannot be read.
    """
    out = []
    for path in paths:
        try:
            with open(path, "rb", buffering=0) as file:
                digest, piece = hashlib.sha256(), memoryview(bytearray(PIECE))
                # other threads run meanwhile, and are waited for after each piece
                while count := file.readinto(piece):
                    digest.update(piece[:count])
            out.append((str(Path(path)), digest.hexdigest()))
        except OSError as problem:
            raise DataFileError(path, f"cannot be read ({problem.strerror}); check the name and its permissions") from problem
    return out
