"""FITS images: read in whatever form they come, or refused with the file, the HDU and a remedy.

An image is named ``FILE[:HDU[:PLANE]]``: the HDU by number from 0, by EXTNAME or by ``EXTNAME,EXTVER``, the first with
pixels when not given; the plane of a cube from 0, needed when it has several.
"""
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyWarning

from ..errors import DataFileError
from .atomic import atomic_path

SHORT = "the file is truncated or damaged; fetch it again"
BLOCK = 2880
UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, VerifyError, zlib.error)
"""What astropy raises on damaged files."""
KEYWORDS = {
    # EGAIN first: amateur cameras write a setting, not electrons, into GAIN
    "gain": ("EGAIN", "GAIN", "CCDGAIN", "ATODGAIN", "ADCGAIN", "GAINA"),
    "readnoise": ("RDNOISE", "READNOIS", "READNOISE", "RON", "READNSE", "ENOISE", "RDNOISEA"),
    "saturation": ("SATURATE", "SATLEVEL", "SATURAT", "SATVAL", "SATURATA"),
    "exptime": ("EXPTIME", "EXPOSURE", "EXP_TIME", "TEXPTIME", "ITIME"),
    "zeropoint": ("MAGZERO", "MAGZPT", "MAGZP", "ZEROPNT", "PHOTZP", "ZPTMAG", "ZEROPT"),
    "band": ("FILTER", "BAND", "FILTNAM", "FILTER1", "INSFLNAM", "FILTERS"),
    "middle": ("MJD-MID", "MJDMID", "MJD-AVG"),
    "start": ("MJD-OBS", "MJD-BEG", "MJD_OBS", "MJD"),
}
"""Header keywords by what they tell, the most trusted first."""
MJD_ZERO = datetime(1858, 11, 17)


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


@dataclass(frozen=True)
class FitsImage:
    """A plane read from a FITS file.

    Attributes
    ----------
    path : Path
    hdu : int or str
        The HDU's EXTNAME, or its number where it has none.
    data : ndarray, shape (ny, nx)
        In the file's type, scaled, in any byte order.
    header, primary : astropy.io.fits.Header
        Of the HDU, and of the file's first HDU.
    """
    path: Path
    hdu: object
    data: np.ndarray
    header: object
    primary: object

    def value(self, what, kind=float):
        """The first of the `KEYWORDS` for something that has a usable value, in either header; None when none has.

        Parameters
        ----------
        what : str
            A key of `KEYWORDS`.
        kind : type
            float (finite ones count) or str (stripped, not empty).
        """
        for header in (self.header, self.primary):
            for keyword in KEYWORDS[what]:
                try:
                    value = kind(header[keyword])
                except (KeyError, ValueError, TypeError):
                    continue
                if kind is float and np.isfinite(value):
                    return value
                if kind is str and value.strip():
                    return value.strip()
        return None

    def mjd(self):
        """Modified Julian date of mid-exposure; NaN when not known."""
        middle = self.value("middle")
        if middle is not None:
            return middle
        start = self.value("start")
        if start is None:
            start = _date(self.header.get("DATE-OBS", self.primary.get("DATE-OBS")))
        return start+(self.value("exptime") or 0.)/86400/2

    def wcs(self):
        """The celestial WCS, or None."""
        return celestial_wcs(self.header)


def _date(text):
    """MJD of an ISO date; NaN when it is none."""
    try:
        return (datetime.fromisoformat(str(text)).replace(tzinfo=None)-MJD_ZERO).total_seconds()/86400
    except ValueError:
        return np.nan


def celestial_wcs(header):
    """The WCS of a header, or None where it has no celestial one that can be used."""
    if not str(header.get("CTYPE1", "")).strip():
        return None
    from astropy.wcs import WCS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            wcs = WCS(header)
            return wcs.celestial if wcs.has_celestial else None
        except (ValueError, MemoryError, KeyError, TypeError):
            return None


@contextmanager
def opened(path):
    """An open FITS file, its oddities not warned of.

    Raises
    ------
    DataFileError
        When it is not there, or no FITS file.
    """
    path = Path(path)
    if not path.exists():
        raise DataFileError(path, "there is no such file; check the name")
    if path.is_dir():
        raise DataFileError(path, "is a folder; name a FITS file in it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            hdus = fits.open(path, memmap=False)
        except UNREADABLE as problem:
            raise DataFileError(path, f"cannot be read as FITS ({_line(problem)}); give a FITS image") from problem
        with hdus:
            yield hdus


def read_header(path):
    """The first header of a file. Errors as `opened`."""
    with opened(path) as hdus:
        return hdus[0].header


def image_names(path):
    """EXTNAME and header of each named HDU with pixels, in the file's order. Errors as `opened`."""
    with opened(path) as hdus:
        return [(h.name, h.header) for _, h in _each(hdus) if _has_pixels(h) and h.name]


def read_image(name):
    """Read an image.

    Parameters
    ----------
    name : str or ImageName
        ``FILE[:HDU[:PLANE]]``.

    Returns
    -------
    FitsImage

    Raises
    ------
    DataFileError
        When there is no such file, HDU or plane, or its pixels cannot be read.
    """
    name = name if isinstance(name, ImageName) else ImageName.parse(name)
    with opened(name.path) as hdus:
        number = _find(hdus, name)
        hdu = hdus[number]
        label = hdu.name if number and hdu.name else number
        data = _plane(_pixels(hdu, name.path, label), name, label)
        return FitsImage(name.path, label, data, hdu.header, hdus[0].header)


def _find(hdus, name):
    """Number of the HDU that a name asks for."""
    try:
        if name.hdu is None:
            return next(k for k, h in _each(hdus) if _has_pixels(h))
        extname, _, version = str(name.hdu).partition(",")
        number = hdus.index_of((extname, int(version)) if version else name.hdu)
        hdu = hdus[number]
    except (*UNREADABLE, StopIteration) as problem:
        asked = "it" if name.hdu is None else f"it has no HDU {name.hdu}; it"
        raise DataFileError(name.path, f"{asked} {_offer(hdus)}", name.hdu) from problem
    if not _has_pixels(hdu):
        what = "is a table" if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) else "holds no image"
        raise DataFileError(name.path, f"{what}; the file {_offer(hdus)}", name.hdu)
    return number


def _each(hdus):
    """Number and HDU, as far as the file can be read."""
    k = 0
    while True:
        try:
            yield k, hdus[k]
        except UNREADABLE:
            return
        k += 1


def _has_pixels(hdu):
    image = isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)
    return image and len(hdu.shape) >= 2 and 0 not in hdu.shape


def _offer(hdus):
    """The file's images in words."""
    names = [f"{k} ({h.name})" if k and h.name else str(k) for k, h in _each(hdus) if _has_pixels(h)]
    return f"has images in HDU {', '.join(names)}" if names else "has no image in any HDU; give a file with one"


def _pixels(hdu, path, label):
    """The HDU's array; a shorter file than its header promises is an error."""
    place = hdu.fileinfo()
    try:
        if str(path).lower().endswith((".gz", ".bz2", ".xz", ".z", ".zip")) or place is None:
            return np.asarray(hdu.data)
        # blocks are padded, which some writers leave out at the end
        size = place["datSpan"]-BLOCK+1 if isinstance(hdu, fits.CompImageHDU) else hdu.size
        if place["datLoc"]+size > path.stat().st_size:
            raise DataFileError(path, f"pixels are missing at the end: {SHORT}", label)
        return np.asarray(hdu.data)
    except DataFileError:
        raise
    except Exception as problem:
        # whatever it is, the file is to blame: the decompressor's own error is of a kind that cannot be named
        raise DataFileError(path, f"its pixels cannot be read ({_line(problem)}): {SHORT}", label) from problem


def _plane(data, name, label):
    """The plane of a cube that is asked for, or its only one."""
    planes = data.reshape(-1, *data.shape[-2:])
    if name.plane is None and len(planes) > 1:
        raise DataFileError(name.path, f"is a cube of {len(planes)} planes {data.shape}; choose one from 0, "
                            f"as in {name.path}:{label}:0", label)
    if (name.plane or 0) >= len(planes):
        raise DataFileError(name.path, f"has no plane {name.plane}; its planes are 0 to {len(planes)-1}", label)
    return planes[name.plane or 0]


def _line(problem):
    """An exception's message on one line."""
    return " ".join(str(problem).split()) or type(problem).__name__


def to_cutout(header, origin):
    """Move the reference pixel of a parent image, in place, to that of a cut-out whose first pixel is `origin`, (x0, y0)."""
    for offset, keyword in zip(origin, ("CRPIX1", "CRPIX2")):
        if offset and keyword in header:
            header[keyword] -= offset


def write_image(image, path, overwrite=False):
    """Write an Image as HDUs IMAGE, IVAR and DQ, with its WCS and what a header can say of it.

    Parameters
    ----------
    image : crowdsource.image.Image
    path : path-like
    overwrite : bool

    Raises
    ------
    OutputError
        When the file exists already or cannot be written.
    """
    header = fits.Header() if image.wcs is None else image.wcs.to_header(relax=True)
    to_cutout(header, image.origin)
    for keyword, value in (("GAIN", image.gain), ("SATURATE", image.saturation), ("MAGZERO", image.zeropoint),
                           ("EXPTIME", image.exptime), ("MJD-MID", image.mjd)):
        if np.isfinite(value):
            header[keyword] = value
    if image.band:
        header["FILTER"] = image.band
    planes = ("IMAGE", image.data), ("IVAR", image.ivar), ("DQ", image.dq)
    hdus = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(plane, header, name) for name, plane in planes)])
    with atomic_path(path, overwrite) as temporary:
        hdus.writeto(temporary)
