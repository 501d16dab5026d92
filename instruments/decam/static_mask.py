"""Static masks of bad pixels that a user keeps for the CCDs of DECam."""
import logging
from pathlib import Path

import numpy as np

from crowdsource.core.errors import DataFileError
from crowdsource.io.fits import image_names, read_image
from crowdsource.io.image_name import ImageName

log = logging.getLogger(__name__)
CCD = "{ccd}"
"""Stands for the name of the CCD in the name of a file."""


def static_mask(name, ccd, shape):
    """The bad pixels of a CCD.

    Parameters
    ----------
    name : str
        A file with an HDU for each CCD, or, with ``{ccd}`` where the CCD's name stands, a file for each.
    ccd : str
    shape : tuple of int

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        All false where there is no mask of the CCD.

    Raises
    ------
    DataFileError
        When there is no such file, or its shape is another.
    """
    path, each = Path(str(name).replace(CCD, ccd)), CCD in str(name)
    if (each and not path.exists()) or (not each and ccd not in (n for n, _ in image_names(path))):
        log.info("%s: no mask of %s", name, ccd)
        return np.zeros(shape, bool)
    plane = read_image(ImageName(path, None if each else ccd))
    if plane.data.shape != shape:
        raise DataFileError(path, f"has shape {plane.data.shape} but the image has {shape}; give a mask of whole CCDs", plane.hdu)
    return plane.data != 0
