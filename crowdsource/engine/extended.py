"""Extended sources: one profile in the place of the point sources into which a galaxy is taken apart.

Where several sources are close together and none of them dominates, the light of their middle is compared with a few profiles,
which excludes nearly all groups of stars. For the others a profile is fitted to the pixels without these sources. It takes their
place where chi2 becomes hardly worse. Its light is part of the model from then on, and is fitted anew after each joint fit of the
points.
"""
from dataclasses import replace

import numpy as np

from ..core.flags import ENGINE
from ..core.neighbours import neighbours
from ..cython_ext import detect as detect_kernel
from ..psf.base import pixel
from . import stages
from .cull import off_image
from .measure import boxes, cutouts
from .profile_fit import LARGEST_SCALE, ProfileFit
from .profiles import ConvolvedDisc, add_profiles, distance
from .state import LAST, PRUNE, SEARCH

FIRST_PASS, LAST_PASS = 1, 4
"""Searches in which groups are looked for: before the first the PSF is not known, after the last few are found. Pruning passes
look for them too."""
LINK, LEAST_GROUP = 1.5, 3
"""A group is so many sources within so many FWHM of one of them."""
MOST_IN_ONE = 0.6
"""Largest share of one source in the flux of its group: among stars one dominates mostly."""
SCALES, AXIS_RATIO, ANGLES = (0.5, 0.9, 1.6, 2.8), 0.4, 4
"""Profiles with which groups are compared: scale lengths, FWHM; axis ratio of those that are not round, and number of their
angles."""
BETTER, BRIGHT, WORST = 0.1, 1500., 0.05
"""One of these must be better than the sources by this share of the chi2 of the group's light; where this falls by so much with
it, it may be worse by that share. Few groups of stars are like that."""
LIKE, RATHER_LIKE, FAR_BETTER = 0.1, 0.2, 0.25
"""Largest misfit of a fitted profile in a search, relative to the light, in the norm of chi2; and where its excess of chi2 is
less than this part of the points' own."""
FIRST_REACH, PROMISING, MISFIT = 2.5, 0.9, 0.07
"""Half side of the box of a first fit, FWHM; largest excess of its chi2, relative to that of the points, or misfit."""
WORSE = 2.
"""So much may chi2 become worse for each parameter that is saved: by about as much points follow the noise."""
LEAST_SNR, LEAST_SCALE = 20., 0.4
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
    for x, y, shape in groups(state, fwhm):
        if any(distance(one.shape, x-one.x, y-one.y) < CORE for one in state.extended):
            continue
        fit = _fit_of_group(state, fwhm, x, y, shape)
        if fit is not None:
            # what is taken apart no more is not what ends a search
            state = replace(_with_profile(state, fit), grown=state.grown+np.count_nonzero(fit.flux == 0))
    return state


def _fit_of_group(state, fwhm, x, y, shape):
    """The fit of a profile in the place of a group of sources; None where the points are better."""
    ny, nx = state.image.shape
    _, group = neighbours(state.x, state.y, [x], [y], FIRST_REACH*fwhm)
    fit = ProfileFit.started(state, fwhm, x, y, shape, reach=FIRST_REACH).over(group, np.zeros(len(group))).fitted(STEPS)
    if not _promising(fit):
        fit = fit.with_stars()
        # a group that is mostly stars is none
        few = 0 < np.count_nonzero(fit.flux) <= len(group)-LEAST_GROUP
        if not (few and _promising(fit.fitted(STEPS))):
            return None
    for _ in range(ROUNDS):
        fit = fit.recentred().fitted(0).with_members().fitted(STEPS)
        px, py = pixel(fit.parameters[1:3])
        if not (fit.parameters[0] > 0 and 0 <= px < nx and 0 <= py < ny):
            return None
    fit = fit.recentred().fitted(0)
    fit = fit.with_members().fitted(STEPS).with_stars().fitted(STEPS)
    return fit if _wins(fit) else None


def _promising(fit):
    """Whether a first fit to the middle of a group is good enough to be continued."""
    chi2, points, pixels, light = _compared(fit)
    return pixels > 0 and fit.scale > LEAST_SCALE and chi2-pixels < max(PROMISING*(points-pixels), MISFIT**2*light)


def _wins(fit):
    """Whether a profile is better than the sources in whose place it is fitted."""
    state, n = fit.state, np.count_nonzero(fit.flux == 0)
    if n < LEAST_GROUP or not fit.snr > LEAST_SNR or not LEAST_SCALE < fit.scale < LARGEST_SCALE:
        return False
    others = np.ones(len(state.sources), bool)
    others[fit.members[fit.flux == 0]] = False
    near = fit.distances(state.sources) < CORE
    # light around a star that outshines it is that star's
    if (state.sources.flux[near & others] > fit.parameters[0]).any():
        return False
    chi2, points, pixels, light = _compared(fit)
    allowed = WORSE*(3*n-N_SHAPE)
    if state.kind != SEARCH:
        return chi2 < points+allowed
    like = RATHER_LIKE if chi2-pixels < FAR_BETTER*(points-pixels) else LIKE
    return chi2 < min(points, pixels+like**2*light)+allowed


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


def groups(state, fwhm):
    """Groups of sources whose middle is like a profile, the brightest first.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With the model of its sources.
    fwhm : float
        Of the PSF, pixels.

    Returns
    -------
    list of tuple
        x, y and shape (xx, xy, yy) of the profile that is most alike.
    """
    s = state.sources
    indptr, near = neighbours(s.x, s.y, s.x, s.y, LINK*fwhm)
    if not len(s):
        return []
    first, count, light = indptr[:-1], np.diff(indptr), np.maximum(s.flux, 0)[near]
    weight = light*np.exp2(-2*((s.x[near]-np.repeat(s.x, count))**2+(s.y[near]-np.repeat(s.y, count))**2)/fwhm**2)
    total, density = np.add.reduceat(light, first), np.add.reduceat(weight, first)
    seed = (count >= LEAST_GROUP) & (np.maximum.reduceat(light, first) < MOST_IN_ONE*total) & (total > LEAST_SNR*s.error)
    seed &= (density >= np.maximum.reduceat(density[near], first)) & ~off_image(s, state.image.shape, 0.)
    seed = np.flatnonzero(seed)
    seed = seed[np.argsort(-density[seed], kind="stable")]
    x, y = (np.add.reduceat(weight*at[near], first)[seed]/density[seed] for at in (s.x, s.y))
    reach = int(np.ceil(LINK*fwhm))
    clear = ~detect_kernel.bits_near(state.image.mask, ENGINE.saturated, pixel(y), pixel(x), reach)
    return alike(state, x[clear], y[clear], 2*reach+1)


def alike(state, x, y, side):
    """Those positions at which the image is like a profile on a constant, each with that profile's shape.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    x, y : ndarray, shape (n,)
    side : int
        Odd, pixels: that of the boxes; the circle in each counts.

    Returns
    -------
    list of tuple
        x, y, shape.
    """
    if not len(x):
        return []
    at = np.arange(side)-side//2
    circle = (at[None, :]**2+at[:, None]**2 <= (side/2)**2).ravel()
    shapes, t = templates(state.psf, side)
    t = t.reshape(len(t), -1)[:, circle]
    residual, ivar = (v.reshape(len(x), -1)[:, circle].astype(np.float64) for v in boxes(state, x, y, side))
    data = residual+cutouts(state.model, x, y, side).reshape(len(x), -1)[:, circle]
    w, wd = ivar.sum(axis=1)[:, None], (ivar*data).sum(axis=1)[:, None]
    w = np.where(w > 0, w, 1)
    wt = ivar@t.T
    projection, norm = (ivar*data)@t.T-wd*wt/w, ivar@(t**2).T-wt**2/w
    gain = np.where((projection > 0) & (norm > 0), projection**2/np.where(norm > 0, norm, 1), 0)
    whole, best = ((ivar*data**2).sum(axis=1)-wd[:, 0]**2/w[:, 0]), gain.argmax(axis=1)
    worse = whole-gain.max(axis=1)-(ivar*residual**2).sum(axis=1)
    good = worse < np.where(gain.max(axis=1) > BRIGHT, WORST, -BETTER)*whole
    return [(x[k], y[k], shapes[best[k]]) for k in np.flatnonzero(good & (gain.max(axis=1) > 0))]


def templates(psf, side):
    """Shapes (xx, xy, yy) of the profiles with which groups are compared, and their stamps in the middle of the image."""
    fwhm, small = float(psf.fwhm()), AXIS_RATIO**2
    unit = [(1., 0., 1.)]
    for angle in np.arange(ANGLES)*np.pi/ANGLES:
        c, s = np.cos(angle), np.sin(angle)
        unit.append((c*c+small*s*s, (1-small)*s*c, s*s+small*c*c))
    shapes = [(scale*fwhm)**2*np.array(one) for scale in SCALES for one in unit]
    margin = int(np.ceil(MARGIN*max(SCALES)*fwhm))
    disc, inner = ConvolvedDisc(psf, *np.round(psf.centre), side+2*margin), slice(margin, margin+side)
    return shapes, np.array([disc.stamp(shape)[inner, inner] for shape in shapes])
