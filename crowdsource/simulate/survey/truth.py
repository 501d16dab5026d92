"""Stars of a simulated survey: where they are, how they move, how bright they are in each band and when."""
import numpy as np
from scipy.spatial import cKDTree

from .config import EPOCH
from .geometry import field_plane

REACH = 0.985
"""Fraction of a Plummer profile inside the edge of a cluster."""
INNER = 0.35
"""Clusters are centred within this part of the field's side from its middle, along each coordinate."""
NEIGHBOURS = 10
"""The density at a star is measured within the distance of this neighbour, counted from the nearest."""
OLD, COOL = (0.5, 0.12, 0.45), (1.4, 0.1)
"""Stars near the turn-off: mean and scatter of g-r, and their fraction; cool dwarfs: mean and scatter of g-r."""
PERIODS = 0.2, 500.
"""Shortest and longest period of variables, days."""


def draw_truth(config):
    """Draw the stars.

    Parameters
    ----------
    config : SurveyConfig

    Returns
    -------
    ndarray, shape (n,)
        Structured, in no order: ``star`` (row number), ``ra``, ``dec`` at `EPOCH` (degrees), ``pmra`` (with cos dec), ``pmdec``
        (mas a year), ``mag_<band>`` (AB, mean over time), ``amplitude`` (mag), ``period`` (days), ``phase`` (periods),
        ``cluster`` (-1 for the field) and ``density`` (stars in a square arcsecond, from the tenth neighbour).
    """
    c, rng = config, np.random.default_rng((config.seed, 0))
    rows = np.zeros(c.stars, dtype=[
        ("star", "i4"), ("ra", "f8"), ("dec", "f8"), ("pmra", "f4"), ("pmdec", "f4"), *((f"mag_{b}", "f4") for b in c.bands),
        ("amplitude", "f4"), ("period", "f4"), ("phase", "f4"), ("cluster", "i2"), ("density", "f4")])
    rows["star"] = np.arange(c.stars)
    xi, eta, rows["cluster"] = draw_positions(c, rng)
    rows["ra"], rows["dec"] = field_plane(c.position).all_pix2world(xi, eta, 0)
    rows["density"] = density_at(xi, eta)
    for band, mag in magnitudes(c, rng).items():
        rows[f"mag_{band}"] = mag
    moving = rng.random(c.stars) < c.moving
    rows["pmra"], rows["pmdec"] = moving*rng.normal(0, c.motion, (2, c.stars))
    varying = rng.random(c.stars) < c.variables
    rows["amplitude"] = varying*rng.exponential(c.variability, c.stars)
    rows["period"] = np.exp(rng.uniform(*np.log(PERIODS), c.stars))
    rows["phase"] = rng.random(c.stars)
    return rows


def draw_positions(config, rng):
    """Positions in the field's plane, arcsec east and north of its middle, and each star's cluster.

    Returns
    -------
    xi, eta : ndarray, shape (n,), float64
    cluster : ndarray, shape (n,), int
    """
    c, n, half = config, config.stars, config.side/2
    xi, u = rng.uniform(-half, half, n), rng.random(n)
    # an exponential fall from the lower edge to the upper one
    height = u if c.contrast == 1 else -np.log1p(-u*(1-1/c.contrast))/np.log(c.contrast)
    eta, cluster = (height-0.5)*c.side, np.full(n, -1)
    members = rng.permutation(n)[:int(c.cluster_part*n)]
    dense = np.geomspace(*c.cluster_densities, c.clusters)
    for k, part in enumerate(np.array_split(members, c.clusters) if c.clusters else ()):
        x0, y0 = rng.uniform(-INNER, INNER, 2)*c.side
        # the surface density in the middle is N/(pi a^2) of a Plummer sphere whose radius is a
        u, angle = rng.uniform(0, REACH, len(part)), rng.uniform(0, 2*np.pi, len(part))
        r = np.sqrt(len(part)/(np.pi*dense[k])*u/(1-u))
        x, y = x0+r*np.cos(angle), y0+r*np.sin(angle)
        inside = np.maximum(np.abs(x), np.abs(y)) < half
        xi[part[inside]], eta[part[inside]], cluster[part[inside]] = x[inside], y[inside], k
    return xi, eta, cluster


def density_at(xi, eta):
    """Stars in a square arcsecond at each star, from the distance of its tenth neighbour; 0 where there are fewer."""
    at = np.column_stack([xi, eta])
    if len(at) <= NEIGHBOURS:
        return np.zeros(len(at))
    far, _ = cKDTree(at).query(at, [NEIGHBOURS+1])
    return NEIGHBOURS/(np.pi*np.maximum(far[:, 0], 1e-3)**2)


def magnitudes(config, rng):
    """Mean magnitudes by band: a rising luminosity function, and colours of stars near the turn-off and of cool dwarfs."""
    c, n = config, config.stars
    span = 10**(c.slope*(c.brightest-c.faintest))
    r = c.faintest+np.log10(span+(1-span)*rng.random(n))/c.slope
    old = rng.random(n) < OLD[2]
    gr = np.where(old, rng.normal(*OLD[:2], n), rng.normal(*COOL, n))
    ri = np.where(old, 0.4*gr, rng.uniform(0.5, 1.6, n))+rng.normal(0, 0.03, n)
    iz = 0.55*ri+rng.normal(0, 0.03, n)
    mags = {"g": r+gr, "r": r, "i": r-ri, "z": r-ri-iz, "Y": r-ri-1.4*iz}
    return {b: mags[b] for b in c.bands}


def true_flux(rows, band, mjd):
    """Flux of stars at a date, nanomaggies.

    Parameters
    ----------
    rows : ndarray, shape (n,)
        Of `draw_truth`.
    band : str
    mjd : float

    Returns
    -------
    ndarray, shape (n,), float64
    """
    turn = mjd/rows["period"].astype(np.float64)+rows["phase"]
    mag = rows[f"mag_{band}"].astype(np.float64)+rows["amplitude"]*np.sin(2*np.pi*turn)
    return 10**(0.4*(22.5-mag))


def true_positions(rows, mjd):
    """ra, dec of stars at a date, degrees, each shape (n,); good at the poles too."""
    ra, dec = np.radians(rows["ra"]), np.radians(rows["dec"])
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros(len(ra))])
    north = np.stack([-np.sin(dec)*np.cos(ra), -np.sin(dec)*np.sin(ra), np.cos(dec)])
    at = np.stack([np.cos(dec)*np.cos(ra), np.cos(dec)*np.sin(ra), np.sin(dec)])
    mas = np.radians((mjd-EPOCH)/365.25/3.6e6)
    at = at+mas*(rows["pmra"]*east+rows["pmdec"]*north)
    return np.degrees(np.arctan2(at[1], at[0])) % 360, np.degrees(np.arctan2(at[2], np.hypot(at[0], at[1])))
