"""PSFs of any model in this project's files, catalogs above all.

A model writes its own HDUs; `to_hdus` here adds to the first the keyword ``PSFCLASS`` with the name under which the class of the
model is registered, unless it is the project's own, `crowdsource.psf.model.FieldPSF` (whose layout
`crowdsource.psf.formats.field` describes). By this name `read_hdus` finds the class that reads them. An h5py group has the same
name as an attribute.
"""
import logging

from ...core.errors import CrowdsourceError, DataFileError
from ..registry import FIELD, PSF_MODELS
from .base import PSFFormat

log = logging.getLogger(__name__)
CLASS = "PSFCLASS"


def to_hdus(psf, name="PSF"):
    """A PSF as FITS HDUs.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    name : str
        EXTNAME of the first HDU; those of the others begin with it.

    Returns
    -------
    list of astropy HDUs
    """
    hdus = psf.to_hdus(name)
    if psf.registered_as != FIELD:
        hdus[0].header[CLASS] = (_stored_name(psf), "registered name of the PSF model")
    return hdus


def to_group(psf, group):
    """Write a PSF into an h5py group, which must be empty."""
    psf.to_group(group)
    if psf.registered_as != FIELD:
        group.attrs[CLASS] = _stored_name(psf)


def _stored_name(psf):
    """The name under which the class of a PSF is registered; where it is not, the name of the class."""
    if psf.registered_as in PSF_MODELS:
        return psf.registered_as
    name = PSF_MODELS.name_of(psf)
    log.warning("PSF model %s is not registered: files that hold it cannot be read back; register it in the entry-point group %s "
                "under the name that its attribute registered_as gives", name, PSF_MODELS.group)
    return name


def read_hdus(hdulist, name="PSF"):
    """The PSF that `to_hdus` wrote.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList
    name : str
        EXTNAME of its first HDU.

    Returns
    -------
    crowdsource.psf.base.PSF

    Raises
    ------
    DataFileError
        When the HDUs are missing or hold no such PSF, or the class of the model is not installed.
    """
    path = hdulist.filename() or "FITS in memory"
    stored = hdulist[name].header.get(CLASS, FIELD) if name in hdulist else FIELD
    return _model_class(stored, path, name).from_hdus(hdulist, name)


def holds_psf(hdulist, name):
    """Whether the HDU of a name is the first of a PSF that `to_hdus` wrote."""
    return bool(name) and (f"{name}_MODEL" in hdulist or (name in hdulist and CLASS in hdulist[name].header))


def read_group(group):
    """The PSF that `to_group` wrote into an h5py group. Result and errors as `read_hdus`."""
    return _model_class(group.attrs.get(CLASS, FIELD), group.file.filename, group.name).from_group(group)


def _model_class(stored, path, part):
    """The class of PSFs that is registered under the name in a file."""
    if stored not in PSF_MODELS:
        raise DataFileError(path, f"its PSF is of the model {stored!r}, which is not installed: install the package that "
                                  f"provides it; installed are {', '.join(PSF_MODELS.names())}", part)
    try:
        return PSF_MODELS.load(stored)
    except CrowdsourceError as problem:
        raise DataFileError(path, str(problem), part) from problem


class NativeFormat(PSFFormat):
    """What `to_hdus` wrote, and so every catalog of this project."""

    summary = "a PSF that crowdsource wrote"

    def claims(self, file):
        """Whether the HDU is the first of a PSF that `to_hdus` wrote."""
        return holds_psf(file.hdus, file.hdu.name)

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`; a PSF that varies can only be used for images of the shape on which it was made."""
        return read_hdus(file.hdus, file.hdu.name).adapted_to(shape)
