"""STDPSF cubes: stamps on a grid of positions over a detector (Anderson 2016)."""
import logging

import numpy as np

from ...core.errors import InputError
from ..base import pixel
from ..model import FieldPSF
from ..profiles.gridded import GridProfile
from .base import PSFFormat, is_image, oversampling_of, with_odd_sides

log = logging.getLogger(__name__)
OVERSAMPLING = 4
"""Samples in a pixel where the header does not tell."""


class StdPSFFormat(PSFFormat):
    """A 3-D image with the keywords NXPSFS, NYPSFS, IPSFX01 ... and JPSFY01 ..., positions that count pixels from 1."""

    summary = "a STDPSF cube"

    def claims(self, file):
        """Whether the HDU is a 3-D image."""
        return is_image(file.hdu, 3)

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`; between the positions the stamps are interpolated bilinearly, as they are defined."""
        header, cube = file.hdu.header, file.hdu.data
        nx, ny, x, y = _grid(header, len(cube))
        positions = [v.ravel() for v in np.meshgrid(x, y)]
        outside = ~np.isin(pixel(positions[0]), range(shape[1])) | ~np.isin(pixel(positions[1]), range(shape[0]))
        if outside.any():
            log.warning("%d of %d gridded PSFs lie outside the image: check that both are of the same detector", outside.sum(),
                        len(cube))
        # a position may come before the one on its left: the order of the planes is that of the header
        columns, rows = np.argsort(x), np.argsort(y)
        stamps = np.array([with_odd_sides(p) for p in cube])
        stamps = stamps.reshape(ny, nx, *stamps.shape[1:])[rows][:, columns]
        profile = GridProfile.from_nodes(stamps, shape, oversampling_of(header, OVERSAMPLING), norm_size, (y[rows], x[columns]))
        return FieldPSF.of(profile, norm_size=norm_size)


def _grid(header, count):
    """Numbers of columns and rows of the grid, and their positions in x and y, 0-based pixels."""
    try:
        nx, ny = int(header["NXPSFS"]), int(header["NYPSFS"])
        x = np.array([header[f"IPSFX{k:02d}"] for k in range(1, nx+1)], dtype=float)-1
        y = np.array([header[f"JPSFY{k:02d}"] for k in range(1, ny+1)], dtype=float)-1
    except KeyError as problem:
        raise InputError(f"a cube of {count} planes whose header lacks {problem.args[0]}: give a 2-D stamp, or a cube with "
                         "the STDPSF keywords NXPSFS, NYPSFS, IPSFX01 ... and JPSFY01 ...") from None
    if nx*ny != count:
        raise InputError(f"the cube has {count} planes but NXPSFS x NYPSFS is {nx} x {ny}: mend the header")
    return nx, ny, x, y
