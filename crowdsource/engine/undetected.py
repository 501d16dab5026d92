"""Light of undetected stars as noise of the pixels.

The light of stars too faint to be detected is noise in every fit. It is shaped like the PSF and therefore correlated, and in
crowded fields it exceeds the photon noise. A fit weighted by photon noise alone relies most on large scales, where this light has
its power. With the inverse of the whole covariance as weight, of photons and of undetected stars at unknown positions, fluxes and
positions are optimal (generalised least squares, Aitken 1935).

The inverse is never computed as a matrix. For white noise N and undetected stars with squared flux c per pixel it is
1/(N + c |p|^2) at each spatial frequency of the PSF p: the photons' weight 1/N minus a filter of it, c |p|^2/(N + c |p|^2), the
Wiener filter for the undetected light. Where the noise differs from pixel to pixel, the filter is applied between two factors of
the pixels' own weights.
"""
import numpy as np

from ..core import functions
from ..core.matched_filter import correlated


class UndetectedLight:
    """The covariance of pixels due to undetected stars and photons.

    Parameters
    ----------
    stamp : ndarray, shape (size, size)
        PSF at the middle of the image, odd side, unit flux.
    power : float
        Sum of the squared fluxes of undetected stars per pixel, from `crowdsource.engine.confusion.undetected_power`.
    noise : float
        Typical noise of a pixel, image units.
    """

    def __init__(self, stamp, power, noise):
        self.noise = np.float32(noise)
        size = len(stamp)
        # twice as wide, so that the filter does not wrap onto itself
        ratio = power/noise**2*functions.squared_modulus(np.fft.fft2(stamp, s=(2*size, 2*size)))
        answer = np.fft.fftshift(np.fft.ifft2(ratio/(1+ratio)).real)
        self.kernel = np.ascontiguousarray(answer[size-size//2:size+size//2+1, size-size//2:size+size//2+1], dtype=np.float32)

    def amplitude(self, ivar):
        """Factor of the pixels that `weighed` needs, from their inverse variance, float32.

        Parameters
        ----------
        ivar : ndarray, shape (ny, nx), float32
        """
        # where the noise is larger than typical the light matters less; where it is smaller, the weights must stay positive
        return ivar/np.maximum(np.sqrt(ivar), 1/self.noise)

    def weighed(self, image, ivar, amplitude):
        """An image times the inverse of the covariance of its pixels, float32; masked pixels do not contribute.

        Parameters
        ----------
        image, ivar, amplitude : ndarray, shape (ny, nx), float32
            The last from `amplitude`.
        """
        return ivar*image-correlated(image, self.kernel, map, amplitude, amplitude)
