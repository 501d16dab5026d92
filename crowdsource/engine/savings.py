"""What becomes of a fit that would take more work than its budget: smaller stamps, then its brightest sources alone, and an end.

It says so, and which input looks wrong.
"""
import logging
from dataclasses import replace

import numpy as np

from ..core.errors import InputError
from ..core.noise import sample_boxes, second_difference
from . import stages
from .budget import ALL_SOLVES, SOLVE, overlap, share
from .design import sizes
from .state import SEARCH

log = logging.getLogger(__name__)
FAR, OFF = 0.9, 3.
"""The noise is doubted where this part of the differences of pixels is not within so many times what it should be."""
NORMAL = 1.645
"""So many sigma hold `FAR` of a normal distribution."""


def within_budget(state):
    """The state with stamps so small, and sources and candidates so few, that the next solve is within the budget.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        With the candidates of its pass.

    Returns
    -------
    PassState
        Its ``spent`` counts the solve.

    Raises
    ------
    InputError
        When the positions are given, and are too many.
    """
    most, before = SOLVE*share(state), state.spent
    if most == np.inf:
        return state
    every = state.sources.joined(state.candidates)
    state, size, work = with_small_stamps(state, every, most)
    if work > most:
        state, work = _brightest(state, every, size, most), most
    state = after_solve(state, work)
    if state.spent.cuts != before.cuts:
        log.warning("%s", told(state))
    return state


def with_small_stamps(state, sources, most, sizes_of=sizes):
    """The state with stamps of sources so small that their overlap is within a bound, where any are.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    sources : crowdsource.engine.sources.Sources
    most : float
        The bound.
    sizes_of : callable
        As `crowdsource.engine.design.sizes`.

    Returns
    -------
    state : PassState
    size : ndarray of int, shape (n,)
        Stamp sizes, pixels.
    work : float
        Their overlap.
    """
    size, stamp_sizes = sizes_of(state, sources), state.config.solve.stamp_sizes
    while (work := overlap(sources, size, state.image.shape)) > most and size.max(initial=0) > stamp_sizes[0]:
        state = replace(state, spent=replace(state.spent, largest=_smaller(stamp_sizes, int(size.max()))))
        size = sizes_of(state, sources)
    return state, size, work


def after_solve(state, work):
    """The state whose ``spent`` counts a solve of some overlap; a search ends when all is spent."""
    total = state.spent.overlap+work
    over = state.spent.over or (state.kind == SEARCH and total > ALL_SOLVES*share(state))
    return replace(state, spent=replace(state.spent, overlap=total, over=over))


def most_within(number, fits):
    """So many of the first of a number fit, when fewer do where more do; `fits` is called with how many."""
    low, high = 0, number
    while high-low > 1:
        middle = (low+high)//2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _smaller(stamp_sizes, size):
    """The largest of the stamp sizes below a size, or the smallest."""
    return max((s for s in stamp_sizes if s < size), default=stamp_sizes[0])


def _brightest(state, every, size, most):
    """The state with only so many of its sources and candidates, the brightest, that their overlap is within a bound."""
    if state.forced:
        raise too_many(len(every), state)
    order = np.argsort(np.where(every.bright, -np.inf, -every.flux), kind="stable")
    number = most_within(len(every), lambda n: overlap(every.subset(order[:n]), size[order[:n]], state.image.shape) <= most)
    keep = np.zeros(len(every), bool)
    keep[order[:number]] = True
    first = len(state.sources)
    candidates = state.candidates.subset(keep[first:])
    state = state if keep[:first].all() else stages.without(state, ~keep[:first])
    return replace(state, candidates=candidates, spent=replace(state.spent, over=True))


def too_many(number, state):
    """The `InputError` of so many positions that are given for an image, and are too many for its budget."""
    ny, nx = state.image.shape
    return InputError(f"{number} positions on {nx} x {ny} pixels overlap more than a fit can tell apart: give fewer, or "
                      f"allow more work (max_work, {state.config.max_work:g})")


def told(state):
    """What was cut, and which input looks wrong: a sentence; empty where the budget was enough."""
    spent = state.spent
    cut = [f"no stamp is larger than {spent.largest:.0f} px"] if spent.largest < np.inf else []
    cut += ["the search ended early, with the brightest sources"] if spent.over else []
    if not cut:
        return ""
    most = f"{state.config.max_work:g} crowded fields of its size"
    return f"this image takes more work than {most}: {' and '.join(cut)}; {_cause(state)}"


def _cause(state):
    """Which input looks wrong."""
    ratio = scatter_of_most(state.image)
    if ratio > OFF:
        return (f"its pixels scatter by up to {ratio:.3g} times the noise that is given or was found: check the noise map and "
                "its units, and the flags")
    return ("it has more peaks than stars explain, at a noise that agrees with its scatter: check that its sky is flat, and that "
            "nothing but stars is left on it")


def scatter_of_most(image):
    """Scatter of nine tenths of an image's pixels in units of their noise, from differences in squares spread over it.

    A map that is wrong on a part of the image, or on every other pixel, shows here and not in the median.
    """
    chi = []
    for box in sample_boxes(image.shape):
        ivar = image.ivar[box][1:-1, 1:-1]
        chi.append((np.abs(second_difference(image.data[box]))*np.sqrt(ivar))[ivar > 0])
    chi = np.concatenate(chi) if chi else np.zeros(0)
    return float(np.quantile(chi, FAR))/NORMAL if len(chi) else 0.
