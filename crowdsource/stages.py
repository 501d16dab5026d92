"""The stages of a pass: each takes a `crowdsource.fit.PassState` and gives a new one."""
import logging
from dataclasses import dataclass, replace

import numpy as np

from . import detect as detection
from .centroid import moment_centroids
from .design import add_stamps, chunks_by_size, model_image, render_stamps, sky_basis, stamp_sizes
from .sky import estimate_sky
from .solve import STEPS, build_normal, covariances, prior_precision
from .sources import Sources
from .stars import psf_stars

log = logging.getLogger(__name__)


def with_sky(state, start_sky=None):
    """A new sky from what the model leaves.

    Parameters
    ----------
    state : PassState
    start_sky : ndarray, shape (ny, nx), optional
        Used in the first pass instead.
    """
    c = state.config.sky
    if state.passno == 0 and start_sky is not None:
        return replace(state, sky=np.array(start_sky, dtype=np.float32))
    block = c.block
    if state.passno < c.global_passes:
        block = round(c.first_block_fwhm*float(state.psf.fwhm()))
    return replace(state, sky=estimate_sky(state.image.data-state.model, state.image.ivar, c, block))


def with_peaks(state):
    """New sources at the residual's peaks, with matched-filter fluxes, in the sources and in the model."""
    image, c = state.image, state.config.detect
    matched = detection.MatchedFilter(state.psf.stamp(state.config.solve.stamp_sizes[0]), image.ivar)
    peaks = detection.find_peaks(state.residual, state.model, image.mask, matched, c, state.passno)
    peaks = peaks.subset(detection.apart(peaks, state.x, state.y, c.min_separation))
    room = max(0, state.config.max_sources-len(state.sources))
    if len(peaks) > room:
        log.warning("%d peaks are not added: max_sources is %d", len(peaks)-room, state.config.max_sources)
        peaks = peaks.subset(slice(room))
    ny, nx = image.shape
    at = np.clip(np.round(peaks.y).astype(int), 0, ny-1), np.clip(np.round(peaks.x).astype(int), 0, nx-1)
    new = Sources.new(peaks.x, peaks.y, peaks.flux, matched.error[at], passno=state.passno)
    size = sizes(replace(state, sources=new))
    model = model_image(state.psf, new.x, new.y, new.flux, size, image.shape, out=state.model.copy())
    return replace(state, sources=state.sources.joined(new), new=len(new), model=model)


def sizes(state):
    """Stamp sizes of the state's sources."""
    peak = state.psf.stamp(5)[2, 2]
    return stamp_sizes(state.flux, peak, state.noise, state.config.solve, state.sources.bright)


def with_model(state):
    """The model image of the sources as they are."""
    return replace(state, model=model_image(state.psf, state.x, state.y, state.flux, sizes(state), state.image.shape))


def with_psf(state):
    """A PSF refitted on this image's stars."""
    stars = psf_stars(state)
    return replace(state, psf=state.psf.refit(stars, state.config.psf))


@dataclass(frozen=True)
class TileFit:
    """A tile's solution.

    Attributes
    ----------
    members : ndarray of int
        Sources in the problem.
    core : ndarray of bool
        Which of them the tile's core owns.
    step : crowdsource.solve.Step
    error : ndarray
        Isolated flux errors.
    covariance : ndarray, shape (n, 3, 3), or None
    """
    members: np.ndarray
    core: np.ndarray
    step: object
    error: np.ndarray
    covariance: np.ndarray


def fit_tile(state, tile, size, planes, with_errors):
    """Solve one tile. Parameters as `fitted`, and the stamp sizes."""
    members, core = tile_members(state, tile, size)
    s, c, box = state.sources.subset(members), state.config.solve, tile.padded
    stamps = render_stamps(state.psf, s.x, s.y, size[members], origin=(box.x0, box.y0))
    ivar = np.ascontiguousarray(state.image.ivar[box.slices])
    residual = np.ascontiguousarray(state.residual[box.slices])
    precision = prior_precision(s.flux, s.error, c.position_prior)
    step = STEPS[c.method](stamps, ivar, residual, precision, c, planes)
    normal = step.normal or build_normal(stamps, ivar, residual)
    information = normal.diagonal[:, 0, 0]
    error = np.where(information > 0, 1/np.sqrt(np.where(information > 0, information, 1)), np.inf)
    covariance = covariances(normal, prior_precision(s.flux, error, c.error_prior)) if with_errors else None
    return TileFit(members, core, replace(step, normal=None), error, covariance)


def tile_members(state, tile, size):
    """Sources whose stamps reach into a tile's padded box, and which of them its core owns."""
    px, py = state.sources.pixels
    members = np.flatnonzero(tile.padded.touches(px, py, size))
    ny, nx = state.image.shape
    return members, tile.core.holds(np.clip(px[members], 0, nx-1), np.clip(py[members], 0, ny-1))


def fitted(state, run, planes, with_errors=False):
    """All parameters improved by one solve in each tile.

    Parameters
    ----------
    state : PassState
    run : callable
        ``map`` or an executor's.
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
    n, size = len(state.sources), sizes(state)
    fits = list(run(lambda tile: fit_tile(state, tile, size, planes, with_errors), state.tiles))
    parameters, error = np.zeros((n, 3)), state.sources.error.copy()
    covariance = np.full((n, 3, 3), np.inf) if with_errors else None
    sky = state.sky.copy()
    for tile, f in zip(state.tiles, fits):
        own = f.members[f.core]
        parameters[own], error[own] = f.step.parameters[f.core], f.error[f.core]
        if with_errors:
            covariance[own] = f.covariance[f.core]
        if f.step.sky is not None:
            _add_sky(sky, tile, f.step.sky, state.config.solve.sky_spacing)
    sources = state.sources.with_values(flux=state.flux+parameters[:, 0], error=error)
    moved = replace(state, sources=sources, sky=sky, covariance=covariance)
    if planes == 3:
        moved = replace(moved, sources=_moved(state, moved.sources, parameters, size))
    figures = dict(iterations=max((f.step.iterations for f in fits), default=0),
                   reduction=float(max((f.step.reduction for f in fits), default=0.)))
    return moved, figures


def _add_sky(sky, tile, knots, spacing):
    """Add a tile's fitted sky to its core, in place."""
    core, padded = tile.core, tile.padded
    fitted_sky = (sky_basis(padded.shape, spacing)@knots).reshape(padded.shape)
    inner = np.s_[core.y0-padded.y0:core.y1-padded.y0, core.x0-padded.x0:core.x1-padded.x0]
    sky[core.slices] += fitted_sky[inner].astype(np.float32)


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
