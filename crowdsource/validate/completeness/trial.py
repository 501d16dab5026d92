"""One run of artificial stars: they are added to the image, the image is fitted, and each is looked for in the catalog.

In a forced fit their positions are given with the others, and nothing is looked for.
"""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.table import Table
from scipy import ndimage

from ...psf.base import pixel
from ...psf.export import curve_of_growth
from ..artificial_stars import inject
from ..columns import plain_column, plain_columns
from ..evaluate import FLUX_FACTOR, MATCH_RADIUS, match_stars

RADIUS = 0.25
"""A row may belong to an artificial star within this distance, FWHM, but no less than 1 pixel."""
DENSITY_WIDTH = 3.
"""Densities are of a Gaussian surrounding of this standard deviation, FWHM."""
OF_ROW = {"x_found": "x", "y_found": "y", "flux_found": "flux", "dflux": "dflux", "dx": "dx", "dy": "dy"}
"""Columns of a star that are those of its row."""
DESCRIPTIONS = dict(
    run="run in which the star was added, from 0", x="position along FITS axis 1 where the star was put, 0-based",
    y="position along FITS axis 2 where the star was put, 0-based", flux="flux that was put in, as the catalog counts",
    density="sources of the image's own catalog around the star", matched="whether a row is the star's, whatever its flux",
    found="whether that row has the flux within the factor", good="whether it is found and the row is good",
    distance="distance of the row from where the star was put", x_found="x of the row", y_found="y of the row",
    flux_found="flux of the row", dflux="error of flux_found", dx="error of x_found", dy="error of y_found",
    flags="flags of the row", rival="flux of the star of the image's own catalog that had the row, where this is fainter")
"""What the columns of a table of artificial stars mean."""
UNITS = dict(x="pix", y="pix", x_found="pix", y_found="pix", dx="pix", dy="pix", distance="pix", density="pix-2")


class Surroundings:
    """What follows from an image, its catalog and its FWHM, which a subclass has as attributes."""

    @cached_property
    def density(self):
        """`DensityMap` of the image's own catalog."""
        return DensityMap.of(usable(self.catalog), self.image, self.fwhm)

    @property
    def radius(self):
        """Largest distance of a star's row, pixels."""
        return max(MATCH_RADIUS, RADIUS*self.fwhm)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene(Surroundings):
    """An image that artificial stars are added to, and what is known of it.

    Attributes
    ----------
    image : crowdsource.core.image.Image
        As it is fitted.
    catalog : astropy.table.Table
        Of the image itself.
    psf : crowdsource.psf.base.PSF
        That of the image's own fit: the stars have it.
    fit : callable
        Called with an Image; gives its catalog, or a result that has one. In a forced fit called with ``sources`` as well.
    norm_radius : float
        Of the circle to which the catalog's fluxes refer, pixels; 0 where they are those of the PSF.
    given : mapping or None
        x and y of the positions of a forced fit, the parent's pixels.
    """

    image: object
    catalog: object
    psf: object
    fit: object
    norm_radius: float = 0.
    given: object = None

    @property
    def light(self):
        """Flux in the catalog of a star of unit flux of the PSF."""
        return float(curve_of_growth(self.psf, [self.norm_radius])[0]) if self.norm_radius else 1.

    @cached_property
    def fwhm(self):
        """Of the PSF in the middle, pixels."""
        return float(self.psf.fwhm())

    def with_stars(self, stars, seed):
        """The Image with stars added, fluxes as the catalog counts, with their photons' noise."""
        return inject(self.image, self.psf, {**stars, "flux": stars["flux"]/self.light}, seed=seed)


def one_run(scene, plan, run):
    """Add the stars of a run, fit, and look for each.

    Parameters
    ----------
    scene : Scene
    plan : crowdsource.validate.completeness.plan.StarPlan
    run : int

    Returns
    -------
    astropy.table.Table
        One row a star, as `recovered`.
    """
    stars = plan.stars(run, scene.image.good)
    image = scene.with_stars(stars, (plan.seed, run, 1))
    if scene.given is None:
        fitted = scene.fit(image)
        return recovered(scene, stars, getattr(fitted, "catalog", fitted), run)
    given = {n: plain_column(scene.given[n]) for n in "xy"}
    fitted = scene.fit(image, sources={n: np.r_[given[n], stars[n]] for n in "xy"})
    rows = {n: v[len(given["x"]):] for n, v in all_rows(getattr(fitted, "catalog", fitted)).items()}
    match = np.where(np.isfinite(rows["flux"]), np.arange(len(stars["x"])), -1)
    return outcomes(scene, stars, rows, match, run, any_flux=True)


def recovered(scene, stars, catalog, run=0):
    """What became of artificial stars in a catalog.

    The stars that are there already take part: rows are given to both kinds of stars one to one, brighter stars choose first,
    among the free rows within the radius the one that is nearest in position and flux. Where an artificial star is brighter the
    row is its own, with what the other adds. A row that a brighter star of the image has is not matched, but kept with the flux
    of this star, ``rival``, for `crowdsource.validate.completeness.rivals.decided`. A star is found when its row's flux is right
    within a factor of 1.5.

    Parameters
    ----------
    scene : Scene
    stars : mapping
        x, y, flux that were put in.
    catalog : Table
        Of the image with the stars.
    run : int

    Returns
    -------
    astropy.table.Table
        Columns as in `DESCRIPTIONS`; those of the row, and the rival, are NaN, and flags 0, where there is none.
    """
    own, rows = usable(scene.catalog), usable(catalog)
    there = {n: np.r_[stars[n], own[n]] for n in ("x", "y", "flux")}
    match, of_own = np.split(match_stars(there, rows, scene.radius), [len(stars["x"])])
    rival, left = np.full(len(match), np.nan), np.flatnonzero(match < 0)
    held = np.full(len(rows["x"])+1, np.nan)
    held[of_own[of_own >= 0]] = own["flux"][of_own >= 0]
    wanted = match_stars({n: np.asarray(stars[n])[left] for n in ("x", "y", "flux")}, rows, scene.radius)
    rival[left] = held[wanted]
    match[left] = np.where(np.isfinite(rival[left]), wanted, -1)
    return outcomes(scene, stars, rows, match, run, rival=rival)


def outcomes(scene, stars, rows, match, run, any_flux=False, rival=np.nan):
    """What became of artificial stars whose rows are known.

    Parameters
    ----------
    scene, stars, run
        As `recovered`.
    rows : dict of str to ndarray
        As `all_rows`.
    match : ndarray of int, shape (n,)
        The row of each star, -1 where it has none.
    any_flux : bool
        A star with a row is found, whatever the row's flux.
    rival : ndarray, shape (n,)
        Flux of the brighter star that has the row; NaN where there is none.
    """
    hit = (match >= 0) & ~np.isfinite(rival)
    out = Table(dict(run=np.full(len(hit), run, np.int32), **{n: np.asarray(stars[n], np.float64) for n in ("x", "y", "flux")}))
    out["density"] = scene.density.at(stars["x"], stars["y"])
    for name, column in OF_ROW.items():
        out[name] = of_rows(rows[column], match, np.nan)
    out["distance"] = np.hypot(out["x_found"]-out["x"], out["y_found"]-out["y"])
    with np.errstate(invalid="ignore"):
        right = any_flux | (np.abs(np.log(out["flux_found"]/out["flux"])) < np.log(FLUX_FACTOR))
    out["matched"], out["found"] = hit, hit & right
    out["good"] = out["found"] & of_rows(rows["good"] == 1, match, False)
    out["flags"], out["rival"] = of_rows(rows["flags"].astype(np.int64), match, 0), rival
    for name in out.colnames:
        out[name].info.description, out[name].info.unit = DESCRIPTIONS[name], UNITS.get(name)
    return out


def usable(catalog):
    """Columns of the rows of a catalog that have a position and a positive flux."""
    rows = all_rows(catalog)
    use = np.isfinite(rows["x"]+rows["y"]+rows["flux"]) & (rows["flux"] > 0)
    return {n: v[use] for n, v in rows.items()}


def all_rows(catalog):
    """x, y, flux, dflux, dx, dy, flags and good of all rows of a catalog, a dict of arrays."""
    rows = plain_columns(catalog, ("dflux", "dx", "dy", "flags", "good"))
    rows["flags"] = np.nan_to_num(rows["flags"])
    if "flags" in catalog.keys():
        rows["flags"] = np.atleast_1d(np.asarray(catalog["flags"]))
    if "good" not in catalog.keys():
        rows["good"] = np.ones(len(rows["x"]))
    return rows


def of_rows(values, match, nothing):
    """The values of the rows that stars have; `nothing` for those that have none."""
    return np.append(values, np.full(1, nothing, values.dtype))[match]


@dataclass(frozen=True, eq=False)
class DensityMap:
    """Sources in a square pixel, of a Gaussian surrounding; masked pixels and what is off the image do not count as empty.

    Attributes
    ----------
    cells : ndarray, shape (n, m), float64
        One value for each square of `side` pixels.
    side : int
    origin : tuple of int
        (x0, y0) of the first pixel in the parent.
    own : ndarray, shape (n, m), float64
        What a source adds to the density where it lies.
    """

    cells: np.ndarray
    side: int
    origin: tuple
    own: np.ndarray

    @classmethod
    def of(cls, catalog, image, fwhm):
        """The map of a catalog.

        Parameters
        ----------
        catalog : Table or mapping with x and y, the parent's pixels
        image : crowdsource.core.image.Image
        fwhm : float
            Pixels.
        """
        side, (ny, nx) = max(1, int(fwhm/2)), image.shape
        shape = -(-ny//side), -(-nx//side)
        place = np.arange(ny)[:, None]//side*shape[1]+np.arange(nx)//side
        area = np.bincount(place.ravel(), image.good.ravel(), shape[0]*shape[1]).reshape(shape)
        x, y = (pixel(np.asarray(getattr(catalog[n], "value", catalog[n]))-o) for n, o in zip("xy", image.origin))
        on = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        counts = np.bincount(place[y[on], x[on]], minlength=shape[0]*shape[1]).reshape(shape).astype(np.float64)
        width = DENSITY_WIDTH*fwhm/side
        smooth, area = (ndimage.gaussian_filter(plane, width, mode="constant") for plane in (counts, area))
        peak = ndimage.gaussian_filter1d(np.eye(1, 2*int(5*width)+3, int(5*width)+1)[0], width).max()**2
        return cls(smooth/np.maximum(area, 1e-3), side, tuple(image.origin), peak/np.maximum(area, 1e-3))

    def at(self, x, y):
        """Densities at positions, the parent's pixels; of the nearest square for those off the image."""
        return self.cells[self._square(x, y)]

    def of_others(self, x, y):
        """Densities around sources of the catalog, without themselves: as around artificial stars."""
        here = self._square(x, y)
        return np.maximum(self.cells[here]-self.own[here], 0)

    def _square(self, x, y):
        return tuple(np.clip(pixel(np.asarray(v)-o)//self.side, 0, n-1)
                     for v, o, n in zip((y, x), self.origin[::-1], self.cells.shape))
