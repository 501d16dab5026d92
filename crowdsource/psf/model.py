"""The PSF of the engine: a profile (Moffat or tabulated) and a pixel core, each varying over the image."""
import logging
from dataclasses import dataclass, field, replace

import numpy as np

from ..core import linear
from ..cython_ext import render as kernel
from .base import CENTROID_SIZE, PSF
from .formats import field as stored
from .grid import coefficients, first_moment, middle, middle_samples, order_of, render, resampled, smeared
from .profiles.base import Profile
from .profiles.gridded import GridProfile
from .profiles.moffat import MoffatProfile
from .profiles.stamp import StampProfile
from .refit.effective import as_effective, is_effective
from .refit.few import shape_errors
from .refit.outer import beyond_edge
from .refit.radial import stamp_size
from .refit.refit import HYSTERESIS, NARROW, is_refitted_as_effective, refit
from .refit.uncertainty import WIDE, unknown_wings
from .registry import FIELD

log = logging.getLogger(__name__)
LEVELS = (33, 73, 163, 323, 643, 1283)
"""Sides of the planes that are made and kept, pixels; a stamp uses the smallest that is wide enough."""
NARROWEST_STAMP = 2.
"""Below this FWHM, pixels, a stamp with one sample a pixel does not determine the values between its samples."""
WELL_SAMPLED = 3.5
"""From this FWHM on, pixels, one sample in a pixel is enough."""


@dataclass(frozen=True, eq=False)
class FieldPSF(PSF):
    """A profile plus a pixel core over an image.

    Attributes
    ----------
    profile : crowdsource.psf.profiles.base.Profile
    shape : tuple of int
        (ny, nx) of the image.
    core : ndarray, shape (terms, size, size), float64
        Planes added to those of the profile, in pixels of the image; their order may differ from that of the profile.
    norm_size : int
        The PSF sums to 1 over this box, pixels.
    oversampling : int
        Samples of the planes in a pixel.
    uncertainty : ndarray, shape (m, m), float32, or None
        See `PSF`.
    covariance : ndarray, shape (4, 4), float64, or None
        Of fwhm, e1, e2 and beta of a Moffat profile that few stars determine; see `PSF`.
    """

    profile: Profile
    shape: tuple
    core: np.ndarray
    norm_size: int = 59
    oversampling: int = 1
    uncertainty: np.ndarray = None
    covariance: np.ndarray = None
    _cache: dict = field(default_factory=dict, init=False, repr=False)
    registered_as = FIELD

    @classmethod
    def moffat(cls, shape, fwhm, beta=3., e1=0., e2=0., norm_size=59):
        """A Moffat profile, the same over the image."""
        return cls.of(MoffatProfile.constant(shape, fwhm, beta, e1, e2), norm_size=norm_size)

    @classmethod
    def of(cls, profile, core=None, norm_size=59, uncertainty=None):
        """A PSF of a given profile and core; the sampling follows from the width of the profile."""
        core = np.zeros((1, 1, 1)) if core is None else core
        fwhm = profile.width
        sampling = profile.oversampling if is_effective(profile) else 1 if fwhm >= WELL_SAMPLED else 2 if fwhm >= 1.6 else 3
        return cls(profile, tuple(profile.shape), core, norm_size, sampling, uncertainty)

    def with_parts(self, profile, core=None, uncertainty=None):
        """A PSF of another profile and core, normalised over the same box."""
        new = self.of(profile, core, self.norm_size, uncertainty)
        # a given grid may need finer samples than its width tells
        kept = profile is self.profile and isinstance(profile, GridProfile)
        return replace(new, oversampling=self.oversampling) if kept else new

    def adapted_to(self, shape):
        """See `PSF.adapted_to`: a PSF that does not vary serves images of any shape."""
        if self.varies or tuple(shape) == tuple(self.shape):
            return super().adapted_to(shape)
        return replace(self, shape=tuple(shape), profile=replace(self.profile, shape=tuple(shape)))

    @property
    def wide_stamp(self):
        """See `PSF`: wings are not what a profile of a few parameters says, least of all those of narrow stars."""
        if self.uncertainty is not None:
            return len(self.uncertainty)
        return stamp_size(self.profile.width, self.norm_size) if isinstance(self.profile, MoffatProfile) else 0

    @property
    def wants_saturated(self):
        """See `PSF`: a profile that is well sampled is judged by stars that show all of it."""
        return self.uncertainty is not None and (is_effective(self.profile) or float(self.fwhm()) < NARROW*HYSTERESIS)

    def as_first_guess(self, config):
        """See `PSF`: the PSF of narrow stars with the uncertainty that one has which was found from their width alone."""
        psf, fits = self, config.refit and config.method == "fit"
        if isinstance(psf.profile, StampProfile) and psf.profile.oversampling == 1 and psf.profile.width < NARROWEST_STAMP:
            log.warning("the PSF's stamp has one sample a pixel: too few to be interpolated at a FWHM of %.2f px, so %s",
                        psf.profile.width, "the fit finds a better one" if fits else "let the fit find a better one")
            psf = psf.with_parts(as_effective(psf)) if fits else psf
        if psf.uncertainty is None and fits and isinstance(psf.profile, GridProfile) and psf.fwhm() < NARROW:
            return replace(psf, uncertainty=beyond_edge(psf))
        if psf.uncertainty is not None or not is_refitted_as_effective(psf, config):
            return psf
        return psf.with_unknown_wings()

    def with_unknown_wings(self):
        """The PSF with the uncertainty that one has of which only the width is known."""
        return replace(self, uncertainty=unknown_wings(self, WIDE))

    @property
    def core_order(self):
        """Order of the core's polynomial over the image; None where there is no core."""
        return order_of(len(self.core)) if self.core.any() else None

    @property
    def varies(self):
        """Whether it changes over the image."""
        return self._factors([0.], [0.]).shape[1] > 1

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

    def shape_errors(self, x, y, size):
        """See `PSF.shape_errors`."""
        return super().shape_errors(x, y, size) if self.covariance is None else shape_errors(self, x, y, size)

    def samples(self, size):
        """The planes on their sampled grid, with the norm and the centre that the contract demands.

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
        return refit(self, stamps, config)

    def to_hdus(self, name="PSF"):
        """See `PSF.to_hdus`; the layout is that of `crowdsource.psf.formats.field`."""
        return stored.to_hdus(self, name)

    @classmethod
    def from_hdus(cls, hdus, name="PSF"):
        """See `PSF.from_hdus`."""
        return cls._of_parts(stored.parts_of_hdus(hdus, name))

    def to_group(self, group):
        """See `PSF.to_group`."""
        stored.to_group(self, group)

    @classmethod
    def from_group(cls, group):
        """See `PSF.from_group`."""
        return cls._of_parts(stored.parts_of_group(group))

    @classmethod
    def _of_parts(cls, parts):
        return cls(parts.profile, parts.shape, parts.core, parts.norm_size, parts.oversampling, parts.uncertainty,
                   parts.covariance)

    def _coefficients(self, size):
        """Spline coefficients of planes wide enough for a stamp; computed once for each of `LEVELS`."""
        level = next((s for s in LEVELS if s >= size+4), size+4-size % 2+1)
        if level not in self._cache:
            self._cache[level] = coefficients(self._sampled(level))
        return self._cache[level]

    def _sampled(self, level):
        """`samples`, those of the first level cut out of those of the second.

        Which level is cut must not depend on which was needed first: sums over planes of another width may differ in the last
        bit, and threads come in any order.
        """
        base = LEVELS[1] if level == LEVELS[0] else level
        if ("samples", base) not in self._cache:
            self._cache["samples", base] = self.samples(base)
        return middle_samples(self._cache["samples", base], level, self.oversampling)

    def core_samples(self, size):
        """The planes of the core on the sampled grid.

        They are compensated by the mean profile so that they hold no flux and shift no centroid.
        """
        reach = size//2*self.oversampling
        sampled = np.array([resampled(plane, 1, self.oversampling) for plane in self.core])
        margin = max(0, reach-sampled.shape[-1]//2)
        core = middle_samples(np.pad(sampled, ((0, 0), (margin, margin), (margin, margin))), size, self.oversampling)
        return core-self._bias_of(core, self.profile.planes(size+2, self.oversampling, self.norm_size)[0])

    def _bias_of(self, core, mean):
        """The mean profile and its gradient combined to the flux and the first moments of each plane of a core."""
        edge = self.oversampling
        inner = np.s_[edge:-edge, edge:-edge]
        templates = np.array([mean[inner], *((np.roll(mean, -1, axis)-np.roll(mean, 1, axis))[inner] for axis in (1, 0))])
        return linear.combined(linear.matmul(self._integrals(core), linear.inverse(self._integrals(templates))), templates)

    def _integrals(self, planes):
        """Flux in the norm box, and first moments in x and y of the central 19x19 pixels, shape (planes, 3)."""
        box, inner = (middle(planes, n, self.oversampling) for n in (self.norm_size, CENTROID_SIZE))
        return np.stack([box.sum(axis=(1, 2)), first_moment(inner, 1), first_moment(inner, 0)], axis=1)
