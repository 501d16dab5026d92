"""Comparison of a catalog with a field's truth: what was found, what is spurious, are fluxes right and errors honest."""
from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std
from astropy.table import Table
from scipy import ndimage
from scipy.spatial import cKDTree

from ..core.errors import InputError
from .columns import plain_columns

BIN_EDGES = (5., 7., 10., 20., 50., np.inf)
"""Bounds of the bins of isolated signal to noise."""
MATCH_RADIUS = 1.
"""A row may belong to a star within this distance, pixels."""
FLUX_FACTOR = 1.5
"""A star is found when its row's flux is right within this factor."""
BLEND_RADIUS = 1.5
"""Stars within this distance may add to the flux of a row, pixels."""
FEWEST = 5
"""Least number of values of which a scatter is given."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """A catalog compared with the truth.

    Attributes
    ----------
    bins : astropy.table.Table
        One row a bin of isolated signal to noise: ``low high`` (its bounds), ``stars`` (in it), ``found`` (% of them with
        a row within 1 px and a flux within a factor of 1.5), ``matched`` (rows behind the other figures), ``bias`` (%,
        median of (flux-truth)/truth), ``scatter`` (%, robust, of the same), ``pull`` (robust scatter of (flux-truth)/dflux: 1
        when errors are right), ``position_scatter`` (robust, pixels), ``position_pull`` (in units of dx and dy), ``tails`` (%
        of rows beyond 3 dflux). NaN where there are too few.
    spurious : float
        % of rows above the 5 sigma flux whose flux the stars around do not account for.
    rows, counted, stars : int
        Rows of the catalog, rows above the 5 sigma flux, and stars above 5 sigma, away from edges and from pixels to avoid.
    found, bias, pull, position_pull : float
        As in the bins, of all stars above 5 sigma; the last three of those above 10 sigma.
    """

    bins: Table
    spurious: float
    rows: int
    counted: int
    stars: int
    found: float
    bias: float
    pull: float
    position_pull: float

    def lines(self):
        """The comparison as lines of text."""
        head = [f"{self.rows} rows, {self.stars} true stars above 5 sigma: {self.found:.1f} % found, "
                f"{self.spurious:.1f} % of rows spurious",
                f"above 10 sigma: flux bias {self.bias:+.2f} %, flux pull {self.pull:.2f}, "
                f"position pull {self.position_pull:.2f}",
                "      S/N   stars  found %  bias %   pull  position pull  beyond 3 sigma %"]
        for b in self.bins:
            high = f"{b['high']:.0f}" if np.isfinite(b["high"]) else ""
            name = f"{b['low']:.0f}-{high}"
            head.append(f"{name:>9s}  {b['stars']:6d}  {b['found']:7.1f}  {b['bias']:+6.2f}  {b['pull']:5.2f}"
                        f"  {b['position_pull']:13.2f}  {b['tails']:16.1f}")
        return head


def compare(catalog, truth, *, flux5=None, shape=None, edge=20, avoid=None, avoid_radius=25, bin_edges=BIN_EDGES):
    """Compare a catalog with the truth.

    Parameters
    ----------
    catalog : Table or mapping of arrays
        x, y (pixels), flux; dflux, dx, dy where there are. Units are ignored: fluxes must be on truth's scale.
    truth : Table or mapping of arrays
        x, y, flux of all stars, undetectable ones too.
    flux5 : float, optional
        Flux of an isolated star at 5 sigma; ``truth.meta["FLUX5"]`` when not given.
    shape : tuple of int, optional
        (ny, nx) of the image: rows and stars within `edge` pixels of its edge are left out.
    edge : float
        Pixels.
    avoid : ndarray of bool, shape (ny, nx), optional
        Pixels, for example saturated ones, around which rows and stars are left out.
    avoid_radius : float
        Radius around them, pixels.
    bin_edges : sequence of float
        Bounds of the bins of signal to noise.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        When a column or the 5 sigma flux is missing.
    """
    flux5 = float(truth.meta.get("FLUX5", np.nan) if flux5 is None else flux5)
    if not flux5 > 0:
        raise InputError("the truth has no FLUX5: give the flux of an isolated 5 sigma star as flux5")
    rows, stars = plain_columns(catalog, ("dflux", "dx", "dy")), plain_columns(truth)
    usable = np.isfinite(rows["x"]+rows["y"]+rows["flux"]) & (rows["flux"] > 0)
    rows = {n: v[usable] for n, v in rows.items()}
    region = _Region(shape, edge, avoid, avoid_radius)
    row_in, star_in = region.holds(rows["x"], rows["y"]), region.holds(stars["x"], stars["y"])
    match = match_stars(stars, rows)
    snr = 5*stars["flux"]/flux5
    right = np.zeros(len(snr), bool)
    hit = match >= 0
    right[hit] = np.abs(np.log(rows["flux"][match[hit]]/stars["flux"][hit])) < np.log(FLUX_FACTOR)
    bins = Table(rows=[_figures(low, high, star_in & (snr > low) & (snr <= high), right, match, (stars, rows))
                       for low, high in zip(bin_edges[:-1], bin_edges[1:])])
    counted = row_in & (rows["flux"] > flux5)
    all5 = _figures(5., np.inf, star_in & (snr > 5), right, match, (stars, rows))
    all10 = _figures(10., np.inf, star_in & (snr > 10), right, match, (stars, rows))
    return Comparison(bins=bins, spurious=_percent(unexplained(stars, rows)[counted]), rows=int(row_in.sum()),
                      counted=int(counted.sum()), stars=all5["stars"], found=all5["found"], bias=all10["bias"],
                      pull=all10["pull"], position_pull=all10["position_pull"])


class _Region:
    """The part of the image in which rows and stars count: not at its edges, and away from pixels to avoid."""

    def __init__(self, shape, edge, avoid, radius):
        shape = np.shape(avoid) if avoid is not None else shape
        self.shape, self.edge = shape, edge
        self.far = None
        if avoid is not None and np.any(avoid):
            self.far = ndimage.distance_transform_edt(~np.asarray(avoid, dtype=bool)) > radius

    def holds(self, x, y):
        if self.shape is None:
            return np.ones(len(x), bool)
        ny, nx = self.shape
        inside = (x >= self.edge) & (x <= nx-1-self.edge) & (y >= self.edge) & (y <= ny-1-self.edge)
        if self.far is not None:
            px, py = (np.clip(np.round(v), 0, n-1).astype(int) for v, n in ((x, nx), (y, ny)))
            inside &= self.far[py, px]
        return inside


def match_stars(stars, rows, radius=MATCH_RADIUS):
    """The row of each star, one to one: brighter stars choose first, among free rows the one nearest in position and flux.

    Parameters
    ----------
    stars, rows : mapping
        x, y, flux arrays; fluxes positive.
    radius : float
        Pixels.

    Returns
    -------
    ndarray of int, shape (n stars,)
        Row number, -1 for none.
    """
    match = np.full(len(stars["x"]), -1)
    if not len(match) or not len(rows["x"]):
        return match
    pairs = cKDTree(np.c_[stars["x"], stars["y"]]).sparse_distance_matrix(
        cKDTree(np.c_[rows["x"], rows["y"]]), radius, output_type="coo_matrix")
    star, row = pairs.row, pairs.col
    ratio = np.log(rows["flux"][row]/stars["flux"][star])/np.log(FLUX_FACTOR)
    cost = (pairs.data/radius)**2+ratio**2
    taken = np.zeros(len(rows["x"]), bool)
    for k in np.lexsort((cost, -stars["flux"][star])):
        if match[star[k]] < 0 and not taken[row[k]]:
            match[star[k]], taken[row[k]] = row[k], True
    return match


def unexplained(stars, rows, radius=BLEND_RADIUS):
    """Rows whose flux the stars around them do not explain.

    From the brightest row on, each row takes stars within the radius that no other row has, brightest first, until their flux is
    half of its own: a row that stands for a blend is explained, the second of two rows on one star is not.

    Parameters
    ----------
    stars, rows : mapping
        x, y, flux arrays.
    radius : float
        Pixels.

    Returns
    -------
    ndarray of bool, shape (n rows,)
    """
    spurious = np.ones(len(rows["x"]), bool)
    if not len(spurious) or not len(stars["x"]):
        return spurious
    near = cKDTree(np.c_[stars["x"], stars["y"]]).query_ball_point(np.c_[rows["x"], rows["y"]], radius)
    free = np.ones(len(stars["x"]), bool)
    for j in np.argsort(-rows["flux"], kind="stable"):
        around = np.array([k for k in near[j] if free[k]], dtype=int)
        around = around[np.argsort(-stars["flux"][around], kind="stable")]
        held = np.cumsum(stars["flux"][around])
        if len(held) and held[-1] >= rows["flux"][j]/2:
            free[around[:np.searchsorted(held, rows["flux"][j]/2)+1]] = False
            spurious[j] = False
    return spurious


def robust_scatter(values):
    """Standard deviation by the median absolute deviation; NaN for fewer than five finite values."""
    values = values[np.isfinite(values)]
    return float(mad_std(values)) if len(values) >= FEWEST else np.nan


def _percent(where):
    return 100*float(np.mean(where)) if len(where) else np.nan


def _figures(low, high, selected, right, match, tables):
    """One row of `Comparison.bins`."""
    stars, rows = tables
    k = np.flatnonzero(selected & (match >= 0))
    j = match[k]
    error = rows["flux"][j]-stars["flux"][k]
    enough = len(k) >= FEWEST
    pull = error/rows["dflux"][j]
    relative = 100*error/stars["flux"][k]
    shift = np.r_[rows["x"][j]-stars["x"][k], rows["y"][j]-stars["y"][k]]
    return dict(low=low, high=high, stars=int(selected.sum()), found=_percent(right[selected]), matched=len(k),
                bias=float(np.median(relative)) if enough else np.nan, scatter=robust_scatter(relative),
                pull=robust_scatter(pull), position_scatter=robust_scatter(shift),
                position_pull=robust_scatter(shift/np.r_[rows["dx"][j], rows["dy"][j]]),
                tails=_percent(np.abs(pull[np.isfinite(pull)]) > 3))
