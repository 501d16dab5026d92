"""Sources whose place their neighbours would take, were they free to move.

The covariances of the fit tell what the model loses without a source as long as all is linear. Where a third source stands
between two stars that have been put too far from each other, each of the two would have to move by a good part of the PSF's
width; only a fit of these few, again and again rendered anew, shows that two are enough. It also tells where they belong:
of two sources on one star the one that stays would otherwise keep its place beside it.
"""
from dataclasses import dataclass, replace

import numpy as np

from ..core.neighbours import neighbours
from ..core.tiles import bands
from ..cython_ext import merge as kernel
from ..psf.base import pixel
from .cull import marginal_error, needed
from .measure import boxes

CROWDED = 2.5
"""Ratio of the flux's error with neighbours and positions free to that of the source alone from which it is looked at."""
SURE = 12.
"""Linear significance of sources that are not looked at."""
REACH, BOX = 1.3, 3.
"""How far neighbours may be, and side of the box of pixels that is fitted, in FWHM."""
NEIGHBOURS = 3
"""So many at most are free."""
STEPS, LARGEST_STEP = 4, 0.6
"""Steps of the fit, and the largest shift of one of them, pixels."""
CHUNK = 250


@dataclass(frozen=True)
class Trial:
    """Fits of sources' neighbours in their place.

    Attributes
    ----------
    source : ndarray of int, shape (n,)
        The sources that are left out.
    members : ndarray of int, shape (n, k)
        Their neighbours; -1 for none.
    loss : ndarray, shape (n,)
        Root of the chi2 that is lost.
    flux, x, y : ndarray, shape (n, k)
        The neighbours, refitted.
    """
    source: np.ndarray
    members: np.ndarray
    loss: np.ndarray
    flux: np.ndarray
    x: np.ndarray
    y: np.ndarray


def entangled(state):
    """Which sources the image hardly tells apart from their neighbours; the state has covariances."""
    return marginal_error(state.covariance) > CROWDED*state.sources.error


def merged(state, significance, competing, doomed=False):
    """The state without sources whose neighbours would take their place, and the neighbours there.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With covariances, and the model of all sources.
    significance : ndarray, shape (n,)
        Linear one of each source; sources that have not settled are infinitely significant.
    competing : float
        Of sources nearer to each other than this, pixels, only one goes.
    doomed : ndarray of bool, shape (n,), optional
        Sources that are not significant: they go, but for those without which the model loses ``cull.prune`` nevertheless.

    Returns
    -------
    PassState
        With the model as it was.
    """
    s, fwhm = state.sources, float(state.psf.fwhm())
    # of a star on masked pixels its wings tell, far beyond a box
    fixed = s.bright | (state.image.ivar[s.inside(state.image.shape)] == 0)
    chosen, members = _companies(s, fixed, np.flatnonzero(entangled(state) & (significance < SURE) & ~fixed), fwhm)
    c, side = state.config.cull, 2*round(BOX*fwhm/2)+1
    loss, bound = np.where(doomed, significance, np.inf), np.where(doomed, c.prune, c.merge)
    trials = list(state.run(lambda part: attempt(state, chosen[part], members[part], side), bands(len(chosen), CHUNK)))
    for trial in trials:
        loss[trial.source] = trial.loss
    keep = needed(s, loss/bound, 1., competing)
    flux, x, y = s.flux.copy(), s.x.copy(), s.y.copy()
    for trial in trials:
        rows, columns = np.nonzero(~keep[trial.source][:, None] & (trial.members >= 0))
        which = trial.members[rows, columns]
        for values, fitted in ((flux, trial.flux), (x, trial.x), (y, trial.y)):
            values[which] = fitted[rows, columns]
    return replace(state, sources=s.with_values(flux=flux, x=x, y=y).subset(keep), covariance=state.covariance[keep])


def attempt(state, chosen, members, side):
    """Fit the neighbours of some sources in their place.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    chosen : ndarray of int, shape (n,)
        The sources.
    members : ndarray of int, shape (n, k)
        Their neighbours; -1 for none.
    side : int
        Of the boxes that are fitted, odd, pixels.

    Returns
    -------
    Trial
    """
    s = state.sources
    box = _Boxes.around(state, s.x[chosen], s.y[chosen], side)
    group = np.concatenate([members, chosen[:, None]], axis=1)
    flux, x, y = (np.where(group >= 0, values[group], other) for values, other in
                  ((s.flux, 0.), (s.x, s.x[chosen][:, None]), (s.y, s.y[chosen][:, None])))
    planes = box.planes(x, y, flux)
    target = box.left+kernel.group_models(planes[0], *box.corners(x, y), flux, box.side)
    _, whole, gain = kernel.group_steps(box.left, box.weight, planes, *box.corners(x, y))
    flux, x, y = (np.ascontiguousarray(v[:, :-1]) for v in (flux, x, y))
    best = np.full(len(chosen), np.inf), flux, x, y
    for _ in range(STEPS+1):
        planes, corners = box.planes(x, y, flux), box.corners(x, y)
        left = target-kernel.group_models(planes[0], *corners, flux, box.side)
        change, chi2, _ = kernel.group_steps(left, box.weight, planes, *corners)
        better = chi2 < best[0]
        best = [np.where(better if now.ndim == 1 else better[:, None], now, old) for now, old in zip((chi2, flux, x, y), best)]
        total = flux+change[:, :, 0]
        shift = np.where(flux[:, :, None] > 0, change[:, :, 1:]/np.where(flux > 0, flux, 1)[:, :, None], 0)
        shift = np.clip(shift, -LARGEST_STEP, LARGEST_STEP)
        flux, x, y = total, x+shift[:, :, 0], y+shift[:, :, 1]
    return Trial(chosen, members, np.sqrt(np.maximum(best[0]-(whole-gain), 0)), *best[1:])


def _companies(s, fixed, chosen, fwhm):
    """Those of the chosen sources that have neighbours, and the neighbours whose light matters most at their place."""
    indptr, near = neighbours(s.x, s.y, s.x[chosen], s.y[chosen], REACH*fwhm)
    row = np.repeat(np.arange(len(chosen)), np.diff(indptr))
    free = (near != chosen[row]) & ~fixed[near]
    row, near = row[free], near[free]
    # of Gaussians as wide as the PSF, the overlap
    distance = np.hypot(s.x[near]-s.x[chosen[row]], s.y[near]-s.y[chosen[row]])/fwhm
    order = np.lexsort((-s.flux[near]*np.exp2(-2*distance**2), row))
    row, near = row[order], near[order]
    place = np.arange(len(row))-np.searchsorted(row, row)
    members = np.full((len(chosen), NEIGHBOURS), -1)
    first = place < NEIGHBOURS
    members[row[first], place[first]] = near[first]
    company = members[:, 0] >= 0
    return chosen[company], members[company]


@dataclass(frozen=True)
class _Boxes:
    """Boxes of pixels around sources.

    Attributes
    ----------
    psf : crowdsource.psf.base.PSF
    size, side : int
        Of stamps and boxes, pixels.
    x0, y0 : ndarray of int, shape (n, 1)
        Lower left pixels of the boxes.
    left, weight : ndarray, shape (n, side, side), float32
        Data less sky and model; inverse variance, 0 off the image.
    """
    psf: object
    size: int
    side: int
    x0: np.ndarray
    y0: np.ndarray
    left: np.ndarray
    weight: np.ndarray

    @classmethod
    def around(cls, state, x, y, side):
        """Boxes around positions."""
        x0, y0 = pixel(x)[:, None]-side//2, pixel(y)[:, None]-side//2
        return cls(state.psf, state.config.solve.stamp_sizes[0], side, x0, y0, *boxes(state, x, y, side))

    def corners(self, x, y):
        """Lower left pixels, in the boxes, of the stamps of stars; shapes (n, k)."""
        return pixel(x)-self.size//2-self.x0, pixel(y)-self.size//2-self.y0

    def planes(self, x, y, flux):
        """PSFs of stars and their derivatives, three arrays of shape (n, k, size, size); 0 for stars without flux."""
        planes = self.psf.render(x.ravel(), y.ravel(), self.size, derivatives=True)
        there = (flux != 0).astype(np.float32)[:, :, None, None]
        return tuple(plane.reshape(*x.shape, self.size, self.size)*there for plane in planes)
