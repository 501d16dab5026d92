"""The built-in detector of structured background, which needs no training.

The image minus the model of its stars is averaged in cells about as wide as the PSF. Residuals of stars, and stars too faint to
be detected, are white noise on scales larger than the PSF. The scatter between cells therefore predicts how much they vary on
larger scales. Structure of the sky is not white: the background has structure where the image, filtered to scales above that of
the PSF, varies by more than the predicted white noise.
"""
import warnings

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from ..core import functions, linear
from ..core.calibration import calibration

SIGMA = 1/(2*np.sqrt(2*functions.log(2)))
"""Sigma of a Gaussian with a FWHM of 1."""
SMALL = 0.7, 1.4
"""Sigma, in cells, of the two Gaussians whose difference measures the scatter between cells."""
OF_MEDIAN, OF_MEAN = np.sqrt(np.pi/2), np.sqrt(np.pi/2)
"""Ratio of the noise of a median to that of a mean, and ratio of sigma to the mean absolute value, for Gaussian noise."""
PSF_ERROR = calibration.nebulosity.psf_error
"""Error of the model of a star in a pixel, relative to its light there."""
HALOS = 4
HALO_ERROR, BAND_ERROR = calibration.nebulosity.halo_error, calibration.nebulosity.band_error
"""Number of Gaussians that describe the wings of stars; relative scatter of the wings between stars; and scatter on the smallest
scale relative to the light of the star."""
CLIP, ROUNDS = calibration.nebulosity.clip, 5
LEAST_NOISE = 0.5
"""Lower limit of the scatter, relative to that from the noise of the pixels alone; it matters for images without noise."""
CELL_SIDE = 3
"""Number of cells across the smallest scale."""
CORE = 19
"""Side of the PSF stamp used to detect peaks, pixels."""
OPEN, OPEN_REACH = calibration.nebulosity.open, 3
"""Minimum fraction of usable cells in the surroundings, and sigma of the Gaussian that defines these, relative to that of the
smallest scale. Below it bright stars hide the sky, as in the core of a cluster, and no structure is reported."""
LEAST_GOOD, LEAST_WEIGHT = 0.25, calibration.nebulosity.least_weight
"""Minimum fraction of good pixels of a usable cell, and its minimum weight relative to the median weight."""


def structured(image, model, psf, config):
    """Find where the image has structure that stars do not explain.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    model : ndarray, shape (ny, nx), float32
        Model of the stars, image units.
    psf : crowdsource.psf.base.PSF
    config : crowdsource.config.NebulosityConfig

    Returns
    -------
    ndarray of bool, shape (ny, nx)
    """
    fwhm, (small, large) = float(psf.fwhm()), config.scales
    side = max(1, round(fwhm*small/CELL_SIDE))
    narrow, wide = (s*SIGMA*fwhm/side for s in (small, large))
    value, weight, light = cells(image, model, side)
    if not weight.any():
        return np.zeros(image.shape, bool)
    band, noise = band_and_noise(value, weight, narrow, wide)
    noise = np.maximum(noise, LEAST_NOISE*image.noise/side*np.sqrt(white(narrow, wide)))
    band, noise = without_halos(band, noise, weight, light, (narrow, wide))
    seen = weight > LEAST_WEIGHT
    seen &= smoothed(seen.astype(float), np.ones(seen.shape), OPEN_REACH*narrow) > OPEN
    significance = np.where(seen, band/noise, 0)
    contrast = band/image.noise/np.sqrt((psf.stamp(CORE)**2).sum())
    area = config.min_area*(fwhm/side)**2
    where = regions(np.minimum(significance/config.threshold, contrast/config.contrast), config.faintest/config.threshold, area)
    return enlarged(grown(where, config.grow*fwhm/side), side, image.shape)


def cells(image, model, side):
    """Mean residual, weight and mean star light of cells of side x side pixels.

    Pixels are weighted by the inverse variance of their noise and of the model's error, so that the centres of bright stars have
    almost no weight.

    Returns
    -------
    value, weight, light : ndarray, shape (ceil(ny/side), ceil(nx/side)), float64
        Weights are in units of their median, and 0 for a cell with too few good pixels.
    """
    ivar = image.ivar.astype(np.float64)
    ivar /= 1+ivar*(PSF_ERROR*model.astype(np.float64))**2
    total, good = boxed(ivar, side), boxed(image.good, side)
    known = (total > 0) & (good >= LEAST_GOOD*side*side)
    safe = np.where(known, total, 1)
    value = np.where(known, boxed((image.data-model)*ivar, side)/safe, 0)
    weight = np.where(known, total/np.median(total[known]), 0) if known.any() else np.zeros(total.shape)
    return value, weight, boxed(model, side)/side**2


def boxed(plane, side):
    """Sums over boxes of side x side pixels, which are smaller at the far edges; float64."""
    rows = np.add.reduceat(plane, np.arange(0, plane.shape[0], side), axis=0, dtype=np.float64)
    return np.add.reduceat(rows, np.arange(0, plane.shape[1], side), axis=1)


def band_and_noise(value, weight, narrow, wide):
    """The image filtered to the scales between two Gaussians, and the noise expected in it from white noise.

    The level of the white noise is the local scatter between cells.

    Parameters
    ----------
    value, weight : ndarray, shape (m, n)
    narrow, wide : float
        Sigma of the Gaussians, cells.

    Returns
    -------
    band, noise : ndarray, shape (m, n)
    """
    value = value-plane_of(value, weight)
    calm = medians(value, weight > 0)
    band = smoothed(calm, weight, narrow)-smoothed(calm, weight, wide)
    scatter = smoothed(np.abs(smoothed(value, weight, SMALL[0])-smoothed(value, weight, SMALL[1])), weight, wide)
    return band, scatter*OF_MEAN*OF_MEDIAN*np.sqrt(white(narrow, wide)/white(*SMALL))


def without_halos(band, noise, weight, light, scales):
    """Subtract from the band what is proportional to the light of the known stars.

    That is the light of wings beyond the extent of the model, and of stars below the detection limit. Both are modelled as a sum
    of smoothed images of the stars' model, whose coefficients are fitted to this image.

    Parameters
    ----------
    band, noise, weight, light : ndarray, shape (m, n)
    scales : tuple of float
        Sigma of the Gaussians between which the band lies, cells.

    Returns
    -------
    band, noise : ndarray, shape (m, n)
        The noise includes the scatter of the wings between stars.
    """
    narrow, wide = scales
    spread = np.array([smoothed(light, np.ones_like(light), s)-smoothed(light, np.ones_like(light), wide)
                       for s in np.geomspace(narrow, wide, HALOS, endpoint=False)])
    noise = np.hypot(noise, BAND_ERROR*spread[0])
    share, keep = np.zeros(HALOS), weight > LEAST_WEIGHT
    for _ in range(ROUNDS):
        left = (band-linear.combined(share, spread))/noise
        use = keep & (np.abs(left-np.median(left[keep])) < CLIP)
        share = linear.least_squares((spread/noise)[:, use].T, (band/noise)[use])
    halo = linear.combined(share, spread)
    return band-halo, np.hypot(noise, HALO_ERROR*halo)


def plane_of(value, weight):
    """The best-fitting inclined plane. It is subtracted, as a gradient of the sky would look like structure at the edges."""
    y, x = np.indices(value.shape)/max(value.shape)-0.5
    terms, root = np.stack([np.ones(value.shape), x, y], axis=-1), np.sqrt(weight)
    slope = linear.least_squares((terms*root[..., None]).reshape(-1, 3), (value*root).ravel())
    return linear.combined(terms, slope)


def medians(value, known):
    """Medians of 3x3 cells. They suppress stars that were missed or badly subtracted, which fill one or two cells."""
    boxes = sliding_window_view(np.pad(np.where(known, value, np.nan), 1, constant_values=np.nan), (3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # boxes without any usable cell
        return np.nan_to_num(np.nanmedian(boxes.reshape(*value.shape, 9), axis=-1))


def smoothed(value, weight, sigma):
    """Weighted mean under a Gaussian of `sigma` cells; 0 where the weight is 0."""
    total = gaussian(weight, sigma)
    light = gaussian(value*weight, sigma)
    return np.where(total > 0, light/np.where(total > 0, total, 1), 0)


def gaussian(plane, sigma, truncate=4., mode="constant"):
    """A plane convolved with a Gaussian of `sigma` cells, as `scipy.ndimage.gaussian_filter` but for the exponentials."""
    at = np.arange(-int(truncate*sigma+0.5), int(truncate*sigma+0.5)+1)
    weights = functions.exp(-0.5*(at/sigma)**2)
    weights /= weights.sum()
    return ndimage.correlate1d(ndimage.correlate1d(plane, weights, 0, mode=mode), weights, 1, mode=mode)


def white(narrow, wide):
    """Variance of white noise of unit variance after filtering with the difference of two Gaussians (sigmas in cells)."""
    return (1/narrow**2+1/wide**2-4/(narrow**2+wide**2))/(4*np.pi)


def regions(strength, least, area):
    """Connected regions of cells above `least` that have at least `area` cells and exceed 1 in one of them."""
    label, count = ndimage.label(strength > least, structure=np.ones((3, 3)))
    if not count:
        return label > 0
    numbers = np.arange(1, count+1)
    keep = (ndimage.maximum(strength, label, numbers) > 1) & (ndimage.sum_labels(label > 0, label, numbers) >= area)
    return np.append(False, keep)[label]


def grown(where, reach):
    """The region grown by `reach` cells on all sides."""
    return ndimage.distance_transform_edt(~where) <= reach if where.any() else where


def enlarged(where, side, shape):
    """Expand a map of cells to pixels, for an image of `shape`."""
    return where.repeat(side, axis=0).repeat(side, axis=1)[:shape[0], :shape[1]]
