"""PSFs of other programs, as objects."""
import numpy as np

from ..core.errors import InputError
from .base import PSF
from .formats.nodes import psf_of_nodes


def as_psf(model, shape, norm_size=59):
    """A PSF from one of photutils' models; a `PSF` is returned as it is.

    Parameters
    ----------
    model : PSF, photutils.psf.GriddedPSFModel or photutils.psf.ImagePSF
        Of these, data and oversampling are taken, and the positions of a grid; flux and position are not.
    shape : tuple of int
        (ny, nx) of the image.
    norm_size : int
        The PSF sums to 1 over this box, pixels.

    Raises
    ------
    InputError
        When the object is none of them, or its stamps cannot be used.
    """
    if isinstance(model, PSF):
        return model
    if not hasattr(model, "data") or not hasattr(model, "oversampling"):
        raise InputError(f"psf is a {type(model).__name__}: give a crowdsource.psf.base.PSF, or a GriddedPSFModel or ImagePSF of "
                         "photutils; read_psf reads files")
    oversampling = np.unique(model.oversampling)
    if len(oversampling) > 1 or oversampling[0] < 1 or oversampling[0] != int(oversampling[0]):
        raise InputError(f"the PSF's oversampling is {model.oversampling}: the same whole number along both axes is needed")
    stamps = np.atleast_3d(np.asarray(model.data, dtype=np.float64).T).T
    where = np.array(getattr(model, "grid_xypos", [((shape[1]-1)/2, (shape[0]-1)/2)]), dtype=np.float64)
    return psf_of_nodes(stamps, *where.T, shape, int(oversampling[0]), norm_size)
