"""The schedule: which pass comes next, and what is due in it."""
from ..nebulosity.options import DETECT
from .state import LAST, PRUNE, SEARCH

SETTLED_SKY = 0.01
"""A sky that moves by less than this, in units of a pixel's noise, has settled."""
SETTLED_CHI2 = 0.05
"""A search goes on after a pass that removes more than it adds and yet lowers the mean chi2 by more than this part."""


def next_kind(state):
    """What the next pass does: search, prune, or close the fit.

    The search ends when it finds too few new sources to go on and explains no more of the image, a forced fit when its sky has
    settled; all passes together are as many as allowed.
    """
    c = state.config
    prunes = 0 if state.forced else min(c.prune_passes, c.max_passes-2)
    done = sum(h["kind"] == PRUNE for h in state.history)
    if state.passno >= c.max_passes-1:
        return LAST
    if done or state.passno >= c.max_passes-1-prunes:
        return PRUNE if done < prunes else LAST
    # stars in structured background are searched for by its own rules
    structure = c.nebulosity.passno+1 if c.nebulosity.method == DETECT and not state.forced else 0
    if state.passno < max(2 if state.forced else 1, c.min_passes-1-prunes, structure):
        return SEARCH
    if state.forced:
        # sky and fluxes give light to each other, part of it in each pass
        before, now = (h["sky"] for h in state.history[-2:])
        return LAST if abs(now-before) < SETTLED_SKY*state.noise else SEARCH
    area = state.image.good.sum()/1e6
    few = state.grown < max(c.stop_new*area, c.stop_fraction*len(state.sources))
    if few and not (state.grown < 0 and still_falling([h["chi2"] for h in state.history])):
        return PRUNE if prunes else LAST
    return SEARCH


def still_falling(chi2):
    """Whether the last pass lowered the mean chi2 by much: what it removed, if that was more than it added, made room."""
    return len(chi2) > 1 and chi2[-1] < (1-SETTLED_CHI2)*chi2[-2]


def psf_is_due(state):
    """Whether this pass refits the PSF: in turn while the sources change by much, and when the search has ended."""
    c = state.config.psf
    if state.kind == LAST or not c.refit:
        return False
    if state.kind == SEARCH and state.passno % c.every:
        return False
    settled = state.passno >= c.settle_passes and state.new <= c.settle_fraction*len(state.sources)
    return not settled or (state.kind == PRUNE and all(h["kind"] == SEARCH for h in state.history))


def pruning_share(state):
    """How much of the bounds on significance a source must reach to outlive this pass; 0 where nothing is pruned."""
    c = state.config.cull
    if state.forced or state.kind == LAST or c.prune <= 0 or (state.kind == SEARCH and state.passno < c.prune_from):
        return 0.
    return 1. if state.kind == PRUNE else c.search_share
