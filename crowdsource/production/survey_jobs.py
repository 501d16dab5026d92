"""Jobs that bring catalogs into a store of detections and make releases of it."""
from ..core.errors import InputError
from ..core.memory import keep_memory
from ..survey.objects.assemble import assemble as assemble_release
from ..survey.store.ingest import ingest as ingest_catalogs
from ..survey.store.store import open_store
from .outcomes import new_outcome
from .records import write_record


def ingest(job):
    """Bring catalogs into a store, and write a record for each that is there."""
    keep_memory()
    report = ingest_catalogs(open_store(job["store"]), [c["catalog"] for c in job["catalogs"]])
    failed = {f for f, _ in report.failed}
    for c in job["catalogs"]:
        if c["catalog"] not in failed:
            write_record(c["record"], dict(new_outcome(job), key=c["key"]))
    if report.failed:
        raise InputError("; ".join(problem for _, problem in report.failed))
    return dict(figures=dict(rows=report.rows, **report.counts))


def assemble(job):
    """Make a release of all that is in a store."""
    keep_memory()
    release = assemble_release(open_store(job["store"]), job["release"])
    return dict(figures=dict(objects=sum(n for n, _ in release.record["counts"])))


def catalogs_in_store(store):
    """Names of the files of which a store has detections.

    Raises
    ------
    StoreError
        When there is no store, or it is damaged.
    """
    images = open_store(store).snapshot().images
    return frozenset(images.file[images.alive].tolist())
