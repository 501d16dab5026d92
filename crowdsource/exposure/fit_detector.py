"""The fit of one detector, from its file to its finished catalog beside the run's output."""
from pathlib import Path

from ..core.clock import StageClock
from ..engine.loop import fit
from ..report.pass_plots import PassPlots
from ..report.pictures import plot_fit
from .finished import INFO, MODEL, RESIDUAL
from .fit_inputs import read_fit_inputs
from .given_catalogs import identifiers
from .model_files import info_hdus, model_hdus, plane_header, probability_hdus
from .pages import write_detector_page
from .results import add_columns, detector_header, result_hdus, run_header
from .tasks import TaskOutcome, path_of_detector


def fit_detector(context, task, progress=None):
    """Read and fit one detector, and write it among the run's finished detectors.

    Parameters
    ----------
    context : crowdsource.exposure.tasks.RunContext
    task : crowdsource.exposure.instrument.DetectorTask
    progress : callable, optional
        As `crowdsource.engine.loop.fit`.

    Returns
    -------
    crowdsource.exposure.tasks.TaskOutcome
    """
    clock, settings = StageClock(), context.settings
    inputs = read_fit_inputs(context, task)
    image = inputs.image
    clock.stop("reading")
    result = fit(image, inputs.psf, inputs.config, sources=inputs.forced, bright=inputs.bright, sky=inputs.sky,
                 threads=settings.threads, progress=progress, observer=_observer(settings, task))
    given = identifiers(inputs.forced, result.catalog)
    add_columns(result.catalog, {**context.instrument.extra_columns(image, result), **given})
    clock.stop("fit, all stages and the rest")
    if settings.outputs.plot is not None:
        plot_fit(image, result, path_of_detector(settings.outputs.plot, task.detector))
    header = write_finished(context, task, image, result)
    if settings.outputs.report is not None:
        page = path_of_detector(settings.outputs.report, task.detector)
        write_detector_page(result, header, page, task.detector, settings.replaces)
    clock.stop("writing parts")
    return TaskOutcome(task, header, {**_stages(result.history), **clock.seconds})


def write_finished(context, task, image, result):
    """Write the result of a detector; returns the primary header of its catalog. Parameters as `fit_detector`."""
    header = run_header(result, context.provenance, task.detector)
    header["NOISEEST"] = (image.ivar_estimated, "ivar was estimated from the image")
    kinds = context.finished.kinds
    planes = context.instrument.model_planes(image, result) if kinds else {}
    hdus = {}
    if MODEL in kinds:
        hdus[MODEL] = _model_hdus(context.settings.outputs, task, image, result, planes)
    if INFO in kinds:
        hdus[INFO] = info_hdus(result, planes["MSK"], plane_header(image), task.detector)
    if RESIDUAL in kinds:
        left = {"RES": image.data-result.model-result.sky}
        hdus[RESIDUAL] = model_hdus(left, image.noise, plane_header(image), task.detector)
    rows = result_hdus(result, header, task.detector, detector_header(image, result))
    context.finished.write(task.detector, header, rows, hdus)
    return header


def _model_hdus(outputs, task, image, result, planes):
    """What the model file holds of a detector."""
    wanted = {n: plane for n, plane in planes.items() if n != "MOD" or outputs.model_image}
    hdus = model_hdus(wanted, image.noise, plane_header(image), task.detector)
    if result.config.nebulosity.mode != "hard" and result.probabilities is not None:
        hdus += probability_hdus(result.probabilities, image, task.detector)
    return hdus


def _stages(history):
    """CPU seconds by stage over all passes."""
    seconds = {}
    for name, value in ((n[4:], v) for record in history for n, v in record.items() if n.startswith("cpu_")):
        seconds[name] = seconds.get(name, 0.)+value
    return seconds


def _observer(settings, task):
    if settings.outputs.debug_plots is None:
        return None
    return PassPlots(Path(settings.outputs.debug_plots)/task.detector, settings.replaces)
