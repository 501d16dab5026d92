"""Noise of an image that comes without a noise map: that of the background, and of the photons of sources.

The background's noise is measured on second differences, in which star light that varies smoothly cancels. Only pixels whose
surroundings are in the darker half of their block are used: in a crowded field the scatter of all pixels is that of the stars.
The mean of the surroundings and the difference are uncorrelated where noise is white, so that this choice does not bias it.
"""
import numpy as np

from . import linear
from .calibration import calibration
from .errors import InputError

BLOCK = calibration.noise.block
"""Side of the blocks in which background and noise are measured, pixels."""
SMOOTH, RING = calibration.noise.smooth, calibration.noise.ring
"""Sides of the boxes whose mean says how dark a pixel's surroundings are, and how much light falls on a pixel."""
ENOUGH = 25
"""Least number of differences in the darker half of a block; with fewer, all of the block are used."""
MAD_TO_SIGMA = 1.4826
"""Standard deviation over median absolute deviation of a normal distribution."""
SIGNIFICANT = calibration.noise.significant
"""Light above the background brings photon noise where it is more than this many sigma."""
WIDEST = 4.
"""A block's noise is within this factor of the image's typical one."""
LARGEST_RATIO = 1e12
"""Largest ratio of a pixel's weight to the typical weight, and of the typical weight to a pixel's."""
SMALLEST = 1e-36
"""Smallest variance that float32 still holds together with its inverse."""
NO_WEIGHT, WEIGHTY, MANY = 1e-6, 0.99, 100
"""Pixels of less than this share of a high quantile of the weights have no data, if there are this many: errors of 1e9 say so in
many files. The quantile is not the largest weight, which a few pixels may have by mistake."""
ENOUGH_WEIGHTS = 1_000_000
"""Of so many pixels the quantile is that of all."""


def without_marks(values, used, name, harmless=()):
    """Set to 0, in place, the values of a noise map that no noise has: they mark bad pixels.

    Parameters
    ----------
    values : ndarray, shape (ny, nx), float32
        The map; 0 at pixels that are not used.
    used : ndarray of bool, shape (ny, nx)
        Pixels that count.
    name : str
        What the map holds, for messages.
    harmless : sequence of str
        "0" and "infinite" where these mark bad pixels and are never too many, as in a map of errors: they are a usual way to say
        that there are no data, as NaN is in any map.

    Returns
    -------
    tuple of str
        A sentence with the number of pixels of each kind; empty when there are none.

    Raises
    ------
    InputError
        When more than half of the pixels that count are negative or infinite.
    """
    # both are NaN when any is
    least, most = values.min(initial=np.inf), values.max(initial=-np.inf)
    if least >= 0 and most < np.inf and "0" not in harmless:
        return ()
    kinds = {"NaN": np.isnan(values), "negative": values < 0, "infinite": values == np.inf}
    if "0" in harmless:
        kinds["0"] = values == 0
    numbers = {kind: int((where & used).sum()) for kind, where in kinds.items()}
    for kind in ("negative", "infinite"):
        if kind not in harmless and numbers[kind] > used.sum()/2:
            reason = "a variance of 0 cannot be right" if kind == "infinite" else "check that this is the right map"
            raise InputError(f"the {name} is {kind} on {share(numbers[kind], int(used.sum()))} of those that have data: "
                             f"{reason}; set it to 0 where a pixel must not be used")
    for where in kinds.values():
        values[where] = 0
    said = [f"{kind} on {share(n, values.size)}" for kind, n in numbers.items() if n]
    return (f"the {name} is {', '.join(said)}: they do not count",) if said else ()


def weightless(weight):
    """Which pixels have so little weight beside others, but not 0, that they hold no data; a boolean plane, all false for few.

    Parameters
    ----------
    weight : ndarray, shape (ny, nx), float32
        Not negative and finite.
    """
    step = max(1, int(np.sqrt(weight.size/ENOUGH_WEIGHTS)))
    for sample in (weight[::step, ::step], weight):
        positive = sample[sample > 0]
        if len(positive):
            high = np.partition(positive, place := int(WEIGHTY*(len(positive)-1)))[place]
            weak = (weight > 0) & (weight < NO_WEIGHT*high)
            if weak.sum() >= MANY:
                return weak
            break
    return np.zeros(weight.shape, bool)


def share(number, total):
    """A number of pixels in words, with their share of all."""
    percent = 100*number/total
    return f"{number:,} pixel{'s'*(number != 1)} ({'less than 0.1' if percent < 0.05 else f'{percent:.1f}'} %)"


def estimate_ivar(data, gain=np.nan, readnoise=None):
    """Inverse variance from the image alone.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        Pixel values; NaN where there is none.
    gain : float
        Electrons per unit; NaN when not known: light then adds no photon noise.
    readnoise : float, optional
        Electrons; with the gain it gives the least noise of a pixel.

    Returns
    -------
    ndarray, shape (ny, nx), float32
        Positive and finite where the data are finite, 0 elsewhere.
    """
    data = np.asarray(data, dtype=np.float32)
    level, sigma = background(data, least_noise(data, gain, readnoise))
    variance = sigma**2+photon_variance(data, level, sigma, gain)
    return np.where(np.isfinite(data), 1/np.clip(variance, SMALLEST, 1/SMALLEST), 0).astype(np.float32)


def scaled_weight(data, weight, gain=np.nan, readnoise=None, shared=1.):
    """Inverse variance from a map of relative weights of the background.

    The scale is the median over the image of the measured background noise; photon noise of what lies on the background
    is added where the gain is known.

    Parameters
    ----------
    data, weight : ndarray, shape (ny, nx)
        Pixel values; weights in any unit, 0 for pixels not to be used.
    gain, readnoise : float
        As `estimate_ivar`.
    shared : float
        By how much the noise of a star exceeds what differences of pixels tell, where neighbours share noise.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    weight = np.asarray(weight, dtype=np.float32)
    data = np.where(weight > 0, data, np.nan).astype(np.float32)
    use = np.isfinite(data)
    if not use.any():
        return np.zeros(data.shape, np.float32)
    # noise is measured on data that the weights have brought to the same noise everywhere
    with np.errstate(over="ignore"):
        relative = weight/float(np.median(weight[use].astype(np.float64)))
    root = np.sqrt(np.clip(relative, np.float32(1/LARGEST_RATIO), np.float32(LARGEST_RATIO)))
    floor = least_noise(data, gain, readnoise)
    _, even = background((data-np.median(data[use]))*root, floor)
    level, sigma = background(data, floor)
    variance = (shared*float(np.median(even[use]))/np.where(use, root, 1))**2
    variance = variance+photon_variance(data, level, sigma, gain)
    return np.where(use, 1/np.clip(variance, SMALLEST, 1/SMALLEST), 0).astype(np.float32)


def least_noise(data, gain=np.nan, readnoise=None):
    """Lower bound of a pixel's noise: read noise, rounding to whole numbers, or the precision of float32.

    Returns
    -------
    float
        Image units.
    """
    values = data[np.isfinite(data)]
    if not len(values):
        return 1.
    least = 1e-6*float(np.abs(values).max()) or 1.
    # one value in a hundred shows whether they are whole numbers
    if (values[::101] == np.round(values[::101])).all() and np.ptp(values) > 0:
        least = max(least, 12**-0.5)
    if readnoise and np.isfinite(gain) and gain > 0:
        least = max(least, readnoise/gain)
    return least


def photon_variance(data, level, sigma, gain):
    """Variance of the photons of light above the background: its smoothed excess over the gain, where it is significant.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
        NaN where there is none.
    level, sigma : ndarray, shape (ny, nx)
        Background and its noise.
    gain : float
        Electrons per unit.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    if not (np.isfinite(gain) and gain > 0):
        return np.zeros(data.shape, np.float32)
    # without the pixel itself: if its own noise set its weight, low pixels would weigh more and bias every flux
    around, number = _mean(data, RING, middle=False)
    excess = around-level
    significant = excess > SIGNIFICANT*sigma/np.sqrt(np.maximum(number, 1))
    return np.where(significant & (number > 0), excess/np.float32(gain), 0).astype(np.float32)


def background(data, least):
    """Level and noise of the background.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
        NaN where there is none.
    least : float
        Least noise.

    Returns
    -------
    level, sigma : ndarray, shape (ny, nx), float32
        The level is that of the darker half of each block; both vary smoothly from block to block.
    """
    ny, nx = data.shape
    around, number = _mean(data, SMOOTH)
    around[number == 0] = np.nan
    difference = np.full(data.shape, np.nan, np.float32)
    if min(ny, nx) >= 3:
        difference[1:-1, 1:-1] = second_difference(data)
    edges = [np.linspace(0, n, max(1, round(n/BLOCK))+1).astype(int) for n in (ny, nx)]
    blocks = np.array([[_block(around[y0:y1, x0:x1], difference[y0:y1, x0:x1]) for x0, x1 in zip(edges[1][:-1], edges[1][1:])]
                       for y0, y1 in zip(edges[0][:-1], edges[0][1:])])
    level, sigma = blocks[..., 0], blocks[..., 1]
    typical = np.median(sigma[sigma > least]) if (sigma > least).any() else _scatter(data)
    typical = max(typical, least)
    # a block without sky gets the image's noise, and the others are kept near it
    sigma = np.clip(np.where(np.isfinite(sigma), sigma, typical), max(typical/WIDEST, least), typical*WIDEST)
    fill = np.nanmedian(level) if np.isfinite(level).any() else 0.
    return tuple(_interpolated(np.where(np.isfinite(b), b, fill), data.shape) for b in (level, sigma))


def _block(around, difference):
    """Level and noise of one block; NaN where it has too few pixels. The noise may be 0."""
    known = np.isfinite(around)
    if not known.any():
        return np.nan, np.nan
    faint = known & (around <= np.median(around[known]))
    level = np.median(around[faint])
    chosen = difference[faint & np.isfinite(difference)]
    if len(chosen) < ENOUGH:
        chosen = difference[np.isfinite(difference)]
    return level, MAD_TO_SIGMA*np.median(np.abs(chosen)) if len(chosen) >= 3 else np.nan


def second_difference(data):
    """Mixed second difference of pixels off the rim: its noise is that of a pixel, it is 0 for a plane, and NaN next to NaN."""
    along = data[:, :-2]-2*data[:, 1:-1]+data[:, 2:]
    return (along[:-2]-2*along[1:-1]+along[2:])/6


def _mean(data, size, middle=True):
    """Mean of the finite pixels in a box around each pixel, with or without the pixel itself, and their number."""
    from scipy import ndimage  # a third of a second to import, and images with a noise map do without
    there = np.isfinite(data)
    parts = there.astype(np.float32), np.where(there, data, 0).astype(np.float32)
    number, total = (ndimage.uniform_filter(p, size, mode="constant")*size**2-(0 if middle else p) for p in parts)
    number = np.round(number)
    return total/np.maximum(number, 1), number


def _scatter(data):
    """Robust scatter of an image in which no differences can be taken; the standard deviation where it is 0."""
    values = data[np.isfinite(data)]
    spread = MAD_TO_SIGMA*np.median(np.abs(values-np.median(values))) if len(values) else 0.
    return spread if spread > 0 else float(np.std(values)) if len(values) else 0.


def _interpolated(blocks, shape):
    """Bilinear interpolation of block values to pixels, constant outside the outer centres."""
    from scipy import ndimage
    if blocks.size == 1:
        return np.full(shape, blocks[0, 0], np.float32)
    smooth = ndimage.median_filter(blocks, 3, mode="nearest")
    at = [np.clip((np.arange(n)+0.5)*b/n-0.5, 0, b-1) for n, b in zip(shape, blocks.shape)]
    weights = [np.maximum(0, 1-np.abs(a[:, None]-np.arange(b)[None, :])) for a, b in zip(at, blocks.shape)]
    return linear.matmul(linear.matmul(weights[0], smooth), weights[1].T).astype(np.float32)


SAMPLES, SAMPLE = 3, 128
"""Squares along each axis, and their side in pixels, on which a noise map is compared with the image."""


def scatter_in_units_of(noises, values, data):
    """Scatter of an image's background in units of its noise, for each meaning of a map a number; NaN where too few pixels tell.

    It is measured as that of images without a noise map, on squares spread over the image.

    Parameters
    ----------
    noises : sequence of callable
        Each gives one sigma of pixels from values of the map; 0 or not finite for pixels that do not count.
    values : ndarray, shape (ny, nx)
        The map.
    data : ndarray, shape (ny, nx), float32
    """
    found = [[] for _ in noises]
    for box in sample_boxes(data.shape):
        part = np.where(np.isfinite(data[box]), data[box], np.float32(np.nan)).astype(np.float32)
        around, number = _mean(part, SMOOTH)
        dark = number > 0
        if not dark.any():
            continue
        dark[dark] = around[dark] <= np.median(around[dark])
        inner = np.s_[1:-1, 1:-1]
        difference, dark = second_difference(part), dark[inner]
        for chi, noise in zip(found, noises):
            sigma = np.asarray(noise(values[box][inner]), np.float64)
            use = dark & np.isfinite(difference) & np.isfinite(sigma) & (sigma > 0)
            chi.append(np.abs(difference[use])/sigma[use])
    return [MAD_TO_SIGMA*float(np.median(np.concatenate(v))) if sum(map(len, v)) >= ENOUGH else np.nan for v in found]


def sample_boxes(shape):
    """Slices of squares spread over an image."""
    starts = [np.unique(np.linspace(0, max(0, n-SAMPLE), SAMPLES).astype(int)) for n in shape]
    return [np.s_[y:y+SAMPLE, x:x+SAMPLE] for y in starts[0] for x in starts[1] if min(shape) >= 3]
