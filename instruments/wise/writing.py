"""Writing tiles of unWISE coadds: the planes of each band, the mask of all, and the truth of simulated ones."""
import gzip
import io
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from crowdsource.core.errors import InputError
from crowdsource.core.flags import ENGINE
from crowdsource.io.atomic import atomic_path, check_output
from crowdsource.io.fits import to_cutout

from .atlas import SCALE, SIDE, atlas
from .bits import bits_of
from .exposure import ZEROPOINT
from .names import paths_of, tile_of
from .noise import FLOOR, invvar_of

PACKING = 4
"""Effort of gzip, of 9: the noise of pixels does not compress any better with more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BandPlanes:
    """The planes of a band as the files of a tile hold them.

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


def write_tile(paths, bands, bits, truths=(), overwrite=False):
    """Write a tile; its files get their names when all are complete.

    Parameters
    ----------
    paths : dict
        As `paths_of` gives them.
    bands : sequence of BandPlanes
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
    # none gets its name where another cannot
    for path in paths.values():
        check_output(path, overwrite)
    with ExitStack() as stack:
        parts = {what: stack.enter_context(atomic_path(path, overwrite)) for what, path in paths.items()}
        for p in bands:
            for kind, pixels in (("img-m", p.data), ("invvar-m", p.invvar), ("n-m", p.seen), ("n-u", p.looked)):
                _write_image(parts[p.band, kind], pixels, p.header)
        _write_image(parts["msk"], bits, bands[0].header)
        if truths:
            tables = [fits.BinTableHDU(table, name=f"W{p.band}") for p, table in zip(bands, truths)]
            fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(parts["truth"])


def _write_image(path, pixels, header):
    """Write an image file; one that ends in .gz is compressed, without a time, so that the same pixels give the same bytes."""
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
    tile, (ny, nx) = atlas().index(coadd), shape
    header = fits.Header()
    for keyword, value, comment in (
            ("CTYPE1", "RA---TAN", "TAN (gnomic) projection"), ("CTYPE2", "DEC--TAN", "TAN (gnomic) projection"),
            ("EQUINOX", 2000., "Equatorial coordinates definition (yr)"), ("LONPOLE", 180., ""), ("LATPOLE", 0., ""),
            ("CRVAL1", float(atlas().ra[tile]), "RA  of reference point"),
            ("CRVAL2", float(atlas().dec[tile]), "DEC of reference point"),
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

    The inverse variance is the image's without the noise that reading adds, 0 where the image's is 0. The mask has no bits for
    crowdsat, which reading sets anew from pixels and numbers of exposures, and for the engine's flags.

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
        When there is no image, two images are of one band, or they differ in shape.
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
    """The `BandPlanes` of an Image, with its own header where it has one; shifted where it is a cut-out."""
    header = image.meta["header"].copy() if "header" in image.meta else tile_header(coadd, image.shape, band)
    to_cutout(header, image.origin)
    (x0, y0), (ny, nx) = image.origin, image.shape
    seen, looked = (np.asarray(image.meta.get(n, np.ones((y0+ny, x0+nx))), dtype=np.int16)[y0:y0+ny, x0:x0+nx]
                    for n in ("seen", "looked"))
    data = np.where(image.mask & ENGINE.nonfinite, np.float32(np.nan), image.data)
    return BandPlanes(band=band, header=header, data=data, invvar=invvar_of(image.data, image.ivar, band), seen=seen,
                      looked=looked)
