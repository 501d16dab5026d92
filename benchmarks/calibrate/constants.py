"""Derive the tuned constants again: writes data/calibration.toml, or checks that it agrees; prints Markdown.

    python -m benchmarks.calibrate.constants [NAME ...]           derive them, and write what was found beside the values in use
    python -m benchmarks.calibrate.constants --check [NAME ...]   derive them, and compare; the exit status is 1 where one differs

NAME is one as in the file, such as confusion.kept_share, or a group; all when none is given, which takes an hour of CPU time.

Each constant is tried at 0.6, 0.8, 1.2 and 1.5 times its value, all others as they are, on the training fields of its
group of `scenes.py`.
A parabola in the logarithm of the factor is fitted to its objective, the mean over fields; the derived value is where that is
least, between 0.6 and 1.5. The tolerance is how far from there towards the value in use the objective is worse by less than the
noise: the standard error of the mean change, or what the parabola leaves. Within a tenth values always agree. Where they do not,
the held-out fields are fitted with the derived value, too.
"""
import argparse
import json
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context

import numpy as np

from benchmarks.calibrate.figures import FALSE_WEIGHT, FIGURES, mean
from benchmarks.calibrate.scenes import GROUPS
from benchmarks.calibrate.trials import measured
from benchmarks.calibrate.tuned import TUNED
from benchmarks.shared import ROOT, table

FILE = ROOT/"data"/"calibration.toml"
SCRIPT = "benchmarks/calibrate/constants.py"
SHOWN = tuple(f for f in FIGURES if f != "cpu")
STEPS = 201
"""Points at which the parabola is evaluated."""
LEAST_TOLERANCE = 0.1
"""Smallest tolerance, as a part of the value."""
CONFIRMED = 2.
"""Held-out fields confirm a derived value that improves the objective by more than so many standard errors."""
CONFIRM = "held-out fields confirm"
"""What is said of a derived value that they do."""
FIFTHS = dict(down=0.8, up=1.2)
DIGITS = 4
SHOWN_OF_ENTRY = "value", "unit", "scenes", "objective", "derived", "tolerance"
HEAD = ["constant", "value", "unit", "scenes", "objective", "derived", "tolerance", "result"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Derived:
    """What was found about a constant.

    Attributes
    ----------
    factor : float
        The derived value over the one in use.
    width : float
        Tolerance of that factor.
    noise, largest : float
        Noise of a change of the objective, and the largest change.
    changes : dict of float to Figures
        {factor: change of all figures}.
    idle : bool
        No figure changes on any field, whatever the factor.
    """

    factor: float
    width: float
    noise: float
    largest: float
    changes: dict
    idle: bool

    @property
    def agrees(self):
        """Whether the value in use lies within the tolerance."""
        return self.idle or abs(self.factor-1) <= self.width


def least(factors, changes, error):
    """Where an objective is least, by a parabola in the logarithm of the factor.

    Parameters
    ----------
    factors, changes : ndarray, shape (n,)
        Factors, 1 among them, and the change of the objective at each.
    error : float
        Standard error of a change.

    Returns
    -------
    factor, width : float
        Where the parabola is least within the range of factors, and how far from there it is higher by less than the noise:
        towards 1, and on the wider side where it is 1 itself.
    noise : float
        The larger of the error and of what the parabola leaves.
    """
    u = np.log(factors)
    coefficients = np.polyfit(u, changes, 2)
    left = np.asarray(changes)-np.polyval(coefficients, u)
    noise = max(error, float(np.sqrt((left**2).sum()/(len(u)-len(coefficients)))))
    grid = np.linspace(u.min(), u.max(), STEPS)
    height = np.polyval(coefficients, grid)
    best = int(np.argmin(height))
    worse = np.flatnonzero(height > height[best]+noise)
    low, high = (int(v) for v in (worse[worse < best].max(initial=-1)+1, worse[worse > best].min(initial=len(grid))-1))
    ends = np.exp(grid[[low, best, high]])
    below, above = ends[1]-ends[0], ends[2]-ends[1]
    width = max(below, above) if best == np.abs(grid).argmin() else below if grid[best] > 0 else above
    return float(ends[1]), float(width), noise


def derived(constant, reference, trials):
    """What trials tell of a constant.

    Parameters
    ----------
    constant : Tuned
    reference : list of Figures
        Each field's, all constants at their values.
    trials : dict of float to list of Figures
        {factor: each field's}.

    Returns
    -------
    Derived
    """
    objective = constant.objective
    each = np.array([[getattr(now, objective)-getattr(before, objective) for now, before in zip(trials[f], reference)]
                     for f in trials])
    error = float(np.median(each.std(axis=1, ddof=1)))/np.sqrt(each.shape[1])
    factor, width, noise = least([1., *(constant.ratio(f) for f in trials)], [0., *each.mean(axis=1)], error)
    before = mean(reference)
    changes = {f: {name: getattr(mean(trials[f]), name)-getattr(before, name) for name in SHOWN} for f in trials}
    idle = not any(getattr(now, n) != getattr(old, n) for f in trials for now, old in zip(trials[f], reference) for n in SHOWN)
    return Derived(factor=factor, width=max(LEAST_TOLERANCE, width), noise=noise, largest=float(np.abs(each.mean(axis=1)).max()),
                   changes=changes, idle=idle)


def trial_of(constant):
    """{factor: figures of each training field}."""
    return {f: measured(constant.scenes, False, constant.owner, constant.attribute, constant.scaled(f)) for f in constant.factors}


def result_of(constant, found, held_out):
    """What is to be said of a constant, in words.

    Parameters
    ----------
    constant : Tuned
    found : Derived
    held_out : list of Figures
        The held-out fields, all constants at their values.
    """
    if found.idle:
        return "no effect on these fields"
    if found.agrees:
        return "agrees, objective flat" if found.largest <= 2*found.noise else "agrees"
    tried = measured(constant.scenes, True, constant.owner, constant.attribute, constant.scaled(found.factor))
    change = np.array([getattr(now, constant.objective)-getattr(old, constant.objective) for now, old in zip(tried, held_out)])
    error = change.std(ddof=1)/np.sqrt(len(change))
    word = CONFIRM if change.mean() < -CONFIRMED*error else "held-out fields do not confirm"
    return f"differs; {word} it: {change.mean():+.2f} +- {error:.2f}"


def derivation(constant, reference, held_out):
    """What trials tell of a constant, and what is to be said of it. Parameters as `derived` and `result_of`."""
    found = derived(constant, reference, trial_of(constant))
    return found, result_of(constant, found, held_out)


def shown(value):
    """A value as TOML has it; numbers that were derived with four digits."""
    if isinstance(value, (tuple, list)):
        return "["+", ".join(shown(v) for v in value)+"]"
    return json.dumps(value)


def digits(value, count=DIGITS):
    """A number, or each of a tuple, with so many digits."""
    return tuple(digits(v, count) for v in value) if isinstance(value, tuple) else float(f"{value:.{count}g}")


def entry(constant, found, result):
    """A constant's table in the file, as a dict."""
    value, best = constant.value, constant.scaled(found.factor)
    size = max(abs(v) for v in (value if isinstance(value, tuple) else (value,)))
    out = dict(value=value, unit=constant.unit, scenes=constant.scenes, objective=constant.objective,
               derived=value if found.idle else digits(best),
               tolerance=digits(size*found.width, 2), result=result)
    for key, factor in FIFTHS.items():
        out[key] = [round(float(v), 2)+0. for v in found.changes[factor].values()]
    return out


def toml(entries):
    """The file's text.

    Parameters
    ----------
    entries : dict of str to dict
        {dotted name: table}.
    """
    lines = ["# The tuned constants of the fit, derived by benchmarks/calibrate/constants.py; the program takes each `value`.",
             "# Beside it: the value where the objective is least on the training fields, how far from that the objective is",
             "# worse by less than its noise, and the change of all figures where the constant is a fifth smaller (down) and",
             "# larger (up). A range of values was scaled as a whole. Objectives: detection is stars missing and, three times",
             "# each, false rows, % of the stars; errors is the deviation of pulls from 1, %; fluxes is the scatter in units of",
             "# the bounds and the bias, %.",
             "", "[derivation]", f'script = "{SCRIPT}"', f"date = {date.today().isoformat()}",
             f"false_weight = {FALSE_WEIGHT}", f"figures = {shown(SHOWN)}"]
    for key in ("training", "held_out"):
        lines += ["", f"[derivation.{key}]"]
        lines += [f"{name} = {shown([f'{kind}-{seed}' for kind, seed in getattr(group, key)])}" for name, group in GROUPS.items()]
    for name, one in entries.items():
        lines += ["", f"[{name}]", *(f"{key} = {shown(value)}" for key, value in one.items())]
    return "\n".join(lines)+"\n"


def stored():
    """{dotted name: table} of the file as it is."""
    groups = tomllib.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    return {f"{group}.{name}": one for group, names in groups.items() if group != "derivation" for name, one in names.items()}


def same(old, found, constant, result):
    """Whether a derivation gave what the file says: the value within the tolerance that stands there, or no reason to change it.

    Where an objective is flat it is least anywhere, and held-out fields confirm none of it: the value in use stays.
    """
    if shown(constant.value) == shown(old["value"]) and CONFIRM not in result and CONFIRM not in old["result"]:
        return True
    best = constant.scaled(found.factor) if not found.idle else constant.value
    pairs = zip(best, old["derived"]) if isinstance(best, tuple) else [(best, old["derived"])]
    return all(abs(now-then) <= old["tolerance"] for now, then in pairs) and shown(constant.value) == shown(old["value"])


def main():
    """Derive constants."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with the file")
    parser.add_argument("--processes", type=int, default=2, help="that work at a time")
    arguments = parser.parse_args()
    chosen = [t for t in TUNED if not arguments.names or {t.name, t.name.partition(".")[0]} & set(arguments.names)]
    if not chosen:
        parser.error(f"{', '.join(arguments.names)}: not among {', '.join(t.name for t in TUNED)}")
    groups = {t.scenes for t in chosen}
    reference, held_out = ({g: measured(g, which) for g in groups} for which in (False, True))
    old = stored()
    entries, rows, bad = dict(old), [], []
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("fork")) as pool:
        tried = pool.map(derivation, chosen, (reference[t.scenes] for t in chosen), (held_out[t.scenes] for t in chosen))
        for constant, (found, result) in zip(chosen, tried):
            entries[constant.name] = one = entry(constant, found, result)
            rows.append([constant.name, *(shown(one[key]) for key in SHOWN_OF_ENTRY), result])
            sys.stderr.write(" ".join(str(cell) for cell in rows[-1])+"\n")
            if not (constant.name in old and same(old[constant.name], found, constant, result)):
                bad.append(constant.name)
    print(table(HEAD, rows))
    print(f"\n{len(chosen)-len(bad)} of {len(chosen)} constants as in {FILE.name}"+"".join(f"\ndiffers: {n}" for n in bad))
    if arguments.check:
        return int(bool(bad))
    FILE.write_text(toml({t.name: entries[t.name] for t in TUNED if t.name in entries}), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
