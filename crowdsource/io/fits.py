"""FITS images: read in whatever form they come, or refused with the file, the HDU and a remedy.

How an image is named is described in `crowdsource.io.image_name`.
"""
import re
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..core.errors import DataFileError
from ..core.nearest import did_you_mean
from ..core.world import fits_wcs, pixels_of, sky_of
from .atomic import atomic_path
from .bounded_fits import BLOCK, SHORT
from .decompress import check_unpacked, decompressed
from .hdus import UNREADABLE, one_line, opened, parsed
from .image_name import ImageName

ANY = 0xFFFFFFFF
"""All flags."""
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
NO_LESS = {"gain": (0., False), "readnoise": (0., True), "saturation": (0., True), "exptime": (0., True)}
"""Least values by what they tell, and whether they may have these; a saturation or exposure time of 0 means none."""
WORDS = {"gain": "gain", "readnoise": "read noise", "saturation": "level of saturation", "exptime": "exposure time"}
LARGEST_FACT = 1e30
MJD_ZERO = datetime(1858, 11, 17)


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
                value = number(header, keyword) if kind is float else str(header.get(keyword, "")).strip()
                if value not in (None, "") and not (what in NO_LESS and _too_low(what, value)):
                    return value
        return None

    def odd(self, what):
        """A line for each of the `KEYWORDS` for a number that has a value in a header which is none; see `NO_LESS`."""
        out = []
        for keyword in KEYWORDS[what]:
            for header in (self.header, self.primary):
                text, value = str(header.get(keyword, "")).strip(), number(header, keyword)
                if text and (value is None or _too_low(what, value)):
                    out.append(f"{keyword} in the header is {text[:40]!r}, which is no {WORDS[what]}: it is not used")
        return list(dict.fromkeys(out))

    def floats(self, cut=np.s_[:, :]):
        """The pixels as float32, infinite where they are beyond its range; `data` itself where that is so already.

        Raises
        ------
        DataFileError
            When they are no real numbers.
        """
        if self.data.dtype.kind not in "fiub":
            raise DataFileError(self.path, f"holds values of type {self.data.dtype.name}; real numbers are needed", self.hdu)
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(self.data[cut], dtype=np.float32)

    def flags(self):
        """The pixels as uint32; a sign bit is the highest of the flags, and floats that are whole will do.

        Of integers of 32 bits it is a view of `data`.

        Raises
        ------
        DataFileError
            When they are no whole numbers of 32 bits.
        """
        data = self.data
        if data.dtype.kind == "f" and not (data == np.round(data)).all():
            raise DataFileError(self.path, f"holds values of type {data.dtype.name}; flags are whole numbers", self.hdu)
        if data.dtype.kind not in "fiub" or data.min() < -2**31 or data.max() > ANY:
            raise DataFileError(self.path, f"holds values of type {data.dtype.name} beyond 32 bits; flags are 32-bit integers",
                                self.hdu)
        if data.dtype.kind == "f":
            data = data.astype(np.int64)
        return data.view(np.uint32) if data.dtype.itemsize == 4 else data.astype(np.uint32)

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
        """The celestial WCS, or None where there is none that has a position for the middle of the image."""
        wcs = celestial_wcs(self.header, self.path)
        middle = [(n-1)/2 for n in self.data.shape[::-1]]
        return wcs if wcs is not None and np.isfinite(known_sky(wcs, *middle)).all() else None


def _too_low(what, value):
    """Whether a number cannot be what a keyword says that it is."""
    least, may_be = NO_LESS[what]
    return value < least or (value == least and not may_be)


def number(header, keyword):
    """A header's number, which may be written as text; None where it is absent, none, or beyond what float32 holds."""
    value = header.get(keyword)
    try:
        value = float(value) if not isinstance(value, bool) else np.nan
    except (ValueError, TypeError, OverflowError):
        return None
    return value if abs(value) < LARGEST_FACT else None


def _date(text):
    """MJD of an ISO date; NaN when it is none."""
    try:
        return (datetime.fromisoformat(str(text)).replace(tzinfo=None)-MJD_ZERO).total_seconds()/86400
    except (ValueError, OverflowError):
        return np.nan


TABLES = re.compile(r"CPDIS\d|DP\d|D2IMDIS\d|D2IM\d")
"""Keywords of distortions that stand in tables of the same file; so do those of coordinates ``-TAB``."""


def celestial_wcs(header, path=None):
    """The WCS of a header, or None where it has no celestial one that can be used.

    Parameters
    ----------
    header : astropy.io.fits.Header
    path : path-like, optional
        The file that it is of, in which distortions may stand as tables.
    """
    if not str(header.get("CTYPE1", "")).strip():
        return None
    from astropy.wcs import WCS
    in_tables = any(TABLES.match(k) for k in header) or any("-TAB" in str(header.get(f"CTYPE{k}", "")) for k in (1, 2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            if in_tables and path is not None:
                with opened(path) as hdus:
                    wcs = WCS(header, hdus)
            else:
                wcs = WCS(header)
            # a copy of two celestial axes has lost the tables
            return None if not wcs.has_celestial else wcs if wcs.naxis == 2 else wcs.celestial
        except UNREADABLE:
            return None


def known_sky(wcs, x, y):
    """Right ascension and declination of 0-based pixels, ICRS, degrees; NaN where there are none."""
    with np.errstate(all="ignore"):
        try:
            return sky_of(wcs, x, y)
        except UNREADABLE:
            return np.full((2, *np.shape(x)), np.nan)


def covers(wcs, shape):
    """Whether the corners of an image of a shape (ny, nx) have positions, and these lead back to them."""
    x, y = np.array([(x, y) for x in (0., shape[1]-1) for y in (0., shape[0]-1)]).T
    with np.errstate(all="ignore"):
        try:
            back = pixels_of(wcs, *known_sky(wcs, x, y))
        except UNREADABLE:
            return False
        return bool((np.abs(back-(x, y)) < 1).all())


def read_header(path):
    """The first header of a file. Errors as `opened`."""
    with opened(path) as hdus:
        return parsed(hdus[0].header)


def image_names(path):
    """EXTNAME and header of each named HDU with pixels, in the file's order. Errors as `opened`."""
    with opened(path) as hdus:
        return [(h.name, parsed(h.header)) for h in hdus if _has_pixels(h) and h.name]


def planes_of(path):
    """The first header of a file, and (number, EXTNAME, EXTVER, shape, header) of each HDU with pixels. Errors as `opened`."""
    with opened(path) as hdus:
        return parsed(hdus[0].header), [(k, h.name if "EXTNAME" in h.header else "", h.ver, tuple(h.shape), parsed(h.header))
                                        for k, h in enumerate(hdus) if _has_pixels(h)]


def hdu_label(name):
    """EXTNAME of the HDU that an `ImageName` asks for, its number where it has none; reads no pixels. Errors as `read_image`."""
    with opened(name.path) as hdus:
        return _label(hdus, _find(hdus, name))


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
        label = _label(hdus, number)
        data = _plane(_pixels(hdu, name.path, number, label), name, label)
        return FitsImage(name.path, label, _in_native_order(data), parsed(hdu.header), parsed(hdus[0].header))


def _in_native_order(data):
    """An array that may be written to, in the machine's byte order; swapped in place, since new pages cost more than that."""
    order = data.dtype.newbyteorder("=")
    if not data.flags.writeable:
        return data.astype(order)
    return data if data.dtype.isnative else data.byteswap(inplace=True).view(order)


def _find(hdus, name):
    """Number of the HDU that a name asks for."""
    try:
        if name.hdu is None:
            return next(k for k, h in enumerate(hdus) if _has_pixels(h))
        extname, _, version = str(name.hdu).partition(",")
        number = hdus.index_of((extname, int(version)) if version else name.hdu)
        hdu = hdus[number]
    except UNREADABLE as problem:
        asked = "it" if name.hdu is None else f"it has no HDU {name.hdu}{did_you_mean(name.hdu, _names(hdus))}; it"
        raise DataFileError(name.path, f"{asked} {_offer(hdus)}", name.hdu) from problem
    if not _has_pixels(hdu):
        what = "is a table" if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) else "holds no image"
        raise DataFileError(name.path, f"{what}; the file {_offer(hdus)}", name.hdu)
    return number


def _names(hdus):
    """Names of the HDUs that can be read and have one."""
    return [h.name for h in hdus if h.name]


def _label(hdus, number):
    """EXTNAME of an HDU, its number where it has none or is the first."""
    return hdus[number].name if number and hdus[number].name else number


def _has_pixels(hdu):
    try:
        image = isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)
        return image and len(hdu.shape) >= 2 and min(hdu.shape) > 0
    except UNREADABLE:
        return False


def _offer(hdus):
    """The file's images in words."""
    names = [f"{k} ({h.name})" if k and h.name else str(k) for k, h in enumerate(hdus) if _has_pixels(h)]
    return f"has images in HDU {', '.join(names)}" if names else "has no image in any HDU; give a file with one"


def _pixels(hdu, path, number, label):
    """The HDU's array; a shorter file than its header promises is an error."""
    place = hdu.fileinfo()
    try:
        if str(path).lower().endswith((".gz", ".bz2", ".xz", ".z", ".zip")) or place is None:
            return _held(hdu.data)
        # blocks are padded, which some writers leave out at the end
        size = place["datSpan"]-BLOCK+1 if isinstance(hdu, fits.CompImageHDU) else hdu.size
        if place["datLoc"]+size > path.stat().st_size:
            raise DataFileError(path, f"pixels are missing at the end: {SHORT}", label)
        check_unpacked(hdu, path, label)
        with np.errstate(all="ignore"):
            return _held(decompressed(hdu, path, number) if isinstance(hdu, fits.CompImageHDU) else hdu.data)
    except DataFileError:
        raise
    except Exception as problem:
        # whatever it is, the file is to blame: the decompressor's own error is of a kind that cannot be named
        raise DataFileError(path, f"its pixels cannot be read ({one_line(problem)}): {SHORT}", label) from problem


def _held(data):
    """Pixels as an array; astropy gives None where a header contradicts itself."""
    if data is None:
        raise ValueError("it holds none")
    return np.asarray(data)


def _plane(data, name, label):
    """The plane of a cube that is asked for, or its only one."""
    planes = data.reshape(-1, *data.shape[-2:])
    if name.plane is None and len(planes) > 1:
        raise DataFileError(name.path, f"is a cube of {len(planes)} planes {data.shape}; choose one from 0, "
                            f"as in {name.path}:{label}:0", label)
    if (name.plane or 0) >= len(planes):
        raise DataFileError(name.path, f"has no plane {name.plane}; its planes are 0 to {len(planes)-1}", label)
    return planes[name.plane or 0]


def to_cutout(header, origin):
    """Move the reference pixel of a parent image, in place, to that of a cut-out whose first pixel is `origin`, (x0, y0)."""
    for offset, keyword in zip(origin, ("CRPIX1", "CRPIX2")):
        if offset and keyword in header:
            header[keyword] -= offset


def write_image(image, path, overwrite=False):
    """Write an Image as HDUs IMAGE, IVAR and DQ, with its WCS and what a header can say of it.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    path : path-like
    overwrite : bool

    Raises
    ------
    OutputError
        When the file exists already or cannot be written.
    """
    header = fits.Header() if image.wcs is None else fits_wcs(image.wcs, image.shape, image.origin).to_header(relax=True)
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
