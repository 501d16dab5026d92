"""PSFs of the cell-based coadds of the Rubin Observatory, in the files that its package cell_coadds writes.

A table has a row for each cell of a grid: its number in x and y in the column ``cell_id``, its PSF as a stamp in the column
``psf``, beside its pixels. The PSF is the same over a cell, whose inputs are, and another in the next one. Keywords of the table:

=================  ==============================================================================================
GRMIN1, GRMIN2     first pixel of the grid, in x and y, in the pixels of the tract
GRCELL1, GRCELL2   size of a cell, pixels
GRSHAPE1, ...      number of cells along each axis
OCELL1, OCELL2     size of a cell with its margins; those at the grid's edges reach beyond the grid
INBBOX11, ...      first pixel in x and y, and last pixel in x and y (INBBOX21, ...), of the image that is usually put together
=================  ==============================================================================================
"""
import logging
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from ...core.errors import InputError
from .base import PSFFormat
from .nodes import psf_of_nodes

log = logging.getLogger(__name__)


class LSSTCellsFormat(PSFFormat):
    """A table with the columns cell_id and psf."""

    summary = "a cell-based coadd of LSST"

    def claims(self, file):
        """Whether the HDU is a table with the columns cell_id and psf."""
        return isinstance(file.hdu, fits.BinTableHDU) and {"cell_id", "psf"} <= set(file.hdu.columns.names or ())

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`; the shape of the image tells which part of the cells it is."""
        grid, stamps = CellGrid.of(file.hdu.header), _stamps(file.hdu)
        columns, rows = (_edges(*axis) for axis in zip(grid.origin_of(shape), grid.first, grid.cell, grid.count, shape[::-1]))
        # a node at the first pixel and one at the last, along both axes: the PSF of a cell is the same up to its edges
        cells = [(across, up) for up in rows.values() for across in columns.values()]
        x, y = (v.ravel() for v in np.meshgrid(list(columns), list(rows)))
        return psf_of_nodes(_of_cells(stamps, cells), x, y, shape, 1, norm_size)


@dataclass(frozen=True)
class CellGrid:
    """Where the cells are; each attribute is a pair of int for x and y, in pixels of the tract or a number of cells.

    Attributes
    ----------
    first : tuple of int
        First pixel of the grid.
    cell, outer : tuple of int
        Size of a cell without and with its margins.
    count : tuple of int
        Cells along each axis.
    inner : tuple of tuple of int
        First and last pixel of the image that is usually put together.
    """

    first: tuple
    cell: tuple
    outer: tuple
    count: tuple
    inner: tuple

    @classmethod
    def of(cls, header):
        """From the keywords of the table."""
        def pair(name):
            return tuple(int(header[f"{name}{axis}"]) for axis in (1, 2))
        try:
            grid = cls(pair("GRMIN"), pair("GRCELL"), pair("OCELL"), pair("GRSHAPE"), (pair("INBBOX1"), pair("INBBOX2")))
        except (KeyError, ValueError, TypeError) as problem:
            raise InputError(f"the table of cells lacks a keyword that tells where they are, or its number ({problem}): write "
                             "the coadd again, or mend the header") from None
        if min(*grid.cell, *grid.count) < 1:
            raise InputError(f"GRSHAPE1 and GRSHAPE2 are {grid.count}, GRCELL1 and GRCELL2 {grid.cell}: mend the header")
        return grid

    def origin_of(self, shape):
        """The pixel of the tract, (x, y), that is the first of an image of a shape (ny, nx)."""
        size = tuple(c*n for c, n in zip(self.cell, self.count))
        margin = tuple((o-c)//2 for o, c in zip(self.outer, self.cell))
        known = {
            "the inner box": (self.inner[0], tuple(b-a+1 for a, b in zip(*self.inner))),
            "all cells": (self.first, size),
            "all cells with their margins": (tuple(f-m for f, m in zip(self.first, margin)),
                                             tuple(s+2*m for s, m in zip(size, margin))),
        }
        for origin, (nx, ny) in known.values():
            if tuple(shape) == (ny, nx):
                return origin
        told = ", ".join(f"{what} ({ny}, {nx})" for what, (_, (nx, ny)) in known.items())
        raise InputError(f"the image has the shape {tuple(shape)}, which does not tell where its cells are; the file is of "
                         f"images of these shapes: {told}. Fit one of them; a part of it can be asked for as a cutout")


def _stamps(hdu):
    """The stamps of the table by the numbers (x, y) of their cells; cells without one are left out."""
    cells, stamps = hdu.data["cell_id"], np.asarray(hdu.data["psf"], dtype=np.float64)
    if stamps.ndim != 3 or np.ndim(cells) != 2:
        raise InputError(f"the columns cell_id and psf have shapes {np.shape(cells)} and {stamps.shape}: two numbers and a stamp "
                         "for each cell are needed")
    good = np.isfinite(stamps).all(axis=(1, 2)) & (stamps.sum(axis=(1, 2)) > 0)
    if not good.any():
        raise InputError("no cell has a PSF: give a coadd that has inputs")
    return {tuple(int(v) for v in cells[k]): stamps[k] for k in np.flatnonzero(good)}


def _edges(origin, first, cell, count, length):
    """First and last pixel of each cell along an axis of the image, as keys in their order, with the number of the cell."""
    start, inside = first-origin, {}
    for number in range(max(0, -start//cell), min(count, (length-1-start)//cell+1)):
        low = start+number*cell
        inside.update({min(max(0, at), length-1): number for at in (low, low+cell-1)})
    if not inside:
        raise InputError("no cell lies on the image: INBBOX11 ... and GRMIN1 ... do not fit, mend the header")
    return inside


def _of_cells(stamps, cells):
    """The stamps of cells; a cell without one takes that of the nearest."""
    known = list(stamps)
    nearest = cKDTree(known).query(cells)[1]
    missing = len(set(cells)-set(known))
    if missing:
        log.info("%d of %d cells have no PSF: that of the nearest is used there", missing, len(set(cells)))
    return [stamps[known[k]] for k in nearest]
