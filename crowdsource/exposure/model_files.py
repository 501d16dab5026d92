"""Images beside a catalog, compressed.

The model file holds ``MOD``, ``SKY`` and ``MSK``, the info file ``IVF``, ``MSK`` and ``PSF``, with names as the catalog's HDUs.
"""
import numpy as np
from astropy.io import fits

from ..core.matched_filter import flux_ivar
from ..core.world import fits_wcs
from ..engine.schema import PROBABILITY
from ..nebulosity.classifier import EIGHTH, shrunk
from .results import hdu_prefix

FINE = 32
"""Model and sky are stored in steps of the noise over this."""
WIDE = 2
"""The PSF is taken so many FWHM far at least for inverse variances of fluxes: beyond, its square is nothing."""
BITS = 12
"""Inverse variances of fluxes are stored with so many significant bits, which compress well."""


def model_hdus(planes, noise, header, detector=""):
    """Images of a detector for the model file, compressed.

    Parameters
    ----------
    planes : mapping of str to ndarray, shape (ny, nx)
        Floating planes are stored in steps of a 32nd of the noise, integers exactly.
    noise : float
        Typical noise of a pixel, image units.
    header : astropy.io.fits.Header
        `plane_header` makes it.
    detector : str

    Returns
    -------
    list of astropy.io.fits.CompImageHDU
    """
    return [_quantized_hdu(plane, hdu_prefix(detector)+name, noise, header) for name, plane in planes.items()]


def probability_hdus(probabilities, image, detector=""):
    """What a network says of an image's background, at an eighth of its scale, for the model file.

    Parameters
    ----------
    probabilities : ndarray, shape (3 or 4, ny, nx)
    image : crowdsource.core.image.Image
    detector : str

    Returns
    -------
    list of astropy.io.fits.CompImageHDU
        Stored exactly, with the names of the catalog's columns.
    """
    header = plane_header(image, EIGHTH)
    return [lossless_hdu(shrunk(plane), header, hdu_prefix(detector)+column.name.upper())
            for column, plane in zip(PROBABILITY, probabilities)]


def info_hdus(result, flags, header, detector=""):
    """What a user of a catalog may need beside it, for the info file.

    Parameters
    ----------
    result : crowdsource.engine.state.FitResult
    flags : ndarray of int, shape (ny, nx)
        As in the model file.
    header : astropy.io.fits.Header
        `plane_header` makes it.
    detector : str

    Returns
    -------
    list of astropy.io.fits.CompImageHDU
        ``IVF``, the inverse variance of the flux of an isolated star at a known position, of the PSF in the middle, for each
        pixel, float32 of 12 significant bits; ``MSK``, the flags; ``PSF``, its stamp in the middle, which sums to 1 over its norm
        box.
    """
    psf, before = result.psf, hdu_prefix(detector)
    size = max(result.config.solve.stamp_sizes[0], 2*int(np.ceil(WIDE*psf.fwhm()))+1)
    planes = ((rounded_to_bits(flux_ivar(psf.stamp(size), result.image.ivar)), header, "IVF"), (flags, header, "MSK"),
              (psf.stamp(psf.norm_size).astype(np.float32), None, "PSF"))
    return [lossless_hdu(plane, of, before+name) for plane, of, name in planes]


def rounded_to_bits(plane, bits=BITS):
    """A plane of float32 with so many significant bits.

    Parameters
    ----------
    plane : ndarray, float32
    bits : int

    Returns
    -------
    ndarray, float32
    """
    dropped = 24-bits
    whole = plane.view(np.uint32)+np.uint32(1 << dropped-1)
    return (whole & ~np.uint32((1 << dropped)-1)).view(np.float32)


def lossless_hdu(plane, header, name):
    """A compressed image HDU that holds every bit."""
    return fits.CompImageHDU(plane, header, name=name, compression_type="GZIP_2", quantize_level=0)


def _quantized_hdu(plane, name, noise, header):
    if plane.dtype.kind != "f":
        return lossless_hdu(plane, header, name)
    # a negative level is an absolute step; a fixed seed of the dither gives the same file each time
    return fits.CompImageHDU(plane.astype(np.float32), header, name=name, compression_type="RICE_1",
                             quantize_level=-noise/FINE, quantize_method=1, dither_seed=1)


def plane_header(image, step=1):
    """Where a plane of an image's pixels lies: its world coordinates, and its place in the parent image.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    step : int
        Pixels of the image along a side of the plane's.

    Returns
    -------
    astropy.io.fits.Header
        With LTV1 and LTV2, what is to be added to a parent's pixel, times LTM1_1 and LTM2_2 where they are not 1, to get one of
        the plane.
    """
    header = fits.Header() if image.wcs is None else _wcs_header(image, step)
    for k, first in enumerate(image.origin, 1):
        header[f"LTV{k}"] = ((0.5*(step-1)-first)/step, "pixel here less pixel of the parent image")
        if step > 1:
            header[f"LTM{k}_{k}"] = (1/step, "pixels here in one of the parent image")
    return header


def _wcs_header(image, step):
    """World coordinates of a plane whose pixels have so many of the image's along a side."""
    x0, y0 = image.origin
    wcs = fits_wcs(image.wcs, image.shape, image.origin)[y0:, x0:]
    if step > 1:
        # polynomials in pixels, and tables of them, have no form for larger ones; those in degrees stay
        wcs.sip = wcs.cpdis1 = wcs.cpdis2 = wcs.det2im1 = wcs.det2im2 = None
        wcs.wcs.ctype = [kind.removesuffix("-SIP") for kind in wcs.wcs.ctype]
        wcs.wcs.crpix = (wcs.wcs.crpix-0.5)/step+0.5
        scaled = "cd" if wcs.wcs.has_cd() else "cdelt"
        setattr(wcs.wcs, scaled, getattr(wcs.wcs, scaled)*step)
    return wcs.to_header(relax=True)
