"""Positions that a user gives: what is fitted of them, and a catalog with a row for each, in their order.

Positions that are not known, or lie too far off the image, are not fitted: their rows hold NaN and a flag, as do those of
positions around which no pixel is good. Positions that are the same are fitted once.
"""
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import InputError
from ..core.flags import ENGINE, MASK_SHIFT
from ..io.tables import plain
from .sources import Sources

OUTSIDE = 2.
"""Positions farther off the image than this are not fitted, pixels."""
SAME = 0.01
"""Positions nearer to each other than this along both axes are one, pixels."""

WITHOUT_LIGHT = "x", "y", "ra", "dec", "sky", "qf"
"""Columns that are known where no pixel is good."""
BOX = 8
"""Side of the boxes in which no more positions may lie than pixels, pixels."""


def check_crowding(x, y, shape, apart=1):
    """Raise `InputError` where more positions lie together than there are pixels: these do not say how bright each is.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        In pixels; those that are NaN do not count.
    shape : tuple of int
        (ny, nx) of the image.
    apart : int
        They may be so many times less dense.
    """
    known, side = np.isfinite(x) & np.isfinite(y), BOX*apart
    cells = [np.clip(np.asarray(v)[known], 0, n-1).astype(np.int64)//side for v, n in zip((x, y), shape[::-1])]
    across = shape[1]//side+1
    counts = np.bincount(cells[1]*across+cells[0]) if known.any() else np.zeros(1, int)
    if counts.max() > BOX**2:
        row, column = divmod(int(counts.argmax()), across)
        raise InputError(f"{counts.max()} positions lie on the {side} x {side} pixels from x = {column*side}, y = {row*side}, "
                         f"which do not tell the light of more than {BOX**2}; leave some out")


@dataclass(frozen=True, eq=False, kw_only=True)
class GivenPositions:
    """Positions of a forced fit.

    Attributes
    ----------
    x, y : ndarray, shape (n,)
        In the image's own pixels.
    fitted : ndarray of int, shape (m,)
        Those that are fitted.
    row : ndarray of int, shape (n,)
        Which of the fitted ones is that of each position; -1 where none is.
    """

    x: np.ndarray
    y: np.ndarray
    fitted: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, table, image):
        """Positions in a table.

        Parameters
        ----------
        table : mapping or Table
            With x and y, the parent image's pixels.
        image : crowdsource.core.image.Image

        Raises
        ------
        InputError
            When x and y are not of one length, or more positions lie together than pixels.
        """
        x, y = table_positions(table, image)
        ny, nx = image.shape
        with np.errstate(invalid="ignore"):
            on = np.flatnonzero((x > -OUTSIDE) & (x < nx-1+OUTSIDE) & (y > -OUTSIDE) & (y < ny-1+OUTSIDE))
        _, first, which = np.unique(np.round(np.stack([x[on], y[on]])/SAME), axis=1, return_index=True, return_inverse=True)
        # in the order in which they are given
        order = np.argsort(first, kind="stable")
        number, row = np.empty(len(order), int), np.full(len(x), -1)
        number[order] = np.arange(len(order))
        row[on] = number[np.ravel(which)]
        fitted = on[first[order]]
        check_crowding(x[fitted], y[fitted], image.shape)
        return cls(x=x, y=y, fitted=fitted, row=row)

    def sources(self):
        """The `Sources` that are fitted."""
        return Sources.new(self.x[self.fitted], self.y[self.fitted])

    def all_rows(self, result):
        """The result with a row for each position; rows of positions that are the same are the same, with a flag.

        Parameters
        ----------
        result : crowdsource.engine.state.FitResult
            Of the fitted ones, in their order.
        """
        missing, unseen = self.row < 0, spread(np.asarray(result.catalog["qf"]), self.row) == 0
        if len(self.fitted) == len(self.row) and not unseen.any():
            return result
        from astropy.table import Column, QTable
        count = np.bincount(self.row[~missing], minlength=len(self.fitted))
        several = ~missing & (np.append(count, 0)[self.row] > 1)
        flags = (np.where(missing, ENGINE.offimage, 0) | np.where(several, ENGINE.duplicate, 0)) << MASK_SHIFT
        table = QTable()
        for name in result.catalog.colnames:
            column = result.catalog[name]
            values = spread(np.asarray(plain(column)), self.row)
            if values.dtype.kind == "f" and name not in WITHOUT_LIGHT:
                values[unseen] = np.nan
            if name in "xy":
                values[missing] = (self.x, self.y)["xy".index(name)][missing]+result.image.origin["xy".index(name)]
            table[name] = Column(values | flags if name == "flags" else values, unit=column.unit)
            table[name].info.description = column.info.description
        if "detection_id" in table.colnames:
            table["detection_id"] = np.arange(len(table))
        sentences = [f"{number} of {len(missing)} given positions {what}" for number, what in (
            (int(missing.sum()), "are not known or off the image: their fluxes are NaN"),
            (int(unseen.sum()), "have no good pixel around: their fluxes are NaN"),
            (int(several.sum()), "are the same as others: these are fitted once")) if number]
        image = result.image
        for sentence in sentences:
            image = image.with_finding(sentence)
        return replace(result, catalog=table, image=image, model_flux=spread(result.model_flux, self.row))


def spread(values, row):
    """The values of some rows; NaN, or 0 of what is no float, for those of -1."""
    nothing = np.nan if values.dtype.kind == "f" else 0
    return np.append(values, np.full(1, nothing, values.dtype))[row]


def table_positions(table, image):
    """Positions of a mapping or Table, x and y of the parent's pixels, in the image's own.

    Raises
    ------
    InputError
        When x and y are not of one length, or no columns of numbers.
    """
    try:
        x, y = (np.ma.filled(np.ma.atleast_1d(np.ma.asarray(plain(table[c]), float)), np.nan)-o
                for c, o in zip("xy", image.origin))
    except (TypeError, ValueError) as problem:
        raise InputError("x and y of given sources must be numbers") from problem
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"x and y of given sources have shapes {x.shape} and {y.shape}: give one of each for every source")
    return x, y
