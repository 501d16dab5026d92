"""Parts of the sky as ranges of the spatial index: a cone, some HEALPix pixels, or the whole sky."""
import re
from dataclasses import dataclass

import numpy as np
from astropy.coordinates import angular_separation

from ..core.errors import ConfigError
from .healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER, HealpixPixel, cells_in_cone

LARGEST = 180*3600.
"""Radius of a cone that is the whole sky, arcsec."""
ALL = 12 << 2*SPATIAL_INDEX_ORDER
"""One more than the highest index."""


@dataclass(frozen=True)
class Region:
    """Ranges of the spatial index, and perhaps a cone within them.

    Attributes
    ----------
    ranges : tuple of (int, int)
        First index and the one after the last, ascending, without overlap.
    cone : tuple of float, optional
        Right ascension, declination and radius in degrees: rows outside are left out too.
    """

    ranges: tuple
    cone: tuple = None

    def overlaps(self, pixel):
        """Whether any part of a pixel may be inside."""
        return any(start < pixel.stop and pixel.start < stop for start, stop in self.ranges)

    def contains_pixel(self, pixel):
        """Whether all of a pixel is inside."""
        return self.cone is None and any(start <= pixel.start and pixel.stop <= stop for start, stop in self.ranges)

    def contains_rows(self, rows):
        """Which rows are inside.

        Parameters
        ----------
        rows : mapping of str to ndarray, shape (n,)
            With `SPATIAL_INDEX`, ra and dec; a structured array will do.

        Returns
        -------
        ndarray, shape (n,), bool
        """
        inside = within(rows[SPATIAL_INDEX], np.array(self.ranges, np.int64))
        if self.cone is not None and inside.any():
            ra, dec, radius = self.cone
            inside[inside] = angular_distance(ra, dec, rows["ra"][inside], rows["dec"][inside]) <= radius
        return inside


WHOLE_SKY = Region(((0, ALL),))


def cone_region(ra, dec, radius):
    """The region within a distance from a position.

    Parameters
    ----------
    ra, dec : float
        Degrees.
    radius : float
        Arcsec.

    Returns
    -------
    Region

    Raises
    ------
    ConfigError
        When there is no such position, or the radius is not above 0 and at most 180 degrees.
    """
    if not (np.isfinite(ra) and -90 <= dec <= 90):
        raise ConfigError(f"there is no position {ra:g}, {dec:g}: give degrees, the declination from -90 to 90")
    if not 0 < radius <= LARGEST:
        raise ConfigError(f"a radius of {radius:g} arcsec is out of range: give more than 0 and at most {LARGEST:.0f}")
    order, cells = cells_in_cone(ra % 360, dec, radius/3600)
    return Region(index_ranges(cells, order), (ra % 360, dec, radius/3600))


def pixel_region(words):
    """The region of some pixels.

    Parameters
    ----------
    words : iterable of str
        ``ORDER/NUMBER`` each, NESTED.

    Returns
    -------
    Region

    Raises
    ------
    ConfigError
        When one is no pixel.
    """
    found = []
    for word in words:
        match = re.fullmatch(r"(\d+)/(\d+)", word)
        pixel = HealpixPixel(*map(int, match.groups())) if match else None
        if pixel is None or pixel.order > SPATIAL_INDEX_ORDER or pixel.number >= 12 << 2*pixel.order:
            raise ConfigError(f"{word!r} is no pixel: give ORDER/NUMBER, as 5/4242, the order from 0 to {SPATIAL_INDEX_ORDER} "
                              "and the number below 12 times 4 to the order")
        found.append((pixel.start, pixel.stop))
    return Region(_joined(sorted(found)))


def index_ranges(cells, order):
    """Ranges of the index of some cells, ascending numbers of an order."""
    shift = 2*(SPATIAL_INDEX_ORDER-order)
    return _joined([(int(c) << shift, int(c)+1 << shift) for c in cells])


def _joined(ranges):
    """Ascending ranges; those that touch or overlap become one."""
    out = []
    for start, stop in ranges:
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(stop, out[-1][1]))
        else:
            out.append((start, stop))
    return tuple(out)


def within(index, ranges):
    """Which values of the spatial index lie in one of some ranges, an ascending array of shape (n, 2)."""
    at = np.searchsorted(ranges[:, 0], index, side="right")-1
    return (at >= 0) & (index < ranges[np.maximum(at, 0), 1])


def in_cells(index, cells, order):
    """Which values of the index lie in some cells, ascending numbers of an order."""
    cell = np.asarray(index) >> 2*(SPATIAL_INDEX_ORDER-order)
    return cells[np.minimum(np.searchsorted(cells, cell), len(cells)-1)] == cell


def overlapping(pixels, pixel):
    """Those of some pixels, ascending and without overlap, that overlap another pixel."""
    starts = np.array([p.start for p in pixels], np.int64)
    first, last = np.searchsorted(starts, [pixel.start, pixel.stop])
    if first and pixels[first-1].stop > pixel.start:
        first -= 1
    return tuple(pixels[first:last])


def pixels_with_cells(pixels, cells, order):
    """Those of some sorted pixels that hold any of some cells, whose order is at least that of the pixels."""
    starts = np.array([p.start for p in pixels], dtype=np.int64)
    first = cells << 2*(SPATIAL_INDEX_ORDER-order)
    at = np.unique(np.searchsorted(starts, first, side="right")-1)
    held = [pixels[k] for k in at if k >= 0]
    return [p for p in held if np.any(p.contains(first))]


def angular_distance(ra, dec, ras, decs):
    """Angular distance of positions from one position, all in degrees."""
    return np.degrees(angular_separation(*map(np.radians, (ra, dec, ras, decs))))
