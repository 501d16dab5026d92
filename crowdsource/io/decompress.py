"""Pixels decompressed where it costs nothing when their stream is damaged.

astropy's decompressors trust what they are given. That of HCOMPRESS_1 writes where it should not on a damaged stream, and that
of RICE_1 on odd settings: they run in a process of their own then. That of PLIO_1 reads as far as a stream says, which is
checked.
"""
import io
import math
import os
import subprocess
import sys
import warnings

import numpy as np
from astropy.io import fits

from ..core.memory import check_claim
from .bounded_fits import BoundedFile
from .hdus import Hdus

UNPACKING = 4
"""An image takes so many times its bytes where another process unpacks it."""
LONGEST = 600.
"""Seconds for one image."""
SHIFT = 15
"""Streams of PLIO_1 are words of 16 bits: the third is the length, or 0 where the fourth and fifth are, in digits of 15 bits."""
COLUMN = "COMPRESSED_DATA"
SAFE = "GZIP_1", "GZIP_2", "NOCOMPRESS", "PLIO_1"
RICE = {"BLOCKSIZE": (32, 16), "BYTEPIX": (4, 1, 2)}
"""Settings of RICE_1 that there are, the one first that counts where a header has none."""


def check_unpacked(hdu, path, label):
    """Raise `DataFileError` when memory does not hold what a compressed image claims to unpack to; of other HDUs nothing is said.

    Parameters
    ----------
    hdu : astropy.io.fits HDU
    path : path-like
        Its file.
    label : int or str
        Of the HDU.
    """
    if isinstance(hdu, fits.CompImageHDU):
        check_claim(path, UNPACKING*math.prod(map(float, hdu.shape))*abs(hdu.header["BITPIX"])/8, "its image", label)


def decompressed(hdu, path, number):
    """The array of a compressed HDU.

    Parameters
    ----------
    hdu : astropy.io.fits.CompImageHDU
    path : path-like
        Its file.
    number : int
        Of the HDU.

    Raises
    ------
    Exception
        Of many kinds, when the stream is damaged.
    """
    with Hdus.fromfile(BoundedFile(path), mode="readonly", disable_image_compression=True) as hdus:
        table, method = hdus[number], hdus[number].header.get("ZCMPTYPE")
        if method == "PLIO_1":
            _check_lengths(table.data[COLUMN])
        usual = method in SAFE or (method in ("RICE_1", "RICE_ONE") and _has_usual_settings(table.header))
    return hdu.data if usual else _apart(path, number)


def _has_usual_settings(header):
    """Whether the settings of RICE_1 are some that compressors write."""
    given = {header[f"ZNAME{k}"]: header.get(f"ZVAL{k}") for k in range(1, 10) if f"ZNAME{k}" in header}
    return all(type(given.get(name, 0)) is int and given.get(name, usual[0]) in usual for name, usual in RICE.items())


def _apart(path, number):
    """The array, read by another process."""
    done = subprocess.run([sys.executable, "-m", __name__, str(path), str(number)], stdin=subprocess.DEVNULL, check=False,
                          capture_output=True, timeout=LONGEST, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    if done.returncode:
        raise OSError("its compressed stream makes no image")
    return np.load(io.BytesIO(done.stdout), allow_pickle=False)


def _check_lengths(streams):
    """Raise an error where a stream is shorter than it says."""
    for stream in streams:
        words = np.frombuffer(np.ascontiguousarray(stream, stream.dtype.newbyteorder("=")).tobytes(), np.int16).astype(int)
        if len(words) < 3:
            raise ValueError("a stream of runs has no header")
        long = words[2] <= 0 and len(words) > 4
        first, length = (words[1], (words[4] << SHIFT)+words[3]) if long else (3, words[2])
        if first < 0 or length > len(words):
            raise ValueError(f"a stream of {len(words)} words says that it has {length}")


def main():
    """Write the array of an HDU to the standard output."""
    path, number = sys.argv[1:]
    whole = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), fits.open(path, memmap=False) as hdus:
        np.save(whole, np.asarray(hdus[int(number)].data), allow_pickle=False)
    # numpy would ask a pipe for its position
    sys.stdout.buffer.write(whole.getbuffer())


if __name__ == "__main__":
    main()
