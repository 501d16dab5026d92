"""The schedule: which pass comes next, and what is due in it."""
import numpy as np

from ..core.calibration import calibration
from ..nebulosity.options import DETECT
from .state import LAST, PRUNE, SEARCH

SETTLED_SKY = calibration.schedule.settled_sky
"""A sky that changes by less than this, in units of a pixel's noise, has settled."""
SETTLED_SHIFT, MOST = 0.05, 0.95
"""Given positions that may move have settled when this part of them moves by less than this in a pass, pixels."""
FALLING_CHI2 = 0.05
"""A search goes on after a pass that removes more sources than it adds, if the mean chi2 fell by more than this fraction: what is
no star, as a galaxy, is still taken apart."""


def next_kind(state):
    """Kind of the next pass: `SEARCH`, `PRUNE` or `LAST`.

    A search ends when it finds too few new sources and the model does not improve any more, a forced fit when its sky, and
    positions that may move, have settled; any, when the budget is spent. The number of passes never exceeds the configured
    maximum.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    """
    c = state.config
    prunes = 0 if state.forced else min(c.prune_passes, c.max_passes-2)
    done = sum(h["kind"] == PRUNE for h in state.history)
    if state.passno >= c.max_passes-1:
        return LAST
    if done or state.passno >= c.max_passes-1-prunes:
        return PRUNE if done < prunes else LAST
    if state.passno < least_passes(state, prunes) and not state.spent.over:
        return SEARCH
    finished = state.spent.over or (sky_has_settled(state) and positions_have_settled(state) if state.forced
                                    else search_has_ended(state))
    return SEARCH if not finished else PRUNE if prunes else LAST


def least_passes(state, prunes):
    """Smallest number of passes before a search may end, `prunes` being the number of pruning passes that follow."""
    c = state.config
    # a search in structured background, with its own rules, comes after that has been looked for
    structure = c.nebulosity.passno+1 if c.nebulosity.method == DETECT and not state.forced else 0
    return max(2 if state.forced else 1, c.min_passes-1-prunes, structure)


def sky_has_settled(state):
    """Whether the sky of a forced fit has settled: sky and fluxes exchange light, a part of it in each pass."""
    before, now = (h["sky"] for h in state.history[-2:])
    return abs(now-before) < SETTLED_SKY*state.noise


def positions_have_settled(state):
    """Whether given positions that may move hardly do so any more; others have settled."""
    if state.stays or not len(state.sources):
        return True
    return np.quantile(np.abs(state.sources.shift).max(axis=1), MOST) < SETTLED_SHIFT


def search_has_ended(state):
    """Whether the last pass added few sources, and did not make room for better ones."""
    c, area = state.config, state.image.good.sum()/1e6
    few = state.grown < max(c.stop_new*area, c.stop_fraction*len(state.sources))
    return few and not (state.grown < 0 and still_falling([h["chi2"] for h in state.history]))


def still_falling(chi2):
    """Whether the last pass lowered the mean chi2 substantially; `chi2` lists that of each pass."""
    return len(chi2) > 1 and chi2[-1] < (1-FALLING_CHI2)*chi2[-2]


def psf_is_due(state):
    """Whether this pass refits the PSF: in turn while the sources change much, and once when the search has ended."""
    c = state.config.psf
    if state.kind == LAST or not c.refit:
        return False
    if state.kind == SEARCH and state.passno % c.every:
        return False
    return not 0 < c.settle_passes <= state.passno or (state.kind == PRUNE and all(h["kind"] == SEARCH for h in state.history))


def pruning_share(state):
    """Fraction of the bound on significance that a source must reach to stay after this pass; 0 where nothing is pruned."""
    c = state.config.cull
    if state.forced or state.kind == LAST or c.prune <= 0 or (state.kind == SEARCH and state.passno < c.prune_from):
        return 0.
    return 1. if state.kind == PRUNE else c.search_share
