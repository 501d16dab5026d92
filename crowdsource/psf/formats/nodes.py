"""PSFs made of stamps at the nodes of a grid of positions, whatever told the positions."""
import logging

import numpy as np

from ...core.errors import InputError
from ..base import pixel
from ..model import FieldPSF
from ..profiles.gridded import GridProfile
from .base import with_odd_sides

log = logging.getLogger(__name__)


def psf_of_nodes(stamps, x, y, shape, oversampling, norm_size):
    """A PSF that is bilinear between the stamps at the nodes of a grid.

    Parameters
    ----------
    stamps : array_like, shape (n, m, m)
    x, y : array_like, shape (n,)
        Position of each, pixels from 0; together they are all of the nodes of a grid, in any order.
    shape : tuple of int
        (ny, nx) of the image.
    oversampling, norm_size : int
        As `crowdsource.psf.profiles.gridded.GridProfile.from_nodes`.

    Raises
    ------
    InputError
        When the positions are not those of a grid, or a stamp cannot be used.
    """
    x, y = (np.asarray(v, dtype=np.float64).ravel() for v in (x, y))
    if len(x) != len(stamps) or len(y) != len(stamps):
        raise InputError(f"{len(stamps)} stamps have {len(x)} positions: each needs one")
    outside = ~np.isin(pixel(x), range(shape[1])) | ~np.isin(pixel(y), range(shape[0]))
    if outside.any():
        log.warning("%d of %d gridded PSFs lie outside the image: check that both are of the same detector", outside.sum(),
                    len(x))
    columns, rows = np.unique(x), np.unique(y)
    order = np.lexsort((x, y))
    if len(columns)*len(rows) != len(x) or not (np.array_equal(x[order], np.tile(columns, len(rows)))
                                                and np.array_equal(y[order], np.repeat(rows, len(columns)))):
        raise InputError(f"{len(x)} positions with {len(columns)} different x and {len(rows)} different y are no grid")
    ready = np.array([with_odd_sides(np.asarray(stamps[k], dtype=np.float64)) for k in order])
    ready = ready.reshape(len(rows), len(columns), *ready.shape[1:])
    return FieldPSF.of(GridProfile.from_nodes(ready, shape, oversampling, norm_size, (rows, columns)), norm_size=norm_size)
