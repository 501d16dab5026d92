"""Names of images, ``FILE[:HDU[:PLANE]]``.

The HDU is given by number from 0, by EXTNAME or by ``EXTNAME,EXTVER``; the first with pixels is taken when it is not given. The
plane of a cube is given by number from 0; it is needed when the cube has several.
"""
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataFileError


@dataclass(frozen=True)
class ImageName:
    """``FILE[:HDU[:PLANE]]`` in its parts.

    Attributes
    ----------
    path : Path
    hdu : int, str or None
    plane : int or None
    """

    path: Path
    hdu: object = None
    plane: int = None

    @classmethod
    def parse(cls, text):
        """Split a name; colons that belong to the file's own name are kept when such a file exists.

        Raises
        ------
        DataFileError
            When more than HDU and plane follow the file, or the plane is no number.
        """
        parts = str(text).split(":")
        for k in range(len(parts), 0, -1):
            path = Path(":".join(parts[:k]))
            if path.exists() or k == 1:
                break
        rest = parts[k:]
        if len(rest) > 2:
            raise DataFileError(text, "cannot be read as FILE[:HDU[:PLANE]]")
        if len(rest) == 2 and not rest[1].isdigit():
            raise DataFileError(path, f"plane {rest[1]!r} is no number; planes count from 0", rest[0])
        hdu = None if not rest or rest[0] == "" else int(rest[0]) if rest[0].isdigit() else rest[0]
        return cls(path, hdu, int(rest[1]) if len(rest) == 2 else None)
