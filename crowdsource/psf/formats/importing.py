"""PSFs from users' files: stamps, this project's own, PSFEx models and gridded STDPSF cubes."""
import logging
from dataclasses import replace

import numpy as np
from astropy.io import fits
from scipy import ndimage

from ...core.errors import CrowdsourceError, DataFileError, InputError
from ...io.hdus import UNREADABLE, one_line, opened
from ..base import pixel
from ..grid import SPLINE_ORDER
from ..model import FieldPSF
from ..profiles.stamp import StampProfile
from .native import read_hdus

log = logging.getLogger(__name__)
LARGEST_ORDER = 2
FINEST = 5
"""PSFEx models are stored with at most so many samples in a pixel."""
STDPSF_OVERSAMPLING = 4
FORMS = ("a square stamp with an odd number of pixels, a PSF that crowdsource wrote, a PSFEx .psf file or a STDPSF cube "
         "are understood")


def psf_from_fits(path, shape, hdu=None, norm_size=59):
    """A PSF from a FITS file of any form that is understood.

    - a 2-D stamp; the keyword OVERSAMP or OVERSAMPLING tells how many samples a pixel has, 1 where there is none;
    - what `crowdsource.psf.formats.native.to_hdus` wrote, and so every catalog of this project;
    - a PSFEx model that varies with the position in the image;
    - a 3-D cube of stamps on a grid of positions as in STDPSF files (keywords NXPSFS, NYPSFS, IPSFX01, JPSFY01 ...).

    Parameters
    ----------
    path : path-like
    shape : tuple of int
        (ny, nx) of the image to be fitted.
    hdu : int or str, optional
        Number or name of the HDU; found when not given.
    norm_size : int
        The PSF sums to 1 over this box; our own files carry theirs.

    Returns
    -------
    FieldPSF

    Raises
    ------
    DataFileError
        When the file cannot be read or holds no usable PSF.
    """
    try:
        with opened(path) as hdus:
            number = _chosen(path, hdus, hdu)
            try:
                return _converted(path, hdus, number, tuple(shape), norm_size)
            except InputError as problem:
                raise DataFileError(path, str(problem), _label(hdus, number)) from problem
    except CrowdsourceError:
        raise
    except UNREADABLE as problem:
        raise DataFileError(path, f"its PSF cannot be read ({one_line(problem)}): check that the file is whole") from problem


def _label(hdus, number):
    return hdus[number].name or number


def _chosen(path, hdus, hdu):
    """Number of the HDU to use: the one asked for, else the first that may hold a PSF."""
    if hdu is not None:
        known = {**{str(k): k for k in range(len(hdus))}, **{h.name: k for k, h in reversed(list(enumerate(hdus)))}}
        if str(hdu).upper() in known:
            return known[str(hdu).upper()]
        names = ", ".join(f"{k} {h.name or 'PRIMARY'}" for k, h in enumerate(hdus))
        raise DataFileError(path, f"there is no such HDU; it has {names}", hdu)
    for k, candidate in enumerate(hdus):
        image = candidate.is_image and candidate.header["NAXIS"] in (2, 3)
        if image or _is_psfex(candidate) or f"{candidate.name}_MODEL" in hdus:
            return k
    raise DataFileError(path, f"no HDU holds a PSF: {FORMS}")


def _converted(path, hdus, number, shape, norm_size):
    hdu = hdus[number]
    if hdu.name and f"{hdu.name}_MODEL" in hdus:
        return _own(path, hdus, hdu.name, shape)
    if _is_psfex(hdu):
        return FieldPSF.of(psfex_profile(hdu, shape), norm_size=norm_size)
    if not hdu.is_image or hdu.data is None:
        raise InputError(f"the HDU holds no PSF: {FORMS}")
    if hdu.data.ndim == 3:
        return FieldPSF.of(_gridded_profile(hdu, shape), norm_size=norm_size)
    return FieldPSF.of(StampProfile.from_stamp(_with_remedy(hdu.data), shape, _oversampling(hdu.header, 1)), norm_size=norm_size)


def _with_remedy(stamp):
    """The stamp; an error for an even side that says what to do."""
    if stamp.ndim == 2 and (stamp.shape[0] % 2 == 0 or stamp.shape[1] % 2 == 0):
        raise InputError(f"the PSF stamp has shape {stamp.shape}: its sides must be odd, so that the star's centre is the middle "
                         "pixel; cut off or add a row and a column, and resample it if the star sits between pixels")
    return stamp


def _oversampling(header, default):
    """Samples in a pixel as a header tells."""
    value = header.get("OVERSAMP", header.get("OVERSAMPLING", default))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 1:
        raise InputError(f"OVERSAMP is {value!r}: a whole number of samples in a pixel is needed")
    return int(value)


def _own(path, hdus, name, shape):
    """Our exact form; a PSF that varies is bound to images of the shape it was made on."""
    psf = read_hdus(hdus, name)
    if psf.shape == shape:
        return psf
    if psf.varies:
        raise DataFileError(path, f"the PSF varies over an image of shape {psf.shape}, but this image has {shape}: save its "
                                  "first HDU as a file of its own to use the PSF of the middle everywhere", name)
    return replace(psf, shape=shape, profile=replace(psf.profile, shape=shape))


def _is_psfex(hdu):
    return isinstance(hdu, fits.BinTableHDU) and "PSF_MASK" in (hdu.columns.names or ())


def psfex_profile(hdu, shape):
    """A PSFEx model as a profile: its stamps at nodes over the image, and the polynomial through them.

    PSFEx: Bertin (2011). The model is a polynomial of the position, with the value of term x^a y^b in plane b-major order;
    a sample spans PSF_SAMP pixels and is the PSF integrated over a pixel, as ours.

    Parameters
    ----------
    hdu : astropy.io.fits.BinTableHDU
        With a column PSF_MASK.
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    StampProfile

    Raises
    ------
    InputError
        When the model depends on anything but the position.
    """
    planes = np.array(hdu.data["PSF_MASK"][0], dtype=np.float64)
    planes = planes.reshape(-1, *planes.shape[-2:])
    sampling = float(hdu.header["PSF_SAMP"])
    oversampling = int(np.clip(np.ceil(1/sampling-1e-6), 1, FINEST))
    degree, swapped, zero, scale = _psfex_polynomial(hdu.header, len(planes))
    if degree > LARGEST_ORDER:
        log.warning("the PSFEx model is of degree %d: taken over to degree %d", degree, LARGEST_ORDER)
    side = degree+1
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, shape[1]-1, side), np.linspace(0, shape[0]-1, side)))
    # PSFEx counts pixels from 1
    u, v = ((position+1-z)/s for position, z, s in zip((y, x) if swapped else (x, y), zero, scale))
    factors = np.stack([u**a*v**b for b in range(side) for a in range(side-b)], axis=1)
    stamps = np.tensordot(factors, _sampled(planes, 1/(oversampling*sampling)), axes=1)
    # the finest grid of whole pixels that the model covers
    reach = stamps.shape[-1]//2//oversampling*oversampling
    m = stamps.shape[-1]//2
    cut = stamps[:, m-reach:m+reach+1, m-reach:m+reach+1]
    return StampProfile.from_stamps(cut, x, y, shape, min(degree, LARGEST_ORDER), oversampling)


def _psfex_polynomial(header, count):
    """Degree, whether y is the first variable, and zero points and scales of both, from a PSFEx header."""
    names = [str(header[f"POLNAME{k}"]) for k in range(1, header.get("POLNAXIS", 0)+1)]
    if not names or count == 1:
        return 0, False, (0., 0.), (1., 1.)
    kinds = "".join(sorted(n[0] for n in names if n.endswith("IMAGE")))
    if kinds != "XY" or len(names) != 2 or header.get("POLNGRP", 1) != 1:
        raise InputError(f"the PSFEx model varies with {', '.join(names)} in {header.get('POLNGRP', 1)} group(s): one that "
                         "varies with X_IMAGE and Y_IMAGE in one group is needed; run PSFEx with these as PSFVAR_KEYS")
    degree = int(header["POLDEG1"])
    if count != (degree+1)*(degree+2)//2:
        raise InputError(f"the PSFEx model has {count} planes, but degree {degree} needs {(degree+1)*(degree+2)//2}: the file is "
                         "damaged; run PSFEx again")
    zero, scale = zip(*((header[f"POLZERO{k}"], header[f"POLSCAL{k}"]) for k in (1, 2)))
    return degree, names[0][0] == "Y", zero, scale


def _sampled(planes, step):
    """Planes at whole multiples of a step (in samples) from their middle, by quintic splines, zero past the edge."""
    m = planes.shape[-1]//2
    reach = int(np.floor(m/step+1e-9))
    at = m+np.arange(-reach, reach+1)*step
    grid = np.meshgrid(at, at, indexing="ij")
    return np.array([ndimage.map_coordinates(p, grid, order=SPLINE_ORDER, mode="mirror") for p in planes])


def _gridded_profile(hdu, shape):
    """A cube of stamps at positions on a grid, as STDPSF files hold it (Anderson 2016), as a profile."""
    header, cube = hdu.header, hdu.data
    try:
        nx, ny = int(header["NXPSFS"]), int(header["NYPSFS"])
        x = np.array([header[f"IPSFX{k:02d}"] for k in range(1, nx+1)], dtype=float)-1
        y = np.array([header[f"JPSFY{k:02d}"] for k in range(1, ny+1)], dtype=float)-1
    except KeyError as problem:
        raise InputError(f"a cube of {len(cube)} planes whose header lacks {problem.args[0]}: give a 2-D stamp, or a cube with "
                         "the STDPSF keywords NXPSFS, NYPSFS, IPSFX01 ... and JPSFY01 ...") from None
    if nx*ny != len(cube):
        raise InputError(f"the cube has {len(cube)} planes but NXPSFS x NYPSFS is {nx} x {ny}: mend the header")
    order = min(LARGEST_ORDER, nx-1, ny-1)
    positions = [v.ravel() for v in np.meshgrid(x, y)]
    outside = ~np.isin(pixel(positions[0]), range(shape[1])) | ~np.isin(pixel(positions[1]), range(shape[0]))
    if outside.any():
        log.warning("%d of %d gridded PSFs lie off the image: check that both are of one detector", outside.sum(), len(cube))
    return StampProfile.from_stamps([_with_remedy(p) for p in cube], *positions, shape, order,
                                  _oversampling(header, STDPSF_OVERSAMPLING))
