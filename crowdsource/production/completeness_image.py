"""One image in the jobs of a completeness: its own fit as files, and what is read back of that."""
from functools import partial
from pathlib import Path

from ..api.reading import read_result
from ..api.result import Result
from ..core.errors import InputError
from ..engine.loop import fit as fit_image
from ..exposure.fit_inputs import read_fit_inputs
from ..exposure.instrument import load
from ..exposure.results import config_lines
from ..exposure.run import run_context
from ..exposure.settings import EarlierRun, OutputFiles, RunSettings, UserCatalogs
from ..validate.completeness.runs import ImageRuns, scene_of

CATALOG, MODEL = "fit.cat.fits", "fit.model.fits"
"""Files of the image's own fit in the folder of the runs."""


def context_of(job):
    """The `RunContext` of a job, whose inputs' checksums are known."""
    instrument = load(job["instrument"])
    exposure, s = instrument.open(job["image"], **job["options"]), job["settings"]
    catalogs, earlier = UserCatalogs(**s["catalogs"]), EarlierRun(**s["earlier"])
    settings = RunSettings(outputs=OutputFiles(catalog=Path(job["folder"])/CATALOG), catalogs=catalogs, earlier=earlier,
                           config=s["config"], threads=s["threads"], overwrite=True)
    return run_context(instrument, exposure, settings, job["sums"])


def depends(job):
    """What the image's own fit depends on, but for the program."""
    return [context_of(job).finished.fingerprint, job["detector"]]


def inputs_of(job):
    """The `crowdsource.exposure.fit_inputs.FitInputs` of a job's detector, and what fits an image with them.

    Raises
    ------
    InputError
        When the exposure has no such detector.
    """
    context = context_of(job)
    task = next((t for t in context.exposure.tasks() if t.detector == job["detector"]), None)
    if task is None:
        raise InputError(f"{job['image']}: has no detector {job['detector']}")
    inputs = read_fit_inputs(context, task)
    fit = partial(fit_image, psf=inputs.psf, config=inputs.config, bright=inputs.bright, sky=inputs.sky,
                  threads=job["settings"]["threads"])
    return inputs, fit


def first_fit(job):
    """Fit the image itself, and write its catalog, PSF and model; gives the files and the number of sources."""
    inputs, fit = inputs_of(job)
    result, folder = Result.of(fit(inputs.image, sources=inputs.forced)), Path(job["folder"])
    result.write(folder/CATALOG, model=folder/MODEL, overwrite=True)
    return [folder/CATALOG, folder/MODEL], len(result.catalog)


def read_runs(job):
    """The `ImageRuns` of a job's image and the image's own fit, and the configuration of that in lines."""
    inputs, fit = inputs_of(job)
    folder = Path(job["folder"])
    base = read_result(folder/CATALOG, model=folder/MODEL, image=inputs.image)
    runs = ImageRuns(scene_of(inputs.image, base, fit, given=inputs.forced), base)
    return runs, config_lines(base.config, context_of(job).provenance)
