"""Jobs of a completeness: the fit of the image itself, runs of artificial stars, and fits of its model with new noise."""
import json
from functools import lru_cache, partial
from pathlib import Path

from astropy.io import fits

from ..api.reading import read_result
from ..api.result import Result
from ..core.errors import InputError
from ..engine.loop import fit as fit_image
from ..exposure.fit_inputs import read_fit_inputs
from ..exposure.instrument import load
from ..exposure.run import run_context
from ..exposure.settings import EarlierRun, OutputFiles, RunSettings, UserCatalogs
from ..io.atomic import atomic_path
from ..io.fits_tables import table_hdu
from ..io.hdus import opened
from ..validate.completeness.files import plain_table
from ..validate.completeness.local import LocalFit
from ..validate.completeness.measure import scene_of
from ..validate.completeness.plan import StarPlan
from ..validate.completeness.purity import noise_run as noise_rows
from ..validate.completeness.trial import one_run
from .records import output_facts

CATALOG, MODEL = "fit.cat.fits", "fit.model.fits"
"""Files of the image's own fit in the folder of the runs."""
ROWS = "ROWS"
"""Name of the HDU of a run's table."""


def context_of(job):
    """The `RunContext` of a job, whose inputs' checksums are known."""
    instrument = load(job["instrument"])
    exposure, s = instrument.open(job["image"], **job["options"]), job["settings"]
    catalogs, earlier = UserCatalogs(**s["catalogs"]), EarlierRun(**s["earlier"])
    settings = RunSettings(outputs=OutputFiles(catalog=Path(job["folder"])/CATALOG), catalogs=catalogs, earlier=earlier,
                           config=s["config"], threads=s["threads"], overwrite=True)
    return run_context(instrument, exposure, settings, job["sums"])


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
    """Fit the image itself, and write its catalog, PSF and model."""
    inputs, fit = inputs_of(job)
    result, folder = Result.of(fit(inputs.image)), Path(job["folder"])
    result.write(folder/CATALOG, model=folder/MODEL, overwrite=True)
    return dict(outputs=[output_facts(folder/name) for name in (CATALOG, MODEL)], figures=dict(sources=len(result.catalog)))


def star_run(job):
    """Add the artificial stars of a run, fit, and write what became of each."""
    scene, base = scene_of_job(job)
    plan = StarPlan(**{**job["plan"], **{n: tuple(job["plan"][n]) for n in ("shape", "origin", "fluxes")}})
    one = LocalFit(scene, base) if job["local"] else partial(one_run, scene)
    return _written(job, one(plan, job["run"]))


def noise_run(job):
    """Fit the model of the image with new noise, and write which rows are false."""
    scene, base = scene_of_job(job)
    return _written(job, noise_rows(scene, base.model, base.sky, job["run"], job["seed"]))


def _written(job, table):
    """The outcome of a job whose table is written."""
    path = Path(job["table"])
    with atomic_path(path, overwrite=True) as temporary:
        fits.HDUList([fits.PrimaryHDU(), table_hdu(table, ROWS)]).writeto(temporary)
    return dict(outputs=[output_facts(path)], figures=dict(rows=len(table)))


def read_run(path):
    """The table of a run."""
    with opened(path) as hdus:
        return plain_table(hdus[ROWS])


def scene_of_job(job):
    """The `Scene` of a job's image and the image's own fit, which were read before or are now."""
    names = "instrument", "image", "options", "settings", "sums", "detector", "folder", "first"
    return _read_scene(json.dumps({n: job[n] for n in names}, sort_keys=True))


@lru_cache(maxsize=1)
def _read_scene(job):
    """As `scene_of_job`; runs of one image follow each other."""
    job = json.loads(job)
    inputs, fit = inputs_of(job)
    folder = Path(job["folder"])
    base = read_result(folder/CATALOG, model=folder/MODEL, image=inputs.image)
    return scene_of(inputs.image, base, fit), base
