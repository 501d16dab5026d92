"""Jobs that fit a detector, and gather the detectors of an exposure into its catalog."""
import errno
import json
import os
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ..core.errors import DataFileError, InputError
from ..exposure.finished import INFO, MODEL, FinishedDetectors
from ..exposure.fit_detector import fit_detector
from ..exposure.instrument import Exposure, load
from ..exposure.run import run_context
from ..exposure.settings import OutputFiles, RunSettings, UserCatalogs
from ..io.bounded import read_json
from ..io.checksums import checksums
from ..io.fits import read_header
from .outcomes import ChangedError
from .records import DONE, OutputPaths, gathered_whole, output_facts, read_record

CHANGED = "changed since the manifest was made; plan again"


class VerifiedExposure(Exposure):
    """An exposure whose files must be those of the manifest, before and after each reading.

    Parameters
    ----------
    exposure : Exposure
    inputs : list of [str, int, int, str]
        Path, bytes, time of the last change and SHA-256 of each file.
    """

    def __init__(self, exposure, inputs):
        self.exposure, self.known = exposure, inputs
        self.identity, self.inputs, self.options = exposure.identity, exposure.inputs, exposure.options
        listed = {Path(p).resolve() for p, *_ in inputs}
        other = [p for p in exposure.inputs if Path(p).resolve() not in listed]
        if other:
            raise DataFileError(other[0], "is read with the exposure, but the manifest does not list it; plan again")

    def tasks(self):
        """As the exposure's."""
        return self.exposure.tasks()

    def read(self, task):
        """The Image of a task; see `Exposure.read`."""
        before = checked_file_facts(self.known)
        for (path, size, mtime, digest), now in zip(self.known, before):
            # copied files have another time
            if now != (size, mtime) and checksums([path])[0][1] != digest:
                raise ChangedError(path, CHANGED)
        try:
            return self.exposure.read(task)
        finally:
            # also when reading failed: the error may come from a file of which half was new
            for (path, *_), was, now in zip(self.known, before, file_facts(self.known)):
                if was != now:
                    raise ChangedError(path, "changed while it was read; run again when it is whole")


def file_facts(inputs):
    """(bytes, time of the last change) of each file, as they are now; `ChangedError` where one is not there."""
    out = []
    for path, *_ in inputs:
        try:
            facts = os.stat(path)
        except OSError as problem:
            raise ChangedError(path, f"cannot be read ({problem.strerror}); run again when it is there") from problem
        out.append((facts.st_size, facts.st_mtime_ns))
    return out


def checked_file_facts(inputs):
    """As `file_facts`; `ChangedError` also where one has another size than it should."""
    out = file_facts(inputs)
    for (path, size, *_), now in zip(inputs, out):
        if now[0] != size:
            raise ChangedError(path, CHANGED)
    return out


@contextmanager
def _address_space(megabytes):
    """Limit the address space of this process while the block runs; no limit for None or 0."""
    if not megabytes:
        yield
        return
    import resource
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(megabytes)*1024**2, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@lru_cache(maxsize=4)
def _opened(name, image, options, inputs):
    """Instrument and exposure. `inputs` is there for the cache: an exposure may know something of its files."""
    instrument = load(name)
    return instrument, instrument.open(image, **json.loads(options))


def _context(job):
    """The `RunContext` of a job."""
    checked_file_facts(job["inputs"])
    instrument, exposure = _opened(job["instrument"], job["image"], json.dumps(job["options"]), json.dumps(job["inputs"]))
    if exposure.identity != job["exposure"]:
        raise InputError(f"{job['image']}: is {exposure.identity}, not {job['exposure']}; plan again")
    paths, wanted = OutputPaths(job["out"], job["label"]), job["settings"]
    outputs = OutputFiles(catalog=paths.catalog, model=paths.image_file(MODEL) if wanted[MODEL] else None,
                          info=paths.image_file(INFO) if wanted[INFO] else None,
                          plot=paths.picture("") if wanted["plot"] else None,
                          report=paths.page("") if wanted.get("report") else None)
    catalogs = UserCatalogs(forced=wanted["force"], bright=wanted["bright"], galaxies=wanted["galaxies"])
    settings = RunSettings(outputs=outputs, catalogs=catalogs, config=wanted["config"], threads=wanted["threads"], overwrite=True,
                           resume=True)
    sums = tuple((p, digest) for p, *_, digest in job["inputs"])+tuple(map(tuple, wanted["reads"]))
    return run_context(instrument, VerifiedExposure(exposure, job["inputs"]), settings, sums)


def fit(job):
    """Fit one detector and write it among the finished detectors."""
    with _address_space(job["settings"]["task_memory"]):
        context = _context(job)
        task = next((t for t in context.exposure.tasks() if t.detector == job["detector"]), None)
        if task is None:
            raise InputError(f"{job['image']}: has no detector {job['detector']}; plan again")
        header = fit_detector(context, task).header
    figures = {n.lower(): header[n] for n in ("NSOURCES", "NPASS", "CHI2", "FWHM")}
    finished = context.finished
    files = [finished.catalog_file(task.detector), *(finished.image_file(task.detector, kind) for kind in finished.kinds)]
    return dict(outputs=[output_facts(p) for p in files], figures=figures)


def gather(job):
    """Gather the detectors of an exposure into its catalog."""
    paths, settings = OutputPaths(job["out"], job["label"]), job["settings"]
    kinds = [kind for kind in (MODEL, INFO) if settings[kind]]
    if any(read_record(paths.detector_record(d), job["key"]) is None for d in job["detectors"]):
        # a worker that was lost may have gathered them before its loss was noticed
        found = read_record(paths.record, job["key"])
        if found is None or not gathered_whole(found, job["detectors"], job["done"]):
            raise OSError(errno.ESTALE, "detectors that were fitted are not there", str(paths.folder))
        return read_json(paths.record)
    records = {d: read_json(paths.detector_record(d)) for d in job["detectors"]}
    done = [d for d, r in records.items() if r["state"] == DONE]
    image_files = {kind: paths.image_file(kind) for kind in kinds}
    FinishedDetectors(paths.catalog, kinds=kinds).gather(done, paths.catalog, image_files, overwrite=True)
    header = read_header(paths.catalog)
    figures = {n.lower(): header[n] for n in ("NSOURCES", "CHI2", "FWHM") if n in header}
    return dict(outputs=[output_facts(p) for p in (paths.catalog, *image_files.values())], detectors=records,
                figures=dict(figures, detectors=len(done)))
