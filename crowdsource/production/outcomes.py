"""Outcomes of jobs: plain data, as JSON has it. An outcome is also the record of its task.

An outcome says what went wrong, and by the kind of the failure whether the same would happen again.
"""
import errno
import os
import socket
import sys
import traceback

from ..core.errors import CrowdsourceError, DataFileError, OutputError
from ..core.version import installed_version
from ..cython_ext import kinds
from .records import DONE, FAILED, write_record

PASSING = {getattr(errno, n) for n in ("EIO", "ENOSPC", "EDQUOT", "ESTALE", "ETIMEDOUT", "EAGAIN", "EBUSY", "EINTR", "EMFILE",
                                       "ENFILE", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "EFBIG")
           if hasattr(errno, n)}
"""Errors of the system that may pass: the task is tried again after a while."""
REFUSING = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of a file system that takes nothing: no other task will fare better."""
MOST_TEXT, MOST_TRACEBACK = 2000, 8000
"""Characters of a message and of a traceback that are kept."""


class ChangedError(DataFileError):
    """A file is not what it was when the manifest was made, or changed while it was read."""


def new_outcome(job):
    """The outcome of a job that was done, without results yet."""
    return dict(kind=job["kind"], task=job["task"], key=job["key"], state=DONE, reason="", error="", traceback="", outputs=[],
                figures={}, seconds=0., version=installed_version(), python=sys.version.split()[0], host=socket.gethostname(),
                pid=os.getpid(), kernels=kinds.KIND, inputs=[[p, digest] for p, *_, digest in job.get("inputs", ())])


def write_outcome(job, outcome):
    """Write the record where the job says, and return the outcome; a record that cannot be written is a failure."""
    if job.get("record"):
        try:
            write_record(job["record"], outcome)
        except OSError as problem:
            return {**outcome, **failure(problem)}
    return outcome


def failure(problem):
    """The fields of an outcome that describe an exception."""
    text = " ".join(str(problem).split()) if isinstance(problem, CrowdsourceError) else f"{type(problem).__name__}: {problem}"
    trace = "".join(traceback.format_exception(problem))
    return dict(state=FAILED, reason=failure_reason(problem), error=text[:MOST_TEXT], traceback=trace[-MOST_TRACEBACK:],
                outputs=[])


def failure_reason(problem):
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
    # errors of files that are read are CrowdsourceErrors of their own: other system errors are of what is written
    if isinstance(problem, OutputError) or (isinstance(problem, OSError) and not isinstance(problem, CrowdsourceError)):
        return "output" if numbers & REFUSING else "place"
    return "input" if isinstance(problem, CrowdsourceError) else "internal"
