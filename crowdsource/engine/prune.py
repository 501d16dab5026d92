"""Pruning: which sources stay in the list after a pass."""
from dataclasses import replace

import numpy as np

from ..core.neighbours import neighbours
from . import stages
from .confusion import widening
from .cull import marginal_error, needed, removal_error, worthy
from .measure import extent_significance, measured
from .merge import entangled, merged
from .schedule import pruning_share
from .state import PRUNE

MOST_DOUBT = 2.
"""A source so many times as significant as the bound stays, however wide: without it the residual would show it."""
USUAL_EXTENT = -0.45
"""Of a single star, in sigma: what is wider is rather several of them."""
DOUBT = 0.8
"""So much of an extent over a whole stamp, where other stars' light adds to it, counts like one of a star's heart."""
PRUNE_REACH = 1.5
"""Sources within so many FWHM of each other compete when some have to go."""


def culled(state):
    """The state without the sources that are too faint, too close, or not needed by the model, which is not rendered anew."""
    c = state.config.cull
    sources, share = state.sources, pruning_share(state)
    keep = np.ones(len(sources), bool)
    if share > 0:
        error = removal_error(state.covariance)
        significance = sources.flux/error
        if state.kind == PRUNE:
            state = stages.with_model(state)
            confusion, _ = stages.confused(state, marginal_error(state.covariance))
            doubtful = significance < share*c.prune*MOST_DOUBT
            significance = significance/widened(state, error, confusion, doubtful)
        competing = PRUNE_REACH*float(state.psf.fwhm())
        # what was found in this pass has not settled yet, nor has what stands next to it
        new = sources.passno == state.passno
        significance[neighbours(sources.x, sources.y, sources.x[new], sources.y[new], competing)[1]] = np.inf
        keep = needed(sources, significance, share*c.prune, competing)
    merging = state.kind == PRUNE and share > 0 and c.merge > 0
    if merging:
        # of sources that are hardly told apart from their neighbours a fit without them tells more
        retried = ~keep & entangled(state)
        keep |= retried
    keep[keep] = worthy(sources.subset(keep), c, state.image.shape)
    if not merging:
        return replace(state, sources=sources.subset(keep), covariance=None)
    left = replace(stages.without(state, ~keep), covariance=state.covariance[keep])
    return replace(merged(left, significance[keep], competing, retried[keep]), covariance=None)


def widened(state, error, confusion, which):
    """How much more noise than single stars those sources have that are wider, or less, shape (n,).

    Unresolved light widens a source: what is faint and wide is more often several stars that cannot be told apart than one.

    Parameters
    ----------
    state : PassState
        With covariances.
    error, confusion : ndarray, shape (n,)
        Flux errors that the noise of width adds to, and the noise of confusion of single stars.
    which : ndarray of bool, shape (n,)
        The sources to look at; 1 for the others.
    """
    # of a flux that is not known at all, nothing more can be said
    which = np.flatnonzero(which & np.isfinite(error))
    error, confusion = error[which], confusion[which]
    factor = np.ones(len(state.sources))
    # neighbours that may give way make a width as uncertain as they make a flux
    blending = marginal_error(state.covariance)[which]/state.sources.error[which]
    wide = confusion*widening(DOUBT*extent_significance(measured(state, which))/blending)
    factor[which] = np.minimum(np.hypot(error, wide)/np.hypot(error, confusion*widening(DOUBT*USUAL_EXTENT)), MOST_DOUBT)
    return factor
