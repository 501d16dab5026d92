"""What is sharper than stars can be: cosmic rays, hot and dead pixels, bad columns.

The light of a star falls from a pixel to its neighbours no faster than that of the narrowest star in the middle of a pixel, along
any line through it. A pixel that stands out more than that along one of four lines is no star's, whatever lies around: light of
other stars only makes the fall shallower. (L.A.Cosmic, van Dokkum 2001, PASP 113, 1420, asks for sharpness in all directions
together; along lines a track of any length is as sharp as a single pixel.)
"""
import numpy as np
from scipy import ndimage

from ..core import functions
from ..core.calibration import calibration
from ..core.pixels import BOX, values
from ..cython_ext import artifacts as kernel

NARROWER = calibration.sharp.narrower
"""Stars of an image may be narrower than most by this factor."""
SIGNIFICANT = calibration.sharp.significant
"""By how many sigma a pixel must stand out."""
LEAST, LEAST_BESIDE = calibration.sharp.least, calibration.sharp.least_beside
"""Significance of such a pixel, and of one beside the pixels of a track that is no brighter than these."""
SHAPE_ERROR = calibration.sharp.shape_error
"""Relative error of the light of the narrowest stars beside their peaks."""
TRACK = 2
"""So many connected pixels are a track, which may be wider than what stands out; fewer are hot pixels."""
SUSPECT, LONGEST = calibration.sharp.suspect, 30
"""By how many sigma a pixel near a track must stand out, of most stars, and how often tracks are followed."""
GROWTHS = 2
"""Pixels to which a track may extend on each side."""
AROUND, SLOPE = range(-3, 4), calibration.sharp.slope
"""Steps to the pixels around, and relative difference from their light that the flank of a star may have."""
TYPICAL, DARK = calibration.sharp.typical, calibration.sharp.dark
"""Quantiles of that light: what is typical; and the median of the darker half, since a track across the flank of a star leaves
little but the side towards this."""
STEPS = 1., 1., np.sqrt(2), np.sqrt(2)
"""Distances of neighbours along the lines, pixels."""


def sharp_pixels(light, error, fwhm):
    """Pixels that stand out, or fall below the sky, as no star does.

    Parameters
    ----------
    light : ndarray, shape (ny, nx), float32
        Image less its sky.
    error : ndarray, shape (ny, nx), float32
        Of a pixel; infinite where it is masked.
    fwhm : ndarray, shape (4,)
        Of most stars along both axes and both diagonals, pixels.

    Returns
    -------
    track, single : ndarray of bool, shape (ny, nx)
        Those of tracks, and the others.
    """
    # beside a pixel that is too low any star stands out
    low = dips(light, error, fwhm)
    found = low | standing_out(light, without(error, low), fwhm, NARROWER, SIGNIFICANT)
    if not found.any():
        return found, found
    found = extended(found, light, error, fwhm)
    label, count = ndimage.label(found, BOX)
    long = np.bincount(label.ravel(), minlength=count+1) >= TRACK
    long[0] = False
    track = long[label]
    return grown(track, light, error) if track.any() else track, found & ~track


def dips(light, error, fwhm):
    """Pixels that are lower than all around as nothing between stars is. Parameters and return as `standing_out`."""
    out = np.zeros(light.shape, np.uint8)
    kernel.dips(light, error, SIGNIFICANT, 1-functions.power(fall(1, fwhm.min()), 1/NARROWER**2), out)
    return out > 0


def extended(track, light, error, fwhm):
    """Pixels with those near them that go on: there all that is sharper than most stars is suspect."""
    suspect = standing_out(light, without(error, track), fwhm, 1., SUSPECT)
    for _ in range(LONGEST):
        more = suspect & ndimage.binary_dilation(track, BOX, iterations=2) & ~track
        if not more.any():
            break
        track = track | more
    return track


def grown(track, light, error):
    """Tracks with the pixels beside them that have light of them."""
    rim = beside(track, light, error, DARK)
    for _ in range(GROWTHS):
        more = beside(track, light, error, TYPICAL)
        if not more.any():
            break
        track = track | more
    return track | rim


def beside(track, light, error, quantile):
    """Pixels beside tracks that are fainter than these, and exceed a quantile of the light around."""
    brightest = ndimage.maximum_filter(np.where(track, light, 0), 3)
    out = ~track & (light < brightest) & (light > LEAST_BESIDE*error)
    y, x = np.nonzero(out)
    others = np.where(ndimage.binary_dilation(track, BOX), np.float32(np.nan), light)
    box = np.sort([values(others, y, x, j, i) for j in AROUND for i in AROUND], axis=0)
    # NaN comes last
    box[:, np.isnan(box[0])] = 0
    rank = quantile*(np.count_nonzero(~np.isnan(box), axis=0)-1)
    around = np.take_along_axis(box, rank.astype(int)[None], axis=0)[0]
    out[y, x] = light[y, x]-around > LEAST_BESIDE*error[y, x]+SLOPE*around
    return out


def standing_out(light, error, fwhm, narrower, significant):
    """Pixels that stand out along a line; lines with a masked neighbour, or with one off the image, tell nothing.

    A pixel stands out of both neighbours; where it is the highest of the three, of the lower one, since a star between two pixels
    still falls towards a third, and a track that is two pixels wide does not; or of all four neighbours along both axes.

    Parameters
    ----------
    light, error, fwhm
        As `sharp_pixels`.
    narrower : float
        Width of the narrowest stars over that of most.
    significant : float
        By how many sigma a pixel must stand out.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    out = np.zeros(light.shape, np.uint8)
    # both neighbours are a step away; of a star between two pixels one is half a step and the other one and a half away, which
    # leaves the square of a Gaussian's fall; that of a narrower one is a power of it, too
    beside = functions.power([fall(step, width) for step, width in zip(STEPS, fwhm)], 1/narrower**2)
    beside = np.stack([beside, beside**2], axis=1)
    kernel.standing_out(light, error, LEAST, significant, SHAPE_ERROR, beside, out)
    return out > 0


def without(error, where):
    """Errors that are infinite at some pixels, too."""
    return np.where(where, np.float32(np.inf), error) if where.any() else error


def fall(step, fwhm):
    """Light of a star a step of pixels from its peak, relative to it.

    That of a Gaussian; but of a star narrower than two steps the width is what follows from the light beside it by linear
    interpolation.
    """
    return min(functions.exp(-4*functions.log(2)*(step/fwhm)**2), max(0., 1-step/fwhm) if fwhm < 2*step else 1.)
