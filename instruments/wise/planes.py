"""Writing tiles of unWISE coadds: the planes of each band, the mask of all, and the truth of simulated ones."""
import gzip
import io
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from crowdsource.core.errors import InputError, OutputError
from crowdsource.core.flags import ENGINE
from crowdsource.io.atomic import atomic_path
from crowdsource.io.fits import to_cutout

from .adapter import COADD, FACTOR, FILE, FLAGS, FLOOR, MASK_BITS, OFF_EITHER_EDGE, ZEROPOINT
from .atlas import SCALE, SIDE, atlas

NAME = re.compile(COADD.pattern+"$")
PACKING = 4
"""Effort of gzip, of 9: what more would gain is noise."""
SMALLEST = 1e-12
"""Variance of pixels that have less than the noise which reading adds."""
TRUTH = "unwise-{coadd}-truth.fits"


@dataclass(frozen=True)
class Planes:
    """What the files of a tile hold of a band.

    Attributes
    ----------
    band : int
    header : astropy.io.fits.Header
        Of all of them.
    data, invvar : ndarray, shape (ny, nx), float32
        Vega nanomaggies, and their inverse variance as the coadds have it.
    seen, looked : ndarray, shape (ny, nx), int16
        Numbers of exposures that were kept, and of all.
    """
    band: int
    header: fits.Header
    data: np.ndarray
    invvar: np.ndarray
    seen: np.ndarray
    looked: np.ndarray


def tile_of(path):
    """(folder, coadd) of a tile that is written.

    Parameters
    ----------
    path : path-like
        A tile's name after its folder, as ``FOLDER/1866p257``, or one of its ``img-m`` files.

    Raises
    ------
    OutputError
        When it is neither.
    InputError
        When there is no such tile.
    """
    path = Path(path)
    found = FILE.search(path.name)
    coadd = found[1] if found else path.name
    if not NAME.fullmatch(coadd):
        raise OutputError(f"{path}: is no tile; end it with a tile's name, as 1866p257, or its unwise-1866p257-w1-img-m.fits")
    atlas().index(coadd)
    return path.parent, coadd


def paths_of(folder, coadd, bands, truth=False):
    """The files of a tile by what they hold: (band, plane), msk and truth; all but images and truth are compressed."""
    paths = {(band, plane): folder/f"unwise-{coadd}-w{band}-{plane}.fits{end}" for band in bands
             for plane, end in (("img-m", ""), ("invvar-m", ".gz"), ("n-m", ".gz"), ("n-u", ".gz"))}
    paths["msk"] = folder/f"unwise-{coadd}-msk.fits.gz"
    return {**paths, "truth": folder/TRUTH.format(coadd=coadd)} if truth else paths


def write_tile(paths, bands, bits, truths=(), overwrite=False):
    """Write a tile; its files take their places when all are there.

    Parameters
    ----------
    paths : dict
        As `paths_of` gives them.
    bands : sequence of Planes
    bits : ndarray of int32, shape (ny, nx)
        The mask.
    truths : sequence of astropy.table.Table
        For each band.
    overwrite : bool

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    with ExitStack() as stack:
        parts = {what: stack.enter_context(atomic_path(path, overwrite)) for what, path in paths.items()}
        for p in bands:
            for plane, pixels in (("img-m", p.data), ("invvar-m", p.invvar), ("n-m", p.seen), ("n-u", p.looked)):
                _put(parts[p.band, plane], pixels, p.header)
        _put(parts["msk"], bits, bands[0].header)
        if truths:
            tables = [fits.BinTableHDU(table, name=f"W{p.band}") for p, table in zip(bands, truths)]
            fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(parts["truth"])


def _put(path, pixels, header):
    """An image file; one that ends in .gz is compressed, without a time, so that the same pixels are the same bytes."""
    hdu = fits.PrimaryHDU(pixels, header)
    if path.suffix != ".gz":
        hdu.writeto(path, output_verify="silentfix")
        return
    plain = io.BytesIO()
    hdu.writeto(plain, output_verify="silentfix")
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", PACKING, raw, 0) as stream:
        stream.write(plain.getbuffer())


def tile_header(coadd, shape, band):
    """Header of a tile, or of its middle where the shape is less, as the coadds have it.

    Parameters
    ----------
    coadd : str
    shape : tuple of int
        (ny, nx).
    band : int

    Returns
    -------
    astropy.io.fits.Header
    """
    where, (ny, nx) = atlas().index(coadd), shape
    header = fits.Header()
    for keyword, value, comment in (
            ("CTYPE1", "RA---TAN", "TAN (gnomic) projection"), ("CTYPE2", "DEC--TAN", "TAN (gnomic) projection"),
            ("EQUINOX", 2000., "Equatorial coordinates definition (yr)"), ("LONPOLE", 180., ""), ("LATPOLE", 0., ""),
            ("CRVAL1", float(atlas().ra[where]), "RA  of reference point"),
            ("CRVAL2", float(atlas().dec[where]), "DEC of reference point"),
            ("CRPIX1", (SIDE+1)/2-(SIDE-nx)//2, "X reference pixel"), ("CRPIX2", (SIDE+1)/2-(SIDE-ny)//2, "Y reference pixel"),
            ("CUNIT1", "deg", "X pixel scale units"), ("CUNIT2", "deg", "Y pixel scale units"),
            ("CD1_1", -SCALE, "Transformation matrix"), ("CD1_2", 0., ""), ("CD2_1", 0., ""), ("CD2_2", SCALE, ""),
            ("IMAGEW", nx, "Image width,  in pixels."), ("IMAGEH", ny, "Image height, in pixels."),
            ("MAGZP", ZEROPOINT, "Magnitude zeropoint (in Vega mag)"), ("EPOCH", -1, "epoch number"),
            ("BAND", band, "WISE band")):
        header[keyword] = (value, comment)
    return header


def write_images(images, path, overwrite=False):
    """Write Images as the files of their tile, in its folder; the mask is that of all of them together.

    The inverse variance is the image's without the noise that reading adds, 0 where the image's is. Of the flags, those that
    reading sets anew from pixels and numbers of exposures (crowdsat), and those of the engine, have no bit.

    Parameters
    ----------
    images : iterable of crowdsource.core.image.Image
        One for each band of a tile.
    path : path-like
        As `tile_of`.
    overwrite : bool

    Raises
    ------
    InputError
        When there is no image, two of one band, or they differ in shape.
    OutputError
        When a file exists or cannot be written.
    """
    images = list(images)
    bands = [int(image.band.lstrip("W") or 0) for image in images]
    if not images or len(set(bands)) < len(bands) or not set(bands) <= set(FLOOR) or len({i.shape for i in images}) > 1:
        raise InputError(f"images of bands {bands} are no tile: give one of W1, or of W2, or of each, of the same shape")
    folder, coadd = tile_of(path)
    planes = [_planes(image, band, coadd) for image, band in zip(images, bands)]
    bits = np.bitwise_or.reduce([bits_of(image.dq, image.mask, band) for image, band in zip(images, bands)])
    write_tile(paths_of(folder, coadd, bands), planes, bits, overwrite=overwrite)


def _planes(image, band, coadd):
    """The `Planes` of an Image, with its own header where it has one; shifted where it is a cut-out."""
    header = image.meta["header"].copy() if "header" in image.meta else tile_header(coadd, image.shape, band)
    to_cutout(header, image.origin)
    (x0, y0), (ny, nx) = image.origin, image.shape
    seen, looked = (np.asarray(image.meta.get(n, np.ones((y0+ny, x0+nx))), dtype=np.int16)[y0:y0+ny, x0:x0+nx]
                    for n in ("seen", "looked"))
    data = np.where(image.mask & ENGINE.nonfinite, np.float32(np.nan), image.data)
    return Planes(band, header, data, invvar_of(image.data, image.ivar, band), seen, looked)


def invvar_of(data, ivar, band):
    """What `crowdsource.instruments.wise.adapter.full_ivar` makes an inverse variance of; 0 stays 0.

    Parameters
    ----------
    data, ivar : ndarray, shape (ny, nx)
    band : int

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    good = ivar > 0
    variance = 1/np.where(good, ivar, 1).astype(np.float64)-FLOOR[band]**2-FACTOR[band]**2*np.maximum(data, 0, dtype=np.float64)
    return np.where(good, 1/np.maximum(variance, SMALLEST), 0).astype(np.float32)


def bits_of(dq, mask, band):
    """Bits of the mask file from those of the adapter and the engine: of each name the band's first one.

    Parameters
    ----------
    dq : ndarray of uint32, shape (ny, nx)
    mask : ndarray of uint16, shape (ny, nx)
    band : int

    Returns
    -------
    ndarray of int32, shape (ny, nx)
    """
    bits = np.zeros(dq.shape, np.int32)
    for name, of_band in MASK_BITS.items():
        bits[dq & getattr(FLAGS, name) > 0] |= np.int32(1 << of_band[band-1][0])
    # a bright star off the edge in the other band asks for sharp peaks in this one too
    bits[(mask & ENGINE.sharp > 0) & (dq & FLAGS.bright_off_edge == 0)] |= np.int32(1 << OFF_EITHER_EDGE[2-band])
    return bits
