"""Joint fits within the budget of each of their images: smaller stamps there, then the brightest stars of the list alone."""
import logging
from dataclasses import dataclass, replace

import numpy as np

from ..engine.budget import SOLVE, overlap, share
from ..engine.savings import after_solve, most_within, told, too_many, with_small_stamps
from ..engine.sources import Sources

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Load:
    """What an image takes of the next solve.

    Attributes
    ----------
    state : crowdsource.engine.state.PassState
        With the stamps that it may have.
    sources : crowdsource.engine.sources.Sources
        Stars and candidates that it shows.
    rows : ndarray of int, shape (n,)
        Of the common list, stars then candidates.
    size : ndarray of int, shape (n,)
        Stamp sizes, pixels.
    work, most : float
        Overlap of the stamps, and its bound.
    """

    state: object
    sources: Sources
    rows: np.ndarray
    size: np.ndarray
    work: float
    most: float

    def fits(self, chosen):
        """Whether those of some stars and candidates, a boolean array over all, are within the bound."""
        some = chosen[self.rows]
        return overlap(self.sources.subset(some), self.size[some], self.state.image.shape) <= self.most


def within_budget(state, candidates):
    """The state and the candidates of its next solve, such that this is within the budget of each image.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
    candidates : crowdsource.engine.sources.Sources
        In the reference.

    Returns
    -------
    state : JointState
        The ``spent`` of its images counts the solve.
    candidates : crowdsource.engine.sources.Sources

    Raises
    ------
    InputError
        When the stars of a list that is given are too many.
    """
    whole, first = state.joined(candidates), len(state.stars)
    loads = list(state.run(lambda number: load(whole, number), range(len(state.epochs))))
    keep = brightest(whole, [one for one in loads if one.work > one.most])
    spent = [spent_on(epoch, one) for epoch, one in zip(state.epochs, loads)]
    state = replace(state, epochs=tuple(replace(e, state=replace(e.state, spent=s)) for e, s in zip(state.epochs, spent)))
    if not keep[:first].all():
        state = state.subset(keep[:first]).placed()
    return state, candidates.subset(keep[first:])


def load(whole, number):
    """The `Load` of an image of a state that has the candidates at the end of its list."""
    epoch = whole.opened(whole.epochs[number])
    most = SOLVE*share(epoch.state)
    sources, rows = epoch.placed(whole.stars_on(number), whole.flux_on(number))
    state, size, work = with_small_stamps(epoch.state, sources, most, lambda s, of: replace(epoch, state=s).sizes(of.flux))
    return Load(state, sources, rows, size, work, most)


def brightest(whole, loads):
    """Which stars and candidates stay, so that images that would take too much do not; a boolean array.

    Stars of a given list come first, then the brightest.
    """
    number = len(whole.stars)
    if not loads:
        return np.ones(number, bool)
    order, rank = np.argsort(np.where(whole.known, -np.inf, -whole.stars.flux), kind="stable"), np.empty(number, int)
    rank[order] = np.arange(number)
    most = most_within(number, lambda n: all(one.fits(rank < n) for one in loads))
    if most < whole.known.sum():
        raise too_many(int(whole.known.sum()), loads[0].state)
    return rank < most


def spent_on(epoch, one):
    """What an image has spent after a solve; says what it does without from now on."""
    state, before = one.state, epoch.state.spent
    if one.work > one.most:
        state = replace(state, spent=replace(state.spent, over=True))
    state = after_solve(state, min(one.work, one.most))
    if state.spent.cuts != before.cuts:
        log.warning("%s: %s", epoch.name, told(state))
    return state.spent
