"""Objects of an earlier joint fit, whose stars stay in another one."""
from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..engine.sources import Sources
from ..io.tables import plain
from .register import LEAST_STARS, MOST_STARS, SIGNIFICANT, StarList

TYPICAL_FWHM = 3.
"""Of the images from which given objects come, pixels: it says how accurate their positions are."""


@dataclass(frozen=True, eq=False)
class KnownStars:
    """Objects of an earlier joint fit.

    Attributes
    ----------
    sources : crowdsource.engine.sources.Sources
        In the reference.
    ids : ndarray of int, shape (n,)
    listed : StarList
        The significant ones, by which images are registered.
    """

    sources: Sources
    ids: np.ndarray
    listed: StarList

    def subset(self, which):
        """Some of the stars, with the list as it is."""
        return KnownStars(self.sources.subset(which), self.ids[which], self.listed)


def known_stars(objects):
    """The `KnownStars` of a table of objects.

    Raises
    ------
    InputError
        When columns are missing, or no object is significant.
    """
    flux = next((n for n in objects.colnames if n == "flux" or n.startswith("flux_")), None)
    missing = [n for n in ("object_id", "x", "y") if n not in objects.colnames]
    if flux is None or missing:
        raise InputError(f"objects have no column {(missing or ['flux'])[0]}: give the objects of a joint fit")
    x, y, value, error = (np.asarray(plain(objects[n]), dtype=float) for n in ("x", "y", flux, "d"+flux))
    good = np.isfinite(x+y+value+error) & (error > 0)
    sources = Sources.new(x, y, np.where(good, value, 0), np.where(good, error, np.inf))
    bright = np.flatnonzero(good & (value > SIGNIFICANT*error))
    if len(bright) < LEAST_STARS:
        raise InputError(f"only {len(bright)} objects are {SIGNIFICANT:g} sigma: too few to register images")
    bright = bright[np.argsort(-value[bright], kind="stable")][:MOST_STARS]
    listed = StarList(x=x[bright], y=y[bright], flux=value[bright], error=error[bright], fwhm=TYPICAL_FWHM, wcs=None,
                      shape=(int(y.max())+1, int(x.max())+1))
    return KnownStars(sources, np.asarray(objects["object_id"], dtype=np.int64), listed)
