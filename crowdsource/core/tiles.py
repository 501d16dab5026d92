"""Tiles of an image, each a core box within a padded box; a source belongs to the tile whose core contains it."""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class TileSize:
    """Size of the tiles into which an image is cut.

    Attributes
    ----------
    core : int
        Side of the core, pixels; positive.
    overlap : int
        Padding on each side, pixels.
    """

    core: int
    overlap: int


@dataclass(frozen=True)
class Box:
    """Pixels x0 <= x < x1, y0 <= y < y1."""

    x0: int
    x1: int
    y0: int
    y1: int

    @property
    def slices(self):
        """Index of the box in an image ``[y, x]``."""
        return np.s_[self.y0:self.y1, self.x0:self.x1]

    @property
    def shape(self):
        """(ny, nx)."""
        return self.y1-self.y0, self.x1-self.x0

    def holds(self, x, y):
        """Whether pixels lie in the box; x, y are integer arrays."""
        return (x >= self.x0) & (x < self.x1) & (y >= self.y0) & (y < self.y1)

    def touches(self, x, y, size):
        """Whether stamps of odd `size` centred on pixels x, y share a pixel with the box."""
        half = size//2
        return (x+half >= self.x0) & (x-half < self.x1) & (y+half >= self.y0) & (y-half < self.y1)


def bands(rows, height=256):
    """Slices of rows that cover an image, each `height` rows long, the last one shorter."""
    return [slice(start, min(rows, start+height)) for start in range(0, rows, height)]


def banded(function, planes, run=map):
    """The result of a function of planes, computed band by band.

    Parameters
    ----------
    function : callable
        A ufunc, or a function with the same arguments: ``function(*bands, out=band)``.
    planes : sequence of ndarray, shape (ny, nx)
        The result has the dtype of the first.
    run : callable
        ``map`` or an executor's.

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    out = np.empty_like(planes[0])
    list(run(lambda rows: function(*(plane[rows] for plane in planes), out=out[rows]), bands(len(out))))
    return out


@dataclass(frozen=True)
class Tile:
    """A core box, and the padded box in which the sources of the core are fitted."""

    core: Box
    padded: Box


def make_tiles(shape, core, overlap):
    """Cut an image into tiles.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx) of the image.
    core : int
        Wanted size of a core, pixels; an axis shorter than 1.5 times this is not cut.
    overlap : int
        Padding on each side, pixels.

    Returns
    -------
    list of Tile
        In reading order; the cores cover each pixel once.
    """
    edges = [np.linspace(0, n, max(1, round(n/core))+1).astype(int) for n in shape]
    tiles = []
    for y0, y1 in zip(edges[0][:-1], edges[0][1:]):
        for x0, x1 in zip(edges[1][:-1], edges[1][1:]):
            padded = Box(max(0, x0-overlap), min(shape[1], x1+overlap), max(0, y0-overlap), min(shape[0], y1+overlap))
            tiles.append(Tile(Box(int(x0), int(x1), int(y0), int(y1)), Box(*(int(v) for v in vars(padded).values()))))
    return tiles
