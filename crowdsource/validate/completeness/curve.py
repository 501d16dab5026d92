"""The curve of completeness: the part of the stars that is found as a smooth function of magnitude, and its limits."""
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.optimize import minimize
from scipy.special import expit, xlog1py, xlogy

LEVELS = 50, 80, 95
"""Parts, in per cent, of which the magnitudes are told."""
PRIORS = ((None, None), (np.log(0.3), 1.), (0., 1.), (5., 1.5))
"""Middle and width of the Gaussian priors of the parameters; none for the magnitude."""
STEP = 1e-4
"""Step of the derivatives with respect to the parameters."""
DESCRIPTIONS = dict(
    region="all; density 1, 2, ... from the lowest; part i,j of the image, column and row from 1", stars="artificial stars of it",
    found="those that were found", x_low="of the region, the parent's pixels", x_high="of the region", y_low="of the region",
    y_high="of the region", density_low="of the region", density_high="of the region", m50="magnitude at which half is found",
    width="scale of the decline at the bright side, magnitudes", steepness="of the decline at the faint side, over that",
    ceiling="part of the brightest stars that is found", m50_error="error of m50", m80="magnitude of 80 %", m80_error="its error",
    m95="magnitude of 95 %", m95_error="its error")
"""What the columns of a table of curves mean."""


@dataclass(frozen=True)
class Curve:
    """c(m) = ceiling (1+exp((m-m0)/width))^-steepness, a logistic function with different declines at both sides.

    It falls from the ceiling slowly, as exp((m-m0)/width), as crowding does, and ends as exp(-steepness (m-m0)/width), as noise
    does. m0 follows from `m50`.

    Attributes
    ----------
    m50 : float
        Magnitude at which the curve is half of its ceiling.
    width, steepness, ceiling : float
    covariance : ndarray, shape (4, 4)
        Of m50, and of the logarithms of width and steepness and the logit of the ceiling.
    """

    m50: float
    width: float
    steepness: float
    ceiling: float
    covariance: np.ndarray = None

    @classmethod
    def of(cls, parameters, covariance=None):
        """From the parameters that are fitted."""
        m50, width, steepness, ceiling = parameters
        return cls(float(m50), float(np.exp(width)), float(np.exp(steepness)), float(expit(ceiling)), covariance)

    @property
    def parameters(self):
        """Those that are fitted, float64 of shape (4,)."""
        odds = np.log(self.ceiling)-np.log1p(-min(self.ceiling, 1-1e-12))
        return np.array([self.m50, np.log(self.width), np.log(self.steepness), odds])

    def __call__(self, magnitude):
        """Part that is found at magnitudes."""
        u = (np.asarray(magnitude, dtype=np.float64)-self.m50)/self.width+self._above(0.5)
        return self.ceiling*np.exp(-self.steepness*np.logaddexp(0, u))

    def magnitude(self, part):
        """Magnitude at which a part is found; NaN where even the brightest stars are found less often."""
        if not part < self.ceiling:
            return np.nan
        return self.m50+self.width*(self._above(part/self.ceiling)-self._above(0.5))

    def error(self, part):
        """Error of `magnitude`; NaN where it is not known."""
        if self.covariance is None or not np.isfinite(self.magnitude(part)):
            return np.nan
        slope = _slopes(lambda p: np.array([Curve.of(p).magnitude(part)]), self.parameters)[:, 0]
        variance = slope @ self.covariance @ slope
        return float(np.sqrt(variance)) if variance >= 0 else np.nan

    def _above(self, part):
        """(m-m0)/width where the curve is a part of its ceiling."""
        return np.log(np.expm1(-np.log(part)/self.steepness))


def _slopes(function, parameters):
    """Derivatives of a function with respect to parameters, one row each."""
    steps = STEP*np.eye(len(parameters))
    return np.array([(function(parameters+s)-function(parameters-s))/(2*STEP) for s in steps])


def fit_curve(magnitude, found):
    """The most probable curve of stars that were found or not.

    Every star counts by itself (a binomial likelihood without bins), with weak priors: width 0.3 mag and steepness 1 within a
    factor of e, ceiling between 0.95 and 1.

    Parameters
    ----------
    magnitude : array_like, shape (n,)
    found : array_like of bool, shape (n,)

    Returns
    -------
    Curve or None
        None where there are no stars, or all or none of them were found: the magnitudes do not tell the limit.
    """
    magnitude, found = np.asarray(magnitude, dtype=np.float64), np.asarray(found, dtype=bool)
    if not len(found) or found.all() or not found.any():
        return None
    usual = np.array([[m, s] for m, s in PRIORS[1:]])

    def loss(p):
        c = np.clip(Curve.of(p)(magnitude), 1e-9, 1-1e-9)
        return -np.sum(xlogy(found, c)+xlog1py(~found, -c))+np.sum(((p[1:]-usual[:, 0])/usual[:, 1])**2)/2

    # half as many stars are fainter than the limit as were not found
    first = np.quantile(magnitude, np.mean(found))
    best = minimize(loss, [first, *usual[:, 0]], method="Nelder-Mead", options=dict(maxiter=4000, xatol=1e-4, fatol=1e-6))
    slopes, c = _slopes(lambda p: Curve.of(p)(magnitude), best.x), np.clip(Curve.of(best.x)(magnitude), 1e-6, 1-1e-6)
    information = (slopes/(c*(1-c))) @ slopes.T+np.diag([0, *usual[:, 1]**-2])
    return Curve.of(best.x, np.linalg.pinv(information))


def curve_row(region, stars, magnitude, bounds):
    """A row of a table of curves.

    Parameters
    ----------
    region : str
    stars : astropy.table.Table
        Of the region.
    magnitude : ndarray, shape (n,)
        Of them.
    bounds : mapping
        x_low, x_high, y_low, y_high, density_low, density_high.
    """
    curve = fit_curve(magnitude, stars["found"])
    row = dict(region=region, stars=len(stars), found=int(np.sum(stars["found"])), **bounds)
    names = ("m50", "width", "steepness", "ceiling")
    row |= {n: np.nan if curve is None else getattr(curve, n) for n in names}
    for level in LEVELS:
        row[f"m{level}"] = np.nan if curve is None else curve.magnitude(level/100)
        row[f"m{level}_error"] = np.nan if curve is None else curve.error(level/100)
    return row


def curve_table(rows):
    """The table of some rows, with descriptions."""
    table = Table(rows=rows)
    for name in table.colnames:
        table[name].info.description = DESCRIPTIONS[name]
        table[name].info.unit = "pix" if name[:2] in ("x_", "y_") else "pix-2" if name.startswith("density") else \
            "mag" if name[0] == "m" or name == "width" else None
    return table
