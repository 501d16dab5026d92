"""The published classifier of DECam images: a network that tells nebulosity, light, normal sky and errors in windows.

It was trained on images as they come, with their stars. See Saydjari et al. (2023), section 2.
"""
import numpy as np
from scipy.ndimage import gaussian_filter

CLASSES = "nebulosity", "light", "normal", "error"
"""What the network's four probabilities are of."""
BINS = 3000
HARD_WEIGHT = 0.25
"""A window is nebulous when its probability of nebulosity, times this, is the largest."""
STEP = 128
"""Windows overlap in the continuous mode: each starts so many pixels after the last, and sigma of the smoothing is as wide."""
FLOOR = 1e-4
LIGHT_SHARE, BOUNDARY = 0.5, 2.
"""Nebulous is where nebulosity and this share of light come to more than so many times the other classes."""
EIGHTH = 8


def equalised(window):
    """A window's pixels stretched and replaced by their rank: from 0 to 1, each value as frequent as any other.

    Parameters
    ----------
    window : ndarray, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ny, nx), float64
        The cumulative histogram, of 3,000 bins, of asinh((v - min) / median of v - min); 1 where all pixels are alike.
    """
    above = window.astype(np.float64)-window.min()
    scale = np.median(above)
    stretched = np.arcsinh(above/scale) if scale > 0 else above
    count, edges = np.histogram(stretched, BINS)
    return np.interp(stretched, edges[:-1], count.cumsum()/count.sum())


def starts(length, window, step):
    """Where windows along an axis begin: step by step, and one that ends where the axis ends."""
    first = list(range(0, length-window+1, step))
    return first if first[-1] == length-window else [*first, length-window]


def padded(plane, window):
    """A plane with a rim of a pixel, and more after its end where it is smaller than a window, of its median."""
    more = [(1, max(1, w-n-1)) for n, w in zip(plane.shape, window)]
    return np.pad(plane, more, constant_values=np.median(plane))


def windows(plane, network, step):
    """(slices, probabilities) of the windows of a padded plane, which overlap where the step is smaller than they are."""
    (ny, nx), (sy, sx) = network.shape, step
    for y in starts(plane.shape[0], ny, sy):
        for x in starts(plane.shape[1], nx, sx):
            box = np.s_[y:y+ny, x:x+nx]
            yield box, network(equalised(plane[box]))


def hard(plane, network):
    """Classes window by window.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        The image with its stars, finite.
    network : crowdsource.nebulosity.network.Network

    Returns
    -------
    nebulous : ndarray of bool, shape (ny, nx)
    probabilities : ndarray, shape (4, ny, nx), float32
        Those of the pixel's window.
    """
    wide = padded(plane, network.shape)
    probabilities = np.empty((len(CLASSES), *wide.shape), np.float32)
    for box, p in windows(wide, network, network.shape):
        probabilities[:, *box] = p[:, None, None]
    probabilities = _trimmed(probabilities, plane)
    return probabilities[0]*np.float32(HARD_WEIGHT) > probabilities[1:].max(axis=0), probabilities


def continuous(plane, network):
    """Probabilities that change smoothly over the image: means of overlapping windows. Parameters and return as `hard`."""
    wide = padded(plane, network.shape)
    total, weight = np.zeros((len(CLASSES), *wide.shape), np.float32), np.zeros(wide.shape, np.float32)
    for box, p in windows(wide, network, [min(STEP, n) for n in network.shape]):
        # one sure of nebulosity counts for more than those of which it fills a part
        total[:, *box] += (p*(p[0]+FLOOR))[:, None, None]
        weight[box] += p[0]+FLOOR
    means = _trimmed(total/weight, plane)
    p = np.stack([gaussian_filter(one, STEP, truncate=1, mode="nearest") for one in means])
    return p[0]+LIGHT_SHARE*p[1] > BOUNDARY*(p[1]+p[2]+p[3]+FLOOR), p


def _trimmed(planes, plane):
    """Planes without the rim that `padded` added."""
    ny, nx = plane.shape
    return planes[:, 1:ny+1, 1:nx+1]


def shrunk(plane):
    """A plane at an eighth of its scale: means of boxes of 8x8 pixels, of what there is at the far edges.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ceil(ny/8), ceil(nx/8)), float32
    """
    along = [np.arange(0, n, EIGHTH) for n in plane.shape]
    total = np.add.reduceat(np.add.reduceat(plane, along[0], axis=0, dtype=np.float64), along[1], axis=1)
    sides = [np.diff(np.append(a, n)) for a, n in zip(along, plane.shape)]
    return (total/np.outer(*sides)).astype(np.float32)


MODES = {"hard": hard, "continuous": continuous}
