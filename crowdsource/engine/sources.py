"""Sources: the rows being fitted, as a value; a change gives a new one."""
from dataclasses import dataclass, fields, replace

import numpy as np

from ..psf.base import pixel


@dataclass(frozen=True, eq=False)
class Sources:
    """Rows being fitted.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Positions in the image, pixels.
    flux : ndarray, shape (n,), float64
        Image units.
    error : ndarray, shape (n,), float64
        Isolated flux error of the last solve.
    shift : ndarray, shape (n, 2), float64
        Last step of the position in x and y, pixels.
    passno : ndarray, shape (n,), int
        Pass in which the source was found.
    bright : ndarray, shape (n,), bool
        Listed bright star.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    shift: np.ndarray
    passno: np.ndarray
    bright: np.ndarray

    @classmethod
    def new(cls, x, y, flux=None, error=None, passno=0, bright=False):
        """Sources at positions; fluxes 0 where not given."""
        x = np.array(x, dtype=np.float64)
        flux = np.zeros(len(x)) if flux is None else np.array(flux, dtype=np.float64)
        error = np.zeros(len(x)) if error is None else np.array(error, dtype=np.float64)
        return cls(x, np.array(y, dtype=np.float64), flux, error, np.zeros((len(x), 2)),
                   np.full(len(x), passno), np.full(len(x), bright))

    def __len__(self):
        return len(self.x)

    @property
    def pixels(self):
        """(column, row) of the pixel that holds each source."""
        return pixel(self.x), pixel(self.y)

    def inside(self, shape):
        """(row, column) of the pixel of an image of some shape that holds each source, or lies nearest to it."""
        px, py = self.pixels
        return np.clip(py, 0, shape[0]-1), np.clip(px, 0, shape[1]-1)

    def subset(self, which):
        """The sources that an index or boolean array selects."""
        which = np.arange(len(self))[which]
        return Sources(*(getattr(self, f.name).take(which, axis=0) for f in fields(self)))

    def joined(self, other):
        """These sources, then the others."""
        return Sources(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def with_values(self, **values):
        """The same sources with other values."""
        return replace(self, **values)
