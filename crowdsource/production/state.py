"""The state of a run: its report, its exposures, and the tasks that are left."""
from dataclasses import dataclass, field
from math import inf

from ..core.errors import ConfigError
from ..core.version import installed_version
from .records import DONE, FAILED, LASTING, OutputPaths


@dataclass(frozen=True)
class Failure:
    """Why a task failed.

    Attributes
    ----------
    reason : str
        Kind of the failure; see `crowdsource.production.outcomes.failure_reason`.
    message : str
    """

    reason: str
    message: str


@dataclass(kw_only=True)
class RunReport:
    """What a run did.

    Attributes
    ----------
    total, settled : int
        Detectors of the run's part of the manifest, and those of them that are done or failed.
    done, before : int
        Those that are done, and those of them that were done before.
    failed : dict of str to Failure
        By the task's name.
    lines : list of str
        Results of ingesting and assembling.
    stopped : str
        Why the run ended early; empty when it did not.
    """

    total: int = 0
    settled: int = 0
    done: int = 0
    before: int = 0
    failed: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    stopped: str = ""

    @property
    def left(self):
        """Detectors that are neither done nor failed, as the run was stopped."""
        return self.total-self.settled

    def add_settled(self, name, record):
        """Count a task that is done or failed."""
        self.settled += 1
        if record["state"] == DONE:
            self.done += 1
        else:
            self.failed[name] = Failure(record["reason"], record["error"])

    @property
    def status(self):
        """Exit status: 0 when all is done, 1 when some failed or are left, 2 when nothing could be done."""
        if not self.failed and not self.left and not self.stopped:
            return 0
        return 1 if self.done else 2


@dataclass
class StopRequest:
    """Asks a run to stop, for example from a signal handler: 1, start no more jobs; 2, abandon those that run."""

    level: int = 0


@dataclass(frozen=True)
class FollowUp:
    """What is done with finished catalogs.

    Attributes
    ----------
    store : str
        Folder of the store into which they are ingested.
    release : str or None
        Name of a release of all that is in the store at the end.
    assemble : bool
        Make it; not where other runs do other parts of the manifest.
    """

    store: str
    release: str = None
    assemble: bool = True


@dataclass(frozen=True, kw_only=True)
class SchedulingPolicy:
    """How many jobs run at a time, and how often a task is tried.

    Attributes
    ----------
    memory : float
        MB that the running jobs together are expected to take at most; one job always runs.
    retries : int
        How often a task is tried again after an error of the system that may pass.
    retry_failed : bool
        Try all failed tasks again.
    back_off : float
        Seconds before the first repetition; each next one waits twice as long.
    """

    memory: float = inf
    retries: int = 3
    retry_failed: bool = False
    back_off: float = 2.


@dataclass(eq=False, kw_only=True)
class ExposureState:
    """An exposure of a run.

    Attributes
    ----------
    paths : crowdsource.production.records.OutputPaths
    entries : list of crowdsource.production.manifest.ManifestEntry
        Its detectors.
    key : str
        See `crowdsource.production.records.results_key`.
    gathered : dict or None
        Summary of the record of its catalog.
    records : dict of str to dict
        Summaries of the records of detectors that are done or failed.
    """

    paths: OutputPaths
    entries: list
    key: str
    gathered: dict
    records: dict

    @property
    def name(self):
        """Name of the task of gathering it."""
        return f"{self.paths.label} gathered"

    @property
    def left(self):
        """Entries that are neither done nor failed."""
        return [e for e in self.entries if e.detector not in self.records]

    @property
    def done(self):
        """Names of the detectors that are done."""
        return [d for d, r in self.records.items() if r["state"] == DONE]

    @property
    def gathering_due(self):
        """Whether a detector is done that the catalog lacks."""
        done = self.done
        return bool(done) and (self.gathered is None or any(self.gathered["detectors"][d]["state"] != DONE for d in done))


@dataclass(eq=False, kw_only=True)
class ScheduledTask:
    """Something to be done by a worker.

    Attributes
    ----------
    kind : str
        Fit, gather, ingest or assemble; see `crowdsource.production.records`.
    name : str
    exposure : ExposureState or None
        None for an ingest or a release.
    entry : crowdsource.production.manifest.ManifestEntry or None
        The detector that is fitted.
    memory : float
        MB that it is expected to take.
    tries, waits : int
        How often it was tried, and how often it was found locked by another run.
    job : dict or None
        What the worker is given; made when it is due.
    """

    kind: str
    name: str
    exposure: ExposureState = None
    entry: object = None
    memory: float = 0.
    tries: int = 0
    waits: int = 0
    job: dict = None


def part_of_manifest(entries, number=1, of=1):
    """A part of a manifest's exposures: each `of`-th, from the `number`-th on, counted from 1.

    Raises
    ------
    ConfigError
        When there is no such part.
    """
    if not 1 <= number <= of:
        raise ConfigError(f"task {number} of {of} does not exist: give --task from 1 to --of")
    order = {}
    for e in entries:
        order.setdefault((e.label, e.exposure), len(order))
    return [e for e in entries if order[e.label, e.exposure] % of == number-1]


def may_be_retried(record):
    """Whether to try a failed task again: not one that the same input makes fail again, unless another version failed."""
    return record["state"] == FAILED and (record["reason"] not in LASTING or record["version"] != installed_version())
