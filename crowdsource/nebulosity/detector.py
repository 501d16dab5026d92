"""The built-in detector of structured background, which needs no training.

The image without its stars is averaged in cells about as wide as the PSF. What stars leave, those too faint to be found
included, is white on scales larger than the PSF: its scatter from cell to cell tells how much of it there is on larger scales.
Structure of the sky is not: a band of scales above the PSF's that varies by more than white noise would is nebulosity.
"""
import warnings

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

SIGMA = 1/(2*np.sqrt(2*np.log(2)))
"""Of a Gaussian of unit FWHM."""
SMALL = 0.7, 1.4
"""Sigma of the two Gaussians, in cells, whose difference shows the scatter from cell to cell."""
OF_MEDIAN, OF_MEAN = np.sqrt(np.pi/2), np.sqrt(np.pi/2)
"""Noise of a median over that of a mean, and sigma over the mean absolute value."""
PSF_ERROR = 0.05
"""The model of a star is right to so much of its light in a pixel."""
HALOS, HALO_ERROR, BAND_ERROR = 4, 0.3, 0.02
"""The wings of stars are told by so many Gaussians; from star to star they differ by so much of themselves, and by so much of
the star on the smallest scale."""
CLIP, ROUNDS = 4., 5
LEAST_NOISE = 0.5
"""The scatter is not believed where it is below so much of what the pixels' noise alone makes: in a plane without noise, say."""
CELL_SIDE = 3
"""Cells across the smallest scale."""
CORE = 19
"""Side of the stamp that peaks are found with, pixels."""
OPEN, OPEN_REACH = 0.8, 3
"""Where bright stars leave fewer of the cells than this, under a Gaussian so many times that of the smallest scale, no sky is
to be seen: the core of a cluster."""
LEAST_GOOD, LEAST_WEIGHT = 0.25, 0.3
"""Fraction of good pixels of a cell, and its weight over the median's, from which it counts."""


def structured(image, model, psf, config):
    """Where the image has structure that no star explains.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    model : ndarray, shape (ny, nx), float32
        Of the stars.
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
    """Mean residual and star light of cells of side x side pixels.

    Pixels count by their noise and that of the model, so that the middle of bright stars does not.

    Returns
    -------
    value, weight, light : ndarray, shape (ceil(ny/side), ceil(nx/side)), float64
        Weights are in units of their median; 0 for a cell without enough good pixels.
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
    """Sums over boxes of side x side pixels, fewer at the far edges; float64."""
    rows = np.add.reduceat(plane, np.arange(0, plane.shape[0], side), axis=0, dtype=np.float64)
    return np.add.reduceat(rows, np.arange(0, plane.shape[1], side), axis=1)


def band_and_noise(value, weight, narrow, wide):
    """The band between two scales, and what white noise of the local scatter from cell to cell would be in it.

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
    """The band less what goes with the light of the stars that are known: wings past their model, and stars below the limit.

    Both follow the smoothed light of the model in proportion, and the proportions are those of the image itself.

    Parameters
    ----------
    band, noise, weight, light : ndarray, shape (m, n)
    scales : tuple of float
        Sigma of the Gaussians between which the band lies, cells.

    Returns
    -------
    band, noise : ndarray, shape (m, n)
        The noise holds how far stars may differ from the mean.
    """
    narrow, wide = scales
    spread = np.array([smoothed(light, np.ones_like(light), s)-smoothed(light, np.ones_like(light), wide)
                       for s in np.geomspace(narrow, wide, HALOS, endpoint=False)])
    noise = np.hypot(noise, BAND_ERROR*spread[0])
    share, keep = np.zeros(HALOS), weight > LEAST_WEIGHT
    for _ in range(ROUNDS):
        left = (band-np.tensordot(share, spread, 1))/noise
        use = keep & (np.abs(left-np.median(left[keep])) < CLIP)
        share = np.linalg.lstsq((spread/noise)[:, use].T, (band/noise)[use])[0]
    halo = np.tensordot(share, spread, 1)
    return band-halo, np.hypot(noise, HALO_ERROR*halo)


def plane_of(value, weight):
    """The plane that fits best: a slope of the sky would look like structure at the edges."""
    y, x = np.indices(value.shape)/max(value.shape)-0.5
    terms, root = np.stack([np.ones(value.shape), x, y], axis=-1), np.sqrt(weight)
    slope = np.linalg.lstsq((terms*root[..., None]).reshape(-1, 3), (value*root).ravel())[0]
    return terms @ slope


def medians(value, known):
    """Medians of 3x3 cells: a star that was missed, or subtracted badly, is one or two of them."""
    boxes = sliding_window_view(np.pad(np.where(known, value, np.nan), 1, constant_values=np.nan), (3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of boxes without any
        return np.nan_to_num(np.nanmedian(boxes.reshape(*value.shape, 9), axis=-1))


def smoothed(value, weight, sigma):
    """Weighted mean under a Gaussian of so many cells; 0 where there is no weight."""
    total = ndimage.gaussian_filter(weight, sigma, mode="constant")
    light = ndimage.gaussian_filter(value*weight, sigma, mode="constant")
    return np.where(total > 0, light/np.where(total > 0, total, 1), 0)


def white(narrow, wide):
    """Variance of white noise of unit variance under the difference of two Gaussians of so many cells."""
    return (1/narrow**2+1/wide**2-4/(narrow**2+wide**2))/(4*np.pi)


def regions(strength, least, area):
    """Connected cells above `least` of which one reaches 1, at least so many of them."""
    label, count = ndimage.label(strength > least, structure=np.ones((3, 3)))
    if not count:
        return label > 0
    numbers = np.arange(1, count+1)
    keep = (ndimage.maximum(strength, label, numbers) > 1) & (ndimage.sum_labels(label > 0, label, numbers) >= area)
    return np.append(False, keep)[label]


def grown(where, reach):
    """All within so many cells."""
    return ndimage.distance_transform_edt(~where) <= reach if where.any() else where


def enlarged(where, side, shape):
    """A plane of cells as one of pixels."""
    return where.repeat(side, axis=0).repeat(side, axis=1)[:shape[0], :shape[1]]
