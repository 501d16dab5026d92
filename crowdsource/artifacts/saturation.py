"""Saturated stars by their shapes: cores that are flat, or that are empty, whatever level or value they have."""
import numpy as np
from scipy import ndimage

from ..core.calibration import calibration
from ..core.pixels import BOX, values
from ..cython_ext import artifacts as kernel

BRIGHT = calibration.saturation.bright
"""Saturated stars exceed the sky by far more than so many sigma."""
RIM, EMPTY = calibration.saturation.rim, calibration.saturation.empty
"""Pixels around an empty core exceed the sky by so many sigma, and none of it by so many."""
LEAST_EMPTY = 9
"""Fewer pixels are an empty core only where they lie below the sky."""
ENCLOSED = calibration.saturation.enclosed
"""Part of the pixels around an empty core that must do so: cosmic rays may cross it."""
LARGEST_CORE = calibration.saturation.largest_core
"""Largest diameter of an empty core, FWHM, but at least `LEAST_CORE`."""
LEAST_CORE = calibration.saturation.least_core
"""Pixels."""
STEP = 7
"""One in so many pixels along each axis tells the typical error."""
TOP = calibration.saturation.top
"""Flat cores are brighter than this part of the brightest pixel."""
FLAT = calibration.saturation.flat
"""Pixels of a flat core differ by less, relative to its level."""
WINDOW = 60
"""Half side of the box in which a core is looked for first, pixels."""
PART = calibration.saturation.part
"""Pixels connected to a flat core that reach this part of its level belong to it."""
STEEP = calibration.saturation.steep
"""At twice the radius of a flat core the light has fallen below this part of its level; at the top of a galaxy, or of a star that
is not saturated, it has not."""


def empty_cores(light, error, good, fwhm):
    """Pixels without light that bright ones enclose: holes in saturated stars.

    Parameters
    ----------
    light, error : ndarray, shape (ny, nx), float32
        Image less its sky, and the error of each pixel, infinite where it is masked.
    good : ndarray of bool, shape (ny, nx)
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    if not kernel.any_beside(light, error, EMPTY, BRIGHT):
        return np.zeros(light.shape, bool)
    label, count = ndimage.label(good & (light < EMPTY*error))
    sides = np.array([[s.stop-s.start for s in box] for box in ndimage.find_objects(label)]).reshape(count, 2)
    small = np.r_[False, sides.max(axis=1) <= max(LEAST_CORE, LARGEST_CORE*fwhm)]
    y, x = np.nonzero(small[label])
    core = label[y, x].astype(np.int64)
    # between undersampled stars single pixels are dark, but not below the sky
    light_there = np.bincount(core, light[y, x] >= -EMPTY*error[y, x], minlength=count+1) > 0
    small &= (np.bincount(core, minlength=count+1) >= LEAST_EMPTY) | ~light_there
    y, x, core = (v[small[core]] for v in (y, x, core))
    enclosed = _bright_rims(light, error, good, label, y, x, core, count) > ENCLOSED
    return (small & enclosed)[label]


def _bright_rims(light, error, good, label, y, x, core, count):
    """Part of the good pixels around each core that are bright, of numbers from 0 to `count`; 0 of those that have none.

    The cores are given by their pixels and the number of each.
    """
    (ny, nx), around = light.shape, []
    for down, right in np.argwhere(BOX)-1:
        j, i = y+down, x+right
        on = (j >= 0) & (j < ny) & (i >= 0) & (i < nx)
        j, i, of = j[on], i[on], core[on]
        beside = good[j, i] & (label[j, i] != of)
        around.append((of*light.size+j*nx+i)[beside])
    # a pixel is beside several of a core
    of, place = np.divmod(np.unique(np.concatenate(around)), light.size)
    bright = light.ravel()[place] > RIM*error.ravel()[place]
    number = np.bincount(of, minlength=count+1)
    return np.bincount(of, bright, minlength=count+1)/np.maximum(number, 1)


def flat_cores(light, error, good, fwhm):
    """Pixels of flat cores. Parameters and return as `empty_cores`."""
    out = np.zeros(light.shape, bool)
    sample = error[::STEP, ::STEP][good[::STEP, ::STEP]]
    noise = float(np.median(sample if len(sample) else error[good])) if good.any() else np.inf
    least = max(TOP*float(np.where(good, light, 0).max()), BRIGHT*noise)
    y, x = np.nonzero(good & (light > least))
    half = max(1, round(fwhm/4))
    steps = [(j, i) for j in range(-half, half+1) for i in range(-half, half+1)]
    low = high = light[y, x]
    for step in steps:
        low, high = np.minimum(low, values(light, y, x, *step)), np.maximum(high, values(light, y, x, *step))
    flat = high-low < FLAT*high
    y, x = y[flat], x[flat]
    done = np.zeros(light.shape, bool)
    for k in np.argsort(-light[y, x], kind="stable"):
        if not done[y[k], x[k]]:
            box, core = core_around(light, y[k], x[k])
            done[box] |= core
            out[box] |= core & steep(light, box, core, light[y[k], x[k]])
    return out


def core_around(light, y, x):
    """Pixels connected to one that reach `PART` of its light, as a box of the image and a boolean array of that."""
    ny, nx = light.shape
    for half in (WINDOW, max(ny, nx)):
        box = np.s_[max(0, y-half):y+half+1, max(0, x-half):x+half+1]
        label, _ = ndimage.label(light[box] >= PART*light[y, x])
        core = label == label[y-box[0].start, x-box[1].start]
        rows, columns = core.any(axis=1), core.any(axis=0)
        if not (rows[0] or rows[-1] or columns[0] or columns[-1]):
            break
    return box, core


def steep(light, box, core, level):
    """Whether the light around a core falls as that of a saturated star."""
    reach = max(1, round(np.sqrt(core.sum()/np.pi)))
    wide = tuple(slice(max(0, s.start-reach-1), min(n, s.stop+reach+1)) for s, n in zip(box, light.shape))
    inside = np.zeros(light[wide].shape, bool)
    inside[tuple(slice(s.start-w.start, s.start-w.start+n) for s, w, n in zip(box, wide, core.shape))] = core
    distance = ndimage.distance_transform_edt(~inside)
    ring = (distance > reach-0.5) & (distance <= reach+0.5)
    return bool(ring.any()) and float(np.median(light[wide][ring])) < STEEP*level
