"""The catalog of one image from the last state of a fit."""
from dataclasses import replace

import numpy as np

from ..core.flags import ENGINE, MASK_SHIFT, combine
from ..core.selection import is_good, near_bright
from ..core.world import sky_of
from ..psf.base import MODEL_ERROR, pixel
from ..psf.export import curve_of_growth
from .confusion import extent_factor
from .cull import off_image
from .measure import extent_significance, inner_side, measure, measured
from .model_error import JUDGED, error_of_others
from .profiles import add_profiles
from .psf_error import added_errors, excess_noise, shape_errors
from .psf_stars import select
from .schema import DETECTION, FLUX, PROBABILITY, magnitudes, make_catalog
from .sources import Sources
from .stages import confusion_of, undetected_light

HUGE_ERROR = 1e30
"""Error of what is not known at all."""
LARGEST_BIAS = 0.1
"""Largest relative bias that is corrected: where a position is hardly known the second-order formula does not hold."""


def image_catalog(state):
    """The catalog of one image.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
        After the last pass.

    Returns
    -------
    astropy.table.QTable
        Columns as in `crowdsource.engine.schema`; positions in the parent image's pixels.
    """
    s, image = state.sources, state.image
    columns = dict(x=s.x+image.origin[0], y=s.y+image.origin[1], flux=_unbiased(state), passno=s.passno)
    columns.update(measured(state))
    stars, others = select(state), error_of_others(state)
    columns.update(_errors(state, columns["qf"], stars, others))
    columns.update(_at_centre(state, others))
    columns["psf_star"] = np.isin(np.arange(len(s)), stars)
    if state.forced:
        columns.update(deltx=s.shift[:, 0], delty=s.shift[:, 1])
    if len(state.extended):
        extended = _extended(state)
        columns = {name: np.concatenate([values, extended[name]]) for name, values in columns.items()}
    columns["flags"] = columns["flags"] | near_bright(columns["fracflux"], columns["qf"])
    columns["good"] = is_good(columns, state.config.select)
    if image.wcs is not None:
        columns["ra"], columns["dec"] = sky_of(image.wcs, columns["x"], columns["y"])
        columns["detection_id"] = np.arange(len(columns["x"]))
    columns.update(_referred(columns, state))
    if np.isfinite(image.zeropoint):
        columns["mag"], columns["dmag"] = magnitudes(columns["flux"], columns["dflux"], image.zeropoint)
    return make_catalog(columns, flux_unit(image.meta.get("unit", "")), forced=state.forced, world=image.wcs is not None,
                        magnitude=bool(np.isfinite(image.zeropoint)),
                        probabilities=0 if state.probabilities is None else len(state.probabilities))


def _extended(state):
    """The columns of extended sources: flux and position of the profile, and what is measured of the light at its centre."""
    rows, image = state.extended, state.image
    x, y, flux = (np.array([getattr(one, name) for one in rows]) for name in ("x", "y", "flux"))
    sigma = np.sqrt(np.maximum([np.diagonal(one.covariance) for one in rows], 0))
    sources = Sources.new(x, y, error=sigma[:, 0])
    light = np.zeros(image.shape, np.float32)
    add_profiles(light, rows)
    columns = measure(image, state.residual+light, state.model-light, state.psf, sources, state.run)
    columns["rchi2"] = measure(image, state.residual, state.model, state.psf, sources, state.run)["rchi2"]
    columns.update(_at_centre(replace(state, sources=sources), np.zeros(len(rows))))
    columns["flags"] = columns["flags"] | ENGINE.extended << MASK_SHIFT
    columns.update(dict.fromkeys(("dflux", "dflux_joint", "dflux_iso"), sigma[:, 0]), dx=sigma[:, 1], dy=sigma[:, 2])
    return dict(columns, x=x+image.origin[0], y=y+image.origin[1], flux=flux, passno=np.array([one.passno for one in rows]),
                psf_star=np.zeros(len(rows), bool))


def _referred(columns, state):
    """The columns of fluxes for another aperture, where the configuration names one; the PSF in the middle tells its light."""
    radius = state.config.psf.norm_radius
    if not radius:
        return {}
    light = float(curve_of_growth(state.psf, [radius])[0])
    return {c.name: columns[c.name]*light for c in DETECTION if c.unit == FLUX and c.name != "sky"}


def flux_unit(name):
    """The image's unit as astropy writes it; counts where astropy does not know the header's."""
    from astropy import units
    known = {"count": "ct", "counts": "ct", "adu": "adu", "dn": "adu", "electrons": "electron", "e-": "electron"}
    unit = units.Unit(known.get(str(name).lower(), name), parse_strict="silent")
    return "ct" if isinstance(unit, units.UnrecognizedUnit) or unit == units.dimensionless_unscaled else unit.to_string()


def _unbiased(state):
    """Fluxes corrected for the bias that fitted positions cause: noise moves them to where the flux is largest.

    To second order the relative bias is half of each coordinate's variance times the curvature of the PSF's autocorrelation
    (Portillo, Speagle and Finkbeiner 2020, AJ 159, 165); for an isolated star on the sky it is the square of the relative error.
    """
    if state.stays or not len(state.sources):
        return state.flux
    middle = pixel(np.array(state.psf.centre))[:, None]
    light, *slopes = (plane.astype(np.float64)
                      for plane in state.psf.render(*middle, state.config.solve.stamp_sizes[0], derivatives=True))
    # the covariance is that of flux times shift
    bias = sum((slope**2).sum()/(light**2).sum()*state.covariance[:, k, k] for k, slope in enumerate(slopes, start=1))/2
    positive = state.flux > 0
    bias = np.where(positive & np.isfinite(bias), bias, 0)/np.where(positive, state.flux, 1)**2
    return state.flux*(1-np.minimum(bias, LARGEST_BIAS))


def _errors(state, visible, stars, others):
    """One-sigma errors of flux and position, finite and positive; `HUGE_ERROR` where nothing is known.

    Light of a star on masked pixels, all but the fraction `visible`, is known only as accurately as the PSF is. `stars` are the
    indices of the PSF stars, `others` is the error of each flux that the PSFs of the other stars cause.
    """
    variance = np.diagonal(state.covariance, axis1=1, axis2=2)
    known = np.isfinite(variance) & (variance > 0)
    sigma = np.where(known, np.sqrt(np.where(known, variance, 1)), HUGE_ERROR)
    flux = np.maximum(np.abs(state.flux), sigma[:, 0]*1e-3)
    flux = np.where(flux > 0, flux, 1)
    isolated = np.where(np.isfinite(state.sources.error), state.sources.error, HUGE_ERROR)
    confusion, response = confusion_of(state, sigma[:, 0], undetected_light(state))
    if confusion.any():
        confusion = confusion*extent_factor(extent_significance(measured(state, side=inner_side(state.psf))))
    sigma = np.minimum(sigma*np.sqrt(response.photons), HUGE_ERROR)
    added = np.hypot(added_errors(state, excess_noise(state, stars)), shape_errors(state))
    whole = np.hypot(sigma, added)*np.hypot(1, JUDGED*others/isolated)[:, None]
    shift = [np.hypot(whole[:, k], response.lever*confusion)/flux for k in (1, 2)]
    hidden = np.where(sigma[:, 0] < HUGE_ERROR, MODEL_ERROR*(1-visible)*flux, 0)
    return dict(dflux=np.hypot(np.hypot(whole[:, 0], confusion), hidden), dflux_joint=sigma[:, 0],
                dx=np.minimum(shift[0], HUGE_ERROR), dy=np.minimum(shift[1], HUGE_ERROR), dflux_iso=isolated)


def _at_centre(state, others):
    """Values of the planes at the pixel that holds each source, for sources off the image at the nearest pixel.

    `others` is the error of each flux that the PSFs of the other stars cause.
    """
    at = state.sources.inside(state.image.shape)
    mask = state.image.mask[at]
    outside = off_image(state.sources, state.image.shape, 0.5)
    for where, flag in ((others > state.sources.error, ENGINE.uncertain), (outside, ENGINE.offimage)):
        mask = np.where(where, mask | flag, mask)
    here = dict(flags=combine(state.image.dq[at], mask), sky=state.sky[at])
    if state.probabilities is not None:
        here.update((column.name, plane[at]) for column, plane in zip(PROBABILITY, state.probabilities))
    return here
