"""The loop: sky, peaks, fit, centroids, PSF, again, until the whole image is modelled.

One loop serves free fits, which find their sources, and forced fits, whose positions are given.
"""
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ..artifacts.clean import cleaned
from ..config import FitConfig, checked
from ..core.calibration import calibration
from ..core.clock import StageClock
from ..core.errors import InputError
from ..core.selection import significant
from ..core.tiles import make_tiles
from ..psf.adopt import as_psf
from ..psf.initial import check_width, initial_psf
from . import stages
from .catalog import image_catalog
from .doubts import doubts
from .extended import with_extended
from .given import GivenPositions, table_positions
from .joint_fit import fitted
from .measure import mean_chi2
from .model_error import with_model_error
from .prune import pruned
from .savings import within_budget
from .schedule import next_kind, pruning_share, psf_is_due
from .sources import Sources
from .state import LAST, SEARCH, FitResult, PassState

log = logging.getLogger(__name__)

FIRST_REFITS = calibration.schedule.first_refits
"""Refits of a PSF of which only the width is known, in the first pass."""
SKY_SAMPLE = 8
"""The median of the sky, which is smooth, is taken over one in so many pixels along each axis."""


def fit(image, psf=None, config=None, *, sources=None, fixed=True, bright=None, sky=None, threads=1, progress=None,
        observer=None):
    """Fit all sources of an image at once.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    psf : crowdsource.psf.base.PSF, or a PSF model of photutils, optional
        The starting PSF; found from the image when not given.
    config : crowdsource.config.FitConfig, optional
    sources : mapping or Table with x and y, optional
        Makes it a forced fit: positions in the parent image's pixels, which stay as they are. The catalog has a row for each,
        in their order; see `crowdsource.engine.given`.
    fixed : bool
        False: given positions are where the fit starts from, and move. No others are looked for, none is removed.
    bright : mapping or Table with x and y, optional
        Stars with very large stamps: the brightest peak within 5 pixels, or added where there is none.
    sky : ndarray, shape (ny, nx), optional
        Sky of the first pass, or of all where ``config.sky.keep`` says so.
    threads : int
        Tiles and bands of the image are worked on in so many threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(stage, passno, total, info)``.
    observer : callable, optional
        Called with the `PassState` after each pass.

    Returns
    -------
    FitResult

    Raises
    ------
    InputError
        When sources or sky do not suit the image.
    ConfigError
        When a value of the config is out of range.
    """
    report = progress or (lambda *_: None)
    given = None if sources is None else GivenPositions.of(sources, image)
    with ThreadPoolExecutor(threads) as pool:
        run = map if threads == 1 else pool.map
        state = initialize(image, psf, checked(config or FitConfig()), given, bright, sky, run)
        state = replace(state, fixed=fixed)
        while state.kind != LAST:
            report("pass", state.passno, state.config.max_passes, dict(sources=len(state.sources), new=state.new))
            state = single_pass(replace(state, kind=next_kind(state)), start_sky=sky)
            if observer:
                observer(state)
        report("measure", state.passno, state.config.max_passes, dict(sources=len(state.sources), new=0))
        return finish(state) if given is None else given.all_rows(finish(state))


def initialize(image, psf, config, given, bright, sky, run=map):
    """The state before the first pass. Parameters as `fit`, but for the `GivenPositions`, and what runs the parts of stages."""
    if sky is not None and np.shape(sky) != image.shape:
        raise InputError(f"sky has shape {np.shape(sky)} but the image has {image.shape}")
    if sky is not None and not np.isfinite(sky).all():
        raise InputError("sky has pixels that are not finite: fill them")
    if sky is None and config.sky.keep:
        raise InputError("sky.keep keeps a given sky, but there is none: give sky, or leave sky.keep out")
    image = cleaned(image, config.artifacts)
    if psf is None:
        psf = initial_psf(image, run=run)
    else:
        psf = as_psf(psf, image.shape)
        check_width(psf, image, run)
    psf = psf.as_first_guess(config.psf)
    tiles = tuple(make_tiles(image.shape, config.solve.tile, config.solve.overlap))
    rows = Sources.new([], []) if given is None else given.sources()
    if bright is not None:
        rows = rows.joined(bright_sources(bright, image, config.solve.bright_size//2))
    zeros = np.zeros(image.shape, np.float32)
    return PassState(image=image, config=config, psf=psf, sources=rows, candidates=Sources.new([], []), sky=zeros, model=zeros,
                     passno=0, new=0, forced=given is not None, history=(), tiles=tiles, noise=image.noise, run=run)


def bright_sources(table, image, half):
    """Sources from a user's table of bright stars, those whose stamps of half width `half` touch the image.

    Raises
    ------
    InputError
        When positions are not finite.
    """
    x, y = table_positions(table, image)
    if not (np.isfinite(x) & np.isfinite(y)).all():
        raise InputError("positions of bright stars must be finite: remove the rows with NaN")
    ny, nx = image.shape
    return Sources.new(x, y, bright=True).subset((x > -half) & (x < nx+half) & (y > -half) & (y < ny+half))


def single_pass(state, start_sky=None):
    """One turn of the loop, of the state's kind.

    A search finds new sources. A pruning pass removes those that the model does not need. The last pass is forced: fluxes
    alone, at the final positions.

    Parameters
    ----------
    state : PassState
    start_sky : ndarray, optional
        Sky of the first pass.

    Returns
    -------
    PassState
    """
    clock, kind = StageClock(), state.kind
    state = stages.with_structure(with_model_error(state))
    clock.stop("nebulosity")
    state = stages.with_sky(state, start_sky)
    clock.stop("sky")
    state = replace(state, new=0)
    if kind == SEARCH and not state.forced:
        state = stages.with_peaks(state)
        clock.stop("peaks")
    state = within_budget(state)
    n_parameters = 1 if kind == LAST or state.stays else 3
    before = len(state.sources)
    state, figures = fitted(state, n_parameters, with_errors=kind == LAST or pruning_share(state) > 0)
    clock.stop("fit")
    if kind != LAST and not state.forced:
        state = pruned(state)
        clock.stop("cull")
    state = stages.with_model(state)
    clock.stop("model")
    state = with_extended(replace(state, grown=len(state.sources)-before))
    clock.stop("extended")
    if psf_is_due(state):
        state = refitted(state, n_parameters, start_sky, clock)
    record = dict(passno=state.passno, kind=kind, sources=len(state.sources), new=state.new, chi2=mean_chi2(state),
                  fwhm=float(state.psf.fwhm()), sky=float(np.median(state.sky[::SKY_SAMPLE, ::SKY_SAMPLE])), **figures,
                  **{f"cpu_{stage}": seconds for stage, seconds in clock.seconds.items()})
    logged = ("passno", "sources", "new", "chi2", "fwhm")
    log.info("pass %d: %d sources, %d new, chi2 %.3f, FWHM %.2f px", *(record[k] for k in logged))
    return replace(state, passno=state.passno+1, history=(*state.history, record))


def refitted(state, n_parameters, start_sky, clock):
    """The state with its PSF refitted, and the model of that.

    Where the PSF has an uncertainty, before or after that, the light of bright stars' wings was sky before, and their fluxes are
    for another PSF: residuals that would look like stars in the next search. So sky and fluxes are found anew, the first time
    twice; and so for a PSF of few stars, which may have been much wider or narrower. In the first pass it is so, too, where
    saturated stars show the PSF: their fluxes follow from the wings alone, those for a width that is a sixth too small are up to
    1.8 times too large, and between them the sky would be too low, with sources in its place.

    Parameters
    ----------
    state : PassState
    n_parameters : int
        As `fitted`.
    start_sky : ndarray or None
        Sky of the first pass.
    clock : crowdsource.core.clock.StageClock
    """
    first = state.passno == 0 or state.psf.uncertainty is None
    if state.psf.uncertainty is None:
        state, of_wings = stages.with_psf(state)
        clock.stop("psf")
        state = stages.with_model(state)
        clock.stop("model")
        settled = state.psf.uncertainty is None and state.psf.covariance is None
        if settled and not (of_wings and state.passno == 0):
            return state
    for _ in range(FIRST_REFITS if first else 1):
        state = stages.with_sky(with_model_error(state), start_sky)
        clock.stop("sky")
        state, _ = stages.with_psf(state, first)
        clock.stop("psf")
        again, _ = fitted(within_budget(stages.with_model(state)), n_parameters)
        state = stages.with_model(replace(again, new=state.new))
        clock.stop("fit")
    return state


def finish(state):
    """The result: the catalog with all measurements, and the images. Parameters as `single_pass`."""
    start = time.process_time()
    catalog, extended = image_catalog(state), state.extended
    model_flux = np.concatenate([state.flux, [one.flux for one in extended]])
    if state.config.select.min_snr > 0 and not state.forced:
        kept = significant(catalog, state.config.select.min_snr)
        catalog, model_flux = catalog[kept], model_flux[kept]
        extended = tuple(one for one, stays in zip(extended, kept[len(state.flux):]) if stays)
    history = [dict(h) for h in state.history]
    history[-1]["cpu_measure"] = time.process_time()-start
    image = state.image
    for sentence in doubts(state):
        image = image.with_finding(sentence)
    return FitResult(catalog=catalog, model=state.model, sky=state.sky, psf=state.psf, history=history, config=state.config,
                     image=image, probabilities=state.probabilities, extended=extended, model_flux=model_flux)
