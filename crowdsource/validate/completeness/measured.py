"""What runs of artificial stars have measured of an image: tables, curves, a depth map, and what follows for a catalog."""
from dataclasses import asdict, dataclass, field

import numpy as np
from astropy.table import Table, vstack

from ...core.errors import InputError
from ...exposure.model_files import plane_header
from .curve import Curve, curve_row, curve_table, fit_curve
from .depth import depth_map
from .pictures import completeness_figure
from .purity import purity_table
from .rivals import decided
from .surfaces import classes_of, density_edges, factors, flux_edges, interpolated_factor, slope_of, surface
from .trial import usable

PART_STARS = 200
"""Parts of the image of which curves are told hold about so many artificial stars."""
MOST_PARTS = 4
"""Most parts along each axis."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Completeness:
    """Completeness, biases and errors of photometry of an image, by artificial stars.

    Attributes
    ----------
    table : astropy.table.Table
        One row a star, columns as in `crowdsource.validate.completeness.trial.DESCRIPTIONS`.
    surface : astropy.table.Table
        By brightness and density, as in `crowdsource.validate.completeness.surfaces.DESCRIPTIONS`.
    curve : astropy.table.Table
        By region: fitted curves and the magnitudes of 50, 80 and 95 %, as in
        `crowdsource.validate.completeness.curve.DESCRIPTIONS`.
    factor : astropy.table.Table
        By which errors are to be multiplied, by flux and density.
    purity : astropy.table.Table or None
        By brightness, as in `crowdsource.validate.completeness.purity.DESCRIPTIONS`; None where it was not measured.
    colour : astropy.table.Table or None
        Of a band of a joint fit of several: colours with the other bands by brightness, as in
        `crowdsource.validate.completeness.colours.DESCRIPTIONS`.
    depth, depth_error : ndarray, float32, or None
        Magnitude at which half of the stars is found, by squares of ``figures["DEPTHSTP"]`` pixels, and its error. None where all
        or none were found.
    depth_header : astropy.io.fits.Header
        Where the squares lie.
    density : crowdsource.validate.completeness.trial.DensityMap or None
        Of the image's own catalog; None of one that was read from a file.
    figures : dict
        What was done, by keywords of FITS: ``MAGZERO`` (zero point of magnitudes, 0 where the image has none), ``FWHM``,
        ``RADIUS`` (of the match, pixels), ``RUNS``, ``PERRUN``, ``SPACING``, ``FAINTEST``, ``BRIGHTES``, ``LAYOUT``, ``SEED``,
        ``LOCAL``, ``FORCED``, ``XORIGIN``, ``YORIGIN``, ``DEPTHSTP``, ``BAND`` and ``NIMAGES`` (of a joint fit) and more.
    """

    table: Table
    surface: Table
    curve: Table
    factor: Table
    purity: Table = None
    colour: Table = None
    depth: np.ndarray = None
    depth_error: np.ndarray = None
    depth_header: object = None
    density: object = None
    figures: dict = field(default_factory=dict)

    def magnitude(self, flux):
        """Magnitudes of fluxes, with the image's zero point or 0."""
        return magnitude(flux, self.figures["MAGZERO"])

    def fraction(self, magnitude, region="all"):
        """Part of the stars of some magnitudes that is found in a region, by its curve.

        Raises
        ------
        InputError
            When there is no such region, or too little is known of it for a curve.
        """
        rows = self.curve[self.curve["region"] == region]
        if not len(rows):
            raise InputError(f"region is {region!r}: one of {', '.join(self.curve['region'])}")
        row = rows[0]
        if not np.isfinite(row["m50"]):
            raise InputError(f"all or none of the stars were found in region {region!r}: there is no curve; ask for another "
                             "range of fluxes")
        return Curve(*(float(row[n]) for n in ("m50", "width", "steepness", "ceiling")))(magnitude)

    def dflux_factor(self, flux, density):
        """By how much errors of fluxes are to be multiplied.

        Parameters
        ----------
        flux : array_like, shape (n,)
            Of the rows of a catalog of the image.
        density : array_like, shape (n,)
            Sources in a square pixel around each; `density_of` tells.

        Returns
        -------
        ndarray, shape (n,), float64
        """
        return interpolated_factor(self.factor, flux, density)

    def density_of(self, catalog):
        """Other sources in a square pixel around each row of a catalog of the image.

        Raises
        ------
        InputError
            When this was read from a file, which does not hold the map.
        """
        if self.density is None:
            raise InputError("the file of a completeness does not hold the map of densities: make it of the image's catalog by "
                             "crowdsource.validate.completeness.trial.DensityMap.of(catalog, image, fwhm).of_others(x, y)")
        return self.density.of_others(*(getattr(catalog[n], "value", catalog[n]) for n in "xy"))

    def plot(self, title=""):
        """A page of pictures as a matplotlib Figure.

        Raises
        ------
        MissingExtraError
            When matplotlib is not installed.
        """
        return completeness_figure(self, title)

    def lines(self):
        """What was found, in lines of text."""
        band = f"band {self.figures['BAND']}: " if self.figures.get("BAND") else ""
        what = "with a flux" if self.figures.get("FORCED") else "found"
        rows = [f"{band}{len(self.table)} artificial stars in {self.figures['RUNS']} runs, {np.sum(self.table['found'])} {what}"]
        forced, all_densities = self.figures.get("FORCED"), self.surface["density_class"] == 0
        rows += self._accuracy(self.surface[all_densities], "%", 100) if forced else self._limits()
        for name in dict.fromkeys([] if self.colour is None else self.colour["colour"]):
            rows += [f"colour {name}", *self._accuracy(self.colour[self.colour["colour"] == name], "mag", 1)]
        known = self.factor[self.factor["density_class"] == 0]
        if len(known):
            middles = self.magnitude(np.sqrt(np.asarray(known["flux_low"])*np.asarray(known["flux_high"])))
            shown = ", ".join(f"{r['factor']:.2f} at {m:.1f}" for r, m in zip(known, middles))
            rows.append(f"dflux is to be multiplied by (magnitude): {shown}")
        if self.purity is not None and np.sum(self.purity["rows"]):
            share = 1-np.sum(self.purity["false"])/np.sum(self.purity["rows"])
            rows.append(f"purity of all rows, by repeated noise: {100*share:.1f} %")
        return rows

    def _limits(self):
        """Limits of all regions, in lines of text."""
        yield "region         stars      50 %           80 %           95 %   mag"
        for r in self.curve:
            limits = "  ".join(f"{r[f'm{p}']:6.2f} +- {r[f'm{p}_error']:4.2f}" for p in (50, 80, 95))
            yield f"{r['region']:<12s} {r['stars']:6d}  {limits}"

    def _accuracy(self, bins, unit, factor):
        """Bias, scatter and pull of bins of brightness that have enough rows, in lines of text, the brightest first."""
        yield f"      mag    rows   bias, {unit:17s}scatter  pull"
        for r in bins[np.isfinite(bins["bias"])][::-1]:
            middle = float(self.magnitude(np.sqrt(r["flux_low"]*r["flux_high"])))
            yield (f"{middle:9.2f}  {r['matched']:6d}  {factor*r['bias']:+7.3f} +- {factor*r['bias_error']:5.3f}"
                   f"  {factor*r['scatter']:10.3f}  {r['pull']:4.2f} +- {r['pull_error']:4.2f}")

    def __repr__(self):
        m50 = self.curve["m50"][0] if len(self.curve) else np.nan
        found = int(np.sum(self.table["found"]))
        return f"<crowdsource.Completeness: {len(self.table)} stars, {found} found, 50 % at {m50:.2f} mag>"


def magnitude(flux, zeropoint):
    """Magnitudes of fluxes; NaN where they are not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return zeropoint-2.5*np.log10(np.asarray(flux, dtype=np.float64))


def measured(tables, scene, plan, options, noise=()):
    """What runs have measured.

    Parameters
    ----------
    tables : sequence of astropy.table.Table
        Of each run, from `crowdsource.validate.completeness.trial.one_run`.
    scene : crowdsource.validate.completeness.trial.Scene
    plan : crowdsource.validate.completeness.plan.StarPlan
    options : crowdsource.validate.completeness.plan.StarOptions
    noise : sequence of astropy.table.Table
        From `crowdsource.validate.completeness.purity.noise_run`.

    Returns
    -------
    Completeness

    Raises
    ------
    InputError
        When there is no star.
    """
    stars, image = vstack(list(tables), metadata_conflicts="silent"), scene.image
    if not len(stars):
        raise InputError("no artificial star lies on a good pixel: ask for more stars, or more `runs`")
    zeropoint = float(image.zeropoint) if np.isfinite(image.zeropoint) else 0.
    mags = magnitude(stars["flux"], zeropoint)
    bounds, densities = flux_edges(np.asarray(stars["flux"])), density_edges(np.asarray(stars["density"]))
    whole = fit_curve(mags, stars["found"])
    slope = _slope(scene, whole, zeropoint)
    stars = decided(stars, slope, options.seed)
    depth, error, step = (None, None, 0) if whole is None else depth_map(stars, mags, whole, image.shape, image.origin)
    return Completeness(
        table=stars, surface=surface(stars, bounds, densities), curve=_curves(stars, mags, image, densities),
        factor=factors(stars, bounds, densities, slope), purity=_purity(noise),
        depth=depth, depth_error=error, depth_header=plane_header(image, max(step, 1)),
        density=scene.density,
        figures=_figures(scene, plan, options, dict(MAGZERO=zeropoint, DEPTHSTP=step, NOISERUN=len(noise))))


def _slope(scene, curve, zeropoint):
    """Slope of the numbers of the image's stars, where four of five are found."""
    flux = usable(scene.catalog)["flux"]
    limit = np.nan if curve is None else curve.magnitude(0.8)
    return slope_of(flux, 10**(-0.4*(limit-zeropoint)) if np.isfinite(limit) else np.inf)


def _purity(noise):
    """The table of purity of fits of new noise; None where there are none, or no rows."""
    rows = vstack(list(noise), metadata_conflicts="silent") if len(noise) else ()
    return purity_table(rows, flux_edges(np.asarray(rows["flux"]))) if len(rows) else None


def _figures(scene, plan, options, more):
    """What was done, by keywords of FITS."""
    kept = asdict(options)
    return dict(FWHM=scene.fwhm, RADIUS=scene.radius, RUNS=kept["runs"], PERRUN=plan.count, SPACING=plan.spacing,
                FAINTEST=plan.fluxes[0], BRIGHTES=plan.fluxes[1], LAYOUT=plan.layout, SEED=plan.seed, LOCAL=kept["local"],
                XORIGIN=plan.origin[0], YORIGIN=plan.origin[1], SOURCES=len(scene.catalog),
                ZPKNOWN=bool(np.isfinite(scene.image.zeropoint)),
                **more)


def _curves(stars, mags, image, densities):
    """Curves of the whole image, of classes of density and of parts of the image."""
    (ny, nx), (x0, y0), rows = image.shape, image.origin, []
    everywhere = dict(x_low=x0-0.5, x_high=x0+nx-0.5, y_low=y0-0.5, y_high=y0+ny-0.5)
    for number, (low, high), inside in classes_of(np.asarray(stars["density"]), densities):
        name = f"density {number}" if number else "all"
        rows.append(curve_row(name, stars[inside], mags[inside], dict(everywhere, density_low=low, density_high=high)))
    parts = int(np.clip(np.sqrt(len(stars)/PART_STARS), 1, MOST_PARTS))
    for j in range(parts if parts > 1 else 0):
        for i in range(parts):
            x, y = (np.array([k, k+1])*side/parts+first-0.5 for k, side, first in ((i, nx, x0), (j, ny, y0)))
            inside = np.asarray((stars["x"] >= x[0]) & (stars["x"] < x[1]) & (stars["y"] >= y[0]) & (stars["y"] < y[1]))
            some = stars[inside]
            extent = (np.min(some["density"]), np.max(some["density"])) if len(some) else (np.nan, np.nan)
            rows.append(curve_row(f"part {i+1},{j+1}", some, mags[inside],
                                  dict(x_low=x[0], x_high=x[1], y_low=y[0], y_high=y[1], density_low=extent[0],
                                       density_high=extent[1])))
    return curve_table(rows)
