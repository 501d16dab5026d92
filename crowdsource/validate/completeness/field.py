"""Artificial stars in all images of a field at once: the same places on the sky, a colour each, and the joint fit run again."""
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from astropy.table import Table, vstack

from ...core.errors import ConfigError, InputError
from ...io.tables import plain
from ...joint.grid import Grid
from ...joint.loop import fit_sources
from ...joint.reference import GIVEN
from ...psf.base import pixel
from ..artificial_stars import inject
from ..evaluate import match_stars, unexplained
from .colours import CERTAIN, Colours, colour_table
from .measured import measured
from .plan import star_plan
from .purity import with_new_noise
from .trial import Surroundings, all_rows, outcomes


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldImage:
    """One image of a joint fit, and what that has found of it.

    Attributes
    ----------
    name : str
    read : callable
        Gives the `crowdsource.core.image.Image`.
    psf : crowdsource.psf.base.PSF
        The stars have it.
    frame : crowdsource.joint.frame.Frame
        From the reference.
    scale : crowdsource.joint.lightcurves.ScaleMap
    planes : callable
        Gives model and sky, ndarrays of the image's shape.
    """

    name: str
    read: object
    psf: object
    frame: object
    scale: object
    planes: object


@dataclass(frozen=True, eq=False, kw_only=True)
class Footprint:
    """Where artificial stars may be, in pixels of the reference.

    Attributes
    ----------
    good : ndarray of bool, shape (ny, nx)
        Pixels that an image of each band shows.
    origin : tuple of int
        (x0, y0) of the first pixel in the reference's parent.
    wcs : astropy.wcs.WCS or None
        Of that parent.
    zeropoint : float
        Of a band; NaN where it is not known.
    """

    good: np.ndarray
    origin: tuple
    wcs: object = None
    zeropoint: float = np.nan

    @property
    def shape(self):
        """(ny, nx)."""
        return self.good.shape


@dataclass(frozen=True, eq=False, kw_only=True)
class BandScene(Surroundings):
    """What a joint fit has found in a band.

    Attributes
    ----------
    image : Footprint
        With the zero point of the band.
    catalog : astropy.table.Table
        As `band_catalog`.
    fwhm : float
        Of the best image, pixels of the reference.
    """

    image: Footprint
    catalog: Table
    fwhm: float


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldRuns:
    """A field of many images, and what runs of artificial stars do with it.

    Attributes
    ----------
    images : tuple of FieldImage
    catalogs : dict of str to astropy.table.Table
        What the joint fit has found, by band, as `band_catalog`; the first band is that of the plan's fluxes.
    placement : crowdsource.joint.reference.Placement
        From which each run starts, so that its positions and fluxes are those of the fit before.
    fit : callable
        Called with images in their order, each an Image or a callable that gives one, and the placement; gives a `JointResult`.
    """

    images: tuple
    catalogs: dict
    placement: object
    fit: object

    @property
    def reference(self):
        """What positions and fluxes are given in."""
        return self.placement.reference

    @property
    def bands(self):
        """Their names."""
        return list(self.catalogs)

    @cached_property
    def fwhm(self):
        """Of the best image, pixels of the reference."""
        return min(float(i.psf.fwhm())/i.frame.scale for i in self.images)

    @cached_property
    def footprint(self):
        """The `Footprint` of the field."""
        # one image at a time is in memory
        used = [(i.frame, image.band, image.good) for i in self.images for image in [i.read()]]
        # of the widest of images the points of a grid are pixels
        grid = Grid.around([frame for frame, *_ in used], [good.shape for *_, good in used], np.inf)
        u, v = grid.u0+np.arange(grid.shape[1]), grid.v0+np.arange(grid.shape[0])
        shown = {band: np.zeros(grid.shape, bool) for band in self.bands}
        for frame, band, good in used:
            x, y = (pixel(p) for p in frame.on_grid(u, v))
            on = (x >= 0) & (x < good.shape[1]) & (y >= 0) & (y < good.shape[0])
            shown[band][on] |= good[y[on], x[on]]
        wcs = None if self.reference.name == GIVEN else self.reference.wcs
        return Footprint(good=np.logical_and.reduce(list(shown.values())), wcs=wcs,
                         origin=tuple(int(o+p) for o, p in zip(self.reference.origin, (grid.u0, grid.v0))))

    @cached_property
    def scenes(self):
        """The `BandScene` of each band."""
        return {band: BandScene(image=replace(self.footprint, zeropoint=self.reference.bands[band].zeropoint), catalog=catalog,
                                fwhm=self.fwhm) for band, catalog in self.catalogs.items()}

    @cached_property
    def errors(self):
        """Error of a faint star's flux in each band."""
        out = {}
        for band, catalog in self.catalogs.items():
            error, flux = catalog["dflux"], catalog["flux"]
            known = np.isfinite(error) & (error > 0) & np.isfinite(flux)
            out[band] = float(np.median(error[known & (flux <= np.median(flux[known]))])) if known.any() else 1.
        return out

    def colours(self, asked):
        """The `Colours` of artificial stars; `asked` as those of a `StarOptions`. Errors as there."""
        zeropoints = {band: self.reference.bands[band].zeropoint for band in self.bands}
        known = np.isfinite(list(zeropoints.values())).all()
        certain = np.logical_and.reduce([c["flux"] > CERTAIN*c["dflux"] for c in self.catalogs.values()])
        return Colours(zeropoints=zeropoints if known else dict.fromkeys(zeropoints, 0.), asked=asked,
                       own={band: np.asarray(c["flux"][certain]) for band, c in self.catalogs.items()})

    def plan(self, options):
        """The `crowdsource.validate.completeness.plan.StarPlan`; fluxes are of the first band.

        Raises
        ------
        ConfigError
            When more stars are wanted than have room, colours do not suit the bands, or cut-outs are wanted.
        """
        if options.local:
            raise ConfigError("cut-outs (`local`) are of a single image: a joint fit takes whole images")
        scene = self.scenes[self.bands[0]]
        self.colours(options.colours)
        return star_plan(scene.image, scene.catalog, self.fwhm, options)

    def star_run(self, plan, run):
        """Add the stars of a run to all images, fit these, and look for each.

        Parameters
        ----------
        plan : crowdsource.validate.completeness.plan.StarPlan
        run : int

        Returns
        -------
        astropy.table.Table
            One row a star and band, as `crowdsource.validate.completeness.trial.recovered`, and ``band``.
        """
        stars = plan.stars(run, self.footprint.good)
        fluxes = self.colours(plan.colours).fluxes(stars["flux"], np.random.default_rng((plan.seed, run, 3)))
        images = [partial(self.with_stars, k, stars, fluxes, (plan.seed, run, 1, k)) for k in range(len(self.images))]
        return self.recovered(stars, fluxes, band_catalogs(self.fit(images, self.placement), self.bands), run)

    def with_stars(self, number, stars, fluxes, seed):
        """An image with stars at reference positions, of fluxes by band as the objects count."""
        one = self.images[number]
        image = one.read()
        u, v = (stars[n]-o for n, o in zip("xy", self.reference.origin))
        x, y = one.frame(u, v)
        flux = fluxes[image.band]*one.scale(u, v)/self.reference.bands[image.band].scale
        return inject(image, one.psf, dict(x=x+image.origin[0], y=y+image.origin[1], flux=flux), seed=seed)

    def recovered(self, stars, fluxes, catalogs, run):
        """What became of artificial stars in the objects of a joint fit: one row of these has all fluxes of a star.

        Which row is decided by position and by the flux of all bands together, in units of their errors, by the rule of
        `crowdsource.validate.completeness.trial.recovered`; whether the flux is right, by each band.
        """
        own, rows = ({band: all_rows(t) for band, t in some.items()} for some in (self.catalogs, catalogs))
        own_all, all_of = self._together(own), self._together(rows)
        there = {n: np.r_[stars[n], own_all[n]] for n in "xy"}
        there["flux"] = np.r_[sum(fluxes[b]/self.errors[b] for b in self.bands), own_all["flux"]]
        some = self.scenes[self.bands[0]]
        row = match_stars(there, all_of, some.radius)[:len(stars["x"])]
        out = []
        for band in self.bands:
            values = {n: v[all_of["use"]] for n, v in rows[band].items()}
            known = np.append(np.isfinite(values["flux"]), False)
            table = outcomes(self.scenes[band], {**stars, "flux": fluxes[band]}, values, np.where(known[row], row, -1), run)
            table.add_column(np.full(len(table), band), name="band", index=0)
            out.append(table)
        return vstack(out, metadata_conflicts="silent")

    def _together(self, rows):
        """x, y and flux over noise of all bands, of the rows that have them; ``use`` says which these are."""
        first = rows[self.bands[0]]
        flux = sum(np.nan_to_num(rows[band]["flux"])/self.errors[band] for band in self.bands)
        use = np.isfinite(first["x"]+first["y"]) & (flux > 0)
        return dict(x=first["x"][use], y=first["y"][use], flux=flux[use], use=use)

    def noise_run(self, run, seed):
        """Fit the model of all images with new noise, and judge each object by the fluxes of all bands.

        Returns
        -------
        astropy.table.Table
            One row an object and band, as `crowdsource.validate.completeness.purity.noise_run`, and ``band``.
        """
        def made(number):
            one = self.images[number]
            return with_new_noise(one.read(), *one.planes(), (seed, run, 2, number))

        found = self.fit([partial(made, k) for k in range(len(self.images))], self.placement)
        rows = {band: all_rows(t) for band, t in band_catalogs(found, self.bands).items()}
        own, together = self._together({band: all_rows(t) for band, t in self.catalogs.items()}), self._together(rows)
        false, use, out = unexplained(own, together), together["use"], []
        for band in self.bands:
            flux = rows[band]["flux"][use]
            table = Table(dict(band=np.full(len(flux), band), run=np.full(len(flux), run, np.int32), x=together["x"],
                               y=together["y"], flux=flux, good=rows[band]["good"][use] == 1, false=false))
            out.append(table[flux > 0])
        return vstack(out, metadata_conflicts="silent")

    def measured(self, tables, plan, options, noise=()):
        """What runs have measured: a `crowdsource.validate.completeness.measured.Completeness` by band.

        Parameters
        ----------
        tables, plan, options, noise
            As `crowdsource.validate.completeness.measured.measured`.
        """
        def of_band(some, band):
            out = vstack(list(some), metadata_conflicts="silent")
            out = out[np.asarray(out["band"]).astype(str) == band]
            out.remove_column("band")
            return out

        stars, out = {band: of_band(tables, band) for band in self.bands}, {}
        for band, scene in self.scenes.items():
            found = measured([stars[band]], scene, plan, options, [of_band(noise, band)] if len(noise) else ())
            bounds = np.unique(np.r_[found.surface["flux_low"], found.surface["flux_high"]])
            figures = {**found.figures, "BAND": band, "NIMAGES": len(self.images), "NOISERUN": len(noise),
                       "FAINTEST": float(stars[band]["flux"].min()), "BRIGHTES": float(stars[band]["flux"].max())}
            out[band] = replace(found, colour=colour_table(band, stars, bounds), figures=figures)
        return out


def band_catalogs(result, bands):
    """What a joint fit has found in each band, by band: tables that `crowdsource.validate.completeness` takes as catalogs.

    Parameters
    ----------
    result : crowdsource.joint.results.JointResult
    bands : sequence of str

    Returns
    -------
    dict of str to astropy.table.Table
        x, y, flux, dflux, dx, dy, flags of the objects; ``dflux_iso``, what the images of the band together have; ``good`` where
        the row of one of them is.
    """
    objects, out = result.objects, {}
    x, y = (np.asarray(plain(objects[n]), float)-o for n, o in zip("xy", result.placement.reference.origin))
    order = np.argsort(objects["object_id"])
    several = len(result.placement.reference.bands) > 1
    for band in bands:
        of = f"_{band}" if several else ""
        if "flux"+of not in objects.colnames:
            raise InputError(f"no image of band {band!r} could be fitted with artificial stars")
        table = Table({n: np.asarray(plain(objects[n]), float) for n in ("x", "y", "dx", "dy")})
        table["flux"], table["dflux"] = (np.asarray(plain(objects[n+of]), float) for n in ("flux", "dflux"))
        table["flags"], table["good"], weight = np.asarray(objects["flags"]), False, np.zeros(len(objects))
        for fit, scale in zip(result.fits, result.scales):
            if fit.image.band == band:
                row = order[np.searchsorted(objects["object_id"], fit.catalog["object_id"], sorter=order)]
                table["good"][row] |= np.asarray(fit.catalog["good"])
                error = np.asarray(plain(fit.catalog["dflux_iso"]), float)/scale(x[row], y[row])
                weight[row] += np.where(error > 0, 1/np.where(error > 0, error, 1)**2, 0)
        with np.errstate(divide="ignore"):
            table["dflux_iso"] = result.placement.reference.bands[band].scale/np.sqrt(weight)
        out[band] = table
    return out


def field_runs(result, sources, joint, threads=1, known=None):
    """The `FieldRuns` of a joint fit.

    Parameters
    ----------
    result : crowdsource.joint.results.JointResult
    sources : sequence of crowdsource.joint.loop.ImageSource
        Of the images that were fitted and more; the band of the first is that of the plan's fluxes.
    joint, threads, known
        As `crowdsource.joint.loop.fit_sources`.
    """
    fitted = {name: k for k, name in enumerate(result.names)}
    sources = [s for s in sources if s.name in fitted]
    images, bands = [], {}
    for source in sources:
        k = fitted[source.name]
        fit = result.fits[k]
        bands.setdefault(fit.image.band)
        images.append(FieldImage(name=source.name, read=source.read, psf=fit.psf, frame=result.frames[k], scale=result.scales[k],
                                 planes=partial(_planes, fit.model, fit.sky)))
    return FieldRuns(images=tuple(images), catalogs=band_catalogs(result, bands), placement=result.placement,
                     fit=JointAgain(tuple(sources), joint, threads, known))


def _planes(model, sky):
    return model, sky


@dataclass(frozen=True, eq=False)
class JointAgain:
    """A joint fit of other pixels of the same images, from where these lie; called with images and a placement.

    Attributes
    ----------
    sources : tuple of crowdsource.joint.loop.ImageSource
    joint, threads, known
        As `crowdsource.joint.loop.fit_sources`.
    """

    sources: tuple
    joint: object
    threads: int = 1
    known: object = None

    def __call__(self, images, placement):
        """The `JointResult`."""
        sources = [replace(source, image=image) for source, image in zip(self.sources, images)]
        return fit_sources(sources, self.joint, self.threads, known=self.known, placement=placement)
