"""Jobs of a completeness: the fit of what is given, runs of artificial stars, and fits of its model with new noise."""
import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from astropy.io import fits

from ..core.version import installed_version
from ..cython_ext import kinds
from ..io.atomic import atomic_path
from ..io.fits_tables import table_hdu
from ..io.hdus import opened
from ..validate.completeness.files import plain_table
from ..validate.completeness.plan import StarPlan
from .records import content_key, output_facts

ROWS = "ROWS"
"""Name of the HDU of a run's table."""


def given_in(job):
    """The module that knows what a job is given: one image, or a field of many. A worker loads only what it needs."""
    return import_module(f".completeness_{'field' if 'files' in job else 'image'}", __package__)


def key_of(job):
    """What all that a job's folder holds depends on, as a checksum: inputs, settings, and the program that makes it."""
    return content_key([given_in(job).depends(job), installed_version(), kinds.KIND])


def first_fit(job):
    """Fit what is given itself, and write what runs need of that."""
    paths, sources = given_in(job).first_fit(job)
    return dict(outputs=[output_facts(path) for path in paths], figures=dict(sources=sources))


def star_run(job):
    """Add the artificial stars of a run, fit, and write what became of each."""
    return _written(job, runs_of_job(job)[0].star_run(StarPlan.from_lists(job["plan"]), job["run"]))


def noise_run(job):
    """Fit the model with new noise, and write which rows are false."""
    return _written(job, runs_of_job(job)[0].noise_run(job["run"], job["seed"]))


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


def runs_of_job(job):
    """What does the runs of a job, and the configuration of its fits in lines; read before or now."""
    of_run = "kind", "task", "key", "table", "record", "log", "plan", "run", "seed"
    return _read_runs(json.dumps({n: v for n, v in job.items() if n not in of_run}, sort_keys=True))


@lru_cache(maxsize=1)
def _read_runs(job):
    """As `runs_of_job`; runs of one image follow each other."""
    job = json.loads(job)
    return given_in(job).read_runs(job)
