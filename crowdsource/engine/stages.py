"""The stages of a pass: each takes a `crowdsource.engine.state.PassState` and gives a new one."""
import logging
from dataclasses import replace

import numpy as np

from ..config.extensions import DETECTORS
from ..core.calibration import calibration
from ..core.flags import ENGINE
from ..core.matched_filter import MatchedFilter
from ..core.tiles import banded
from ..nebulosity.find import find, is_due
from . import detection, outside
from .background import estimate_sky
from .confusion import confusion_noise, response, undetected_power
from .cull import acceptable
from .design import model_image, sizes
from .profiles import add_profiles
from .psf_stars import psf_stars
from .sources import Sources
from .state import LAST, SEARCH
from .trails import without_trails
from .undetected import UndetectedLight

log = logging.getLogger(__name__)
FORCED_SKY_STEP = calibration.sky.forced_step
"""Step of the sky in a forced fit, in units of the change that its pixels suggest: over-relaxation of the exchange of light with
the sources."""
LISTED_RADIUS = calibration.detect.listed_radius
"""A peak within this distance of a listed bright star is that star, pixels."""
LARGEST_ERROR = calibration.sky.largest_error
"""Where the model's error exceeds this share of the noise of a pixel, wings of bright stars could be taken for sky."""
LEAST_SKY = calibration.sky.least_sky
"""Pixels are left out of the sky only where at least this share of them stays."""
SMALLEST_SKY_BLOCK = 4
"""Smallest block of the sky in structured background, pixels."""


def with_structure(state):
    """The image marked where its background has structure, in the one pass that looks for it.

    Sources there that are not sharp are removed.
    """
    c = state.config.nebulosity
    if state.structure is not None or not is_due(c, state.passno, state.kind == LAST):
        return state
    found = find(state.image, state.model, state.psf, c)
    image = state.image.flagged(found.where, mask=ENGINE.nebulous | ENGINE.sharp | (ENGINE.nodeblend if c.nodeblend else 0))
    state = replace(state, image=image, structure=found)
    return state if state.forced or not len(state.sources) else without(state, blurred(state))


def blurred(state):
    """Which sources in structured background the search would not accept: without their neighbours they are not sharp enough."""
    py, px = state.sources.inside(state.image.shape)
    inside = np.flatnonzero(state.structure.where[py, px] & ~state.sources.bright)
    matched = matched_filter(state)
    sharp = detection.as_sharp(matched.significance(state.residual), py[inside], px[inside], matched, state.config.detect,
                               state.flux[inside])
    return np.isin(np.arange(len(px)), inside[~sharp])


def matched_filter(state):
    """The matched filter of the present PSF."""
    if state.matched is not None:
        return state.matched
    return MatchedFilter(state.psf.stamp(state.config.solve.stamp_sizes[0]), state.image.ivar, state.run)


def with_sky(state, start_sky=None):
    """A new sky, estimated on the data less the model.

    Parameters
    ----------
    state : PassState
    start_sky : ndarray, shape (ny, nx), optional
        Used in the first pass instead, or in all.
    """
    c = state.config.sky
    if start_sky is not None and (state.passno == 0 or c.keep):
        return replace(state, sky=np.array(start_sky, dtype=np.float32))
    fwhm = float(state.psf.fwhm())
    block = max(c.block, round(c.block_fwhm*fwhm))
    if state.passno < c.global_passes:
        block = round(c.first_block_fwhm*fwhm)
    sky = _sky_of(state, light_for_sky(state), block)
    if state.forced and state.passno > c.global_passes:
        # given sources absorb part of an error of the sky in their fluxes, and would release it only slowly
        sky = state.sky+np.float32(FORCED_SKY_STEP)*(sky-state.sky)
    return replace(state, sky=sky)


def ivar_for_sky(state):
    """Inverse variance without the pixels where wings of bright stars could be taken for sky, where enough others are left."""
    ivar = state.image.ivar
    if state.model_error is None:
        return ivar
    certain = np.where(state.model_error < LARGEST_ERROR*state.noise, ivar, np.float32(0))
    return certain if np.count_nonzero(certain) > LEAST_SKY*np.count_nonzero(ivar) else ivar


def _sky_of(state, residual, block):
    """Sky of data less model; in finer blocks, which do not affect the others, where the detector has found structure."""
    c, fine, ivar = state.config.sky, state.config.nebulosity.sky_fwhm, ivar_for_sky(state)
    detected = state.structure is not None and state.probabilities is None and state.structure.where.any()
    if not detected or fine <= 0:
        return estimate_sky(residual, ivar, c, block, state.run)
    where, block_there = state.structure.where, max(SMALLEST_SKY_BLOCK, round(fine*float(state.psf.fwhm())))
    there, ivar = estimate_sky(residual, ivar, c, block_there, state.run), np.where(where, np.float32(0), ivar)
    return np.where(where, there, estimate_sky(residual, ivar, c, block, state.run)) if ivar.any() else there


def light_for_sky(state):
    """Data less the model of the sources that are certain to be stars, shape (ny, nx); of all in a forced fit."""
    return less_certain(state, 0. if state.forced else state.config.sky.min_significance)


def less_certain(state, least):
    """Data less the model of the sources above a significance, of all where it is 0; shape (ny, nx)."""
    s = state.sources
    left = banded(np.subtract, (state.image.data, state.model), state.run)
    if least <= 0 or not len(s):
        return left
    return rendered(state, s.subset((s.flux < least*s.error) & np.isfinite(s.error)), out=left)


def with_peaks(state):
    """Candidates at the peaks of the residual, with matched-filter fluxes; the fit decides which of them become sources."""
    image, c, matched = state.image, state.config.detect, matched_filter(state)
    scene = detection.Scene(residual=state.residual, model=state.model, mask=image.mask, matched=matched, config=c,
                            passno=state.passno, model_error=state.model_error)
    peaks = DETECTORS.resolve(c.detector)(scene)
    if state.passno == 0 and state.config.artifacts.trails:
        image, peaks = without_trails(image, peaks, float(state.psf.fwhm()))
    if state.passno == 0 and state.sources.bright.any():
        state, peaks = onto_peaks(state, peaks)
    peaks = peaks.subset(detection.apart(peaks, state.x, state.y, c.min_separation))
    room = max(0, state.config.max_sources-len(state.sources))
    if len(peaks) > room:
        log.warning("%d peaks are not added: max_sources is %d", len(peaks)-room, state.config.max_sources)
        peaks = peaks.subset(slice(room))
    new = Sources.new(peaks.x, peaks.y, peaks.flux, matched.error[peaks.inside(image.shape)], passno=state.passno)
    state = replace(state, image=image, candidates=new, matched=matched if image is state.image else None)
    if c.outside and state.passno in outside.PASSES and outside.has_spikes(state.psf):
        return with_stars_outside(state)
    return state


def onto_peaks(state, peaks):
    """Listed bright stars moved onto the brightest peaks near them, where there are some, and the other peaks.

    Parameters
    ----------
    state : PassState
    peaks : crowdsource.engine.detection.Peaks
        Brightest first.

    Returns
    -------
    state : PassState
    peaks : crowdsource.engine.detection.Peaks
    """
    x, y, free = state.x.copy(), state.y.copy(), np.ones(len(peaks), bool)
    listed = np.flatnonzero(state.sources.bright)
    for k, near in zip(listed, detection.around(peaks, np.c_[y[listed], x[listed]], LISTED_RADIUS)):
        brightest = min((p for p in near if free[p]), default=None)
        if brightest is not None:
            x[k], y[k], free[brightest] = peaks.x[brightest], peaks.y[brightest], False
    return replace(state, sources=state.sources.with_values(x=x, y=y)), peaks.subset(free)


def with_stars_outside(state):
    """Candidates off the image added, and sources and candidates that may be knots of their spikes removed.

    As long as the knots are in the list the star is not fitted, and as long as it is not they are needed.
    """
    stars = outside.stars_outside(state, less_certain(state, outside.FAINT)-state.sky)
    if not len(stars):
        return state
    false, doubtful = (outside.knots(rows, stars, state.psf) for rows in (state.sources, state.candidates))
    return replace(without(state, false), candidates=state.candidates.subset(~doubtful).joined(stars))


def acceptable_of(state, sources):
    """Which sources are bright enough, far enough from each other, and not farther off the image than their stamps reach."""
    return acceptable(sources, state.config.cull, state.image.shape, sizes(state, sources)//2)


def with_model(state):
    """The model image of the sources and profiles as they are."""
    model = rendered(state, state.sources)
    add_profiles(model, state.extended)
    return replace(state, model=model)


def confusion_of(state, joint, undetected=None):
    """Noise of confusion in each source's flux, and the response of the fit to the light that causes it.

    Parameters
    ----------
    state : PassState
    joint : ndarray, shape (n,)
        Flux errors marginalised over neighbours and positions.
    undetected : crowdsource.engine.undetected.UndetectedLight, optional
        Light that the fit has counted as noise.

    Returns
    -------
    noise : ndarray, shape (n,), float64
    of_fit : crowdsource.engine.confusion.Response
    """
    of_fit = response(state.psf.stamp(state.config.solve.stamp_sizes[0]), undetected)
    if state.forced:
        # a given list is assumed to be complete
        return np.zeros(len(joint)), of_fit
    return confusion_noise(state.sources, joint, state.image.good, of_fit, state.config), of_fit


def undetected_light(state):
    """The light of undetected stars, which counts as noise once the search has ended; None before."""
    c = state.config
    if state.forced or state.kind == SEARCH or not c.solve.undetected:
        return None
    power = undetected_power(state.sources, state.image.good, c.detect.threshold)
    return UndetectedLight(state.psf.stamp(c.solve.stamp_sizes[0]), power, state.noise) if power > 0 else None


def without(state, which):
    """The state with some of its sources removed from the list and from the model; covariances are no longer known.

    Parameters
    ----------
    state : PassState
    which : ndarray of bool, shape (n,)
    """
    removed = state.sources.subset(which)
    model = state.model
    if len(removed):
        model = rendered(state, removed.with_values(flux=-removed.flux), out=banded(np.positive, (model,), state.run))
    return replace(state, sources=state.sources.subset(~which), model=model, covariance=None)


def rendered(state, sources, out=None):
    """The model image of sources, added to `out` where it is given."""
    size = sizes(state, sources)
    return model_image(state.psf, sources.x, sources.y, sources.flux, size, state.image.shape, out, state.run)


def with_psf(state, first=False):
    """A PSF refitted on this image's stars.

    Parameters
    ----------
    state : PassState
    first : bool
        Whether the wings have not been fitted before.

    Returns
    -------
    state : PassState
    of_wings : bool
        Whether some of the stars show nothing but their wings.
    """
    stars = psf_stars(state, first)
    middle = stars.middle(1).ivar
    return replace(state, psf=state.psf.refit(stars, state.config.psf), matched=None), not middle.all()
