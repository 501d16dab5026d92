"""The sky: statistics of blocks of the model-subtracted image, smoothly interpolated.

A sky estimator is a callable ``estimator(image, ivar, config, block, run)`` that gives the sky of a model-subtracted image,
finite and of its shape; parameters as those of `estimate_sky`.
"""
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy import ndimage

from ..config.extensions import SKY_ESTIMATORS
from ..core import linear
from ..core.errors import InputError
from ..core.tiles import bands
from ..cython_ext import sky as kernel

BLOCK_ROWS = 8
"""Number of rows of blocks that are one piece of work."""
SAMPLE = 8
"""One in so many pixels along each axis of a sky is checked to be finite."""


def estimate_sky(image, ivar, config, block, run=map):
    """Sky of a model-subtracted image, by the estimator of the configuration.

    Parameters
    ----------
    image : ndarray, shape (ny, nx), float32
        Data less the sources' model.
    ivar : ndarray, shape (ny, nx), float32
        Pixels with ivar 0 are not used.
    config : crowdsource.config.SkyConfig
    block : int
        Block size in pixels; 0 for one block of the whole image.
    run : callable
        ``map`` or an executor's.

    Returns
    -------
    ndarray, shape (ny, nx), float32

    Raises
    ------
    InputError
        When an estimator gives a sky of another shape, or one that is not finite.
    """
    sky = np.asarray(SKY_ESTIMATORS.resolve(config.estimator)(image, ivar, config, block, run), dtype=np.float32)
    # a sample is enough to find an estimator that leaves holes, and costs nothing
    if sky.shape != image.shape or not np.isfinite(sky[::SAMPLE, ::SAMPLE]).all():
        raise InputError(f"the sky estimator {SKY_ESTIMATORS.name_of(config.estimator)} gave a sky of shape {sky.shape}, or one "
                         f"that is not finite, for an image of {image.shape}: mend the estimator or choose another")
    return sky


def mean_sky(image, ivar, config, block, run=map):
    """Sky from means of blocks, weighted and clipped. Parameters and result as `estimate_sky`."""
    return block_sky(image, ivar, config, block, run, lambda values: values[..., 3])


def median_sky(image, ivar, config, block, run=map):
    """Sky from medians of blocks. Parameters and result as `estimate_sky`."""
    return block_sky(image, ivar, config, block, run, lambda values: values[..., 1])


def mode_sky(image, ivar, config, block, run=map):
    """Sky from the most frequent values of blocks. Parameters and result as `estimate_sky`."""
    return block_sky(image, ivar, config, block, run, mode)


def block_sky(image, ivar, config, block, run, statistic):
    """Sky from a statistic of blocks, interpolated by cubic splines between their centres.

    Parameters
    ----------
    image, ivar, config, block, run
        As `estimate_sky`.
    statistic : callable
        From the low quantile, median, high quantile and clipped mean of each block, shape (..., 4), to its sky, shape (...).

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    edges = [_edges(n, block) for n in image.shape]
    strips = [edges[0][k:k+BLOCK_ROWS+1] for k in range(0, len(edges[0])-1, BLOCK_ROWS)]
    parts = list(run(lambda strip: kernel.block_statistics(image, ivar, strip, edges[1], config.clip), strips))
    values, count = (np.concatenate(plane) for plane in zip(*parts))
    area = np.multiply.outer(*(np.diff(e) for e in edges))
    level = fill_from_neighbours(np.where(count >= np.maximum(1, config.min_good*area), statistic(values), np.nan))
    if np.isnan(level).all():
        level = np.full(level.shape, np.median(image[ivar > 0]))
    if config.smooth > 1:
        level = ndimage.median_filter(level, config.smooth, mode="nearest")
    return interpolated(level, image.shape, block, run)


def interpolated(level, shape, block, run=map):
    """Values of blocks interpolated to pixels by cubic splines, constant outside the outer centres.

    Parameters
    ----------
    level : ndarray, shape (blocks_y, blocks_x)
    shape : tuple of int
        (ny, nx) of the image.
    block : int
        Block size, pixels; 0 for one block of the whole image.
    run : callable
        ``map`` or an executor's.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    level = np.repeat(np.repeat(level, 1+(len(level) == 1), axis=0), 1+(level.shape[1] == 1), axis=1)
    down, across = (_spline(n, block) for n in shape)
    rows_of = linear.matmul(down.matrix, level)
    planes = [np.ascontiguousarray(v, dtype=np.float32) for v in (rows_of, linear.matmul(rows_of, across.bend.T))]
    out = np.empty(shape, np.float32)
    list(run(lambda rows: kernel.spline_rows(*(v[rows] for v in planes), across.start, across.weights, out[rows]),
             bands(shape[0])))
    return out


def mode(values):
    """Estimate of the most frequent value of each block.

    Undetected stars stretch the upper half of the distribution of a block's pixels, which shifts the median by a part of that.

    Parameters
    ----------
    values : ndarray, shape (..., 4)
        From `crowdsource.cython_ext.sky.block_statistics`.

    Returns
    -------
    ndarray, shape (...)
    """
    low, middle, high, _ = np.moveaxis(values, -1, 0)
    return middle-0.5*np.maximum((high-middle)-(middle-low), 0)


def fill_from_neighbours(level):
    """Replace NaN by the mean of the nearest good blocks around, ring by ring.

    Parameters
    ----------
    level : ndarray, shape (blocks_y, blocks_x)

    Returns
    -------
    ndarray
        Without NaN, except where every block is NaN.
    """
    level = level.copy()
    while np.isnan(level).any() and not np.isnan(level).all():
        good = ~np.isnan(level)
        total = ndimage.uniform_filter(np.where(good, level, 0), 3, mode="constant")
        weight = ndimage.uniform_filter(good.astype(float), 3, mode="constant")
        fill = ~good & (weight > 0.05)
        level[fill] = total[fill]/weight[fill]
    return level


def _edges(n, block):
    blocks = max(1, round(n/block)) if block else 1
    return np.linspace(0, n, blocks+1).astype(np.intp)


@dataclass(frozen=True, eq=False)
class _Spline:
    """From block values to the pixels of an axis: cubic between block centres, constant outside them.

    Attributes
    ----------
    start : ndarray of intp, shape (blocks,)
        First pixel of each piece between two centres, and one past the last piece.
    weights : ndarray, shape (4, n), float32
        Of the values at either end of a pixel's piece, and of the second derivatives there.
    bend : ndarray, shape (blocks, blocks)
        From values to second derivatives.
    """

    start: np.ndarray
    weights: np.ndarray
    bend: np.ndarray

    @cached_property
    def matrix(self):
        """From values to pixels, shape (n, blocks)."""
        piece = np.repeat(np.arange(len(self.start)-1), np.diff(self.start))
        left, right, left_bend, right_bend = self.weights[:, :, None].astype(float)
        eye = np.eye(len(self.bend))
        return left*eye[piece]+right*eye[piece+1]+left_bend*self.bend[piece]+right_bend*self.bend[piece+1]


@lru_cache(maxsize=4)
def _spline(n, block):
    """The `_Spline` of an axis of n pixels; a single block counts as two of one value."""
    edges = _edges(n, block)
    centres = (edges[:-1]+edges[1:]-1)/2
    at = np.clip(np.arange(n), centres[0], centres[-1])
    if len(centres) == 1:
        centres = centres[0]+np.arange(2)
    blocks, width = len(centres), np.diff(centres)
    piece = np.clip(np.searchsorted(centres, at, side="right")-1, 0, blocks-2)
    right, scale = (at-centres[piece])/width[piece], width[piece]**2/6
    left = 1-right
    weights = np.stack([left, right, (left*left*left-left)*scale, (right*right*right-right)*scale]).astype(np.float32)
    bend = _second_derivatives(width) if blocks >= 4 else np.zeros((blocks, blocks))
    return _Spline(np.searchsorted(piece, np.arange(blocks)).astype(np.intp), weights, bend)


def _second_derivatives(width):
    """Matrix from values at knots, whose distances are `width`, to the second derivatives of the cubic spline through them.

    The third derivatives are continuous at the last knots but one at either end ("not a knot").
    """
    n = len(width)+1
    system, values = np.zeros((n, n)), np.zeros((n, n))
    for k in range(1, n-1):
        before, after = width[k-1:k+1]
        system[k, k-1:k+2] = before, 2*(before+after), after
        values[k, k-1:k+2] = 6/before, -6/before-6/after, 6/after
    system[0, :3] = width[1], -width[0]-width[1], width[0]
    system[-1, -3:] = width[-1], -width[-2]-width[-1], width[-2]
    return linear.solve(system, values)
