"""Planes: pixel grids whose linear combination, by polynomials of the position, is the PSF at that position."""
import numpy as np
from scipy import ndimage

from ..cython_ext import render as kernel

EXPONENTS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
SPLINE_ORDER = 5
TINY = 1e-30
BORDER = 4
"""Zeros around planes, samples, so that their ends fade out."""


def terms(order):
    """Number of terms of a polynomial of the position: 1, 3 or 6 for order 0, 1 or 2."""
    return (order+1)*(order+2)//2


def basis(x, y, shape, order):
    """Polynomial terms at positions, in coordinates that run from -1 to 1 over the image.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Pixels; positions outside the image take the values at its edge.
    shape : tuple of int
        (ny, nx) of the image.
    order : int
        0, 1 or 2.

    Returns
    -------
    ndarray, shape (n, terms(order)), float64
    """
    u = np.clip(2*np.asarray(x, dtype=np.float64)/max(1, shape[1]-1)-1, -1, 1)
    v = np.clip(2*np.asarray(y, dtype=np.float64)/max(1, shape[0]-1)-1, -1, 1)
    return np.stack([u**a*v**b for a, b in EXPONENTS[:terms(order)]], axis=-1)


class PolynomialProfile:
    """A profile whose planes go with the terms of a polynomial of the position, as the core's do."""
    halo = None
    """What it is convolved with."""

    def factors(self, x, y, core_order):
        """Factors of the planes that `joined` gives, at positions.

        Parameters
        ----------
        x, y : array_like, shape (n,)
            Pixels.
        core_order : int or None
            Order of the core's polynomial; None where there is no core.

        Returns
        -------
        ndarray, shape (n, planes), float64
        """
        return basis(x, y, self.shape, max(self.plane_order, core_order or 0))

    def joined(self, planes, core):
        """Planes of the profile and of the core, shape (k, m, m) each, together; `core` is None where there is none."""
        if core is None:
            return planes
        few, many = sorted((planes, core), key=len)
        out = np.array(many)
        out[:len(few)] += few
        return out


def nodes(shape, order):
    """Positions (x, y) on a grid over the image that determine a polynomial of the given order."""
    if order == 0:
        return np.array([(shape[1]-1)/2]), np.array([(shape[0]-1)/2])
    x, y = np.meshgrid(np.linspace(0, shape[1]-1, order+1), np.linspace(0, shape[0]-1, order+1))
    return x.ravel(), y.ravel()


def planes_through(stamps, x, y, shape, order):
    """Planes whose combination comes closest to given stamps at given positions.

    Parameters
    ----------
    stamps : ndarray, shape (n, m, m)
    x, y : ndarray, shape (n,)
    shape : tuple of int
    order : int

    Returns
    -------
    ndarray, shape (terms(order), m, m), float64
    """
    inverse = np.linalg.pinv(basis(x, y, shape, order))
    return np.tensordot(inverse, stamps, axes=1)


def coefficients(planes):
    """Quintic B-spline coefficients of planes, float32, with a border of zeros so that their ends fade out."""
    padded = np.pad(planes, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    for axis in (1, 2):
        padded = ndimage.spline_filter1d(padded, SPLINE_ORDER, axis=axis, mode="mirror")
    # what fades out must end at 0: numbers too small for float32's full precision are slow
    padded[np.abs(padded) < TINY] = 0
    return np.ascontiguousarray(padded, dtype=np.float32)


def render(coefficient_planes, factors, x, y, size, oversampling=1, derivatives=False):
    """Stamps from coefficient planes; see `crowdsource.cython_ext.render`.

    Returns
    -------
    ndarray, shape (n, size, size), float32, or a triple of them
    """
    result = kernel.render(coefficient_planes, np.ascontiguousarray(factors, dtype=np.float32),
                           np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(y, dtype=np.float64), size,
                           oversampling, derivatives)
    return result if derivatives else result[0]


def middle(planes, size, oversampling=1):
    """Native-pixel values of the central size x size pixels of sampled planes."""
    m = planes.shape[-1]//2
    reach = size//2*oversampling
    cut = np.s_[..., m-reach:m+reach+1:oversampling, m-reach:m+reach+1:oversampling]
    return planes[cut]


def resampled(samples, old, new):
    """A sampled stamp at another sampling.

    Parameters
    ----------
    samples : ndarray, shape (m, m)
        `old` samples a pixel, odd side.
    old, new : int
        Samples in a pixel.

    Returns
    -------
    ndarray, shape (k, k), float64
        `new` samples a pixel over the same whole pixels.
    """
    if old == new:
        return samples
    reach, m = samples.shape[0]//2//old, samples.shape[0]//2
    spline = np.pad(samples, BORDER)
    for axis in (0, 1):
        spline = ndimage.spline_filter1d(spline, SPLINE_ORDER, axis=axis, mode="mirror")
    at = m+BORDER+np.arange(-reach*new, reach*new+1)*old/new
    grid = np.meshgrid(at, at, indexing="ij")
    return ndimage.map_coordinates(spline, grid, order=SPLINE_ORDER, prefilter=False, mode="mirror")


def first_moment(stamps, axis):
    """Sum of stamps times the offset from their middle; axis 1 for x, 0 for y; pixels times the stamps' unit."""
    at = np.arange(stamps.shape[-1])-stamps.shape[-1]//2
    return (stamps*(at[None, :] if axis == 1 else at[:, None])).sum(axis=(-2, -1))


def area_width(stamp):
    """Diameter of the circle with the area where a stamp exceeds half of its central value, pixels.

    The stamp is refined five times, and pieces of noise that do not touch the middle do not count.
    """
    m = stamp.shape[0]//2
    label, _ = ndimage.label(stamp > 0.3*stamp[m, m])
    reach = min(m, int(np.abs(np.argwhere(label == label[m, m])-m).max())+2)
    box = stamp[m-reach:m+reach+1, m-reach:m+reach+1].astype(np.float64)
    fine = ndimage.zoom(box, 5, order=3, mode="grid-constant", grid_mode=True)
    return float(2*np.sqrt((fine > 0.5*stamp[m, m]).sum()/25/np.pi))
