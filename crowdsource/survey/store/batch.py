"""One batch of images into a store: which are new, replace others or are refused, and the segments of their rows."""
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...io.hdf5 import write_rows
from ..healpix import SPATIAL_INDEX
from ..sorting import order_by
from .columns import IMAGE_IDENTITY
from .commits import Commit, StoredFile
from .image_index import BatchSummary, identity_key
from .ledger import ledger_from_columns, ledger_rows
from .segments import (
    divide,
    group_by_schema,
    joined,
    pixel_from_uniq,
    read_segment,
    schema_id,
    segments_to_merge,
    uniq_leaves,
    write_segment,
)
from .store import REJECTS

STATUSES = NEW, REPLACED, UNCHANGED, REFUSED = "new", "replaced", "unchanged", "refused"


@dataclass(frozen=True, eq=False, kw_only=True)
class IngestOutcome:
    """What became of an image.

    Attributes
    ----------
    metadata : crowdsource.survey.store.catalogs.ImageMetadata
    status : str
        One of `STATUSES`.
    rows : int
        Number of rows that came into the store.
    rejects : Counter
        Number of rejected rows, by reason.
    problem : str
        Why it was refused.
    replaces : tuple of int
        Numbers of the images that it replaces.
    """

    metadata: object
    status: str
    rows: int = 0
    rejects: Counter = field(default_factory=Counter)
    problem: str = ""
    replaces: tuple = ()


def write_batch(store, catalogs, index):
    """Bring images into the store in one commit.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    catalogs : list of crowdsource.survey.store.catalogs.ImageCatalog
        Of different identities; their column ``source`` is filled in.
    index : crowdsource.survey.store.image_index.ImageIndex

    Returns
    -------
    list of IngestOutcome
    """
    with store.writing() as state:
        index.update(state)
        accepted, outcomes, batch = [], [], BatchSummary()
        for catalog in catalogs:
            outcome = _decide(store, catalog, index, batch)
            outcomes.append(outcome)
            if outcome.status in (NEW, REPLACED):
                accepted.append((catalog, outcome))
                batch.add(catalog, outcome)
        if accepted:
            index.update(store.commit(state, _write_files(store, state, accepted)))
        return outcomes


def _decide(store, catalog, index, batch):
    """What is to become of an image; `batch` has those of the same batch before it."""
    metadata = catalog.metadata
    if index.has(metadata):
        return IngestOutcome(metadata=metadata, status=UNCHANGED)
    shared, number = index.shared_prefix(catalog), index.by_identity.get(identity_key(metadata.key))
    conflict = _conflict(catalog, index, batch, shared)
    if conflict:
        problem = (f"{metadata.file}: the identifiers of {metadata} are those of {conflict}, which the store has; have new ones "
                   "made under another name: --exposure NAME --map detection_id=")
        return IngestOutcome(metadata=metadata, status=REFUSED, problem=problem)
    reason = index.rejection_reason(metadata, store.bands, batch)
    rejects = Counter(r for _, r in catalog.rejected)
    if reason:
        rejects[reason] += len(catalog.rows)
    rows = 0 if reason else len(catalog.rows)
    replaces = tuple({n for n in (number, shared.number) if n is not None and n not in index.dead})
    if replaces == (number,):
        row = index.row(number)
        if (row["checksum"], row["rows"], row["rejected"]) == (metadata.checksum.encode(), rows, rejects.total()):
            return IngestOutcome(metadata=metadata, status=UNCHANGED)
    return IngestOutcome(metadata=metadata, status=REPLACED if replaces else NEW, rows=rows, rejects=rejects, replaces=replaces)


def _conflict(catalog, index, batch, shared):
    """The image, as text, that has the identifiers of a catalog; empty where there is none."""
    metadata, other = catalog.metadata, ""
    if shared.conflict:
        other = b" ".join(filter(None, (index.row(shared.number)[n].item() for n in IMAGE_IDENTITY))).decode()
    if near := batch.by_id_prefix.get(catalog.id_prefix):
        same_file = (near.exposure, near.detector, near.file) == (metadata.exposure, metadata.detector, metadata.file)
        if not (catalog.from_mixed_table and same_file):
            other = str(near)
    return other


def _write_files(store, state, accepted):
    """Write the files of a batch. Returns its Commit."""
    name = f"{state.number+1:012d}"
    ledger = _new_ledger_rows(state.count, accepted)
    arrays = []
    for number, (catalog, outcome) in zip(ledger["source"].tolist(), accepted):
        if outcome.rows:
            catalog.rows["source"] = number
            arrays.append(catalog.rows)
    arrays = joined(arrays)
    dead = [n for _, o in accepted for n in o.replaces]
    alive = np.append(state.alive(), np.ones(len(ledger), bool))
    alive[dead] = False
    changes = _SegmentWriter(store, state, alive, (*state.chunks, ledger), name)
    changes.add(arrays)
    return Commit(added=tuple(changes.added), removed=tuple(changes.removed), split=tuple(changes.split), images=ledger,
                  dead=tuple(sorted(dead)), rejects=_write_rejects(store, ledger, accepted, name))


def _new_ledger_rows(first, accepted):
    """Rows of the ledger for the images of a batch, numbered from `first`."""
    names = "exposure", "detector", "band", "system", "mjd", "zeropoint", "pixel_scale", "instrument", "checksum", "file"
    columns = {n: [getattr(c.metadata, n) for c, _ in accepted] for n in names}
    return ledger_from_columns(dict(
        columns, source=range(first, first+len(accepted)), image=[c.id_prefix for c, _ in accepted],
        rows=[o.rows for _, o in accepted], rejected=[o.rejects.total() for _, o in accepted]))


def _write_rejects(store, ledger, accepted, name):
    """Write the rejected rows with their image and the reason. Returns their file, or None where there are none."""
    rows = []
    for number, (catalog, outcome) in zip(ledger["source"].tolist(), accepted):
        metadata, rejected = catalog.metadata, list(catalog.rejected)
        of_whole_image = set(outcome.rejects)-{r for _, r in rejected}
        rejected += [(int(k), reason) for reason in of_whole_image for k in catalog.file_rows]
        rows += [(number, metadata.file.encode(), *metadata.key, k, reason.encode()) for k, reason in sorted(rejected)]
    if not rows:
        return None

    def text(k):
        return f"S{max(1, *(len(r[k]) for r in rows))}"

    table = np.array(rows, [("source", "i4"), ("file", text(1)), ("exposure", text(2)), ("detector", text(3)), ("band", text(4)),
                            ("row", "i8"), ("reason", text(6))])
    (store.path/REJECTS).mkdir(exist_ok=True)
    path = Path(REJECTS, f"{name}.h5")
    return StoredFile(path.as_posix(), len(table), write_rows(store.path/path, {REJECTS: table}, overwrite=True))


class _SegmentWriter:
    """The segments that a batch adds and removes.

    Parameters
    ----------
    store : Store
    state : StoreState
        Before the batch.
    alive : ndarray of bool
        Which images are not replaced, after the batch.
    chunks : tuple of ndarray
        The ledger after the batch.
    name : str
        Of the batch.
    """

    def __init__(self, store, state, alive, chunks, name):
        self.store, self.state, self.alive, self.chunks, self.name = store, state, alive, chunks, name
        self.added, self.removed, self.split = [], [], []

    def add(self, arrays):
        """Write the rows of arrays, leaf by leaf."""
        parts = {}
        for rows in arrays:
            leaf = uniq_leaves(rows[SPATIAL_INDEX], self.store.order, self.state.split)
            order = order_by(leaf)
            cuts = np.flatnonzero(np.diff(leaf[order]))+1
            for which in np.split(order, cuts):
                parts.setdefault(int(leaf[which[0]]), []).append((rows, which))
        for uniq in sorted(parts):
            self._add_to_leaf(pixel_from_uniq(uniq), parts[uniq])

    def _add_to_leaf(self, pixel, parts):
        """Write the new rows of a leaf. Divide it where it would hold too many rows; merge some segments where they are many."""
        old = self.state.segments.get((pixel.order, pixel.number), ())
        total = sum(len(which) for _, which in parts)+sum(s.rows for s in old)
        deepest = self.store.margin_order
        if total > self.store.max_rows and pixel.order < deepest:
            for leaf, own in divide(pixel, parts+self._remove(old), self.store.max_rows, deepest):
                if own is None:
                    self.split.append((leaf.order, leaf.number))
                elif own:
                    self._write(leaf, own)
            return
        coming = {schema_id(rows.dtype) for rows, _ in parts}
        for group in group_by_schema(old, lambda s: s.schema):
            if group[0].schema in coming:
                parts = parts+self._remove(segments_to_merge(group))
        self._write(pixel, parts)

    def _remove(self, segments):
        """Mark segments as removed. Returns their rows, to be written anew."""
        self.removed += segments
        arrays = [read_segment(self.store.path, s, self.alive) for s in segments]
        return [(a, np.arange(len(a))) for a in arrays if len(a)]

    def _write(self, pixel, parts):
        for n, group in enumerate(group_by_schema(parts, lambda p: schema_id(p[0].dtype))):
            self.added.append(write_segment(self.store.path, self.name+f"-{n}"*bool(n), pixel, group,
                                            lambda numbers: ledger_rows(self.chunks, numbers), self.store.margin_order))
