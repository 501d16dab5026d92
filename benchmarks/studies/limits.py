"""What can be told of sources once they are fitted: trees taught on some fields, tried on others.

    python -m benchmarks.studies.limits spurious sparse sparse-1 sparse-2 ...
    python -m benchmarks.studies.limits errors crowded crowded-1 extreme ...

`spurious`: the share of false rows, and of stars found, when rows go by how likely trees think them to be false. `errors`: the
scatter of (flux - truth)/dflux, in thirds by blending, when trees say how large its size is to be expected. They see every
measured column, the second moments and rings of the residual, and the neighbours. `places`: the scatter of bright stars'
positions in units of their bound, before and after what a linear filter and trees see of their errors in the residual around
them. Nothing of this is used by the fit. Needs scikit-learn; each field is one fit.
"""
import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import Table
from crowdsource.instruments.generic import Generic
from scipy.spatial import cKDTree
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict

from benchmarks.peers.run import have_field
from benchmarks.peers.score import Bounds, matched, score
from benchmarks.shared import ROOT
from crowdsource import FitConfig
from crowdsource.core.noise import MAD_TO_SIGMA
from crowdsource.engine.loop import fit
from crowdsource.engine.measure import boxes
from crowdsource.validate.evaluate import robust_scatter, unexplained

SIDE, EDGE, SATURATED = 15, 20, 25
LOOSER = 3.7
"""Bound of pruning for `spurious`, so that trees have more rows to choose from."""
TREES = dict(max_iter=150, learning_rate=0.05, max_leaf_nodes=8, min_samples_leaf=40, l2_regularization=5)
BINS = (5, 10), (10, 30), (30, 100), (100, np.inf)


@dataclass(frozen=True)
class Field:
    """A fitted field.

    Attributes
    ----------
    rows, seen, stamps : Table, ndarray, ndarray
        Its catalog, what trees see of each row, and the residual around each over its noise.
    truth, star : Table, ndarray
        Its stars, and the row of each, or -1.
    inside, false : ndarray of bool
        Rows that count, and those that no stars account for.
    scored : callable
        Scores of a part of the rows.
    """

    rows: Table
    seen: np.ndarray
    stamps: np.ndarray
    truth: Table
    star: np.ndarray
    inside: np.ndarray
    false: np.ndarray
    scored: partial


def fitted(name, folder, prune):
    """A `Field`; without `prune` with the bound of pruning that is usual."""
    exposure = Generic().open(f"{folder}/{name}_im.fits", ivar=f"{folder}/{name}_ivar.fits", dq=f"{folder}/{name}_dq.fits")
    image = exposure.read(exposure.tasks()[0])
    config, states = FitConfig(), []
    config = replace(config, cull=replace(config.cull, prune=prune or config.cull.prune))
    found = fit(image, config=config, observer=states.append).catalog
    rows = Table({n: np.asarray(found[n]) for n in found.colnames})
    truth = Table.read(f"{folder}/{name}_bounds.fits")
    bounds = Bounds.read(folder, name)
    found = dict(zip(("x", "y", "flux"), columns(rows, "x", "y", "flux")))
    stars = dict(x=bounds.x, y=bounds.y, flux=bounds.flux)
    where = np.column_stack(columns(rows, "x", "y"))
    inside = ((where > EDGE) & (where < np.array(image.shape[::-1])-EDGE-1)).all(axis=1)
    inside &= cKDTree(np.argwhere(image.dq > 0)[:, ::-1]).query(where)[0] > SATURATED
    seen, stamps = looked_at(states[-1], rows)
    return Field(rows, seen, stamps, truth, matched(bounds, found, found["flux"]), inside, unexplained(stars, found),
                 partial(score, bounds))


def columns(table, *names):
    """Columns as float64, NaN where masked."""
    return [np.ma.filled(np.ma.asarray(table[n], dtype=float), np.nan) for n in names]


def looked_at(state, rows):
    """What trees see of each row, shape (n, features), and the residual's stamps over its noise, shape (n, SIDE, SIDE)."""
    x, y, flux = columns(rows, "x", "y", "flux")
    light, *slopes = (plane.astype(float) for plane in state.psf.render(x, y, SIDE+2, derivatives=True))
    along, across = (np.gradient(s, axis=(2, 1)) for s in slopes)
    inner = np.s_[:, 1:-1, 1:-1]
    templates = [light, *slopes, along[0]+across[1], along[0]-across[1], 2*along[1]]
    moments = np.stack([t[inner] for t in templates], axis=1)
    residual, ivar = (plane.astype(float) for plane in boxes(state, x, y, SIDE))
    normal = np.einsum("nkij,nlij->nkl", moments*ivar[:, None], moments)
    scale = np.sqrt(np.einsum("nkk->nk", normal))+1e-30
    inverse = np.linalg.inv(normal/scale[:, :, None]/scale[:, None]+1e-6*np.eye(len(templates)))
    right = np.einsum("nkij,nij->nk", moments*ivar[:, None], residual)/scale
    second = np.einsum("nkl,nl->nk", inverse, right)/np.sqrt(np.einsum("nkk->nk", inverse))
    radius = np.hypot(*(np.indices((SIDE, SIDE))-SIDE//2))
    noise = residual*np.sqrt(ivar)
    rings = [noise[:, (radius >= r) & (radius < r+1)].sum(axis=1) for r in range(SIDE//2)]
    tree = cKDTree(np.c_[x, y])
    distance, near = tree.query(np.c_[x, y], k=4)
    ratio = np.log(np.maximum(flux[near[:, 1:]], 1)/np.maximum(flux, 1)[:, None])
    counts = [[len(n) for n in tree.query_ball_point(np.c_[x, y], r)] for r in (4, 8, 14)]
    measured = columns(rows, *(c for c in rows.colnames if c not in ("x", "y", "flags", "psf_star")))
    relative = [flux/error for error in columns(rows, "dflux", "dflux_joint", "dflux_iso")]
    seen = np.column_stack([*measured, *relative, second[:, 3:], *rings, distance[:, 1:], ratio, *counts])
    return np.nan_to_num(seen, nan=-99, posinf=1e6, neginf=-1e6), noise


def joined(values):
    """Arrays of several fields as one."""
    return np.concatenate([np.asarray(v) for v in values])


def group_of(fields):
    """Number of the field of each row."""
    return np.repeat(np.arange(len(fields)), [len(f.rows) for f in fields])


def spurious(fields):
    """Lines of the share of false rows and of stars found, as trees turn more rows down."""
    flux = joined(f.rows["flux"]/f.truth.meta["F5"] for f in fields)
    false, inside, group = joined(f.false for f in fields), joined(f.inside for f in fields), group_of(fields)
    taught = inside & (flux > 0.7) & (flux < 6)
    doubt = np.zeros(len(flux))
    seen = joined(f.seen for f in fields)
    doubt[taught] = cross_val_predict(HistGradientBoostingClassifier(**TREES), seen[taught], false[taught], groups=group[taught],
                                      cv=GroupKFold(min(8, len(fields))), method="predict_proba")[:, 1]
    yield "all rows: "+found_and_false(fields, np.ones(len(flux), bool))
    for most in (2.4, 2.2, 2.0, 1.8, 1.5, 1.2):
        counted = inside & (flux > 1)
        order = np.argsort(doubt[counted])
        share = 100*np.cumsum(false[counted][order])/np.arange(1, len(order)+1)
        yield f"{most} %: "+found_and_false(fields, doubt <= doubt[counted][order][np.flatnonzero(share <= most).max()])


def found_and_false(fields, keep):
    """A line: % of stars found at a blend signal to noise of 5-7, 7-10 and 10-20, and of rows above 5 sigma that are false."""
    parts = np.split(keep, np.cumsum([len(f.rows) for f in fields])[:-1])
    scores = [f.scored(f.rows[kept]) for f, kept in zip(fields, parts)]
    stars, found = (np.array([getattr(s, n)[1:4] for s in scores], dtype=float) for n in ("stars", "found"))
    rows = [(kept & f.inside & (f.rows["flux"] > f.truth.meta["F5"])).sum() for f, kept in zip(fields, parts)]
    false = np.average([s.spurious[0] for s in scores], weights=rows)
    return f"found {np.average(found, axis=0, weights=stars).round(1)}, false {false:.2f} %"


def errors(fields):
    """Lines of the scatter of (flux - truth)/dflux by signal to noise, and in thirds by blending, before and after."""
    pull, blending, snr = (np.full(sum(len(f.rows) for f in fields), np.nan) for _ in range(3))
    start = 0
    for f in fields:
        k = np.flatnonzero((f.star >= 0) & (np.asarray(f.truth["snr5"]) > 5))
        row = f.star[k]
        k, row = k[f.inside[row]], row[f.inside[row]]
        pull[start+row] = (f.rows["flux"][row]-f.truth["flux"][k])/f.rows["dflux"][row]
        blending[start+row] = f.truth["sf_bfp"][k]/f.truth["sf_iso"][k]
        snr[start+row] = f.truth["snr5"][k]
        start += len(f.rows)
    known, group, seen = np.isfinite(pull), group_of(fields), joined(f.seen for f in fields)
    size = np.log(np.abs(pull[known])+0.05)
    expected = np.exp(cross_val_predict(HistGradientBoostingRegressor(**TREES), seen[known], size, groups=group[known],
                                        cv=GroupKFold(min(5, len(fields)))))
    scale = np.ones(len(pull))
    scale[known] = expected*MAD_TO_SIGMA*np.median(np.abs(pull[known])/expected)
    for number in range(len(fields)):
        for label, z in (("the catalog's errors", pull), ("the trees' errors", pull/scale)):
            cells = []
            for low, high in BINS:
                here = (group == number) & (snr > low) & (snr <= high)
                thirds = np.array_split(np.flatnonzero(here)[np.argsort(blending[here])], 3)
                cells.append(f"{robust_scatter(z[here]):.2f} "+"/".join(f"{robust_scatter(z[t]):.2f}" for t in thirds)
                             +f" {100*np.mean(np.abs(z[here]) > 3):.1f} %")
            yield f"field {number}, {label}: "+"; ".join(cells)


def places(fields):
    """Lines of the scatter of bright stars' positions in units of their bounds, less what the residual tells of their errors."""
    target, pattern = [], []
    for f in fields:
        k = np.flatnonzero((f.star >= 0) & (np.asarray(f.truth["snr5"]) > 100))
        k = k[f.inside[f.star[k]]]
        row = f.star[k]
        for axis, bound, stamps in (("x", "sx_iso", f.stamps[row]), ("y", "sy_iso", f.stamps[row].transpose(0, 2, 1))):
            # what a shift leaves is odd along its axis and even across it
            odd = (stamps-stamps[:, :, ::-1])/2
            pattern.append(((odd+odd[:, ::-1])/2)[:, :SIDE//2+1, SIDE//2+1:].reshape(len(k), -1))
            target.append((f.rows[axis][row]-f.truth[axis][k])/f.truth[bound][k])
    target, pattern = joined(target), joined(pattern)
    usual = np.abs(target) < 6
    yield f"{len(target)} coordinates, scatter {robust_scatter(target):.3f}"
    for label, model in (("a linear filter", Ridge(alpha=100., fit_intercept=False)),
                         ("trees", HistGradientBoostingRegressor(loss="absolute_error", **TREES))):
        left = target[usual]-cross_val_predict(model, pattern[usual], target[usual], cv=5)
        yield f"less what {label} sees: {robust_scatter(left):.3f} ({robust_scatter(target[usual]):.3f} before)"


STUDIES = dict(spurious=spurious, errors=errors, places=places)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("names", nargs="+", metavar="FIELD")
    parser.add_argument("--fields", type=Path, default=ROOT/"build"/"bench", metavar="FOLDER", help="where the fields are, or go")
    args = parser.parse_args()
    for name in args.names:
        have_field(name, args.fields)
    fields = [fitted(name, args.fields, LOOSER if args.study == "spurious" else None) for name in args.names]
    for line in STUDIES[args.study](fields):
        print(line)


if __name__ == "__main__":
    main()
