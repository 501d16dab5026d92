"""Merging on all images: stars that their neighbours could replace if these were free to move; see `crowdsource.engine.merge`.

Here the neighbours have one position and one flux in each band on all images, so that the best images, on which a blend is
resolved, decide for the others.
"""
from dataclasses import dataclass, replace

import numpy as np

from ..core import linear
from ..core.tiles import bands as pieces
from ..cython_ext import merge as kernel
from ..engine.cull import significant
from ..engine.merge import BOX_SIDE, CHUNK, LARGEST_STEP, MIN_BLENDING, N_STEPS, SAFE_SIGNIFICANCE, Boxes, with_neighbours

RIDGE = 1e-3
"""Share of each parameter's information that is added to it."""


@dataclass(eq=False)
class Group:
    """Stars that are fitted together, many groups at once.

    Attributes
    ----------
    flux : ndarray, shape (n, k, bands)
        Reference units; 0 for stars that are not there.
    place : ndarray, shape (n, k, 2)
        In the reference, pixels.
    own : list of ndarray, shape (n, k)
        On each image, beyond the common flux, image units.
    drift : list of ndarray, shape (n, k, 2)
        On each image, by proper motions, reference pixels.
    """

    flux: np.ndarray
    place: np.ndarray
    own: list
    drift: list

    def without_last(self):
        """The groups without their last star."""
        return Group(self.flux[:, :-1], self.place[:, :-1], *([v[:, :-1] for v in values] for values in (self.own, self.drift)))

    def on(self, epoch, number):
        """Flux, x and y on an image, each of shape (n, k)."""
        shape = self.flux.shape[:2]
        x, y = (c.reshape(shape) for c in epoch.frame(*(self.place+self.drift[number]).reshape(-1, 2).T))
        there = (self.flux != 0).any(axis=2)
        return np.where(there, self.flux[:, :, epoch.band]*epoch.scale+self.own[number], 0), x, y

    def moved(self, change):
        """The groups after a step; shape of `change` (n, k, bands+2)."""
        count = self.flux.shape[2]
        step = np.clip(change[:, :, count:], -LARGEST_STEP, LARGEST_STEP)
        return Group(self.flux+change[:, :, :count], self.place+step, self.own, self.drift)


def merged(state, significance, radius, insignificant):
    """The state without stars that their neighbours replace, and with these at their refitted positions.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        With the models of its stars on all images.
    significance : ndarray, shape (n,)
        From the covariances; infinite for stars that have not settled.
    radius : float
        Of stars nearer to each other than this, reference pixels, only one is removed.
    insignificant : ndarray of bool, shape (n,)
        Stars below the bound of pruning, which are removed unless the models lose ``cull.prune`` without them nevertheless.
    """
    stars, c = state.stars, state.config.cull
    fixed = hidden(state) | state.known
    candidates = np.flatnonzero((state.blending > MIN_BLENDING) & (significance < SAFE_SIGNIFICANCE) & ~fixed)
    tried, around = with_neighbours(stars, fixed, candidates, state.fwhm)
    loss, bound = np.where(insignificant, significance, np.inf), np.where(insignificant, c.prune, c.merge)
    parts = pieces(len(tried), CHUNK)
    trials = list(state.run(lambda part: trial_fits(state, tried[part], around[part]), parts))
    for part, (lost, _) in zip(parts, trials):
        loss[tried[part]] = lost
    keep = significant(stars, loss/bound, 1., radius)
    fluxes, place = state.fluxes.copy(), np.c_[stars.x, stars.y]
    for part, (_, group) in zip(parts, trials):
        rows, columns = np.nonzero(~keep[tried[part]][:, None] & (around[part] >= 0))
        which = around[part][rows, columns]
        fluxes[:, which], place[which] = group.flux[rows, columns].T, group.place[rows, columns]
    stars = stars.with_values(x=place[:, 0], y=place[:, 1])
    return replace(state, stars=stars, fluxes=fluxes).subset(keep)


def hidden(state):
    """Which stars lie on masked pixels on most images that show them: these are measured by their wings, far beyond a box."""
    masked, shown = np.zeros((2, len(state.stars)))
    for epoch in map(state.opened, state.epochs):
        s = epoch.state.sources
        masked[epoch.rows] += epoch.image.ivar[s.inside(epoch.image.shape)] == 0
        shown[epoch.rows] += 1
    return masked > shown/2


def trial_fits(state, tried, around):
    """Fits without some stars, one at a time, in which their neighbours move, on all images at once.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
    tried : ndarray of int, shape (n,)
    around : ndarray of int, shape (n, k)
        Their neighbours; -1 for none.

    Returns
    -------
    significance : ndarray, shape (n,)
        Square root of the chi2 that is lost without the star.
    group : Group
        The neighbours, refitted.
    """
    members = np.concatenate([around, tried[:, None]], axis=1)
    there = members >= 0
    flux, all_places = np.where(there[:, :, None], state.fluxes.T[members], 0), np.c_[state.stars.x, state.stars.y]
    place = np.where(there[:, :, None], all_places[members], all_places[tried][:, None])
    drift = [np.where(there[:, :, None], state.drift(k)[members], 0) for k in range(len(state.epochs))]
    whole = Group(flux, place, [np.where(there, own[members], 0) for own in state.own], drift)
    scenes = [_Scene(state.opened(epoch), number, whole) for number, epoch in enumerate(state.epochs)]
    _, gain, chi2 = solved(scenes, whole)
    group = whole.without_last()
    best, chosen = np.full(len(tried), np.inf), group
    for _ in range(N_STEPS+1):
        change, _, now = solved(scenes, group)
        better = now < best
        best = np.where(better, now, best)
        pairs = (group.flux, chosen.flux), (group.place, chosen.place)
        chosen = Group(*(np.where(better[:, None, None], now, before) for now, before in pairs), group.own, group.drift)
        group = group.moved(change)
    return np.sqrt(np.maximum(best-(chi2-gain), 0)), chosen


def solved(scenes, group):
    """One step of least squares for all stars of each group on all images.

    Parameters
    ----------
    scenes : sequence of _Scene
    group : Group

    Returns
    -------
    change : ndarray, shape (n, k, bands+2)
    gain, chi2 : ndarray, shape (n,)
        By how much chi2 would be less after the step if all were linear, and what it is before.
    """
    n, k, count = group.flux.shape
    terms = k*(count+2)
    normal, rhs, chi2 = np.zeros((n, terms, terms)), np.zeros((n, terms)), np.zeros(n)
    for scene in scenes:
        matrix, right, own, factors = scene.equations(group)
        half = linear.matmul(matrix.reshape(n, 3*k, k, 3).transpose(0, 2, 1, 3), factors)
        half = half.transpose(0, 2, 1, 3).reshape(n, k, 3, terms)
        normal += linear.matmul(factors.transpose(0, 1, 3, 2), half).reshape(n, terms, terms)
        rhs += linear.matmul(factors.transpose(0, 1, 3, 2), right[..., None]).reshape(n, terms)
        chi2 += own
    own = np.diagonal(normal, axis1=1, axis2=2)
    diagonal = np.arange(terms)
    # what has no pixel or no flux stays
    normal[:, diagonal, diagonal] = np.where(own > 0, own*(1+RIDGE), 1)
    change = linear.solve(normal, rhs[..., None])[..., 0]
    return change.reshape(n, k, count+2), (change*rhs).sum(axis=1), chi2


class _Scene:
    """The pixels of an image around many groups: what is left of the data without these."""

    def __init__(self, epoch, number, group):
        self.epoch, self.number = epoch, number
        flux, x, y = group.on(epoch, number)
        side = 2*round(BOX_SIDE*float(epoch.state.psf.fwhm())/2)+1
        self.box = Boxes.centred(epoch.state, x[:, -1], y[:, -1], side)
        planes = self.box.planes(x, y, flux)
        self.target = self.box.residual+kernel.group_models(planes[0], *self.box.corners(x, y), flux, side)

    def equations(self, group):
        """Normal matrix, right-hand side and chi2 of each group on the image's own parameters.

        The fourth, of shape (n, k, 3, bands+2), is what turns changes of reference parameters into changes of these.
        """
        flux, x, y = group.on(self.epoch, self.number)
        planes, corners = self.box.planes(x, y, flux), self.box.corners(x, y)
        residual = self.target-kernel.group_models(planes[0], *corners, flux, self.box.side)
        n, k, count = group.flux.shape
        factors = np.zeros((n, k, 3, count+2))
        factors[:, :, 0, self.epoch.band] = self.epoch.scale
        jacobian = self.epoch.frame.jacobian(*group.place.reshape(-1, 2).T).reshape(n, k, 2, 2)
        factors[:, :, 1:, count:] = flux[:, :, None, None]*jacobian
        return *kernel.group_equations(residual, self.box.ivar, planes, *corners), factors
