"""Pixels without data: outside of a footprint, in gaps between chips and in stuck rows, where an image holds one exact value.

A value counts as no data where it fills an area and the surroundings do not lead over to it. Skies without noise, counts of few
photons and images clipped at zero hold one value on large areas too: there pixels of other values are specks in it, or differ
from it by the smallest step that the image knows, or have no noise themselves. All of these are data.
"""
import numpy as np

from .noise import second_difference
from .tiles import bands

AREA = 100
"""Least number of connected pixels of one value."""
STARTS = 20
"""Least number of runs of nine equal pixels along rows or columns in such an area; by chance they are rarer unless noise is less
than 1.5 steps of whole numbers."""
VALUES = 10
"""So many values at most are looked at, the most frequent ones."""
ABOVE, TOP, STARLIGHT = 5., 0.9, 0.25
"""A plateau so many times the scatter of pixels above their median is a saturated star's, or its spilt charge's, where it lies in
the uppermost tenth of the image's range, or where the light around it reaches a quarter of its height."""
REACH, SPECKS = 5, 0.5
"""The value is data where more than this share of the other pixels within this many pixels of it are right beside it."""
STEPS, SCATTER = 2., 0.2
"""The value is data where the pixels right beside it differ from it by this many smallest steps of the image, or by this part of
the scatter of the pixels around, or less."""
SMOOTH = 0.5
"""Pixels have no noise where their second differences are less than this times the first; those of white noise are 4 times."""


def constant(data, used):
    """Where an image holds no data but one exact value.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
    used : ndarray of bool, shape (ny, nx)
        Pixels that count; the others neither are found nor tell of those around them.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    found = np.zeros(data.shape, bool)
    for value in _repeated(data, used):
        held = used & (data == value)
        areas = _areas(held)
        if areas is not None and _is_gap(data, value, areas, held, used & ~held):
            found |= areas
    return found


def _repeated(data, used):
    """The values of which there are many runs of nine equal pixels, the most frequent first."""
    values = []
    for rows in bands(len(data)):
        for part, here in ((data[rows], used[rows]), (data[rows].T, used[rows].T)):
            same = part[1:] == part[:-1]
            # most images have no equal neighbours, and few have longer runs of them
            for step in (1, 2, 4):
                if not same.any():
                    break
                same = same[step:] & same[:-step]
            else:
                values.append(part[:len(same)][same & here[:len(same)]])
    values, counts = np.unique(np.concatenate([np.zeros(0, data.dtype), *values]), return_counts=True)
    return values[np.argsort(-counts, kind="stable")][:(counts >= STARTS).sum()][:VALUES]


def _areas(held):
    """The large areas of connected pixels, a boolean plane; None when there are none."""
    from scipy import ndimage  # a third of a second to import, and most images have no areas
    label, _ = ndimage.label(held)
    large = np.bincount(label.ravel()) >= AREA
    large[0] = False
    return large[label] if large.any() else None


def _is_gap(data, value, areas, held, others):
    """Whether areas of one value are cut out of the image, and no part of it.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
    value : float
    areas, held, others : ndarray of bool, shape (ny, nx)
        The areas, all pixels of the value, and those of other values that are used.
    """
    from scipy import ndimage
    if others.sum() < AREA or not _noisy(data, others):
        return False
    rim = data[_beside(areas) & others]
    if not len(rim):
        return True
    if _is_starlight(value, rim, data[others]):
        return False
    near = ndimage.maximum_filter(areas, 2*REACH+1) & others
    low, high = np.quantile(_some(data[near]), [0.16, 0.84])
    specks, jump = (near & _beside(held)).sum()/near.sum(), np.median(np.abs(rim-value))
    return bool(specks <= SPECKS and jump > max(STEPS*_step(data, others), SCATTER*(high-low)/2))


def _is_starlight(value, rim, others):
    """Whether a value is that of saturated stars, from the pixels right beside it and all that have others."""
    low, middle, high = np.quantile(_some(others), [0.16, 0.5, 0.84])
    height, top = float(value)-middle, max(float(others.max()), float(value))-middle
    return height > ABOVE*(high-low)/2 and (height > TOP*top or np.median(rim)-middle > STARLIGHT*height)


def _beside(plane):
    """Which pixels are right above, below, left or right of a true one."""
    out = np.zeros(plane.shape, bool)
    out[1:] |= plane[:-1]
    out[:-1] |= plane[1:]
    out[:, 1:] |= plane[:, :-1]
    out[:, :-1] |= plane[:, 1:]
    return out


def _step(data, others):
    """The smallest difference of neighbours that is not 0: the step of whole numbers, next to nothing in other images."""
    steps = np.abs(np.diff(data, axis=1))[others[:, 1:] & others[:, :-1]]
    return steps.min(where=steps > 0, initial=np.inf) if (steps > 0).any() else 0.


def _noisy(data, others):
    """Whether pixels have noise: differences of smooth light get smaller the more of them are taken."""
    plane = np.where(others, data, np.float32(np.nan))
    first, second = np.diff(plane, axis=1), second_difference(plane)
    first, second = (np.median(np.abs(_some(d[np.isfinite(d)]))) if np.isfinite(d).any() else np.inf for d in (first, second))
    return bool(6*second > SMOOTH*first)


def _some(values):
    """At most some 100,000 of the values, whose median is as good."""
    return values[::max(1, len(values)//100_000)]
