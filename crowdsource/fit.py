"""The loop: sky, peaks, fit, centroids, PSF, again, until the whole image is modelled.

One loop serves free fits, which find their sources, and forced fits, whose positions are given.
"""
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from . import stages
from .catalog.assemble import image_catalog
from .config import FitConfig, checked
from .confusion import widening
from .cull import marginal_error, needed, removal_error, worthy
from .design import Workspace
from .errors import InputError
from .measure import extent_significance, mean_chi2, measured
from .merge import entangled, merged
from .near import neighbours
from .nebulosity.options import DETECT
from .psf.initial import initial_psf
from .sources import Sources
from .stages import LAST, PRUNE, SEARCH
from .step import fitted
from .tiles import banded, make_tiles

log = logging.getLogger(__name__)
SETTLED_SKY = 0.01
"""A sky that moves by less than this, in units of a pixel's noise, has settled."""
MOST_DOUBT = 2.
"""A source so many times as significant as the bound stays, however wide: without it the residual would show it."""
SETTLED_CHI2 = 0.05
"""A search goes on after a pass that removes more than it adds and yet lowers the mean chi2 by more than this part."""
SKY_SAMPLE = 8
"""The sky is smooth: its median is taken over one in so many pixels along each axis."""
USUAL_EXTENT = -0.45
"""Of a single star, in sigma: what is wider is rather several of them."""
DOUBT = 0.8
"""So much of an extent over a whole stamp, where other stars' light adds to it, counts like one of a star's heart."""
PRUNE_REACH = 1.5
"""Sources within so many FWHM of each other compete when some have to go."""


@dataclass(frozen=True)
class FitResult:
    """What a fit gives.

    Attributes
    ----------
    catalog : astropy.table.QTable
        One row a source, columns as in `crowdsource.catalog.schema`.
    model : ndarray, shape (ny, nx), float32
        Model of the sources alone.
    sky : ndarray, shape (ny, nx), float32
    psf : crowdsource.psf.base.PSF
    history : list of dict
        Figures of each pass.
    config : crowdsource.config.FitConfig
    image : crowdsource.image.Image
        The one that was fitted, with the engine bits that the fit has set in its mask.
    probabilities : ndarray, shape (3 or 4, ny, nx), float32, or None
        Of nebulosity, light, normal sky and perhaps errors, when a network was asked.
    """
    catalog: object
    model: np.ndarray
    sky: np.ndarray
    psf: object
    history: list
    config: FitConfig
    image: object
    probabilities: np.ndarray = None


@dataclass(frozen=True)
class PassState:
    """Everything that a pass starts from, and leaves for the next one; arrays are not changed in place.

    Attributes
    ----------
    image : crowdsource.image.Image
    config : crowdsource.config.FitConfig
    psf : crowdsource.psf.base.PSF
    sources : crowdsource.sources.Sources
    candidates : crowdsource.sources.Sources
        Peaks that wait for the fit to accept them; in the model they are not.
    sky, model : ndarray, shape (ny, nx), float32
    passno : int
        Passes done.
    new : int
        Sources found in the last pass.
    grown : int
        Sources that the last pass found, less those that it removed.
    forced : bool
        Positions are given and stay.
    history : tuple of dict
    tiles : tuple of crowdsource.tiles.Tile
    noise : float
        Typical sky noise of a pixel, image units.
    kind : str
        What this pass does: `SEARCH`, `PRUNE` or `LAST`.
    matched : crowdsource.detect.MatchedFilter or None
        That of the present PSF, once a search has made it.
    run : callable
        ``map`` or an executor's: runs the parts of a stage.
    workspace : crowdsource.design.Workspace
        Memory that passes hand on; holds nothing that matters.
    covariance : ndarray, shape (n, 3, 3), or None
        After the last pass: of flux, and flux times shift in x and y, neighbours marginalised.
    structure : crowdsource.nebulosity.find.Structure or None
        Of the background, once it has been looked for.
    """
    image: object
    config: FitConfig
    psf: object
    sources: Sources
    candidates: Sources
    sky: np.ndarray
    model: np.ndarray
    passno: int
    new: int
    forced: bool
    history: tuple
    tiles: tuple
    noise: float
    kind: str = SEARCH
    matched: object = None
    run: object = map
    workspace: Workspace = field(default_factory=Workspace)
    covariance: np.ndarray = None
    grown: int = 0
    structure: object = None

    @property
    def residual(self):
        """Data less sky and model, float32."""
        return banded(_less, (self.image.data, self.sky, self.model), self.run)

    def residual_in(self, part):
        """The residual of a part of the image, given by slices or by pixels (y, x)."""
        return _less(*(plane[part] for plane in (self.image.data, self.sky, self.model)))

    @property
    def probabilities(self):
        """What a network says of the background, shape (3 or 4, ny, nx), or None."""
        return None if self.structure is None else self.structure.probabilities

    @property
    def x(self):
        """Positions of the sources along axis 1, pixels."""
        return self.sources.x

    @property
    def y(self):
        """Positions of the sources along axis 0, pixels."""
        return self.sources.y

    @property
    def flux(self):
        """Fluxes of the sources."""
        return self.sources.flux


def _less(data, sky, model, out=None):
    """Data less sky and model."""
    out = np.subtract(data, sky, out=out)
    out -= model
    return out


def fit(image, psf=None, config=None, *, sources=None, bright=None, sky=None, threads=1, progress=None, observer=None):
    """Fit all sources of an image at once.

    Parameters
    ----------
    image : crowdsource.image.Image
    psf : crowdsource.psf.base.PSF, optional
        The starting PSF; found from the image when not given.
    config : crowdsource.config.FitConfig, optional
    sources : mapping or Table with x and y, optional
        Makes it a forced fit: positions in the parent image's pixels, which stay as they are.
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
    tell = progress or (lambda *_: None)
    with ThreadPoolExecutor(threads) as pool:
        run = map if threads == 1 else pool.map
        state = initialize(image, psf, checked(config or FitConfig()), sources, bright, sky, run)
        while state.kind != LAST:
            tell("pass", state.passno, state.config.max_passes, dict(sources=len(state.sources), new=state.new))
            state = single_pass(replace(state, kind=next_kind(state)), start_sky=sky)
            if observer:
                observer(state)
        tell("measure", state.passno, state.config.max_passes, dict(sources=len(state.sources), new=0))
        return finish(state)


def initialize(image, psf, config, sources, bright, sky, run=map):
    """The state before the first pass. Parameters as `fit`, and what runs the parts of stages."""
    if sky is not None and np.shape(sky) != image.shape:
        raise InputError(f"sky has shape {np.shape(sky)} but the image has {image.shape}")
    if sky is not None and not np.isfinite(sky).all():
        raise InputError("sky has pixels that are not finite: fill them")
    if sky is None and config.sky.keep:
        raise InputError("sky.keep keeps a given sky, but there is none: give sky, or leave sky.keep out")
    psf = initial_psf(image, run=run) if psf is None else psf
    tiles = tuple(make_tiles(image.shape, config.solve.tile, config.solve.overlap))
    rows = Sources.new([], [])
    for table, listed in ((sources, False), (bright, True)):
        if table is not None:
            rows = rows.joined(_given(table, image, listed, config.solve.bright_size//2))
    zeros = np.zeros(image.shape, np.float32)
    return PassState(image, config, psf, rows, Sources.new([], []), zeros, zeros, 0, 0, sources is not None, (), tiles,
                     image.noise, run=run)


def _given(table, image, listed, half):
    """Sources from a user's table, in the cut-out's pixels; of listed stars those whose stamps of half width `half` touch it."""
    x, y = (np.atleast_1d(np.array(table[c], dtype=np.float64))-o for c, o in zip("xy", image.origin))
    if not (np.isfinite(x) & np.isfinite(y)).all():
        raise InputError("positions of given sources must be finite: remove the rows with NaN")
    rows = Sources.new(x, y, bright=listed)
    if not listed:
        return rows
    ny, nx = image.shape
    return rows.subset((x > -half) & (x < nx+half) & (y > -half) & (y < ny+half))


def next_kind(state):
    """What the next pass does: search, prune, or close the fit.

    The search ends when it finds too few new sources to go on and explains no more of the image, a forced fit when its sky has
    settled; all passes together are as many as allowed.
    """
    c = state.config
    prunes = 0 if state.forced else min(c.prune_passes, c.max_passes-2)
    done = sum(h["kind"] == PRUNE for h in state.history)
    if state.passno >= c.max_passes-1:
        return LAST
    if done or state.passno >= c.max_passes-1-prunes:
        return PRUNE if done < prunes else LAST
    # stars in structured background are searched for by its own rules
    structure = c.nebulosity.passno+1 if c.nebulosity.method == DETECT and not state.forced else 0
    if state.passno < max(2 if state.forced else 1, c.min_passes-1-prunes, structure):
        return SEARCH
    if state.forced:
        # sky and fluxes give light to each other, part of it in each pass
        before, now = (h["sky"] for h in state.history[-2:])
        return LAST if abs(now-before) < SETTLED_SKY*state.noise else SEARCH
    area = state.image.good.sum()/1e6
    few = state.grown < max(c.stop_new*area, c.stop_fraction*len(state.sources))
    if few and not (state.grown < 0 and still_falling([h["chi2"] for h in state.history])):
        return PRUNE if prunes else LAST
    return SEARCH


def still_falling(chi2):
    """Whether the last pass lowered the mean chi2 by much: what it removed, if that was more than it added, made room."""
    return len(chi2) > 1 and chi2[-1] < (1-SETTLED_CHI2)*chi2[-2]


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
    clock, kind = _Clock(), state.kind
    state = stages.with_structure(state)
    clock("nebulosity")
    state = stages.with_sky(state, start_sky)
    clock("sky")
    state = replace(state, new=0)
    if kind == SEARCH and not state.forced:
        state = stages.with_peaks(state)
        clock("peaks")
    planes = 1 if kind == LAST or state.forced else 3
    before = len(state.sources)
    state, figures = fitted(state, planes, with_errors=kind == LAST or pruning_share(state) > 0)
    clock("fit")
    if kind != LAST and not state.forced:
        state = culled(state)
        clock("cull")
    state = stages.with_model(state)
    clock("model")
    state = replace(state, grown=len(state.sources)-before)
    if psf_is_due(state):
        state = stages.with_psf(state)
        clock("psf")
        state = stages.with_model(state)
        clock("model")
    record = dict(passno=state.passno, kind=kind, sources=len(state.sources), new=state.new, chi2=mean_chi2(state),
                  fwhm=float(state.psf.fwhm()), sky=float(np.median(state.sky[::SKY_SAMPLE, ::SKY_SAMPLE])), **figures,
                  **clock.seconds)
    told = ("passno", "sources", "new", "chi2", "fwhm")
    log.info("pass %d: %d sources, %d new, chi2 %.3f, FWHM %.2f px", *(record[k] for k in told))
    return replace(state, passno=state.passno+1, history=(*state.history, record))


def psf_is_due(state):
    """Whether this pass refits the PSF: in turn while the sources change by much, and when the search has ended."""
    c = state.config.psf
    if state.kind == LAST or not c.refit:
        return False
    if state.kind == SEARCH and state.passno % c.every:
        return False
    settled = state.passno >= c.settle_passes and state.new <= c.settle_fraction*len(state.sources)
    return not settled or (state.kind == PRUNE and all(h["kind"] == SEARCH for h in state.history))


def pruning_share(state):
    """How much of the bounds on significance a source must reach to outlive this pass; 0 where nothing is pruned."""
    c = state.config.cull
    if state.forced or state.kind == LAST or c.prune <= 0 or (state.kind == SEARCH and state.passno < c.prune_from):
        return 0.
    return 1. if state.kind == PRUNE else c.search_share


def culled(state):
    """The state without the sources that are too faint, too close, or not needed by the model, which is not rendered anew."""
    c = state.config.cull
    sources, share = state.sources, pruning_share(state)
    keep = np.ones(len(sources), bool)
    if share > 0:
        error = removal_error(state.covariance)
        significance = sources.flux/error
        if state.kind == PRUNE:
            state = stages.with_model(state)
            confusion, _ = stages.confused(state, marginal_error(state.covariance))
            doubtful = significance < share*c.prune*MOST_DOUBT
            significance = significance/widened(state, error, confusion, doubtful)
        competing = PRUNE_REACH*float(state.psf.fwhm())
        # what was found in this pass has not settled yet, nor has what stands next to it
        new = sources.passno == state.passno
        significance[neighbours(sources.x, sources.y, sources.x[new], sources.y[new], competing)[1]] = np.inf
        keep = needed(sources, significance, share*c.prune, competing)
    merging = state.kind == PRUNE and share > 0 and c.merge > 0
    if merging:
        # of sources that are hardly told apart from their neighbours a fit without them tells more
        retried = ~keep & entangled(state)
        keep |= retried
    keep[keep] = worthy(sources.subset(keep), c, state.image.shape)
    if not merging:
        return replace(state, sources=sources.subset(keep), covariance=None)
    left = replace(stages.without(state, ~keep), covariance=state.covariance[keep])
    return replace(merged(left, significance[keep], competing, retried[keep]), covariance=None)


def widened(state, error, confusion, which):
    """How much more noise than single stars those sources have that are wider, or less, shape (n,).

    Unresolved light widens a source: what is faint and wide is more often several stars that cannot be told apart than one.

    Parameters
    ----------
    state : PassState
        With covariances.
    error, confusion : ndarray, shape (n,)
        Flux errors that the noise of width adds to, and the noise of confusion of single stars.
    which : ndarray of bool, shape (n,)
        The sources to look at; 1 for the others.
    """
    # of a flux that is not known at all, nothing more can be said
    which = np.flatnonzero(which & np.isfinite(error))
    error, confusion = error[which], confusion[which]
    factor = np.ones(len(state.sources))
    # neighbours that may give way make a width as uncertain as they make a flux
    blending = marginal_error(state.covariance)[which]/state.sources.error[which]
    wide = confusion*widening(DOUBT*extent_significance(measured(state, which))/blending)
    factor[which] = np.minimum(np.hypot(error, wide)/np.hypot(error, confusion*widening(DOUBT*USUAL_EXTENT)), MOST_DOUBT)
    return factor


class _Clock:
    """CPU seconds of this process, by stage."""

    def __init__(self):
        self.seconds, self.last = {}, time.process_time()

    def __call__(self, stage):
        now = time.process_time()
        self.seconds[f"cpu_{stage}"] = self.seconds.get(f"cpu_{stage}", 0.)+now-self.last
        self.last = now


def finish(state):
    """The result: the catalog with all measurements, and the images. Parameters as `single_pass`."""
    start = time.process_time()
    catalog = image_catalog(state)
    history = [dict(h) for h in state.history]
    history[-1]["cpu_measure"] = time.process_time()-start
    return FitResult(catalog, state.model, state.sky, state.psf, history, state.config, state.image, state.probabilities)
