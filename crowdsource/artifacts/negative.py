"""Negative light: ghosts of stars that another amplifier reads, and stars of another image that were subtracted."""
import numpy as np
from scipy import ndimage

from ..core.pixels import BOX

DEEP, LEAST_DEEP = 5., 5
"""In so many connected pixels, at least, the light is below the sky by so many sigma."""
BELOW = 1.
"""Means of 3x3 pixels that are below the sky by so many sigma of a pixel, connected to these, belong to them."""
AROUND = 3
"""So far around is no bright light, pixels."""
LARGEST = 64
"""Largest diameter, pixels: what is larger may be a sky that is too high."""


def negative_light(light, error, good):
    """Pixels of compact light that is negative, where the sky is a dark one.

    Parameters
    ----------
    light, error : ndarray, shape (ny, nx), float32
        Image less its sky, and the error of each pixel, infinite where it is masked.
    good : ndarray of bool, shape (ny, nx)

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    out = np.zeros(light.shape, bool)
    deep = good & (light < -DEEP*error)
    if np.count_nonzero(deep) < LEAST_DEEP:
        return out
    relative = np.divide(light, error, out=np.zeros_like(light), where=good)
    label, count = ndimage.label(ndimage.uniform_filter(relative, 3) < -BELOW, BOX)
    number = np.bincount(label[deep], minlength=count+1)
    for k, box in enumerate(ndimage.find_objects(label), 1):
        if number[k] < LEAST_DEEP or max(s.stop-s.start for s in box) > LARGEST:
            continue
        wide = tuple(slice(max(0, s.start-AROUND), s.stop+AROUND) for s in box)
        blob = label[wide] == k
        rim = ndimage.binary_dilation(blob, BOX, AROUND) & ~blob & good[wide]
        # a dark core of a bright star, or a gap between such stars, is none
        if rim.any() and np.median(relative[wide][rim]) < DEEP:
            out[wide] |= blob
    return ndimage.binary_dilation(out, BOX) & good if out.any() else out
