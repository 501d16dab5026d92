"""FITS files read within bounds: headers end, arrays lie in the file, and what is compressed unpacks to what memory holds."""
import math
import re
import zipfile

import numpy as np
from astropy.io.fits.file import _File

from ..core.errors import DataFileError
from ..core.memory import MEGA, budget, check_claim

BLOCK = 2880
MOST_BLOCKS = 4000
"""Blocks of a header after which what is read is no FITS: 144,000 cards."""
PACKED = 8
"""What is unpacked takes so many times its bytes while it is worked on."""
COPIES = 2
"""An array is there in the file's byte order and in the machine's."""
SHORT = "the file is truncated or damaged; fetch it again"
COUNTS = re.compile(rb"(NAXIS   |TFIELDS |ZNAXIS  )= *([0-9]+)")
"""Cards of numbers of axes and of columns."""
MOST_DIGITS = 3
ZIP = b"PK\x03\x04"


class BoundedFile(_File):
    """A FITS file, as astropy reads it.

    What is compressed is read as a stream: to skip an HDU it is unpacked, and no more than a part of the budget is.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    DataFileError
        When memory does not hold what a zip archive claims; of other kinds of compression, where they are read so far.
    """

    def __init__(self, path):
        self.path, self.headers, self.most = str(path), 0, budget()/PACKED
        with open(path, "rb") as start:
            packed = start.read(len(ZIP)) == ZIP
        if packed:
            # astropy unpacks it into a file, and no more than it claims
            with zipfile.ZipFile(path) as whole:
                check_claim(path, PACKED*sum(i.file_size for i in whole.infolist()), "what is packed in it")
        super().__init__(str(path), mode="readonly", memmap=False)

    def read(self, size=None):
        """Bytes; those of headers are asked for by the block."""
        self.headers = self.headers+1 if size == BLOCK else 0
        if self.headers > MOST_BLOCKS:
            raise DataFileError(self.path, f"a header has more than {MOST_BLOCKS*BLOCK//80:,} cards and no end; the file is "
                                "damaged: fetch it again")
        self._check(self.tell()+(size or 0))
        content = super().read(size)
        if self.headers:
            self._check_counts(content)
        return content

    def readarray(self, size=None, offset=0, dtype=np.uint8, shape=None):
        """An array; nothing is allocated for one that the file is too short for."""
        self.headers = 0
        shape = (shape,) if isinstance(shape, int) else shape
        length = math.prod(shape)*np.dtype(dtype).itemsize if shape else size or 0
        self._check(offset+length)
        if self.size and offset+length > self.size:
            raise DataFileError(self.path, f"{offset+length:,} bytes are needed and {self.size:,} are there: {SHORT}")
        check_claim(self.path, COPIES*length, "an array in it")
        return super().readarray(size=size, offset=offset, dtype=dtype, shape=shape)

    def seek(self, offset, whence=0):
        """Go to a place."""
        self.headers = 0
        self._check(offset)
        super().seek(offset, whence)

    def _check_counts(self, block):
        """Raise an error where a header claims more axes or columns than FITS has, which astropy would list one by one."""
        for keyword, number in COUNTS.findall(block):
            if len(number.lstrip(b"0")) > MOST_DIGITS:
                raise DataFileError(self.path, f"{keyword.decode().strip()} in a header is {number.decode():.30s}, and FITS has "
                                    "no more than 999: the file is damaged; fetch it again")

    def _check(self, place):
        """Raise an error where more would be unpacked than is allowed."""
        if self.compression and place > self.most:
            raise DataFileError(self.path, f"unpacks to {place/MEGA:,.0f} MB or more, and {self.most/MEGA:,.0f} MB are allowed; "
                                "if the file is right, unpack it, or allow more memory (--memory)")
