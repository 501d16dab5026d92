"""What follows the fits of a run: catalogs are ingested into a store as they are finished, and a release is made at the end."""
from importlib import import_module
from pathlib import Path

from ..core.errors import ConfigError
from .records import ASSEMBLE, INGEST, read_record
from .state import ScheduledTask

MEMORY = 1000.
"""MB that ingesting and assembling are expected to take."""
TOGETHER = 16
"""Catalogs that are ingested at a time while fits go on."""
SURVEY_JOBS = "crowdsource.production.survey_jobs"
"""The module that opens stores, imported by name when there is a store: a run without one does not load it."""


class StoreFollowUp:
    """The catalogs of a run on their way into a store.

    Parameters
    ----------
    wanted : crowdsource.production.state.FollowUp

    Raises
    ------
    StoreError
        When there is no store, or it is damaged.
    """

    def __init__(self, wanted):
        self.store, self.release, self.assemble = Path(wanted.store).absolute(), wanted.release, wanted.assemble
        self._held = import_module(SURVEY_JOBS).catalogs_in_store(wanted.store)
        self.waiting = []
        # whether this run has ingested something, and whether its release is made, or cannot be
        self._ingested, self._settled = False, False

    def check_release(self):
        """Raise `ConfigError` when the release exists already although more is to come into the store."""
        if self.release and self._release_exists():
            raise ConfigError(f"release {self.release} exists already, and more is to come into the store; give another "
                              "name (--release)")

    def add(self, exposure):
        """Take an exposure that has its catalog, unless the store holds it already."""
        digest = exposure.gathered["outputs"][0][2]
        known = read_record(exposure.paths.ingested, self._key(digest)) is not None
        if not known or str(exposure.paths.catalog) not in self._held:
            self.waiting.append((exposure.paths, digest))

    def _key(self, digest):
        return f"{self.store} {digest}"

    def release_due(self):
        """Whether a release is to be made of what was ingested."""
        if not self.release or not self.assemble or self._settled:
            return False
        return self._ingested or not self._release_exists()

    def _release_exists(self):
        return (self.store/"releases"/self.release).exists()

    def next_task(self, fits_left):
        """The next ingest, or the release, when it is time for one; None otherwise.

        Parameters
        ----------
        fits_left : bool
            Whether other tasks are still to be done.
        """
        if self.waiting and (len(self.waiting) >= TOGETHER or not fits_left):
            some, self.waiting = self.waiting[:TOGETHER], self.waiting[TOGETHER:]
            catalogs = [dict(catalog=str(paths.catalog), record=str(paths.ingested), key=self._key(digest))
                        for paths, digest in some]
            return self._task(INGEST, "catalogs into the store", dict(task="ingest", catalogs=catalogs))
        if not fits_left and self.release_due():
            return self._task(ASSEMBLE, "the release", dict(task="assemble", release=self.release))
        return None

    def _task(self, kind, name, job):
        return ScheduledTask(kind=kind, name=name, memory=MEMORY, job=dict(job, kind=kind, key="", store=str(self.store)))

    def task_done(self, task):
        """Note that an ingest or the release is done."""
        self._ingested, self._settled = True, task.kind == ASSEMBLE

    def task_failed(self, task):
        """Note that an ingest or the release has failed."""
        self._settled |= task.kind == ASSEMBLE
