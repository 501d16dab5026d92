"""A starting PSF, measured on the image."""
import logging

import numpy as np

from ..core import functions
from ..core.calibration import calibration
from ..core.image import thinned
from ..core.kinds import narrow_kind
from ..core.matched_filter import correlated, local_maxima
from ..core.noise import MAD_TO_SIGMA
from ..core.tiles import banded
from .model import FieldPSF
from .profiles.moffat import MoffatProfile

log = logging.getLogger(__name__)
FALLBACK_FWHM = 4.
"""FWHM where no star can be measured, pixels."""
REACH = calibration.initial.reach
"""Largest distance from a peak at which its width is looked for, pixels."""
MOST = calibration.initial.most
"""Largest number of stars that are measured."""
STARS_QUANTILE = calibration.initial.stars_quantile
"""Blends are wider than stars: this part of the peaks is no wider than a star."""
GALAXIES_WIDER = functions.log(1.5)
"""Galaxies are wider than stars by more than this, in the logarithm of the width, where they are a kind of their own."""
ENOUGH, DOUBTFUL = 20, 1.8
"""Number of stars from which a given PSF's width is compared with theirs, and ratio at which it is doubted."""
LEAST_GOOD = 0.5
"""Share of good pixels around a peak where hardly one is without a masked pixel."""
FEWEST_GOOD = 3
"""Masked pixels with no more good ones around are none that lie here and there."""
START_BETA = 3.
NARROWEST, ADJUSTMENTS = 0.8, 4
"""Smallest FWHM of a profile that is convolved with a halo, pixels, and number of iterations that find it."""


def initial_psf(image, fwhm=None, norm_size=59, halo=None, run=map):
    """A Moffat profile with the width of the stars in the image.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    fwhm : float, optional
        Full width at half maximum in pixels; measured on bright stars when not given.
    norm_size : int
        The PSF sums to 1 over this box.
    halo : crowdsource.psf.profiles.halo.Halo, optional
        With which the profile is convolved; the result has the given width.
    run : callable
        ``map``, or that of a pool of threads.

    Returns
    -------
    FieldPSF
    """
    fwhm = fwhm or measure_fwhm(image, run)
    plain = FieldPSF.moffat(image.shape, fwhm, START_BETA, norm_size=norm_size)
    return plain if halo is None else _with_halo(halo, plain)


def _with_halo(halo, plain):
    """A profile that, convolved with a halo, is as wide as a given one without."""
    wanted, moffat = plain.fwhm(), plain.profile.coefficients[0, 0]
    moffat = np.sqrt(max(moffat**2-halo.blur**2, NARROWEST**2))
    for _ in range(ADJUSTMENTS):
        psf = FieldPSF.of(MoffatProfile.constant(plain.shape, moffat, START_BETA, halo=halo), norm_size=plain.norm_size)
        # widths add nearly in quadrature
        moffat = np.sqrt(max(moffat**2+wanted**2-psf.fwhm()**2, NARROWEST**2))
    return psf


def measure_fwhm(image, run=map):
    """FWHM of the bright stars in an image, pixels; `FALLBACK_FWHM`, with a warning, when there are none.

    The highest peaks are measured, except those next to masked pixels: means of 3x3 pixels above 10 times the noise of a pixel
    or, where there are none, of such means. Blends are wider than stars and hot pixels are narrower, so the result is a low
    quantile of the widths of all peaks that are wider than a pixel.
    """
    widths = measured_widths(image, run)
    if len(widths) < 1:
        log.warning("no star is bright enough to measure the FWHM: starting from %.1f px", FALLBACK_FWHM)
        return FALLBACK_FWHM
    fwhm = width_of_stars(widths)
    log.info("FWHM of %d bright stars: %.2f px", len(widths), fwhm)
    return fwhm


def width_of_stars(widths):
    """The width of stars among those of peaks, which are blends, too, or mostly galaxies; pixels."""
    width = float(np.quantile(widths, STARS_QUANTILE))
    narrow = widths[narrow_kind(functions.log(widths), GALAXIES_WIDER)]
    return width if width <= narrow.max() else float(np.median(narrow))


def check_width(psf, image, run=map):
    """Warn where a given PSF is much wider or narrower than the stars of the image.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    image : crowdsource.core.image.Image
    run : callable
        ``map``, or that of a pool of threads.
    """
    widths = measured_widths(image, run) if image.good.any() else ()
    if len(widths) < ENOUGH:
        return
    stars, own = width_of_stars(widths), float(psf.fwhm())
    if max(own/stars, stars/own) > DOUBTFUL:
        hint = "; if its stamp has several samples a pixel, name their number by the keyword OVERSAMP" if own > stars else ""
        log.warning("the given PSF has a FWHM of %.2f px, but the bright stars of the image one of %.2f px%s", own, stars, hint)


def measured_widths(image, run=map):
    """FWHM of the highest peaks of an image, pixels; see `measure_fwhm`.

    Where hardly a peak is free of masked pixels these are filled from those around them.
    """
    data, good = image.data, image.good
    sky = np.float32(np.median(thinned(data)[thinned(good)]))

    def above(data, good, out):
        np.multiply(np.subtract(data, sky, out=out), good, out=out)

    light = banded(above, (data, good), run)
    widths, peaks = widths_of_peaks(data-sky, light, good, 1., image.noise, run)
    if peaks < ENOUGH and not good.all():
        filled, number = filled_holes(light, good, run)
        # between saturated pixels nothing is left of a star
        share = np.where(good, np.float32(1), np.where(number > FEWEST_GOOD, np.float32(0), -np.inf))
        widths, _ = widths_of_peaks(filled, filled, share, LEAST_GOOD, image.noise, run)
    return widths


def widths_of_peaks(data, light, good, least, noise, run):
    """FWHM of the highest peaks around which at least a share of the pixels is good, and the number of these peaks.

    Parameters
    ----------
    data, light : ndarray, shape (ny, nx), float32
        Image less sky, and the same with 0 where no pixel is good.
    good : ndarray, shape (ny, nx)
        Whether pixels are good; or numbers, whose means count.
    least : float
        Share of good pixels in a box of 7x7.
    noise : float
        Of a pixel.
    run : callable
        ``map``, or that of a pool of threads.

    Returns
    -------
    widths : ndarray
    peaks : int
    """
    smooth = correlated(light, np.full((3, 3), 1/9, np.float32), run)
    y, x = local_maxima(smooth, float(10*noise), run)
    if not len(y) and (good > 0).any():
        sample = thinned(smooth)[thinned(good) > 0]
        y, x = local_maxima(smooth, float(10*MAD_TO_SIGMA*np.median(np.abs(sample))), run)
    order = np.argsort(-smooth[y, x], kind="stable")
    y, x = brightest_clean(good, y[order], x[order], least)
    widths = half_widths(data, y, x) if len(y) else np.empty(0)
    return widths[np.isfinite(widths)], len(y)


def filled_holes(light, good, run):
    """An image whose masked pixels have the mean of the good ones that touch them, and the number of these."""
    box = np.ones((3, 3), np.float32)
    number = correlated(good.astype(np.float32), box, run)
    around = correlated(light, box, run)/np.maximum(number, 1)
    return np.where(good, light, around).astype(np.float32), number


def brightest_clean(good, y, x, least=1.):
    """The first `MOST` of given pixels around which at least a share of the pixels of a box of 7x7 is good.

    Parameters
    ----------
    good : ndarray, shape (ny, nx)
        As `widths_of_peaks`.
    y, x : ndarray of int, shape (n,)
    least : float

    Returns
    -------
    y, x : ndarray of int
    """
    boxes = np.lib.stride_tricks.sliding_window_view(np.pad(good, 3, constant_values=1), (7, 7))
    clean, start = np.empty(0, int), 0
    while start < len(y) and len(clean) < MOST:
        some = np.arange(start, min(len(y), start+2*MOST))
        clean = np.r_[clean, some[boxes[y[some], x[some]].mean(axis=(1, 2)) >= least]]
        start += len(some)
    return y[clean[:MOST]], x[clean[:MOST]]


def half_widths(image, y, x, sky=0.):
    """Widths of peaks at half of their height above a local background, from four directions; NaN where undefined.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
    y, x : ndarray of int, shape (n,)
        Peaks.
    sky : float
        Of the image, in its units.

    Returns
    -------
    ndarray, shape (n,)
        Pixels.
    """
    def at(y, x):
        return image[tuple(within(v, n) for v, n in zip((y, x), image.shape))]-sky

    # a peak of the smoothed image may be next to the star's brightest pixel: take the highest of the nine
    box = np.stack([at(y+j, x+i) for j in (-1, 0, 1) for i in (-1, 0, 1)])
    best = box.argmax(axis=0)
    y, x = y+best//3-1, x+best % 3-1
    steps = np.arange(REACH)
    cuts = np.stack([at(y[:, None]+j*steps, x[:, None]+i*steps) for j, i in ((0, 1), (0, -1), (1, 0), (-1, 0))])
    background = np.minimum(np.median(cuts[:, :, REACH//2:], axis=(0, 2)), cuts[:, :, 0].min(axis=0)/4)
    cuts = (cuts-background[:, None])/np.maximum(cuts[:1, :, :1]-background[:, None], 1e-30)
    below = cuts < 0.5
    first = np.where(below.any(axis=2), below.argmax(axis=2), 0)
    rows = np.arange(4)[:, None], np.arange(len(y))[None, :]
    high, low = cuts[(*rows, np.maximum(first-1, 0))], cuts[(*rows, first)]
    distance = np.where(first > 0, first-1+(high-0.5)/np.maximum(high-low, 1e-30), np.nan)
    width = (distance[0]+distance[1]+distance[2]+distance[3])/2
    return np.where(width > 1.2, width, np.nan)


def within(at, n):
    """Indices along an axis of n pixels; those beyond its ends are mirrored there, or on a short axis moved to the end."""
    return n-1-np.abs(n-1-np.abs(at)) if n > REACH+1 else np.clip(at, 0, n-1)
