"""What a fit of a calibration scene scores."""
from dataclasses import astuple, dataclass, fields

import numpy as np

FALSE_WEIGHT = 3.
"""A false row weighs as much as so many stars that are missing: the operating point of the program, which is a choice."""
CROWDED_LEVELS = "SN10+", "SN30+", "SN100+"
MEASURABLE = 10.
"""Isolated signal to noise from which the rows of a comparison tell pulls and scatters."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Scores of a fit, or their means over fields.

    Attributes
    ----------
    found_5_7, found_7_10 : float
        % of stars found at a signal to noise of 5-7 and 7-10: of a blend where the scene has bounds, else of an isolated star.
    spurious : float
        % of rows above 5 sigma that no stars account for.
    pull : float
        Root mean square deviation of pulls from 1, %: of fluxes and of positions by signal to noise; where the scene has bounds,
        of fluxes in thirds by blending.
    bias : float
        Median flux error at a signal to noise of 10-30 (where there are no bounds, above 10), %.
    scatter : float
        Mean logarithm of the scatters of fluxes and positions above a signal to noise of 10, %: in units of their bounds, or of a
        flux and of a pixel.
    detection : float
        Stars missing and, `FALSE_WEIGHT` times each, false rows, % of the stars above 5 sigma.
    cpu : float
        CPU seconds of the fit.
    """

    found_5_7: float
    found_7_10: float
    spurious: float
    pull: float
    bias: float
    scatter: float
    detection: float
    cpu: float

    @property
    def errors(self):
        """Objective of what concerns errors."""
        return self.pull

    @property
    def fluxes(self):
        """Objective of what concerns fluxes and positions themselves: their scatter, and the size of the bias, %."""
        return self.scatter+abs(self.bias)


FIGURES = tuple(f.name for f in fields(Figures))


def mean(figures):
    """Mean of several `Figures`."""
    return Figures(**dict(zip(FIGURES, np.mean([astuple(f) for f in figures], axis=0).tolist())))


def deviation(pulls):
    """Root mean square of the logarithm of pulls, %."""
    return 100*float(np.sqrt(np.mean(np.log(pulls)**2)))


def detection(missing, false, stars):
    """The objective of detection from numbers of stars missing, false rows, and stars."""
    return float(100*(missing+FALSE_WEIGHT*false)/stars)


def of_score(scores, cpu):
    """`Figures` of a `benchmarks.peers.score.Score`."""
    stars, found = (np.array(v, dtype=float) for v in (scores.stars, [0. if f is None else f for f in scores.found]))
    pulls = [p for one in scores.levels.values() for p in (*one.crowding, one.position_pull) if p]
    levels = [scores.levels[name] for name in CROWDED_LEVELS if name in scores.levels]
    scatters = [s for one in levels for s in (one.scatter, one.position_scatter) if s]
    return Figures(found_5_7=found[1], found_7_10=found[2], spurious=scores.spurious[0], pull=deviation(pulls),
                   bias=scores.levels["SN10+"].bias, scatter=100*float(np.mean(np.log(scatters))), cpu=cpu,
                   detection=detection((stars*(1-found/100)).sum(), scores.spurious[0]*scores.checked/100, stars.sum()))


def of_comparison(comparison, cpu):
    """`Figures` of a `crowdsource.validate.evaluate.Comparison`; positions that are given do not count."""
    c, bins = comparison, comparison.bins
    measured = bins[bins["low"] >= MEASURABLE]
    pulls, scatters = (np.concatenate([measured[n] for n in names])
                       for names in (("pull", "position_pull"), ("scatter", "position_scatter")))
    pulls, scatters = (v[np.isfinite(v) & (v > 0)] for v in (pulls, scatters))
    return Figures(found_5_7=float(bins["found"][0]), found_7_10=float(bins["found"][1]), spurious=c.spurious,
                   pull=deviation(pulls), bias=c.bias, scatter=100*float(np.mean(np.log(scatters))), cpu=cpu,
                   detection=detection(c.stars*(1-c.found/100), c.counted*c.spurious/100, c.stars))
