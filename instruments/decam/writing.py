"""Writing exposures of DECam: the three planes as the Community Pipeline lays them out, one CCD in memory at a time."""
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

import numpy as np
from astropy.io import fits
from astropy.table import Table

from crowdsource.core.errors import InputError
from crowdsource.core.flags import ENGINE
from crowdsource.io.atomic import atomic_path, check_output
from crowdsource.io.fits import to_cutout
from crowdsource.io.gzip_times import clear_gzip_times

from .bits import FIRST_WITH_CODES, codes_of, version
from .layout import ccd_of
from .names import FILTERS, filter_of, paths_of
from .seam import CORRECTED, UNSTABLE

PLVER = "V4.8.2"
"""Version of the pipeline whose files these resemble."""
QUANTIZE, DITHER_SEED = 4, 1
"""Compressed values are rounded to this part of the noise, as the pipeline's are; the seed makes files repeatable."""
CHECKSUMS = "CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM"


@dataclass(frozen=True, eq=False, kw_only=True)
class CcdPlanes:
    """The planes of a CCD as the files hold them.

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


@contextmanager
def exposure_files(path, primary, overwrite=False, truth=False):
    """Files of an exposure, which get their names only when the block ends without an error, the image last.

    Parameters
    ----------
    path : path-like
        The image's; the other planes' names follow from it. One that ends in ``.fz`` is compressed, and so are they.
    primary : astropy.io.fits.Header
        First header of each.
    overwrite : bool
    truth : bool
        Write a file of the true stars too, a table for each CCD.

    Yields
    ------
    callable
        Adds the `CcdPlanes` of a CCD to the files.

    Raises
    ------
    OutputError
        When the image is not named as DECam's are, or a file exists or cannot be written.
    """
    filter_of(path)
    paths = paths_of(path)
    compressed = str(path).endswith(".fz")
    paths = {what: p for what, p in paths.items() if truth or what != "truth"}
    # none gets its name where another cannot
    for p in paths.values():
        check_output(p, overwrite)
    with ExitStack() as stack:
        parts = {what: stack.enter_context(atomic_path(p, overwrite)) for what, p in paths.items()}
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
                clear_gzip_times(parts[letter])


def _append(path, hdu):
    """Add an HDU to a file without reading the pixels of its other HDUs."""
    with fits.open(path, mode="append", memmap=False) as hdus:
        hdus.append(hdu)
        hdus.flush(output_verify="silentfix")


def _hdu(plane, header, name, compressed):
    """An image HDU; compressed by Rice's method, with zeros kept exactly."""
    if not compressed:
        return fits.ImageHDU(plane, header, name)
    options = dict(quantize_level=QUANTIZE, quantize_method=2, dither_seed=DITHER_SEED) if plane.dtype.kind == "f" else {}
    return fits.CompImageHDU(plane, header, name, compression_type="RICE_1", **options)


def write_images(images, path, overwrite=False):
    """Write Images as the planes of an exposure, with their own headers where they have some.

    The pipeline has no code for flags from a user's masks and catalogs, and from the engine: reading with the same options
    sets them again. An inverse variance of 0 is written as it is.

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
        When there is no image.
    InstrumentError
        When an image's detector is no CCD.
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
            add(CcdPlanes(name=image.detector, header=_header(image), data=data, ivar=image.ivar,
                          codes=codes_of(image.dq)))


def _primary(image):
    """First header of the files of an image: its own, or what the image's attributes tell."""
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
    """Header of a CCD: its own, or what the image's attributes tell; shifted where it is a cut-out."""
    number = ccd_of(image.detector).number
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
