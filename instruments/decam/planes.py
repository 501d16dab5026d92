"""Writing exposures of DECam: the three planes as the Community Pipeline lays them out, one CCD in memory at a time."""
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from crowdsource.core.errors import InputError, OutputError
from crowdsource.core.flags import ENGINE
from crowdsource.io.atomic import atomic_path
from crowdsource.io.fits import to_cutout
from crowdsource.io.timeless import without_times

from .adapter import CODES, CORRECTED, FIRST_WITH_CODES, PLANE, TRUTH, UNSTABLE, stem, version
from .layout import place_of

NAME = re.compile(r"_ooi_(?P<band>[A-Za-z]+)_.*\.fits(\.fz)?$")
PLVER = "V4.8.2"
GRAVEST_FIRST = "saturated", "bleed", "cosmic", "bad", "novalue", "lowweight", "streak", "difference"
"""A pixel has one code: what says most of it."""
QUANTIZE, DITHER_SEED = 4, 1
"""Compressed values are rounded to this part of the noise, as the pipeline's are; the seed makes files repeatable."""
FILTERS = {
    "u": "u DECam c0006 3500.0 1000.0", "g": "g DECam SDSS c0001 4720.0 1520.0", "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0", "z": "z DECam SDSS c0004 9260.0 1520.0", "Y": "Y DECam c0005 10095.0 1130.0",
    "VR": "VR DECam c0007 6300.0 2600.0",
}
"""FILTER of the headers, by the filter's short name."""
CHECKSUMS = "CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM"


@dataclass(frozen=True)
class Planes:
    """What the files hold of a CCD.

    Attributes
    ----------
    name : str
    header : astropy.io.fits.Header
        Of all three.
    data, ivar : ndarray, shape (ny, nx), float32
    codes : ndarray, shape (ny, nx), int32
    truth : astropy.table.Table or None
    """
    name: str
    header: fits.Header
    data: np.ndarray
    ivar: np.ndarray
    codes: np.ndarray
    truth: Table = None


def codes_of(bits):
    """Codes of the data-quality plane from bits ``1 << code``, of which a pixel keeps the gravest; other bits are left out.

    Parameters
    ----------
    bits : ndarray of uint32, shape (ny, nx)

    Returns
    -------
    ndarray of int32, shape (ny, nx)
    """
    numbers = {name: code for code, name in CODES.items()}
    out = np.zeros(bits.shape, np.int32)
    for name in reversed(GRAVEST_FIRST):
        out[bits >> np.uint32(numbers[name]) & 1 > 0] = numbers[name]
    return out


def band_of(path):
    """The filter's short name in an image's file name, as z in ``c4d_170316_062107_ooi_z_v1.fits.fz``.

    Raises
    ------
    OutputError
        When it is no such name.
    """
    found = NAME.search(Path(path).name)
    if not found or found["band"] not in FILTERS:
        raise OutputError(f"{path}: is no image's name as DECam's pipeline gives it; name it as c4d_170316_062107_ooi_z_v1.fits "
                          f"or .fits.fz, with one of the filters {', '.join(FILTERS)}")
    return found["band"]


def paths_of(path):
    """Files of an exposure that is written, by what they hold: i, w, d and truth; the truth is not compressed."""
    path = Path(path)
    planes = {letter: path.with_name(PLANE.sub(f"_oo{letter}_", path.name)) for letter in "iwd"}
    return {**planes, "truth": path.with_name(stem(path)+TRUTH)}


@contextmanager
def exposure_files(path, primary, overwrite=False, truth=False):
    """Files of an exposure that take their places when the block ends well, the image last.

    Parameters
    ----------
    path : path-like
        The image's; the other planes' names follow from it. One that ends in ``.fz`` is compressed, and so are they.
    primary : astropy.io.fits.Header
        First header of each.
    overwrite : bool
    truth : bool
        There is a truth too, a table for each CCD.

    Yields
    ------
    callable
        Adds the `Planes` of a CCD to the files.

    Raises
    ------
    OutputError
        When the name is none of DECam's, or a file exists or cannot be written.
    """
    band_of(path)
    paths = paths_of(path)
    compressed = str(path).endswith(".fz")
    with ExitStack() as stack:
        parts = {what: stack.enter_context(atomic_path(p, overwrite)) for what, p in paths.items() if truth or what != "truth"}
        for part in parts.values():
            fits.PrimaryHDU(header=primary).writeto(part, output_verify="silentfix")

        def add(ccd):
            for letter, plane in (("i", ccd.data), ("w", ccd.ivar), ("d", ccd.codes)):
                _append(parts[letter], _hdu(plane, ccd.header, ccd.name, compressed))
            if truth:
                _append(parts["truth"], fits.BinTableHDU(ccd.truth, name=ccd.name))

        yield add
        if compressed:
            for letter in "iwd":
                without_times(parts[letter])


def _append(path, hdu):
    """Add an HDU to a file without reading the others' pixels."""
    with fits.open(path, mode="append", memmap=False) as hdus:
        hdus.append(hdu)
        hdus.flush(output_verify="silentfix")


def _hdu(plane, header, name, compressed):
    """An image HDU; compressed by Rice's method, zeros kept as they are."""
    if not compressed:
        return fits.ImageHDU(plane, header, name)
    options = dict(quantize_level=QUANTIZE, quantize_method=2, dither_seed=DITHER_SEED) if plane.dtype.kind == "f" else {}
    return fits.CompImageHDU(plane, header, name, compression_type="RICE_1", **options)


def write_images(images, path, overwrite=False):
    """Write Images as the planes of an exposure, with their own headers where they have some.

    Flags that come from a user's masks and catalogs, and from the engine, have no code: reading with the same options sets
    them again. Their pixels' inverse variance stays 0 in any case.

    Parameters
    ----------
    images : iterable of crowdsource.core.image.Image
        One for each CCD; its name is the image's `detector`.
    path : path-like
        As ``c4d_170316_062107_ooi_z_v1.fits``.
    overwrite : bool

    Raises
    ------
    InputError
        When there is no image, or one of no CCD.
    OutputError
        As `exposure_files`.
    """
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise InputError("there are no images to write: give one for each CCD")
    with exposure_files(path, _primary(first), overwrite) as add:
        for image in chain([first], images):
            data = np.where(image.mask & ENGINE.nonfinite, np.float32(np.nan), image.data)
            add(Planes(image.detector, _header(image), data, image.ivar, codes_of(image.dq)))


def _primary(image):
    """First header of the files of an image: its own, or what it knows."""
    if image.meta.get("primary") is not None:
        header = image.meta["primary"].copy()
        if (version(header.get("PLVER")) or FIRST_WITH_CODES) < FIRST_WITH_CODES:
            header["PLVER"] = (PLVER, "codes are written, not bits as before it")
        for keyword in CHECKSUMS:
            header.remove(keyword, ignore_missing=True)
        return header
    header = fits.Header(dict(INSTRUME="DECam", PLVER=PLVER, FILTER=FILTERS.get(image.band, image.band)))
    numbers = {"EXPTIME": image.exptime, "MJD-MID": image.mjd, "MAGZERO": image.zeropoint, "EXPNUM": image.meta.get("expnum", 0)}
    header.update({k: v for k, v in numbers.items() if np.isfinite(v)})
    return header


def _header(image):
    """Header of a CCD: its own, or what the image knows; shifted where it is a cut-out."""
    number = place_of(image.detector).number
    header = image.meta["header"].copy() if "header" in image.meta else fits.Header() if image.wcs is None else \
        image.wcs.to_header(relax=True)
    for keyword in CHECKSUMS:
        header.remove(keyword, ignore_missing=True)
    to_cutout(header, image.origin)
    header["CCDNUM"] = (number, "CCD number")
    if "FWHM" not in header and image.meta.get("fwhm"):
        header["FWHM"] = (image.meta["fwhm"], "Median FWHM in pixels")
    if image.detector == UNSTABLE:
        header[CORRECTED] = (True, "step between the amplifiers is taken off")
    return header
