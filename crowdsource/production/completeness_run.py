"""Completeness by jobs: the fit of what is given itself, then runs of artificial stars and of new noise by any executor.

Each leaves its table in a folder, with a record; what is there is not done again, also when more runs are asked for.
"""
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.errors import CrowdsourceError, OutputError
from ..io.locks import take_lock
from ..validate.completeness.plan import StarOptions
from .completeness_jobs import key_of, read_run, runs_of_job
from .executors import records_of
from .records import DONE, ENDING, FAILED, FIRST_FIT, NOISE_RUN, STAR_RUN, content_key

PROGRESS = "runs"


@dataclass(frozen=True, eq=False, kw_only=True)
class CompletenessRun:
    """What is to be done of one detector, or of one field.

    Attributes
    ----------
    job : dict
        What all jobs are given, as JSON has it: ``sums``, path and SHA-256 of the files that are read, and of a detector
        ``instrument``, ``image``, ``options``, ``detector`` and ``settings`` (of the fit: ``catalogs``, ``earlier``, ``config``,
        ``threads``), of a field ``files`` (of each image what `crowdsource.joint.inputs.ImageFile` has), ``config``, ``joint``,
        ``objects`` and ``threads``.
    options : crowdsource.validate.completeness.plan.StarOptions
    purity : int
        Images of new noise.
    folder : path-like
        Of what the jobs write; made when it is not there.
    """

    job: dict
    options: StarOptions = field(default_factory=StarOptions)
    purity: int = 1
    folder: Path = None

    def __call__(self, workers, progress=None):
        """Do all that is left.

        Parameters
        ----------
        workers : crowdsource.production.executors.Workers
        progress : callable, optional
            Called with ("runs", done, total, {}).

        Returns
        -------
        completeness : dict of str to crowdsource.validate.completeness.measured.Completeness
            By band; without a name that of a single image.
        config : list of str
            The configuration of the fits.

        Raises
        ------
        CrowdsourceError
            When what is given cannot be fitted, a run has failed (all others are done then), or the folder cannot be written.
        """
        folder = Path(self.folder).absolute()
        try:
            folder.mkdir(exist_ok=True)
            lock = take_lock(folder/"lock")
        except OSError as problem:
            raise OutputError(f"{folder}: cannot be written ({problem.strerror or problem}); free space or choose another place "
                              "(`out`)") from problem
        if lock is None:
            raise OutputError(f"{folder}: another process works there; wait for its end, or choose another name (`out`)")
        try:
            return self._measured(folder, workers, progress or (lambda *_: None))
        finally:
            lock.free()

    def _measured(self, folder, workers, progress):
        job = {**self.job, "folder": str(folder)}
        job["first"] = first = key_of(job)
        self._done(workers, [self._job(job, FIRST_FIT, "fit", first)], lambda *_: None)
        runs, config = runs_of_job(job)
        plan = runs.plan(self.options)
        stars = dict(job, plan=asdict(plan))
        # as JSON has them: tuples are lists in a worker's process
        stars, seed = json.loads(json.dumps(stars)), self.options.seed
        of_stars, of_noise = content_key([first, stars["plan"]]), content_key([first, seed])
        jobs = [self._job(dict(stars, run=k), STAR_RUN, f"run-{k:04d}", of_stars) for k in range(self.options.runs)]
        jobs += [self._job(dict(job, run=k, seed=seed), NOISE_RUN, f"noise-{k:04d}", of_noise) for k in range(self.purity)]
        self._done(workers, jobs, progress)
        tables = [read_run(job["table"]) for job in jobs]
        return runs.measured(tables[:self.options.runs], plan, self.options, tables[self.options.runs:]), config

    def _job(self, common, kind, name, key):
        """A job that writes a table, or for the first fit a catalog, under a name."""
        folder = Path(common["folder"])
        return dict(common, kind=kind, task=name, key=key, table=str(folder/f"{name}.fits"), record=str(folder/(name+ENDING)),
                    log=str(folder/f"{name}.log"))

    def _done(self, workers, jobs, progress):
        """Let workers do those jobs that were not done before.

        Raises
        ------
        CrowdsourceError
            When one has failed.
        """
        for records in records_of(workers, jobs):
            progress(PROGRESS, sum(r is not None and r["state"] == DONE for r in records.values()), len(jobs), {})
        failed = {task: record["error"] for task, record in records.items() if record["state"] == FAILED}
        if failed:
            name, why = next(iter(failed.items()))
            others = f" ({len(failed)-1} others failed, too)" if len(failed) > 1 else ""
            what = self.job.get("image") or f"{len(self.job['files'])} images"
            raise CrowdsourceError(f"{what}: {name}: {why}{others}")
