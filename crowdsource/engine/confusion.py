"""Noise of confusion: what stars too faint, or too close to another, to become sources add to every measurement.

The residual of a fit does not show it, because each source absorbs the light around it. The number of stars is known, however:
the counts of the sources that are bright enough to be found everywhere follow a power law, and its continuation to fluxes below
detection gives the variance of their light under a matched filter (Scheuer 1957; Condon 1974, with a power law cut off at the
limit of detection).
"""
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core import functions
from ..core.calibration import calibration

COUNTING_LIMIT = calibration.confusion.counting_limit
"""Isolated signal to noise above which sources are counted: such sources are found in any field that can be fitted at all."""
TYPICAL_SLOPE, SLOPE_WEIGHT = calibration.confusion.typical_slope, calibration.confusion.slope_weight
"""Power of the counts in a typical field, and the number of sources that has the same weight as this prior."""
SLOPE_RANGE = 1.2, 2.6
"""Smallest and largest power of the counts: their integrals diverge at 1 and at 3."""
CELL = 64
"""Side of the cells in which sources are counted, pixels; counts include the eight neighbouring cells."""
SAMPLE = 4
"""One in so many pixels along each axis is looked at to measure the good area of a cell."""
CELL_WEIGHT = calibration.confusion.cell_weight
"""Number of sources at which a cell's own count and the mean of the image have the same weight."""
MAX_BLENDING = calibration.confusion.max_blending
"""Largest ratio of a flux error with free neighbours to the isolated one that enters a mean."""
KEPT_SHARE = calibration.confusion.kept_share
"""A star above this share of the bounds of detection and pruning is kept more often than not."""
SPLIT_RATIO = calibration.confusion.split_ratio
"""A companion of a bright star above this multiple of the blend ratio is split from it more often than not."""
POSITION_SHARE = calibration.confusion.position_share
"""Noise of positions, in units of what all undetected light would cause: light far from a centre moves it most, and is the first
to be detected as a source of its own."""
EXTENT_GAIN, EXTENT_RANGE = calibration.confusion.extent_gain, calibration.confusion.extent_range
"""Increase of the logarithm of the noise with each sigma of extent, and the range of extents in which it holds."""


@dataclass(frozen=True, eq=False)
class Response:
    """How a matched filter responds to the light of other stars.

    Attributes
    ----------
    area : float
        Sum of the squared PSF autocorrelation over its squared peak, pixels: variance of the filter's flux over the sum of
        squared fluxes per pixel.
    lever : float
        Ratio of the position error to the relative flux error that the same undetected light causes, pixels.
    photons : ndarray, shape (3,)
        Variance by photons of flux, and flux times shift in x and y, over the smallest possible one.
    """

    area: float
    lever: float
    photons: np.ndarray


def response(stamp, undetected=None):
    """The `Response` of the filter that a fit is for an isolated star.

    Parameters
    ----------
    stamp : ndarray, shape (size, size)
        PSF at the middle of the image, odd side.
    undetected : crowdsource.engine.undetected.UndetectedLight, optional
        The light that the fit counts as noise; without it the filter is the PSF.
    """
    grid = 4*len(stamp), 4*len(stamp)
    light = np.fft.fft2(stamp, s=grid)
    kept = 1. if undetected is None else 1-np.sqrt(functions.squared_modulus(np.fft.fft2(undetected.kernel, s=grid)))
    # the derivative as a difference of neighbours
    factor = functions.sin(2*np.pi*np.fft.fftfreq(grid[0]))[:, None]
    power, variance, photons = functions.squared_modulus(light), [], []
    for template in (power, power*factor**2):
        own = np.mean(kept*template)
        variance.append(np.mean(power*template*kept**2)/own**2)
        photons.append(np.mean(template*kept**2)*np.mean(template)/own**2)
    return Response(float(variance[0]), POSITION_SHARE*float(np.sqrt(variance[1]/variance[0])), np.array(photons)[[0, 1, 1]])


def confusion_noise(sources, joint, good, response, config):
    """Flux noise at each source, from stars that are not detected.

    The faintest star that becomes, and stays, a source is at the threshold of detection or of pruning, in units of the errors
    that neighbours and a free position typically give to stars in this part of the image; next to a bright star it is where the
    splitting of blends begins. (In units of each source's own error, sources close to others would get too much noise, and those
    whose neighbours were not detected too little.)

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
        With isolated errors.
    joint : ndarray, shape (n,)
        Flux errors marginalised over neighbours and positions.
    good : ndarray of bool, shape (ny, nx)
        Pixels with non-zero inverse variance.
    response : Response
    config : crowdsource.config.FitConfig

    Returns
    -------
    ndarray, shape (n,), float64
        Of sources as wide as the PSF (others: times `extent_factor`), image units; 0 where there are no sources to count.
    """
    flux = sources.flux
    usable, counted, sigma = _counted(sources)
    if not usable.any():
        return np.zeros(len(flux))
    limit = COUNTING_LIMIT*sigma
    slope = power_law_slope(flux[counted]/limit)
    density = local_density(sources.subset(counted), good)
    py, px = sources.inside(good.shape)
    stars = response.area*density[py//CELL, px//CELL]
    own = np.where(usable, sources.error, sigma)
    # where an error is not known, no blending is assumed
    blending = np.fmin(np.fmax(joint/own, 1), MAX_BLENDING)[usable]
    typical = local_mean(sources.subset(usable), blending, good.shape)
    least = KEPT_SHARE*max(config.detect.threshold, config.cull.prune)*own*typical[py//CELL, px//CELL]
    faintest = np.hypot(least, SPLIT_RATIO*config.detect.blend_ratio*np.maximum(flux, 0))
    return np.sqrt(squared_light(stars, slope, limit, faintest))


def undetected_power(sources, good, faintest):
    """Sum of the squared fluxes of undetected stars per pixel; 0 where there are no sources to count.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
        With isolated errors.
    good : ndarray of bool, shape (ny, nx)
        Pixels with weight.
    faintest : float
        Flux of the faintest source, in isolated errors.
    """
    _, counted, sigma = _counted(sources)
    limit, area = COUNTING_LIMIT*sigma, int(good.sum())
    if not area or not counted.any():
        return 0.
    return squared_light(counted.sum()/area, power_law_slope(sources.flux[counted]/limit), limit, faintest*sigma)


def _counted(sources):
    """Which sources have a known error, which of them are bright enough to be counted, and the median error."""
    error = sources.error
    usable = np.isfinite(error) & (error > 0)
    sigma = float(np.median(error[usable])) if usable.any() else np.inf
    return usable, usable & (sources.flux > COUNTING_LIMIT*sigma), sigma


def squared_light(density, slope, limit, faintest):
    """Integral of F^2 dN/dF, for dN/dF ~ F^-slope, from 0 to the flux of the faintest source.

    Parameters
    ----------
    density : float or ndarray
        Of stars brighter than the limit, per pixel.
    slope : float
    limit : float
        Flux, image units.
    faintest : float or ndarray
        Flux of the faintest source, image units.
    """
    return density*(slope-1)/(3-slope)*functions.power(limit, slope-1)*functions.power(faintest, 3-slope)


def extent_factor(extent):
    """Ratio of a source's confusion noise to that of sources as wide as the PSF, from its extent in sigma.

    Light of undetected stars makes a source extended.
    """
    return functions.exp(EXTENT_GAIN*np.clip(extent, *EXTENT_RANGE))


def power_law_slope(ratio):
    """Power s of counts dN/dF ~ F^-s from fluxes over their lower limit; close to `TYPICAL_SLOPE` where they are few.

    Maximum likelihood (Crawford, Jauncey and Murdoch 1970).
    """
    n = len(ratio)
    return float(np.clip(1+(n+SLOPE_WEIGHT)/(functions.log(ratio).sum()+SLOPE_WEIGHT/(TYPICAL_SLOPE-1)), *SLOPE_RANGE))


def local_density(sources, good):
    """Sources per good pixel in cells of `CELL` pixels and their neighbours; close to the mean of the image where they are few.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
    good : ndarray of bool, shape (ny, nx)

    Returns
    -------
    ndarray, shape (cells_y, cells_x)
    """
    area = good[::SAMPLE, ::SAMPLE].astype(np.int64)*SAMPLE**2
    for axis in (0, 1):
        area = np.add.reduceat(area, np.arange(0, area.shape[axis], CELL//SAMPLE), axis=axis)
    mean = len(sources)/max(1, int(area.sum()))
    count, expected = _with_neighbours(_in_cells(sources, good.shape)), mean*_with_neighbours(area)
    return mean*(count+CELL_WEIGHT)/(expected+CELL_WEIGHT)


def local_mean(sources, values, shape):
    """Mean of the sources' values in cells and their neighbours; close to the mean of all where they are few.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
        One at least.
    values : ndarray, shape (n,)
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    ndarray, shape (cells_y, cells_x)
    """
    count, total = (_with_neighbours(_in_cells(sources, shape, weights)) for weights in (None, values))
    return (total+CELL_WEIGHT*values.mean())/(count+CELL_WEIGHT)


def _in_cells(sources, shape, weights=None):
    """Number of sources in each cell, or the sum of their weights; those off the image count in the nearest."""
    down, across = (-(-n//CELL) for n in shape)
    py, px = sources.inside(shape)
    return np.bincount(py//CELL*across+px//CELL, weights, down*across).reshape(down, across)


def _with_neighbours(cells):
    """Sums over each cell and the eight around it."""
    return ndimage.uniform_filter(cells.astype(np.float64), 3, mode="constant")*9
