"""The result of a joint fit as tables: objects, light curves, images, and a catalog of each image."""
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Column, QTable

from ..core.selection import is_good
from ..engine.catalog import image_catalog
from ..engine.savings import told
from ..engine.schema import magnitudes
from ..engine.state import FitResult
from ..exposure.results import add_columns
from ..io.tables import plain
from .lightcurves import amplitude, light_curves, mean_fluxes, scale_map, stetson_j
from .motion import YEAR, proper_motions
from .parallax import factors_of, motions_and_parallaxes
from .reference import Placement, Reference

LEAST_VISIBLE = 0.5
"""An image shows an object where so much of its PSF lies on good pixels."""
DETECTED = 3.
"""Significance from which an object counts as detected on an image."""


@dataclass(frozen=True, eq=False, kw_only=True)
class JointResult:
    """The result of a joint fit.

    Attributes
    ----------
    objects : astropy.table.QTable
        One row a star: ``object_id``, positions in the reference with errors, mean fluxes by band, variability.
    light_curves : astropy.table.QTable
        One row an object and image: ``object_id``, ``image``, ``mjd``, ``band``, ``flux``, ``dflux``, ``flags``; fluxes are on
        the scale of the reference.
    images : astropy.table.QTable
        One row an image, in the order of `fits`: frame, scale, PSF, and how well it is registered.
    fits : tuple of crowdsource.engine.state.FitResult
        Catalog, model, sky and PSF of each image that was fitted; catalogs have ``object_id`` and ``dflux_epoch``.
    names : tuple of str
        Of these images; the reference is ``objects.meta["reference"]``.
    frames : tuple of crowdsource.joint.frame.Frame
        From the reference to each image.
    scales : tuple of crowdsource.joint.lightcurves.ScaleMap
        Of each image.
    placement : crowdsource.joint.reference.Placement
        How the images lie, and in what positions and fluxes are given: another fit of them may start from it.
    refused : dict of str to str
        Images that were left out, and why.
    history : list of dict
        Figures of each shared pass.
    shelf : object
        Holds the files that planes of the fits are mapped from, where memory was limited.
    """

    objects: QTable
    light_curves: QTable
    images: QTable
    fits: tuple
    names: tuple
    frames: tuple
    scales: tuple
    placement: object
    refused: dict
    history: list
    shelf: object = None


def joint_result(state, fits, refused, order):
    """The `JointResult` of a joint fit.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        After its last pass.
    fits : sequence of crowdsource.joint.last.LastFit
        Of its images.
    refused : dict of str to str
    order : sequence of str
        Names of images in the order in which they are wanted.
    """
    reference, ids, new = Reference.of(state), state.ids.copy(), state.ids < 0
    ids[new] = reference.next_id+np.arange(new.sum())
    catalogs = state.over(lambda epoch: image_catalog(epoch.state))
    curves = light_curves(state, fits, catalogs)
    for k, (epoch, fit, catalog) in enumerate(zip(state.epochs, fits, catalogs)):
        with_shared_columns(catalog, epoch, fit, ids, curves.error[k])
    wanted = [k for name in order for k, epoch in enumerate(state.epochs) if epoch.name == name]
    objects = objects_table(state, reference, fits, curves, catalogs, ids)
    objects.meta.update(reference=reference.name, bands=list(reference.bands))
    return JointResult(
        objects=objects, light_curves=light_curve_table(state, reference, curves, catalogs, ids, wanted),
        images=images_table(state, curves, wanted),
        fits=tuple(fit_result(state.opened(state.epochs[k]), catalogs[k], reference.first_row) for k in wanted),
        names=tuple(state.epochs[k].name for k in wanted), frames=tuple(state.epochs[k].frame for k in wanted),
        scales=tuple(scale_map(state, curves, k) for k in wanted), placement=Placement.of_state(state, reference),
        refused=dict(refused), history=list(state.history), shelf=state.shelf)


def with_shared_columns(catalog, epoch, fit, ids, error):
    """Add to an image's catalog what all images together tell, in place.

    Parameters
    ----------
    catalog : astropy.table.QTable
    epoch : crowdsource.joint.state.Epoch
    fit : crowdsource.joint.last.LastFit
    ids : ndarray of int, shape (n_all,)
    error : ndarray, shape (n_all,)
        Errors of the fluxes that differ from image to image, on the reference's scale.
    """
    own = np.nan_to_num(error[epoch.rows], nan=np.inf)*epoch.scale
    flux = np.maximum(np.abs(plain(catalog["flux"])), own)
    unit = catalog["dflux"].unit
    _put(catalog, "dflux", np.hypot(own, fit.confusion), "f4", unit, "error of flux, with the confusion that all images share")
    for name in ("dx", "dy"):
        values = np.hypot(plain(catalog[name]), fit.lever*fit.confusion/np.where(flux > 0, flux, 1))
        _put(catalog, name, values, "f4", catalog[name].unit, catalog[name].info.description)
    if "dmag" in catalog.colnames:
        _put(catalog, "dmag", magnitudes(plain(catalog["flux"]), plain(catalog["dflux"]), 0.)[1], "f4", "mag",
             catalog["dmag"].info.description)
    told = {n: plain(catalog[n]) for n in ("flux", "dflux", "qf", "rchi2", "flags")}
    _put(catalog, "good", is_good(told, epoch.state.config.select), "?", None, catalog["good"].info.description)
    _put(catalog, "dflux_epoch", own, "f4", unit, "error of flux from one image to another, without shared confusion")
    _put(catalog, "object_id", ids[epoch.rows], "i8", None, "the star in the list of all images")


def _put(table, name, values, dtype, unit, description):
    values = np.asarray(values)
    column = Column(values if dtype is None else values.astype(dtype), unit=unit, description=description)
    table[name] = column
    table[name].info.description = description


def fit_result(epoch, catalog, first_row=0):
    """The `FitResult` of one image."""
    state, cut = epoch.state, told(epoch.state)
    if cut:
        state = replace(state, image=state.image.with_finding(cut))
    result = FitResult(catalog=catalog, model=state.model, sky=state.sky, psf=state.psf, history=list(state.history),
                     config=state.config, image=state.image, probabilities=state.probabilities, first_row=first_row)
    add_columns(catalog, epoch.columns(state.image, result))
    return result


def objects_table(state, reference, fits, curves, catalogs, ids):
    """One row a star."""
    stars, bands = state.stars, np.array([state.bands[e.band] for e in state.epochs])
    flags, visible = np.zeros(len(stars), np.int64), np.zeros((len(fits), len(stars)))
    for k, (epoch, catalog) in enumerate(zip(state.epochs, catalogs)):
        flags[epoch.rows] |= np.asarray(catalog["flags"])
        visible[k, epoch.rows] = catalog["qf"]
    confused = position_noise(fits, curves)
    covariance = state.covariance+confused[:, None, None]**2*np.eye(2)
    moving = _motions(state, reference, fits) if state.joint.moving else None
    (x0, y0), (x, y) = reference.origin, (stars.x, stars.y) if moving is None else moving.place
    table = QTable()
    _put(table, "object_id", ids, "i8", None, "identifier of the star")
    _put(table, "x", x+x0, "f8", "pix", "position on the reference image along FITS axis 1, 0-based")
    _put(table, "y", y+y0, "f8", "pix", "position on the reference image along FITS axis 2, 0-based")
    _put(table, "dx", np.sqrt(covariance[:, 0, 0]), "f4", "pix", "error of x, from all images, with confusion")
    _put(table, "dy", np.sqrt(covariance[:, 1, 1]), "f4", "pix", "error of y, from all images, with confusion")
    _put(table, "xy_covariance", covariance[:, 0, 1], "f4", "pix2", "covariance of x and y")
    sky = reference.sky(x, y)
    if sky is not None:
        for name, values, what in zip(("ra", "dec"), sky, ("right ascension", "declination")):
            _put(table, name, values, "f8", "deg", what)
    for column in moving.columns if moving else ():
        _put(table, *column)
    _put(table, "n_images", (visible > LEAST_VISIBLE).sum(axis=0), "i2", None, "images that show the star")
    seen = (visible > LEAST_VISIBLE) & (curves.flux > DETECTED*curves.error)
    _put(table, "n_detected", seen.sum(axis=0), "i2", None, f"images on which it is {DETECTED:g} sigma")
    for name, units in reference.bands.items():
        which = bands == name
        mean, scale = mean_fluxes(curves.subset(which)), units.scale
        of, what = (f"_{name}", f" in {name}") if len(reference.bands) > 1 else ("", "")
        _put(table, "flux"+of, mean.flux*scale, "f8", units.flux_unit, f"mean flux{what}, on the scale of image {units.image}")
        _put(table, "dflux"+of, mean.error*scale, "f4", units.flux_unit, f"error of the mean flux{what}, with confusion")
        if np.isfinite(units.zeropoint):
            mag, dmag = magnitudes(np.nan_to_num(mean.flux*scale), mean.error*scale, units.zeropoint)
            _put(table, "mag"+of, mag, "f4", "mag", f"magnitude of the mean flux{what}")
            _put(table, "dmag"+of, dmag, "f4", "mag", f"error of mag{what}")
        _put(table, "rchi2"+of, mean.rchi2, "f4", None, f"reduced chi2 of the fluxes{what} about their mean")
        _put(table, "stetson_j"+of, stetson_of(state, curves, mean, which), "f4", None, f"Stetson's J{what}: 0 where constant")
        _put(table, "amplitude"+of, amplitude(curves.subset(which)), "f4", "mag",
             f"difference of the 95th and 5th percentile of the magnitudes{what}")
    _put(table, "flags", flags, "i8", None, "flags on any of the images")
    return table


def position_noise(fits, curves):
    """Noise of positions that confusion causes on all images alike, reference pixels, shape (n,)."""
    lever = np.array([fit.lever/fit.epoch.frame.scale for fit in fits])[:, None]
    least = 1/np.sqrt(np.maximum(curves.weight.sum(axis=0), 1e-300))
    return curves.mean(lever*curves.confusion)/np.maximum(np.abs(curves.mean(curves.flux)), least)


def stetson_of(state, curves, mean, which):
    """Stetson's J from the images of a band, in the order of time."""
    numbers = np.flatnonzero(which)
    times = np.array([state.epochs[k].image.mjd for k in numbers])
    order = np.argsort(times, kind="stable")
    return stetson_j(curves.subset(numbers[order]), mean, times[order])


@dataclass(frozen=True, eq=False)
class Motions:
    """How stars move.

    Attributes
    ----------
    place : tuple of ndarray, shape (n,)
        u and v of each star at the date of its column ``epoch``, reference pixels.
    columns : list of tuple
        What `_put` takes.
    """

    place: tuple
    columns: list


def _motions(state, reference, fits):
    """The `Motions` of a joint fit."""
    n, stars = len(state.stars), state.stars
    information, shift = np.zeros((len(fits), n, 2, 2)), np.zeros((len(fits), n, 2))
    times = np.array([fit.epoch.image.mjd for fit in fits])
    for k, fit in enumerate(fits):
        information[k, fit.epoch.rows], shift[k, fit.epoch.rows] = fit.information, fit.shift
    # shifts are from where the stars are placed, by the motions that are known already
    if state.joint.parallax:
        factor = np.array([fit.epoch.factor for fit in fits])
        change, covariance, epoch, parallax, error = motions_and_parallaxes(information, shift, times, factor)
    else:
        change, covariance, epoch = proper_motions(information, shift, times)
    # in the fit they are where they are on the mean date of all images
    place = np.stack([stars.x, stars.y])+(epoch-times.mean())/YEAR*state.motion.T
    motion = state.motion+change
    columns = [("epoch", epoch, "f8", "d", "modified Julian date of the position: the mean of the star's images")]
    for k, axis in enumerate("xy"):
        columns += [("pm_"+axis, motion[:, k], "f4", "pix / yr", f"proper motion along {axis} of the reference image"),
                    ("dpm_"+axis, np.sqrt(covariance[:, k, k]), "f4", "pix / yr", "its error")]
    if state.joint.parallax:
        pixel = factors_of(reference, state.grid.middle, times)[1]
        columns += [("parallax", pixel*(state.parallax+parallax), "f4", "mas", "parallax, relative to that of all stars"),
                    ("dparallax", pixel*error, "f4", "mas", "its error")]
    return Motions(tuple(place), columns)


def light_curve_table(state, reference, curves, catalogs, ids, wanted):
    """One row an object and image, ordered by object, then in the order of the images."""
    parts = []
    for place, k in enumerate(wanted):
        epoch = state.epochs[k]
        rows = epoch.rows
        parts.append((ids[rows], np.full(len(rows), place), curves.flux[k, rows], curves.error[k, rows],
                      np.asarray(catalogs[k]["flags"]), np.asarray(catalogs[k]["qf"])))
    columns = [np.concatenate(c) for c in zip(*parts)]
    order = np.lexsort((columns[1], columns[0]))
    number, image, flux, error, flags, visible = (c[order] for c in columns)
    epochs = [state.epochs[k] for k in wanted]
    unit, table = reference.flux_unit, QTable()
    _put(table, "object_id", number, "i8", None, "identifier of the star")
    _put(table, "image", np.array([e.name for e in epochs])[image], None, None, "name of the image")
    _put(table, "mjd", np.array([e.image.mjd for e in epochs])[image], "f8", "d", "modified Julian date of mid-exposure")
    _put(table, "band", np.array([e.image.band for e in epochs])[image], None, None, "filter")
    _put(table, "flux", flux, "f8", unit, "flux on the scale of the reference image")
    _put(table, "dflux", error, "f4", unit, "error of what differs from image to image")
    _put(table, "qf", visible, "f4", None, "PSF-weighted fraction of good pixels")
    _put(table, "flags", flags, "i8", None, "flags of the central pixel on the image")
    return table


def images_table(state, curves, wanted):
    """One row an image."""
    epochs = [state.epochs[k] for k in wanted]
    table = QTable()
    for name, values, dtype, unit, what in (
            ("image", [e.name for e in epochs], None, None, "name"),
            ("band", [e.image.band for e in epochs], None, None, "filter"),
            ("mjd", [e.image.mjd for e in epochs], "f8", "d", "modified Julian date of mid-exposure"),
            ("scale", [e.scale*curves.scales[k, 0] for e, k in zip(epochs, wanted)], "f8", None,
             "flux of a star over that on the reference, in the middle of all images"),
            *((f"scale_{term}", curves.scales[wanted, k]/curves.scales[wanted, 0], "f8", None,
               "coefficient by which the scale varies, u and v from -1 to 1 over all images")
              for k, term in enumerate(("u", "v", "uu", "uv", "vv"), 1)),
            ("scale_error", curves.floor[wanted], "f4", None, "relative error of the scale from star to star, part of dflux"),
            ("error_factor", curves.factor[wanted], "f4", None, "by which repeats of stars have multiplied the errors dflux"),
            ("registered_by", [e.registration.stars for e in epochs], "i4", None, "stars that gave the first frame"),
            ("registration_rms", [e.registration.rms for e in epochs], "f4", "pix", "their distance from it, root mean square"),
            ("fwhm", [float(e.state.psf.fwhm()) for e in epochs], "f4", "pix", "of the PSF in the middle"),
            ("pixel_scale", [e.frame.scale for e in epochs], "f8", None, "pixels of the image in one of the reference"),
            ("chi2", [e.state.history[-1]["chi2"] for e in epochs], "f4", None, "mean of (residual/sigma)^2 over good pixels"),
            ("sources", [len(e.rows) for e in epochs], "i4", None, "stars on the image")):
        _put(table, name, values, dtype, unit, what)
    return table
