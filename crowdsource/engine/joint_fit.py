"""The stage that fits: one solve in each tile improves all parameters, and candidates become sources or are turned down."""
from dataclasses import dataclass, replace

import numpy as np

from .centroid import moment_centroids
from .design import add_stamps, chunks_by_size, render_stamps, sky_basis
from .solvers import STEPS, build_normal, confused_step, covariances, gains, prior_precision
from .sources import Sources
from .stages import sizes, undetected_light
from .state import LAST, SEARCH

KNOWN_POSITION, LARGEST_WISH = 1e-4, 2.
"""Uncertainty of a given position, and the largest offset that is still told, pixels."""
BAND = 64
"""Height of the bands in which a tile's sources are ordered, pixels."""


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
    step : crowdsource.engine.solvers.normal.Step
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
    tile : crowdsource.core.tiles.Tile
    sources : crowdsource.engine.sources.Sources
        The state's sources and, behind them, its candidates.
    size : ndarray of int
        Their stamp sizes.
    planes, with_errors
        As `fitted`.
    faint : crowdsource.engine.undetected.UndetectedLight or None
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
    normal : crowdsource.engine.solvers.normal.NormalEquations
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
