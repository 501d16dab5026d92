"""Fits of small calibration fields with one constant changed, and what they score.

The fields are of other kinds and seeds than those of the README's table: `TRAINING` is what constants are derived from,
`HELD_OUT` what they are checked on.
"""
import sys
import time
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from functools import cache
from importlib import import_module

import numpy as np
from crowdsource.instruments.generic import Generic

from benchmarks.peers.bounds import write_bounds
from benchmarks.peers.fields import Recipe, make_field, write_field
from benchmarks.peers.score import Bounds, score
from benchmarks.shared import ROOT
from crowdsource import FitConfig
from crowdsource.engine.loop import fit

FOLDER = ROOT/"build"/"calibration"
SMALL = (512, 512)
KINDS = {
    "sparse": Recipe(shape=(768, 768), stars=600, seed=0, fwhm=4.4, beta=3.2, block=256),
    "medium": Recipe(shape=SMALL, stars=1700, seed=0, fwhm=3.6, beta=2.8, block=128),
    "crowded": Recipe(shape=SMALL, stars=4500, seed=0, fwhm=4.2, beta=3., block=64),
    "extreme": Recipe(shape=SMALL, stars=8000, seed=0, fwhm=3.8, beta=3.3, block=64),
    "sharp": Recipe(shape=SMALL, stars=4000, seed=0, fwhm=2.6, beta=3.5, block=64),
}
TRAINING = tuple((kind, 7100+k) for k, kind in enumerate(KINDS))
HELD_OUT = tuple((kind, 8200+k) for k, kind in enumerate(KINDS))
FALSE_WEIGHT = 3.
"""A false row weighs as much as so many stars that are missing: the operating point of the program, which is a choice."""
CROWDED_LEVELS = "SN10+", "SN30+", "SN100+"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Scores of a fit, or their means over fields.

    Attributes
    ----------
    found_5_7, found_7_10 : float
        % of stars found at a blend signal to noise of 5-7 and 7-10.
    spurious : float
        % of rows above 5 sigma that no stars account for.
    pull : float
        Root mean square deviation of pulls from 1, %: of fluxes in thirds by blending, and of positions, by signal to noise.
    bias : float
        Median flux error at a signal to noise of 10-30, %.
    scatter : float
        Mean logarithm of the scatters of fluxes and positions in units of their bounds, above a signal to noise of 10, %.
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


@cache
def scene(kind, seed):
    """Image and bounds of a calibration field, which is made if it is not there."""
    name = f"{kind}-{seed}"
    if not (FOLDER/f"{name}_bounds.fits").exists():
        write_field(make_field(replace(KINDS[kind], seed=seed)), FOLDER, name)
        write_bounds(FOLDER, name)
    image, ivar, dq = (str(FOLDER/f"{name}_{plane}.fits") for plane in ("im", "ivar", "dq"))
    exposure = Generic().open(image, ivar=ivar, dq=dq)
    return exposure.read(exposure.tasks()[0]), Bounds.read(FOLDER, name)


@contextmanager
def changed(owner, name, value):
    """A configuration in which a constant has another value, and a module in which it has.

    Parameters
    ----------
    owner : str
        A section of the configuration, or a module within `crowdsource`.
    name : str
        Option or attribute; none is changed when empty.
    value : object

    Yields
    ------
    FitConfig
    """
    config = FitConfig()
    if not name:
        yield config
    elif owner == "fit":
        yield replace(config, **{name: value})
    elif owner in {f.name for f in fields(FitConfig)}:
        yield replace(config, **{owner: replace(getattr(config, owner), **{name: value})})
    else:
        before = getattr(import_module("crowdsource."+owner), name)
        # other modules may have imported it by name
        holders = [m for n, m in sys.modules.items() if n.startswith("crowdsource.") and vars(m).get(name) is before]
        for module in holders:
            setattr(module, name, value)
        try:
            yield config
        finally:
            for module in holders:
                setattr(module, name, before)


def measured(which, owner="", name="", value=None):
    """`Figures` of each of some fields, fitted with a constant changed.

    Parameters
    ----------
    which : sequence of (str, int)
        Kinds and seeds.
    owner, name, value
        As `changed`.

    Returns
    -------
    list of Figures
    """
    out = []
    with changed(owner, name, value) as config:
        for kind, seed in which:
            image, bounds = scene(kind, seed)
            start = time.process_time()
            catalog = fit(image, config=config).catalog
            used = time.process_time()-start
            out.append(figures_of(score(bounds, catalog), used))
    return out


def figures_of(scores, cpu):
    """`Figures` of a `Score`."""
    stars, found = (np.array(v, dtype=float) for v in (scores.stars, [0. if f is None else f for f in scores.found]))
    missing = (stars*(1-found/100)).sum()
    false = scores.spurious[0]*scores.checked/100
    pulls = [p for one in scores.levels.values() for p in (*one.crowding, one.position_pull) if p]
    levels = [scores.levels[name] for name in CROWDED_LEVELS if name in scores.levels]
    scatters = [s for one in levels for s in (one.scatter, one.position_scatter) if s]
    return Figures(found_5_7=found[1], found_7_10=found[2], spurious=scores.spurious[0],
                   pull=100*float(np.sqrt(np.mean(np.log(pulls)**2))), bias=scores.levels["SN10+"].bias,
                   scatter=100*float(np.mean(np.log(scatters))), detection=100*(missing+FALSE_WEIGHT*false)/stars.sum(), cpu=cpu)
