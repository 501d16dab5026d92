"""Masks from catalogs of the sky: boxes around bright stars, ellipses of galaxies."""
import logging
from dataclasses import dataclass

import numpy as np

from crowdsource.core import functions
from crowdsource.core.errors import InputError
from crowdsource.core.world import sky_of, tangent_plane
from crowdsource.io.tables import read_table

log = logging.getLogger(__name__)
FAINTEST, REFERENCE, PER_MAGNITUDE, LARGEST = 10., 11., 50., 500.
"""Stars brighter than magnitude `FAINTEST` have boxes; half of their width is `PER_MAGNITUDE` pixels for each magnitude by which
a star is brighter than `REFERENCE`, and at most `LARGEST`."""
SPACING = 32
"""Sky positions are computed at one pixel in this many along each axis, and interpolated between: distortions are smooth."""
ROOM = 1.1
"""Factor on distances on the sky within which a galaxy may touch an image: the tangent plane stretches them."""
ARCSEC = 3600.
"""In a degree."""
NAMES = "name", "pgc", "id", "objname", "galaxy"
"""Names of the columns of a user's table, in any case; so are the following."""
DIAMETER = "d25", "diameter", "diam"
RATIO, ANGLE, FACTOR = ("ba", "axis_ratio", "ratio"), ("pa", "position_angle", "angle"), ("factor",)


def bright_boxes(shape, x, y, mag):
    """Pixels that bright stars spoil: a box around each star, larger for brighter ones.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    x, y : ndarray, shape (n,)
        Pixels of the image.
    mag : ndarray, shape (n,)
        Stars with NaN have no box.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    where = np.zeros(shape, bool)
    half = np.minimum(PER_MAGNITUDE*(REFERENCE-np.asarray(mag, dtype=np.float64)), LARGEST)
    for k in np.flatnonzero(np.asarray(mag) < FAINTEST):
        rows, columns = (slice(max(0, int(np.ceil(c-half[k]))), max(0, int(np.floor(c+half[k]))+1)) for c in (y[k], x[k]))
        where[rows, columns] = True
    return where


def ellipses(image, ra, dec, diameter, ratio, angle):
    """Pixels within ellipses on the sky.

    A pixel's offsets to the east and the north are those on a tangent plane at the ellipse's centre, which may be off the image.

    Parameters
    ----------
    image : crowdsource.core.image.Image
        With a WCS.
    ra, dec : ndarray, shape (n,)
        Centres, degrees.
    diameter : ndarray, shape (n,)
        Long axis, arcsec.
    ratio : ndarray, shape (n,)
        Short over long axis; NaN makes a circle.
    angle : ndarray, shape (n,)
        Of the long axis, degrees from north to east; NaN makes a circle.

    Returns
    -------
    ndarray of bool, shape (ny, nx)

    Raises
    ------
    InputError
        When the image has no WCS.
    """
    if image.wcs is None:
        raise InputError("galaxies are ellipses on the sky, and the image has no WCS; leave them out")
    nodes = _Nodes.of(image)
    circle = ~(np.isfinite(ratio) & (ratio > 0) & (ratio <= 1) & np.isfinite(angle))
    where = np.zeros(image.shape, bool)
    for k in np.flatnonzero((diameter > 0) & nodes.within(ra, dec, diameter/2)):
        theta, flat = (0., 1.) if circle[k] else (np.radians(angle[k]), ratio[k])
        box, east, north = nodes.offsets_around(ra[k], dec[k], diameter[k]/2)
        along, across = north*functions.cos(theta)+east*functions.sin(theta), east*functions.cos(theta)-north*functions.sin(theta)
        where[box] |= along**2+(across/flat)**2 <= (diameter[k]/2)**2
    return where


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Pixels of an image on a coarse grid, between which sky positions are interpolated.

    Attributes
    ----------
    x, y : ndarray of int, shape (nodes_x,) and (nodes_y,)
        Pixels, the first and the last of each axis among them.
    ra, dec : ndarray, shape (nodes_y, nodes_x)
        Degrees.
    """

    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    @classmethod
    def of(cls, image):
        """Nodes of an Image with a WCS."""
        x, y = (np.unique(np.r_[np.arange(0, n, SPACING), n-1]) for n in image.shape[::-1])
        grid = np.meshgrid(x+image.origin[0], y+image.origin[1])
        return cls(x, y, *(v.reshape(len(y), len(x)) for v in sky_of(image.wcs, *(g.ravel() for g in grid))))

    def within(self, ra, dec, radius):
        """Which circles of radii in arcsec, shape (n,), may touch the image."""
        from astropy.coordinates import angular_separation  # takes as long to import as numpy
        centre = [np.radians(v[len(self.y)//2, len(self.x)//2]) for v in (self.ra, self.dec)]
        away, reach = (np.degrees(angular_separation(*centre, np.radians(a), np.radians(d)))*ARCSEC
                       for a, d in ((ra, dec), (self.ra, self.dec)))
        return away < ROOM*(reach.max()+radius)

    def offsets_around(self, ra, dec, radius):
        """Offsets from a position of all pixels that may lie within a radius of it.

        Parameters
        ----------
        ra, dec : float
            Degrees.
        radius : float
            Arcsec.

        Returns
        -------
        box : tuple of slice
            The pixels, rows and columns.
        east, north : ndarray, shape that of the box
            Arcsec.
        """
        east, north = tangent_offsets(self.ra, self.dec, ra, dec)
        pixel = np.hypot(east[-1, -1]-east[0, 0], north[-1, -1]-north[0, 0])/np.hypot(self.x[-1]+1, self.y[-1]+1)
        close = np.argwhere(np.hypot(east, north) < radius+2*SPACING*pixel)
        if not len(close):
            return np.s_[:0, :0], np.zeros((0, 0)), np.zeros((0, 0))
        (y0, x0), (y1, x1) = close.min(axis=0), close.max(axis=0)+1
        rows, columns = slice(max(0, y0-1), y1+1), slice(max(0, x0-1), x1+1)
        x, y = self.x[columns], self.y[rows]
        return np.s_[y[0]:y[-1]+1, x[0]:x[-1]+1], *(_interpolated(v[rows, columns], y, x) for v in (east, north))


def tangent_offsets(ra, dec, ra0, dec0):
    """Offsets to the east and the north, arcsec, on the tangent plane at (ra0, dec0); inf from 84 degrees away on."""
    *offsets, depth = tangent_plane(ra, dec, ra0, dec0)
    return tuple(np.where(depth > 0.1, v*ARCSEC, np.inf) for v in offsets)


def _interpolated(values, at_y, at_x):
    """Values at each pixel from the first to the last node, linear between those at the nodes."""
    y, x = np.arange(at_y[0], at_y[-1]+1), np.arange(at_x[0], at_x[-1]+1)
    rows = np.array([np.interp(x, at_x, row) for row in values])
    low = np.clip(np.searchsorted(at_y, y, side="right")-1, 0, max(0, len(at_y)-2))
    part = ((y-at_y[low])/np.maximum(np.diff(at_y)[low] if len(at_y) > 1 else 1, 1))[:, None]
    return rows[low]*(1-part)+rows[np.minimum(low+1, len(at_y)-1)]*part


def galaxies(table, remove=None, resize=None):
    """Ellipses from a user's table, less those of one list and with the sizes of another.

    Parameters
    ----------
    table : Table
        ra, dec (degrees), d25 (diameter, arcsec), and optionally ba (axis ratio), pa (degrees from north to east) and name.
    remove : path-like, optional
        Table with a column name, of galaxies to leave out.
    resize : path-like, optional
        Table with name and either d25, the new diameter in arcsec, or factor, by which the old one is multiplied.

    Returns
    -------
    tuple of ndarray, shape (n,)
        ra, dec, diameter, ratio, angle, as `ellipses` takes them.

    Raises
    ------
    InputError
        When a column is missing or holds no numbers.
    """
    columns = [_column(table, (n,)) for n in ("ra", "dec")]
    diameter, ratio, angle = _column(table, DIAMETER), _column(table, RATIO, np.nan), _column(table, ANGLE, np.nan)
    keep = np.ones(len(diameter), bool)
    for path, change in ((remove, keep), (resize, diameter)):
        if path is None:
            continue
        listed = read_table(path)
        rows = _matched(_names(table), _names(listed), path)
        if change is keep:
            keep[rows[rows >= 0]] = False
        else:
            new, factor = _column(listed, DIAMETER, np.nan), _column(listed, FACTOR, np.nan)
            new = np.where(np.isfinite(new), new, factor*diameter[rows])
            known = (rows >= 0) & np.isfinite(new)
            diameter[rows[known]] = new[known]
    return tuple(v[keep] for v in (*columns, diameter, ratio, angle))


def _find(table, names):
    known = {n.lower(): n for n in reversed(table.colnames)}
    return next((known[n] for n in names if n in known), None)


def _column(table, names, default=None):
    """A column by any of its names, float64, NaN where it is masked; a default when there is none."""
    name = _find(table, names)
    if name is None and default is None:
        raise InputError(f"the galaxies have no column {' or '.join(names)}; there are {', '.join(table.colnames)}")
    if name is None:
        return np.full(len(table), default)
    try:
        return np.ma.filled(np.ma.asarray(getattr(table[name], "value", table[name]), dtype=np.float64), np.nan)
    except (ValueError, TypeError) as problem:
        raise InputError(f"column {name} of the galaxies holds no numbers") from problem


def _names(table):
    """The galaxies' names as text."""
    name = _find(table, NAMES)
    if name is None:
        raise InputError(f"a list of galaxies needs a column {' or '.join(NAMES)}; there are {', '.join(table.colnames)}")
    return [str(v).strip() for v in table[name]]


def _matched(names, listed, path):
    """The row of each listed galaxy, -1 for those that are not in the table."""
    row = {n: k for k, n in enumerate(names)}
    rows = np.array([row.get(n, -1) for n in listed], dtype=int)
    if (rows < 0).any():
        log.info("%s: %d of its %d galaxies are not in the catalog", path, (rows < 0).sum(), len(rows))
    return rows
