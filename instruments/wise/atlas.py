"""The tiles of the unWISE atlas: names, centres, and to which of overlapping tiles a position belongs."""
from functools import cache
from importlib.resources import files

import numpy as np
from scipy.spatial import cKDTree

from crowdsource.core import functions
from crowdsource.core.errors import InputError
from crowdsource.core.world import tangent_plane, unit_vectors

FILE = "wise_atlas.csv"
SIDE = 2048
"""Pixels of a tile along each axis."""
SCALE = 2.75/3600
"""Degrees per pixel at the centre."""
REACH = 1.13
"""Upper bound of the distance of a tile's corners from its centre, degrees."""


class Atlas:
    """All tiles, in rows of constant declination.

    Attributes
    ----------
    ra, dec : ndarray, shape (18240,), float64
        Centres, degrees.
    names : tuple of str
        As 1866p257: right ascension and declination in tenths of a degree, rounded down.
    """

    def __init__(self, rows):
        exact = np.concatenate([np.arange(count)*step for _, count, step in rows])
        self.dec = np.concatenate([np.full(int(count), dec) for dec, count, _ in rows])
        # headers have six digits; names are made from the exact centres
        self.ra = np.round(exact, 6)
        tenths = np.floor(10*np.array([exact, self.dec])).astype(int)
        self.names = tuple(f"{a:04d}{'p' if d >= 0 else 'm'}{abs(d):03d}" for a, d in tenths.T)
        self._index = {name: k for k, name in enumerate(self.names)}
        self._tree = cKDTree(unit_vectors(self.ra, self.dec))

    def index(self, name):
        """A tile's number, from 0.

        Raises
        ------
        InputError
            When there is no such tile.
        """
        if name not in self._index:
            raise InputError(f"{name!r} is no tile of the unWISE atlas: names are written as 1866p257")
        return self._index[name]

    def pixels(self, tile, ra, dec):
        """Pixel coordinates in tiles, by their gnomonic projection.

        Parameters
        ----------
        tile : int or ndarray of int
        ra, dec : ndarray
            Degrees.

        Returns
        -------
        x, y : ndarray, float64
            NaN on the other half of the sky.
        """
        east, north, depth = tangent_plane(ra, dec, self.ra[tile], self.dec[tile])
        middle, here = (SIDE-1)/2, np.where(depth > 0, 1/SCALE, np.nan)
        return middle-east*here, middle+north*here

    def primary(self, tile, ra, dec):
        """Which positions belong to a tile: they lie farther from its edge than from the edge of any other tile.

        Parameters
        ----------
        tile : int
        ra, dec : ndarray, shape (n,)
            Degrees.

        Returns
        -------
        ndarray of bool, shape (n,)
            False outside the tile.
        """
        ra, dec = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        own = edge_distance(*self.pixels(tile, ra, dec))
        first = own > 0
        chord = 2*functions.sin(np.radians(REACH))
        for other in self._tree.query_ball_point(self._tree.data[tile], chord):
            if other != tile:
                distance = edge_distance(*self.pixels(other, ra, dec))
                # the first tile has positions at equal distances
                first &= (own > distance) | ((own == distance) & (tile < other))
        return first

    def owner(self, ra, dec):
        """The tile to which each position belongs, -1 for none.

        Parameters
        ----------
        ra, dec : ndarray, shape (n,)
            Degrees.

        Returns
        -------
        ndarray of int, shape (n,)
        """
        near = self._tree.query_ball_point(unit_vectors(ra, dec), 2*functions.sin(np.radians(REACH/2)))
        row = np.repeat(np.arange(len(near)), [len(tiles) for tiles in near])
        tile = np.array([t for tiles in near for t in sorted(tiles)], dtype=int)
        distance = edge_distance(*self.pixels(tile, np.asarray(ra)[row], np.asarray(dec)[row]))
        owner, best = np.full(len(near), -1), np.zeros(len(near))
        for k, t, d in zip(row, tile, distance):
            if d > best[k]:
                owner[k], best[k] = t, d
        return owner


def edge_distance(x, y):
    """Distance of pixel coordinates from the edge of a tile, pixels; negative outside."""
    return np.minimum(np.minimum(x, y)+0.5, SIDE-0.5-np.maximum(x, y))


@cache
def atlas():
    """The `Atlas`."""
    text = (files("crowdsource.data")/FILE).read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if line[:1] in "-0123456789"]
    return Atlas([(float(dec), int(count), float(step)) for dec, count, step in rows])
