"""What an earlier run found on the same detectors: its sky and its PSF."""
from pathlib import Path

from ..core.errors import DataFileError
from ..io.fits import ImageName, read_image
from ..io.hdus import opened
from ..psf.formats.native import holds_psf, read_hdus
from .model_files import plane_header
from .results import hdu_prefix

SKY, PSF = "SKY", "PSF"


def check_earlier(detectors, sky_from=None, psf_from=None):
    """Raise `DataFileError` when a file of an earlier run cannot be read or lacks a detector. Called before any work is done.

    Parameters
    ----------
    detectors : list of str
    sky_from, psf_from : path-like, optional
        Model file and catalog.
    """
    for path, name, kind, holds in (
            (sky_from, SKY, "a model file", lambda hdus, prefix: prefix+SKY in hdus),
            (psf_from, f"{PSF}_MODEL", "a FITS catalog", lambda hdus, prefix: holds_psf(hdus, prefix+PSF))):
        if path is None:
            continue
        with opened(path) as hdus:
            lacking = [hdu_prefix(d)+name for d in detectors if not holds(hdus, hdu_prefix(d))]
        if lacking:
            raise DataFileError(path, f"has no HDU {', '.join(lacking)}; give {kind} of an earlier run of the same detectors")


def earlier_sky(path, detector, image):
    """The sky of a model file, of the same pixels as an image.

    Parameters
    ----------
    path : path-like
    detector : str
    image : crowdsource.core.image.Image

    Returns
    -------
    ndarray, shape (ny, nx), float32
        Image units.

    Raises
    ------
    DataFileError
        When the file lacks it, or it is of other pixels.
    """
    found = read_image(ImageName(Path(path), hdu_prefix(detector)+SKY))
    _check_shape(path, found.hdu, found.data.shape, image)
    here = plane_header(image)
    if any(found.header.get(key, 0) != here[key] for key in ("LTV1", "LTV2")):
        raise DataFileError(path, "its sky is that of another cut-out; run the same part of the image", found.hdu)
    return found.data


def earlier_psf(path, detector, image):
    """The PSF of a catalog, exactly.

    Parameters and errors as `earlier_sky`.

    Returns
    -------
    crowdsource.psf.base.PSF
    """
    name = hdu_prefix(detector)+PSF
    with opened(path) as hdus:
        psf = read_hdus(hdus, name)
    _check_shape(path, name, psf.shape, image)
    return psf


def _check_shape(path, hdu, shape, image):
    if shape != image.shape:
        raise DataFileError(path, f"is of an image of shape {shape}, but this one has {image.shape}; give a run of the same "
                            "pixels", hdu)
