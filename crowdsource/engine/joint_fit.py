"""The stage that fits: one solve in each tile improves all parameters, and candidates are accepted as sources or rejected."""
from dataclasses import dataclass, replace

import numpy as np

from ..config.extensions import CENTROIDS, SOLVERS
from .design import render_stamps, sizes, sky_basis
from .solvers import (
    LinearProblem,
    build_normal,
    candidate_significance,
    confused_step,
    covariances,
    prior_precision,
)
from .solvers.equations import errors_from
from .sources import Sources
from .stages import undetected_light
from .state import LAST, SEARCH

KNOWN_POSITION = 1e-4
"""Uncertainty of a given position, pixels."""
LARGEST_PREFERRED_SHIFT = 2.
"""Largest offset of a given position that is reported, pixels."""
ROWS = 64
"""Height of the ranges of rows in which a tile's sources are ordered, pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TileFit:
    """A tile's solution.

    Attributes
    ----------
    own : ndarray of int, shape (n,)
        Sources that the tile's core owns, without rejected candidates.
    parameters : ndarray, shape (n, 3)
        Their changes of flux, and flux times shift in x and y.
    error : ndarray, shape (n,)
        Isolated flux errors.
    covariance : ndarray, shape (n, 3, 3), or None
    preferred_shift : ndarray, shape (n, 2)
        Shifts that a fit of given positions would make, pixels.
    iterations : int
        Of the solver.
    reduction : float
        Final over initial residual norm of the solver.
    sky : ndarray or None
        Changes of the sky at the knots, where a sky is fitted.
    """

    own: np.ndarray
    parameters: np.ndarray
    error: np.ndarray
    covariance: np.ndarray
    preferred_shift: np.ndarray
    iterations: int
    reduction: float
    sky: np.ndarray


@dataclass(frozen=True, eq=False)
class TileProblem:
    """The linear problem of a tile, and its sources.

    Attributes
    ----------
    linear : LinearProblem
    normal : NormalEquations
        Those of the problem, without pairs that hardly overlap.
    sources : crowdsource.engine.sources.Sources
    members : ndarray of int, shape (n,)
        Numbers of these sources among all.
    owned : ndarray of bool, shape (n,)
        Whether the tile's core owns them.
    """

    linear: LinearProblem
    normal: object
    sources: Sources
    members: np.ndarray
    owned: np.ndarray

    def subset(self, keep):
        """The same problem with some of the sources only.

        Parameters
        ----------
        keep : ndarray of bool, shape (n,)
        """
        return TileProblem(self.linear.subset(keep), self.normal.subset(keep), self.sources.subset(keep), self.members[keep],
                           self.owned[keep])


def fitted(state, n_parameters, with_errors=False):
    """All parameters improved by one solve in each tile, and candidates accepted as sources or rejected.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    n_parameters : int
        3 to let positions move, 1 for fluxes alone.
    with_errors : bool
        Also compute the covariances.

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
    undetected = undetected_light(state)
    fits = list(state.run(lambda tile: fit_tile(state, tile, every, size, n_parameters, with_errors, undetected), state.tiles))
    own = np.concatenate([f.own for f in fits])
    order = np.argsort(own)
    own = own[order]

    def gathered(name):
        return np.concatenate([getattr(f, name) for f in fits]).take(order, axis=0)

    parameters, error = gathered("parameters"), gathered("error")
    start = np.where(own < len(state.sources), every.flux[own], 0)
    sources = every.subset(own).with_values(flux=start+parameters[:, 0], error=error)
    moved = replace(state, sources=sources, candidates=Sources.new([], []), sky=_with_fitted_skies(state, fits),
                    covariance=gathered("covariance") if with_errors else None,
                    new=int((own >= len(state.sources)).sum()))
    if state.forced:
        moved = replace(moved, sources=moved.sources.with_values(shift=gathered("preferred_shift")))
    if n_parameters == 3:
        moved = replace(moved, sources=_moved(state, moved.sources, parameters, size[own]))
    figures = dict(iterations=max((f.iterations for f in fits), default=0),
                   reduction=float(max((f.reduction for f in fits), default=0.)))
    return moved, figures


def fit_tile(state, tile, sources, size, n_parameters, with_errors, undetected):
    """Solve one tile.

    Parameters
    ----------
    state : PassState
    tile : crowdsource.core.tiles.Tile
    sources : crowdsource.engine.sources.Sources
        The state's sources followed by its candidates.
    size : ndarray of int
        Their stamp sizes.
    n_parameters, with_errors
        As `fitted`.
    undetected : crowdsource.engine.undetected.UndetectedLight or None
        Light of undetected stars that counts as noise, once the search has ended.

    Returns
    -------
    TileFit
    """
    c = state.config.solve
    problem = tile_problem(state, tile, sources, size)
    if state.kind == SEARCH:
        c = replace(c, tolerance=c.search_tolerance)
    solve, linear, s = SOLVERS.resolve(c.method), problem.linear, problem.sources
    step = solve(linear, c, n_parameters, problem.normal)
    parameters = step.parameters
    if undetected is not None:
        if step.sky is not None:
            linear = replace(linear, residual=linear.residual-sky_of_knots(tile.padded, step.sky, c.sky_spacing))
        whole = confused_step(linear, c, n_parameters, step, undetected)
        # while sources may still be removed, their significance is judged by fluxes for photon noise alone
        parameters = whole if n_parameters == 1 else np.c_[parameters[:, :1], whole[:, 1:]]
    error = errors_from(step.normal.diagonal[:, 0, 0])
    covariance = errors_of(step.normal, s.flux, error, state)[problem.owned] if with_errors else None
    preferred = preferred_shifts(linear, c, step, s.flux) if state.forced and state.kind == LAST else np.zeros((len(s), 2))
    state.workspace.give(linear.stamps.buffer)
    return TileFit(own=problem.members[problem.owned], parameters=parameters[problem.owned], error=error[problem.owned],
                   covariance=covariance, preferred_shift=preferred[problem.owned], iterations=step.iterations,
                   reduction=step.reduction, sky=step.sky)


def tile_problem(state, tile, sources, size):
    """The `TileProblem` of a tile, with the candidates that improve the fit enough. Parameters as `fit_tile`."""
    problem = whole_problem(state, tile, sources, size, len(state.sources))
    first = int((problem.members < len(state.sources)).sum())
    if first == len(problem.members):
        return problem
    return problem.subset(accepted(problem.normal, problem.linear.precision, first, state.config.detect))


def whole_problem(state, tile, sources, size, first):
    """The `TileProblem` of a tile with all candidates.

    Parameters
    ----------
    state, tile, sources, size
        As `fit_tile`.
    first : int
        Number of the first candidate; candidates come last in the problem.
    """
    c, box = state.config.solve, tile.padded
    members, owned = tile_members(state.image.shape, tile, sources, size, first)
    s = sources.subset(members)
    stamps = render_stamps(state.psf, s.x, s.y, size[members], (box.x0, box.y0), state.workspace)
    linear = LinearProblem(stamps=stamps, ivar=np.ascontiguousarray(state.image.ivar[box.slices]),
                           residual=state.residual_in(box.slices), precision=prior_precision(s.flux, s.error, c.position_prior))
    return TileProblem(linear, build_normal(linear, c.min_overlap), s, members, owned)


def errors_of(normal, flux, error, state):
    """Covariances of all sources; the flux's with the positions known where these are given and fixed. Shape (n, 3, 3)."""
    covariance = covariances(normal, prior_precision(flux, error, state.config.solve.error_prior))
    if state.stays:
        covariance[:, 0, 0] = covariances(normal, prior_precision(flux, error, KNOWN_POSITION))[:, 0, 0]
    return covariance


def preferred_shifts(linear, config, step, flux):
    """Shifts that a fit of given positions would make, shape (n, 2), pixels.

    Parameters
    ----------
    linear : LinearProblem
    config : crowdsource.config.SolveConfig
    step : Step
        The solution with positions as given.
    flux : ndarray, shape (n,)
        Before the step.
    """
    free = SOLVERS.resolve(config.method)(linear, config, 3, step.normal).parameters
    total = flux+free[:, 0]
    shift = np.where(total[:, None] > 0, free[:, 1:]/np.where(total > 0, total, 1)[:, None], 0)
    return np.clip(shift, -LARGEST_PREFERRED_SHIFT, LARGEST_PREFERRED_SHIFT)


def accepted(normal, precision, first, config):
    """Which sources stay: all, and the candidates that improve chi2 enough.

    Parameters
    ----------
    normal : crowdsource.engine.solvers.NormalEquations
        Of sources followed by candidates.
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    first : int
        Number of the first candidate.
    config : crowdsource.config.DetectConfig

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    keep = np.ones(len(precision), bool)
    if config.split == "chi2":
        keep[first:] = candidate_significance(normal, precision, first) > config.threshold
    return keep


def tile_members(shape, tile, sources, size, first):
    """Sources whose stamps reach into a tile's padded box, and which of them its core owns.

    The nearest core owns a source off the image, also one whose stamp misses it: nothing is known of it, but it has a row.
    They are ordered by ranges of rows across the tile, so that stamps which overlap lie close in memory; candidates come last.
    """
    px, py = sources.pixels
    ny, nx = shape
    owned = tile.core.holds(np.clip(px, 0, nx-1), np.clip(py, 0, ny-1))
    members = np.flatnonzero(owned | tile.padded.touches(px, py, size))
    members = members[np.lexsort((px[members], py[members]//ROWS, members >= first))]
    return members, owned[members]


def sky_of_knots(box, knots, spacing):
    """A fitted sky on a box, float32."""
    return (sky_basis(box.shape, spacing)@knots).reshape(box.shape).astype(np.float32)


def _with_fitted_skies(state, fits):
    """The sky with what the tiles have fitted to it on their cores; the sky itself where none is fitted."""
    fitted_skies = [(tile, f.sky) for tile, f in zip(state.tiles, fits) if f.sky is not None]
    sky = state.sky.copy() if fitted_skies else state.sky
    for tile, knots in fitted_skies:
        core, padded = tile.core, tile.padded
        inner = np.s_[core.y0-padded.y0:core.y1-padded.y0, core.x0-padded.x0:core.x1-padded.x0]
        sky[core.slices] += sky_of_knots(padded, knots, state.config.solve.sky_spacing)[inner]
    return sky


def _moved(state, sources, parameters, size):
    """Sources at their new positions, by the method of the config and within its largest step."""
    c = state.config.centroid
    shift = np.clip(CENTROIDS.resolve(c.method)(state, sources, parameters, size), -c.max_step, c.max_step)
    return sources.with_values(x=sources.x+shift[:, 0], y=sources.y+shift[:, 1], shift=shift)
