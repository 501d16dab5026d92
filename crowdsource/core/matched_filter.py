"""The PSF as a filter: images correlated with it, and local maxima of what that gives."""
import numpy as np

from ..cython_ext import detect as kernel
from .tiles import bands

CHUNK = 4096
"""So many pixels are one piece of work."""


class MatchedFilter:
    """The PSF as a filter on an image of given inverse variance.

    Parameters
    ----------
    psf_stamp : ndarray, shape (size, size)
        PSF at the middle of the image, odd side, unit flux.
    ivar : ndarray, shape (ny, nx), float32
    run : callable
        ``map`` or an executor's.
    """

    def __init__(self, psf_stamp, ivar, run=map):
        self.kernel = np.ascontiguousarray(psf_stamp, dtype=np.float32)
        self.ivar, self.run = ivar, run
        self.error = flux_ivar(self.kernel, ivar, run)
        least = 1e-20*max(float(self.error.max()), 1e-20)

        def band(rows):
            self.error[rows] = 1/np.sqrt(np.maximum(self.error[rows], least))

        list(run(band, bands(len(ivar))))

    def significance(self, image):
        """Flux over its error for a star centred on each pixel; float32, shape of the image."""
        return correlated(image, self.kernel, self.run, self.ivar, self.error)

    def significance_at(self, image, y, x):
        """The same at some pixels alone, shape (n,)."""
        def part(at):
            return kernel.correlate_at(image, self.ivar, self.kernel, y[at], x[at])

        return np.concatenate(list(self.run(part, bands(len(x), CHUNK))) or [np.zeros(0, np.float32)])*self.error[y, x]


def flux_ivar(psf_stamp, ivar, run=map):
    """Inverse variance of the flux of a star centred on each pixel, alone and at a known position: that of the sum of ivar psf^2.

    Parameters as `MatchedFilter`.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    return correlated(ivar, np.ascontiguousarray(psf_stamp, dtype=np.float32)**2, run)


def correlated(image, stamp, run=map, weight=None, factor=None):
    """The image, times weights, correlated with a stamp and multiplied by factors; pixels outside the image count as zero.

    Parameters
    ----------
    image : ndarray, shape (ny, nx), float32
    stamp : ndarray, shape (size, size), float32
        Odd side.
    run : callable
        ``map`` or an executor's, for bands of rows.
    weight, factor : ndarray, shape (ny, nx), float32, optional

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    out = np.empty_like(image)
    list(run(lambda rows: kernel.correlate(image, stamp, weight, factor, rows.start, rows.stop, out), bands(len(image))))
    return out


def local_maxima(image, threshold, run=map):
    """Pixels (y, x) above a threshold that are the largest of their 3x3 box, in reading order."""
    def band(rows):
        first = max(0, rows.start-1)
        y, x = kernel.local_maxima(image[first:rows.stop+1], threshold)
        y += first
        own = (y >= rows.start) & (y < rows.stop)
        return y[own], x[own]

    return tuple(np.concatenate(part) for part in zip(*run(band, bands(len(image)))))
