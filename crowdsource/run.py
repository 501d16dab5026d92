"""Runs: an exposure's detectors as independent tasks; one that fails does not cost the others.

Tasks are fitted here or by any `concurrent.futures.Executor`, the costly ones first; what they give is gathered in the
exposure's order and written at the end, so that a run leaves either whole files or none.
"""
import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .config import from_mapping, preset_config
from .errors import CrowdsourceError, DataFileError, InputError, OutputError, need
from .io.atomic import check_folder, check_output
from .io.results import Provenance, plane_header, prefix, run_header, write_model, write_results
from .io.tables import check_ending, positions, read_table

log = logging.getLogger(__name__)
IDENTIFIERS = ("id", "name", "row", "index")
"""A user's columns of whole numbers or text whose names end so go along into a forced catalog."""
OUTSIDE = 2.
"""Forced positions farther off the image than this, in pixels, are left out."""


@dataclass(frozen=True)
class Settings:
    """What a run is to do.

    Attributes
    ----------
    out : path-like
        The catalog.
    model_out, plot : path-like or None
        Model file and picture.
    debug_plots : path-like or None
        Folder for pictures of each pass.
    overwrite : bool
        Replace files that exist.
    threads : int
    config : mapping
        Nested values that go on top of the instrument's configuration; ``preset`` names another base.
    force : str or None
        Catalog of positions that makes it a forced fit.
    bright : str or None
        Catalog of bright stars.
    """
    out: object
    model_out: object = None
    plot: object = None
    debug_plots: object = None
    overwrite: bool = False
    threads: int = 1
    config: dict = field(default_factory=dict)
    force: str = None
    bright: str = None

    def check_outputs(self, inputs):
        """Raise an error when an output could not be written, would replace an input or needs a missing package.

        Called before any work is done; `inputs` are the files of the exposure.
        """
        check_ending(self.out)
        if str(self.out).lower().endswith(".parquet"):
            need("pyarrow.parquet", "parquet", "a Parquet catalog")
        if self.plot is not None or self.debug_plots is not None:
            need("matplotlib.figure", "plot", "a picture")
        for path in (self.out, self.model_out, self.plot):
            if path is not None:
                check_output(path, self.overwrite)
        named = [Path(p).absolute() for p in (self.out, self.model_out, self.plot) if p is not None]
        if len(set(named)) < len(named):
            raise OutputError(f"{named[0]}: two outputs have the same name; give each its own")
        if self.debug_plots is not None:
            check_folder(self.debug_plots, self.overwrite)
        read = {Path(p).resolve() for p in (*inputs, self.force, self.bright) if p is not None}
        for path in named:
            if path.resolve() in read:
                raise OutputError(f"{path.name}: is read by this run; give the output another name")


@dataclass(frozen=True)
class Fitted:
    """A task's outcome.

    Attributes
    ----------
    task : crowdsource.instrument.Task
    image : crowdsource.image.Image or None
    result : crowdsource.fit.FitResult or None
        With the instrument's own columns in its catalog.
    cpu : dict
        CPU seconds of reading and fitting.
    error : Exception or None
        Why there is no result.
    """
    task: object
    image: object = None
    result: object = None
    cpu: dict = field(default_factory=dict)
    error: Exception = None


def run(instrument, exposure, settings, executor=None, progress=None):
    """Fit every detector of an exposure and write the results.

    Parameters
    ----------
    instrument : crowdsource.instrument.Instrument
    exposure : crowdsource.instrument.Exposure
    settings : Settings
    executor : concurrent.futures.Executor, optional
        Runs the tasks; here and now, one after the other, when not given.
    progress : callable, optional
        As `crowdsource.fit.fit`; only without an executor.

    Returns
    -------
    list of Fitted
        In the exposure's order.

    Raises
    ------
    CrowdsourceError
        When an output cannot be written, or the only task fails.
    """
    settings.check_outputs(exposure.inputs)
    tasks = exposure.tasks()
    costly = sorted(tasks, key=lambda t: -t.cost)
    if executor is None:
        done = {t: attempt(instrument, exposure, t, settings, progress) for t in costly}
    else:
        futures = {t: executor.submit(attempt, instrument, exposure, t, settings) for t in costly}
        done = {t: future.result() for t, future in futures.items()}
    outcomes = [done[t] for t in tasks]
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    for outcome in outcomes:
        if outcome.error is not None:
            log.error("%s: %s", outcome.task.detector, outcome.error)
    fitted = [o for o in outcomes if o.error is None]
    if fitted:
        write_outputs(instrument, exposure, fitted, settings)
    return outcomes


def status(outcomes):
    """Exit status: 0 when all tasks are done, 1 when some failed, 2 when all did."""
    failed = sum(o.error is not None for o in outcomes)
    return 0 if not failed else 2 if failed == len(outcomes) else 1


def attempt(instrument, exposure, task, settings, progress=None):
    """Fit one task; the failure of one of several, of whatever kind, is kept in the outcome. Parameters as `run`."""
    try:
        return fit_task(instrument, exposure, task, settings, progress)
    except CrowdsourceError as problem:
        return Fitted(task, error=problem)
    except Exception as problem:
        if len(exposure.tasks()) == 1:
            raise
        log.exception("%s failed", task.detector)
        return Fitted(task, error=problem)


def fit_task(instrument, exposure, task, settings, progress=None):
    """Read and fit one detector. Parameters as `run`.

    Returns
    -------
    Fitted
    """
    from .fit import fit
    clock = _Clock()
    image = exposure.read(task)
    config = configuration(instrument, image, settings.config)
    forced = None if settings.force is None else given_rows(settings.force, image)
    bright = None if settings.bright is None else _bright(instrument, settings.bright, image)
    psf = instrument.psf_prior(image)
    clock("read")
    result = fit(image, psf, config, sources=forced, bright=bright, threads=settings.threads, progress=progress,
                 observer=_observer(settings, task))
    catalog = result.catalog
    for name, values in {**instrument.finish(image, result), **_identifiers(forced, catalog)}.items():
        known = catalog[name].info.description if name in catalog.colnames else None
        catalog[name] = values
        catalog[name].info.description = catalog[name].info.description or known
    clock("fit")
    return Fitted(task, image, replace(result, catalog=catalog), clock.seconds)


def write_outputs(instrument, exposure, fitted, settings):
    """Write what was fitted: one catalog and one model file of all detectors, and a picture of each.

    Parameters
    ----------
    instrument, exposure, settings
        As `run`.
    fitted : list of Fitted
        Those with a result.
    """
    extra = [Path(p) for p in (settings.force, settings.bright) if p is not None]
    inputs = dict.fromkeys([*exposure.inputs, *(p for p in extra if p.is_file())])
    provenance = Provenance(instrument.name, tuple(inputs), dict(exposure.options), exposure.identity)
    results = {f.task.detector: f.result for f in fitted}
    write_results(results, settings.out, provenance=provenance, overwrite=settings.overwrite)
    if settings.model_out is not None:
        planes, headers = {}, {}
        for f in fitted:
            for name, plane in instrument.products(f.image, f.result).items():
                planes[prefix(f.task.detector)+name] = plane
                headers[prefix(f.task.detector)+name] = plane_header(f.image)
        noise = min(f.image.noise for f in fitted)
        write_model(planes, settings.model_out, noise, settings.overwrite, primary=run_header(results, provenance),
                    headers=headers)
    if settings.plot is not None:
        from .report import plot_fit
        for f in fitted:
            plot_fit(f.image, f.result, _of_detector(settings.plot, f.task.detector))


def _of_detector(path, detector):
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
    from .io.results import config_lines
    settings.check_outputs(exposure.inputs)
    lines = []
    for task in exposure.tasks():
        image = exposure.read(task)
        config = configuration(instrument, image, settings.config)
        instrument.psf_prior(image)
        ny, nx = image.shape
        good = image.good
        lines.append(f"image {image.exposure} {image.detector}".rstrip()+f": {nx} x {ny} pixels, {100*good.mean():.2f}% good, "
                     f"typical noise {image.noise:.4g}"+" (estimated)"*image.ivar_estimated)
        lines.append(f"gain {image.gain:g}, saturation {image.saturation:g}, zero point {image.zeropoint:g}, "
                     f"{'a' if image.wcs is not None else 'no'} WCS")
        if settings.force is not None:
            lines.append(f"forced at {len(given_rows(settings.force, image))} positions of {settings.force}")
        if settings.bright is not None:
            lines.append(f"{len(_bright(instrument, settings.bright, image))} bright stars of {settings.bright}")
        lines += config_lines(config)
    wanted = [p for p in (settings.out, settings.model_out, settings.plot, settings.debug_plots) if p is not None]
    return [*lines, *(f"would write {p}" for p in wanted)]


def given_rows(path, image):
    """Rows of a user's catalog that lie on the image: x, y, the number of the row in the catalog, and identifiers.

    Raises
    ------
    DataFileError
        When it cannot be read, lacks the columns or has no row on the image.
    """
    table = read_table(path)
    try:
        rows = positions(table, image)
    except InputError as problem:
        raise DataFileError(path, str(problem)) from problem
    x, y = (np.asarray(rows[c])-o for c, o in zip("xy", image.origin))
    ny, nx = image.shape
    on = (x > -OUTSIDE) & (x < nx-1+OUTSIDE) & (y > -OUTSIDE) & (y < ny-1+OUTSIDE)
    if not on.any():
        raise DataFileError(path, f"none of its {len(on)} positions lies on the image; x and y count from 0")
    if not on.all():
        log.warning("%s: %d of %d positions are off the image and left out", path, (~on).sum(), len(on))
    rows["input_row"] = np.arange(len(rows))
    for name in table.colnames:
        if name.lower().endswith(IDENTIFIERS) and table[name].dtype.kind in "iuSU" and table[name].ndim == 1:
            rows[name if name.lower() not in ("x", "y", "input_row") else f"input_{name}"] = table[name]
    return rows[on]


def _identifiers(forced, catalog):
    """A user's columns for a forced catalog; those whose names are taken get a prefix."""
    if forced is None or len(forced) != len(catalog):
        return {}
    names = [n for n in forced.colnames if n not in ("x", "y")]
    return {n if n not in catalog.colnames else f"input_{n}": np.ma.filled(np.ma.asarray(forced[n])) for n in names}


def _bright(instrument, path, image):
    table = read_table(path)
    try:
        rows = instrument.bright_stars(image, table)
    except InputError as problem:
        raise DataFileError(path, str(problem)) from problem
    return rows[np.isfinite(rows["x"]) & np.isfinite(rows["y"])]


def _observer(settings, task):
    if settings.debug_plots is None:
        return None
    from .report import PassPlots
    return PassPlots(Path(settings.debug_plots)/task.detector, settings.overwrite)


class _Clock:
    """CPU seconds of this process since the last call, by name."""

    def __init__(self):
        self.seconds, self.last = {}, time.process_time()

    def __call__(self, name):
        now = time.process_time()
        self.seconds[name], self.last = now-self.last, now
