"""Flags of pixels: saturated plateaus, bits that exclude pixels, and bits that lie on stars."""
import logging

import numpy as np
from scipy import ndimage

from crowdsource.core.flags import ENGINE

log = logging.getLogger(__name__)
GROW = 2
"""Radius around saturated pixels in which pixels count as saturated too: charge spills, and neighbours are not linear."""
CLIPPED = 3
"""Least number of pixels at exactly the image's maximum, two of them adjacent, that make a saturated plateau."""
FAR_ABOVE, MANY_COUNTS = 20., 1000.
"""A plateau lies at least this many times the scatter of pixels above the median, and at least this far above it where values are
whole numbers: the brightest pixels of a faint image have equal counts by chance."""
PEAK, BRIGHTEST_LEFT_OUT = 10., 0.8
"""Stars by which flags are judged exceed the background by so many times its scatter and are below this quantile of them."""
BESIDE = 0.1
"""The pixels beside the peak of a star, two along each axis, exceed the background by at least this part of it on average; hot
pixels and bad columns do not."""
FEWEST_PEAKS, MOSTLY = 20, 0.5
"""Flags are judged by so many stars at least, and doubted where they lie on more than this part of them."""
NEARLY_ALL = 0.9
"""Of all pixels: a bit of unknown meaning that lies on more of them says that pixels are good."""


def plateau(data):
    """The level at which an image is clipped, by its own pixels; inf where it is not clipped.

    Headers often lack the level, or have that of the analog-to-digital converter, which bias and flat field have changed.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
    """
    values = data.ravel()
    if data.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        values = values[finite]
    if not len(values):
        return np.inf
    top = data == values.max()
    if top.sum() < CLIPPED or not ((top[1:] & top[:-1]).any() or (top[:, 1:] & top[:, :-1]).any()):
        return np.inf
    # the scatter of one pixel in 17 is as good
    low, middle, high = np.quantile(values[::17], [0.16, 0.5, 0.84])
    top_value = float(values.max())
    above = top_value-middle
    if above <= FAR_ABOVE*max((high-low)/2, 1e-30) or (top_value.is_integer() and above < MANY_COUNTS):
        return np.inf
    log.info("the image is clipped at %g: %d pixels are saturated", top_value, top.sum())
    return top_value


def masks(data, dq, bits, saturation, o):
    """Pixels not to be used, and the engine's bits.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
    dq : ndarray of uint32, shape (ny, nx), or None
    bits : crowdsource.instruments.formats.base.MaskBits
    saturation : float
        Level, image units.
    o : mapping
        The options ``nodeblend_bits`` and ``sharp_bits``.

    Returns
    -------
    bad : ndarray of bool, shape (ny, nx)
    mask : ndarray of uint16, shape (ny, nx)
    """
    mask = np.zeros(data.shape, np.uint16)
    bad = np.zeros(data.shape, bool)
    if dq is not None:
        bad |= dq & np.uint32(bits.forbids) > 0
        # a pixel that was saturated in a part of its exposure may be a good one
        mask[bad & (dq & np.uint32(bits.saturated) > 0)] |= ENGINE.saturated
        for asked, bit in ((o["nodeblend_bits"], ENGINE.nodeblend), (o["sharp_bits"], ENGINE.sharp)):
            if asked:
                mask[dq & np.uint32(asked) > 0] |= bit
    saturated = grown(data >= saturation, GROW)
    mask[saturated] |= ENGINE.saturated
    return bad | saturated, mask


def judged(dq, data, bits, asked=None, drop=False):
    """Bits that exclude a pixel, after a look at where they lie: on most stars they may say that there is a star.

    Parameters
    ----------
    dq : ndarray of uint32, shape (ny, nx), or None
    data : ndarray, shape (ny, nx), float32
    bits : crowdsource.instruments.formats.base.MaskBits
    asked : int, optional
        What a user says that excludes a pixel.
    drop : bool
        Bits that are doubted exclude no pixel: nobody has said that they should.

    Returns
    -------
    forbids : int
    findings : tuple of str
    """
    forbids = bits.forbids if asked is None else asked
    here = 0 if dq is None else int(np.bitwise_or.reduce(dq, axis=None)) & forbids
    if not here:
        return forbids, ()
    peaks = bright_peaks(data)
    found, told, out = dq[peaks], [], []
    for bit in (b for b in range(32) if here >> b & 1):
        value = np.uint32(1 << bit)
        on_peaks, everywhere = (found & value > 0).mean() if len(found) else 0., float((dq & value > 0).mean())
        name = f"bit {bit}"+f" ({bits.names(1 << bit)})"*bits.known
        told.append(f"{name} {100*everywhere:.2g} % of all, {100*on_peaks:.2g} % of the peaks of {len(found)} stars")
        on_stars = len(found) >= FEWEST_PEAKS and on_peaks > max(MOSTLY, 2*everywhere)
        if on_stars or (drop and everywhere > NEARLY_ALL):
            remedy = "it is left out; `bad_bits` says otherwise" if drop else (
                "where it does not mean that a pixel is bad, leave it out (`bad_bits`)")
            does = "would exclude" if drop else "excludes"
            out.append(f"{name} of the flags {does} {100*on_peaks:.0f} % of the peaks of stars and "
                       f"{100*everywhere:.1f} % of all pixels: {remedy}")
            forbids &= ~int(value) if drop else -1
    log.info("flags exclude pixels: %s", "; ".join(told))
    return forbids, tuple(out)


def bright_peaks(data):
    """Pixels (y, x) that are the brightest around as stars are, well above the background.

    They are not among the very brightest: those saturate.
    """
    values = data[np.isfinite(data)][::17]
    if not len(values):
        return np.empty(0, int), np.empty(0, int)
    low, level = np.quantile(values, [0.16, 0.5])
    filled = np.where(np.isfinite(data), data, -np.inf)
    top = (filled == ndimage.maximum_filter(filled, 5)) & (filled > level+PEAK*max(level-low, 1e-30))
    y, x = np.nonzero(top)
    beside = np.min([(filled[np.clip(y-j, 0, None), np.clip(x-i, 0, None)]
                      + filled[np.clip(y+j, None, len(data)-1), np.clip(x+i, None, data.shape[1]-1)])/2
                     for j, i in ((0, 1), (1, 0))], axis=0)
    stars = beside-level >= BESIDE*(data[y, x]-level)
    y, x = y[stars], x[stars]
    keep = data[y, x] < np.quantile(data[y, x], BRIGHTEST_LEFT_OUT) if len(y) else np.empty(0, bool)
    return y[keep], x[keep]


def grown(where, radius):
    """A boolean plane in which all pixels within a radius, in pixels, of a true one are true."""
    y, x = np.divmod(np.flatnonzero(where), where.shape[1])
    if not len(y):
        return where
    out = np.zeros(where.shape, bool)
    steps = range(-radius, radius+1)
    for dy in steps:
        for dx in steps:
            if dx*dx+dy*dy <= radius*radius:
                out[np.clip(y+dy, 0, where.shape[0]-1), np.clip(x+dx, 0, where.shape[1]-1)] = True
    return out
