"""A measured stamp as the PSF's outer model, in place of a Moffat profile."""
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .grid import coefficients, middle, render, resampled
from .moffat import middle_samples


@dataclass(frozen=True)
class StampWings:
    """A pixel stamp, the same over the image and zero past its edge.

    Attributes
    ----------
    samples : ndarray, shape (m, m), float64
        Odd side; the star's centroid in the middle.
    oversampling : int
        Samples in a pixel; each is an integral over a whole pixel.
    shape : tuple of int
        (ny, nx) of the image.
    """
    samples: np.ndarray
    oversampling: int
    shape: tuple
    order: int = 0

    @classmethod
    def from_stamp(cls, stamp, shape, oversampling=1):
        """Validate a stamp and centre it on the centroid of its central 19x19 pixels.

        Raises
        ------
        InputError
            When it is not square and odd-sided, not finite, or sums to nothing.
        """
        stamp = np.array(stamp, dtype=np.float64)
        if stamp.ndim != 2 or stamp.shape[0] != stamp.shape[1] or stamp.shape[0] % 2 == 0:
            raise InputError(f"the PSF stamp has shape {stamp.shape}: a square with an odd number of pixels is needed")
        if not np.isfinite(stamp).all():
            raise InputError("the PSF stamp holds NaN or infinite pixels: replace them")
        if not stamp.sum() > 0:
            raise InputError("the PSF stamp is empty: its pixels sum to nothing")
        return cls(_centred(stamp/stamp.sum(), oversampling), oversampling, tuple(shape))

    def planes(self, size, oversampling, norm_size):
        """Planes as `MoffatWings.planes`; one plane, zero where the stamp does not reach."""
        if oversampling != self.oversampling:
            samples = resampled(self.samples, self.oversampling, oversampling)
        else:
            samples = self.samples
        want = max(size, norm_size)//2*oversampling
        have = samples.shape[0]//2
        padded = np.pad(samples, max(0, want-have))
        padded = padded/middle(padded, norm_size, oversampling).sum()
        return middle_samples(padded, size, oversampling)[None]


def _centred(stamp, oversampling):
    """The stamp shifted so that the centroid of its central 19x19 pixels is its middle."""
    c = coefficients(stamp[None])
    one = np.ones((1, 1))
    x = y = 0.
    side = 2*(min(9*oversampling, stamp.shape[0]//2))+1
    at = np.arange(side)-side//2
    for _ in range(5):
        cut = render(c, one, np.array([x]), np.array([y]), side)[0].astype(np.float64)
        cut = np.maximum(cut, 0)
        x, y = x-(cut*at[None, :]).sum()/cut.sum(), y-(cut*at[:, None]).sum()/cut.sum()
        x, y = np.clip([x, y], -2, 2)
    return render(c, one, np.array([x]), np.array([y]), stamp.shape[0])[0].astype(np.float64) if abs(x)+abs(y) > 1e-6 else stamp
