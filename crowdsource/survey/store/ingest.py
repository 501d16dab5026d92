"""Catalog files into a store, in batches: what is there already is left alone, what cannot be read costs only itself."""
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError, MissingExtraError, StoreError
from ...io.hdus import UNREADABLE
from ...io.hdf5 import write_rows
from ...io.positions import numbers
from ...io.tables import read_table
from .batch import NEW, REFUSED, REPLACED, UNCHANGED, Index, Outcome, write_batch
from .catalogs import Facts, read_catalogs
from .columns import Given, as_labels, plain
from .records import Commit, Listed
from .segments import trimmed
from .store import ZEROPOINTS

BATCH_ROWS = 1_000_000
ENDING = "*.cat.fits"
"""Files that are taken from a folder."""


@dataclass
class Report:
    """What an ingest did.

    Attributes
    ----------
    files : int
        That were given.
    failed : list of (str, str)
        Files with what is wrong with them.
    counts : Counter
        Sources by what became of them: "new", "replaced", "unchanged", "refused".
    rows : int
        That came into the store.
    rejects : Counter
        Rows by the reason for which they were rejected.
    """
    files: int = 0
    failed: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    rows: int = 0
    rejects: Counter = field(default_factory=Counter)

    def add(self, outcome):
        """Count an `Outcome`."""
        self.counts[outcome.status] += 1
        self.rows += outcome.rows
        self.rejects += outcome.rejects
        if outcome.status == REFUSED:
            self.failed.append((outcome.facts.file, outcome.problem))

    @property
    def status(self):
        """Exit status: 0 when all files were read, 1 when some failed, 2 when all did."""
        failed = len({f for f, _ in self.failed})
        return 0 if not failed else 2 if failed >= self.files else 1


def catalog_files(names):
    """Files from names of files and folders.

    Parameters
    ----------
    names : iterable of path-like

    Returns
    -------
    list of Path

    Raises
    ------
    DataFileError
        When a folder holds none.
    """
    out = []
    for name in map(Path, names):
        found = sorted(name.glob(ENDING)) if name.is_dir() else [name]
        if not found:
            raise DataFileError(name, f"is a folder without {ENDING}; name files in it")
        out += found
    return list(dict.fromkeys(out))


def ingest(store, files, given=None, batch_rows=BATCH_ROWS, progress=None):
    """Bring catalogs into a store.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    files : sequence of path-like
    given : Given, optional
        What the files do not say themselves.
    batch_rows : int
        Rows after which what was read is written and committed.
    progress : callable, optional
        Called with ("ingest", number, total, figures) after each file.

    Returns
    -------
    Report

    Raises
    ------
    OutputError
        When the store cannot be written.
    StoreError
        When it is damaged.
    """
    given, index, report = given or Given(), Index(), Report(len(files))
    with store.writing() as state:
        store.remove(store.orphans(state))
        index.update(state)
    pending = _Pending(store, index, report, batch_rows)
    for k, path in enumerate(files, 1):
        problem = _read(path, given, pending)
        if problem is not None:
            report.failed.append((str(path), problem))
        if progress:
            progress("ingest", k, len(files), dict(rows=report.rows))
    pending.flush()
    return report


def _read(path, given, pending):
    """Read a file's sources into the pending ones. Returns why it cannot be read on, or None.

    Errors of the store are not the file's, and are raised.
    """
    sources = read_catalogs(path, given, pending.known)
    while True:
        try:
            piece = next(sources, None)
        except (DataFileError, MissingExtraError, StoreError) as problem:
            return str(problem)
        except UNREADABLE as problem:
            told = " ".join(str(problem).split()) or type(problem).__name__
            return f"{path}: cannot be read ({told[:200]}); fetch it again"
        if piece is None:
            return None
        pending.add(piece)


class _Pending:
    """Sources that were read and are not yet written."""

    def __init__(self, store, index, report, batch_rows):
        self.store, self.index, self.report, self.batch_rows = store, index, report, batch_rows
        self.pieces, self.first, self.rows = [], {}, 0

    def known(self, facts):
        """Whether the rows of a source are not wanted: it is in the store, or this ingest had one of its identity."""
        return facts.key in self.first or self.index.has(facts)

    def add(self, piece):
        """Take a Piece, or Facts of a source that is known; write when there is enough.

        Of several sources of one identity the first counts: another would replace it, and be replaced the next time.
        """
        facts = piece if isinstance(piece, Facts) else piece.facts
        first = self.first.setdefault(facts.key, facts)
        if first.checksum != facts.checksum:
            self.report.add(Outcome(facts, REFUSED, problem=f"{facts.file}: has {facts}, of which {first.file} has other rows; "
                                    "give one of the two"))
        elif first is not facts or facts is piece:
            self.report.add(Outcome(facts, UNCHANGED))
        else:
            self._take(piece)

    def _take(self, piece):
        self.pieces.append(piece)
        self.rows += len(piece.rows)+len(piece.bad)
        if self.rows >= self.batch_rows:
            self.flush()

    def flush(self):
        """Write what is there."""
        pieces, self.pieces, self.rows = self.pieces, [], 0
        for outcome in write_batch(self.store, pieces, self.index) if pieces else ():
            self.report.add(outcome)


def ingest_zero_points(store, name):
    """Write the next version of a store's zero points: the last one's rows, and a table's in their place or beside them.

    Parameters
    ----------
    store : Store
    name : str
        A table with columns exposure, detector, zeropoint and, where an image has several, band. NaN stands for no zero point.

    Returns
    -------
    int
        The version; that of before when the table brings nothing new.

    Raises
    ------
    DataFileError
        When the table cannot be read or lacks columns.
    """
    table = read_table(name)
    names = {n.lower(): n for n in reversed(table.colnames)}
    missing = [n for n in ("exposure", "detector", "zeropoint") if n not in names]
    if missing:
        raise DataFileError(name, f"has no column {', '.join(missing)}; it has {', '.join(table.colnames)}")
    values = np.ma.filled(np.ma.asarray(numbers(table, names["zeropoint"], "mag"), dtype=float), np.nan)
    keys = [_labels(name, table, names[n]) if n in names else [b""]*len(table) for n in ("exposure", "detector", "band")]
    with store.writing() as state:
        snapshot, version = store.snapshot(), len(state.zeropoints)
        before = {tuple(r)[:3]: r["zeropoint"] for r in snapshot.zero_point_table(version)} if version else {}
        after = {**before, **dict(zip(zip(*keys), values.tolist()))}
        if version and repr(sorted(after.items())) == repr(sorted((k, float(v)) for k, v in before.items())):
            return version
        width = [f"S{max(1, *(len(k[n]) for k in after), 1)}" for n in range(3)]
        rows = np.array([(*k, v) for k, v in sorted(after.items())],
                        [*zip(("exposure", "detector", "band"), width), ("zeropoint", "f8")])
        (store.path/ZEROPOINTS).mkdir(exist_ok=True)
        path = f"{ZEROPOINTS}/{version+1:06d}.h5"
        digest = write_rows(store.path/path, {ZEROPOINTS: trimmed(rows)}, overwrite=True)
        store.commit(state, Commit(zeropoints=Listed(path, len(rows), digest)))
        return version+1


def _labels(name, table, column):
    """A column of names as bytes."""
    values = plain(name, table[column])
    if values is None:
        raise DataFileError(name, f"column {column} holds no names")
    return [v.strip().encode() for v in as_labels(values).tolist()]


STATUSES = NEW, REPLACED, UNCHANGED, REFUSED
"""What may become of a source, in the order in which it is told."""
