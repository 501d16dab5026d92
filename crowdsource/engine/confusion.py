"""Confusion: the noise that stars too faint, or too close to another, to be sources of their own add to every measurement.

No fit sees it in its own residual, because each source absorbs the light around it. What the image does tell is how many
stars there are: the counts of the sources that are bright enough to be found everywhere follow a power law, and its
continuation to fluxes that escape detection gives the variance of their light under a matched filter (Scheuer 1957;
Condon 1974, with a power law cut off at the limit of detection).
"""
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

COMPLETE = 15.
"""Isolated signal to noise above which sources are counted: they are found in any crowd that can be fitted at all."""
SLOPE, SLOPE_WEIGHT = 1.8, 30
"""Power of the counts of a common field, and the number of sources that outweighs it."""
SLOPES = 1.2, 2.6
CELL = 64
"""Side of the cells in which sources are counted, pixels; each takes its eight neighbours in."""
SAMPLE = 4
"""Of so many pixels along each axis one tells how much of a cell is good."""
CELL_WEIGHT = 4
"""Number of sources at which a cell's own count and the image's mean weigh the same."""
MOST_BLENDED = 4.
"""Largest ratio of a flux error with neighbours to one without that counts in the mean."""
KEPT = 0.85
"""From this part of the bounds of detection and pruning on a star is kept more often than not."""
SPLIT = 1.2
"""From this multiple of the blend ratio on a companion of a bright star is split from it more often than not."""
NEAR = 0.71
"""Position noise, in units of what all undetected light would give: the light that moves a centre most lies farthest out, where
it is a source of its own first."""
EXTENT, EXTENTS = 0.62, (-1., 4.)
"""Logarithm of the noise gained with each sigma of extent, and the range in which it holds. These four are measured on simulated
fields."""


@dataclass(frozen=True)
class Response:
    """How a matched filter answers to the light of other stars.

    Attributes
    ----------
    area : float
        Sum of the squared PSF autocorrelation over its squared peak, pixels: variance of the filter's flux over the sum of
        squared fluxes per pixel.
    arm : float
        Ratio of the position error to the relative flux error that the same undetected light brings, pixels.
    photons : ndarray, shape (3,)
        Variance by photons of flux, and flux times shift in x and y, over the least one that is possible.
    """
    area: float
    arm: float
    photons: np.ndarray


def response(stamp, faint=None):
    """The `Response` of the filter that a fit is for a lone star.

    Parameters
    ----------
    stamp : ndarray, shape (size, size)
        PSF at the middle of the image, odd side.
    faint : crowdsource.engine.undetected.UndetectedLight, optional
        The light that the fit counts as noise; without it the filter is the PSF.
    """
    grid = 4*len(stamp), 4*len(stamp)
    light = np.fft.fft2(stamp, s=grid)
    kept = 1. if faint is None else 1-np.abs(np.fft.fft2(faint.kernel, s=grid))
    # the derivative as a difference of neighbours
    slopes = light*np.sin(2*np.pi*np.fft.fftfreq(grid[0]))[:, None]
    power, answer, photons = np.abs(light)**2, [], []
    for template in (np.abs(light)**2, np.abs(slopes)**2):
        own = np.mean(kept*template)
        answer.append(np.mean(power*template*kept**2)/own**2)
        photons.append(np.mean(template*kept**2)*np.mean(template)/own**2)
    return Response(float(answer[0]), NEAR*float(np.sqrt(answer[1]/answer[0])), np.array(photons)[[0, 1, 1]])


def confusion_noise(sources, joint, good, reply, config):
    """Flux noise from stars that are no sources, at each source.

    The faintest star that becomes, and stays, a source of its own lies at the threshold of detection or of pruning, counted
    in the errors that neighbours and an unknown position usually give stars in this part of the image, or where the splitting
    of blends begins next to a bright star. (In units of its own error, sources that stand close to others would get too much
    noise, and those whose neighbours escaped detection too little.)

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
        With isolated errors.
    joint : ndarray, shape (n,)
        Flux errors with neighbours and positions marginalised.
    good : ndarray of bool, shape (ny, nx)
        Pixels with weight.
    reply : Response
    config : crowdsource.config.FitConfig

    Returns
    -------
    ndarray, shape (n,), float64
        Of sources as wide as the PSF (others: times `widening`), image units; 0 where there are no sources to count.
    """
    flux = sources.flux
    usable, counted, sigma = _counted(sources)
    if not usable.any():
        return np.zeros(len(flux))
    limit = COMPLETE*sigma
    slope = power_law_slope(flux[counted]/limit)
    density = local_density(sources.subset(counted), good)
    py, px = sources.inside(good.shape)
    stars = reply.area*density[py//CELL, px//CELL]
    own = np.where(usable, sources.error, sigma)
    # an error that is not known is no blending
    blending = np.fmin(np.fmax(joint/own, 1), MOST_BLENDED)[usable]
    usual = local_mean(sources.subset(usable), blending, good.shape)
    least = KEPT*max(config.detect.threshold, config.cull.prune)*own*usual[py//CELL, px//CELL]
    faintest = np.hypot(least, SPLIT*config.detect.blend_ratio*np.maximum(flux, 0))
    return np.sqrt(squared_light(stars, slope, limit, faintest))


def undetected_power(sources, good, faintest):
    """Sum of the squared fluxes of stars too faint to be sources, per pixel; 0 where there are no sources to count.

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
    limit, area = COMPLETE*sigma, int(good.sum())
    if not area or not counted.any():
        return 0.
    return squared_light(counted.sum()/area, power_law_slope(sources.flux[counted]/limit), limit, faintest*sigma)


def _counted(sources):
    """Which sources have an error, which of them are bright enough to be counted, and the error that is typical."""
    error = sources.error
    usable = np.isfinite(error) & (error > 0)
    sigma = float(np.median(error[usable])) if usable.any() else np.inf
    return usable, usable & (sources.flux > COMPLETE*sigma), sigma


def squared_light(density, slope, limit, faintest):
    """Integral of F^2 dN/dF up to the flux of the faintest source, for a density of stars brighter than a limit."""
    return density*(slope-1)/(3-slope)*limit**(slope-1)*faintest**(3-slope)


def widening(extent):
    """Factor of the confusion noise of sources so many sigma wider than the PSF: light that is not its own widens a source."""
    return np.exp(EXTENT*np.clip(extent, *EXTENTS))


def power_law_slope(ratio):
    """Power s of counts dN/dF ~ F^-s from fluxes over their lower limit, drawn to `SLOPE` where they are few.

    Maximum likelihood (Crawford, Jauncey and Murdoch 1970).
    """
    n = len(ratio)
    return float(np.clip(1+(n+SLOPE_WEIGHT)/(np.log(ratio).sum()+SLOPE_WEIGHT/(SLOPE-1)), *SLOPES))


def local_density(sources, good):
    """Sources per good pixel in cells of `CELL` pixels and their neighbours, drawn to the mean where they are few.

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
    """Mean of the sources' values in cells and their neighbours around; drawn to the mean of all where they are few.

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
