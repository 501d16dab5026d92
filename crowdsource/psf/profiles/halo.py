"""Halos: the light that an instrument scatters far around every star, whatever the seeing."""
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...core import functions, linear
from ...core.errors import InputError
from ..base import CENTROID_SIZE
from ..grid import first_moment, middle, middle_samples
from .moffat import moffat, moffat_transform, pixel_moffat

MARGIN = 32
"""Width of the rim around a stamp from which the convolution still carries light into it, pixels."""
NARROW = 5.
"""Moffat profiles below this FWHM, pixels, are convolved by their exact transform: they are too narrow to be sampled."""
LEAST = 163
"""Smaller stamps are cut from one of this side, pixels, so that they equal the middle of larger ones."""
ROUNDING = 1e-3
"""The sum of the shares may exceed 1 by this, since they are written with few digits."""
LN2 = functions.log(2)
MOFFAT_COLUMNS = "fraction", "fwhm", "beta"
SPIKE_COLUMNS = "fraction", "angle", "width", "opening", "power", "scale", "slope"


@dataclass(frozen=True)
class Halo:
    """A static kernel: the image that an instrument makes of a point of light.

    It is a sum of circular Moffat profiles, narrow ones for the blur of the instrument and wide ones for scattered light, and of
    diffraction spikes. Light that the shares leave over remains a point.

    Attributes
    ----------
    moffats : tuple of (fraction, fwhm, beta)
        Share of all light, full width at half maximum in pixels and power of each profile.
    spikes : tuple of (fraction, angle, width, opening, power, scale, slope)
        Half-lines from the centre at an angle from x towards y, degrees. At the distance s along one, pixels, the light falls as
        ``(1+(s/scale)^2)^(-slope/2)`` and across it, at the distance t, as ``exp(-ln2 |2t/w|^power)`` with the full width at
        half maximum ``w = width+opening*s``.
    """

    moffats: tuple = ()
    spikes: tuple = ()

    @classmethod
    def of(cls, moffats, spikes=()):
        """A halo from rows of numbers.

        Raises
        ------
        InputError
            When a row has the wrong length, or numbers that are out of range.
        """
        moffats, spikes = (tuple(tuple(float(v) for v in row) for row in rows) for rows in (moffats, spikes))
        if not (all(_is_moffat(row) for row in moffats) and all(_is_spike(row) for row in spikes)):
            raise InputError(f"a halo needs rows of {', '.join(MOFFAT_COLUMNS)} with fwhm > 0 and beta > 1, and spikes of "
                             f"{', '.join(SPIKE_COLUMNS)} with width, power, scale > 0 and slope > 1")
        halo = cls(moffats, spikes)
        if not 0 <= halo.fraction <= 1+ROUNDING:
            raise InputError(f"a halo holds {halo.fraction:g} of the light: a share from 0 to 1 is needed")
        return halo

    @classmethod
    def from_rows(cls, rows):
        """The halo whose `rows` these are. An array without rows gives a halo without light.

        Raises
        ------
        InputError
            When the array is no such table.
        """
        rows = np.asarray(rows, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(SPIKE_COLUMNS):
            raise InputError(f"a halo's rows have {len(SPIKE_COLUMNS)} numbers, not the shape {rows.shape}")
        spikes = np.isfinite(rows[:, -1])
        return cls.of(rows[~spikes, :len(MOFFAT_COLUMNS)], rows[spikes])

    @property
    def rows(self):
        """All numbers as a table, shape (n, 7): a row for each profile, filled up with NaN, then a row for each spike."""
        filler = (np.nan,)*(len(SPIKE_COLUMNS)-len(MOFFAT_COLUMNS))
        return np.array([*((*row, *filler) for row in self.moffats), *self.spikes])

    @property
    def fraction(self):
        """Share of the light that does not remain a point."""
        return sum(row[0] for row in (*self.moffats, *self.spikes))

    @property
    def narrow(self):
        """The narrow Moffat profiles."""
        return tuple(row for row in self.moffats if row[1] < NARROW)

    @property
    def blur(self):
        """Mean FWHM of the narrow profiles, pixels, which adds in quadrature to that of a convolved profile; 0 without any."""
        share = sum(row[0] for row in self.narrow)
        return np.sqrt(sum(row[0]*row[1]**2 for row in self.narrow)/share) if share else 0.

    def light(self, dx, dy):
        """Light of the wide profiles and the spikes, per pixel, at offsets from the centre (arrays in pixels that broadcast)."""
        out = np.zeros(np.broadcast_shapes(np.shape(dx), np.shape(dy)))
        for fraction, fwhm, beta in self.moffats:
            if fwhm >= NARROW:
                out += fraction*moffat(dx, dy, fwhm, 0., 0., beta)
        for fraction, *shape in self.spikes:
            out += fraction*spike(dx, dy, *shape)
        return out

    def rendered(self, reach, oversampling=1):
        """`light` at samples around the centre.

        Parameters
        ----------
        reach : int
            Pixels from the centre to the rim.
        oversampling : int
            Samples in a pixel.

        Returns
        -------
        ndarray, shape (m, m), float64
            m = 2*reach*oversampling+1.
        """
        at = np.arange(-reach*oversampling, reach*oversampling+1)/oversampling
        return self.light(at[None, :], at[:, None])

    def picture(self, reach):
        """The image of a point of light; narrow profiles are integrated over pixels.

        Parameters
        ----------
        reach : int
            Pixels from the centre to the rim.

        Returns
        -------
        ndarray, shape (2*reach+1, 2*reach+1), float64
            The sum is 1, less the light outside.
        """
        picture = self.rendered(reach)
        for fraction, fwhm, beta in self.narrow:
            picture += fraction*pixel_moffat(2*reach+1, (fwhm, 0., 0., beta))
        picture[reach, reach] += max(0., 1-self.fraction)
        return picture

    def convolved(self, profile, size, oversampling=1):
        """A profile convolved with the whole kernel.

        Parameters
        ----------
        profile : callable
            ``profile(side)`` gives samples over `side` pixels of a profile of unit flux over the plane.
        size : int
            Odd side of the result, pixels.
        oversampling : int

        Returns
        -------
        ndarray, shape (m, m), float64
            m = 2*(size//2)*oversampling+1.
        """
        from scipy.fft import irfft2, rfft2  # heavy to import, and most PSFs have no halo
        reach = max(size, LEAST)//2+MARGIN
        sharp = profile(2*reach+1)
        spectrum, side = _spectrum(self, reach, oversampling)
        wide = irfft2(functions.times(rfft2(sharp, s=(side, side)), spectrum), s=(side, side))
        # profile and kernel are both centred in their middle, so the centre of the product is twice as far from the corner;
        # of it, what is asked for and what `centred` looks at
        half = max(size, CENTROID_SIZE)//2+1
        at = np.arange((2*reach-half)*oversampling, (2*reach+half)*oversampling+1) % side
        return middle_samples(centred(wide[np.ix_(at, at)], oversampling), size, oversampling)


def centred(samples, oversampling):
    """A profile moved so that the centroid of its central 19x19 pixels is in the middle: an asymmetric halo must not shift stars.

    Parameters
    ----------
    samples : ndarray, shape (m, m)
        The outermost samples are not valid afterwards.
    oversampling : int
    """
    slopes = np.array([(np.roll(samples, -1, axis)-np.roll(samples, 1, axis))/2 for axis in (1, 0)])
    inner = middle(np.array([samples, *slopes]), CENTROID_SIZE, oversampling)
    moments = np.stack([first_moment(inner, 1), first_moment(inner, 0)])
    return samples-linear.combined(linear.solve(moments[:, 1:], moments[:, 0]), slopes)


def spike(dx, dy, angle, width, opening, power, scale, slope):
    """A diffraction spike of unit flux over the plane; see `Halo`.

    Parameters
    ----------
    dx, dy : ndarray
        Offsets from the centre, pixels.
    angle, width, opening, power, scale, slope : float

    Returns
    -------
    ndarray
    """
    c, s = functions.cos(np.radians(angle)), functions.sin(np.radians(angle))
    along, across = dx*c+dy*s, np.abs(dy*c-dx*s)
    ahead = np.maximum(along, 0)
    full = width+opening*ahead
    # the integrals across, of exp(-ln2 |2t/w|^p) over t, and along the half-line
    area = full*functions.exp(functions.log_gamma(1+1/power))*functions.power(LN2, -1/power)
    length = scale*np.sqrt(np.pi)/2*functions.exp(functions.log_gamma((slope-1)/2)-functions.log_gamma(slope/2))
    shape = functions.power(1+(ahead/scale)**2, -slope/2)*functions.exp(-LN2*functions.power(2*across/full, power))
    light = shape/(area*length)
    # samples on the line through the centre count half; the tolerance allows for rounding of cosines
    return light*np.where(np.abs(along) < 1e-9, 0.5, along > 0)


@lru_cache(maxsize=4)
def _spectrum(halo, reach, oversampling):
    """Fourier transform of the whole kernel, padded so that nothing wraps into the middle half, and the padded side."""
    from scipy.fft import next_fast_len, rfft2  # as above
    kernel = halo.rendered(reach, oversampling)/oversampling**2
    side = next_fast_len(kernel.shape[0]*3//2+1, real=True)
    point = np.zeros_like(kernel)
    point[kernel.shape[0]//2, kernel.shape[0]//2] = 1
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])*oversampling
    near = max(0., 1-halo.fraction)
    for fraction, fwhm, beta in halo.narrow:
        near = near+fraction*moffat_transform(frequency, fwhm, beta)
    return rfft2(kernel, s=(side, side))+functions.times(rfft2(point, s=(side, side)), near), side


def _is_moffat(row):
    return len(row) == len(MOFFAT_COLUMNS) and np.isfinite(row).all() and row[1] > 0 and row[2] > 1


def _is_spike(row):
    if len(row) != len(SPIKE_COLUMNS) or not np.isfinite(row).all():
        return False
    _, _, width, opening, power, scale, slope = row
    return width > 0 and opening >= 0 and power > 0 and scale > 0 and slope > 1
