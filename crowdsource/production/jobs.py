"""Jobs: what a worker does for one task. A job and its outcome are plain data, as JSON has it.

A job never raises: its outcome tells what went wrong, and whether the same would happen again.
"""
import errno
import json
import logging
import os
import shutil
import socket
import sys
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ..core.errors import CrowdsourceError, DataFileError, InputError, OutputError
from ..exposure.instrument import Exposure, load
from ..core.version import installed_version
from ..exposure.finished import INFO, MODEL, FinishedDetectors
from ..exposure.fit_detector import fit_detector
from ..exposure.results import Provenance
from ..exposure.run import run_context
from ..exposure.settings import OutputFiles, RunSettings, UserCatalogs
from ..io.checksums import checksums
from ..io.fits import read_header
from .logs import logged
from .records import ASSEMBLE, DONE, FAILED, FIT, GATHER, INGEST, Place, output_of, read_record, write_record

log = logging.getLogger(__name__)
PASSING = {getattr(errno, n) for n in ("EIO", "ENOSPC", "EDQUOT", "ESTALE", "ETIMEDOUT", "EAGAIN", "EBUSY", "EINTR", "EMFILE",
                                       "ENFILE", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "EFBIG")
           if hasattr(errno, n)}
"""Errors of the system that may pass: the task is tried again after a while."""
REFUSING = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of a file system that takes nothing: no other task will fare better."""
CHANGED = "changed since the manifest was made; plan again"


class ChangedError(DataFileError):
    """A file is not what it was when the manifest was made, or changed while it was read."""


class Watched(Exposure):
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
        before = checked_facts(self.known)
        for (path, size, mtime, digest), now in zip(self.known, before):
            # copied files have another time
            if now != (size, mtime) and checksums([path])[0][1] != digest:
                raise ChangedError(path, CHANGED)
        try:
            return self.exposure.read(task)
        finally:
            # whatever was wrong with what was read: it was not one file
            for (path, *_), was, now in zip(self.known, before, facts_of(self.known)):
                if was != now:
                    raise ChangedError(path, "changed while it was read; run again when it is whole")


def facts_of(inputs):
    """Size and time of the last change of files, as they are now; `ChangedError` where one is not there."""
    out = []
    for path, *_ in inputs:
        try:
            facts = os.stat(path)
        except OSError as problem:
            raise ChangedError(path, f"cannot be read ({problem.strerror}); run again when it is there") from problem
        out.append((facts.st_size, facts.st_mtime_ns))
    return out


def checked_facts(inputs):
    """As `facts_of`; `ChangedError` too where one has another size than it should."""
    out = facts_of(inputs)
    for (path, size, *_), now in zip(inputs, out):
        if now[0] != size:
            raise ChangedError(path, CHANGED)
    return out


def perform(job, own=False):
    """Do a job.

    Parameters
    ----------
    job : dict
        ``kind``, ``task``, ``key`` and what the kind needs.
    own : bool
        In a process that does nothing else meanwhile.

    Returns
    -------
    dict
        The outcome: ``state``, ``reason`` (the kind of a failure), ``error``, ``outputs``, ``figures``, ``seconds``, ``cpu`` and
        ``memory`` (MB), and by what it was done. It is the task's record, written where the job says.
    """
    clock = time.process_time if own else time.thread_time
    start, cpu = time.monotonic(), clock()
    forget_peak()
    outcome = dict(outcome_of(job), started=datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        with logged(job.get("log"), own):
            outcome.update(KINDS[job["kind"]](job))
    except Exception as problem:
        outcome.update(failure(problem))
    outcome.update(seconds=round(time.monotonic()-start, 3), cpu=round(clock()-cpu, 3), memory=peak_memory())
    outcome = recorded(job, outcome)
    if job["kind"] == GATHER and outcome["state"] == DONE and all(r["state"] == DONE for r in outcome["detectors"].values()):
        drop_parts(Place(job["out"], job["label"]))
    return outcome


def outcome_of(job):
    """What every outcome of a job tells."""
    return dict(kind=job["kind"], task=job["task"], key=job["key"], state=DONE, reason="", error="", traceback="", outputs=[],
                figures={}, seconds=0., version=installed_version(), python=sys.version.split()[0], host=socket.gethostname(),
                pid=os.getpid(), inputs=[[p, digest] for p, *_, digest in job.get("inputs", ())])


def recorded(job, outcome):
    """The outcome, after its record was written where the job says; one that cannot be written is a failure."""
    if job.get("record"):
        try:
            write_record(job["record"], outcome)
        except OSError as problem:
            return {**outcome, **failure(problem)}
    return outcome


def failure(problem):
    """What an outcome tells of an exception."""
    told = " ".join(str(problem).split()) if isinstance(problem, CrowdsourceError) else f"{type(problem).__name__}: {problem}"
    trace = "".join(traceback.format_exception(problem))
    return dict(state=FAILED, reason=reason_of(problem), error=told[:2000], traceback=trace[-8000:], outputs=[])


def reason_of(problem):
    """The kind of a failure: memory, io, changed, output, place, input or internal."""
    chain, each = [], problem
    while each is not None and each not in chain:
        chain.append(each)
        each = each.__cause__ or each.__context__
    numbers = {e.errno for e in chain if isinstance(e, OSError)}
    if errno.ENOMEM in numbers or any(isinstance(e, MemoryError) for e in chain):
        return "memory"
    if numbers & PASSING:
        return "io"
    if isinstance(problem, ChangedError):
        return "changed"
    # files that are read have errors of their own: what is left is of what is written
    if isinstance(problem, OutputError) or (isinstance(problem, OSError) and not isinstance(problem, CrowdsourceError)):
        return "output" if numbers & REFUSING else "place"
    return "input" if isinstance(problem, CrowdsourceError) else "internal"


def forget_peak():
    """Let the peak of this process's memory begin anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak_memory():
    """Peak of this process's memory, MB; None where it is not known."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return round(int(next(l for l in lines if l.startswith("VmHWM")).split()[1])/1024, 1)
    except (OSError, StopIteration):
        return None


@contextmanager
def _limited(megabytes):
    """At most so much address space for this process meanwhile."""
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
    """Instrument and exposure; another one for other `inputs`, as the exposure may know something of them."""
    instrument = load(name)
    return instrument, instrument.open(image, **json.loads(options))


def _work(job):
    """Instrument's exposure and settings of a job, as `crowdsource.exposure.run` takes them."""
    checked_facts(job["inputs"])
    instrument, exposure = _opened(job["instrument"], job["image"], json.dumps(job["options"]), json.dumps(job["inputs"]))
    if exposure.identity != job["exposure"]:
        raise InputError(f"{job['image']}: is {exposure.identity}, not {job['exposure']}; plan again")
    place, wanted = Place(job["out"], job["label"]), job["settings"]
    planes = {kind: place.model(kind) for kind in (MODEL, INFO) if wanted[kind]}
    plot = place.picture("") if wanted["plot"] else None
    catalogs = UserCatalogs(forced=wanted["force"], bright=wanted["bright"], galaxies=wanted["galaxies"])
    settings = RunSettings(outputs=OutputFiles(catalog=place.catalog, model=planes.get(MODEL), info=planes.get(INFO), plot=plot),
                           catalogs=catalogs, config=wanted["config"], threads=wanted["threads"], overwrite=True, resume=True)
    sums = tuple((p, digest) for p, *_, digest in job["inputs"])+tuple(map(tuple, wanted["reads"]))
    provenance = Provenance(instrument=instrument.name, inputs=tuple(Path(p) for p, _ in sums), options=dict(exposure.options),
                            exposure=exposure.identity, sums=sums)
    return run_context(instrument, Watched(exposure, job["inputs"]), settings, provenance)


def fit(job):
    """Fit one detector and write its part."""
    with _limited(job["settings"]["task_memory"]):
        work = _work(job)
        task = next((t for t in work.exposure.tasks() if t.detector == job["detector"]), None)
        if task is None:
            raise InputError(f"{job['image']}: has no detector {job['detector']}; plan again")
        header = fit_detector(work, task).header
    figures = {n.lower(): header[n] for n in ("NSOURCES", "NPASS", "CHI2", "FWHM")}
    parts = work.finished
    files = [parts.catalog_file(task.detector), *(parts.image_file(task.detector, kind) for kind in parts.kinds)]
    return dict(outputs=[output_of(p) for p in files], figures=figures)


def gather(job):
    """Gather an exposure's detectors into its catalog, and drop their parts when all are there."""
    place, settings = Place(job["out"], job["label"]), job["settings"]
    kinds = [kind for kind in (MODEL, INFO) if settings[kind]]
    parts = FinishedDetectors(place.catalog, kinds=kinds)
    if any(read_record(place.detector_record(d), job["key"]) is None for d in job["detectors"]):
        # a worker that was lost may have done it before its loss was noticed
        found = read_record(place.record, job["key"])
        if found is None or not gathered_whole(found, job["detectors"], job["done"]):
            raise OSError(errno.ESTALE, "detectors that were fitted are not there", str(place.folder))
        return json.loads(place.record.read_text(encoding="utf-8"))
    records = {d: json.loads(place.detector_record(d).read_text(encoding="utf-8")) for d in job["detectors"]}
    done = [d for d, r in records.items() if r["state"] == DONE]
    planes = {kind: place.model(kind) for kind in kinds}
    parts.gather(done, place.catalog, planes, overwrite=True)
    header = read_header(place.catalog)
    figures = {n.lower(): header[n] for n in ("NSOURCES", "CHI2", "FWHM") if n in header}
    return dict(outputs=[output_of(p) for p in (place.catalog, *planes.values())], detectors=records,
                figures=dict(figures, detectors=len(done)))


def gathered_whole(record, detectors, done):
    """Whether a record is of a gathering of some detectors, of which at least some were done."""
    of = record.get("detectors", {})
    return record["state"] == DONE and set(of) == set(detectors) and all(of[d]["state"] == DONE for d in done)


def drop_parts(place):
    """Remove the parts of an exposure that is gathered whole."""
    shutil.rmtree(FinishedDetectors(place.catalog).folder, ignore_errors=True)


def ingest(job):
    """Bring catalogs into a store, and write for each that it is there."""
    from ..core.memory import keep_memory
    from ..survey.store.ingest import ingest as into
    from ..survey.store.store import open_store
    keep_memory()
    report = into(open_store(job["store"]), [c["catalog"] for c in job["catalogs"]])
    failed = {f for f, _ in report.failed}
    for c in job["catalogs"]:
        if c["catalog"] not in failed:
            write_record(c["record"], dict(outcome_of(job), key=c["key"]))
    if report.failed:
        raise InputError("; ".join(problem for _, problem in report.failed))
    return dict(figures=dict(rows=report.rows, **report.counts))


def assemble(job):
    """Make a release of all that is in a store."""
    from ..core.memory import keep_memory
    from ..survey.objects.release import assemble as make
    from ..survey.store.store import open_store
    keep_memory()
    release = make(open_store(job["store"]), job["release"])
    return dict(figures=dict(objects=sum(n for n, _ in release.record["counts"])))


KINDS = {FIT: fit, GATHER: gather, INGEST: ingest, ASSEMBLE: assemble}
"""What does a job of each kind."""
