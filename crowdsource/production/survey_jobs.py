"""Jobs that bring catalogs into a store of detections and make releases of it."""
from ..core.errors import InputError
from ..core.memory import keep_memory
from ..survey.objects.assemble import assemble as assemble_release
from ..survey.store.ingest import ingest as ingest_catalogs
from ..survey.store.store import open_store
from .outcomes import new_outcome
from .records import FAILED, write_record


def ingest(job):
    """Bring catalogs into a store, and write a record for each that is there: a failure where all its rows are rejected."""
    keep_memory()
    report = ingest_catalogs(open_store(job["store"]), [c["catalog"] for c in job["catalogs"]])
    problems, unread, empty = [problem for _, problem in report.failed], {f for f, _ in report.failed}, report.told_of_empty()
    for c in job["catalogs"]:
        if c["catalog"] in unread:
            continue
        outcome = dict(new_outcome(job), key=c["key"])
        if c["catalog"] in empty:
            problems.append(empty[c["catalog"]])
            outcome.update(state=FAILED, reason="input", error=problems[-1])
        write_record(c["record"], outcome)
    if problems:
        raise InputError("; ".join(problems))
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
