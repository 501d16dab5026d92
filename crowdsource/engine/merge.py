"""Merging: sources that their neighbours could replace if these were free to move.

The covariances of the fit tell what the model loses without a source as long as everything is linear. Where a third source stands
between two stars whose positions are too far apart, both would have to move by a large part of the PSF's width; only an iterated
fit of these few sources shows that two are enough. It also gives their positions: of two sources on one star, the one that stays
would otherwise keep its position beside the star.
"""
from dataclasses import dataclass, replace

import numpy as np

from ..core.calibration import calibration
from ..core.neighbours import neighbours
from ..core.tiles import bands
from ..cython_ext import merge as kernel
from ..psf.base import pixel
from .cull import marginal_error, significant
from .measure import boxes

MIN_BLENDING = calibration.merge.min_blending
"""A source is tried where its marginal flux error exceeds its isolated one by this factor."""
SAFE_SIGNIFICANCE = 12.
"""Sources of this significance, from the covariances, are not tried."""
NEIGHBOUR_RADIUS = calibration.merge.neighbour_radius
"""Largest distance of the neighbours that are refitted, FWHM."""
BOX_SIDE = calibration.merge.box_side
"""Side of the box of pixels that is fitted, FWHM."""
MAX_NEIGHBOURS = calibration.merge.max_neighbours
"""Largest number of neighbours that are refitted."""
N_STEPS, LARGEST_STEP = 4, calibration.merge.largest_step
"""Steps of the fit, and the largest shift in one of them, pixels."""
CHUNK = 250
"""Number of sources that are one piece of work."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Trial:
    """Fits without some sources, one at a time, in which their neighbours move.

    Attributes
    ----------
    source : ndarray of int, shape (n,)
        The sources that are left out.
    neighbours : ndarray of int, shape (n, k)
        Their neighbours; -1 for none.
    significance : ndarray, shape (n,)
        Square root of the chi2 that is lost without the source.
    flux, x, y : ndarray, shape (n, k)
        The neighbours, refitted.
    """

    source: np.ndarray
    neighbours: np.ndarray
    significance: np.ndarray
    flux: np.ndarray
    x: np.ndarray
    y: np.ndarray


def entangled(state):
    """Which sources the image hardly separates from their neighbours; the state has covariances."""
    return marginal_error(state.covariance) > MIN_BLENDING*state.sources.error


def merged(state, significance, radius, insignificant=False):
    """The state without sources that their neighbours replace, and with these at their refitted positions.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With covariances, and the model of all sources.
    significance : ndarray, shape (n,)
        From the covariances; infinite for sources that have not settled.
    radius : float
        Of sources nearer to each other than this, pixels, only one is removed.
    insignificant : ndarray of bool, shape (n,), optional
        Sources below the bound of pruning: they are removed unless the model loses ``cull.prune`` without them nevertheless.

    Returns
    -------
    PassState
        With the model as it was.
    """
    s, fwhm = state.sources, float(state.psf.fwhm())
    # a star on masked pixels is measured by its wings, far beyond a box
    fixed = s.bright | (state.image.ivar[s.inside(state.image.shape)] == 0)
    candidates = np.flatnonzero(entangled(state) & (significance < SAFE_SIGNIFICANCE) & ~fixed)
    tried, around = with_neighbours(s, fixed, candidates, fwhm)
    c, side = state.config.cull, 2*round(BOX_SIDE*fwhm/2)+1
    loss, bound = np.where(insignificant, significance, np.inf), np.where(insignificant, c.prune, c.merge)
    trials = list(state.run(lambda part: trial_fits(state, tried[part], around[part], side), bands(len(tried), CHUNK)))
    for trial in trials:
        loss[trial.source] = trial.significance
    keep = significant(s, loss/bound, 1., radius)
    flux, x, y = s.flux.copy(), s.x.copy(), s.y.copy()
    for trial in trials:
        rows, columns = np.nonzero(~keep[trial.source][:, None] & (trial.neighbours >= 0))
        which = trial.neighbours[rows, columns]
        for values, fitted in ((flux, trial.flux), (x, trial.x), (y, trial.y)):
            values[which] = fitted[rows, columns]
    return replace(state, sources=s.with_values(flux=flux, x=x, y=y).subset(keep), covariance=state.covariance[keep])


def trial_fits(state, tried, around, side):
    """Fit the neighbours of some sources, each time without the source itself.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    tried : ndarray of int, shape (n,)
        The sources.
    around : ndarray of int, shape (n, k)
        Their neighbours; -1 for none.
    side : int
        Side of the boxes that are fitted, odd, pixels.

    Returns
    -------
    Trial
    """
    s = state.sources
    box = Boxes.centred(state, s.x[tried], s.y[tried], side)
    group = np.concatenate([around, tried[:, None]], axis=1)
    flux, x, y = (np.where(group >= 0, values[group], other) for values, other in
                  ((s.flux, 0.), (s.x, s.x[tried][:, None]), (s.y, s.y[tried][:, None])))
    planes = box.planes(x, y, flux)
    target = box.residual+kernel.group_models(planes[0], *box.corners(x, y), flux, box.side)
    _, whole, gain = kernel.group_steps(box.residual, box.ivar, planes, *box.corners(x, y))
    flux, x, y = (np.ascontiguousarray(v[:, :-1]) for v in (flux, x, y))
    best = np.full(len(tried), np.inf), flux, x, y
    for _ in range(N_STEPS+1):
        planes, corners = box.planes(x, y, flux), box.corners(x, y)
        residual = target-kernel.group_models(planes[0], *corners, flux, box.side)
        change, chi2, _ = kernel.group_steps(residual, box.ivar, planes, *corners)
        better = chi2 < best[0]
        best = [np.where(better if now.ndim == 1 else better[:, None], now, old) for now, old in zip((chi2, flux, x, y), best)]
        total = flux+change[:, :, 0]
        shift = np.where(flux[:, :, None] > 0, change[:, :, 1:]/np.where(flux > 0, flux, 1)[:, :, None], 0)
        shift = np.clip(shift, -LARGEST_STEP, LARGEST_STEP)
        flux, x, y = total, x+shift[:, :, 0], y+shift[:, :, 1]
    chi2, flux, x, y = best
    return Trial(source=tried, neighbours=around, significance=np.sqrt(np.maximum(chi2-(whole-gain), 0)), flux=flux, x=x, y=y)


def with_neighbours(s, fixed, candidates, fwhm):
    """Those of the candidates that have neighbours, and the neighbours that give most light at their positions."""
    indptr, near = neighbours(s.x, s.y, s.x[candidates], s.y[candidates], NEIGHBOUR_RADIUS*fwhm)
    row = np.repeat(np.arange(len(candidates)), np.diff(indptr))
    free = (near != candidates[row]) & ~fixed[near]
    row, near = row[free], near[free]
    # the overlap of Gaussians as wide as the PSF
    distance = np.hypot(s.x[near]-s.x[candidates[row]], s.y[near]-s.y[candidates[row]])/fwhm
    order = np.lexsort((-s.flux[near]*np.exp2(-2*distance**2), row))
    row, near = row[order], near[order]
    rank = np.arange(len(row))-np.searchsorted(row, row)
    around = np.full((len(candidates), MAX_NEIGHBOURS), -1)
    first = rank < MAX_NEIGHBOURS
    around[row[first], rank[first]] = near[first]
    some = around[:, 0] >= 0
    return candidates[some], around[some]


@dataclass(frozen=True, eq=False, kw_only=True)
class Boxes:
    """Boxes of pixels around sources.

    Attributes
    ----------
    psf : crowdsource.psf.base.PSF
    size, side : int
        Of stamps and boxes, pixels.
    x0, y0 : ndarray of int, shape (n, 1)
        Lower left pixels of the boxes.
    residual, ivar : ndarray, shape (n, side, side), float32
        Data less sky and model; inverse variance, 0 off the image.
    """

    psf: object
    size: int
    side: int
    x0: np.ndarray
    y0: np.ndarray
    residual: np.ndarray
    ivar: np.ndarray

    @classmethod
    def centred(cls, state, x, y, side):
        """Boxes around positions."""
        x0, y0 = pixel(x)[:, None]-side//2, pixel(y)[:, None]-side//2
        residual, ivar = boxes(state, x, y, side)
        return cls(psf=state.psf, size=state.config.solve.stamp_sizes[0], side=side, x0=x0, y0=y0, residual=residual, ivar=ivar)

    def corners(self, x, y):
        """Lower left pixels, in the boxes, of the stamps of stars; shapes (n, k)."""
        return pixel(x)-self.size//2-self.x0, pixel(y)-self.size//2-self.y0

    def planes(self, x, y, flux):
        """PSFs of stars and their derivatives, three arrays of shape (n, k, size, size); 0 for stars without flux."""
        planes = self.psf.render(x.ravel(), y.ravel(), self.size, derivatives=True)
        there = (flux != 0).astype(np.float32)[:, :, None, None]
        return tuple(plane.reshape(*x.shape, self.size, self.size)*there for plane in planes)
