"""Catalog files into a store, in batches. Images that the store has are left alone; a file that cannot be read stops no other."""
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError, MissingExtraError, StoreError
from ...io.hdf5 import write_rows
from ...io.hdus import UNREADABLE
from ...io.positions import numbers
from ...io.tables import read_table
from .batch import REFUSED, UNCHANGED, IngestOutcome, write_batch
from .catalogs import read_catalogs
from .columns import IMAGE_IDENTITY, IngestOptions, label_text, plain_values
from .commits import Commit, StoredFile
from .image_catalog import ImageMetadata
from .image_index import ImageIndex
from .segments import trim_strings
from .store import ZEROPOINTS

BATCH_ROWS = 1_000_000
PATTERN = "*.cat.fits"
"""Files that are taken from a folder."""


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes
    ----------
    files : int
        Number of files that were given.
    failed : list of (str, str)
        Files, and what is wrong with them.
    counts : Counter
        Number of images by what became of them: "new", "replaced", "unchanged", "refused".
    rows : int
        Number of rows that came into the store.
    rejects : Counter
        Number of rejected rows, by reason.
    empty : dict of str to int
        Files of which the store has rejected all rows, now or before, and their numbers.
    """

    files: int = 0
    failed: list = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    rows: int = 0
    rejects: Counter = field(default_factory=Counter)
    empty: dict = field(default_factory=dict)

    def add(self, outcome):
        """Count an `IngestOutcome`."""
        self.counts[outcome.status] += 1
        self.rows += outcome.rows
        self.rejects += outcome.rejects
        if outcome.status == REFUSED:
            self.failed.append((outcome.metadata.file, outcome.problem))

    def told_of_empty(self):
        """A line for each of the `empty` files."""
        why = ", ".join(sorted(self.rejects)) or "as before"
        return {f: f"{f}: all its {n} rows are rejected by the store ({why}); mend the catalog, or make a store that takes it"
                for f, n in self.empty.items()}

    @property
    def status(self):
        """Exit status: 0 when all files came in, 1 when some failed, 2 when all did; one whose rows are all rejected failed."""
        failed = len({f for f, _ in self.failed} | set(self.empty))
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
        When a folder holds no catalog.
    """
    out = []
    for name in map(Path, names):
        found = sorted(name.glob(PATTERN)) if name.is_dir() else [name]
        if not found:
            raise DataFileError(name, f"is a folder without {PATTERN}; name files in it")
        out += found
    return list(dict.fromkeys(out))


def all_rejected(store):
    """Number of rows of each file of a store all of whose rows were rejected, by its name."""
    images = store.snapshot().images
    taken, rejected = Counter(), Counter()
    for file, rows, refused in zip(images.file[images.alive], images.rows[images.alive], images.rejected[images.alive]):
        taken[file] += int(rows)
        rejected[file] += int(refused)
    return {str(file): number for file, number in rejected.items() if number and not taken[file]}


def ingest(store, files, options=None, batch_rows=BATCH_ROWS, progress=None):
    """Bring catalogs into a store.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    files : sequence of path-like
    options : IngestOptions, optional
        What the files do not state themselves.
    batch_rows : int
        Number of rows after which the rows read so far are written and committed.
    progress : callable, optional
        Called with ("ingest", number, total, figures) after each file.

    Returns
    -------
    IngestReport

    Raises
    ------
    OutputError
        When the store cannot be written.
    StoreError
        When it is damaged.
    """
    options, index, report = options or IngestOptions(), ImageIndex(), IngestReport(len(files))
    with store.writing() as state:
        store.remove(store.orphans(state))
        index.update(state)
    buffer = _Buffer(store, index, report, batch_rows)
    for k, path in enumerate(files, 1):
        problem = _read(path, options, buffer)
        if problem is not None:
            report.failed.append((str(path), problem))
        if progress:
            progress("ingest", k, len(files), dict(rows=report.rows))
    buffer.flush()
    if report.rejects or report.counts[UNCHANGED]:
        rejected = all_rejected(store)
        report.empty = {str(f): rejected[str(f)] for f in files if str(f) in rejected}
    return report


def _read(path, options, buffer):
    """Read a file's images into the buffer. Returns why it cannot be read further, or None.

    Errors of the store are not the file's, and are raised.
    """
    images = read_catalogs(path, options, buffer.known)
    while True:
        try:
            image = next(images, None)
        except (DataFileError, MissingExtraError, StoreError) as problem:
            return str(problem)
        except UNREADABLE as problem:
            message = " ".join(str(problem).split()) or type(problem).__name__
            return f"{path}: cannot be read ({message[:200]}); fetch it again"
        if image is None:
            return None
        buffer.add(image)


class _Buffer:
    """Images that were read and are not written yet."""

    def __init__(self, store, index, report, batch_rows):
        self.store, self.index, self.report, self.batch_rows = store, index, report, batch_rows
        self.catalogs, self.first, self.rows = [], {}, 0

    def known(self, metadata):
        """Whether the rows of an image are not needed: it is in the store, or this ingest had one of its identity."""
        return metadata.key in self.first or self.index.has(metadata)

    def add(self, image):
        """Add an ImageCatalog, or the ImageMetadata of an image that is known; write when there are enough rows.

        Of several images of one identity the first counts: another would replace it, and be replaced the next time.
        """
        metadata = image if isinstance(image, ImageMetadata) else image.metadata
        first = self.first.setdefault(metadata.key, metadata)
        if first.checksum != metadata.checksum:
            self.report.add(IngestOutcome(metadata=metadata, status=REFUSED, problem=f"{metadata.file}: has {metadata}, of which "
                                          f"{first.file} has other rows; give one of the two"))
        elif first is not metadata or metadata is image:
            self.report.add(IngestOutcome(metadata=metadata, status=UNCHANGED))
        else:
            self._append(image)

    def _append(self, catalog):
        self.catalogs.append(catalog)
        self.rows += len(catalog.rows)+len(catalog.rejected)
        if self.rows >= self.batch_rows:
            self.flush()

    def flush(self):
        """Write the images to the store."""
        catalogs, self.catalogs, self.rows = self.catalogs, [], 0
        for outcome in write_batch(self.store, catalogs, self.index) if catalogs else ():
            self.report.add(outcome)


def ingest_zero_points(store, name):
    """Write the next version of a store's zero points: those of the last version, changed and extended by a table's.

    Parameters
    ----------
    store : Store
    name : str
        A table with columns exposure, detector, zeropoint and, where an image has several, band. NaN means no zero point.

    Returns
    -------
    int
        The version; the last one when the table brings nothing new.

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
    keys = [_labels(name, table, names[n]) if n in names else [b""]*len(table) for n in IMAGE_IDENTITY]
    with store.writing() as state:
        snapshot, version = store.snapshot(), len(state.zeropoints)
        before = {tuple(r)[:3]: r["zeropoint"] for r in snapshot.zero_point_table(version)} if version else {}
        after = {**before, **dict(zip(zip(*keys), values.tolist()))}
        if version and repr(sorted(after.items())) == repr(sorted((k, float(v)) for k, v in before.items())):
            return version
        width = [f"S{max(1, *(len(k[n]) for k in after), 1)}" for n in range(3)]
        rows = np.array([(*k, v) for k, v in sorted(after.items())], [*zip(IMAGE_IDENTITY, width), ("zeropoint", "f8")])
        (store.path/ZEROPOINTS).mkdir(exist_ok=True)
        path = f"{ZEROPOINTS}/{version+1:06d}.h5"
        checksum = write_rows(store.path/path, {ZEROPOINTS: trim_strings(rows)}, overwrite=True)
        store.commit(state, Commit(zeropoints=StoredFile(path, len(rows), checksum)))
        return version+1


def _labels(name, table, column):
    """A column of names as bytes."""
    values = plain_values(name, table[column])
    if values is None:
        raise DataFileError(name, f"column {column} holds no names")
    return [v.strip().encode() for v in label_text(values).tolist()]
