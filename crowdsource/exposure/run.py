"""Runs: an exposure's detectors as independent tasks; one that fails does not cost the others.

Tasks are fitted here or by any `concurrent.futures.Executor`, the costly ones first. What each gives lies at once and whole
in the run's parts; the outputs are gathered from them in the exposure's order at the end. A run that was cut off goes on
where it was.
"""
import hashlib
import json
import logging
import time
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from threading import Thread

from ..config import from_mapping, preset_config
from ..core.errors import CrowdsourceError
from ..core.logs import CURRENT_DETECTOR
from .earlier import earlier_psf, earlier_sky
from .given_catalogs import bright_stars, given_rows, identifiers, with_galaxies
from .parts import INFO, MODEL, Parts
from .products import info_hdus, model_hdus, plane_header, probability_hdus
from .results import Provenance, checksums, detector_header, result_hdus, run_header
from .settings import Settings

log = logging.getLogger(__name__)

ENGINE_MODULES = "crowdsource.engine.loop", "astropy.table"
"""Modules that are not loaded before a fit asks for them."""


@dataclass(frozen=True)
class Done:
    """A task's outcome.

    Attributes
    ----------
    task : crowdsource.exposure.instrument.DetectorTask
    header : astropy.io.fits.Header or None
        Of its part: ``NSOURCES``, ``NPASS``, ``CHI2``, ``FWHM`` and more.
    cpu : dict
        CPU seconds by stage; empty when it was done before.
    error : Exception or None
        Why there is no result.
    """
    task: object
    header: object = None
    cpu: dict = field(default_factory=dict)
    error: Exception = None


@dataclass(frozen=True)
class Work:
    """What every task of a run is given; goes to other processes.

    Attributes
    ----------
    instrument : crowdsource.exposure.instrument.Instrument
    exposure : crowdsource.exposure.instrument.Exposure
    settings : Settings
    provenance : crowdsource.exposure.results.Provenance
    parts : crowdsource.exposure.parts.Parts
    """
    instrument: object
    exposure: object
    settings: Settings
    provenance: Provenance
    parts: Parts


def run(instrument, exposure, settings, executor=None, progress=None):
    """Fit every detector of an exposure and write the results.

    Parameters
    ----------
    instrument : crowdsource.exposure.instrument.Instrument
    exposure : crowdsource.exposure.instrument.Exposure
    settings : Settings
    executor : concurrent.futures.Executor, optional
        Runs the tasks; here and now, one after the other, when not given.
    progress : callable, optional
        As `crowdsource.engine.loop.fit`; with an executor the stage is "detectors" and the numbers are of finished ones.

    Returns
    -------
    list of Done
        In the exposure's order; empty when a run that is to be resumed was finished already.

    Raises
    ------
    CrowdsourceError
        When an output cannot be written, or the only task fails.
    """
    if settings.finished():
        log.warning("%s: is finished already; --overwrite fits it anew", settings.out)
        return []
    tasks = exposure.tasks()
    settings.check_inputs([t.detector for t in tasks])
    settings.check_outputs(exposure.inputs)
    if settings.threads > 1 and executor is None:
        # what a fit needs takes as long to load as the pixels do to be read
        Thread(target=lambda: [import_module(name) for name in ENGINE_MODULES]).start()
    work = work_of(instrument, exposure, settings)
    if not settings.resume:
        work.parts.remove()
    before = {t: Done(t, header) for t in tasks if settings.resume and (header := work.parts.header(t.detector)) is not None}
    if before:
        log.info("%d of %d detectors are finished already", len(before), len(tasks))
    left = sorted((t for t in tasks if t not in before), key=lambda t: -t.cost)
    fresh = {t: attempt(work, t, progress) for t in left} if executor is None else _spread(work, left, executor, progress)
    outcomes = [before.get(t) or fresh[t] for t in tasks]
    for outcome in outcomes:
        if outcome.error is not None:
            if len(outcomes) == 1:
                raise outcome.error
            log.error("%s: %s", outcome.task.detector, outcome.error)
    done = [o.task.detector for o in outcomes if o.error is None]
    if done:
        work.parts.gather(done, settings.out, settings.planes, settings.replaces)
        if len(done) == len(outcomes):
            work.parts.remove()
        else:
            log.error("%s holds the %d detectors that are done; --resume fits the others", settings.out, len(done))
    return outcomes


def work_of(instrument, exposure, settings, provenance=None):
    """What the tasks of an exposure share; the inputs' checksums are taken here when the provenance is not given."""
    if provenance is None:
        read = dict.fromkeys(p for p in map(Path, (*exposure.inputs, *settings.reads)) if p.is_file())
        provenance = Provenance(instrument.name, tuple(read), dict(exposure.options), exposure.identity, tuple(checksums(read)))
    choosing = {o.name for o in instrument.options if o.chooses}
    options = {n: v for n, v in exposure.options if n not in choosing}
    told = [instrument.name, exposure.identity, options, settings.config, settings.catalogs, settings.sky_from,
            settings.psf_from, settings.model_image, [digest for _, digest in provenance.sums]]
    fingerprint = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return Work(instrument, exposure, settings, provenance, Parts(settings.out, fingerprint, settings.planes))


def _spread(work, tasks, executor, progress):
    """Outcomes of tasks by an executor, told as they come."""
    futures, done = {executor.submit(attempt, work, t): t for t in tasks}, {}
    for future in as_completed(futures):
        task = futures[future]
        try:
            done[task] = future.result()
        except BrokenExecutor:
            done[task] = Done(task, error=CrowdsourceError("a worker was killed, perhaps for want of memory; use fewer workers"))
        if progress:
            progress("detectors", len(done), len(tasks), {})
    return done


def status(outcomes):
    """Exit status: 0 when all tasks are done, 1 when some failed, 2 when all did."""
    failed = sum(o.error is not None for o in outcomes)
    return 0 if not failed else 2 if failed == len(outcomes) else 1


def attempt(work, task, progress=None):
    """Fit one task; the failure of one of several, of whatever kind, is kept in the outcome.

    Parameters
    ----------
    work : Work
    task : crowdsource.exposure.instrument.DetectorTask
    progress : callable, optional

    Returns
    -------
    Done
    """
    token = CURRENT_DETECTOR.set(task.detector)
    try:
        return fit_task(work, task, progress)
    except CrowdsourceError as problem:
        return Done(task, error=problem)
    except Exception as problem:
        if len(work.exposure.tasks()) == 1:
            raise
        log.exception("failed")
        # as it is it may not travel between processes
        return Done(task, error=CrowdsourceError(f"{type(problem).__name__}: {problem}"))
    finally:
        CURRENT_DETECTOR.reset(token)


def fit_task(work, task, progress=None):
    """Read and fit one detector, and write its part. Parameters and return as `attempt`."""
    clock, settings, instrument = _Clock(), work.settings, work.instrument
    image, config, psf, given = prepared(work, task)
    from ..engine.loop import fit
    clock("reading")
    result = fit(image, psf, config, **given, threads=settings.threads, progress=progress, observer=_observer(settings, task))
    catalog = result.catalog
    for name, values in {**instrument.extra_columns(image, result), **identifiers(given["sources"], catalog)}.items():
        known = catalog[name].info.description if name in catalog.colnames else None
        catalog[name] = values
        catalog[name].info.description = catalog[name].info.description or known
    clock("fit, all stages and the rest")
    if settings.plot is not None:
        from ..report.pictures import plot_fit
        plot_fit(image, result, of_detector(settings.plot, task.detector))
    header = write_part(work, task, image, replace(result, catalog=catalog))
    clock("writing parts")
    return Done(task, header, {**_stages(result.history), **clock.seconds})


def prepared(work, task):
    """What a fit of a task takes: the image with all that catalogs say of it, configuration, PSF, and what else is given.

    Returns
    -------
    image : crowdsource.core.image.Image
    config : crowdsource.config.FitConfig
    psf : crowdsource.psf.base.PSF or None
    given : dict
        ``sources``, ``bright`` and ``sky`` of `crowdsource.engine.loop.fit`, each may be None.
    """
    settings, instrument = work.settings, work.instrument
    image = work.exposure.read(task)
    if settings.galaxies is not None:
        image = with_galaxies(instrument, settings.galaxies, image)
    several = len(work.exposure.tasks()) > 1
    forced = None if settings.force is None else given_rows(settings.force, image, may_be_empty=several)
    bright = None if settings.bright is None else bright_stars(instrument, settings.bright, image)
    if bright is not None:
        image = instrument.flag_bright_stars(image, bright)
    config = configuration(instrument, image, settings.config)
    sky = None if settings.sky_from is None else earlier_sky(settings.sky_from, task.detector, image)
    given = dict(sources=forced, bright=bright, sky=sky)
    if settings.psf_from is None:
        return image, config, instrument.psf_prior(image), given
    return image, unrefitted(config), earlier_psf(settings.psf_from, task.detector, image), given


def unrefitted(config):
    """The configuration with the PSF kept as it is."""
    return replace(config, psf=replace(config.psf, refit=False))


def write_part(work, task, image, result):
    """Write what a task gave. Returns the header of its part."""
    header = run_header(result, work.provenance, task.detector)
    header["NOISEEST"] = (image.ivar_estimated, "ivar was estimated from the image")
    images = work.instrument.model_planes(image, result) if work.parts.kinds else {}
    planes = {kind: PLANES[kind](work, task, image, result, images) for kind in work.parts.kinds}
    work.parts.write(task.detector, header, result_hdus(result, task.detector, detector_header(image, result)), planes)
    return header


def _model_planes(work, task, image, result, images):
    """What the model file holds of a detector."""
    wanted = {n: plane for n, plane in images.items() if n != "MOD" or work.settings.model_image}
    hdus = model_hdus(wanted, image.noise, plane_header(image), task.detector)
    if result.config.nebulosity.mode != "hard" and result.probabilities is not None:
        hdus += probability_hdus(result.probabilities, image, task.detector)
    return hdus


def _info_planes(work, task, image, result, images):
    """What the info file holds of a detector."""
    return info_hdus(result, images["MSK"], plane_header(image), task.detector)


PLANES = {MODEL: _model_planes, INFO: _info_planes}
"""What makes the HDUs of a file of planes, by its kind."""


def _stages(history):
    """CPU seconds by stage over all passes."""
    seconds = {}
    for name, value in ((n[4:], v) for record in history for n, v in record.items() if n.startswith("cpu_")):
        seconds[name] = seconds.get(name, 0.)+value
    return seconds


def of_detector(path, detector):
    """A path with the detector's name before its ending."""
    path = Path(path)
    return path if not detector else path.with_name(f"{path.stem}-{detector}{path.suffix}")


def configuration(instrument, image, values):
    """The configuration of a fit: the preset, the instrument's defaults for the image, then a user's values.

    Raises
    ------
    ConfigError
        When a name is unknown or a value is out of range.
    """
    values = dict(values)
    base = instrument.fit_config(image, preset_config(values.pop("preset", "default")))
    tiling = instrument.tiling(image)
    if tiling is not None:
        base = replace(base, solve=replace(base.solve, tile=tiling[0], overlap=tiling[1]))
    return from_mapping(values, base)


def plan(instrument, exposure, settings):
    """What a run would do, after the same checks of input and outputs; nothing is fitted or written. Parameters as `run`.

    Returns
    -------
    list of str
    """
    from .results import config_lines
    settings.check_inputs([t.detector for t in exposure.tasks()])
    settings.check_outputs(exposure.inputs)
    lines, work = [], Work(instrument, exposure, settings, None, None)
    for task in exposure.tasks():
        image, config, _, given = prepared(work, task)
        ny, nx = image.shape
        lines.append(f"image {image.exposure} {image.detector}".rstrip()+f": {nx} x {ny} pixels, {100*image.good.mean():.2f}% "
                     f"good, typical noise {image.noise:.4g}"+" (estimated)"*image.ivar_estimated)
        lines.append(f"gain {image.gain:g}, saturation {image.saturation:g}, zero point {image.zeropoint:g}, "
                     f"{'a' if image.wcs is not None else 'no'} WCS")
        if given["sources"] is not None:
            lines.append(f"forced at {len(given['sources'])} positions of {settings.force}")
        if given["bright"] is not None:
            lines.append(f"{len(given['bright'])} bright stars of {settings.bright}")
        lines += [f"{what} of {path}" for what, path in (("sky", settings.sky_from), ("PSF", settings.psf_from)) if path]
        lines += config_lines(config)
    wanted = [*settings.files, *([] if settings.debug_plots is None else [settings.debug_plots])]
    return [*lines, *(f"would write {p}" for p in wanted)]


def _observer(settings, task):
    if settings.debug_plots is None:
        return None
    from ..report.pictures import PassPlots
    return PassPlots(Path(settings.debug_plots)/task.detector, settings.replaces)


class _Clock:
    """CPU seconds of this process since the last call, by name."""

    def __init__(self):
        self.seconds, self.last = {}, time.process_time()

    def __call__(self, name):
        now = time.process_time()
        self.seconds[name], self.last = now-self.last, now
