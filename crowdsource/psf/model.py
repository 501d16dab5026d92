"""The PSF of the engine: a profile (Moffat or tabulated) and a pixel core, each varying over the image."""
from dataclasses import dataclass, field

import numpy as np

from ..cython_ext import render as kernel
from .base import CENTROID_SIZE, PSF
from .grid import area_width, coefficients, first_moment, middle, render, resampled
from .profiles.moffat import MoffatProfile, middle_samples

LEVELS = (33, 73, 163, 323, 643, 1283)
WELL_SAMPLED = 3.5


@dataclass(frozen=True)
class FieldPSF(PSF):
    """A profile plus a pixel core over an image.

    Attributes
    ----------
    profile : MoffatProfile, StampProfile or GridProfile
    shape : tuple of int
        (ny, nx) of the image.
    core : ndarray, shape (terms, size, size), float64
        Planes added to the profile, native pixels; their order may differ from that of the profile.
    norm_size : int
        The PSF sums to 1 over this box.
    oversampling : int
        Samples of the planes in a pixel.
    """
    profile: object
    shape: tuple
    core: np.ndarray
    norm_size: int = 59
    oversampling: int = 1
    _cache: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def moffat(cls, shape, fwhm, beta=3., e1=0., e2=0., norm_size=59):
        """A Moffat profile, the same over the image."""
        return cls.of(MoffatProfile.constant(shape, fwhm, beta, e1, e2), norm_size=norm_size)

    @classmethod
    def of(cls, profile, core=None, norm_size=59):
        """A PSF of given profile and core; the sampling follows from the width of the profile."""
        core = np.zeros((1, 1, 1)) if core is None else core
        fwhm = profile.width
        return cls(profile, tuple(profile.shape), core, norm_size, 1 if fwhm >= WELL_SAMPLED else 2 if fwhm >= 1.6 else 3)

    @property
    def core_order(self):
        """Order of the core's polynomial over the image; None where there is no core."""
        return {1: 0, 3: 1, 6: 2}[len(self.core)] if self.core.any() else None

    @property
    def varies(self):
        """Whether it changes over the image."""
        return self._factors([0.], [0.]).shape[1] > 1

    @property
    def centre(self):
        """(x, y) of the middle of the image, pixels."""
        return middle_of(self.shape)

    def render(self, x, y, size, derivatives=False):
        """Stamps of unit flux; see `PSF.render`."""
        x, y = np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))
        return render(self._coefficients(size), self._factors(x, y), x, y, size, self.oversampling, derivatives)

    def render_packed(self, x, y, size, buffer, offset, stride):
        """See `PSF.render_packed`."""
        kernel.render_packed(self._coefficients(size), self._factors(x, y), x, y, size, self.oversampling, buffer, offset, stride)

    def add_to(self, image, x, y, flux, size, top=0):
        """See `PSF.add_to`."""
        kernel.add_rendered(image, self._coefficients(size), self._factors(x, y), x, y, flux, size, self.oversampling, top)

    def prepare(self, size):
        """See `PSF.prepare`."""
        self._coefficients(size)

    def _factors(self, x, y):
        return self.profile.factors(x, y, self.core_order).astype(np.float32)

    def render_smeared(self, x, y, size, scale):
        """Stamps of the PSF convolved with a circular exponential disc; see `PSF.render_smeared`."""
        x, y = np.atleast_1d(np.asarray(x, dtype=np.float64)), np.atleast_1d(np.asarray(y, dtype=np.float64))
        level = next((s for s in LEVELS if s >= size+4), size+4-size % 2+1)
        if (level, scale) not in self._cache:
            self._cache[level, scale] = coefficients(smeared(self.samples(level), scale*self.oversampling))
        return render(self._cache[level, scale], self._factors(x, y), x, y, size, self.oversampling)

    def fwhm(self, x=None, y=None):
        """Full width at half maximum in pixels of a circle with the area above half of the central value."""
        return area_width(self.stamp(self.norm_size, x, y))

    def samples(self, size):
        """The planes on their sampled grid, with norm and centre as the contract has them.

        Returns
        -------
        ndarray, shape (k, m, m), float64
        """
        profile = self.profile.planes(size, self.oversampling, self.norm_size)
        if self.core_order is None:
            return self.profile.joined(profile, None)
        wide = max(size, self.norm_size)
        return self.profile.joined(profile, middle_samples(self.core_samples(wide), size, self.oversampling))

    def refit(self, stamps, config):
        """A new PSF fitted to stars; see `PSF.refit`."""
        from .refit.profile import refit
        return refit(self, stamps, config)

    def to_hdus(self, name="PSF"):
        """See `PSF.to_hdus`."""
        from .formats.native import to_hdus
        return to_hdus(self, name)

    def to_group(self, group):
        """See `PSF.to_group`."""
        from .formats.native import to_group
        to_group(self, group)

    def _coefficients(self, size):
        """Spline coefficients wide enough for a stamp; made once for each of a few widths."""
        level = next((s for s in LEVELS if s >= size+4), size+4-size % 2+1)
        if level not in self._cache:
            self._cache[level] = coefficients(self._sampled(level))
        return self._cache[level]

    def _sampled(self, level):
        """`samples`, the smallest cut out of the next.

        Which ones are cut must not depend on what was asked for first: sums over planes of another width may differ in the
        last bit, and threads ask in any order.
        """
        base = LEVELS[1] if level == LEVELS[0] else level
        if ("samples", base) not in self._cache:
            self._cache["samples", base] = self.samples(base)
        return middle_samples(self._cache["samples", base], level, self.oversampling)

    def core_samples(self, size):
        """The core's planes on the sampled grid, compensated by the mean profile so that they hold no flux and move no centroid."""
        reach = size//2*self.oversampling
        sampled = np.array([resampled(plane, 1, self.oversampling) for plane in self.core])
        half = sampled.shape[-1]//2
        core = np.zeros((len(self.core), 2*reach+1, 2*reach+1))
        core[:, reach-half:reach+half+1, reach-half:reach+half+1] = sampled
        return core-self._bias_of(core, self.profile.planes(size+2, self.oversampling, self.norm_size)[0])

    def _bias_of(self, core, mean):
        """The mix of the mean profile and its slopes that holds as much flux and first moments as each plane of a core."""
        edge = self.oversampling
        inner = np.s_[edge:-edge, edge:-edge]
        templates = np.array([mean[inner], *((np.roll(mean, -1, axis)-np.roll(mean, 1, axis))[inner] for axis in (1, 0))])
        return np.tensordot(self._integrals(core)@np.linalg.inv(self._integrals(templates)), templates, axes=1)

    def _integrals(self, planes):
        """Flux in the norm box, and first moments in x and y of the central 19x19 pixels, shape (planes, 3)."""
        box, heart = (middle(planes, n, self.oversampling) for n in (self.norm_size, CENTROID_SIZE))
        return np.stack([box.sum(axis=(1, 2)), first_moment(heart, 1), first_moment(heart, 0)], axis=1)


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
    transform = (1+(2*np.pi*scale)**2*(kx**2+ky**2))**-1.5
    return np.fft.irfft2(np.fft.rfft2(planes)*transform, s=(m, m))


def middle_of(shape):
    """(x, y) of the middle of an image of shape (ny, nx), pixels."""
    return (shape[1]-1)/2, (shape[0]-1)/2
