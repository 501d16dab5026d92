"""The exact layout of a `FieldPSF` in FITS and HDF5: what is read back renders the same bits.

In FITS the HDU ``{name}`` is an image of the PSF in the middle of the image, to look at and for other programs; ``{name}_MODEL``
holds the profile, and ``{name}_CORE`` the pixel core, if there is one. Both are stacks of planes, or of coefficients, of a
polynomial of the position: term k is multiplied by u^a v^b of the keyword ``TERMk``, where u and v go from -1 to 1 over the
image. ``{name}_HALO`` holds the rows of the halo with which the profile is convolved, if there is one. The profile on a grid is a
stack of modes; ``{name}_GRID`` holds their weights at the nodes, and ``{name}_NODES`` the positions of these, where they have not
equal steps from corner to corner. ``{name}_UNCERTAINTY`` is the uncertainty of a PSF that was fitted to the stars, and
``{name}_COVARIANCE`` that of the parameters of a Moffat profile that was fitted to few. An h5py group holds the same as datasets
`stamp`, `wings` (the profile), `core`, `halo`, `grid`, `nodes`, `uncertainty` and `covariance`, with attributes.
"""
from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from ...core.errors import DataFileError, InputError
from ..grid import EXPONENTS, order_of, terms
from ..profiles.base import Profile
from ..profiles.gridded import GridProfile
from ..profiles.halo import MOFFAT_COLUMNS, SPIKE_COLUMNS, Halo
from ..profiles.moffat import PARAMETERS, MoffatProfile
from ..profiles.stamp import StampProfile

VERSION = 3
"""Version of the layout of a PSF on a grid whose nodes have positions; with a halo or on another grid it is 2, else 1."""
LARGEST = {"PSFNY": 10**6, "PSFNX": 10**6, "NORMSIZE": 4001, "OVERSAMP": 99, "WINGSAMP": 99}
"""Largest values of stored numbers: pixels of the image and of the box, samples in a pixel."""
MOFFAT, STAMP, GRID = "moffat", "stamp", "grid"
FITTED = "effective"
"""Form of stamps that were fitted to the stars of the image."""
FORMS = {MoffatProfile: MOFFAT, StampProfile: STAMP, GridProfile: GRID}
NO_CORE = (1, 1, 1)
DAMAGED = "the file is damaged; write the PSF again"
ARRAYS = "wings", "core", "halo", "grid", "nodes", "uncertainty", "covariance"
KEYWORDS = "PSFVERS", "PSFFORM", "NORMSIZE", "OVERSAMP", "WINGSAMP", "PSFNX", "PSFNY", "PSFORDER"


def describe(psf):
    """A PSF in one sentence.

    Parameters
    ----------
    psf : FieldPSF
    """
    form, order = FORMS[type(psf.profile)], f", order {psf.profile.order}"
    if form == MOFFAT:
        values = psf.profile.at(*(np.atleast_1d(c) for c in psf.centre))[0]
        profile = "Moffat profile ("+", ".join(f"{n} {v:.3f}" for n, v in zip(PARAMETERS, values))+f" in the middle{order})"
        if psf.profile.halo is not None:
            profile += f" with a halo of {100*psf.profile.halo.fraction:.1f} % of the light"
    else:
        k, m, _ = psf.profile.samples.shape
        varies = order if form == STAMP else ", {1}x{0} nodes, {2} modes".format(*psf.profile.weights.shape[:2], k)
        source = "stamps" if form == GRID else "stars" if psf.profile.fitted else "a stamp"
        profile = f"profile from {source} ({m}x{m} samples, {psf.profile.oversampling} a pixel{varies})"
    text = profile
    if psf.core.any():
        terms_of_core, m, _ = psf.core.shape
        text += f" and a pixel core ({m}x{m} pixels, order {order_of(terms_of_core)})"
    return f"{text}; sum 1 over {psf.norm_size}x{psf.norm_size} pixels; {psf.oversampling} sample(s) a pixel"


def exact_arrays(psf):
    """The arrays of a PSF by their names in a file; None where there is none. That of the profile is called wings."""
    profile = psf.profile
    return dict(wings=profile.coefficients if isinstance(profile, MoffatProfile) else profile.samples,
                core=psf.core if psf.core.shape != NO_CORE or psf.core.any() else None,
                halo=None if profile.halo is None else profile.halo.rows,
                grid=profile.weights if isinstance(profile, GridProfile) else None,
                nodes=_nodes_array(profile) if isinstance(profile, GridProfile) else None, uncertainty=psf.uncertainty,
                covariance=psf.covariance)


def _nodes_array(profile):
    """Positions of the nodes of a grid, those of rows and of columns, the shorter ones followed by NaN; None for equal steps."""
    if profile.nodes is None:
        return None
    out = np.full((2, max(len(n) for n in profile.nodes)), np.nan)
    for row, at in zip(out, profile.nodes):
        row[:len(at)] = at
    return out


def scalars(psf):
    """All other values of a PSF, as (keyword, value, comment)."""
    form, arrays = FORMS[type(psf.profile)], exact_arrays(psf)
    version = VERSION if arrays["nodes"] is not None else 1 if arrays["halo"] is None and arrays["grid"] is None else 2
    return (("PSFVERS", version, "version of this layout"),
            ("PSFFORM", FITTED if form == STAMP and psf.profile.fitted else form, "what the profile is"),
            ("NORMSIZE", int(psf.norm_size), "the PSF sums to 1 over this box, pixels"),
            ("OVERSAMP", int(psf.oversampling), "samples in a pixel when rendered"),
            ("WINGSAMP", 1 if form == MOFFAT else int(psf.profile.oversampling), "samples in a pixel of the stored profile"),
            ("PSFNX", int(psf.shape[1]), "width of the image, pixels"),
            ("PSFNY", int(psf.shape[0]), "height of the image, pixels"),
            ("PSFORDER", int(psf.profile.order), "order of the profile's polynomial"))


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
    arrays = exact_arrays(psf)
    model = _exact(arrays["wings"], f"{name}_MODEL")
    for keyword, value, comment in scalars(psf):
        model.header[keyword] = (value, comment)
    model.header["COMMENT"] = describe(psf)
    if isinstance(psf.profile, MoffatProfile):
        model.header["COMMENT"] = "rows are "+", ".join(PARAMETERS)+"; columns are terms of the polynomial"
    others = {n: _exact(array, f"{name}_{n.upper()}") for n, array in arrays.items() if n != "wings" and array is not None}
    if not isinstance(psf.profile, GridProfile):
        _name_terms(model, arrays["wings"].shape[1 if isinstance(psf.profile, MoffatProfile) else 0])
    if "core" in others:
        _name_terms(others["core"], len(psf.core))
    if "halo" in others:
        others["halo"].header["COMMENT"] = "rows of "+", ".join(MOFFAT_COLUMNS)+" and NaN, or of "+", ".join(SPIKE_COLUMNS)
    if "grid" in others:
        others["grid"].header["COMMENT"] = "share of each mode of the model at each node, the first at pixel (0, 0)"
    if "nodes" in others:
        others["grid"].header["COMMENT"] = "unless the nodes have positions of their own"
        others["nodes"].header["COMMENT"] = "y of the rows of nodes, x of the columns, pixels; NaN beyond the last"
    return [look, model, *others.values()]


def _name_terms(hdu, count):
    """Keywords for the terms of the polynomial whose planes or coefficients an HDU holds."""
    for k, (a, b) in enumerate(EXPONENTS[:count], 1):
        hdu.header[f"TERM{k}"] = (f"u^{a} v^{b}", "u, v run from -1 to 1 over the image")


def _exact(array, name):
    return fits.ImageHDU(np.ascontiguousarray(array, dtype=np.float64), name=name)


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
    for name, array in exact_arrays(psf).items():
        if array is not None:
            group[name] = array
    if "core" not in group:
        group["core"] = psf.core


@dataclass(frozen=True, eq=False)
class Parts:
    """What a `FieldPSF` consists of, with the names of its attributes."""

    profile: Profile
    shape: tuple
    core: np.ndarray
    norm_size: int
    oversampling: int
    uncertainty: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Where:
    """File and HDU or group, for messages."""

    path: str
    part: str

    def error(self, problem):
        """The error that says what is wrong there."""
        return DataFileError(self.path, problem, self.part)


def parts_of_hdus(hdulist, name="PSF"):
    """The parts of the `FieldPSF` that `to_hdus` wrote.

    Parameters
    ----------
    hdulist : astropy.io.fits.HDUList
    name : str
        EXTNAME of its first HDU.

    Returns
    -------
    Parts

    Raises
    ------
    DataFileError
        When the HDUs are missing, or hold no such PSF.
    """
    path, model = hdulist.filename() or "FITS in memory", f"{name}_MODEL"
    if model not in hdulist:
        raise DataFileError(path, f"there is no HDU {model}, so {name} is no PSF that crowdsource wrote; "
                                  f"it has {', '.join(h.name or 'PRIMARY' for h in hdulist)}", name)
    header = hdulist[model].header
    missing = [k for k in KEYWORDS if k not in header]
    if missing or hdulist[model].data is None:
        raise DataFileError(path, f"the header lacks {', '.join(missing) or 'an image'}: write the PSF again", model)
    names = dict({n: f"{name}_{n.upper()}" for n in ARRAYS}, wings=model)
    return _parts(header, {n: hdulist[hdu].data if hdu in hdulist else None for n, hdu in names.items()}, Where(path, model))


def parts_of_group(group):
    """The parts of the `FieldPSF` that `to_group` wrote.

    Parameters
    ----------
    group : h5py.Group

    Returns
    -------
    Parts

    Raises
    ------
    DataFileError
        When the group holds no such PSF.
    """
    if "wings" not in group or "core" not in group or "PSFVERS" not in group.attrs:
        raise DataFileError(group.file.filename, "the group holds no PSF that crowdsource wrote", group.name)
    arrays = {n: group[n][()] if n in group else None for n in ARRAYS}
    return _parts(group.attrs, arrays, Where(group.file.filename, group.name))


def _parts(values, arrays, where):
    """The `Parts` of stored values, as `scalars` gives them, and arrays, as `exact_arrays` does.

    Raises
    ------
    DataFileError
        When they do not fit together, or the layout is newer than this program.
    """
    if values["PSFVERS"] > VERSION:
        raise where.error(f"the PSF has layout {values['PSFVERS']} and this program knows {VERSION}: update it")
    for name, most in LARGEST.items():
        if not 0 < int(values[name]) <= most:
            raise where.error(f"{name} of the PSF is {values[name]}, which is not from 1 to {most:,}: {DAMAGED}")
    if any(arrays[n] is not None and not np.isfinite(arrays[n]).all() for n in ("core", "wings", "grid")):
        raise where.error(f"the PSF has values that are not finite: {DAMAGED}")
    shape, form = (int(values["PSFNY"]), int(values["PSFNX"])), values["PSFFORM"]
    core = np.zeros(NO_CORE) if arrays["core"] is None else np.array(arrays["core"], dtype=np.float64)
    if core.ndim != 3 or len(core) not in (1, 3, 6):
        raise where.error(f"an array of shape {core.shape} is no core: {DAMAGED}")
    if values["PSFVERS"] > 1 and arrays["halo"] is None and arrays["grid"] is None:
        raise where.error(f"the PSF's halo or grid is missing: {DAMAGED}")
    profile = _profile(form, values, arrays, shape)
    if profile is None:
        raise where.error(f"arrays of shapes {', '.join(str(np.shape(a)) for a in arrays.values())} make no profile of form "
                          f"{form!r}: {DAMAGED}")
    uncertainty = None if arrays["uncertainty"] is None else np.array(arrays["uncertainty"], dtype=np.float32)
    if uncertainty is not None and (uncertainty.ndim != 2 or len(set(uncertainty.shape)) > 1 or len(uncertainty) % 2 == 0):
        raise where.error(f"an array of shape {uncertainty.shape} is no uncertainty: {DAMAGED}")
    covariance = None if arrays["covariance"] is None else np.array(arrays["covariance"], dtype=np.float64)
    if covariance is not None and (form != MOFFAT or covariance.shape != (len(PARAMETERS), len(PARAMETERS))):
        raise where.error(f"an array of shape {covariance.shape} is no covariance of a profile of form {form!r}: {DAMAGED}")
    return Parts(profile, shape, core, int(values["NORMSIZE"]), int(values["OVERSAMP"]), uncertainty, covariance)


def _profile(form, values, arrays, shape):
    """Profile of stored arrays; None where they do not fit together."""
    profile, order = np.array(arrays["wings"], dtype=np.float64), int(values["PSFORDER"])
    square = profile.ndim == 3 and profile.shape[1] == profile.shape[2] and profile.shape[1] % 2 == 1
    if form == MOFFAT and profile.shape == (len(PARAMETERS), terms(order)):
        try:
            return MoffatProfile(profile, shape, order, None if arrays["halo"] is None else Halo.from_rows(arrays["halo"]))
        except InputError:
            return None
    if form in (STAMP, FITTED) and square and len(profile) == terms(order):
        return StampProfile(profile, int(values["WINGSAMP"]), shape, order, fitted=form == FITTED)
    if form == GRID and square and np.ndim(arrays["grid"]) == 3 and np.shape(arrays["grid"])[2] == len(profile):
        nodes = arrays["nodes"]
        if nodes is not None:
            nodes = tuple(row[np.isfinite(row)] for row in np.array(nodes, dtype=np.float64))
        grid = np.array(arrays["grid"], dtype=np.float64)
        if nodes is not None and tuple(len(n) for n in nodes) != grid.shape[:2]:
            return None
        return GridProfile(profile, grid, int(values["WINGSAMP"]), shape, nodes)
    return None
