"""Light of undetected stars as noise of the pixels.

Stars too faint to be sources leave light behind that is shaped like the PSF: noise of every fit, but not white, and
in a crowd larger than that of photons. A fit that weighs pixels by photons alone listens most to the wide scales,
where this light is; weighed by the inverse of the whole covariance, of photons and of stars that may stand anywhere,
fluxes and positions are the best that can be had (generalised least squares, Aitken 1935).

The inverse is not made. With white noise N and undetected stars of squared flux c per pixel it is, at each spatial
frequency of a PSF p, 1/(N + c |p|^2): the photons' weight 1/N less a small filter, c |p|^2/(N + c |p|^2) of it, which
is Wiener's for the undetected light. Where noise differs from pixel to pixel the filter acts between two factors of
the pixels' own weights.
"""
import numpy as np

from ..core.matched_filter import correlated


class UndetectedLight:
    """The covariance that undetected stars and photons make.

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
        ratio = power/noise**2*np.abs(np.fft.fft2(stamp, s=(2*size, 2*size)))**2
        reply = np.fft.fftshift(np.fft.ifft2(ratio/(1+ratio)).real)
        self.kernel = np.ascontiguousarray(reply[size-size//2:size+size//2+1, size-size//2:size+size//2+1], dtype=np.float32)

    def amplitude(self, ivar):
        """What `weighed` needs of the pixels' inverse variance, float32.

        Parameters
        ----------
        ivar : ndarray, shape (ny, nx), float32
        """
        # in noise that is larger than usual the light counts for less; where it is smaller, it must not exceed the data
        return ivar/np.maximum(np.sqrt(ivar), 1/self.noise)

    def weighed(self, image, ivar, amplitude):
        """An image times the inverse of the covariance of its pixels, float32; masked pixels, without weight, stay out.

        Parameters
        ----------
        image, ivar, amplitude : ndarray, shape (ny, nx), float32
            The last from `amplitude`.
        """
        return ivar*image-correlated(image, self.kernel, map, amplitude, amplitude)
