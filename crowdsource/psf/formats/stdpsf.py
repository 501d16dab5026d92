"""Cubes of stamps on a grid of positions over a detector: STDPSF (Anderson 2016), and those that STPSF makes."""
import numpy as np

from ...core.errors import InputError
from .base import PSFFormat, is_image, oversampling_of
from .nodes import psf_of_nodes

OVERSAMPLING = 4
"""Samples in a pixel where the header does not tell."""


class StdPSFFormat(PSFFormat):
    """A 3-D image with positions of its planes.

    These are the keywords NXPSFS, NYPSFS, IPSFX01 ... and JPSFY01 ..., pixels from 1, or DET_YX0 ..., "(y, x)" from 0.
    """

    summary = "a STDPSF or STPSF cube"

    def claims(self, file):
        """Whether the HDU is a 3-D image."""
        return is_image(file.hdu, 3)

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`; between the positions the stamps are interpolated bilinearly, as they are defined."""
        header, cube = file.hdu.header, file.hdu.data
        x, y = stpsf_positions(header, len(cube)) if "DET_YX0" in header else _positions(header, len(cube))
        return psf_of_nodes(cube, x, y, shape, oversampling_of(header, OVERSAMPLING), norm_size)


def stpsf_positions(header, count):
    """Positions in x and y, pixels, of the planes of a grid that STPSF (WebbPSF) wrote: DET_YX0 is "(y, x)" of the first."""
    try:
        pairs = [[float(v) for v in str(header[f"DET_YX{k}"]).strip("() ").split(",")] for k in range(count)]
        return [p[1] for p in pairs], [p[0] for p in pairs]
    except (KeyError, ValueError, IndexError) as problem:
        raise InputError(f"a cube of {count} planes whose keywords DET_YX0 ... DET_YX{count-1} do not tell each position "
                         f"({problem}): mend the header") from None


def _positions(header, count):
    """Positions in x and y of the planes of a STDPSF cube, 0-based pixels."""
    try:
        nx, ny = int(header["NXPSFS"]), int(header["NYPSFS"])
        x = np.array([header[f"IPSFX{k:02d}"] for k in range(1, nx+1)], dtype=float)-1
        y = np.array([header[f"JPSFY{k:02d}"] for k in range(1, ny+1)], dtype=float)-1
    except KeyError as problem:
        raise InputError(f"a cube of {count} planes whose header lacks {problem.args[0]}: give a 2-D stamp, or a cube with "
                         "the STDPSF keywords NXPSFS, NYPSFS, IPSFX01 ... and JPSFY01 ...") from None
    if nx*ny != count:
        raise InputError(f"the cube has {count} planes but NXPSFS x NYPSFS is {nx} x {ny}: mend the header")
    return [v.ravel() for v in np.meshgrid(x, y)]
