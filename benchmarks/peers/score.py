"""Scores of a catalog of a comparison field, by its truth and its Cramer-Rao bounds.

    python -m benchmarks.peers.score FOLDER NAME CATALOG[:HDU]

FOLDER holds NAME_bounds.fits and NAME_dq.fits; CATALOG is a table with x, y (pixels from 0, x along FITS axis 1), flux (counts)
and, where it has them, dflux, dx, dy (1 sigma).

- found: % of stars above 5 sigma that have a row within 1 pixel with a flux right to a factor of 1.5, by the signal to noise that
  blending leaves: flux over its bound with all neighbours unknown (of an isolated star where that is not known)
- spurious: % of rows that no stars account for, above the flux of 5 sigma and from half of it to it. Rows claim stars within 1.5
  pixels, the brightest row first, until half of its flux is explained
- scale: flux scale on bright isolated stars, by which fluxes and errors are divided
- bias: median of (flux - truth)/truth, %
- scatter: robust, in units of the blend bound and the confusion noise in quadrature; position_scatter: of the position's bound
- pull: robust scatter of (flux - truth)/dflux; position_pull: of positions; tails: % of rows beyond 3; crowding: the flux pull in
  thirds by blend bound over isolated bound

Left out are 20 pixels at the edges and 25 pixels around saturated ones.
"""
import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy.spatial import cKDTree

from crowdsource.validate.evaluate import unexplained

BINS = (3, 5), (5, 7), (7, 10), (10, 20), (20, 50), (50, np.inf)
"""Blend signal to noise of the stars whose share found is told."""
LEVELS = {"SN5+": (5, 10), "SN10+": (10, 30), "SN30+": (30, 100), "SN100+": (100, np.inf)}
"""Isolated signal to noise of the stars whose errors are told."""
EDGE, SATURATED = 20, 25
RADIUS, FACTOR = 1., 1.5
ALONE, COMPANIONS = 8., 0.1
"""Bright stars tell the flux scale whose neighbours within this distance (pixels) have less than this part of their flux."""
BRIGHT, LEAST_RATIO = 100, 0.3
FEW = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Bounds:
    """A field's truth and bounds, as arrays with one value for each star.

    Attributes
    ----------
    x, y, flux, snr : ndarray
        Truth; snr is the isolated signal to noise.
    flux_bound, x_bound, y_bound, isolated_bound : ndarray
        Bounds with all neighbours unknown, where the field has them; the flux bound of the isolated star.
    confusion, flux5 : float
        Confusion noise and 5 sigma flux, counts.
    shape : tuple of int
    saturated : scipy.spatial.cKDTree or None
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    snr: np.ndarray
    flux_bound: np.ndarray
    x_bound: np.ndarray
    y_bound: np.ndarray
    isolated_bound: np.ndarray
    confusion: float
    flux5: float
    shape: tuple
    saturated: object

    @classmethod
    def of(cls, table, dq):
        """From a table that `bounds.py` made, and the flags."""
        names = ("sf_bfp", "sx_bfp", "sy_bfp")
        if not np.isfinite(values_of(table, "sf_bfp")).any():
            names = ("sf_iso", "sx_iso", "sy_iso")
        x, y, flux, snr, isolated, *bounds = (values_of(table, n) for n in ("x", "y", "flux", "snr5", "sf_iso", *names))
        pixels = np.argwhere(dq)[:, ::-1]
        return cls(x=x, y=y, flux=flux, snr=snr, isolated_bound=isolated, flux_bound=bounds[0], x_bound=bounds[1],
                   y_bound=bounds[2], confusion=table.meta["CONF"], flux5=table.meta["F5"], shape=dq.shape,
                   saturated=cKDTree(pixels) if len(pixels) else None)

    @classmethod
    def read(cls, folder, name):
        """Those of a field in a folder."""
        return cls.of(Table.read(Path(folder)/f"{name}_bounds.fits"), fits.getdata(Path(folder)/f"{name}_dq.fits"))

    def counts(self, x, y):
        """Which positions count: off the edges and away from saturated pixels."""
        ny, nx = self.shape
        inside = (x > EDGE) & (x < nx-EDGE-1) & (y > EDGE) & (y < ny-EDGE-1)
        return inside if self.saturated is None else inside & (self.saturated.query(np.c_[x, y])[0] > SATURATED)


@dataclass(frozen=True)
class Level:
    """Errors of stars in a range of isolated signal to noise; figures as in this module's text, None where they are not known."""

    n: int
    bias: float
    scatter: float
    position_scatter: float
    pull: float = None
    tails: float = None
    crowding: tuple = (None, None, None)
    position_pull: float = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores of a catalog.

    Attributes
    ----------
    rows : int
    scale : float
    bad_errors : float or None
        % of rows whose errors are missing, not positive or not finite.
    found, stars : tuple
        % found and number of stars in each of `BINS`.
    spurious : tuple of float
        % of rows above the 5 sigma flux, and from half of it to it.
    checked : int
        Rows above the 5 sigma flux that count.
    levels : dict of str to Level
    """

    rows: int
    scale: float
    bad_errors: float
    found: tuple
    stars: tuple
    spurious: tuple
    checked: int
    levels: dict


def values_of(table, name):
    """A column as float64 without its unit, NaN where it is masked; None where the table has none."""
    if name not in table.colnames:
        return None
    return np.ma.filled(np.ma.asarray(getattr(table[name], "value", table[name]), dtype=np.float64), np.nan)


def matched(bounds, rows, flux):
    """The row of each star or -1: one to one, brighter stars choose first, the free row that fits best in position and flux.

    Parameters
    ----------
    bounds : Bounds
    rows : dict of str to ndarray
        Positions of the rows.
    flux : ndarray
        Their fluxes.
    """
    match, free = np.full(len(bounds.x), -1), np.ones(len(flux), bool)
    near = cKDTree(np.c_[rows["x"], rows["y"]]).query_ball_point(np.c_[bounds.x, bounds.y], RADIUS)
    for star in np.argsort(-bounds.flux):
        some = [j for j in near[star] if free[j]]
        if some:
            squared = (rows["x"][some]-bounds.x[star])**2+(rows["y"][some]-bounds.y[star])**2
            best = some[int(np.argmin(np.abs(np.log(flux[some]/bounds.flux[star]))+squared/RADIUS**2))]
            match[star], free[best] = best, False
    return match


def flux_scale(bounds, rows, counted):
    """Flux of rows over truth, the median of bright stars without bright neighbours; 1 where there are too few."""
    match = matched(bounds, rows, np.full(len(rows["x"]), np.median(bounds.flux)))
    star = np.flatnonzero((match >= 0) & counted & (bounds.snr > BRIGHT))
    around = cKDTree(np.c_[bounds.x, bounds.y]).query_ball_point(np.c_[bounds.x[star], bounds.y[star]], ALONE)
    alone = [bounds.flux[near].sum()-bounds.flux[k] < COMPANIONS*bounds.flux[k] for k, near in zip(star, around)]
    star = star[np.array(alone, dtype=bool)]
    ratio = rows["flux"][match[star]]/bounds.flux[star]
    return float(np.median(ratio[ratio > LEAST_RATIO])) if len(star) > 3 else 1.


def usable_rows(catalog):
    """Columns of the rows with a position and a positive flux, and the share of rows with bad errors, %."""
    rows = {n: v for n in ("x", "y", "flux", "dflux", "dx", "dy") if (v := values_of(catalog, n)) is not None}
    errors = [rows[n] for n in ("dflux", "dx", "dy") if n in rows]
    bad = percent(~np.all([np.isfinite(e) & (e > 0) for e in errors], axis=0)) if errors else None
    usable = np.isfinite(rows["x"]) & np.isfinite(rows["y"]) & np.isfinite(rows["flux"]) & (rows["flux"] > 0)
    return {n: v[usable] for n, v in rows.items()}, bad


def score(bounds, catalog):
    """Scores of a catalog.

    Parameters
    ----------
    bounds : Bounds
    catalog : Table

    Returns
    -------
    Score
    """
    rows, bad = usable_rows(catalog)
    counted, row_counted = bounds.counts(bounds.x, bounds.y), bounds.counts(rows["x"], rows["y"])
    scale = flux_scale(bounds, rows, counted)
    rows.update({n: rows[n]/scale for n in ("flux", "dflux") if n in rows})
    match = matched(bounds, rows, rows["flux"])
    hit = (match >= 0) & counted
    right = hit.copy()
    right[hit] = np.abs(np.log(rows["flux"][match[hit]]/bounds.flux[hit])) < np.log(FACTOR)
    blend = bounds.flux/bounds.flux_bound
    bins = [counted & (bounds.snr > 5) & (blend > low) & (blend <= high) for low, high in BINS]
    lone, flux = unexplained(dict(x=bounds.x, y=bounds.y, flux=bounds.flux), rows), rows["flux"]
    bright, faint = flux > bounds.flux5, (flux > bounds.flux5/2) & (flux <= bounds.flux5)
    levels = {}
    for name, (low, high) in LEVELS.items():
        star = np.flatnonzero(hit & (bounds.snr > low) & (bounds.snr <= high))
        if len(star) >= FEW:
            levels[name] = level(bounds, rows, star, match[star])
    return Score(rows=len(catalog), scale=scale, bad_errors=bad, found=tuple(percent(right[b]) for b in bins),
                 stars=tuple(int(b.sum()) for b in bins), spurious=tuple(percent(lone[row_counted & b]) for b in (bright, faint)),
                 checked=int((row_counted & bright).sum()), levels=levels)


def level(bounds, rows, star, row):
    """The `Level` of some stars and their rows."""
    error = rows["flux"][row]-bounds.flux[star]
    shift = rows["x"][row]-bounds.x[star], rows["y"][row]-bounds.y[star]
    out = dict(n=len(star), bias=100*float(np.median(error/bounds.flux[star])),
               scatter=robust(error/np.hypot(bounds.flux_bound, bounds.confusion)[star]),
               position_scatter=robust(np.concatenate([shift[0]/bounds.x_bound[star], shift[1]/bounds.y_bound[star]])))
    if "dflux" in rows:
        pull, blending = error/rows["dflux"][row], (bounds.flux_bound/bounds.isolated_bound)[star]
        low, high = np.nanpercentile(blending, [33, 67])
        thirds = blending <= low, (blending > low) & (blending <= high), blending > high
        out.update(pull=robust(pull), tails=percent(np.abs(pull) > 3), crowding=tuple(robust(pull[t]) for t in thirds))
    if "dx" in rows:
        out.update(position_pull=robust(np.concatenate([shift[0]/rows["dx"][row], shift[1]/rows["dy"][row]])))
    return Level(**out)


def robust(values):
    """Robust scatter, None for fewer than eight values."""
    values = values[np.isfinite(values)]
    return float(1.4826*np.median(np.abs(values-np.median(values)))) if len(values) >= FEW else None


def percent(where):
    """Share of what is true, %; None of nothing."""
    return 100*float(np.mean(where)) if len(where) else None


def rounded(value, digits=2):
    """A figure as it is printed."""
    if isinstance(value, tuple):
        return tuple(rounded(v, digits) for v in value)
    return round(value, digits) if isinstance(value, float) else value


def main():
    """Score one catalog."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("catalog", metavar="CATALOG[:HDU]")
    arguments = parser.parse_args()
    path, _, hdu = arguments.catalog.partition(":")
    scores = score(Bounds.read(arguments.folder, arguments.name), Table.read(path, hdu=hdu or 1))
    print(f"{arguments.name}: {scores.rows} rows, flux scale {scores.scale:.4f}, {rounded(scores.spurious)} % spurious above and "
          f"below 5 sigma, {rounded(scores.bad_errors)} % with bad errors")
    for (low, high), found, stars in zip(BINS, rounded(scores.found, 1), scores.stars):
        print(f"  blend S/N {low} to {high}: {found} % of {stars} found")
    for name, one in scores.levels.items():
        print(f"  {name}: "+", ".join(f"{key} {rounded(value)}" for key, value in vars(one).items()))


if __name__ == "__main__":
    main()
