"""Extended sources: one profile in the place of the point sources into which a galaxy is taken apart.

Where several sources are close together and none of them dominates, their light is compared with a few profiles, which excludes
nearly all groups of stars. For the others a profile is fitted to the pixels without these sources. It takes their place where
chi2 becomes hardly worse. Its light is part of the model from then on, and is fitted anew after each joint fit of the points.
"""
from dataclasses import replace

import numpy as np

from ..core import functions, linear
from ..core.calibration import calibration
from ..core.flags import ENGINE
from ..core.neighbours import neighbours
from ..cython_ext import detect as detect_kernel
from ..psf.base import pixel
from . import stages
from .budget import trials_left
from .cull import off_image
from .measure import boxes, cutouts
from .profile_fit import LARGEST_SCALE, ProfileFit
from .profiles import ConvolvedDisc, add_profiles, distance
from .state import LAST, PRUNE, SEARCH

FIRST_PASS, LAST_PASS = 1, 3
"""Searches in which groups are looked for: before the first the PSF is not known, after the last few are found. Pruning passes
look for them too."""
REACHES, LEAST_GROUP = calibration.extended.reaches, 3
"""A group is so many sources within one of these radii, FWHM, of one of them: faint galaxies show themselves on a large scale."""
MOST_IN_ONE = calibration.extended.most_in_one
"""A source with more than this share of the light within such a radius is a star, and belongs to no group."""
SCALES, AXIS_RATIO, ANGLES = (0.33, 0.6, 1.05), 0.4, 4
"""Profiles with which groups are compared: scale lengths, radii of the group; axis ratio of those that are not round, and number
of their angles."""
BETTER = calibration.extended.better
"""One of these must be better than the sources by this share of the chi2 of the group's light: few groups of stars are like
that."""
FIRST_BOX = 5/3
"""Half side of the box of a first fit, radii of the group."""
LIKE = calibration.extended.like
"""Largest misfit of a fitted profile, relative to its light, in the norm of chi2."""
WORSE = calibration.extended.worse
"""So much may chi2 become worse for each parameter that is saved: by about as much points follow the noise."""
LEAST_SNR, LEAST_SCALE = calibration.extended.least_snr, 0.4
"""Smallest flux over error of a profile; smallest scale length, FWHM: a blend of stars has a smaller one."""
N_SHAPE, MARGIN = 6, 1.
"""Parameters of a profile; what stamps of those for the comparison reach beyond the boxes, scale lengths."""
CORE = 1.7
"""Half of a profile's light is within so many scale lengths."""
ROUNDS, STEPS, REFIT_STEPS = 3, 5, 2
"""How often the sources are chosen in whose place a new profile is fitted, steps after each choice, and steps of a known one."""


def with_extended(state):
    """The state with its profiles fitted anew, and with new ones in the place of groups of sources.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With the model of its sources and profiles.
    """
    if state.forced or not state.config.detect.extended or state.passno < FIRST_PASS:
        return state
    looking = state.kind == PRUNE or (state.kind == SEARCH and state.passno <= LAST_PASS)
    if not (looking or state.extended):
        return state
    fwhm = float(state.psf.fwhm())
    for known in state.extended:
        state = _refitted(state, fwhm, known)
    return _with_new(state, fwhm) if looking else state


def _refitted(state, fwhm, known):
    """The state with one of its profiles fitted anew, also in the place of sources that have been found on it."""
    model = state.model.copy()
    add_profiles(model, [known], -1.)
    state = replace(state, model=model, extended=tuple(one for one in state.extended if one is not known))
    fit = ProfileFit.started(state, fwhm, known.x, known.y, known.shape, known.flux, known.passno).fitted(REFIT_STEPS)
    if state.kind != LAST:
        alone = fit.with_members().with_stars()
        alone = alone.fitted(REFIT_STEPS) if len(alone.members) else fit
        if alone.chi2 < fit.chi2+WORSE*3*np.count_nonzero(alone.flux == 0):
            fit = alone
    return _with_profile(state, fit) if fit.parameters[0] > 0 else state


def _with_profile(state, fit):
    """The state with the profile of a fit in the place of its members, and stars among these with the fluxes that are left."""
    s, model = state.sources, state.model.copy()
    add_profiles(model, [fit.profile])
    flux, keep = s.flux.copy(), np.ones(len(s), bool)
    flux[fit.members], keep[fit.members] = fit.flux, fit.flux > 0
    if len(fit.members):
        members = s.subset(fit.members)
        model = stages.rendered(state, members.with_values(flux=fit.flux-members.flux), out=model)
    covariance = state.covariance if state.covariance is None else state.covariance[keep]
    return replace(state, model=model, extended=(*state.extended, fit.profile), covariance=covariance,
                   sources=s.with_values(flux=flux).subset(keep))


def _with_new(state, fwhm):
    """The state with profiles in the place of groups of sources."""
    for reach in REACHES:
        for x, y, shape in groups(state, fwhm, reach):
            if any(distance(one.shape, x-one.x, y-one.y) < CORE for one in state.extended):
                continue
            if trials_left(state) < 0:
                return state
            fit, work = _fit_of_group(state, fwhm, x, y, shape, reach)
            state = replace(state, spent=state.spent.tried(work, fit is not None))
            if fit is not None:
                # what is taken apart no more is not what ends a search
                state = replace(_with_profile(state, fit), grown=state.grown+np.count_nonzero(fit.flux == 0))
    return state


def _fit_of_group(state, fwhm, x, y, shape, reach):
    """The fit of a profile in the place of a group of sources, or of all but the brightest, and pixels of all trials.

    None where the points are better.
    """
    radius = FIRST_BOX*reach*fwhm
    start = ProfileFit.started(state, fwhm, x, y, shape, most=radius)
    _, group = neighbours(state.x, state.y, [x], [y], radius)
    group = group[np.argsort(-state.flux[group], kind="stable")]
    work = 0
    for members in (group, group[1:]):
        fit = start.over(members, np.zeros(len(members))).fitted(STEPS)
        if not _like(fit):
            fit = fit.with_stars().fitted(STEPS)
        for _ in range(ROUNDS):
            if not _like(fit):
                break
            fit = fit.recentred().fitted(0).with_members().fitted(STEPS).with_stars().fitted(STEPS)
        else:
            if _wins(fit):
                return fit, work+fit.work
        work += fit.work
    return None, work


def _like(fit):
    """Whether the light is like a profile of an allowed size on the image, or more like it than like the sources."""
    (px, py), (ny, nx) = pixel(fit.parameters[1:3]), fit.state.image.shape
    if not (fit.parameters[0] > 0 and 0 <= px < nx and 0 <= py < ny and LEAST_SCALE < fit.scale < LARGEST_SCALE):
        return False
    chi2, points, pixels, light = _compared(fit)
    return 0 < pixels and chi2 < max(points, pixels+LIKE**2*light)


def _wins(fit):
    """Whether a profile is better than the sources in whose place it is fitted."""
    saved = 3*np.count_nonzero(fit.flux == 0)-N_SHAPE
    if saved <= 0 or not fit.snr > LEAST_SNR:
        return False
    chi2, points, pixels, light = _compared(fit)
    # what has not been found yet speaks for neither
    most = min(points, pixels+LIKE**2*light) if fit.state.kind == SEARCH else points
    return chi2 < most+WORSE*saved


def _compared(fit):
    """chi2 of a profile and of the sources in whose place it is fitted, number of pixels, and chi2 of the profile's light."""
    ivar = np.where(fit.ellipse, fit.ivar, 0)
    residual, _ = boxes(fit.state, *(np.array([float(at)]) for at in fit.middle), len(fit.data))
    points = min(least_chi2(data, ivar) for data in (residual[0], fit.over(fit.members[:0], fit.flux[:0]).data))
    chi2 = (ivar*(fit.data-fit.stamp-fit.parameters[-1])**2).sum()
    return float(chi2), points, np.count_nonzero(ivar), float((ivar*fit.stamp**2).sum())


def least_chi2(data, ivar):
    """chi2 of pixels less the constant for which it is least."""
    return float((ivar*data**2.).sum()-(ivar*data).sum()**2/max(ivar.sum(), 1e-300))


def groups(state, fwhm, reach):
    """Groups of sources whose light is like a profile, the brightest first.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With the model of its sources.
    fwhm : float
        Of the PSF, pixels.
    reach : float
        Radius of a group, FWHM.

    Returns
    -------
    list of tuple
        x, y and shape (xx, xy, yy) of the profile that is most alike.
    """
    s, snr, reach = state.sources, LEAST_SNR*reach, reach*fwhm
    if not len(s):
        return []
    indptr, near = neighbours(s.x, s.y, s.x, s.y, reach)
    first, count, light = indptr[:-1], np.diff(indptr), np.maximum(s.flux, 0)
    star = light > MOST_IN_ONE*np.add.reduceat(light[near], first)
    light, member = np.where(star, 0, light)[near], ~star[near]
    weight = light*np.exp2(-4.5*((s.x[near]-np.repeat(s.x, count))**2+(s.y[near]-np.repeat(s.y, count))**2)/reach**2)
    number, total, density = (np.add.reduceat(v, first) for v in (member.astype(np.intp), light, weight))
    seed = (number >= LEAST_GROUP) & (total > snr*s.error) & ~star & ~off_image(s, state.image.shape, 0.)
    seed &= density >= np.maximum.reduceat(density[near], first)
    seed = np.flatnonzero(seed)
    seed = seed[np.argsort(-density[seed], kind="stable")]
    x, y = (np.add.reduceat(weight*at[near], first)[seed]/density[seed] for at in (s.x, s.y))
    clear = ~detect_kernel.bits_near(state.image.mask, ENGINE.saturated, pixel(y), pixel(x), int(np.ceil(reach)))
    return alike(state, x[clear], y[clear], ~star, reach) if clear.any() else []


def alike(state, x, y, members, reach):
    """Those positions at which the light of some sources is like a profile on a constant, each with that profile's shape.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    x, y : ndarray, shape (n,)
    members : ndarray of bool
        The sources whose light counts.
    reach : float
        Radius of the circle that counts, pixels.

    Returns
    -------
    list of tuple
        x, y, shape.
    """
    side = 2*int(np.ceil(reach))+1
    at = np.arange(side)-side//2
    circle = (at[None, :]**2+at[:, None]**2 <= (side/2)**2).ravel()
    shapes, t = templates(state.psf, reach, side)
    # picked out by numbers, rows stay rows in memory; by a mask they would become columns
    circle = np.flatnonzero(circle)
    t = t.reshape(len(t), -1).take(circle, axis=1).astype(np.float32)
    light = stages.rendered(state, state.sources.subset(members))
    residual, ivar = (v.reshape(len(x), -1).take(circle, axis=1) for v in boxes(state, x, y, side))
    data = residual+cutouts(light, x, y, side).reshape(len(x), -1).take(circle, axis=1)
    weighted = ivar*data
    w, wd = ivar.sum(axis=1)[:, None], weighted.sum(axis=1)[:, None]
    w = np.where(w > 0, w, 1)
    wt = linear.products(ivar, t)
    projection, norm = linear.products(weighted, t)-wd*wt/w, linear.products(ivar, t**2)-wt**2/w
    gain = np.where((projection > 0) & (norm > 0), projection**2/np.where(norm > 0, norm, 1), 0)
    whole, best = (weighted*data).sum(axis=1)-wd[:, 0]**2/w[:, 0], gain.argmax(axis=1)
    worse = whole-gain.max(axis=1)-(ivar*residual**2).sum(axis=1)
    good = (worse < -BETTER*whole) & (gain.max(axis=1) > LEAST_SNR**2)
    return [(x[k], y[k], shapes[best[k]]) for k in np.flatnonzero(good)]


def templates(psf, reach, side):
    """Shapes (xx, xy, yy) of the profiles with which groups are compared, and their stamps in the middle of the image."""
    small, unit = AXIS_RATIO**2, [(1., 0., 1.)]
    for angle in np.arange(ANGLES)*np.pi/ANGLES:
        c, s = functions.cos(angle), functions.sin(angle)
        unit.append((c*c+small*s*s, (1-small)*s*c, s*s+small*c*c))
    shapes = [(scale*reach)**2*np.array(one) for scale in SCALES for one in unit]
    margin = int(np.ceil(MARGIN*max(SCALES)*reach))
    disc, inner = ConvolvedDisc(psf, *np.round(psf.centre), side+2*margin), slice(margin, margin+side)
    return shapes, np.array([disc.stamp(shape)[inner, inner] for shape in shapes])
