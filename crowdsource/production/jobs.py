"""Jobs: what a worker does for one task. A job and its outcome are plain data, as JSON has it.

A job never raises an exception: its outcome describes the failure.
"""
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from .logs import log_file
from .outcomes import failure, new_outcome, write_outcome
from .records import (
    ASSEMBLE,
    DONE,
    FIRST_FIT,
    FIT,
    GATHER,
    INGEST,
    LOOK,
    NOISE_RUN,
    STAR_RUN,
    TILE,
    OutputPaths,
    remove_finished,
)

MODULES = {FIT: "exposure_jobs", GATHER: "exposure_jobs", INGEST: "survey_jobs", ASSEMBLE: "survey_jobs",
           LOOK: "joint_jobs", TILE: "joint_jobs",
           FIRST_FIT: "completeness_jobs", STAR_RUN: "completeness_jobs", NOISE_RUN: "completeness_jobs"}
"""Modules with the functions that do the jobs, by kind. They are imported by name when the first job of a kind is due, so that a
worker loads only what its jobs need: the memory of all workers counts."""


def load_kind(kind):
    """The function that does a job of a kind; its module is imported now."""
    return getattr(import_module(f".{MODULES[kind]}", __package__), kind)


def perform(job, own_process=False):
    """Do a job.

    Parameters
    ----------
    job : dict
        ``kind``, ``task``, ``key`` and what the kind needs.
    own_process : bool
        The process does nothing else meanwhile.

    Returns
    -------
    dict
        The outcome: ``state``, ``reason`` (the kind of a failure), ``error``, ``outputs``, ``figures``, ``seconds``, ``cpu`` and
        ``memory`` (MB), and by what it was done. It is the record of the task, written where the job says.
    """
    clock = time.process_time if own_process else time.thread_time
    start, cpu = time.monotonic(), clock()
    reset_peak_memory()
    outcome = dict(new_outcome(job), started=datetime.now(UTC).isoformat(timespec="seconds"))
    try:
        with log_file(job.get("log"), own_process):
            outcome.update(load_kind(job["kind"])(job))
    except Exception as problem:
        outcome.update(failure(problem))
    outcome.update(seconds=round(time.monotonic()-start, 3), cpu=round(clock()-cpu, 3), memory=peak_memory())
    outcome = write_outcome(job, outcome)
    if job["kind"] == GATHER and outcome["state"] == DONE and all(r["state"] == DONE for r in outcome["detectors"].values()):
        remove_finished(OutputPaths(job["out"], job["label"]))
    return outcome


def reset_peak_memory():
    """Let the system measure the peak of this process's memory anew, where it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def peak_memory():
    """Peak of this process's memory, MB; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1])/1024, 1)
    except (OSError, StopIteration):
        return None
