"""The stages of a pass: each takes a `crowdsource.fit.PassState` and gives a new one."""
import logging
from dataclasses import dataclass, replace

import numpy as np

from . import detect as detection
from .centroid import moment_centroids
from .confusion import confusion_noise, response, undetected_power
from .design import add_stamps, chunks_by_size, model_image, render_stamps, sky_basis, stamp_sizes
from .flags import ENGINE
from .nebulosity.find import find, is_due
from .sky import estimate_sky
from .solve import STEPS, build_normal, confused_step, covariances, gains, prior_precision
from .sources import Sources
from .split import companions
from .stars import psf_stars
from .tiles import banded
from .undetected import UndetectedLight

log = logging.getLogger(__name__)
SEARCH, PRUNE, LAST = "search", "prune", "last"
"""What a pass does."""
FORCED_SKY_STEP = 1.6
"""Step of the sky in a forced fit, in units of what its pixels ask for: shortens the exchange of light with the sources."""
KNOWN_POSITION, LARGEST_WISH = 1e-4, 2.
"""Uncertainty of a given position, and the largest offset that is still told, pixels."""
LISTED_REACH = 5.
"""A peak so near to a listed bright star, in pixels, is that star."""
SMALLEST_SKY = 4
"""Smallest blocks of the sky in structured background, pixels."""
BAND = 64
"""Height of the bands in which a tile's sources are ordered, pixels."""


def with_structure(state):
    """The image marked where its background has structure, in the one pass that is due to look; sources that are not sharp go."""
    c = state.config.nebulosity
    if state.structure is not None or not is_due(c, state.passno, state.kind == LAST):
        return state
    found = find(state.image, state.model, state.psf, c)
    image = state.image.flagged(found.where, mask=ENGINE.nebulous | ENGINE.sharp | (ENGINE.nodeblend if c.nodeblend else 0))
    state = replace(state, image=image, structure=found)
    return state if state.forced or not len(state.sources) else without(state, blurred(state))


def blurred(state):
    """Which sources in structured background the search would not find there: without neighbours they are not sharp enough."""
    py, px = state.sources.inside(state.image.shape)
    inside = np.flatnonzero(state.structure.where[py, px] & ~state.sources.bright)
    matched = matched_filter(state)
    sharp = detection.as_sharp(matched.significance(state.residual), py[inside], px[inside], matched, state.config.detect,
                               state.flux[inside])
    return np.isin(np.arange(len(px)), inside[~sharp])


def matched_filter(state):
    """That of the present PSF."""
    if state.matched is not None:
        return state.matched
    return detection.MatchedFilter(state.psf.stamp(state.config.solve.stamp_sizes[0]), state.image.ivar, state.run)


def with_sky(state, start_sky=None):
    """A new sky from what the model leaves.

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
    sky = _sky_of(state, light_left(state), block)
    if state.forced and state.passno > c.global_passes:
        # given sources take part of what is wrong in the sky into their fluxes, and would give it back but slowly
        sky = state.sky+np.float32(FORCED_SKY_STEP)*(sky-state.sky)
    return replace(state, sky=sky)


def _sky_of(state, left, block):
    """Sky of what the model leaves; where the detector has found structure in finer blocks, of which the others know nothing."""
    image, c, fine = state.image, state.config.sky, state.config.nebulosity.sky_fwhm
    detected = state.structure is not None and state.probabilities is None and state.structure.where.any()
    if not detected or fine <= 0:
        return estimate_sky(left, image.ivar, c, block, state.run)
    where, block_there = state.structure.where, max(SMALLEST_SKY, round(fine*float(state.psf.fwhm())))
    there, rest = estimate_sky(left, image.ivar, c, block_there, state.run), np.where(where, np.float32(0), image.ivar)
    return np.where(where, there, estimate_sky(left, rest, c, block, state.run)) if rest.any() else there


def light_left(state):
    """Data less the model of the sources that are certain to be stars, shape (ny, nx)."""
    s, least = state.sources, state.config.sky.min_significance
    left = banded(np.subtract, (state.image.data, state.model), state.run)
    if least <= 0 or state.forced or not len(s):
        return left
    return rendered(state, s.subset((s.flux < least*s.error) & np.isfinite(s.error)), out=left)


def with_peaks(state):
    """Candidates at the residual's peaks, with matched-filter fluxes; the fit decides which become sources."""
    image, c, residual = state.image, state.config.detect, state.residual
    matched = matched_filter(state)
    peaks = detection.find_peaks(residual, state.model, image.mask, matched, c, state.passno)
    if state.passno == 0 and state.sources.bright.any():
        state, peaks = onto_peaks(state, peaks)
    if c.companion > 0 and state.passno >= c.companion_from:
        peaks = peaks.joined(companions(state, residual, peaks, matched))
    peaks = peaks.subset(detection.apart(peaks, state.x, state.y, c.min_separation))
    room = max(0, state.config.max_sources-len(state.sources))
    if len(peaks) > room:
        log.warning("%d peaks are not added: max_sources is %d", len(peaks)-room, state.config.max_sources)
        peaks = peaks.subset(slice(room))
    ny, nx = image.shape
    at = np.clip(np.round(peaks.y).astype(int), 0, ny-1), np.clip(np.round(peaks.x).astype(int), 0, nx-1)
    new = Sources.new(peaks.x, peaks.y, peaks.flux, matched.error[at], passno=state.passno)
    return replace(state, candidates=new, matched=matched)


def onto_peaks(state, peaks):
    """Listed bright stars at the brightest peaks near them, where there are some, and the other peaks.

    Parameters
    ----------
    state : PassState
    peaks : crowdsource.detect.Peaks
        Brightest first.

    Returns
    -------
    state : PassState
    peaks : crowdsource.detect.Peaks
    """
    x, y, free = state.x.copy(), state.y.copy(), np.ones(len(peaks), bool)
    listed = np.flatnonzero(state.sources.bright)
    for k, near in zip(listed, detection.around(peaks, np.c_[y[listed], x[listed]], LISTED_REACH)):
        brightest = min((p for p in near if free[p]), default=None)
        if brightest is not None:
            x[k], y[k], free[brightest] = peaks.x[brightest], peaks.y[brightest], False
    return replace(state, sources=state.sources.with_values(x=x, y=y)), peaks.subset(free)


def sizes(state, sources):
    """Stamp sizes of sources; the guard on memory counts what one tile holds."""
    solve = state.config.solve
    guarded = replace(solve, max_stamp_pixels=solve.max_stamp_pixels*len(state.tiles))
    return stamp_sizes(sources.flux, state.psf, state.noise, guarded, sources.bright)


def with_model(state):
    """The model image of the sources as they are."""
    return replace(state, model=rendered(state, state.sources))


def confused(state, joint, faint=None):
    """Noise of confusion in each source's flux, and how the fit answers to the light that makes it.

    Parameters
    ----------
    state : PassState
    joint : ndarray, shape (n,)
        Flux errors with neighbours and positions marginalised.
    faint : crowdsource.undetected.UndetectedLight, optional
        What the fit has counted as noise.

    Returns
    -------
    noise : ndarray, shape (n,), float64
    reply : crowdsource.confusion.Response
    """
    reply = response(state.psf.stamp(state.config.solve.stamp_sizes[0]), faint)
    if state.forced:
        # a given list is taken to be complete
        return np.zeros(len(joint)), reply
    return confusion_noise(state.sources, joint, state.image.good, reply, state.config), reply


def undetected_light(state):
    """The light of stars too faint to be sources, where it counts as noise: once the search has ended; None before."""
    c = state.config
    if state.forced or state.kind == SEARCH or not c.solve.undetected:
        return None
    power = undetected_power(state.sources, state.image.good, c.detect.threshold)
    return UndetectedLight(state.psf.stamp(c.solve.stamp_sizes[0]), power, state.noise) if power > 0 else None


def without(state, which):
    """The state with some of its sources taken out of the list and the model; their covariances are no longer known.

    Parameters
    ----------
    state : PassState
    which : ndarray of bool, shape (n,)
    """
    gone = state.sources.subset(which)
    model = state.model
    if len(gone):
        model = rendered(state, gone.with_values(flux=-gone.flux), out=banded(np.positive, (model,), state.run))
    return replace(state, sources=state.sources.subset(~which), model=model, covariance=None)


def rendered(state, sources, out=None):
    """The model image of sources, added to `out` where it is given."""
    size = sizes(state, sources)
    return model_image(state.psf, sources.x, sources.y, sources.flux, size, state.image.shape, out, state.run)


def with_psf(state):
    """A PSF refitted on this image's stars."""
    stars = psf_stars(state)
    return replace(state, psf=state.psf.refit(stars, state.config.psf, state.run), matched=None)


@dataclass(frozen=True)
class TileFit:
    """A tile's solution.

    Attributes
    ----------
    own : ndarray of int
        Sources that the tile's core owns, candidates that it turned down left out.
    parameters : ndarray, shape (n, 3)
        Their changes of flux, and flux times shift in x and y.
    error : ndarray, shape (n,)
        Isolated flux errors.
    covariance : ndarray, shape (n, 3, 3), or None
    wish : ndarray, shape (n, 2)
        Shifts that a forced fit would prefer, pixels.
    step : crowdsource.solve.Step
    """
    own: np.ndarray
    parameters: np.ndarray
    error: np.ndarray
    covariance: np.ndarray
    wish: np.ndarray
    step: object


def fit_tile(state, tile, sources, size, planes, with_errors, faint):
    """Solve one tile.

    Parameters
    ----------
    state : PassState
    tile : crowdsource.tiles.Tile
    sources : crowdsource.sources.Sources
        The state's sources and, behind them, its candidates.
    size : ndarray of int
        Their stamp sizes.
    planes, with_errors
        As `fitted`.
    faint : crowdsource.undetected.UndetectedLight or None
        The light that should count as noise, once the search has ended.

    Returns
    -------
    TileFit
    """
    c, box = state.config.solve, tile.padded
    members, core = tile_members(state.image.shape, tile, sources, size, len(state.sources))
    s = sources.subset(members)
    stamps = render_stamps(state.psf, s.x, s.y, size[members], (box.x0, box.y0), state.workspace)
    ivar = np.ascontiguousarray(state.image.ivar[box.slices])
    residual = state.residual_in(box.slices)
    normal = build_normal(stamps, ivar, residual, c.min_overlap)
    precision = prior_precision(s.flux, s.error, c.position_prior)
    first = int((members < len(state.sources)).sum())
    if first < len(members):
        keep = accepted(normal, precision, first, state.config.detect)
        members, core, precision = members[keep], core[keep], precision[keep]
        s, stamps, normal = s.subset(keep), stamps.subset(keep), normal.subset(keep)
    if state.kind == SEARCH:
        c = replace(c, tolerance=c.search_tolerance)
    step = STEPS[c.method](stamps, ivar, residual, precision, c, planes, normal)
    normal, parameters = step.normal, step.parameters
    if faint is not None:
        left = residual if step.sky is None else residual-sky_of_knots(box, step.sky, c.sky_spacing)
        whole = confused_step(stamps, ivar, left, precision, c, planes, step, faint)
        # while sources may still go, what they are worth is judged by fluxes for photons alone
        parameters = whole if planes == 1 else np.c_[parameters[:, :1], whole[:, 1:]]
    information = normal.diagonal[:, 0, 0]
    error = np.where(information > 0, 1/np.sqrt(np.where(information > 0, information, 1)), np.inf)
    covariance = errors_of(normal, s.flux, error, state)[core] if with_errors else None
    wish = preferred_shifts(step, s.flux, (stamps, ivar, residual, precision, c), state)
    state.workspace.give(stamps.buffer)
    return TileFit(members[core], parameters[core], error[core], covariance, wish[core],
                   replace(step, parameters=None, normal=None))


def errors_of(normal, flux, error, state):
    """Covariances of all sources; in a forced fit the flux's with the positions known. Shape (n, 3, 3)."""
    covariance = covariances(normal, prior_precision(flux, error, state.config.solve.error_prior))
    if state.forced:
        covariance[:, 0, 0] = covariances(normal, prior_precision(flux, error, KNOWN_POSITION))[:, 0, 0]
    return covariance


def preferred_shifts(step, flux, problem, state):
    """Shifts of given sources that a fit of their positions would make, shape (n, 2), pixels; 0 but at a forced fit's end."""
    if not (state.forced and state.kind == LAST):
        return np.zeros((len(flux), 2))
    stamps, ivar, residual, precision, config = problem
    free = STEPS[config.method](stamps, ivar, residual, precision, config, 3, step.normal).parameters
    total = flux+free[:, 0]
    shift = np.where(total[:, None] > 0, free[:, 1:]/np.where(total > 0, total, 1)[:, None], 0)
    return np.clip(shift, -LARGEST_WISH, LARGEST_WISH)


def accepted(normal, precision, first, config):
    """Which sources stay: all, and the candidates that improve chi2 enough.

    Parameters
    ----------
    normal : crowdsource.solve.NormalEquations
        Of sources and, behind them, candidates.
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    first : int
        Number of the first candidate.
    config : crowdsource.config.DetectConfig

    Returns
    -------
    ndarray of bool
    """
    keep = np.ones(len(precision), bool)
    if config.split == "chi2":
        keep[first:] = gains(normal, precision, first) > config.threshold
    return keep


def tile_members(shape, tile, sources, size, first):
    """Sources whose stamps reach into a tile's padded box, and which of them its core owns.

    The nearest core owns a source off the image, also one whose stamp misses it: nothing is known of it, but it has a row.
    They come in bands across the tile, so that stamps which overlap lie close in memory; candidates stay behind.
    """
    px, py = sources.pixels
    ny, nx = shape
    owned = tile.core.holds(np.clip(px, 0, nx-1), np.clip(py, 0, ny-1))
    members = np.flatnonzero(owned | tile.padded.touches(px, py, size))
    members = members[np.lexsort((px[members], py[members]//BAND, members >= first))]
    return members, owned[members]


def fitted(state, planes, with_errors=False):
    """All parameters improved by one solve in each tile, and candidates made sources or turned down.

    Parameters
    ----------
    state : PassState
    planes : int
        3 to let positions move, 1 for fluxes alone.
    with_errors : bool
        Also give the covariances.

    Returns
    -------
    state : PassState
    figures : dict
        Solver's iterations and residual reduction, the worst over tiles.
    """
    every = state.sources.joined(state.candidates)
    size = sizes(state, every)
    for one in np.unique(size):
        state.psf.prepare(int(one))
    faint = undetected_light(state)
    fits = list(state.run(lambda tile: fit_tile(state, tile, every, size, planes, with_errors, faint), state.tiles))
    own = np.concatenate([f.own for f in fits])
    order = np.argsort(own)
    own = own[order]

    def gathered(name):
        return np.concatenate([getattr(f, name) for f in fits]).take(order, axis=0)

    parameters, error = gathered("parameters"), gathered("error")
    covariance = gathered("covariance") if with_errors else None
    sky, tilted = state.sky, [(tile, f.step.sky) for tile, f in zip(state.tiles, fits) if f.step.sky is not None]
    if tilted:
        sky = sky.copy()
    for tile, knots in tilted:
        _add_sky(sky, tile, knots, state.config.solve.sky_spacing)
    start = np.where(own < len(state.sources), every.flux[own], 0)
    sources = every.subset(own).with_values(flux=start+parameters[:, 0], error=error)
    moved = replace(state, sources=sources, candidates=Sources.new([], []), sky=sky, covariance=covariance,
                    new=int((own >= len(state.sources)).sum()))
    if state.forced:
        moved = replace(moved, sources=moved.sources.with_values(shift=gathered("wish")))
    if planes == 3:
        moved = replace(moved, sources=_moved(state, moved.sources, parameters, size[own]))
    figures = dict(iterations=max((f.step.iterations for f in fits), default=0),
                   reduction=float(max((f.step.reduction for f in fits), default=0.)))
    return moved, figures


def sky_of_knots(box, knots, spacing):
    """A fitted sky on a box, float32."""
    return (sky_basis(box.shape, spacing)@knots).reshape(box.shape).astype(np.float32)


def _add_sky(sky, tile, knots, spacing):
    """Add a tile's fitted sky to its core, in place."""
    core, padded = tile.core, tile.padded
    inner = np.s_[core.y0-padded.y0:core.y1-padded.y0, core.x0-padded.x0:core.x1-padded.x0]
    sky[core.slices] += sky_of_knots(padded, knots, spacing)[inner]


def _moved(state, sources, parameters, size):
    """Sources at their new positions, by the method of the config and within its largest step."""
    c = state.config.centroid
    if c.method == "moment":
        shift = _moment_shifts(state, sources, parameters, size)
    else:
        positive = sources.flux > 0
        shift = np.where(positive[:, None], parameters[:, 1:]/np.where(positive, sources.flux, 1)[:, None], 0)
    shift = np.clip(shift, -c.max_step, c.max_step)
    return sources.with_values(x=sources.x+shift[:, 0], y=sources.y+shift[:, 1], shift=shift)


def _moment_shifts(state, sources, parameters, size):
    """Weighted-moment centroids on the image with the other sources removed, relative to the positions."""
    full = np.c_[sources.flux, parameters[:, 1:]]
    left = state.residual
    shifts = np.zeros((len(sources), 2))
    for m in chunks_by_size(size):
        planes = state.psf.render(sources.x[m], sources.y[m], int(size[m[0]]), derivatives=True)
        for plane, factor in zip(planes, -parameters[m].T):
            add_stamps(left, plane, sources.x[m], sources.y[m], factor)
    core = state.config.solve.stamp_sizes[0]
    for m in chunks_by_size(np.full(len(sources), core)):
        planes = state.psf.render(sources.x[m], sources.y[m], core, derivatives=True)
        shifts[m] = moment_centroids(left, state.image.ivar, planes, sources.x[m], sources.y[m], full[m],
                                     use_psf_weight=state.passno > 0)
    return shifts
