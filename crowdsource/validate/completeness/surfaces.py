"""What artificial stars tell, by brightness and density of the stars around: found, bias, scatter, pull, errors of positions."""
import numpy as np
from astropy.stats import binom_conf_interval
from astropy.table import Table

from ..evaluate import FEWEST, robust_scatter

STEP = 0.5
"""Width of the bins of brightness, magnitudes."""
CLASSES = 3
"""Classes of density, of as many stars each ..."""
CONTRAST = 1.2
"""... unless the middles of the first and the last differ by less than this factor: then there is one."""
MEDIAN_ERROR = 1.25
"""Error of a median, in units of the standard deviation over the root of the number (Gaussian)."""
GAUSSIAN = 1.4826
"""Standard deviation in units of the median absolute deviation (Gaussian)."""
SCATTER_ERROR = 1.17
"""Relative error of a scatter by the median absolute deviation, times the root of the number (Gaussian)."""
FEWEST_OF_FACTOR = 100
"""Rows behind a factor at least: it is known to an eighth then."""
DESCRIPTIONS = dict(
    flux_low="faint end of the bin", flux_high="bright end of the bin", density_class="0: all densities; else from 1, the lowest",
    density_low="least density", density_high="largest density", stars="artificial stars of the bin",
    found="those that were found", fraction="part that was found", fraction_low="its lower bound, binomial, 68 %",
    fraction_high="its upper bound, binomial, 68 %", good="part that was found in a good row",
    matched="stars with a row, of which all that follows is", bias="median of (flux_found-flux)/flux", bias_error="its error",
    scatter="robust standard deviation of (flux_found-flux)/flux", pull="robust standard deviation of (flux_found-flux)/dflux",
    pull_error="its error", tails="part of the rows that is off by more than 3 dflux",
    position_scatter="robust standard deviation of x and y", position_pull="the same in units of dx and dy",
    factor="by which dflux is to be multiplied", factor_error="error of the factor")
UNITS = dict(density_low="pix-2", density_high="pix-2", position_scatter="pix")


def flux_edges(flux, step=STEP):
    """Bounds of bins of equal width in magnitude that hold all fluxes, faintest first."""
    low, high = np.log(flux.min()), np.log(flux.max())
    bins = max(1, round(2.5*(high-low)/np.log(10)/step))
    edges = np.exp(np.linspace(low, high, bins+1))
    edges[0], edges[-1] = flux.min()*(1-1e-9), flux.max()*(1+1e-9)
    return edges


def density_edges(density, classes=CLASSES):
    """Bounds of classes of density of as many stars each; of one class where densities hardly differ."""
    edges = np.quantile(density, np.linspace(0, 1, classes+1))
    middles = np.quantile(density, (0.5/classes, 1-0.5/classes))
    if classes == 1 or not middles[1] > CONTRAST*middles[0] or (np.diff(edges) <= 0).any():
        edges = edges[[0, -1]]
    edges[0], edges[-1] = edges[0]*(1-1e-9), edges[-1]*(1+1e-9)
    return edges


def classes_of(density, edges):
    """(class, bounds, which stars): class 0 is all, the others, where there are several, go from the lowest density on."""
    yield 0, (edges[0], edges[-1]), np.ones(len(density), bool)
    if len(edges) > 2:
        for k, (low, high) in enumerate(zip(edges[:-1], edges[1:]), 1):
            yield k, (low, high), (density > low) & ((density <= high) | (k == len(edges)-1))


def surface(stars, bounds, densities):
    """Figures by brightness and density.

    Parameters
    ----------
    stars : astropy.table.Table
        As `crowdsource.validate.completeness.trial.recovered`.
    bounds, densities : ndarray
        Bounds of bins of flux, and of classes of density.

    Returns
    -------
    astropy.table.Table
        A row for each bin in each class, as `DESCRIPTIONS` tells; NaN where there are too few stars.
    """
    rows = []
    for number, (least, most), inside in classes_of(np.asarray(stars["density"]), densities):
        for low, high in zip(bounds[:-1], bounds[1:]):
            some = stars[inside & (stars["flux"] > low) & (stars["flux"] <= high)]
            rows.append(dict(flux_low=low, flux_high=high, density_class=number, density_low=least, density_high=most,
                             **counts(some), **accuracy(some)))
    return _told(Table(rows=rows))


def counts(stars):
    """How many of some stars were found, with binomial errors (Jeffreys; Brown, Cai and DasGupta 2001, Stat. Sci. 16, 101)."""
    n, found = len(stars), int(np.sum(stars["found"]))
    low, high = binom_conf_interval(found, n, interval="jeffreys") if n else (np.nan, np.nan)
    share = [float(np.mean(stars[c])) if n else np.nan for c in ("found", "good")]
    return dict(stars=n, found=found, fraction=share[0], fraction_low=float(low), fraction_high=float(high), good=share[1])


def accuracy(stars):
    """Errors of the rows of some stars: figures by name, NaN where there are fewer than five."""
    rows = stars[np.asarray(stars["matched"])]
    n, flux = len(rows), np.asarray(rows["flux"])
    error = np.asarray(rows["flux_found"])-flux
    relative, pull = error/flux, error/np.asarray(rows["dflux"])
    shift = np.r_[rows["x_found"]-rows["x"], rows["y_found"]-rows["y"]]
    return dict(**bias_and_scatter(relative, pull), tails=np.nan if n < FEWEST else float(np.mean(np.abs(pull) > 3)),
                position_scatter=robust_scatter(shift), position_pull=robust_scatter(shift/np.r_[rows["dx"], rows["dy"]]))


def bias_and_scatter(off, pull):
    """How many rows there are, and the bias, scatter and pull of what they measure; NaN where there are fewer than five.

    Parameters
    ----------
    off, pull : ndarray, shape (n,)
        What is found less the truth, and the same in units of its error.
    """
    n, scatter, spread = len(off), robust_scatter(off), robust_scatter(pull)
    few = n < FEWEST
    return dict(matched=n, bias=np.nan if few else float(np.median(off)),
                bias_error=np.nan if few else MEDIAN_ERROR*scatter/np.sqrt(n), scatter=scatter, pull=spread,
                pull_error=np.nan if few else SCATTER_ERROR*spread/np.sqrt(n))


def factors(stars, bounds, densities, slope=1., fewest=FEWEST_OF_FACTOR):
    """By how much `dflux` is wrong: factors by the flux that a catalog has, and by density.

    Bins are of the flux of the row, since that is what a user of a catalog knows. A factor is the robust scatter of the pulls;
    neighbouring bins are joined, from the brightest on, until they hold enough rows.

    Parameters
    ----------
    stars, bounds, densities
        As `surface`.
    slope : float
        The number of real stars in an interval of flux goes as flux^-slope: that of artificial ones goes as flux^-1, and of the
        rows of a flux more are fainter stars that came out too bright where there are more of them.
    fewest : int
        Least number of rows of a factor.

    Returns
    -------
    astropy.table.Table
        flux_low, flux_high, density_class, density_low, density_high, matched, factor, factor_error.
    """
    known = stars[np.asarray(stars["matched"]) & (np.nan_to_num(np.asarray(stars["dflux"])) > 0)]
    flux, rows = np.asarray(known["flux_found"]), []
    pull = (flux-np.asarray(known["flux"]))/np.asarray(known["dflux"])
    weight, inner = np.asarray(known["flux"])**(1-slope), bounds[1:-1]
    number = np.searchsorted(inner, flux)
    for name, (least, most), inside in classes_of(np.asarray(known["density"]), densities):
        high, held = len(inner), np.zeros(len(flux), bool)
        for k in range(len(inner), -1, -1):
            held |= inside & (number == k)
            if held.sum() < fewest:
                continue
            factor = weighted_scatter(pull[held], weight[held])
            error = SCATTER_ERROR*factor/np.sqrt(weight[held].sum()**2/np.square(weight[held]).sum())
            rows.append(dict(flux_low=bounds[k], flux_high=bounds[high+1], density_class=name, density_low=least,
                             density_high=most, matched=int(held.sum()), factor=factor, factor_error=error))
            high, held = k-1, np.zeros(len(flux), bool)
    names = [n for n in DESCRIPTIONS if n in ("flux_low", "flux_high", "density_class", "density_low", "density_high", "matched",
                                              "factor", "factor_error")]
    table = Table(rows=rows, names=names) if rows else Table({n: np.empty(0) for n in names})
    table.sort(["density_class", "flux_low"])
    return _told(table)


def weighted_scatter(values, weights):
    """Standard deviation by the median absolute deviation, of values that count differently."""
    def median(of):
        order = np.argsort(of)
        share = np.cumsum(weights[order])-weights[order]/2
        return np.interp(share[-1]/2+weights[order[-1]]/4, share, of[order])
    return float(GAUSSIAN*median(np.abs(values-median(values))))


def slope_of(flux, faintest):
    """Slope of the numbers of stars brighter than the faintest, by the likeliest power law (Hill 1975, Ann. Stat. 3, 1163).

    Returns
    -------
    float
        Between 1 and 3; 1 where there are fewer than 20 stars.
    """
    bright = flux[flux > faintest]
    return 1. if len(bright) < 20 else float(np.clip(1+len(bright)/np.sum(np.log(bright/faintest)), 1, 3))


def interpolated_factor(table, flux, density):
    """Factors for rows of a catalog: of their class of density, linear in the logarithm of the flux, constant beyond the ends.

    Parameters
    ----------
    table : astropy.table.Table
        From `factors`.
    flux, density : array_like, shape (n,)

    Returns
    -------
    ndarray, shape (n,), float64
        1 where nothing is known.
    """
    flux, density = np.broadcast_arrays(np.asarray(flux, dtype=np.float64), np.asarray(density, dtype=np.float64))
    out = np.ones(flux.shape)
    for number in np.unique(np.asarray(table["density_class"])):
        part = table[np.asarray(table["density_class"]) == number]
        low, high = float(part["density_low"][0]), float(part["density_high"][0])
        last = high >= np.max(table["density_high"])
        first = low <= np.min(table["density_low"])
        inside = np.ones(flux.shape, bool) if number == 0 else ((density > low) | first) & ((density <= high) | last)
        middle = np.log(np.asarray(part["flux_low"])*np.asarray(part["flux_high"]))/2
        with np.errstate(invalid="ignore", divide="ignore"):
            at = np.interp(np.log(np.where(flux > 0, flux, np.nan)), middle, np.asarray(part["factor"]))
        out = np.where(inside & np.isfinite(at), at, out)
    return out


def _told(table):
    """The table with units and descriptions of its columns."""
    for name in table.colnames:
        table[name].info.description, table[name].info.unit = DESCRIPTIONS[name], UNITS.get(name)
    return table
