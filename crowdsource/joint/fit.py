"""The stage of a joint fit that improves all fluxes and positions at once, and accepts or rejects candidates and stars."""
from dataclasses import dataclass, replace

import numpy as np

from ..core import linear
from ..core.neighbours import neighbours
from ..engine.confusion import confusion_noise, extent_factor, response
from ..engine.cull import acceptable, removal_error, significant
from ..engine.measure import measured
from ..engine.merge import MIN_BLENDING
from ..engine.prune import COMPETITION_RADIUS, EXTENT_SHARE, SAFE_SIGNIFICANCE, TYPICAL_EXTENT
from ..engine.solvers import covariances
from ..engine.solvers.equations import candidate_fluxes, errors_from
from ..engine.state import PRUNE, SEARCH
from .equations import Band, ImageEquations, SharedEquations, joint_step
from .last import listed_on
from .merge import merged
from .motion import change_of_motion
from .parallax import change_of_parallax
from .register import SIGNIFICANT, STARS_PER_TERM, SYSTEMATIC, weighted_median
from .state import FLOOR

FARTHEST = 1.
"""A star that an image sees farther than this from its place does not tell where the image lies, pixels."""
VARIABLE = 4.
"""A star varies where the chi2 of its fluxes exceeds its expectation by so many times its scatter."""
BRIGHT = 30.
"""Stars of so many sigma on an image tell its scale."""
MOST_BLENDED = 10.
FEWEST = 5
"""Of so many at least."""


@dataclass(frozen=True, eq=False)
class Alone:
    """What an image says of its sources by itself, at the model of before a common step.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Of the common list, stars then candidates.
    model : ndarray, shape (n,)
        Fluxes in the model, image units.
    own : ndarray, shape (n,)
        Flux beyond the one that the band gives, as likely as variability allows.
    flux, error, shift, variance
        As `crowdsource.joint.equations.ImageEquations.alone`, the first beyond `own`.
    """

    rows: np.ndarray
    model: np.ndarray
    own: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    shift: np.ndarray
    variance: np.ndarray


def image_equations(epoch, stars, expected, first):
    """The normal equations of an image for stars of the common list, those that it shows.

    Parameters
    ----------
    epoch : crowdsource.joint.state.Epoch
    stars : crowdsource.engine.sources.Sources
        In the reference; candidates at the end.
    expected : ndarray, shape (n,)
        Their fluxes on this image.
    first : int
        Number of the first candidate.

    Returns
    -------
    ImageEquations
    """
    sources, rows = epoch.placed(stars, expected)
    problem = epoch.problem(sources, int((rows < first).sum()))
    epoch.state.workspace.give(problem.linear.stamps.buffer)
    rows = rows[problem.members]
    return ImageEquations(normal=problem.normal, rows=rows, flux=problem.sources.flux,
                          jacobian=epoch.frame.jacobian(stars.x[rows], stars.y[rows]))


def shared_equations(state, first):
    """The equations of each band, and what each image would do alone.

    Images are taken one by one, so that memory does not grow with their number.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        With the candidates at the end of its list.
    first : int
        Number of the first candidate.

    Returns
    -------
    list of Band
    list of Alone
    """
    stars = state.stars
    least = np.maximum(np.where(np.isfinite(stars.error), stars.error, 0), 1e-12*np.abs(stars.flux).max(initial=1.))
    sums = [SharedEquations(np.maximum(line, least)) for line in state.fluxes]

    def one(number):
        epoch, flux = state.opened(state.epochs[number]), state.flux_on(number)
        part = image_equations(epoch, state.stars_on(number), flux, first)
        rows, own = part.rows, state.own[number, part.rows]
        part, change = part.with_own_fluxes(own, epoch.scale*state.spread[rows], state.config.solve)
        return part, Alone(rows, np.where(rows < first, flux[rows], 0), own+change, *part.alone())

    alone = []
    for epoch, (part, image) in zip(state.epochs, state.run(one, range(len(state.epochs)))):
        sums[epoch.band].add(part, epoch.scale)
        alone.append(image)
    return [Band(s.normal(), s.mean, s.shown) for s in sums], alone


def fitted(state, candidates):
    """All fluxes and positions improved by one solve, and candidates accepted as stars or rejected.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
    candidates : crowdsource.engine.sources.Sources
        In the reference.

    Returns
    -------
    state : JointState
        Not yet placed anew on the images: models are those of before.
    bands : list of Band
        From which errors follow.
    figures : dict
    """
    c, before = state.config.solve, len(state.stars)
    whole = state.joined(candidates)
    bands, alone = shared_equations(whole, before)
    keep = sum(band.shown for band in bands) > 0
    keep[:before] |= state.known
    if len(candidates):
        found = [candidate_fluxes(b.normal, b.precision(c.position_prior), before).T for b in bands]
        keep[before:] &= best_significance([f for f, _ in found], [np.sqrt(v) for _, v in found]) > state.config.detect.threshold
    bands, known = [b.subset(keep) for b in bands], whole.known[keep]
    tolerance = c.search_tolerance if state.kind == SEARCH else c.tolerance
    flux, shift, iterations, reduction = joint_step(bands, np.where(known, 0, c.position_prior), tolerance, c.max_iterations)
    step = np.clip(shift, -state.config.centroid.max_step, state.config.centroid.max_step)
    # candidates are not in the model
    fluxes = np.where(np.arange(len(keep)) < before, whole.fluxes, 0)[:, keep]+flux
    errors = errors_from(np.array([b.normal.diagonal[:, 0, 0] for b in bands]))
    state = with_frames_and_scales(whole, before, alone, keep, fluxes, shift)
    weight = np.where(np.isfinite(errors), 1/errors**2, 0)
    total = weight.sum(axis=0)
    mean = (weight*state.fluxes).sum(axis=0)/np.where(total > 0, total, 1)
    stars = state.stars.with_values(x=state.stars.x+step[:, 0], y=state.stars.y+step[:, 1], shift=step, flux=mean,
                                    error=errors_from(total))
    state = replace(state, stars=stars, errors=errors, new=int((stars.passno == state.passno).sum()), grown=len(stars)-before)
    return state, bands, dict(iterations=iterations, reduction=reduction)


def best_significance(flux, error):
    """Significance of stars of typical colour, or in a single band where that is larger; shape (n,).

    Parameters
    ----------
    flux, error : sequence of ndarray, shape (n,)
        Of each band; errors are infinite where nothing is known.
    """
    weight = [np.where(np.isfinite(e), 1/np.where(np.isfinite(e), e, 1)**2, 0) for e in error]
    total = sum(weight)
    together = sum(w*f for w, f in zip(weight, flux))/np.sqrt(np.where(total > 0, total, 1))
    return np.maximum.reduce([together]+[f*np.sqrt(w) for w, f in zip(weight, flux)])


def with_frames_and_scales(state, first, alone, keep, fluxes, shift):
    """The stars that stay, with frames, scales and own fluxes of images as each sees these.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        Of before a common step, with the candidates at the end of its list.
    first : int
        Number of the first candidate.
    alone : sequence of Alone
    keep : ndarray of bool, shape (n_all,)
        Stars and candidates that stay.
    fluxes : ndarray, shape (bands, n)
        New fluxes of those that stay.
    shift : ndarray, shape (n, 2)
        Their shifts in the reference, pixels.
    """
    number, kept = np.cumsum(keep)-1, state.subset(keep)
    epochs, own = [], np.zeros((len(alone), fluxes.shape[1]))
    off, error = np.full((2, *own.shape), np.nan)
    shifts, weights = np.zeros((*own.shape, 2)), np.zeros(own.shape)
    for k, (epoch, image) in enumerate(zip(state.epochs, alone)):
        known = keep[image.rows] & np.isfinite(image.error)
        rows = number[image.rows[known]]
        own[k, rows], off[k, rows], error[k, rows] = (v[known] for v in (image.own, image.own+image.flux, image.error))
        known &= image.rows < first
        rows = number[image.rows[known]]
        scale = scale_of(epoch, image, known, fluxes[epoch.band, rows])
        if state.joint.moving:
            jacobian = epoch.frame.jacobian(state.stars.x[image.rows[known]], state.stars.y[image.rows[known]])
            shifts[k, rows] = linear.solve(jacobian, image.shift[known][..., None])[..., 0]
            weights[k, rows] = epoch.frame.scale**2/(image.variance[known]+SYSTEMATIC**2)
        fixed = k == 0 and not state.known.any()
        frame = epoch.frame if fixed else moved_frame(epoch, image, state.stars_on(k), known, shift[rows])
        epochs.append(replace(epoch, scale=scale, frame=frame))
        # what all fluxes of an image have in common is its scale
        own[k] -= (scale-epoch.scale)*fluxes[epoch.band]*(own[k] != 0)
        off[k] -= (scale-epoch.scale)*fluxes[epoch.band]
    motion, parallax = kept.motion, kept.parallax
    if state.joint.moving:
        years, factor = np.array([e.years for e in epochs]), np.array([e.factor for e in epochs])
        weights = weights/kept.blending**2
        if state.joint.parallax:
            change = change_of_parallax(shifts, weights, years, factor)
            parallax, shifts = parallax+change, shifts-factor[:, None]*change[:, None]
        motion = motion+change_of_motion(shifts, weights, years)
    scale = np.array([e.scale for e in epochs])[:, None]
    off, error = off/scale, error/scale*kept.blending
    common = common_fluxes(state, own/scale, off, np.hypot(error, kept.spread))
    of_image = common[[e.band for e in epochs]]
    fluxes, own, off = fluxes+common, own-scale*of_image, off-of_image
    unit = gauge(kept, epochs, fluxes)
    return replace(kept, epochs=tuple(replace(e, scale=e.scale/unit) for e in epochs), fluxes=fluxes*unit, own=own, motion=motion,
                   parallax=parallax, spread=unit*spreads(off, error, np.maximum(fluxes.max(axis=0), 0)))


def scale_of(epoch, image, known, band):
    """The scale of an image from its bright stars.

    Parameters
    ----------
    epoch : crowdsource.joint.state.Epoch
    image : Alone
    known : ndarray of bool
        Which of its sources count, n of them.
    band : ndarray, shape (n,)
        Common fluxes of these.
    """
    seen, error = band*epoch.scale+image.own[known]+image.flux[known], image.error[known]
    bright = (seen > BRIGHT*error) & (band > 0)
    if bright.sum() < FEWEST:
        return epoch.scale
    return weighted_median(seen[bright]/band[bright], 1/((error[bright]/seen[bright])**2+FLOOR**2))


def common_fluxes(state, own, off, error):
    """What the own fluxes of each star have in common in each band, which is part of its flux; shape (bands, n).

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
    own, off, error : ndarray, shape (images, n)
        On the reference's scale: own fluxes, differences from the common ones, NaN where an image shows no star, and errors.
    """
    out = np.zeros((len(state.bands), own.shape[1]))
    for b, line in enumerate(out):
        images = np.array([e.band == b for e in state.epochs])
        known = np.isfinite(off[images])
        weight = np.where(known, 1/np.where(known, error[images], 1)**2, 0)
        line[:] = (weight*own[images]).sum(axis=0)/np.maximum(weight.sum(axis=0), 1e-300)
    return out


def gauge(state, epochs, fluxes):
    """What fluxes are multiplied by, and scales divided by, so that they stay in the units of the reference.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        With the stars that stay, as before a common step.
    epochs : sequence of crowdsource.joint.state.Epoch
        With their new scales.
    fluxes : ndarray, shape (bands, n)
        New fluxes.
    """
    if not state.known.any():
        return epochs[0].scale/state.unit
    mean, given = fluxes.max(axis=0), state.given
    usable = state.known & (given > 0) & (mean > 0)
    return weighted_median(given[usable]/mean[usable], mean[usable]) if usable.any() else 1.


def moved_frame(epoch, own, stars, known, shift):
    """The frame of an image moved to where it sees the bright stars after a common step.

    Parameters
    ----------
    epoch : crowdsource.joint.state.Epoch
    own : Alone
    stars : crowdsource.engine.sources.Sources
        Before the step, in the reference.
    known : ndarray of bool
        Which of the image's sources count.
    shift : ndarray, shape (n, 2)
        Step of these in the reference, pixels.
    """
    rows = own.rows[known]
    left = own.shift[known]-np.einsum("nij,nj->ni", epoch.frame.jacobian(stars.x[rows], stars.y[rows]), shift)
    use = (own.model[known] > SIGNIFICANT*own.error[known]) & np.isfinite(own.variance[known])
    use &= np.abs(left).max(axis=1, initial=0) < FARTHEST
    if use.sum() < STARS_PER_TERM*(epoch.frame.degree+1)*(epoch.frame.degree+2)/2:
        return epoch.frame
    return epoch.frame.moved(stars.x[rows][use], stars.y[rows][use], left[use], 1/(own.variance[known][use]+SYSTEMATIC**2))


def spreads(off, error, mean):
    """How much the flux of each star varies from image to image, one sigma, reference units; shape (n,).

    Parameters
    ----------
    off, error : ndarray, shape (images, n)
        Difference of each image's flux from the common one, and its error, reference units; NaN where an image shows no star.
    mean : ndarray, shape (n,)
        Common fluxes, 0 where not positive.
    """
    known = np.isfinite(off)
    weight = np.where(known, 1/np.where(known, error, 1)**2, 0)
    count, off = known.sum(axis=0), np.where(known, off, 0)
    chi2 = (weight*off**2).sum(axis=0)
    varies = chi2 > count+VARIABLE*np.sqrt(2*np.maximum(count, 1))
    return np.hypot(np.where(varies, np.sqrt(np.maximum(chi2-count, 0)/np.maximum(weight.sum(axis=0), 1e-300)), 0), FLOOR*mean)


def pruned(state, bands):
    """The state without the stars that are too faint, too close to another, or not needed by the models of all images.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
    bands : sequence of Band
        The equations of its stars.

    Returns
    -------
    JointState
        With its stars on all images.
    """
    c, stars, radius = state.config.cull, state.stars, COMPETITION_RADIUS*state.fwhm
    nv, nu = state.grid.shape
    local = stars.with_values(x=stars.x-state.grid.u0, y=stars.y-state.grid.v0)
    keep = state.known | acceptable(local, c, ((nv-1)//state.grid.steps+1, (nu-1)//state.grid.steps+1))
    covariance = [covariances(b.normal, b.precision(state.config.solve.position_prior)) for b in bands]
    if state.kind == PRUNE:
        state = state.placed()
    state = replace(state, blending=blending(state, covariance), covariance=of_positions(state, covariance))
    value = significance(state, covariance)
    if state.kind == PRUNE:
        value = value/blend_factor(state, covariance, value < SAFE_SIGNIFICANCE*c.prune)
    new = stars.passno == state.passno
    value[neighbours(stars.x, stars.y, stars.x[new], stars.y[new], radius)[1]] = np.inf
    needed = state.known | significant(stars, value, (1. if state.kind == PRUNE else c.search_share)*c.prune, radius)
    if state.kind != PRUNE:
        return state.subset(keep & needed).placed()
    # a fit without them tells more about stars that are hardly separated from their neighbours
    retried = keep & ~needed & (state.blending > MIN_BLENDING)
    keep &= needed | retried
    return merged(state.subset(keep).placed(), value[keep], radius, retried[keep]).placed()


def blend_factor(state, covariance, which):
    """Ratio of a star's noise, given its extent on all images, to that of an isolated star: see `crowdsource.engine.prune`.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        With the models of its stars on all images, as they were before this pass.
    covariance : sequence of ndarray, shape (n, 3, 3)
        Of each band.
    which : ndarray of bool, shape (n,)
        Stars for which it is wanted; 1 for the others.
    """
    extent, known, noise, weight = np.zeros((4, len(which)))

    def one(epoch):
        mine = np.flatnonzero(which[epoch.rows])
        columns = measured(epoch.state, mine)
        listed = listed_on(epoch, state)
        confusion = confusion_noise(listed, listed.error*state.blending[epoch.rows], epoch.image.good,
                                    response(epoch.state.psf.stamp(state.config.solve.stamp_sizes[0])), state.config)[mine]
        error = columns["dspread_model"]
        precision = np.where(error > 0, 1/np.where(error > 0, error, 1)**2, 0)
        return epoch.rows[mine], columns["spread_model"]*precision, precision, confusion/epoch.scale

    for rows, spread, precision, confusion in state.over(one):
        extent[rows] += spread
        known[rows] += precision
        # whose square is not 0
        own = 1/np.maximum(confusion, 1e-100)**2
        noise[rows] += own*confusion
        weight[rows] += own
    significance = extent/np.sqrt(np.maximum(known, 1e-300))
    noise = noise/np.maximum(weight, 1e-300)
    error = np.min([removal_error(c) for c in covariance], axis=0)
    usable = which & np.isfinite(error) & (known > 0)
    error = np.where(usable, error, 1)
    extended = noise*extent_factor(EXTENT_SHARE*significance/state.blending)
    typical = np.hypot(error, noise*extent_factor(EXTENT_SHARE*TYPICAL_EXTENT))
    return np.where(usable, np.minimum(np.hypot(error, extended)/typical, SAFE_SIGNIFICANCE), 1)


def of_positions(state, covariance):
    """Covariance of the positions from all bands, shape (n, 2, 2), reference pixels squared. Parameters as `significance`."""
    total = np.repeat(np.eye(2)[None]/state.config.solve.position_prior**2, len(state.stars), axis=0)
    for line, one in zip(state.fluxes, covariance):
        block = np.where(np.isfinite(one[:, 1:, 1:]), one[:, 1:, 1:], 0)
        known = (line > 0) & (linear.determinant(block) > 0)
        inverse = linear.inverse(np.where(known[:, None, None], block, np.eye(2)))
        total += np.where(known[:, None, None], (line**2)[:, None, None]*inverse, 0)
    return linear.inverse(total)


def blending(state, covariance):
    """Ratio of each flux error to that of an isolated star, shape (n,). Parameters as `significance`."""
    ratio = np.min([np.where(np.isfinite(error), np.sqrt(c[:, 0, 0])/np.where(np.isfinite(error), error, 1), np.inf)
                    for c, error in zip(covariance, state.errors)], axis=0)
    return np.clip(np.where(np.isfinite(ratio), ratio, 1), 1, MOST_BLENDED)


def significance(state, covariance):
    """The square root of the chi2 that the models of all images lose without a star, shape (n,).

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
    covariance : sequence of ndarray, shape (n, 3, 3)
        Of each band.
    """
    return best_significance(list(state.fluxes), [removal_error(c) for c in covariance])
