"""One batch of sources into a store: what is new, what replaces, what is rejected, and the segments of their rows."""
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...io.hdf5 import write_rows
from ..healpix import INDEX
from ..sorting import order_by
from .columns import IDENTITY
from .records import Commit, Listed, lookup, source_rows
from .segments import by_schema, divided, leaves_of, pixel_of, read_segment, schema_of, to_merge, write_segment
from .store import REJECTS

NEW, REPLACED, UNCHANGED, REFUSED = "new", "replaced", "unchanged", "refused"
NO_BAND = "no band is known"
AT_ONCE = 10_000
"""Rows of the ledger that are turned into Python's objects at a time."""


@dataclass(frozen=True)
class Outcome:
    """What became of a source.

    Attributes
    ----------
    facts : crowdsource.survey.store.catalogs.Facts
    status : str
        `NEW`, `REPLACED`, `UNCHANGED` or `REFUSED`.
    rows : int
        In the store.
    rejects : Counter
        Rows rejected, by reason.
    problem : str
        Why it was refused.
    dead : tuple of int
        Numbers of the sources that it replaces.
    """
    facts: object
    status: str
    rows: int = 0
    rejects: Counter = field(default_factory=Counter)
    problem: str = ""
    dead: tuple = ()


class Index:
    """Which sources a store has, by identity; it follows the states of the store.

    Attributes
    ----------
    numbers, images : dict of bytes or int to int
        Number of the newest source by identity, and by the upper bits of its identifiers.
    systems : Counter of (bytes, bytes)
        Living sources with rows by band and magnitude system.
    """

    def __init__(self):
        self.numbers, self.images, self.systems = {}, {}, Counter()
        self.chunks, self.count, self.dead = (), 0, frozenset()

    def update(self, state):
        """Take in what has come since the last state."""
        self.chunks = state.chunks
        for chunk in (c for c in state.chunks if c["source"][-1] >= self.count):
            new = chunk[chunk["source"] >= self.count]
            # as Python's objects a ledger is several times as large
            for start in range(0, len(new), AT_ONCE):
                self._add(new[start:start+AT_ONCE])
        for number in state.dead-self.dead:
            row = self.row(number)
            self.systems[row["band"].item(), row["system"].item()] -= int(row["rows"] > 0)
        self.count, self.dead = state.count, state.dead

    def _add(self, rows):
        columns = (rows[c].tolist() for c in ("source", *IDENTITY, "system", "image", "rows"))
        for source, exposure, detector, band, system, image, n in zip(*columns):
            self.numbers[b"\0".join((exposure, detector, band))] = source
            if image >= 0:
                self.images[image] = source
            self.systems[band, system] += n > 0

    def row(self, number):
        """The ledger's row of a source, as an array of shape ()."""
        return lookup(self.chunks, np.array([number]))[0]

    def has(self, facts):
        """Whether a source is there with the same content.

        One all of whose rows were rejected is not: it may be tried again, as the store's other sources may have changed.
        """
        number = self.numbers.get(b"\0".join(facts.key))
        if number is None or number in self.dead:
            return False
        row = self.row(number)
        return row["checksum"] == facts.checksum.encode() and not (row["rows"] == 0 and row["rejected"])

    def twin(self, piece):
        """Number of another source with the same upper bits of identifiers, and whether the two may not be; None where none is.

        A source of the same exposure, detector and file is the same image under another band: replaced, unless the file has both.
        """
        number = self.images.get(piece.image)
        if number is None or number in self.dead:
            return None, False
        row, mine = self.row(number), piece.facts.key
        key = tuple(row[n].item() for n in IDENTITY)
        same = key[:2] == mine[:2] and row["file"] == piece.facts.file.encode()
        if key == mine or same and piece.shared:
            return None, False
        return number, not same or piece.shared

    def rejection(self, facts, declared, coming):
        """Why no row of a source can be placed beside the store's and those that are `coming`; empty where they can."""
        if not facts.band:
            return NO_BAND
        systems = self.systems+coming.systems
        names = declared or {b.decode() for b, _ in systems}
        if facts.band not in names:
            if declared:
                return f"band {facts.band} is none of the store's"
            twin = [b for b in sorted(names) if b.lower() == facts.band.lower()]
            if twin:
                return f"band {facts.band} differs from the store's {twin[0]} in case only"
        other = {"AB": "Vega", "Vega": "AB"}.get(facts.system, "")
        if other and systems[facts.band.encode(), other.encode()] > 0:
            return f"magnitudes are {facts.system}, those of the store's band {facts.band} are {other}"
        return ""


class Coming:
    """What a batch brings, as its pieces are judged one after the other.

    Attributes
    ----------
    images : dict of int to Facts
        By the upper bits of identifiers.
    systems : Counter
        Sources with rows, by band and magnitude system.
    """

    def __init__(self):
        self.images, self.systems = {}, Counter()

    def add(self, piece, outcome):
        """Take in a piece that is new or replaces."""
        if piece.image >= 0:
            self.images[piece.image] = piece.facts
        self.systems[piece.facts.band.encode(), piece.facts.system.encode()] += outcome.rows > 0


def write_batch(store, pieces, index):
    """Bring sources into the store in one commit.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    pieces : list of crowdsource.survey.store.catalogs.Piece
        Of different identities; their rows' ``source`` is set.
    index : Index

    Returns
    -------
    list of Outcome
    """
    with store.writing() as state:
        index.update(state)
        taken, outcomes, coming = [], [], Coming()
        for piece in pieces:
            outcome = _judged(store, piece, index, coming)
            outcomes.append(outcome)
            if outcome.status in (NEW, REPLACED):
                taken.append((piece, outcome))
                coming.add(piece, outcome)
        if taken:
            index.update(store.commit(state, _written(store, state, taken, index)))
        return outcomes


def _judged(store, piece, index, coming):
    """What is to become of a source; `coming` are those of the same batch before it."""
    facts = piece.facts
    if index.has(facts):
        return Outcome(facts, UNCHANGED)
    (twin, forbidden), number = index.twin(piece), index.numbers.get(b"\0".join(facts.key))
    other = b" ".join(filter(None, (index.row(twin)[n].item() for n in IDENTITY))).decode() if forbidden else ""
    if near := coming.images.get(piece.image):
        if not piece.shared or (near.exposure, near.detector, near.file) != (facts.exposure, facts.detector, facts.file):
            other = str(near)
    if other:
        return Outcome(facts, REFUSED, problem=f"{facts.file}: the identifiers of {facts} are those of {other}, which the store "
                       "has; have new ones made under another name: --exposure NAME --map detection_id=")
    reason = index.rejection(facts, store.bands, coming)
    rejects = Counter(r for _, r in piece.bad)
    if reason:
        rejects[reason] += len(piece.rows)
    rows = 0 if reason else len(piece.rows)
    dead = tuple({n for n in (number, twin) if n is not None and n not in index.dead})
    if dead == (number,):
        row = index.row(number)
        if (row["checksum"], row["rows"], row["rejected"]) == (facts.checksum.encode(), rows, rejects.total()):
            return Outcome(facts, UNCHANGED)
    return Outcome(facts, REPLACED if dead else NEW, rows, rejects, dead=dead)


def _written(store, state, taken, index):
    """Write the files of a batch. Returns its Commit."""
    name = f"{state.number+1:012d}"
    ledger = _ledger_rows(state.count, taken)
    arrays = []
    for number, (piece, outcome) in zip(ledger["source"].tolist(), taken):
        if outcome.rows:
            piece.rows["source"] = number
            arrays.append(piece.rows)
    dead = [n for _, o in taken for n in o.dead]
    alive = np.append(state.alive(), np.ones(len(ledger), bool))
    alive[dead] = False
    changes = _Segments(store, state, alive, (*state.chunks, ledger), name)
    changes.add(arrays)
    return Commit(tuple(changes.added), tuple(changes.removed), tuple(changes.split), ledger, tuple(sorted(dead)),
                  _rejects(store, ledger, taken, name))


def _ledger_rows(first, taken):
    """New rows of the ledger."""
    names = "exposure", "detector", "band", "system", "mjd", "zeropoint", "pixel_scale", "instrument", "checksum", "file"
    columns = {n: [getattr(p.facts, n) for p, _ in taken] for n in names}
    return source_rows(dict(columns, source=range(first, first+len(taken)), image=[p.image for p, _ in taken],
                            rows=[o.rows for _, o in taken], rejected=[o.rejects.total() for _, o in taken]))


def _rejects(store, ledger, taken, name):
    """Write the rows that were rejected, with what they are of and why; None where there are none."""
    rows = []
    for number, (piece, outcome) in zip(ledger["source"].tolist(), taken):
        facts, bad = piece.facts, list(piece.bad)
        placed = set(outcome.rejects)-{r for _, r in bad}
        bad += [(int(k), reason) for reason in placed for k in piece.places]
        rows += [(number, facts.file.encode(), facts.exposure.encode(), facts.detector.encode(), facts.band.encode(), k,
                  reason.encode()) for k, reason in sorted(bad)]
    if not rows:
        return None
    width = lambda k: f"S{max(1, *(len(r[k]) for r in rows))}"
    table = np.array(rows, [("source", "i4"), ("file", width(1)), ("exposure", width(2)), ("detector", width(3)),
                            ("band", width(4)), ("row", "i8"), ("reason", width(6))])
    (store.path/REJECTS).mkdir(exist_ok=True)
    path = Path(REJECTS, f"{name}.h5")
    return Listed(path.as_posix(), len(table), write_rows(store.path/path, {REJECTS: table}, overwrite=True))


class _Segments:
    """The segments that a batch adds and removes.

    Parameters
    ----------
    store : Store
    state : State
        Before the batch.
    alive : ndarray of bool
        After it.
    chunks : tuple of ndarray
        The ledger after it.
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
            leaf = leaves_of(rows[INDEX], self.store.order, self.state.split)
            order = order_by(leaf)
            cuts = np.flatnonzero(np.diff(leaf[order]))+1
            for which in np.split(order, cuts):
                parts.setdefault(int(leaf[which[0]]), []).append((rows, which))
        for unique in sorted(parts):
            self._leaf(pixel_of(unique), parts[unique])

    def _leaf(self, pixel, parts):
        """Write what is new in one leaf; where it becomes too much, divide it, and where segments are many, merge some."""
        old = self.state.segments.get((pixel.order, pixel.number), ())
        total = sum(len(which) for _, which in parts)+sum(s.rows for s in old)
        deepest = self.store.margin_order
        if total > self.store.max_rows and pixel.order < deepest:
            for leaf, own in divided(pixel, parts+self._taken(old), self.store.max_rows, deepest):
                if own is None:
                    self.split.append((leaf.order, leaf.number))
                elif own:
                    self._write(leaf, own)
            return
        coming = {schema_of(rows.dtype) for rows, _ in parts}
        for group in by_schema(old, lambda s: s.schema):
            if group[0].schema in coming:
                parts = parts+self._taken(to_merge(group))
        self._write(pixel, parts)

    def _taken(self, segments):
        """Rows of segments that go, as parts."""
        self.removed += segments
        arrays = [read_segment(self.store.path, s, self.alive) for s in segments]
        return [(a, np.arange(len(a))) for a in arrays if len(a)]

    def _write(self, pixel, parts):
        for n, group in enumerate(by_schema(parts, lambda p: schema_of(p[0].dtype))):
            self.added.append(write_segment(self.store.path, self.name+f"-{n}"*bool(n), pixel, group,
                                            lambda numbers: lookup(self.chunks, numbers), self.store.margin_order))
