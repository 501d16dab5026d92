"""PSFs in FITS and HDF5, exactly: what is read back renders the same bits.

In FITS the HDU ``{name}`` is an image of the PSF at the middle of the image, for eyes and other programs;
``{name}_MODEL`` holds the wings and ``{name}_CORE`` the pixel core, where there is one. Both are stacks of planes, or of
coefficients, of a polynomial of the position: term k goes with u^a v^b of the keyword ``TERMk``, where u and v run from -1
to 1 over the image. ``{name}_HALO`` holds the rows of the halo that the wings are convolved with, where there is one. An
h5py group holds the same as datasets `stamp`, `wings`, `core` and `halo`, with attributes.
"""
import numpy as np
from astropy.io import fits

from ..errors import DataFileError, InputError
from .grid import EXPONENTS, terms
from .halo import MOFFAT_COLUMNS, SPIKE_COLUMNS, Halo
from .model import FieldPSF
from .moffat import PARAMETERS, MoffatWings
from .stampwings import StampWings

VERSION = 2
"""Layout of a PSF with a halo; without one it is still the first."""
MOFFAT, STAMP = "moffat", "stamp"
NO_CORE = (1, 1, 1)
KEYWORDS = "PSFVERS", "PSFFORM", "NORMSIZE", "OVERSAMP", "WINGSAMP", "PSFNX", "PSFNY", "PSFORDER"


def describe(psf):
    """A PSF in one sentence.

    Parameters
    ----------
    psf : FieldPSF
    """
    if isinstance(psf.wings, MoffatWings):
        values = psf.wings.at(*(np.atleast_1d(c) for c in psf.centre))[0]
        wings = "Moffat wings ("+", ".join(f"{n} {v:.3f}" for n, v in zip(PARAMETERS, values))+" in the middle"
    else:
        m = psf.wings.samples.shape[-1]
        wings = f"wings from a stamp ({m}x{m} samples, {psf.wings.oversampling} a pixel"
    text = f"{wings}, order {psf.wings.order})"
    halo = halo_of(psf)
    if halo is not None:
        text += f" with a halo of {100*halo.fraction:.1f} % of the light"
    if psf.core.any():
        terms_of_core, m, _ = psf.core.shape
        text += f" and a pixel core ({m}x{m} pixels, order {order_of(terms_of_core)})"
    return f"{text}; sum 1 over {psf.norm_size}x{psf.norm_size} pixels; {psf.oversampling} sample(s) a pixel"


def order_of(count):
    """Order of the polynomial that has so many terms."""
    return {1: 0, 3: 1, 6: 2}[count]


def halo_of(psf):
    """The halo that a PSF's wings are convolved with, or None."""
    return getattr(psf.wings, "halo", None)


def scalars(psf):
    """What makes a PSF beside its arrays, as (keyword, value, comment)."""
    stamp = isinstance(psf.wings, StampWings)
    return (("PSFVERS", 1 if halo_of(psf) is None else VERSION, "version of this layout"),
            ("PSFFORM", STAMP if stamp else MOFFAT, "what the wings are"),
            ("NORMSIZE", int(psf.norm_size), "the PSF sums to 1 over this box, pixels"),
            ("OVERSAMP", int(psf.oversampling), "samples in a pixel when rendered"),
            ("WINGSAMP", int(psf.wings.oversampling) if stamp else 1, "samples in a pixel of stored wings"),
            ("PSFNX", int(psf.shape[1]), "width of the image, pixels"),
            ("PSFNY", int(psf.shape[0]), "height of the image, pixels"),
            ("PSFORDER", int(psf.wings.order), "order of the wings' polynomial"))


def to_hdus(psf, name="PSF"):
    """A PSF as FITS HDUs.

    Parameters
    ----------
    psf : FieldPSF
    name : str
        EXTNAME of the first HDU; the others' begin with it.

    Returns
    -------
    list of astropy.io.fits.ImageHDU
        The stamp at the middle of the image (float32, sum 1 over the norm box), then the exact model (float64).
    """
    look = fits.ImageHDU(psf.stamp(psf.norm_size).astype(np.float32), name=name)
    for keyword, value, comment in (
            ("NORMSIZE", int(psf.norm_size), "the PSF sums to 1 over this box, pixels"),
            ("OVERSAMP", 1, "samples in a pixel of this stamp"),
            ("FWHM", round(float(psf.fwhm()), 4), "width in the middle, pixels"),
            ("PSFNX", int(psf.shape[1]), "width of the image, pixels"),
            ("PSFNY", int(psf.shape[0]), "height of the image, pixels"),
            ("PSFMODEL", f"{name}_MODEL", "EXTNAME of the exact model")):
        look.header[keyword] = (value, comment)
    look.header["COMMENT"] = "PSF in the middle of the image: "+describe(psf)
    wings = psf.wings.coefficients if isinstance(psf.wings, MoffatWings) else psf.wings.samples
    hdus = [look, _exact(wings, f"{name}_MODEL")]
    for keyword, value, comment in scalars(psf):
        hdus[1].header[keyword] = (value, comment)
    hdus[1].header["COMMENT"] = describe(psf)
    if isinstance(psf.wings, MoffatWings):
        hdus[1].header["COMMENT"] = "rows are "+", ".join(PARAMETERS)+"; columns are terms of the polynomial"
    if psf.core.shape != NO_CORE or psf.core.any():
        hdus.append(_exact(psf.core, f"{name}_CORE"))
    for hdu in hdus[1:]:
        for k, (a, b) in enumerate(EXPONENTS[:_terms(hdu.data, hdu is hdus[1] and psf.wings)], 1):
            hdu.header[f"TERM{k}"] = (f"u^{a} v^{b}", "u, v run from -1 to 1 over the image")
    if halo_of(psf) is not None:
        hdus.append(_exact(halo_of(psf).rows, f"{name}_HALO"))
        hdus[-1].header["COMMENT"] = "rows of "+", ".join(MOFFAT_COLUMNS)+" and NaN, or of "+", ".join(SPIKE_COLUMNS)
    return hdus


def _exact(array, name):
    return fits.ImageHDU(np.ascontiguousarray(array, dtype=np.float64), name=name)


def _terms(array, wings):
    return array.shape[1] if isinstance(wings, MoffatWings) else array.shape[0]


def read_hdus(hdulist, name="PSF"):
    """The PSF that `to_hdus` wrote.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList
    name : str
        EXTNAME of its first HDU.

    Returns
    -------
    FieldPSF

    Raises
    ------
    DataFileError
        When the HDUs are missing, or hold no such PSF.
    """
    path, model, core = hdulist.filename() or "FITS in memory", f"{name}_MODEL", f"{name}_CORE"
    if model not in hdulist:
        raise DataFileError(path, f"there is no HDU {model}, so {name} is no PSF that crowdsource wrote; "
                                  f"it has {', '.join(h.name or 'PRIMARY' for h in hdulist)}", name)
    header = hdulist[model].header
    missing = [k for k in KEYWORDS if k not in header]
    if missing or hdulist[model].data is None:
        raise DataFileError(path, f"the header lacks {', '.join(missing) or 'an image'}: write the PSF again", model)
    wings, core, halo = (hdulist[n].data if n in hdulist else None for n in (model, core, f"{name}_HALO"))
    return assembled(header, (wings, core, halo), (path, model))


def assembled(values, arrays, where):
    """A PSF from its stored parts.

    Parameters
    ----------
    values : mapping
        As `scalars` gives them.
    arrays : tuple of (array or None)
        Wings, core, and the halo's rows.
    where : tuple of str
        File and HDU, for messages.

    Raises
    ------
    DataFileError
        When they do not fit together, or the layout is newer than this program.
    """
    if values["PSFVERS"] > VERSION:
        raise DataFileError(where[0], f"the PSF has layout {values['PSFVERS']} and this program knows {VERSION}: update it",
                            where[1])
    wings, core, halo = arrays
    shape, order = (int(values["PSFNY"]), int(values["PSFNX"])), int(values["PSFORDER"])
    wings = np.array(wings, dtype=np.float64)
    core = np.zeros(NO_CORE) if core is None else np.array(core, dtype=np.float64)
    form = values["PSFFORM"]
    if values["PSFVERS"] == VERSION and halo is None:
        raise DataFileError(where[0], "the PSF's halo is missing: the file is damaged; write the PSF again", where[1])
    fits_in = {MOFFAT: wings.shape == (len(PARAMETERS), terms(order)),
               STAMP: wings.ndim == 3 and len(wings) == terms(order) and wings.shape[1] % 2 == 1}
    if not fits_in.get(form) or core.ndim != 3 or len(core) not in (1, 3, 6):
        raise DataFileError(where[0], f"wings of form {form!r}, order {order} and shape {wings.shape}, and a core of shape "
                                      f"{core.shape} make no PSF: the file is damaged; write the PSF again", where[1])
    if form == STAMP:
        wings = StampWings(wings, int(values["WINGSAMP"]), shape, order)
    else:
        wings = MoffatWings(wings, shape, order, None if halo is None else _halo(halo, where))
    return FieldPSF(wings, shape, core, int(values["NORMSIZE"]), int(values["OVERSAMP"]))


def _halo(rows, where):
    """The halo of stored rows; a `DataFileError` where they make none."""
    try:
        return Halo.from_rows(rows)
    except InputError as problem:
        raise DataFileError(where[0], f"{problem}: the file is damaged; write the PSF again", where[1]) from problem


def to_group(psf, group):
    """Write a PSF into an h5py group, which must be empty.

    Parameters
    ----------
    psf : FieldPSF
    group : h5py.Group
    """
    for keyword, value, _ in scalars(psf):
        group.attrs[keyword] = value
    group.attrs["FWHM"], group.attrs["description"] = float(psf.fwhm()), describe(psf)
    group["stamp"] = psf.stamp(psf.norm_size).astype(np.float32)
    group["wings"] = psf.wings.coefficients if isinstance(psf.wings, MoffatWings) else psf.wings.samples
    group["core"] = psf.core
    if halo_of(psf) is not None:
        group["halo"] = halo_of(psf).rows


def read_group(group):
    """The PSF that `to_group` wrote.

    Parameters
    ----------
    group : h5py.Group

    Returns
    -------
    FieldPSF

    Raises
    ------
    DataFileError
        When the group holds no such PSF.
    """
    if "wings" not in group or "core" not in group or "PSFVERS" not in group.attrs:
        raise DataFileError(group.file.filename, "the group holds no PSF that crowdsource wrote", group.name)
    arrays = tuple(group[n][()] if n in group else None for n in ("wings", "core", "halo"))
    return assembled(group.attrs, arrays, (group.file.filename, group.name))
