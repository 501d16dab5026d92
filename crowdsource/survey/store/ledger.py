"""The log of a store: one file for each commit, chained by checksums, and checkpoints from which a state is read at once."""
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...core.errors import StoreError
from ...io.checksums import checksums
from ...io.atomic import atomic_path
from ...io.hdf5 import read_attributes, read_rows, write_rows
from .records import Commit, Listed, Segment, no_sources, source_columns, source_rows

log = logging.getLogger(__name__)
LOG = "log"
COMMIT_FORMAT, VERSION = "crowdsource-store-commit", 1
SUM = "sha256"
EVERY = 64
"""Commits from one checkpoint to the next."""
KEPT = 2
"""Checkpoints that are kept."""
@dataclass(frozen=True)
class State:
    """The store after a commit; values are shared between states and never changed.

    Attributes
    ----------
    number : int
        Of the commit; 0 for a new store.
    sha256 : str
        Of the commit's file.
    chunks : tuple of ndarray
        Rows of the ledger, in order of their number.
    dead : frozenset of int
    segments : dict of (int, int) to tuple of Segment
        By order and number of the pixel.
    split : frozenset of (int, int)
    rejects, zeropoints : tuple of Listed
    checkpoint : dict or None
        ``number``, ``path`` and ``sha256`` of the newest checkpoint.
    """
    number: int
    sha256: str
    chunks: tuple = ()
    dead: frozenset = frozenset()
    segments: dict = field(default_factory=dict)
    split: frozenset = frozenset()
    rejects: tuple = ()
    zeropoints: tuple = ()
    checkpoint: dict = None

    @property
    def count(self):
        """Number of sources, dead ones too."""
        return int(self.chunks[-1]["source"][-1])+1 if self.chunks else 0

    def sources(self):
        """All rows of the ledger in one array."""
        return np.concatenate(self.chunks) if self.chunks else no_sources()

    def alive(self):
        """Whether each source is alive, by its number; array of bool."""
        out = np.ones(self.count, bool)
        out[list(self.dead)] = False
        return out

    def after(self, commit, number, digest, checkpoint):
        """The state with a commit's changes."""
        segments = dict(self.segments)
        for s in commit.removed:
            key = s.order, s.pixel
            segments[key] = tuple(t for t in segments.get(key, ()) if t.path != s.path)
            if not segments[key]:
                del segments[key]
        for s in commit.added:
            segments[s.order, s.pixel] = (*segments.get((s.order, s.pixel), ()), s)
        some = commit.sources is not None and len(commit.sources)
        return replace(self, number=number, sha256=digest, checkpoint=checkpoint, segments=segments,
                       chunks=(*self.chunks, commit.sources) if some else self.chunks,
                       dead=self.dead.union(commit.dead), split=self.split.union(commit.split),
                       rejects=(*self.rejects, *([commit.rejects] if commit.rejects else [])),
                       zeropoints=(*self.zeropoints, *([commit.zeropoints] if commit.zeropoints else [])))

    def files(self):
        """Paths in the store of all files of the state, with their checksums."""
        listed = [s for group in self.segments.values() for s in group]+[*self.rejects, *self.zeropoints]
        return {f.path: f.sha256 for f in listed}


def commit_path(store, number):
    """The file of a commit."""
    return Path(store, LOG, f"{number:012d}.json")


def newest(store):
    """Number of the newest commit; 0 where there is none."""
    try:
        names = os.listdir(Path(store, LOG))
    except FileNotFoundError:
        return 0
    return max((int(n[:12]) for n in names if len(n) == 17 and n.endswith(".json") and n[:12].isdigit()), default=0)


def signed(content):
    """JSON of a mapping with the SHA-256 of its other entries in the entry ``sha256``, as bytes."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    whole = {**content, SUM: hashlib.sha256(plain.encode()).hexdigest()}
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()+b"\n"


def read_signed(path, kind, version=VERSION):
    """A mapping that `signed` made and the SHA-256 of its file.

    Raises
    ------
    StoreError
        When it is not there, damaged, of another kind or of a later version.
    """
    try:
        data = Path(path).read_bytes()
        content = json.loads(data)
        digest = content.pop(SUM)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        raise StoreError(f"{path}: cannot be read ({problem}); restore it from a copy") from problem
    if content.get("format") != kind or content.get("version", version+1) > version:
        raise StoreError(f"{path}: is {content.get('format')} version {content.get('version')}, not {kind} version {version} or "
                         "earlier; name another store or use a later crowdsource")
    if signed(content) != data:
        raise StoreError(f"{path}: its checksum {digest[:12]} is not that of its content; restore it from a copy")
    return content, hashlib.sha256(data).hexdigest()


def read_commit(store, number):
    """A commit, its entry ``previous``, ``checkpoint``, and the SHA-256 of its file. Errors as `read_signed`."""
    path = commit_path(store, number)
    content, digest = read_signed(path, COMMIT_FORMAT)
    listed = lambda name: Listed(**content[name]) if content[name] else None
    try:
        commit = Commit(tuple(Segment(**s) for s in content["added"]), tuple(Segment(**s) for s in content["removed"]),
                        tuple(map(tuple, content["split"])), source_rows(content["sources"]) if content["sources"] else None,
                        tuple(content["dead"]), listed("rejects"), listed("zeropoints"))
        return commit, content["previous"], content["checkpoint"], digest
    except (KeyError, TypeError, ValueError) as problem:
        raise StoreError(f"{path}: lacks what a commit holds ({problem}); restore it from a copy") from problem


def write_commit(store, state, commit):
    """Add a commit to the log: when this returns it is there for good.

    Parameters
    ----------
    store : path-like
        Whose lock the caller holds.
    state : State
        The newest.
    commit : Commit

    Returns
    -------
    State
    """
    Path(store, LOG).mkdir(exist_ok=True)
    checkpoint = state.checkpoint
    if state.number-(checkpoint["number"] if checkpoint else 0) >= EVERY:
        state = replace(state, chunks=(state.sources(),) if state.chunks else ())
        checkpoint = write_checkpoint(store, state)
    number = state.number+1
    some = commit.sources is not None and len(commit.sources)
    plain = lambda f: None if f is None else dict(vars(f))
    content = dict(format=COMMIT_FORMAT, version=VERSION, number=number, previous=state.sha256, checkpoint=checkpoint,
                   added=[plain(s) for s in commit.added], removed=[plain(s) for s in commit.removed],
                   split=[list(p) for p in commit.split], sources=source_columns(commit.sources) if some else None,
                   dead=[int(n) for n in commit.dead], rejects=plain(commit.rejects), zeropoints=plain(commit.zeropoints))
    data, path = signed(content), commit_path(store, number)
    # were the machine to stop, the commit must not be there without what it tells of
    for folder in _folders([f.path for f in (*commit.added, commit.rejects, commit.zeropoints) if f is not None]):
        sync_folder(Path(store, folder))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return state.after(commit, number, hashlib.sha256(data).hexdigest(), checkpoint)


def _folders(paths):
    """All folders in the store above some files."""
    return sorted({folder for path in paths for folder in Path(path).parents})


def sync_folder(path):
    """Have the names in a folder written to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_checkpoint(store, state):
    """Write the whole state beside its commit; older ones but `KEPT` go. Returns what the next commits say of it."""
    path = commit_path(store, state.number).with_suffix(".h5")
    segments = [s for group in state.segments.values() for s in group]
    tables = dict(sources=state.sources(), segments=_table(Segment, segments), rejects=_table(Listed, state.rejects),
                  zeropoints=_table(Listed, state.zeropoints), dead=np.array(sorted(state.dead), "i4"),
                  split=np.array(sorted(state.split), "i8").reshape(-1, 2))
    digest = write_rows(path, tables, dict(number=state.number, sha256=state.sha256), overwrite=True)
    for old in sorted(path.parent.glob("*.h5"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return dict(number=state.number, path=f"{LOG}/{path.name}", sha256=digest)


def _table(kind, records):
    """Records of one class as a structured array."""
    types = [(n, "S" if t in (str, "str") else "i8") for n, t in kind.__annotations__.items()]
    arrays = {n: np.array([getattr(r, n) for r in records], t) for n, t in types}
    arrays = {n: a.astype("S1") if a.dtype.itemsize == 0 else a for n, a in arrays.items()}
    out = np.zeros(len(records), [(n, a.dtype) for n, a in arrays.items()])
    for name, array in arrays.items():
        out[name] = array
    return out


def _records(kind, table):
    """The opposite of `_table`."""
    columns = [[v.decode() for v in table[n].tolist()] if table[n].dtype.kind == "S" else table[n].tolist()
               for n in table.dtype.names]
    return [kind(*values) for values in zip(*columns)]


def read_checkpoint(store, checkpoint):
    """The state that a checkpoint holds.

    Raises
    ------
    DataFileError
        When it cannot be read.
    """
    path = Path(store, checkpoint["path"])
    attributes = read_attributes(path)
    segments = {}
    for s in _records(Segment, read_rows(path, "segments")):
        segments.setdefault((s.order, s.pixel), []).append(s)
    sources = read_rows(path, "sources")
    return State(attributes["number"], attributes["sha256"], (sources,) if len(sources) else (),
                 frozenset(read_rows(path, "dead").tolist()), {k: tuple(v) for k, v in segments.items()},
                 frozenset(map(tuple, read_rows(path, "split").tolist())), tuple(_records(Listed, read_rows(path, "rejects"))),
                 tuple(_records(Listed, read_rows(path, "zeropoints"))), None)


def replay(store, root, number, known=None):
    """The state after a commit.

    Parameters
    ----------
    store : path-like
    root : str
        SHA-256 of the store's own file, at which the chain of commits begins.
    number : int
    known : State, optional
        An earlier one, from which on the log is read.

    Returns
    -------
    State

    Raises
    ------
    StoreError
        When the log is damaged, or there is no such commit.
    """
    if known is not None and known.number <= number:
        state = known
    else:
        state = _start(store, root, number)
    for k in range(state.number+1, number+1):
        commit, previous, checkpoint, digest = read_commit(store, k)
        if previous != state.sha256:
            raise StoreError(f"{commit_path(store, k)}: does not follow on commit {k-1}; one of the two was replaced: "
                             "restore the log from a copy")
        state = state.after(commit, k, digest, checkpoint)
    return state


def _start(store, root, number):
    """Where a replay starts: the newest checkpoint that a commit knows, else the beginning."""
    checkpoint = read_commit(store, number)[2] if number else None
    if checkpoint is None:
        return State(0, root)
    # without it the same takes longer: the log has it all
    path = Path(store, checkpoint["path"])
    if not path.exists() or checksums([path])[0][1] != checkpoint[SUM]:
        log.warning("%s: is not there or damaged: the whole log is read instead", path)
        return State(0, root)
    return replace(read_checkpoint(store, checkpoint), checkpoint=checkpoint)
