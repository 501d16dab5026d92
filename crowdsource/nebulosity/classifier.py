"""The published classifiers: networks that tell nebulosity, light, normal sky and perhaps errors in windows.

They were trained on images as they come, with their stars: one of four classes for DECam (Saydjari et al. 2023, section 2), one
of three for unWISE coadds (Schlafly et al. 2019).
"""
import numpy as np
from scipy.ndimage import gaussian_filter

from .detector import boxed

ORDERS = {4: (0, 1, 2, 3), 3: (2, 0, 1)}
"""Places of nebulosity, light, normal and error, the order here and in outputs, among the outputs of a network by their number:
that of three, which knows no errors, gives light, normal, nebulosity."""
BINS = 3000
LOW, LOWER = 0.3, 0.1
"""Quantiles whose difference is a scale below most stars' light."""
FLOOR = 1e-4
LIGHT_SHARE, BOUNDARY = 0.5, 2.
"""Nebulous is where nebulosity and this share of light come to more than so many times the other classes."""
EIGHTH = 8


def equalised(window, stretch=0.):
    """A window's pixels stretched and replaced by their rank: from 0 to 1, each value as frequent as any other.

    Parameters
    ----------
    window : ndarray, shape (ny, nx)
    stretch : float
        As `NebulosityConfig.stretch`.

    Returns
    -------
    ndarray, shape (ny, nx), float64
        The cumulative histogram, of 3,000 bins, of asinh((v - zero) / scale); 1 where all pixels are alike.
    """
    window = window.astype(np.float64)
    if stretch > 0:
        low, lower = np.quantile(window, (LOW, LOWER))
        above, scale = window-np.median(window), max(low-lower, stretch)
    else:
        above = window-window.min()
        scale = np.median(above)
    stretched = np.arcsinh(above/scale) if scale > 0 else above
    count, edges = np.histogram(stretched, BINS)
    return np.interp(stretched, edges[:-1], count.cumsum()/count.sum())


def starts(length, window, step):
    """Where windows along an axis begin: step by step, and one that ends where the axis ends."""
    first = list(range(0, length-window+1, step))
    return first if first[-1] == length-window else [*first, length-window]


def padded(plane, window, rim):
    """A plane with a rim of so many pixels, and more after its end where it is smaller than a window, of its median."""
    more = [(rim, max(rim, w-n-rim)) for n, w in zip(plane.shape, window)]
    return np.pad(plane, more, constant_values=np.median(plane))


def trimmed(planes, plane, rim):
    """Planes without the rim that `padded` added."""
    ny, nx = plane.shape
    return planes[:, rim:ny+rim, rim:nx+rim]


def windows(plane, network, step, stretch):
    """(slices, probabilities) of the windows of a padded plane, which overlap where the step is smaller than they are."""
    (ny, nx), (sy, sx) = network.shape, step
    for y in starts(plane.shape[0], ny, sy):
        for x in starts(plane.shape[1], nx, sx):
            box = np.s_[y:y+ny, x:x+nx]
            given = np.asarray(network(equalised(plane[box], stretch)))
            yield box, given[list(ORDERS[len(given)])]


def means(plane, network, step, config, rim=1, sureness=None):
    """Mean probabilities of the windows over each pixel.

    Parameters
    ----------
    plane, network
        As `hard`.
    step : tuple of int
        From one window to the next, pixels.
    config : crowdsource.nebulosity.options.NebulosityConfig
    rim : int
        Of the plane: as `padded`.
    sureness : callable, optional
        What a window of given probabilities counts for; all the same when not given.

    Returns
    -------
    ndarray, shape (classes, ny, nx), float32
    """
    wide = padded(plane, network.shape, rim)
    found = list(windows(wide, network, step, config.stretch))
    total, weight = np.zeros((len(found[0][1]), *wide.shape), np.float32), np.zeros(wide.shape, np.float32)
    for box, p in found:
        share = 1 if sureness is None else sureness(p)
        total[:, *box] += (p*share)[:, None, None]
        weight[box] += share
    return trimmed(total/weight, plane, rim)


def hard(plane, network, config):
    """Classes window by window.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        The image with its stars, finite.
    network : crowdsource.nebulosity.network.Network
    config : crowdsource.nebulosity.options.NebulosityConfig

    Returns
    -------
    nebulous : ndarray of bool, shape (ny, nx)
    probabilities : ndarray, shape (3 or 4, ny, nx), float32
        Those of the pixel's window.
    """
    wide = padded(plane, network.shape, 1)
    found = list(windows(wide, network, network.shape, config.stretch))
    probabilities = np.empty((len(found[0][1]), *wide.shape), np.float32)
    for box, p in found:
        probabilities[:, *box] = p[:, None, None]
    probabilities = trimmed(probabilities, plane, 1)
    return most_nebulous(probabilities, config), probabilities


def most_nebulous(probabilities, config):
    """Where the probability of nebulosity, times its weight, is the largest."""
    return probabilities[0]*np.float32(config.weight) > probabilities[1:].max(axis=0)


def continuous(plane, network, config):
    """Probabilities that change smoothly over the image: means of overlapping windows. Parameters and return as `hard`."""
    # a window sure of nebulosity counts for more than those of which it fills a part
    p = smoothed(means(plane, network, steps(network, config), config, sureness=lambda p: p[0]+FLOOR), config)
    return p[0]+LIGHT_SHARE*p[1] > BOUNDARY*(p[1:].sum(axis=0)+FLOOR), p


def mean(plane, network, config):
    """Plain means of overlapping windows, smoothed, of which the largest decides. Parameters and return as `hard`."""
    p = smoothed(means(plane, network, steps(network, config), config, rim=0), config)
    return most_nebulous(p, config), p


def steps(network, config):
    """From one overlapping window to the next along y and x, pixels."""
    return [min(config.shift, n) for n in network.shape]


def smoothed(planes, config):
    """Planes convolved with a Gaussian that ends at one sigma."""
    return np.stack([gaussian_filter(one, config.smooth, truncate=1, mode="nearest") for one in planes])


def shrunk(plane):
    """A plane at an eighth of its scale: means of boxes of 8x8 pixels, of what there is at the far edges.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ceil(ny/8), ceil(nx/8)), float32
    """
    return (boxed(plane, EIGHTH)/boxed(np.ones(plane.shape, np.uint8), EIGHTH)).astype(np.float32)


MODES = {"hard": hard, "continuous": continuous, "mean": mean}
"""What a network's probabilities become, by ``nebulosity.mode``."""
