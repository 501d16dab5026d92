"""A joint fit: each image alone for a few passes, registration, then passes that all images share."""
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from ..config import FitConfig, checked
from ..core.clock import StageClock
from ..core.errors import CrowdsourceError, InputError
from ..core.memory import return_memory
from ..core.neighbours import neighbours
from ..engine.design import Workspace
from ..engine.loop import initialize, refitted, single_pass
from ..engine.measure import mean_chi2
from ..engine.savings import told
from ..engine.sources import Sources
from ..engine.state import LAST, PRUNE, SEARCH
from ..exposure.instrument import detection_ids
from .config import JointConfig, checked_joint
from .detection import find_stars
from .fit import fitted, pruned
from .frame import Frame
from .grid import Grid
from .known import known_stars
from .last import last_pass
from .motion import years_of
from .parallax import facing
from .register import Registration, StarList, register
from .results import joint_result
from .savings import within_budget
from .shelf import shelf_for
from .state import FLOOR, Epoch, JointState
from .transients import with_transients

log = logging.getLogger(__name__)
CERTAIN = 10.
"""Stars of an image alone that are this significant, and not in the list yet, start in it."""
MOST_TRIED = 4
"""So many images are tried as the reference, where it is of another field than most."""
APART = 1.
"""Such a star is farther from all others than this, FWHM of its image."""


class NoImageError(InputError):
    """No image shows what could be fitted."""


def check_some(images, what, refused):
    """Raise an error where no image is left.

    Parameters
    ----------
    images : collection
        Those that are left.
    what : str
        What the others cannot be, as ``fitted``.
    refused : mapping of str to str
        The others, and why.
    """
    if not images:
        raise NoImageError(f"no image can be {what}: "+"; ".join(f"{n}: {why}" for n, why in refused.items()))


def fit_joint(images, *, names=None, psfs=None, config=None, joint=None, objects=None, threads=1, progress=None):
    """Fit all stars of many images of one field at once: one position each, one flux on each image.

    Images need not be aligned: where two have world coordinates these tell how they lie to each other, else the pattern of their
    bright stars does; what many stars say refines it. The best image is the reference. Images that cannot be read, fitted or
    registered are left out and named.

    Parameters
    ----------
    images : sequence of crowdsource.core.image.Image or callable
        Their `band` and `mjd` say what they are of; the order does not matter. What is called without arguments gives an image
        when it is wanted, so that not all are in memory at once.
    names : sequence of str, optional
        Different ones; ``image-001`` and so on where not given.
    psfs : sequence of crowdsource.psf.base.PSF or None, optional
        To start from; found from the images where not given. What is called with an image gives one for that.
    config : crowdsource.config.FitConfig or callable, optional
        Of all images, or what is called with an image and gives one for that.
    joint : JointConfig, optional
    objects : astropy.table.Table, optional
        ``objects`` of an earlier joint fit: its stars stay, at their positions and with their ``object_id``, its frame is the
        reference, and only what is new is looked for.
    threads : int
        Images are worked on in so many threads; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(stage, passno, total, info)``.

    Returns
    -------
    crowdsource.joint.results.JointResult

    Raises
    ------
    InputError
        When there are no images, names are not different, or no image can be fitted.
    ConfigError
        When a value is out of range.
    """
    images, joint = list(images), checked_joint(joint or JointConfig())
    names = [f"image-{k:03d}" for k in range(1, len(images)+1)] if names is None else [str(n) for n in names]
    psfs = [None]*len(images) if psfs is None else list(psfs)
    if not images:
        raise InputError("there are no images: give one at least")
    if not len(images) == len(names) == len(psfs):
        raise InputError(f"{len(images)} images, {len(names)} names and {len(psfs)} PSFs: give as many of each")
    if len(set(names)) < len(names):
        raise InputError("names of images must be different")
    sources = [ImageSource(*values, config or FitConfig()) for values in zip(names, images, psfs)]
    return fit_sources(sources, joint, threads, progress, None if objects is None else known_stars(objects))


def fit_sources(sources, joint, threads=1, progress=None, known=None, placement=None):
    """`fit_joint` of sources, each with a configuration of its own.

    Parameters
    ----------
    sources : sequence of ImageSource
        One at least, with different names.
    joint, threads, progress
        As `fit_joint`.
    known : crowdsource.joint.known.KnownStars, optional
        Stars of an earlier fit.
    placement : crowdsource.joint.reference.Placement, optional
        How the images lie, where that is known.
    """
    report = progress or (lambda *_: None)
    if joint.memory is not None:
        return_memory()
    with ThreadPoolExecutor(threads) as pool:
        run = map if threads == 1 else pool.map
        report("images", 0, joint.max_passes, dict(images=len(sources)))
        # sums over images are taken in this order, whatever the order in which they are given
        state, refused = joint_state(sorted(sources, key=lambda s: s.name), joint, run, known, placement)
        state, fits = last_pass(with_transients(settled(state, report)))
        return joint_result(state, fits, refused, [s.name for s in sources])


def settled(state, report):
    """The state after all passes but the last: its list is settled, but for transients.

    Parameters
    ----------
    state : JointState
    report : callable
        As `progress` of `fit_joint`.
    """
    while True:
        kind, shared_passes = next_kind(state), state.passno-state.joint.first_passes
        report("pass", shared_passes, state.joint.max_passes, dict(sources=len(state.stars), new=state.new))
        if kind == LAST:
            return state
        state = joint_pass(replace(state, kind=kind))


@dataclass(frozen=True, eq=False)
class ImageSource:
    """What an image is made from.

    Attributes
    ----------
    name : str
    image : crowdsource.core.image.Image or callable
    psf : crowdsource.psf.base.PSF, callable or None
    config : crowdsource.config.FitConfig or callable
    columns : callable
        Called as ``columns(image, result)``; gives further columns of the image's catalog.
    """

    name: str
    image: object
    psf: object
    config: object
    columns: object = detection_ids

    def read(self):
        """The image."""
        image = self.image() if callable(self.image) else self.image
        return image if image.exposure else replace(image, exposure=self.name)

    def fitted_alone(self, passes):
        """The state of the image alone after some passes of a search.

        Raises
        ------
        CrowdsourceError
            When it cannot be read, shows no stars, or takes more work than images of stars do.
        """
        image = self.read()
        config = self.config(image) if callable(self.config) else self.config
        state = initialize(image, self.psf(image) if callable(self.psf) else self.psf, checked(config), None, None, None)
        for _ in range(passes):
            state = single_pass(replace(state, kind=SEARCH))
            if cut := told(state):
                raise InputError(cut)
        if not len(state.sources):
            raise InputError("it shows no stars")
        return state


def joint_state(sources, joint, run=map, known=None, placement=None):
    """The state before the first shared pass: images fitted alone and registered, and the list that they start from.

    Parameters
    ----------
    sources : sequence of ImageSource
    joint : JointConfig
    run : callable
    known : crowdsource.joint.known.KnownStars, optional
        Stars whose frame is the reference.
    placement : crowdsource.joint.reference.Placement, optional
        Where images need no registration.

    Returns
    -------
    state : JointState
    refused : dict of str to str
        Images that are left out, and why.
    """
    shelf, workspace, lock = [], Workspace(), Lock()

    def alone(pair):
        number, source = pair
        try:
            state = source.fitted_alone(joint.first_passes)
        except CrowdsourceError as problem:
            return str(problem), None, None
        with lock:
            if not shelf:
                shelf.append(shelf_for(len(sources), state.image.shape, joint.memory))
        return None, StarList.of(state), shelf[0].put(shared(state, workspace), f"{number:05d}")

    fits = dict(zip((s.name for s in sources), run(alone, list(enumerate(sources)))))
    keys, columns = {s.name: f"{k:05d}" for k, s in enumerate(sources)}, {s.name: s.columns for s in sources}
    refused = {name: why for name, (why, *_) in fits.items() if why is not None}
    order = sorted((n for n in fits if n not in refused), key=lambda n: (depth(fits[n][1]), n))
    check_some(order, "fitted", refused)
    if placement is None:
        registered, alien = registrations(order, {n: fits[n][1] for n in order}, known and known.listed)
        refused |= alien
    else:
        registered = placement.of(order)
    epochs, bands = [], sorted({fits[n][2].image.band for n in registered})
    for name, found in registered.items():
        state = fits[name][2]
        log.info("%s: %d stars register it, %.3f px rms, scale %.4f", name, found.stars, found.rms, found.scale)
        epochs.append(Epoch(name=name, key=keys[name], columns=columns[name], state=state, frame=found.frame, scale=found.scale,
                            band=bands.index(state.image.band), rows=np.empty(0, int), registration=found))
    for name, why in refused.items():
        log.warning("%s is left out: %s", name, why)
    check_some(epochs, "registered", refused)
    epochs = dated(epochs) if joint.moving else epochs
    state = replace(first_state(epochs, bands, joint, known), run=run, shelf=shelf[0])
    if placement is not None:
        state = replace(state, unit=epochs[0].scale, reference=placement.reference)
    if joint.parallax:
        state = facing(state, whole=placement is None)
    return state.placed(), refused


def first_state(epochs, bands, joint, known):
    """The state of registered images, on which no stars are placed yet. Parameters as `joint_state`."""
    fwhm = min(float(e.state.psf.fwhm())/e.frame.scale for e in epochs)
    grid = Grid.around([e.frame for e in epochs], [e.image.shape for e in epochs], fwhm)
    stars = first_list(epochs, Sources.new([], []) if known is None else known.sources)
    n, number = len(stars), 0 if known is None else len(known.ids)
    fluxes, errors = (np.repeat(v[None], len(bands), axis=0) for v in (stars.flux, stars.error))
    ids, given = np.full(n, -1), np.zeros(n)
    if known is not None:
        ids[:number], given[:number] = known.ids, known.sources.flux
    return JointState(config=epochs[0].state.config, joint=joint, epochs=tuple(epochs), bands=tuple(bands), grid=grid,
                      stars=stars, fluxes=fluxes, errors=errors, own=np.zeros((len(epochs), n)), motion=np.zeros((n, 2)),
                      parallax=np.zeros(n), ids=ids, given=given, spread=FLOOR*np.maximum(stars.flux, 0),
                      blending=np.ones(n), passno=joint.first_passes)


def registrations(order, lists, reference=None):
    """How images lie to a reference: the one that is given, else the best of them with which half of all agree.

    Parameters
    ----------
    order : sequence of str
        Names of images, the best first.
    lists : mapping of str to StarList
    reference : StarList, optional

    Returns
    -------
    found : dict of str to Registration
        The reference first, where it is one of them.
    refused : dict of str to str
        Images that do not lie to it, and why.
    """
    best = {}, {}
    for stars in [lists[n] for n in order[:MOST_TRIED]] if reference is None else [reference]:
        found, refused = {}, {}
        for name in sorted(order, key=lambda n: lists[n] is not stars):
            try:
                found[name] = same(stars) if lists[name] is stars else register(stars, lists[name], name)
            except InputError as problem:
                refused[name] = str(problem)
        if len(found) > len(best[0]) or not best[1]:
            best = found, refused
        if 2*len(found) >= len(order):
            break
    return best


def dated(epochs):
    """Epochs with the years from their mean time.

    Raises
    ------
    InputError
        When an image has no date.
    """
    years = years_of([e.name for e in epochs], np.array([e.image.mjd for e in epochs]))
    return [replace(e, years=float(y)) for e, y in zip(epochs, years)]


def shared(state, workspace):
    """The state of an image alone as it goes into a joint fit, with the memory for stamps that all images use.

    On the list of all images the matrix of one with a wide PSF is not positive definite without all pairs of stamps that overlap.
    """
    config = replace(state.config, solve=replace(state.config.solve, min_overlap=1))
    return replace(state, config=config, forced=True, extended=(), workspace=workspace, matched=None)


def depth(stars):
    """What orders images from the best to the worst: few stars of many sigma, or a wide PSF, make a bad reference."""
    return -len(stars.x)/stars.fwhm


def same(reference):
    """The registration of the reference itself."""
    return Registration(frame=Frame.identity(), scale=1., stars=len(reference.x), rms=0.)


def first_list(epochs, stars):
    """The stars that a fit starts from: those given, of the first image, and those that others show beyond doubt elsewhere."""
    for epoch in epochs:
        s = epoch.state.sources
        reach = APART*float(epoch.state.psf.fwhm())/epoch.frame.scale
        if len(stars):
            s = s.subset(s.flux > CERTAIN*s.error)
        u, v = epoch.frame.inverse(s.x, s.y)
        more = Sources.new(u, v, s.flux/epoch.scale, s.error/epoch.scale, passno=s.passno)
        indptr, _ = neighbours(stars.x, stars.y, u, v, reach)
        stars = stars.joined(more.subset(np.diff(indptr) == 0))
    return stars


def joint_pass(state):
    """One turn of the loop that all images share, of the state's kind.

    Parameters
    ----------
    state : JointState
    """
    clock, kind = StageClock(), state.kind
    state = state.mapped(lambda e: replace(e, state=replace(e.with_sky().state, kind=kind)))
    clock.stop("sky")
    candidates = find_stars(state) if kind == SEARCH else Sources.new([], [])
    clock.stop("peaks")
    state, bands, figures = fitted(*within_budget(state, candidates))
    clock.stop("fit")
    state = pruned(state, bands)
    clock.stop("cull")
    if psf_is_due(state):
        state = state.mapped(with_new_psf)
        clock.stop("psf")
    return recorded(state, kind, figures, clock)


def recorded(state, kind, figures, clock):
    """The state after a pass, with the figures of that."""
    state = state.mapped(lambda e: replace(e, state=with_record(e.state, kind, state.new)))
    chi2 = float(np.mean([e.state.history[-1]["chi2"] for e in state.epochs]))
    record = dict(passno=state.passno, kind=kind, sources=len(state.stars), new=state.new, chi2=chi2, **figures,
                  **{f"cpu_{stage}": seconds for stage, seconds in clock.seconds.items()})
    log.info("pass %d: %d stars, %d new, chi2 %.3f", *(record[k] for k in ("passno", "sources", "new", "chi2")))
    return replace(state, passno=state.passno+1, history=(*state.history, record))


def with_record(state, kind, new):
    """An image's state after a pass."""
    record = dict(passno=state.passno, kind=kind, sources=len(state.sources), new=new, chi2=mean_chi2(state),
                  fwhm=float(state.psf.fwhm()), sky=float(np.median(state.sky)))
    return replace(state, passno=state.passno+1, history=(*state.history, record))


def with_new_psf(epoch):
    """The epoch with its PSF refitted on the stars of the common list."""
    return replace(epoch, state=refitted(epoch.state, 1, None, StageClock()))


def psf_is_due(state):
    """Whether this pass refits the PSFs: the first ones, and once when the search has ended."""
    if not state.config.psf.refit:
        return False
    shared = state.passno-state.joint.first_passes
    return shared < state.joint.psf_passes or (state.kind == PRUNE and all(h["kind"] == SEARCH for h in state.history))


def next_kind(state):
    """Kind of the next shared pass."""
    shared, most = state.passno-state.joint.first_passes, state.joint.max_passes
    if shared >= most-1 or (state.history and state.history[-1]["kind"] == PRUNE):
        return LAST
    few = shared >= state.joint.min_passes-2 and state.grown < state.config.stop_fraction*len(state.stars)
    return PRUNE if few or shared >= most-2 or any(e.state.spent.over for e in state.epochs) else SEARCH


