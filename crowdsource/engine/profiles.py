"""Profiles of extended sources: elliptical exponential discs, convolved with the PSF.

The transform of a disc whose light falls as exp(-r), where r^2 = d C^-1 d for an offset d, is (1 + k C k)^-1.5: a profile and all
its derivatives are products with the transform of the PSF.
"""
from dataclasses import dataclass

import numpy as np
from scipy import fft

from ..core import functions, linear
from .design import add_stamps

THINNEST = 0.05
"""Smallest scale length along an axis, pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Profile:
    """One elliptical exponential disc.

    Attributes
    ----------
    x, y, flux : float
        Pixels; image units.
    shape : ndarray, shape (3,), float64
        xx, xy and yy of the matrix C of squared scale lengths, pixels^2.
    covariance : ndarray, shape (3, 3)
        Of flux, x and y, from photon noise.
    passno : int
        Pass in which it was found.
    stamp : ndarray, shape (size, size), float32
        Its light.
    middle : tuple of int
        (x, y) of the pixel in the middle of the stamp.
    """

    x: float
    y: float
    flux: float
    shape: np.ndarray
    covariance: np.ndarray
    passno: int
    stamp: np.ndarray
    middle: tuple


def add_profiles(image, profiles, factor=1.):
    """Add the light of profiles to an image, shape (ny, nx), float32, in place, times a factor."""
    for one in profiles:
        x, y = (np.array([float(at)]) for at in one.middle)
        add_stamps(image, one.stamp[None], x, y, np.array([factor]))


def distance(shape, dx, dy):
    """Distances from profiles, scale lengths: `shape` (..., 3) as in `Profile`, offsets in pixels that fit its first axes."""
    xx, xy, yy = np.moveaxis(np.asarray(shape), -1, 0)
    return np.sqrt(np.maximum(yy*dx**2-2*xy*dx*dy+xx*dy**2, 0)/np.maximum(xx*yy-xy**2, THINNEST**4))


def axes(shape):
    """Scale lengths along the short and the long axis of a shape (xx, xy, yy), pixels."""
    mean, half = (shape[0]+shape[2])/2, np.hypot((shape[0]-shape[2])/2, shape[1])
    return np.sqrt(np.maximum(mean-half, THINNEST**2)), np.sqrt(np.maximum(mean+half, THINNEST**2))


def within(shape, longest):
    """A shape with axes no shorter than `THINNEST` and no longer than a limit, pixels."""
    value, vector = linear.symmetric_modes([[shape[0], shape[1]], [shape[1], shape[2]]])
    limited = linear.products(vector*np.clip(value, THINNEST**2, longest**2), vector)
    return np.array([limited[0, 0], limited[0, 1], limited[1, 1]])


class ConvolvedDisc:
    """Discs convolved with the PSF at a position.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    x, y : float
        Pixels.
    size : int
        Odd side of the stamps, pixels; they are centred on the pixel that holds the position.
    """

    def __init__(self, psf, x, y, size):
        self.size, self.padded = size, fft.next_fast_len(size, real=True)
        planes = np.concatenate(psf.render(np.array([x]), np.array([y]), size, derivatives=True)).astype(np.float64)
        self.psf = fft.rfft2(planes, s=(self.padded, self.padded))
        self.ky, self.kx = 2*np.pi*fft.fftfreq(self.padded)[:, None], 2*np.pi*fft.rfftfreq(self.padded)[None, :]

    def stamp(self, shape):
        """The disc of unit flux with a shape (xx, xy, yy), shape (size, size)."""
        return self._stamps(functions.times(self.psf[0], functions.power(self._base(shape), -1.5)))

    def derivatives(self, shape):
        """The disc of unit flux, and its derivatives with respect to x, y, xx, xy and yy; shape (6, size, size)."""
        base = self._base(shape)
        disc = functions.power(base, -1.5)
        slope = -1.5*disc/base
        factors = np.array([slope*self.kx**2, 2*slope*self.kx*self.ky, slope*self.ky**2])
        return self._stamps(np.concatenate([functions.times(self.psf, disc), functions.times(self.psf[0], factors)]))

    def _base(self, shape):
        return 1+shape[0]*self.kx**2+2*shape[1]*self.kx*self.ky+shape[2]*self.ky**2

    def _stamps(self, transforms):
        return fft.irfft2(transforms, s=(self.padded, self.padded))[..., :self.size, :self.size]
