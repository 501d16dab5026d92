"""Trails of satellites and airplanes: peaks on a straight line from one edge of the image to another."""
import numpy as np

from ..core import functions, linear
from ..core.flags import ENGINE
from ..core.noise import share
from ..cython_ext import artifacts as kernel

DENSE = 0.25
"""Peaks of a trail for each FWHM of its length, at least: noise makes peaks of a ridge, the more the brighter it is."""
UNLIKELY = 8.
"""By how many standard deviations the peaks on a line must exceed those that lie there by chance."""
FILLED, CELL = 0.7, 4.
"""Part of the cells along a trail that hold a peak, and their length, FWHM: a line through a few clusters is none."""
SHORTEST = 30.
"""Trails are at least so long, FWHM."""
HALF_WIDTH = 1.5
"""Half width of what is masked, FWHM: a trail is as wide as a star."""
MOST_VOTES = 20_000_000
"""The brightest peaks are taken where all of them along all directions were more than this."""
MOST_TRAILS = 5


def trails(x, y, fwhm, shape):
    """Pixels of trails among peaks.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Peaks, brightest first.
    fwhm : float
        Pixels.
    shape : tuple of int
        (ny, nx).

    Returns
    -------
    ndarray of bool, shape (ny, nx), or None
        None where there is no trail.
    """
    found, rows, columns = None, *np.ogrid[:shape[0], :shape[1]]
    for _ in range(MOST_TRAILS):
        line = best_line(x, y, fwhm, shape)
        if line is None:
            break
        c, s, distance = line
        near = np.abs(columns*c+rows*s-distance) < HALF_WIDTH*fwhm
        found = near if found is None else found | near
        off = np.abs(x*c+y*s-distance) > HALF_WIDTH*fwhm
        x, y = x[off], y[off]
    return found


def best_line(x, y, fwhm, shape):
    """The line with the most peaks, (cos, sin, distance) of its normal; None where they may lie on it by chance."""
    reach = np.hypot(*shape)
    directions = max(8, int(np.pi*reach/fwhm))
    n = min(len(x), MOST_VOTES//directions)
    if n < DENSE*SHORTEST:
        return None
    count, direction, stripe = kernel.most_votes(x[:n], y[:n], reach, fwhm, directions)
    angle = direction*np.pi/directions
    line = functions.cos(angle), functions.sin(angle), (stripe+1)*fwhm-reach
    members = np.abs(x*line[0]+y*line[1]-line[2]) < fwhm
    start, stop = chord(line, shape)
    expected = n*2*fwhm*(stop-start)/(shape[0]*shape[1])
    if count < max(DENSE*max((stop-start)/fwhm, SHORTEST), expected+UNLIKELY*np.sqrt(expected)):
        return None
    along = y[members]*line[0]-x[members]*line[1]
    cells = max(1, int((stop-start)/(CELL*fwhm)))
    held = np.unique(np.clip(((along-start)/(stop-start)*cells).astype(int), 0, cells-1))
    return fitted_line(x[members], y[members]) if len(held) > FILLED*cells else None


def chord(line, shape):
    """Where a line enters and leaves an image, along its direction (-sin, cos), pixels."""
    c, s, distance = line
    ends = []
    for at, step, n in ((distance*c, -s, shape[1]), (distance*s, c, shape[0])):
        if abs(step) > 1e-9:
            ends.append(sorted(((-0.5-at)/step, (n-0.5-at)/step)))
    return max(e[0] for e in ends), min(e[1] for e in ends)


def fitted_line(x, y):
    """The line through points, by their main axis: (cos, sin, distance) of its normal."""
    points = np.stack([x-x.mean(), y-y.mean()])
    c, s = linear.symmetric_modes(linear.products(points, points))[1][:, 0]
    return c, s, x.mean()*c+y.mean()*s


def without_trails(image, peaks, fwhm):
    """An image whose trails are masked, and the peaks that lie on none.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    peaks : crowdsource.engine.detection.Peaks
    fwhm : float
        Pixels.
    """
    where = trails(peaks.x, peaks.y, fwhm, image.shape)
    if where is None:
        return image, peaks
    told = f"{share(int(where.sum()), where.size)} lie on straight lines of peaks: trails, which are masked"
    return image.masked(where, ENGINE.trail).with_finding(told), peaks.subset(~where[peaks.inside(image.shape)])
