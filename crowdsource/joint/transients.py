"""Stars that one image shows, or few of many: too faint for the sum of all, beyond doubt on one.

A star of 10 sigma on one of 64 images is one of 1.25 in their sum. So once the common list is settled, before the last pass, each
image is searched by itself for what is left. With N images there are N times as many peaks of noise, so that the bound is higher,
and what is found must look like a star: as wide as the PSF, on good pixels, apart from others. These stars go into the list, and
the last pass fits them with all others; where there are none nothing has changed. The constants are varied on simulated fields in
`benchmarks/studies/joint_transients.py`.
"""
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..core import functions, linear
from ..core.flags import ENGINE
from ..core.neighbours import neighbours, pairs
from ..core.noise import MAD_TO_SIGMA
from ..cython_ext import merge as kernel
from ..cython_ext.detect import bits_near
from ..engine import detection
from ..engine.merge import Boxes
from ..engine.solvers.equations import candidate_fluxes
from ..engine.sources import Sources
from ..engine.stages import matched_filter
from .detection import information_of

BOX_SIDE = 2.
"""Side of the box in which a star must look like one and has no bad pixel, in FWHM."""
STEPS = 3
"""Of the fits in these boxes."""
LARGEST_STEP = 0.5
"""Pixels."""
WORST_CHI, PSF_ERROR = 4., 0.05
"""The chi2 in such a box exceeds its expectation by no more than so many times its scatter, beside what errors of the PSF make:
so much of the flux."""
LEAST_RATIO = 0.25
"""A star has so much of the light that listed stars give its place: less may be an error of the image's PSF."""
CROWD, MOST_TOGETHER = 10., 2
"""More peaks than this within so many FWHM on one image are a trail or a ghost."""
LEAST_OTHERS = 3.
"""The other images know so many times as much of a star as the one that shows it: of fewer images the sum finds it."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Stars that an image shows beyond those of the list.

    Attributes
    ----------
    u, v : ndarray, shape (n,)
        In the reference, pixels.
    significance : ndarray, shape (n,)
        On the image, with its neighbours free.
    covariance : ndarray, shape (n, 2, 2)
        Of the positions, reference pixels squared.
    """

    u: np.ndarray
    v: np.ndarray
    significance: np.ndarray
    covariance: np.ndarray

    def __len__(self):
        return len(self.u)

    def subset(self, which):
        """Those that an index or boolean array selects."""
        return Seen(*(v[which] for v in vars(self).values()))


def with_transients(state):
    """The state with stars that single images show in its list; the same where there are none.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        Before its last pass, pruned.

    Returns
    -------
    JointState
    """
    if len(state.epochs) <= LEAST_OTHERS:
        return state
    bound = single_bound(state.config.cull.prune, len(state.epochs))
    seen = state.over(lambda epoch: seen_alone(epoch, bound))
    seen = distinct(Seen(*(np.concatenate(v) for v in zip(*(vars(s).values() for s in seen)))), state.fwhm)
    if len(seen):
        flux, error = fluxes_of(state, seen)
        differs = largest_difference(flux, error) > bound
        seen, flux, error = seen.subset(differs), flux[:, differs], error[:, differs]
    return with_stars(state, seen, flux, error) if len(seen) else state


def single_bound(bound, images):
    """The significance that noise exceeds on any of some images as often as a bound in their sum."""
    return np.sqrt(bound**2+2*functions.log(images))


def seen_alone(epoch, bound):
    """The `Seen` of an image.

    Parameters
    ----------
    epoch : crowdsource.joint.state.Epoch
    bound : float
        Least significance.
    """
    state = epoch.state
    config, matched = state.config.detect, matched_filter(state)
    noise = noise_of(state, matched)
    strict = replace(config, threshold=bound*noise, candidate=bound*noise, blend_ratio=max(config.blend_ratio, LEAST_RATIO))
    peaks = detection.find_peaks(detection.Scene(
        residual=state.residual, model=state.model, mask=state.image.mask, matched=matched, config=strict, passno=state.passno,
        model_error=state.model_error))
    x, y, flux, covariance, good = fitted_stars(state, peaks)
    peaks = detection.Peaks(x, y, flux, peaks.bright)
    good &= ~bits_near(state.image.mask, ENGINE.saturated, *peaks.inside(state.image.shape), config.saturated_reach)
    near, _ = neighbours(peaks.x, peaks.y, peaks.x, peaks.y, CROWD*float(state.psf.fwhm()))
    good &= np.diff(near) <= MOST_TOGETHER
    peaks = peaks.subset(good)
    apart = detection.apart(peaks, state.x, state.y, config.min_separation*epoch.frame.scale)
    peaks, covariance = peaks.subset(apart), covariance[good][apart]
    significance = among_others(epoch, peaks, matched.error[peaks.inside(state.image.shape)]) if len(peaks) else peaks.flux
    u, v = epoch.frame.inverse(peaks.x, peaks.y)
    back = linear.inverse(epoch.frame.jacobian(u, v))
    seen = Seen(u, v, significance, np.einsum("nij,njk,nlk->nil", back, covariance, back))
    return seen.subset(significance > bound*noise)


def among_others(epoch, peaks, error):
    """Significance of peaks of an image, of some errors of isolated stars, once the listed stars are free; shape (n,)."""
    sources, size, reach = epoch.state.sources, epoch.sizes(epoch.state.flux), epoch.sizes(peaks.flux)
    # stars whose stamps overlap none of the peaks' have no part in this
    off = [np.abs(s[:, None]-p)-(size[:, None]+reach)/2 for s, p in ((sources.x, peaks.x), (sources.y, peaks.y))]
    sources = sources.subset((np.maximum(*off) < 1).any(axis=1))
    first = len(sources)
    problem = epoch.problem(sources.joined(Sources.new(peaks.x, peaks.y, peaks.flux, error)), first)
    epoch.state.workspace.give(problem.linear.stamps.buffer)
    old, out = int((problem.members < first).sum()), np.zeros(len(peaks))
    flux, variance = candidate_fluxes(problem.normal, problem.linear.precision, old).T
    out[problem.members[old:]-first] = flux/np.sqrt(variance)
    return out


def noise_of(state, matched):
    """How much what the model leaves scatters on an image, in errors; 1 at least, more where undetected stars add noise."""
    return max(1., MAD_TO_SIGMA*float(np.median(np.abs(matched.significance(state.residual)[state.image.good]))))


def fitted_stars(state, peaks):
    """Stars fitted at peaks of the residual of an image, each in a box of its own.

    Returns
    -------
    x, y, flux : ndarray, shape (n,)
    covariance : ndarray, shape (n, 2, 2)
        Of the positions, pixels squared.
    good : ndarray of bool, shape (n,)
        Whether the box has good pixels only, and what it holds is a star.
    """
    x, y, flux = (v[:, None].copy() for v in (peaks.x, peaks.y, peaks.flux))
    side = 2*round(BOX_SIDE*float(state.psf.fwhm())/2)+1
    box = Boxes.centred(state, peaks.x, peaks.y, side)

    def equations():
        planes, corners = box.planes(x, y, flux), box.corners(x, y)
        residual = box.residual-kernel.group_models(planes[0], *corners, flux, side)
        return [np.reshape(v, s) for v, s in zip(kernel.group_equations(residual, box.ivar, planes, *corners),
                                                 ((-1, 3, 3), (-1, 3, 1), (-1,)))]

    good = (box.ivar > 0).all(axis=(1, 2))
    for _ in range(STEPS):
        normal, right, _ = equations()
        step = linear.solve(np.where(good[:, None, None], normal, np.eye(3)), right)[:, :, 0]
        flux = np.where(good[:, None], np.maximum(flux+step[:, :1], 0.1*flux), flux)
        x, y = (c+np.clip(s[:, None]/flux, -LARGEST_STEP, LARGEST_STEP) for c, s in ((x, step[:, 1]), (y, step[:, 2])))
    normal, _, chi2 = equations()
    covariance = linear.inverse(np.where(good[:, None, None], normal, np.eye(3)))
    significance = flux[:, 0]/np.sqrt(covariance[:, 0, 0])
    good &= chi2 < side**2+WORST_CHI*np.sqrt(2*side**2)+(PSF_ERROR*significance)**2
    good &= np.hypot(x[:, 0]-peaks.x, y[:, 0]-peaks.y) < 1
    return x[:, 0], y[:, 0], flux[:, 0], covariance[:, 1:, 1:]/flux[:, :, None]**2, good


def distinct(seen, radius):
    """Of those nearer to each other than a radius the most significant."""
    first, second = pairs(seen.u, seen.v, radius).T
    weaker = np.where(seen.significance[first] < seen.significance[second], first, second)
    return seen.subset(np.setdiff1d(np.arange(len(seen)), weaker))


def fluxes_of(state, seen):
    """What the residuals of all images say of some stars: flux and error, reference units, (images, n); infinite for nothing."""
    def one(epoch):
        x, y = epoch.frame(seen.u, seen.v)
        matched = matched_filter(epoch.state)
        noise = noise_of(epoch.state, matched)
        maps = matched.significance(epoch.state.residual)/matched.error, information_of(matched)
        light, known = (ndimage.map_coordinates(m, (y, x), order=1, mode="constant") for m in maps)
        some = known > 0
        safe = np.where(some, known, 1)
        return np.where(some, light/safe, 0)/epoch.scale, np.where(some, noise/np.sqrt(safe), np.inf)/epoch.scale

    return (np.array(v) for v in zip(*state.over(one)))


def largest_difference(flux, error):
    """By how much the image that shows most of a star shows more than others do, 0 where these know little; shape (n,).

    In errors or, where that is more, in what others scatter about 0: near bright stars errors of the PSF are more than noise.
    """
    chi = flux/error
    best = chi.argmax(axis=0), np.arange(chi.shape[1])
    weight, others = 1/error**2, np.abs(chi)
    top, own, others[best] = flux[best], error[best], np.nan
    weight[best] = 0
    rest = np.maximum(weight.sum(axis=0), 1e-300)
    scatter = np.maximum(MAD_TO_SIGMA*np.nanmedian(others, axis=0), 1)
    # what no image knows has infinite errors
    with np.errstate(divide="ignore", invalid="ignore"):
        above = (top-(weight*flux).sum(axis=0)/rest)/(scatter*np.sqrt(own**2+1/rest))
    return np.where(rest*own**2 >= LEAST_OTHERS, above, 0)


def with_stars(state, seen, flux, error):
    """The state with further stars, with their fluxes on all images. Parameters as `fluxes_of` and what it gives."""
    weight, bands = 1/error**2, np.array([e.band for e in state.epochs])
    total = np.array([weight[bands == b].sum(axis=0) for b in range(len(state.bands))])
    light = np.array([(weight*flux)[bands == b].sum(axis=0) for b in range(len(state.bands))])
    errors = 1/np.sqrt(np.where(total > 0, total, np.nan))
    errors, mean = np.where(total > 0, errors, np.inf), light/np.where(total > 0, total, 1)
    whole = np.maximum(total.sum(axis=0), 1e-300)
    scale = np.array([e.scale for e in state.epochs])[:, None]
    new = Sources.new(seen.u, seen.v, light.sum(axis=0)/whole, 1/np.sqrt(whole), passno=state.passno)
    spread = np.sqrt(np.mean((flux-mean[bands])**2, axis=0))
    return state.joined(new, fluxes=mean, errors=errors, own=scale*(flux-mean[bands]), spread=spread,
                        covariance=seen.covariance).placed()
