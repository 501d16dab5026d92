"""The contract of profiles, and what those share that follow a polynomial of the position."""
from abc import ABC, abstractmethod

import numpy as np

from ..grid import basis


class Profile(ABC):
    """The shape of a PSF over its whole extent; a pixel core may be added to it.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx) of the image.
    order : int
        Order of the polynomial of the position; 0 where the profile varies in another way or not at all.
    halo : crowdsource.psf.profiles.halo.Halo or None
        Light that the instrument scatters, with which the profile is convolved.
    """

    shape: tuple
    order: int
    halo = None

    @property
    @abstractmethod
    def width(self):
        """Full width at half maximum in the middle of the image, pixels."""

    @abstractmethod
    def planes(self, size, oversampling, norm_size):
        """Planes whose combination by `factors` is the profile.

        Parameters
        ----------
        size : int
            Odd side of the planes, pixels.
        oversampling : int
            Samples in a pixel; each is an integral over a whole pixel.
        norm_size : int
            The profile sums to 1 over this box, pixels.

        Returns
        -------
        ndarray, shape (k, m, m), float64
            m = oversampling*(size-1)+1; zero where a tabulated profile does not reach.
        """

    @abstractmethod
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
        ndarray, shape (n, number of planes), float64
        """

    @abstractmethod
    def joined(self, planes, core):
        """Planes of the profile and of the core, together.

        Parameters
        ----------
        planes : ndarray, shape (k, m, m)
            As `planes` gives them.
        core : ndarray, shape (terms, m, m), or None
            The core on the same grid; None where there is no core.
        """


class PolynomialProfile(Profile):
    """A profile whose planes, like those of the core, are multiplied by the terms of a polynomial of the position."""

    @property
    @abstractmethod
    def plane_order(self):
        """Order of the polynomial of the planes."""

    def factors(self, x, y, core_order):
        """See `Profile.factors`."""
        return basis(x, y, self.shape, max(self.plane_order, core_order or 0))

    def joined(self, planes, core):
        """See `Profile.joined`."""
        if core is None:
            return planes
        few, many = sorted((planes, core), key=len)
        out = np.array(many)
        out[:len(few)] += few
        return out
