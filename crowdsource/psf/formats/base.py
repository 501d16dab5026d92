"""The contract of formats of PSF files.

A format of your own is a subclass of `PSFFormat` that a package registers::

    [project.entry-points."crowdsource.psf_formats"]
    table = "mypackage:TableFormat"

`crowdsource.psf.formats.reading.read_psf`, and with it the option ``--psf``, asks the registered formats which of them recognises
a file.
"""
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from ...core.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PSFFile:
    """A file that may hold a PSF, and the HDU in question.

    Attributes
    ----------
    path : pathlib.Path
    hdus : astropy.io.fits.HDUList or None
        The open file; None for formats that are not FITS.
    number : int or None
        Of the HDU in question; None for formats that are not FITS.
    """

    path: Path
    hdus: fits.HDUList | None = None
    number: int | None = None

    @property
    def hdu(self):
        """The HDU in question."""
        return self.hdus[self.number]

    @property
    def label(self):
        """Name of the HDU, or its number where it has no name."""
        return self.hdu.name or self.number


class PSFFormat(ABC):
    """A format of files that hold a PSF.

    Attributes
    ----------
    summary : str
        What the format is, for messages: "a square stamp with an odd number of pixels".
    is_fits : bool
        Whether its files are FITS. They are then opened before the format is asked; otherwise it gets the path only.
    """

    summary: str
    is_fits = True

    @abstractmethod
    def claims(self, file):
        """Whether a `PSFFile`, or its HDU, is of this format."""

    @abstractmethod
    def read(self, file, shape, norm_size):
        """The PSF of a file that is of this format.

        Parameters
        ----------
        file : PSFFile
        shape : tuple of int
            (ny, nx) of the image to be fitted.
        norm_size : int
            The PSF sums to 1 over this box, pixels, where the file does not tell.

        Returns
        -------
        crowdsource.psf.base.PSF

        Raises
        ------
        InputError
            When the file holds no usable PSF; the caller adds the name of the file to the message.
        """


def is_image(hdu, axes):
    """Whether an HDU holds an image with so many axes."""
    return hdu.is_image and hdu.header["NAXIS"] == axes and hdu.data is not None


def oversampling_of(header, default):
    """Samples in a pixel, from the keyword DET_SAMP, OVERSAMP or OVERSAMPLING.

    STPSF writes the first as well as the second, which in its stamps of detector pixels is that of the computation.

    Raises
    ------
    InputError
        When the value is not a positive whole number.
    """
    name = next((n for n in ("DET_SAMP", "OVERSAMP", "OVERSAMPLING") if n in header), "OVERSAMP")
    value = header.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
        raise InputError(f"{name} is {value!r}: a whole number of samples in a pixel is needed")
    return int(value)


def with_odd_sides(stamp):
    """The stamp with a row or a column of zeros added where a side is even; its star is moved into the middle when it is used."""
    if stamp.ndim != 2 or all(n % 2 for n in stamp.shape):
        return stamp
    log.info("the PSF stamp has shape %s: its star is moved by half a sample, into the middle of one", stamp.shape)
    return np.pad(stamp, [(0, 1-n % 2) for n in stamp.shape])
