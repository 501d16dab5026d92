"""The width that most round peaks of an image agree on, before anything is known of its stars."""
import numpy as np
from scipy import ndimage

from ..core import functions
from ..core.calibration import calibration
from ..core.matched_filter import local_maxima
from ..core.neighbours import pairs
from ..core.pixels import AXES
from ..cython_ext import artifacts as kernel

BRIGHT = 15.
"""Peaks above so many sigma are measured."""
MOST = 4000
"""The brightest peaks beyond this number are left out."""
REACH = 30
"""Largest distance from a peak at which its half height is looked for, pixels."""
ROUND = calibration.width.round
"""Smallest ratio of a star's narrowest width to its widest, along both axes and diagonals."""
ALIKE = calibration.width.alike
"""Widths that differ by less, relative to them, are those of stars."""
NARROWEST = 1.15
"""Stars are wider than this, pixels: a single pixel is 1."""
MANY, STARS = 30, (0.4, 0.1)
"""At least the first part of many round peaks, or the second of fewer, is no wider than stars."""
BOX_WIDTH = np.sqrt(8*functions.log(2)*(9-1)/12)
"""FWHM by which means over 3x3 pixels are wider, in quadrature."""
FEWEST = 3
"""Fewer round peaks tell nothing."""


def width_of_most(light, error, good):
    """FWHM along both axes and both diagonals that most round peaks have, pixels, NaN where there are hardly any; and how many.

    Tracks of cosmic rays are not round, hot pixels are narrower than any star, and blends and galaxies have no width in common.

    Parameters
    ----------
    light : ndarray, shape (ny, nx), float32
        Image less its sky.
    error : ndarray, shape (ny, nx), float32
        Of a pixel; infinite where it is masked.
    good : ndarray of bool, shape (ny, nx)

    Returns
    -------
    width : ndarray, shape (4,)
    number : int
        Peaks that have it.
    """
    found, single = round_widths(light, error, good)
    if found.shape[1] < MANY:
        # stars that are wide and faint
        number = ndimage.uniform_filter(good.astype(np.float32), 3)
        smooth = ndimage.uniform_filter(np.where(good, light, 0), 3)/np.maximum(number, 0.1)
        wide, alone = round_widths(smooth, error/3, good)
        some = wide.min(axis=0) > 2*NARROWEST
        found, single = np.c_[found, np.sqrt(wide[:, some]**2-BOX_WIDTH**2)], np.r_[single, alone[some]]
    mean = found.mean(axis=0)
    if np.count_nonzero(single) < FEWEST:
        return np.full(len(AXES), np.nan), 0
    # a width that is too small misses artefacts, one that is too large takes stars for them
    most = min(most_common(mean), most_common(mean[single]))
    alike = np.abs(functions.log(mean/most)) <= np.abs(functions.log(mean/most)).min()+ALIKE
    return np.median(found[:, alike], axis=1), int(np.count_nonzero(alike))


def most_common(widths):
    """The width that most peaks have, or that of the narrow ones where these are fewer; pixels."""
    return min(functions.exp(half_sample_mode(functions.log(widths))), float(np.quantile(widths, STARS[len(widths) < MANY])))


def round_widths(light, error, good):
    """Widths of round peaks along the lines, pixels, shape (4, n), and which of them are beside no brighter one.

    Parameters as `width_of_most`.
    """
    y, x = local_maxima(light, BRIGHT*float(np.min(error)))
    clear = good[y, x] & (light[y, x] > BRIGHT*error[y, x])
    y, x = y[clear], x[clear]
    order = np.argsort(-light[y, x], kind="stable")[:MOST]
    y, x = y[order], x[order]
    seen = np.where(good, light, np.float32(np.nan))
    widths = np.array([kernel.axis_widths(seen, y, x, *axis, REACH)*np.hypot(*axis) for axis in AXES])
    with np.errstate(invalid="ignore"):
        is_round = (widths.min(axis=0) > ROUND*widths.max(axis=0)) & (widths.min(axis=0) > NARROWEST)
    return widths[:, is_round], ~beside_brighter(y, x, widths.mean(axis=0)/2)[is_round]


def beside_brighter(y, x, reach):
    """Which peaks, brightest first, have a brighter one within their reach: noise makes many on the light of a galaxy."""
    brighter, fainter = pairs(x.astype(np.float64), y.astype(np.float64), REACH).T
    near = np.hypot(x[brighter]-x[fainter], y[brighter]-y[fainter]) < reach[fainter]
    return np.isin(np.arange(len(x)), fainter[near])


def half_sample_mode(values):
    """The mode of a sample: of its halves the one that spans the least is halved again, until two values are left.

    Bickel and Fruehwirth 2006, Comput. Stat. Data Anal. 50, 3500.
    """
    values = np.sort(values)
    while len(values) > 2:
        half = (len(values)+1)//2
        span = values[half-1:]-values[:len(values)-half+1]
        start = int(span.argmin())
        values = values[start:start+half]
    return values.mean()
