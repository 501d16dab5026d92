"""What follows the fits of a run: catalogs are ingested into a store as they are finished, and a release is made at the end."""
import hashlib
import os
import re
from importlib import import_module
from pathlib import Path

from ..core.errors import ConfigError
from ..io.locks import take_lock
from .records import ASSEMBLE, FAILED, INGEST, ingest_key, read_record
from .state import Failure, ScheduledTask

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

    def claim_release(self, out):
        """Keep runs into other folders from making the release while this one goes on.

        Runs into the same folder share their work, and the release too.

        Parameters
        ----------
        out : Path
            The run's folder.

        Returns
        -------
        crowdsource.io.locks.Lock or None
            To be freed at the run's end; None where nothing is to be made, or a run into the same folder has it.

        Raises
        ------
        ConfigError
            When a run into another folder is going to make the release.
        """
        if not self.release or not self.assemble:
            return None
        folder, name = self.store/"releases", re.escape(self.release)
        folder.mkdir(exist_ok=True)
        own = folder/f".{self.release}.{hashlib.sha256(str(out).encode()).hexdigest()[:16]}.run"
        lock = take_lock(own)
        if lock is not None:
            os.write(lock.descriptor, str(out).encode())
        for path in sorted(p for p in folder.iterdir() if re.fullmatch(rf"\.{name}\.[0-9a-f]{{16}}\.run", p.name) and p != own):
            other = take_lock(path)
            if other is None:
                if lock is not None:
                    lock.free()
                raise ConfigError(f"release {self.release} is being made by a run into {_text(path)}; give another name "
                                  "(--release), or wait for its end")
            # a run that was killed has left it
            other.free()
        return lock

    def check_release(self):
        """Raise `ConfigError` when the release exists already although more is to come into the store."""
        if self.release and self._release_exists():
            raise ConfigError(f"release {self.release} exists already, and more is to come into the store; give another "
                              "name (--release)")

    def add(self, exposure):
        """Take an exposure that has its catalog, unless the store holds it already.

        Returns
        -------
        Failure or None
            Where the store holds it, but has rejected all its rows.
        """
        digest = exposure.gathered["outputs"][0][2]
        known = read_record(exposure.paths.ingested, ingest_key(self.store, digest))
        if known is None or str(exposure.paths.catalog) not in self._held:
            self.waiting.append((exposure.paths, digest))
            return None
        return Failure(known["reason"], known["error"]) if known["state"] == FAILED else None

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
            catalogs = [dict(catalog=str(paths.catalog), record=str(paths.ingested), key=ingest_key(self.store, digest))
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


def _text(path):
    """What a file says; its name where it is gone."""
    try:
        return path.read_text(encoding="utf-8") or path.name
    except OSError:
        return path.name
