"""What a run knows: its report, its exposures, the tasks that are left of them."""
from dataclasses import dataclass, field
from math import inf

from ..core.errors import ConfigError
from ..core.version import installed_version
from .records import DONE, FAILED, LASTING, Place


@dataclass
class Report:
    """What a run did.

    Attributes
    ----------
    total, settled : int
        Detectors of the run's part of the manifest, and those of them that are done or failed.
    done, before : int
        Those that are done, and those of them that were before.
    failed : dict of str to (str, str)
        Reason and message by the task's name.
    lines : list of str
        What became of ingesting and assembling.
    stopped : str
        Why it ended early; empty when it did not.
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
        """Detectors that are not settled, as the run was stopped."""
        return self.total-self.settled

    def count(self, name, record):
        """Count a task that is settled."""
        self.settled += 1
        if record["state"] == DONE:
            self.done += 1
        else:
            self.failed[name] = (record["reason"], record["error"])

    @property
    def status(self):
        """Exit status: 0 when all is done, 1 when some failed or are left, 2 when nothing could be done."""
        if not self.failed and not self.left and not self.stopped:
            return 0
        return 1 if self.done else 2


@dataclass
class Stop:
    """A wish to stop, which signals may raise: 1, give no more jobs; 2, abandon those that were given."""
    level: int = 0


@dataclass(frozen=True)
class Then:
    """What becomes of finished catalogs.

    Attributes
    ----------
    store : str
        Folder of the store that they are ingested into.
    release : str or None
        Of all that is in it at the end.
    assemble : bool
        Make it; not where others run other parts.
    """
    store: str
    release: str = None
    assemble: bool = True


@dataclass(frozen=True)
class Policy:
    """How many tasks are given, and how often.

    Attributes
    ----------
    memory : float
        MB that the jobs given at a time may be expected to take; one job is always given.
    retries : int
        So often a task is tried again after an error of the system that may pass.
    retry_failed : bool
        Try all failed tasks again.
    back_off : float
        Seconds before the first repetition; each next one waits twice as long.
    """
    memory: float = inf
    retries: int = 3
    retry_failed: bool = False
    back_off: float = 2.


@dataclass(eq=False)
class Unit:
    """An exposure of the run."""
    place: Place
    entries: list
    key: str
    gathered: dict
    records: dict

    @property
    def left(self):
        """Entries that are not settled."""
        return [e for e in self.entries if e.detector not in self.records]

    @property
    def due(self):
        """Whether there is something to gather that the catalog lacks."""
        done = {d for d, r in self.records.items() if r["state"] == DONE}
        return bool(done) and (self.gathered is None or any(self.gathered["detectors"][d]["state"] != DONE for d in done))


@dataclass(eq=False)
class Task:
    """Something to be done for a unit; of an ingest or a release there is none."""
    kind: str
    name: str
    unit: Unit = None
    entry: object = None
    memory: float = 0.
    tries: int = 0
    waited: int = 0
    job: dict = None


def chosen(entries, number=1, of=1):
    """A part of a manifest's exposures: each `of`-th, from the `number`-th on, from 1.

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


def retried(record):
    """Whether to try a failed task again: not what the same input would give again, unless another version failed."""
    return record["state"] == FAILED and (record["reason"] not in LASTING or record["version"] != installed_version())
