"""Parts of an image that catalogs and static masks mark: boxes around bright stars, ellipses of galaxies, bad pixels."""
import logging
from pathlib import Path

import numpy as np

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.io.fits import image_names, read_image
from crowdsource.io.image_name import ImageName
from crowdsource.io.tables import read_table

log = logging.getLogger(__name__)
DRAWN, REFERENCE, PER_MAGNITUDE, LARGEST = 10., 11., 50., 500.
"""Boxes are drawn around stars brighter than `DRAWN`: their half width is so many pixels per magnitude below `REFERENCE`."""
SPACING = 32
"""Sky positions are computed at one in so many pixels along each axis and interpolated: distortions are smooth."""
NAMES = "name", "pgc", "id", "objname", "galaxy"
DIAMETER = "d25", "diameter", "diam"
RATIO, ANGLE, FACTOR = ("ba", "axis_ratio", "ratio"), ("pa", "position_angle", "angle"), ("factor",)
SEXAGESIMAL = 3600.


def bright_boxes(shape, x, y, mag):
    """Where bright stars spoil the image: a box around each, larger for brighter ones.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    x, y : ndarray, shape (n,)
        Pixels of the image.
    mag : ndarray, shape (n,)
        NaN draws nothing.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    where = np.zeros(shape, bool)
    half = np.minimum(PER_MAGNITUDE*(REFERENCE-np.asarray(mag, dtype=np.float64)), LARGEST)
    for k in np.flatnonzero(np.asarray(mag) < DRAWN):
        rows, columns = (slice(max(0, int(np.ceil(c-half[k]))), max(0, int(np.floor(c+half[k]))+1)) for c in (y[k], x[k]))
        where[rows, columns] = True
    return where


def ellipses(image, ra, dec, diameter, ratio, angle):
    """Where ellipses on the sky lie.

    A pixel's offsets to the east and the north are those of a tangent plane at the ellipse's centre, which may be off the image.

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
    ny, nx = image.shape
    at_x, at_y = (np.unique(np.r_[np.arange(0, n, SPACING), n-1]) for n in (nx, ny))
    grid = np.meshgrid(at_x+image.origin[0], at_y+image.origin[1])
    node_ra, node_dec = (v.reshape(len(at_y), len(at_x)) for v in image.wcs.all_pix2world(*(g.ravel() for g in grid), 0))
    round_one = ~(np.isfinite(ratio) & (ratio > 0) & (ratio <= 1) & np.isfinite(angle))
    where = np.zeros(image.shape, bool)
    middle = len(at_y)//2, len(at_x)//2
    far = np.hypot(*tangent_offsets(ra, dec, node_ra[middle], node_dec[middle]))
    reach = np.hypot(*tangent_offsets(node_ra, node_dec, node_ra[middle], node_dec[middle])).max()
    for k in np.flatnonzero((diameter > 0) & (far < 1.1*(reach+diameter/2))):
        east, north = tangent_offsets(node_ra, node_dec, ra[k], dec[k])
        half = diameter[k]/2
        pixel = np.hypot(east[-1, -1]-east[0, 0], north[-1, -1]-north[0, 0])/np.hypot(nx, ny)
        close = np.argwhere(np.hypot(east, north) < half+2*SPACING*pixel)
        if not len(close):
            continue
        (y0, x0), (y1, x1) = close.min(axis=0), close.max(axis=0)+1
        rows, columns = slice(max(0, y0-1), y1+1), slice(max(0, x0-1), x1+1)
        box = np.s_[at_y[rows][0]:at_y[rows][-1]+1, at_x[columns][0]:at_x[columns][-1]+1]
        e, n = (_interpolated(v[rows, columns], at_y[rows], at_x[columns]) for v in (east, north))
        theta, flat = (0., 1.) if round_one[k] else (np.radians(angle[k]), ratio[k])
        along, across = n*np.cos(theta)+e*np.sin(theta), e*np.cos(theta)-n*np.sin(theta)
        where[box] |= along**2+(across/flat)**2 <= half**2
    return where


def tangent_offsets(ra, dec, ra0, dec0):
    """Offsets to the east and the north in arcsec on the plane that touches the sky at (ra0, dec0); inf on its far side.

    The gnomonic projection, as in Calabretta & Greisen (2002), section 5.1.3.
    """
    a, d, d0 = np.radians(ra-ra0), np.radians(dec), np.radians(dec0)
    depth = np.sin(d0)*np.sin(d)+np.cos(d0)*np.cos(d)*np.cos(a)
    scale = np.degrees(1/np.maximum(depth, 0.1))*SEXAGESIMAL
    offsets = scale*np.cos(d)*np.sin(a), scale*(np.cos(d0)*np.sin(d)-np.sin(d0)*np.cos(d)*np.cos(a))
    return tuple(np.where(depth > 0.1, v, np.inf) for v in offsets)


def _interpolated(values, at_y, at_x):
    """Values at nodes, linear between them, at each pixel from the first to the last node."""
    y, x = np.arange(at_y[0], at_y[-1]+1), np.arange(at_x[0], at_x[-1]+1)
    rows = np.array([np.interp(x, at_x, row) for row in values])
    low = np.clip(np.searchsorted(at_y, y, side="right")-1, 0, max(0, len(at_y)-2))
    part = ((y-at_y[low])/np.maximum(np.diff(at_y)[low] if len(at_y) > 1 else 1, 1))[:, None]
    return rows[low]*(1-part)+rows[np.minimum(low+1, len(at_y)-1)]*part


def galaxies(table, remove=None, resize=None):
    """Ellipses from a user's table, with lists of what to leave out and what to make larger or smaller.

    Parameters
    ----------
    table : Table
        ra, dec (degrees), d25 (diameter, arcsec), and perhaps ba (axis ratio), pa (degrees from north to east) and name.
    remove : path-like, optional
        Table with a column name of galaxies to leave out.
    resize : path-like, optional
        Table with name and either d25, the new diameter in arcsec, or factor on the old one.

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
    """A column by any of its names, float64; a default where there is none, and NaN for what is masked."""
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
    """The row of each listed galaxy, -1 for those that are not there."""
    row = {n: k for k, n in enumerate(names)}
    rows = np.array([row.get(n, -1) for n in listed], dtype=int)
    if (rows < 0).any():
        log.info("%s: %d of its %d galaxies are not in the catalog", path, (rows < 0).sum(), len(rows))
    return rows


def static_mask(name, detector, shape):
    """The bad pixels of a detector from masks that a user keeps.

    Parameters
    ----------
    name : str
        A file with an HDU for each detector, or, with ``{ccd}`` where the detector's name stands, a file for each.
    detector : str
    shape : tuple of int

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        All false where there is no mask of the detector.

    Raises
    ------
    DataFileError
        When there is no such file, or its shape is another.
    """
    path = Path(str(name).replace("{ccd}", detector))
    each = "{ccd}" in str(name)
    if (each and not path.exists()) or (not each and detector not in (n for n, _ in image_names(path))):
        log.info("%s: no mask of %s", name, detector)
        return np.zeros(shape, bool)
    plane = read_image(ImageName(path, None if each else detector))
    if plane.data.shape != shape:
        raise DataFileError(path, f"has shape {plane.data.shape} but the image has {shape}; give a mask of whole CCDs", plane.hdu)
    return plane.data != 0
