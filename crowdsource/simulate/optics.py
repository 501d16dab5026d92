"""PSFs of telescopes in space, from physical optics: the pupil's transform, jitter and the pixel (Goodman, "Fourier optics")."""
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy import fft

from ..core.image import Image
from ..psf.model import FieldPSF
from ..psf.profiles.stamp import StampProfile
from .config import checked
from .detector import pipeline_ivar, read_out
from .sky import draw_sky
from .stars import random_stars

REACH = 60
"""Half side of the stamps of stars, pixels."""
SIDE = 256
"""Samples across the pupil."""
VANE = 0.02
"""Width of a vane in units of the pupil's diameter."""
BAND = 0.92, 0.96, 1., 1.04, 1.08
"""Wavelengths of a filter, in units of the middle one, that are added up."""


@dataclass(frozen=True, kw_only=True)
class Telescope:
    """What makes the PSF of a telescope without an atmosphere.

    Attributes
    ----------
    resolution : float
        Wavelength over diameter, pixels; the FWHM is about as large, pixel included.
    obscured : float
        Diameter of the secondary mirror in units of the primary's.
    vanes : tuple of float
        Angles of the arms that hold it, degrees: each makes a spike across.
    segments : int
        Rings of hexagonal segments around the middle one; 0 for a round mirror.
    aberrations : tuple of float
        Astigmatism (two), focus, coma (two) and spherical aberration, wavelengths, root mean square.
    jitter : float
        Standard deviation of the pointing, pixels.
    """

    resolution: float
    obscured: float = 0.3
    vanes: tuple = ()
    segments: int = 0
    aberrations: tuple = ()
    jitter: float = 0.


def pupil(telescope, side=SIDE):
    """Transmission of the pupil, shape (side, side)."""
    at = (np.arange(side)-(side-1)/2)*2/side
    x, y = at[None, :], at[:, None]
    open_ = hexagons(x, y, telescope.segments) if telescope.segments else np.hypot(x, y) < 1
    for angle in np.deg2rad(telescope.vanes):
        along, across = x*np.cos(angle)+y*np.sin(angle), y*np.cos(angle)-x*np.sin(angle)
        open_ = open_ & ~((along > 0) & (np.abs(across) < VANE))
    return (open_ & (np.hypot(x, y) > telescope.obscured)).astype(np.float64)


def hexagons(x, y, rings):
    """Where a mirror of hexagonal segments, so many rings around the middle one, reflects."""
    width = 2/(2*rings+1)
    out = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for row in range(-rings, rings+1):
        for k in range(2*rings+1-abs(row)):
            dx, dy = x-width*(k-rings+abs(row)/2), y-width*row*np.sqrt(3)/2
            sides = [np.abs(dx*np.cos(a)+dy*np.sin(a)) for a in (0, np.pi/3, -np.pi/3)]
            out |= np.max(np.broadcast_arrays(*sides), axis=0) < 0.485*width
    return out


def wavefront(aberrations, side=SIDE):
    """Phase error over the pupil, wavelengths, shape (side, side): Zernike polynomials of unit variance (Noll 1976)."""
    at = (np.arange(side)-(side-1)/2)*2/side
    x, y = at[None, :], at[:, None]
    r2 = x**2+y**2
    shapes = (2*np.sqrt(6)*x*y, np.sqrt(6)*(x**2-y**2), np.sqrt(3)*(2*r2-1), np.sqrt(8)*(3*r2-2)*y, np.sqrt(8)*(3*r2-2)*x,
              np.sqrt(5)*(6*r2**2-6*r2+1))
    return sum((a*s for a, s in zip(aberrations, shapes)), np.zeros((side, side)))


def optical_stamp(telescope, half, oversampling=4):
    """PSF of a telescope, integrated over the pixel, with a sum of 1 over pixels.

    Parameters
    ----------
    telescope : Telescope
    half : int
        Half side, pixels.
    oversampling : int
        Samples in a pixel.

    Returns
    -------
    ndarray, shape (2*half*oversampling+1, 2*half*oversampling+1), float64
    """
    transmission, phase = pupil(telescope), wavefront(telescope.aberrations)
    reach, out = half*oversampling, 0.
    across = (np.arange(SIDE)-(SIDE-1)/2)/SIDE
    for wavelength in BAND:
        # only the samples that are wanted, which a fast transform could not give
        angle = np.arange(-reach, reach+1)/(oversampling*telescope.resolution*wavelength)
        waves = np.exp(-2j*np.pi*np.outer(angle, across))
        field = waves@(transmission*np.exp(2j*np.pi*phase/wavelength))@waves.T
        # shorter waves make a smaller picture of as much light
        out = out+np.abs(field/wavelength)**2
    size = out.shape[0]
    frequency = fft.fftfreq(size)*oversampling
    along = np.exp(-2*(np.pi*telescope.jitter*frequency)**2)*np.sinc(frequency)
    out = fft.ifft2(fft.fft2(out)*along[:, None]*along[None, :]).real
    return out*oversampling**2/out.sum()


def optical_psf(telescope, shape, half=REACH, oversampling=4, norm_size=59):
    """The PSF of a telescope, the same over an image of a shape (ny, nx), as a `crowdsource.psf.model.FieldPSF`.

    Parameters
    ----------
    telescope : Telescope
    shape : tuple of int
    half, oversampling
        As `optical_stamp`.
    norm_size : int
        The PSF sums to 1 over this box, pixels.
    """
    profile = StampProfile.from_stamp(optical_stamp(telescope, half, oversampling), shape, oversampling)
    return FieldPSF(profile, tuple(shape), np.zeros((1, 1, 1)), norm_size, oversampling)


def simulate_optical_field(psf, config):
    """An image with a given PSF, and its truth.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        For an image of the config's shape, as from `optical_psf`.
    config : crowdsource.simulate.SimulationConfig
        Its profile does not count.

    Returns
    -------
    image : crowdsource.core.image.Image
    truth : astropy.table.Table
        x, y (pixels), flux (counts, in the box over which the PSF sums to 1) and snr (of an isolated star on the bare sky),
        brightest first; ``meta["FLUX5"]`` is the 5 sigma flux.
    """
    c, rng = checked(config), np.random.default_rng(config.seed)
    stamp = psf.stamp(psf.norm_size)
    flux5 = float(5*np.sqrt((c.sky/c.gain+(c.readnoise/c.gain)**2)/(stamp**2).sum()))
    x, y, flux = random_stars(c, flux5, stamp.max(), REACH/2, rng)
    light = draw_sky(c, rng).astype(np.float32)
    psf.add_to(light, x, y, flux, 2*REACH+1)
    data = rng.poisson(np.maximum(light, 0)*c.gain)/c.gain+rng.normal(0, c.readnoise/c.gain, c.shape)
    data, dq = read_out(c, data, rng)
    ivar = np.where(dq > 0, 0, pipeline_ivar(data, dq > 0, c.gain, c.readnoise))
    image = Image.from_arrays(data.astype(np.float32), ivar.astype(np.float32), dq, saturation=c.saturation)
    return image, Table(dict(x=x, y=y, flux=flux, snr=5*flux/flux5), meta=dict(FLUX5=flux5))
