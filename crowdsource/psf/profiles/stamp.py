"""A profile made of measured or computed stamps, in place of a Moffat profile."""
from dataclasses import dataclass

import numpy as np

from ...core import linear
from ...core.errors import InputError
from ..base import CENTROID_SIZE
from ..grid import area_width, basis, coefficients, middle, middle_samples, nodes, planes_through, render, resampled
from .base import PolynomialProfile

FARTHEST = 2.
"""Largest distance by which a stamp is moved to bring its centroid into its middle, pixels along each axis."""


@dataclass(frozen=True, eq=False)
class StampProfile(PolynomialProfile):
    """Stamps that vary as a polynomial of the position; zero beyond their edge.

    Attributes
    ----------
    samples : ndarray, shape (terms, m, m), float64
        Planes of the polynomial, with an odd side; the centroid of the star is in the middle.
    oversampling : int
        Samples in a pixel; each is an integral over a whole pixel.
    shape : tuple of int
        (ny, nx) of the image.
    order : int
        Order of the polynomial.
    fitted : bool
        Whether it was fitted to the stars of the image, so that a refit may replace it.
    """

    samples: np.ndarray
    oversampling: int
    shape: tuple
    order: int = 0
    fitted: bool = False

    @classmethod
    def from_stamp(cls, stamp, shape, oversampling=1):
        """A constant profile from one stamp, which is validated and centred on the centroid of its central 19x19 pixels.

        Raises
        ------
        InputError
            When it is not square and odd-sided, not finite, or its sum is not positive.
        """
        return cls(recentred(validated(stamp), oversampling)[None], oversampling, tuple(shape))

    @classmethod
    def from_stamps(cls, stamps, x, y, shape, order, oversampling=1):
        """The polynomial fitted to stamps at positions by least squares; each is validated and centred as by `from_stamp`.

        Parameters
        ----------
        stamps : sequence of ndarray, shape (m, m)
        x, y : ndarray, shape (n,)
            Pixels; at least as many as the polynomial has terms.
        shape : tuple of int
        order : int
            0, 1 or 2.
        oversampling : int

        Raises
        ------
        InputError
            As `from_stamp`.
        """
        centred = np.array([recentred(validated(s), oversampling) for s in stamps])
        return cls(planes_through(centred, x, y, shape, order), oversampling, tuple(shape), order)

    @property
    def plane_order(self):
        """See `PolynomialProfile.plane_order`."""
        return self.order

    @property
    def width(self):
        """See `Profile.width`."""
        factors = basis(*nodes(self.shape, 0), self.shape, self.order)
        return area_width(linear.combined(factors, self.samples)[0])/self.oversampling

    def planes(self, size, oversampling, norm_size):
        """See `Profile.planes`."""
        x, y = nodes(self.shape, self.order)
        stamps = [self._node(s, size, oversampling, norm_size)
                  for s in linear.combined(basis(x, y, self.shape, self.order), self.samples)]
        return planes_through(np.array(stamps), x, y, self.shape, self.order)

    def _node(self, samples, size, oversampling, norm_size):
        """One stamp in another sampling and size, its sum over the box of norm_size pixels 1."""
        samples = resampled(samples, self.oversampling, oversampling)
        want = max(size, norm_size)//2*oversampling
        padded = np.pad(samples, max(0, want-samples.shape[0]//2))
        return middle_samples(padded/middle(padded, norm_size, oversampling).sum(), size, oversampling)


def validated(stamp):
    """A stamp as float64 with sum 1, or an error that says why it cannot be one.

    Raises
    ------
    InputError
        When it is not square and odd-sided, not finite, or its sum is not positive.
    """
    stamp = np.array(stamp, dtype=np.float64)
    if stamp.ndim != 2 or stamp.shape[0] != stamp.shape[1] or stamp.shape[0] % 2 == 0:
        raise InputError(f"the PSF stamp has shape {stamp.shape}: a square with an odd number of pixels is needed")
    if len(stamp) < 3:
        raise InputError("the PSF stamp is a single pixel, which has no shape: at least 3 x 3 are needed")
    if not np.isfinite(stamp).all():
        raise InputError("the PSF stamp holds NaN or infinite pixels: replace them")
    if not stamp.sum() > 0:
        raise InputError("the PSF stamp is empty: the sum of its pixels is not positive")
    return stamp/stamp.sum()


def recentred(stamp, oversampling):
    """The stamp shifted so that the centroid of its central 19x19 pixels is its middle."""
    planes, x, y = None, 0., 0.
    reach = stamp.shape[0]//2
    at = np.arange(-min(CENTROID_SIZE//2, reach//oversampling), min(CENTROID_SIZE//2, reach//oversampling)+1)
    box = reach+at*oversampling
    shifted, limit = stamp, FARTHEST*oversampling
    for _ in range(8):
        cut = shifted[np.ix_(box, box)]
        x, y = x-oversampling*(cut*at[None, :]).sum()/cut.sum(), y-oversampling*(cut*at[:, None]).sum()/cut.sum()
        x, y = np.clip([x, y], -limit, limit)
        if abs(x)+abs(y) < 1e-6:
            return stamp
        planes = coefficients(stamp[None]) if planes is None else planes
        shifted = _shifted(planes, np.ones((1, 1)), x, y, stamp.shape[0])
    return shifted


def _shifted(planes, one, x, y, side):
    """A stamp rendered with its middle moved by x, y samples, which may exceed a pixel."""
    whole = np.round(x), np.round(y)
    wide = side+2*int(max(abs(whole[0]), abs(whole[1])))
    stamp = render(planes, one, np.array([x-whole[0]]), np.array([y-whole[1]]), wide)[0].astype(np.float64)
    margin = (wide-side)//2
    rows, columns = margin-int(whole[1]), margin-int(whole[0])
    return stamp[rows:rows+side, columns:columns+side]
