"""Runs: the detectors of an exposure as independent tasks; one that fails does not cost the others.

Tasks are done here or by any `concurrent.futures.Executor`, the most expensive first. The result of each is written at once and
whole to the run's finished detectors; at the end the outputs are gathered from them in the exposure's order. A run that was cut
off goes on where it was.
"""
import hashlib
import json
import logging
from concurrent.futures import BrokenExecutor, as_completed
from importlib import import_module
from pathlib import Path
from threading import Thread

from ..config import FitConfig
from ..core.errors import CrowdsourceError
from ..core.logs import CURRENT_DETECTOR
from ..io.checksums import checksums
from ..io.regions import write_regions
from .finished import FinishedDetectors
from .fit_inputs import read_fit_inputs
from .results import Provenance, config_lines
from .tasks import RunContext, TaskOutcome

log = logging.getLogger(__name__)
FITTING = "crowdsource.exposure.fit_detector"
"""The module that fits a detector. It is imported by name when the first fit is due: dry runs, and processes that only hand out
work, do not need the engine that it imports."""


def run(instrument, exposure, settings, executor=None, progress=None):
    """Fit every detector of an exposure and write the results.

    Parameters
    ----------
    instrument : crowdsource.exposure.instrument.Instrument
    exposure : crowdsource.exposure.instrument.Exposure
    settings : crowdsource.exposure.settings.RunSettings
    executor : concurrent.futures.Executor, optional
        Runs the tasks; here and now, one after the other, when not given.
    progress : callable, optional
        As `crowdsource.engine.loop.fit`; with an executor the stage is "detectors" and the numbers are of finished ones.

    Returns
    -------
    list of TaskOutcome
        In the exposure's order; empty when the outputs are there already, of the same inputs and settings, or a run that is to be
        resumed was finished already.

    Raises
    ------
    CrowdsourceError
        When an output cannot be written, or the only task fails.
    """
    if settings.nothing_left():
        log.warning("%s: is finished already; `overwrite=True` fits it anew", settings.outputs.catalog)
        return []
    tasks = exposure.tasks()
    settings.check_inputs([t.detector for t in tasks])
    context = run_context(instrument, exposure, settings) if settings.may_be_there() else None
    if context is not None and context.finished.published(settings.outputs.recorded):
        log.info("%s: is there already, of the same inputs and options", settings.outputs.catalog)
        return []
    settings.check_outputs(exposure.inputs)
    if settings.threads > 1 and executor is None:
        # loading the engine takes as long as reading the pixels: both at once
        Thread(target=lambda: [import_module(name) for name in (FITTING, "astropy.table")]).start()
    context = context or run_context(instrument, exposure, settings)
    if not settings.resume:
        context.finished.remove()
    before = _finished_before(context, tasks)
    left = sorted((t for t in tasks if t not in before), key=lambda t: -t.cost)
    fresh = {t: attempt(context, t, progress) for t in left} if executor is None else _run_in(executor, context, left, progress)
    outcomes = [before.get(t) or fresh[t] for t in tasks]
    for outcome in outcomes:
        if outcome.error is not None:
            if len(outcomes) == 1:
                raise outcome.error
            log.error("%s: %s", outcome.task.detector, outcome.error)
    _gather(context, outcomes)
    return outcomes


def _finished_before(context, tasks):
    """Outcomes of the tasks that the run that is resumed has finished."""
    if not context.settings.resume:
        return {}
    headers = {t: context.finished.header(t.detector) for t in tasks}
    before = {t: TaskOutcome(t, header) for t, header in headers.items() if header is not None}
    if before:
        log.info("%d of %d detectors are finished already", len(before), len(tasks))
    return before


def _gather(context, outcomes):
    """Write the outputs from the finished detectors, which are removed when no detector has failed."""
    done = [o.task.detector for o in outcomes if o.error is None]
    if not done:
        return
    outputs = context.settings.outputs
    context.finished.gather(done, outputs.catalog, outputs.image_files, context.settings.replaces)
    if outputs.regions is not None:
        write_regions(context.finished.rows(done), outputs.regions, context.settings.replaces)
    if len(done) == len(outcomes):
        context.finished.remove()
    else:
        log.error("%s holds the %d detectors that are done; `resume=True` fits the others", outputs.catalog, len(done))


def run_context(instrument, exposure, settings, sums=None):
    """The `RunContext` of an exposure; checksums of the inputs, (path, SHA-256) of each, are computed when they are not given."""
    if sums is None:
        sums = checksums(dict.fromkeys(p for p in map(Path, (*exposure.inputs, *settings.reads)) if p.is_file()))
    sums = tuple(map(tuple, sums))
    provenance = Provenance(instrument=instrument.name, inputs=tuple(Path(path) for path, _ in sums),
                            options=dict(exposure.options), exposure=exposure.identity, sums=sums)
    choosing = {o.name for o in instrument.options if o.chooses}
    options = {n: v for n, v in exposure.options if n not in choosing}
    earlier = settings.earlier
    relevant = [instrument.name, exposure.identity, options, settings.config, settings.catalogs.files, earlier.model_file,
                earlier.catalog, settings.outputs.model_image, [digest for _, digest in provenance.sums]]
    fingerprint = hashlib.sha256(json.dumps(relevant, sort_keys=True, default=str).encode()).hexdigest()[:32]
    finished = FinishedDetectors(settings.outputs.catalog, fingerprint, settings.outputs.image_files)
    return RunContext(instrument=instrument, exposure=exposure, settings=settings, provenance=provenance, finished=finished)


def _run_in(executor, context, tasks, progress):
    """Outcomes of tasks by an executor, reported as they come."""
    futures, done = {executor.submit(attempt, context, t): t for t in tasks}, {}
    for future in as_completed(futures):
        task = futures[future]
        try:
            done[task] = future.result()
        except BrokenExecutor:
            done[task] = TaskOutcome(task, error=CrowdsourceError("a worker was killed, perhaps for want of memory; use fewer "
                                                                  "workers"))
        if progress:
            progress("detectors", len(done), len(tasks), {})
    return done


def status(outcomes):
    """Exit status: 0 when all tasks are done, 1 when some failed, 2 when all did."""
    failed = sum(o.error is not None for o in outcomes)
    return 0 if not failed else 2 if failed == len(outcomes) else 1


def attempt(context, task, progress=None):
    """Fit one detector. When there are several, an error of any kind becomes part of the outcome.

    Parameters
    ----------
    context : RunContext
    task : crowdsource.exposure.instrument.DetectorTask
    progress : callable, optional

    Returns
    -------
    TaskOutcome
    """
    token = CURRENT_DETECTOR.set(task.detector)
    try:
        return import_module(FITTING).fit_detector(context, task, progress)
    except CrowdsourceError as problem:
        return TaskOutcome(task, error=problem)
    except Exception as problem:
        if len(context.exposure.tasks()) == 1:
            raise
        log.exception("failed")
        # an exception of another's class cannot always be pickled
        return TaskOutcome(task, error=CrowdsourceError(f"{type(problem).__name__}: {problem}"))
    finally:
        CURRENT_DETECTOR.reset(token)


def describe_run(instrument, exposure, settings, whole_config=False):
    """What a run would do, after the same checks of input and outputs; nothing is fitted or written.

    Parameters
    ----------
    instrument, exposure, settings
        As `run`.
    whole_config : bool
        With all options of the fit; else with those that differ from their defaults.

    Returns
    -------
    list of str
    """
    settings.check_inputs([t.detector for t in exposure.tasks()])
    settings.check_outputs(exposure.inputs)
    context = RunContext(instrument=instrument, exposure=exposure, settings=settings, provenance=None, finished=None)
    lines = []
    for task in exposure.tasks():
        lines += _described(read_fit_inputs(context, task), settings, whole_config)
    wanted = [*settings.outputs.files, *([] if settings.outputs.debug_plots is None else [settings.outputs.debug_plots])]
    return [*lines, *(f"would write {p}" for p in wanted)]


def _described(inputs, settings, whole_config):
    """Lines about what the fit of a detector takes."""
    image, (ny, nx) = inputs.image, inputs.image.shape
    lines = [f"image {image.exposure} {image.detector}".rstrip()+f": {nx} x {ny} pixels, {100*image.good.mean():.2f}% "
             f"good, typical noise {image.noise:.4g}"+" (estimated)"*image.ivar_estimated,
             f"gain {image.gain:g}, saturation {image.saturation:g}, zero point {image.zeropoint:g}, "
             f"{'a' if image.wcs is not None else 'no'} WCS"]
    if inputs.forced is not None:
        lines.append(f"forced at {len(inputs.forced)} positions of {settings.catalogs.forced}")
    if inputs.bright is not None:
        lines.append(f"{len(inputs.bright)} bright stars of {settings.catalogs.bright}")
    earlier = ("sky", settings.earlier.model_file), ("PSF", settings.earlier.catalog)
    lines += [f"{what} of {path}" for what, path in earlier if path]
    usual = () if whole_config else set(config_lines(FitConfig()))
    return lines+[line for line in config_lines(inputs.config) if line not in usual]
