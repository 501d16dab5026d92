"""Pruning: which sources stay in the list after a pass."""
from dataclasses import replace

import numpy as np

from ..core.calibration import calibration
from ..core.neighbours import neighbours
from . import stages
from .confusion import extent_factor
from .cull import joined, marginal_error, removal_error, significant
from .measure import extent_significance, measured
from .merge import entangled, merged
from .model_error import JUDGED, error_of_others
from .schedule import pruning_share
from .state import PRUNE

SAFE_SIGNIFICANCE = calibration.prune.safe_significance
"""Sources this many times as significant as the bound stay, however extended: without them the residual would show them."""
TYPICAL_EXTENT = calibration.prune.typical_extent
"""Typical extent of an isolated star (sigma); larger values suggest an unresolved blend."""
EXTENT_SHARE = calibration.prune.extent_share
"""Extent measured over a whole stamp, which other stars' light increases, counts this much of one measured in the inner box."""
COMPETITION_RADIUS = calibration.prune.competition_radius
"""Sources within so many FWHM of each other compete: only the least significant of them is removed at a time."""


def pruned(state):
    """The state without the sources that are too faint, too close to another, or not needed by the model.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With covariances, where this pass prunes.

    Returns
    -------
    PassState
        Its model is not rendered anew, and its covariances are no longer known.
    """
    c, sources, share = state.config.cull, state.sources, pruning_share(state)
    if share == 0:
        return replace(state, sources=sources.subset(stages.acceptable_of(state, sources)), covariance=None)
    fwhm = float(state.psf.fwhm())
    radius = COMPETITION_RADIUS*fwhm
    state, significance = judged(state, share*c.prune, radius)
    # in a search what is left may still become significant
    least = c.search_share*c.prune if state.kind == PRUNE else 0.
    keep = significant(sources, significance, share*c.prune, radius, fwhm, least)
    merging = state.kind == PRUNE and c.merge > 0
    if merging:
        # a fit without them tells more about sources that are hardly separated from their neighbours
        retried = ~keep & entangled(state)
        keep |= retried
    needed = keep.copy()
    keep[keep] = stages.acceptable_of(state, sources.subset(keep))
    if not merging:
        return replace(state, sources=sources.subset(keep), covariance=None)
    kept = replace(stages.without(state, ~keep), covariance=state.covariance[keep])
    left = merged(kept, significance[keep], radius, retried[keep])
    # no fit of positions follows
    return replace(left, sources=joined(left.sources, sources.subset(needed & ~keep), c.min_separation), covariance=None)


def judged(state, bound, radius):
    """Significance of the sources for pruning: the square root of the chi2 that the model loses without them.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    bound : float
        Significance that a source must reach.
    radius : float
        Sources nearer than this to a new one are not judged, pixels.

    Returns
    -------
    state : PassState
        With the model of its sources, where that was needed.
    significance : ndarray, shape (n,)
        Infinite for sources that are not judged.
    """
    sources, error = state.sources, np.hypot(removal_error(state.covariance), JUDGED*error_of_others(state))
    significance = sources.flux/error
    if state.kind == PRUNE:
        state = stages.with_model(state)
        confusion, _ = stages.confusion_of(state, marginal_error(state.covariance))
        doubtful = significance < bound*SAFE_SIGNIFICANCE
        significance = significance/blend_factor(state, error, confusion, doubtful)
    # a source found in this pass has not settled yet, nor have its neighbours
    new = sources.passno == state.passno
    significance[neighbours(sources.x, sources.y, sources.x[new], sources.y[new], radius)[1]] = np.inf
    return state, significance


def blend_factor(state, error, confusion, which):
    """Ratio of a source's noise, given its extent, to the noise of an isolated star, shape (n,).

    Unresolved light makes a source extended: a faint and extended source is more often several unresolved stars than one.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With covariances.
    error, confusion : ndarray, shape (n,)
        Flux errors, and the noise of confusion of sources as wide as the PSF.
    which : ndarray of bool, shape (n,)
        Sources for which it is wanted; 1 for the others.
    """
    # nothing more can be said of a flux that is not known at all
    which = np.flatnonzero(which & np.isfinite(error))
    error, confusion = error[which], confusion[which]
    factor = np.ones(len(state.sources))
    # neighbours that may move or change make an extent as uncertain as they make a flux
    blending = marginal_error(state.covariance)[which]/state.sources.error[which]
    extended = confusion*extent_factor(EXTENT_SHARE*extent_significance(measured(state, which))/blending)
    typical = np.hypot(error, confusion*extent_factor(EXTENT_SHARE*TYPICAL_EXTENT))
    factor[which] = np.minimum(np.hypot(error, extended)/typical, SAFE_SIGNIFICANCE)
    return factor
