"""PSFEx models (Bertin 2011): stamps that vary as a polynomial of the position."""
import logging
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from scipy import ndimage

from ...core import linear
from ...core.errors import InputError
from ..grid import LARGEST_ORDER, SPLINE_ORDER, powers
from ..model import FieldPSF
from ..profiles.stamp import StampProfile
from .base import PSFFormat

log = logging.getLogger(__name__)
FINEST = 5
SAMPLINGS = 0.01, 20.
"""Pixels to a sample that a model may have."""
"""Largest number of samples in a pixel with which a model is taken over."""


class PSFExFormat(PSFFormat):
    """A table with a column PSF_MASK, as PSFEx writes it."""

    summary = "a PSFEx .psf file"

    def claims(self, file):
        """Whether the HDU is a table with a column PSF_MASK."""
        return isinstance(file.hdu, fits.BinTableHDU) and "PSF_MASK" in (file.hdu.columns.names or ())

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`."""
        return FieldPSF.of(psfex_profile(file.hdu, shape), norm_size=norm_size)


@dataclass(frozen=True)
class Polynomial:
    """The polynomial of the position of a PSFEx model.

    Attributes
    ----------
    degree : int
    y_first : bool
        Whether the first variable is y.
    zero, scale : tuple of float
        Zero points and scales of the two variables.
    """

    degree: int = 0
    y_first: bool = False
    zero: tuple = (0., 0.)
    scale: tuple = (1., 1.)

    def factors(self, x, y):
        """Factors of the planes at 0-based positions, shape (n, planes)."""
        # PSFEx counts pixels from 1
        u, v = ((position+1-z)/s for position, z, s in zip((y, x) if self.y_first else (x, y), self.zero, self.scale))
        side = self.degree+1
        across, down = powers(u, side-1), powers(v, side-1)
        return np.stack([across[a]*down[b] for b in range(side) for a in range(side-b)], axis=1)


def psfex_profile(hdu, shape):
    """A PSFEx model as a profile.

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
        When the model depends on anything but the position, or its samples are of no possible size.
    """
    sampling = float(hdu.header["PSF_SAMP"])
    if not SAMPLINGS[0] <= sampling <= SAMPLINGS[1]:
        raise InputError(f"PSF_SAMP is {sampling:g} pixels to a sample: between {SAMPLINGS[0]} and {SAMPLINGS[1]} are expected; "
                         "the file is damaged: run PSFEx again")
    planes = np.array(hdu.data["PSF_MASK"][0], dtype=np.float64)
    planes = planes.reshape(-1, *planes.shape[-2:])
    return profile_of_planes(planes, sampling, _polynomial(hdu.header, len(planes)), shape)


def profile_of_planes(planes, sampling, polynomial, shape):
    """A model as PSFEx makes it as a profile: its stamps at nodes over the image, and the polynomial through them.

    The plane of term x^a y^b is found in the order of b, then a. Each sample is the PSF integrated over a pixel, as in this
    project.

    Parameters
    ----------
    planes : ndarray, shape (k, m, m), float64
    sampling : float
        Pixels that a sample spans.
    polynomial : Polynomial
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    StampProfile
    """
    oversampling = int(np.clip(np.ceil(1/sampling-1e-6), 1, FINEST))
    if polynomial.degree > LARGEST_ORDER:
        log.warning("the PSFEx model is of degree %d: taken over to degree %d", polynomial.degree, LARGEST_ORDER)
    side = polynomial.degree+1
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, shape[1]-1, side), np.linspace(0, shape[0]-1, side)))
    stamps = linear.combined(polynomial.factors(x, y), _sampled(planes, 1/(oversampling*sampling)))
    # the finest grid of whole pixels that the model covers
    reach = stamps.shape[-1]//2//oversampling*oversampling
    m = stamps.shape[-1]//2
    cut = stamps[:, m-reach:m+reach+1, m-reach:m+reach+1]
    return StampProfile.from_stamps(cut, x, y, shape, min(polynomial.degree, LARGEST_ORDER), oversampling)


def _polynomial(header, count):
    """The `Polynomial` of a PSFEx header, for a model of `count` planes."""
    names = [str(header[f"POLNAME{k}"]) for k in range(1, header.get("POLNAXIS", 0)+1)]
    if not names or count == 1:
        return Polynomial()
    kinds = "".join(sorted(n[0] for n in names if n.endswith("IMAGE")))
    if kinds != "XY" or len(names) != 2 or header.get("POLNGRP", 1) != 1:
        raise InputError(f"the PSFEx model varies with {', '.join(names)} in {header.get('POLNGRP', 1)} group(s): one that "
                         "varies with X_IMAGE and Y_IMAGE in one group is needed; run PSFEx with these as PSFVAR_KEYS")
    degree = int(header["POLDEG1"])
    if count != (degree+1)*(degree+2)//2:
        raise InputError(f"the PSFEx model has {count} planes, but degree {degree} needs {(degree+1)*(degree+2)//2}: the file is "
                         "damaged; run PSFEx again")
    zero, scale = zip(*((header[f"POLZERO{k}"], header[f"POLSCAL{k}"]) for k in (1, 2)))
    return Polynomial(degree, names[0][0] == "Y", zero, scale)


def _sampled(planes, step):
    """Planes at whole multiples of a step (in samples) from their middle, by quintic splines, zero past the edge."""
    m = planes.shape[-1]//2
    reach = int(np.floor(m/step+1e-9))
    at = m+np.arange(-reach, reach+1)*step
    grid = np.meshgrid(at, at, indexing="ij")
    return np.array([ndimage.map_coordinates(p, grid, order=SPLINE_ORDER, mode="mirror") for p in planes])
