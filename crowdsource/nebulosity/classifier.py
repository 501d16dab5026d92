"""Apply the published classifiers: networks that classify windows of an image.

The classes are nebulosity, light, normal sky and, in networks with four classes, errors. The networks were trained on images that
still contain their stars: one with four classes for DECam (Saydjari et al. 2023, section 2), one with three classes for unWISE
coadds (Schlafly et al. 2019).
"""
import numpy as np

from .detector import boxed, gaussian

ORDERS = {4: (0, 1, 2, 3), 3: (2, 0, 1)}
"""By number of classes: indices of nebulosity, light, normal and error (the order used here and in files) in the output of the
network. A network with three classes has no class of errors; its output is light, normal, nebulosity."""
BINS = 3000
LOW, LOWER = 0.3, 0.1
"""Quantiles of the pixel values whose difference sets the scale of the stretch; most of the stars' light lies above both."""
FLOOR = 1e-4
LIGHT_SHARE, BOUNDARY = 0.5, 2.
"""A pixel is nebulous if p(nebulosity) + LIGHT_SHARE p(light) exceeds BOUNDARY times the sum of all classes but nebulosity."""
EIGHTH = 8


def equalised(window, stretch=0.):
    """Stretch the pixels of a window and equalise their histogram: values from 0 to 1, all equally frequent.

    Parameters
    ----------
    window : ndarray, shape (ny, nx)
    stretch : float
        As `NebulosityConfig.stretch`.

    Returns
    -------
    ndarray, shape (ny, nx), float64
        Cumulative histogram, with 3,000 bins, of asinh((v - zero) / scale); 1 if all pixels are equal.
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
    """First pixels of the windows along an axis: at regular steps, plus a last window that ends at the end of the axis."""
    first = list(range(0, length-window+1, step))
    return first if first[-1] == length-window else [*first, length-window]


def padded(plane, window, rim):
    """A plane padded with its median by `rim` pixels on each side, and at the far end up to the size of a window."""
    more = [(rim, max(rim, w-n-rim)) for n, w in zip(plane.shape, window)]
    return np.pad(plane, more, constant_values=np.median(plane))


def trimmed(planes, plane, rim):
    """Planes without the padding that `padded` added."""
    ny, nx = plane.shape
    return planes[:, rim:ny+rim, rim:nx+rim]


def windows(plane, network, step, stretch):
    """Yield (slices, probabilities) of the windows of a padded plane; windows overlap if the step is smaller than a window."""
    (ny, nx), (sy, sx) = network.shape, step
    for y in starts(plane.shape[0], ny, sy):
        for x in starts(plane.shape[1], nx, sx):
            box = np.s_[y:y+ny, x:x+nx]
            given = np.asarray(network(equalised(plane[box], stretch)))
            yield box, given[list(ORDERS[len(given)])]


def means(plane, network, step, config, rim=1, sureness=None):
    """Mean class probabilities in each pixel of all windows that contain it.

    Parameters
    ----------
    plane, network
        As `hard`.
    step : tuple of int
        Distance between windows along y and x, pixels.
    config : crowdsource.nebulosity.options.NebulosityConfig
    rim : int
        Padding on each side, pixels; see `padded`.
    sureness : callable, optional
        Weight of a window as a function of its probabilities. By default all windows have the same weight.

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
    """Classify adjacent windows.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        The image including its stars; all pixels finite.
    network : crowdsource.nebulosity.network.Network
    config : crowdsource.nebulosity.options.NebulosityConfig

    Returns
    -------
    nebulous : ndarray of bool, shape (ny, nx)
    probabilities : ndarray, shape (3 or 4, ny, nx), float32
        Class probabilities of the window that contains the pixel.
    """
    wide = padded(plane, network.shape, 1)
    found = list(windows(wide, network, network.shape, config.stretch))
    probabilities = np.empty((len(found[0][1]), *wide.shape), np.float32)
    for box, p in found:
        probabilities[:, *box] = p[:, None, None]
    probabilities = trimmed(probabilities, plane, 1)
    return most_nebulous(probabilities, config), probabilities


def most_nebulous(probabilities, config):
    """Where the probability of nebulosity, multiplied by `config.weight`, exceeds those of all other classes."""
    return probabilities[0]*np.float32(config.weight) > probabilities[1:].max(axis=0)


def continuous(plane, network, config):
    """Classify by weighted means of overlapping windows, smoothed. Parameters and return as `hard`."""
    # a window with a high probability of nebulosity has more weight than windows that nebulosity fills only in part
    p = smoothed(means(plane, network, steps(network, config), config, sureness=lambda p: p[0]+FLOOR), config)
    return p[0]+LIGHT_SHARE*p[1] > BOUNDARY*(p[1:].sum(axis=0)+FLOOR), p


def mean(plane, network, config):
    """Classify by unweighted means of overlapping windows, smoothed. Parameters and return as `hard`."""
    p = smoothed(means(plane, network, steps(network, config), config, rim=0), config)
    return most_nebulous(p, config), p


def steps(network, config):
    """Distance between overlapping windows along y and x, pixels."""
    return [min(config.shift, n) for n in network.shape]


def smoothed(planes, config):
    """Planes convolved with a Gaussian of sigma `config.smooth` pixels, truncated at one sigma."""
    return np.stack([gaussian(one, config.smooth, truncate=1, mode="nearest") for one in planes])


def shrunk(plane):
    """A plane reduced by a factor of eight: means of boxes of 8x8 pixels, which are smaller at the far edges.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)

    Returns
    -------
    ndarray, shape (ceil(ny/8), ceil(nx/8)), float32
    """
    return (boxed(plane, EIGHTH)/boxed(np.ones(plane.shape, np.uint8), EIGHTH)).astype(np.float32)


MODES = {"hard": hard, "continuous": continuous, "mean": mean}
"""Functions that turn the probabilities of a network into a map of nebulosity, by ``nebulosity.mode``."""
