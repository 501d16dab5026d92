"""Planes: grids of pixels or samples whose linear combination is the PSF at a position.

The factors of the combination are terms of a polynomial of the position, or weights between the nodes of a grid.
"""
from itertools import accumulate

import numpy as np
from scipy import ndimage

from ..core import functions, linear
from ..cython_ext import render as kernel

EXPONENTS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
"""Powers of the two coordinates in each term of a polynomial of the position."""
LARGEST_ORDER = 2
SPLINE_ORDER = 5
TINY = 1e-30
BORDER = 4
"""Width of the zeros that are added around planes, in samples, so that their ends fade out."""


def terms(order):
    """Number of terms of a polynomial of the position: 1, 3 or 6 for order 0, 1 or 2."""
    return (order+1)*(order+2)//2


def order_of(count):
    """Order of the polynomial of the position that has so many terms."""
    return {1: 0, 3: 1, 6: 2}[count]


def basis(x, y, shape, order):
    """Polynomial terms at positions, in coordinates that go from -1 to 1 over the image.

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
    across, down = powers(u, order), powers(v, order)
    return np.stack([across[a]*down[b] for a, b in EXPONENTS[:terms(order)]], axis=-1)


def powers(u, order):
    """The powers of numbers from 0 to an order, by multiplications."""
    return list(accumulate([u]*order, np.multiply, initial=np.ones_like(u)))


def nodes(shape, order):
    """Positions (x, y) on a grid over the image that determine a polynomial of the given order."""
    if order == 0:
        return np.array([(shape[1]-1)/2]), np.array([(shape[0]-1)/2])
    x, y = np.meshgrid(np.linspace(0, shape[1]-1, order+1), np.linspace(0, shape[0]-1, order+1))
    return x.ravel(), y.ravel()


def through_nodes(nodes, positions):
    """Shares of the values at nodes in those at positions between them, by the spline through them: quintic from 6 nodes on.

    Parameters
    ----------
    nodes : array_like, shape (n,)
        Growing.
    positions : array_like, shape (m,)

    Returns
    -------
    ndarray, shape (m, n), float64
    """
    nodes, order = np.asarray(nodes, dtype=np.float64), min(SPLINE_ORDER, len(nodes)-1)
    if order == 0:
        return np.ones((len(positions), 1))
    from scipy.interpolate import BSpline  # slow to import, and needed for PSFs on grids alone

    # "not a knot": none at the third nodes from either end and beyond
    knots = np.r_[np.repeat(nodes[0], order+1), nodes[3:-3], np.repeat(nodes[-1], order+1)]
    matrix = BSpline(knots, np.eye(len(nodes)), order)(nodes)
    return BSpline(knots, linear.inverse(matrix), order)(positions)


def planes_through(stamps, x, y, shape, order):
    """Planes whose combination by a polynomial fits given stamps at given positions, by least squares.

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
    return linear.combined(linear.pseudo_inverse(basis(x, y, shape, order)), stamps)


def coefficients(planes):
    """Quintic B-spline coefficients of planes, float32, with a border of zeros so that their ends fade out."""
    padded = np.pad(planes, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)))
    for axis in (1, 2):
        padded = ndimage.spline_filter1d(padded, SPLINE_ORDER, axis=axis, mode="mirror")
    # subnormal float32 numbers make arithmetic slow: the faded ends become exactly 0
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
    """Values of sampled planes at the centres of the central size x size pixels, shape (..., size, size)."""
    m = planes.shape[-1]//2
    reach = size//2*oversampling
    cut = np.s_[..., m-reach:m+reach+1:oversampling, m-reach:m+reach+1:oversampling]
    return planes[cut]


def middle_samples(samples, size, oversampling):
    """All samples of sampled planes within the central size x size pixels."""
    m, reach = samples.shape[-1]//2, size//2*oversampling
    return samples[..., m-reach:m+reach+1, m-reach:m+reach+1]


def middle_continued(plane, size):
    """The central size x size pixels of a plane, whose edge goes on where it has fewer."""
    return middle_samples(np.pad(plane, max(0, (size-len(plane))//2), mode="edge"), size, 1)


def resampled(samples, old, new):
    """A sampled stamp at another sampling, by quintic splines.

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
    """Sum of stamps times the offset from their middle in x (axis 1) or y (axis 0); pixels times the unit of the stamps."""
    at = np.arange(stamps.shape[-1])-stamps.shape[-1]//2
    return (stamps*(at[None, :] if axis == 1 else at[:, None])).sum(axis=(-2, -1))


def area_width(stamp):
    """Diameter of the circle with the same area as that where a stamp exceeds half of its central value, pixels.

    The area is measured on a grid five times finer. Only pixels that are connected with the middle count, so that noise far from
    the star does not.
    """
    m = stamp.shape[0]//2
    label, _ = ndimage.label(stamp > 0.3*stamp[m, m])
    reach = min(m, int(np.abs(np.argwhere(label == label[m, m])-m).max())+2)
    box = stamp[m-reach:m+reach+1, m-reach:m+reach+1].astype(np.float64)
    fine = ndimage.zoom(box, 5, order=3, mode="grid-constant", grid_mode=True)
    return float(2*np.sqrt((fine > 0.5*stamp[m, m]).sum()/25/np.pi))


def smeared(planes, scale):
    """Planes convolved with a circular exponential disc of unit flux, by its Fourier transform.

    Parameters
    ----------
    planes : ndarray, shape (k, m, m)
    scale : float
        Scale length in samples.
    """
    m = planes.shape[-1]
    ky, kx = np.fft.fftfreq(m)[:, None], np.fft.rfftfreq(m)[None, :]
    transform = functions.power(1+(2*np.pi*scale)**2*(kx**2+ky**2), -1.5)
    return np.fft.irfft2(functions.times(np.fft.rfft2(planes), transform), s=(m, m))
