"""Colours of artificial stars: what their fluxes in several bands are, and how right the colours are that a joint fit finds."""
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from ...core.errors import ConfigError
from ...engine.schema import POGSON
from .surfaces import bias_and_scatter

CERTAIN = 10.
"""Stars of the catalog that are this significant in all bands have colours that artificial stars may have."""
NEAR = 50
"""A star has the colour of one of so many of these that are nearest in brightness."""
DESCRIPTIONS = dict(
    colour="of this band and another, as the bands are named", flux_low="faint end of the bin, this band",
    flux_high="bright end of the bin, this band", stars="artificial stars of the bin",
    found="those that were found in both bands", matched="stars with positive fluxes in both, of which all that follows is",
    bias="median of the colour found less the true one", bias_error="its error",
    scatter="robust standard deviation of the same",
    pull="the same in units of the error, by dflux of both", pull_error="its error")
"""What the columns of a table of colours mean."""
UNITS = dict(bias="mag", bias_error="mag", scatter="mag")


@dataclass(frozen=True, eq=False, kw_only=True)
class Colours:
    """Fluxes of artificial stars in several bands.

    Attributes
    ----------
    zeropoints : dict of str to float
        Magnitude of a flux of 1, by band; 0 where it is not known. The fluxes of a plan are of the first band.
    asked : tuple of (str, float, float)
        As of `crowdsource.validate.completeness.plan.StarOptions`.
    own : dict of str to ndarray, shape (n,)
        Fluxes of the catalog's own stars that are certain, by band.

    Raises
    ------
    ConfigError
        When a colour is of a band that there is not, is asked for twice, or some band has none.
    """

    zeropoints: dict
    asked: tuple
    own: dict

    def __post_init__(self):
        if self.asked or len(self.zeropoints) == 1:
            self._steps()
        elif not len(self.own[self.bands[0]]):
            raise ConfigError(f"no star of the catalog is {CERTAIN:g} sigma in all bands: there are no colours to draw from; "
                              "give them (`colours`)")

    @property
    def bands(self):
        """Their names, that of the plan's fluxes first."""
        return list(self.zeropoints)

    def fluxes(self, flux, rng):
        """Fluxes of stars in all bands.

        Parameters
        ----------
        flux : ndarray, shape (n,)
            In the first band.
        rng : numpy.random.Generator

        Returns
        -------
        dict of str to ndarray, shape (n,)
        """
        first = self.bands[0]
        if self.asked or len(self.bands) == 1:
            out = {first: flux}
            for known, band, low, high in self._steps():
                magnitude = rng.uniform(low, high, len(flux))-self.zeropoints[known]+self.zeropoints[band]
                out[band] = out[known]*10**(0.4*magnitude)
            return {band: out[band] for band in self.bands}
        order = np.argsort(self.own[first], kind="stable")
        place = np.searchsorted(self.own[first][order], flux)
        lowest = np.clip(place-NEAR//2, 0, max(0, len(order)-NEAR))
        chosen = order[np.minimum(lowest+rng.integers(0, min(NEAR, len(order)), len(flux)), len(order)-1)]
        return {band: flux*self.own[band][chosen]/self.own[first][chosen] for band in self.bands}

    def _steps(self):
        """(band that is known, next band, least and largest magnitude of the former less that of the latter)."""
        pairs = {f"{a}-{b}": (a, b) for a in self.bands for b in self.bands if a != b}
        for name, *_ in self.asked:
            if name not in pairs:
                raise ConfigError(f"colour {name}: must be of two of the bands {', '.join(self.bands)}, as "
                                  f"{next(iter(pairs), 'g-r')}")
        known, left, steps = self.bands[:1], list(self.asked), []
        while left:
            some = next((c for c in left if len(set(pairs[c[0]]) & set(known)) == 1), None)
            if some is None:
                raise ConfigError(f"colour {left[0][0]}: is not needed with the others, or has no band in common with them and "
                                  f"{self.bands[0]}, of which the fluxes are")
            (a, b), (_, low, high) = pairs[some[0]], some
            steps.append((a, b, low, high) if a in known else (b, a, -high, -low))
            known.append(steps[-1][1])
            left.remove(some)
        if lacking := [b for b in self.bands if b not in known]:
            raise ConfigError(f"no colour is given for {', '.join(lacking)}: give one for each band, or none")
        return steps


def colour_table(band, tables, bounds):
    """How right colours of one band and each other are, by brightness.

    Parameters
    ----------
    band : str
    tables : dict of str to astropy.table.Table
        The same stars in each band, as `crowdsource.validate.completeness.trial.recovered`.
    bounds : ndarray
        Of bins of flux in this band.

    Returns
    -------
    astropy.table.Table or None
        As `DESCRIPTIONS` tells; None of a single band.
    """
    rows, bands = [], list(tables)
    for other in (b for b in bands if b != band):
        first, second = (tables[b] for b in sorted((band, other), key=bands.index))
        off = _magnitude_off(first)-_magnitude_off(second)
        error = np.hypot(*(POGSON*np.asarray(t["dflux"])/np.asarray(t["flux_found"]) for t in (first, second)))
        known = np.isfinite(off)
        flux, found = np.asarray(tables[band]["flux"]), np.asarray(first["found"] & second["found"])
        name = "-".join(sorted((band, other), key=bands.index))
        for low, high in zip(bounds[:-1], bounds[1:]):
            some = (flux > low) & (flux <= high)
            rows.append(dict(colour=name, flux_low=low, flux_high=high, stars=int(some.sum()), found=int(found[some].sum()),
                             **bias_and_scatter(off[some & known], (off/error)[some & known])))
    if not rows:
        return None
    table = Table(rows=rows)
    for name in table.colnames:
        table[name].info.description, table[name].info.unit = DESCRIPTIONS[name], UNITS.get(name)
    return table


def _magnitude_off(stars):
    """Magnitude found less the true one, shape (n,); NaN where a star has no row, or no positive flux."""
    ratio = np.asarray(stars["flux_found"])/np.asarray(stars["flux"])
    return -POGSON*np.log(np.where(ratio > 0, ratio, np.nan))
