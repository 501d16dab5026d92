"""Rows that an artificial star and a star of the image could have: which of them is the brighter one."""
import numpy as np

from .trial import OF_ROW

ALIKE = 50
"""So many artificial stars whose rows have the most similar fluxes tell what a row's flux is made of."""
SEED = 41
"""Sets the draws apart from those of positions, fluxes and noise."""


def decided(stars, slope, seed=0):
    """Artificial stars, of which some more have a row that a star of the image has.

    The brightest star in a row is the one that has it. Of two artificial stars in one row it would be known which this is; but a
    row of the image is itself a blend of stars, none of them as bright as the row. How much fainter the brightest is follows
    from artificial stars that have such rows: the ratio of the row's flux to the star's is drawn from theirs. Without this, rows
    of which several stars have similar parts would be lacking, and errors would seem smaller than they are.

    Parameters
    ----------
    stars : astropy.table.Table
        As `crowdsource.validate.completeness.trial.recovered`.
    slope : float
        The number of real stars in an interval of flux goes as flux^-slope, that of artificial ones as flux^-1.
    seed : int

    Returns
    -------
    astropy.table.Table
        ``matched`` where the star is the brighter one. Others have no row, as if there were none; none of them is found, since
        its flux would be wrong by a factor of 2.
    """
    out = stars.copy()
    rival, matched = np.asarray(stars["rival"]), np.asarray(stars["matched"])
    contested = np.flatnonzero(np.isfinite(rival) & ~matched)
    known = np.flatnonzero(matched)
    known = known[np.argsort(np.asarray(stars["flux_found"])[known], kind="stable")]
    if len(contested) and len(known):
        flux, of_row = (np.asarray(stars[n])[known] for n in ("flux", "flux_found"))
        first = np.clip(np.searchsorted(of_row, rival[contested])-ALIKE//2, 0, max(0, len(known)-ALIKE))
        near = first[:, None]+np.arange(min(ALIKE, len(known)))
        weight = np.cumsum(flux[near]**(1-slope), axis=1)
        drawn = np.random.default_rng((seed, SEED)).random(len(contested))*weight[:, -1]
        chosen = near[np.arange(len(near)), (weight < drawn[:, None]).sum(axis=1)]
        matched = matched.copy()
        matched[contested] = stars["flux"][contested]*of_row[chosen] > rival[contested]*flux[chosen]
        out["matched"] = matched
    for name in (*OF_ROW, "distance"):
        out[name][~matched] = np.nan
    out["flags"][~matched] = 0
    return out
