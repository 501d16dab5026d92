"""Names of images, ``FILE[:HDU[:PLANE]]``, or ``FILE[HDU]`` as CFITSIO writes them, in brackets.

The HDU is given by number from 0, by EXTNAME or by ``EXTNAME,EXTVER``; the first with pixels is taken when it is not given. The
plane of a cube is given by number from 0; it is needed when the cube has several.
"""
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataFileError

BRACKETS = re.compile(r"(?P<file>[^\[\]]+)\[(?P<hdu>[^\[\]]*)\](?P<more>.*)")
SECTION = re.compile(r"[\d*]+:?[\d*]*,[-\d*]+:[\d*]*|\*,\*")
"""What cuts a part of an image out, in brackets."""


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
        """Split a name; colons and brackets that belong to the file's own name are kept when such a file exists.

        Raises
        ------
        DataFileError
            When more than HDU and plane follow the file, or the plane is no number.
        """
        bracketed = BRACKETS.fullmatch(str(text))
        if bracketed and not Path(str(text)).exists():
            return cls._in_brackets(text, **bracketed.groupdict())
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
        return cls(path, _hdu(rest[0]) if rest else None, int(rest[1]) if len(rest) == 2 else None)

    @classmethod
    def _in_brackets(cls, text, file, hdu, more):
        """The name in the brackets' form; a plane may follow them after a colon."""
        plane = re.fullmatch(r"(:(\d+))?", more)
        if plane is None or SECTION.fullmatch(hdu):
            raise DataFileError(text, "cannot be read as FILE[HDU]: of what CFITSIO takes in brackets only the HDU is known, as "
                                "[1], [SCI] or [SCI,2]; for a part of an image give `cutout='x0:x1,y0:y1'`, from 0")
        return cls(Path(file), _hdu(hdu), int(plane[2]) if plane[2] else None)


def _hdu(text):
    """An HDU by number or name; None for nothing."""
    text = text.strip()
    return None if not text else int(text) if text.isdigit() else re.sub(r"\s*,\s*", ",", text)
