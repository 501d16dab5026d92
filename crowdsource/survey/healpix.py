"""The sky in HEALPix pixels, NESTED everywhere: the only module that calls healpy."""
from dataclasses import dataclass
from pathlib import Path

import healpy
import numpy as np

SPATIAL_INDEX_ORDER = 29
"""Order of the index that every row has; its pixels are 0.4 milliarcseconds wide."""
SPATIAL_INDEX = "_healpix_29"
"""Name of its column."""
FILES_IN_FOLDER = 10_000
EVEN = 0x5555555555555555
"""Bits of an index that hold the first of the two coordinates within a base pixel."""
CELLS_IN_RADIUS = 8
"""Highest number of cells along the radius of a cone."""
FINEST_OF_CONE = 24
"""Highest order of these cells: the search for cells at the edge uses a few orders more."""
NARROWEST = 0.65
"""Smallest distance across any pixel in units of the root of its area: 0.698 at order 3, 0.681 at order 6."""


@dataclass(frozen=True, order=True)
class HealpixPixel:
    """A HEALPix pixel, NESTED.

    Attributes
    ----------
    order, number : int
    """

    order: int
    number: int

    @property
    def start(self):
        """First index of order 29 in it."""
        return self.number << 2*(SPATIAL_INDEX_ORDER-self.order)

    @property
    def stop(self):
        """First index of order 29 after it."""
        return (self.number+1) << 2*(SPATIAL_INDEX_ORDER-self.order)

    def contains(self, index):
        """Which values of the index lie in it."""
        return (index >= self.start) & (index < self.stop)

    def children(self):
        """The four pixels of the next order."""
        return [HealpixPixel(self.order+1, 4*self.number+k) for k in range(4)]

    def path(self, ending=""):
        """``Norder=k/Dir=d/Npix=p`` and an ending."""
        folder = self.number//FILES_IN_FOLDER*FILES_IN_FOLDER
        return Path(f"Norder={self.order}", f"Dir={folder}", f"Npix={self.number}{ending}")


def index_of(ra, dec):
    """Indices of order 29.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees, finite, dec from -90 to 90.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    return healpy.ang2pix(1 << SPATIAL_INDEX_ORDER, ra, dec, nest=True, lonlat=True).astype(np.int64)


def margin_order(width):
    """The highest order whose pixels are wider everywhere than `width` arcseconds."""
    order = SPATIAL_INDEX_ORDER
    while order and NARROWEST*np.degrees(healpy.nside2resol(1 << order))*3600 < width:
        order -= 1
    return order


def at_border(index, pixel, order):
    """Which rows of a pixel lie in its outermost cells of a given order.

    Parameters
    ----------
    index : ndarray, shape (n,), int64
        Of order 29, in the pixel.
    pixel : HealpixPixel
    order : int
        At least the pixel's.

    Returns
    -------
    ndarray, shape (n,), bool
    """
    # the bits of the two coordinates alternate; at the edges one of the two has no bit set, or all
    every = (1 << 2*(order-pixel.order))-1
    cell = (np.asarray(index) >> 2*(SPATIAL_INDEX_ORDER-order)) & every
    out = np.zeros(cell.shape, bool)
    for bits in (every & EVEN, every & EVEN << 1):
        out |= (cell & bits == 0) | (cell & bits == bits)
    return out


def cells_around(pixel, order):
    """Cells of an order outside a pixel that touch it.

    Parameters
    ----------
    pixel : HealpixPixel
    order : int
        At least the pixel's.

    Returns
    -------
    ndarray, shape (n,), int64
        Their numbers, ascending.
    """
    n = 1 << (order-pixel.order)
    edge = np.arange(n)
    x = np.concatenate([edge, edge, np.zeros(n, int), np.full(n, n-1)])
    y = np.concatenate([np.zeros(n, int), np.full(n, n-1), edge, edge])
    inside = np.unique(_interleaved(x) | _interleaved(y) << 1) | np.int64(pixel.number) << 2*(order-pixel.order)
    around = np.unique(healpy.get_all_neighbours(1 << order, inside, nest=True))
    return around[(around >= 0) & (around >> 2*(order-pixel.order) != pixel.number)].astype(np.int64)


def cells_in_cone(ra, dec, radius):
    """Cells that contain a whole cone, and few others.

    Parameters
    ----------
    ra, dec, radius : float
        Degrees.

    Returns
    -------
    order : int
    cells : ndarray, shape (n,), int64
        Their numbers, ascending.
    """
    order = 0
    while order < FINEST_OF_CONE and np.degrees(healpy.nside2resol(1 << order+1))*CELLS_IN_RADIUS > radius:
        order += 1
    centre = healpy.ang2vec(ra, dec, lonlat=True)
    cells = healpy.query_disc(1 << order, centre, np.radians(radius), inclusive=True, nest=True)
    return order, np.sort(cells).astype(np.int64)


def cells_at(ra, dec, order):
    """Numbers of the cells of an order at positions in degrees, which may be arrays of any shape."""
    return healpy.ang2pix(1 << order, ra, dec, nest=True, lonlat=True)


def corners_of(cells, order):
    """Corners of cells.

    Parameters
    ----------
    cells : ndarray, shape (n,)
    order : int

    Returns
    -------
    ra, dec : ndarray, shape (n, 4)
        Degrees.
    """
    vectors = healpy.boundaries(1 << order, np.asarray(cells), nest=True)
    ra, dec = healpy.vec2ang(np.moveaxis(vectors, 1, 2).reshape(-1, 3), lonlat=True)
    return ra.reshape(-1, 4), dec.reshape(-1, 4)


def write_map(path, cells, values, order, column):
    """Write a map of part of the sky as healpy does, NESTED, celestial coordinates; replaces a file.

    Parameters
    ----------
    path : path-like
    cells : ndarray, shape (n,)
        Numbers of the cells of an order.
    values : ndarray, shape (n,)
        Values that are not finite are left out.
    order : int
    column : (str, str)
        Name and unit of the values.
    """
    sky = np.full(12 << 2*order, healpy.UNSEEN, np.float32)
    known = np.isfinite(values)
    sky[np.asarray(cells)[known]] = np.asarray(values)[known]
    healpy.write_map(path, sky, nest=True, coord="C", partial=True, column_names=column[:1], column_units=column[1:],
                     dtype=np.float32, overwrite=True)


def _interleaved(x):
    """Numbers with their bits at the even positions."""
    out = np.zeros_like(x, dtype=np.int64)
    for k in range(SPATIAL_INDEX_ORDER):
        out |= (np.int64(1) << k & x.astype(np.int64)) << k
    return out
