"""What is sharper than stars can be: cosmic rays, hot and dead pixels, bad columns.

The light of a star falls from a pixel to its neighbours no faster than that of the narrowest star in the middle of a pixel, along
any line through it. A pixel that stands out more than that along one of four lines is no star's, whatever lies around: light of
other stars only makes the fall shallower. (L.A.Cosmic, van Dokkum 2001, PASP 113, 1420, asks for sharpness in all directions
together; along lines a track of any length is as sharp as a single pixel.)
"""
import numpy as np
from scipy import ndimage

from ..cython_ext import artifacts as kernel

NARROWER = 0.78
"""Stars of an image may be narrower than most by this factor."""
SIGNIFICANT = 6.
"""By how many sigma a pixel must stand out."""
LEAST, LEAST_BESIDE = 10., 3.
"""Significance of such a pixel, and of one beside the pixels of a track that is no brighter than these."""
SHAPE_ERROR = 0.02
"""Relative error of the light of the narrowest stars beside their peaks."""
TRACK = 3
"""So many connected pixels are a track, which may be wider than what stands out; fewer are hot pixels."""
GROWTHS = 2
"""Pixels to which a track may extend on each side."""
BOX = np.ones((3, 3))


def sharp_pixels(light, error, fwhm):
    """Pixels that stand out, or fall below the sky, as no star does.

    Parameters
    ----------
    light : ndarray, shape (ny, nx), float32
        Image less its sky.
    error : ndarray, shape (ny, nx), float32
        Of a pixel; infinite where it is masked.
    fwhm : float
        Of most stars, pixels.

    Returns
    -------
    track, single : ndarray of bool, shape (ny, nx)
        Those of tracks, and the others.
    """
    found = standing_out(light, error, fwhm)
    if not found.any():
        return found, found
    label, count = ndimage.label(found, BOX)
    long = np.bincount(label.ravel(), minlength=count+1) >= TRACK
    long[0] = False
    track = long[label]
    return grown(track, light, error), found & ~track


def grown(track, light, error):
    """Tracks with the pixels beside them that have light of them."""
    for _ in range(GROWTHS if track.any() else 0):
        brightest = ndimage.maximum_filter(np.where(track, light, 0), 3)
        track = track | ((light < brightest) & (light > LEAST_BESIDE*error))
    return track


def standing_out(light, error, fwhm):
    """Pixels that stand out along a line; lines with a masked neighbour, or with one off the image, tell nothing.

    A pixel stands out of both neighbours, or, where it is the highest of the three, of the lower one: a star between two pixels
    still falls towards a third, and a track that is two pixels wide does not.

    Parameters and return as `sharp_pixels`.
    """
    out = np.zeros(light.shape, np.uint8)
    # on the line of neighbours, a step or, for a star between two pixels, from half a step to one and a half
    beside = np.array([[fall(step, fwhm), fall(np.sqrt(2)*step, fwhm)] for step in (1, np.sqrt(2))])
    for sign in (1, -1):
        kernel.standing_out(light, error, sign, LEAST, SIGNIFICANT, SHAPE_ERROR, beside, out)
    return out > 0


def fall(distance, fwhm):
    """Light of the narrowest stars so many pixels from their peak, relative to it: that of a Gaussian."""
    return np.exp(-4*np.log(2)*(distance/(NARROWER*fwhm))**2)
