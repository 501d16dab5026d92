"""One image's detections with what is known of the image, ready for the store."""
import hashlib
import logging
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ...core import linear
from ...core.errors import StoreError
from ..healpix import SPATIAL_INDEX, index_of
from .columns import IMAGE_IDENTITY, assignments

log = logging.getLogger(__name__)
ID_BITS = 32
"""Lower bits of ``detection_id``, which number the rows of an image; the bits above are the same in all rows of an image."""
HASH_BITS = 31
NO_POSITION, OUT_OF_RANGE = "position is not a number", "declination beyond a pole, or right ascension beyond 360 degrees"
NO_INDEX = -1
"""Spatial index of a row without a position on the sphere."""
MOST_FITTED_ROWS = 2000
"""Rows to which a pixel scale is fitted, at most."""


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """What is known of an image.

    Attributes
    ----------
    exposure, detector, band : str
        Its identity.
    system : str
        Magnitude system, "AB", "Vega" or empty.
    mjd, zeropoint : float
        Modified Julian date; magnitude of one unit of flux; NaN where not known.
    pixel_scale : float
        Arcsec; NaN where not known.
    instrument : str
        Adapter that made the catalog; empty for those of other programs.
    checksum : str
        SHA-256 of the content.
    file : str
    """

    exposure: str
    detector: str = ""
    band: str = ""
    system: str = ""
    mjd: float = np.nan
    zeropoint: float = np.nan
    pixel_scale: float = np.nan
    instrument: str = ""
    checksum: str = ""
    file: str = ""

    @cached_property
    def key(self):
        """The identity as in the ledger: a tuple of bytes."""
        return tuple(getattr(self, n).encode() for n in IMAGE_IDENTITY)

    def __str__(self):
        return " ".join(filter(None, (self.exposure, self.detector, self.band)))


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageCatalog:
    """The detections of an image.

    Attributes
    ----------
    metadata : ImageMetadata
    rows : ndarray, shape (n,)
        Structured; rows with a position on the sphere. Their ``source`` is not filled in yet.
    id_prefix : int
        Bits of their identifiers from `ID_BITS` upwards; -1 without any row.
    rejected : tuple of (int, str)
        Row in the file and reason of the other rows.
    file_rows : ndarray, shape (n,)
        Row in the file of each of `rows`.
    from_mixed_table : bool
        The rows come from a table of several images, which may have the same bits there.
    """

    metadata: ImageMetadata
    rows: np.ndarray
    id_prefix: int = -1
    rejected: tuple = ()
    file_rows: np.ndarray = None
    from_mixed_table: bool = False


def content_checksum(metadata, rows, options):
    """SHA-256 of an image's rows, of its metadata but for the file's name, and of the user's options."""
    # the text is part of checksums in stores: it stays the same, whatever the class is called
    text = f"Facts({assignments(metadata, file='')})"
    return hashlib.sha256(rows.tobytes()+text.encode()+options.key()).hexdigest()


def spatial_indices(file, rows):
    """Spatial indices of rows of a file; `NO_INDEX` of those that have no position on the sphere.

    Parameters
    ----------
    file : str
    rows : ndarray, shape (n,)
        Structured, with ``ra`` and ``dec``, degrees.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    if rows["ra"].dtype.itemsize < 8:
        log.warning("%s: right ascension is %s: positions are good to 0.1 arcsec at best", file, rows["ra"].dtype)
    ra, dec = rows["ra"].astype("f8"), rows["dec"].astype("f8")
    out = np.full(len(rows), NO_INDEX, np.int64)
    good = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90) & (ra >= -360) & (ra <= 360)
    out[good] = index_of(ra[good], dec[good])
    return out


def image_catalog(metadata, rows, file_rows, index, ranks=None, *, from_mixed_table=False):
    """The `ImageCatalog` of all rows of an image, with identifiers, spatial indices and pixel scale.

    Parameters
    ----------
    metadata : ImageMetadata
    rows : ndarray, shape (n,)
    file_rows : ndarray, shape (n,)
        Row in the file.
    index : ndarray, shape (n,), int64
        From `spatial_indices`.
    ranks : ndarray, shape (n,), optional
        Lower bits of identifiers, for rows that have no identifiers.
    from_mixed_table : bool
        As in `ImageCatalog`.

    Returns
    -------
    ImageCatalog

    Raises
    ------
    StoreError
        When identifiers differ in their upper bits, or several rows have the same one.
    """
    if ranks is not None:
        rows["detection_id"] = np.int64(hashed_id_prefix(metadata)) << np.int64(ID_BITS) | ranks
    good, rejected = index != NO_INDEX, ()
    if not good.all():
        bad = np.flatnonzero(~good)
        finite = np.isfinite(rows["ra"][bad]) & np.isfinite(rows["dec"][bad])
        rejected = tuple((int(k), OUT_OF_RANGE if f else NO_POSITION) for k, f in zip(file_rows[bad], finite))
        rows, file_rows, index = rows[good], file_rows[good], index[good]
    rows[SPATIAL_INDEX] = index
    if not np.isfinite(metadata.pixel_scale) and np.isfinite(scale := fitted_pixel_scale(rows)):
        metadata = replace(metadata, pixel_scale=scale)
    return ImageCatalog(metadata=metadata, rows=rows, id_prefix=_id_prefix(metadata, rows["detection_id"]), rejected=rejected,
                        file_rows=file_rows, from_mixed_table=from_mixed_table)


def hashed_id_prefix(metadata):
    """`HASH_BITS` bits of a hash of exposure and detector, for detections without identifiers."""
    text = " ".join(filter(None, (metadata.exposure, metadata.detector)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 32-HASH_BITS


def _id_prefix(metadata, ids):
    """The common upper bits of an image's identifiers; raises `StoreError` where they differ or an identifier comes twice."""
    if not len(ids):
        return -1
    prefixes = ids >> ID_BITS
    if prefixes.min() != prefixes.max() or prefixes[0] < 0:
        raise StoreError(f"{metadata.file}: the identifiers of {metadata} are not those of one image, as their upper 31 bits "
                         "differ or they are negative; have new ones made: --map detection_id=")
    if not (ids[1:] > ids[:-1]).all() and len(np.unique(ids)) < len(ids):
        raise StoreError(f"{metadata.file}: several rows of {metadata} have the same identifier; have new ones made: "
                         "--map detection_id=")
    return int(prefixes[0])


def fitted_pixel_scale(rows):
    """Pixel scale from a linear fit of sky positions to image positions, arcsec; NaN where it cannot be fitted."""
    if not {"x", "y"} <= set(rows.dtype.names) or len(rows) < 3:
        return np.nan
    some = rows[::-(-len(rows)//MOST_FITTED_ROWS)]
    x, y, ra, dec = (some[n].astype(float) for n in ("x", "y", "ra", "dec"))
    east = (ra-ra[0]+180) % 360-180
    sky = np.column_stack([east*np.cos(np.radians(dec)), dec-dec[0]])
    pixels = np.stack([x-x.mean(), y-y.mean()])
    moments = linear.products(pixels, pixels)
    area = linear.determinant(moments)
    # NaN where a position is none; positions on a line tell of one direction only
    if not area > np.finfo(float).eps*len(x)*np.trace(moments)**2:
        return np.nan
    solution = linear.solve(moments, linear.products(pixels, (sky-sky.mean(axis=0)).T))
    return float(np.sqrt(abs(linear.determinant(solution))))*3600
