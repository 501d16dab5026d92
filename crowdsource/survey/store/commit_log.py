"""The log of a store: one file for each commit, chained by checksums, and checkpoints from which a state is read at once."""
import hashlib
import json
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...core.errors import StoreError
from ...io.atomic import atomic_path
from ...io.bounded import json_of
from ...io.checksums import checksums
from ...io.hdf5 import read_attributes, read_rows, write_rows
from .commits import Commit, Segment, StoredFile
from .ledger import columns_from_ledger, empty_ledger, ledger_from_columns

log = logging.getLogger(__name__)
LOG = "log"
COMMIT_FORMAT, VERSION = "crowdsource-store-commit", 1
CHECKSUM = "sha256"
COMMITS_PER_CHECKPOINT = 64
"""Commits from one checkpoint to the next."""
CHECKPOINTS_KEPT = 2
"""Checkpoints that are kept."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StoreState:
    """What the store holds after a commit. States share values, which are never changed.

    Attributes
    ----------
    number : int
        Of the commit; 0 for a new store.
    sha256 : str
        Of the commit's file.
    chunks : tuple of ndarray
        Rows of the ledger, in the order of the image numbers.
    dead : frozenset of int
        Numbers of the images that others have replaced.
    segments : dict of (int, int) to tuple of Segment
        By order and number of the pixel.
    split : frozenset of (int, int)
        Order and number of the pixels that are divided.
    rejects, zeropoints : tuple of StoredFile
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
        """Number of images, replaced ones too."""
        return int(self.chunks[-1]["source"][-1])+1 if self.chunks else 0

    def ledger(self):
        """All rows of the ledger in one array."""
        return np.concatenate(self.chunks) if self.chunks else empty_ledger()

    def alive(self):
        """Which images are not replaced, by image number; array of bool."""
        out = np.ones(self.count, bool)
        out[list(self.dead)] = False
        return out

    def after(self, logged, number):
        """The state with the changes of a `LoggedCommit`."""
        commit, segments = logged.commit, dict(self.segments)
        for s in commit.removed:
            key = s.order, s.pixel
            segments[key] = tuple(t for t in segments.get(key, ()) if t.path != s.path)
            if not segments[key]:
                del segments[key]
        for s in commit.added:
            segments[s.order, s.pixel] = (*segments.get((s.order, s.pixel), ()), s)
        some = commit.images is not None and len(commit.images)
        return replace(self, number=number, sha256=logged.sha256, checkpoint=logged.checkpoint, segments=segments,
                       chunks=(*self.chunks, commit.images) if some else self.chunks,
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


def newest_commit(store):
    """Number of the newest commit; 0 where there is none."""
    try:
        names = os.listdir(Path(store, LOG))
    except FileNotFoundError:
        return 0
    return max((int(n[:12]) for n in names if len(n) == 17 and n.endswith(".json") and n[:12].isdigit()), default=0)


def signed_json(content):
    """JSON of a mapping with the SHA-256 of its other entries in the entry ``sha256``, as bytes."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    whole = {**content, CHECKSUM: hashlib.sha256(plain.encode()).hexdigest()}
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()+b"\n"


def read_signed_json(path, kind, version=VERSION):
    """A mapping that `signed_json` wrote, and the SHA-256 of its file.

    Raises
    ------
    StoreError
        When it is not there, damaged, of another kind or of a later version.
    """
    try:
        data = Path(path).read_bytes()
        content = json_of(data.decode())
        digest = content.pop(CHECKSUM)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as problem:
        raise StoreError(f"{path}: cannot be read ({problem}); restore it from a copy") from problem
    made = content.get("version")
    if content.get("format") != kind or not isinstance(made, int) or made > version:
        raise StoreError(f"{path}: is {content.get('format')} version {made}, not {kind} version {version} or earlier; name "
                         "another store or use a later crowdsource")
    if signed_json(content) != data:
        raise StoreError(f"{path}: its checksum {digest[:12]} is not that of its content; restore it from a copy")
    return content, hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, eq=False)
class LoggedCommit:
    """A commit as it stands in the log.

    Attributes
    ----------
    commit : Commit
    previous : str
        SHA-256 of the file of the commit before.
    checkpoint : dict or None
        The newest checkpoint, as in `StoreState`.
    sha256 : str
        Of its own file.
    """

    commit: Commit
    previous: str
    checkpoint: dict
    sha256: str


def read_commit(store, number):
    """The `LoggedCommit` of a number. Errors as `read_signed_json`."""
    path = commit_path(store, number)
    content, digest = read_signed_json(path, COMMIT_FORMAT)
    try:
        added, removed = (tuple(Segment(**s) for s in content[n]) for n in ("added", "removed"))
        rejects, zeropoints = (StoredFile(**content[n]) if content[n] else None for n in ("rejects", "zeropoints"))
        commit = Commit(added=added, removed=removed, split=tuple(map(tuple, content["split"])), dead=tuple(content["dead"]),
                        images=ledger_from_columns(content["sources"]) if content["sources"] else None, rejects=rejects,
                        zeropoints=zeropoints)
        return LoggedCommit(commit, content["previous"], content["checkpoint"], digest)
    except (KeyError, TypeError, ValueError) as problem:
        raise StoreError(f"{path}: lacks what a commit holds ({problem}); restore it from a copy") from problem


def write_commit(store, state, commit):
    """Add a commit to the log: when this returns it is there for good.

    Parameters
    ----------
    store : path-like
        Whose lock the caller holds.
    state : StoreState
        The newest.
    commit : Commit

    Returns
    -------
    StoreState
    """
    Path(store, LOG).mkdir(exist_ok=True)
    checkpoint = state.checkpoint
    if state.number-(checkpoint["number"] if checkpoint else 0) >= COMMITS_PER_CHECKPOINT:
        state = replace(state, chunks=(state.ledger(),) if state.chunks else ())
        checkpoint = write_checkpoint(store, state)
    number = state.number+1
    some = commit.images is not None and len(commit.images)
    content = dict(format=COMMIT_FORMAT, version=VERSION, number=number, previous=state.sha256, checkpoint=checkpoint,
                   added=[vars(s) for s in commit.added], removed=[vars(s) for s in commit.removed],
                   split=[list(p) for p in commit.split], sources=columns_from_ledger(commit.images) if some else None,
                   dead=[int(n) for n in commit.dead], rejects=commit.rejects and vars(commit.rejects),
                   zeropoints=commit.zeropoints and vars(commit.zeropoints))
    data, path = signed_json(content), commit_path(store, number)
    # if the machine stops, the commit must not be there without the files that it lists
    for folder in _folders([f.path for f in commit.files]):
        sync_folder(Path(store, folder))
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    return state.after(LoggedCommit(commit, state.sha256, checkpoint, hashlib.sha256(data).hexdigest()), number)


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
    """Write the whole state beside its commit, and remove all but the newest `CHECKPOINTS_KEPT` checkpoints.

    Returns the entry ``checkpoint`` of the commits that follow.
    """
    path = commit_path(store, state.number).with_suffix(".h5")
    segments = [s for group in state.segments.values() for s in group]
    tables = dict(sources=state.ledger(), segments=_table(Segment, segments), rejects=_table(StoredFile, state.rejects),
                  zeropoints=_table(StoredFile, state.zeropoints), dead=np.array(sorted(state.dead), "i4"),
                  split=np.array(sorted(state.split), "i8").reshape(-1, 2))
    digest = write_rows(path, tables, dict(number=state.number, sha256=state.sha256), overwrite=True)
    for old in sorted(path.parent.glob("*.h5"))[:-CHECKPOINTS_KEPT]:
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
    return [kind(**dict(zip(table.dtype.names, values))) for values in zip(*columns)]


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
    ledger = read_rows(path, "sources")
    rejects, zeropoints = (tuple(_records(StoredFile, read_rows(path, n))) for n in ("rejects", "zeropoints"))
    return StoreState(number=attributes["number"], sha256=attributes["sha256"], chunks=(ledger,) if len(ledger) else (),
                      dead=frozenset(read_rows(path, "dead").tolist()), segments={k: tuple(v) for k, v in segments.items()},
                      split=frozenset(map(tuple, read_rows(path, "split").tolist())), rejects=rejects, zeropoints=zeropoints)


def replay(store, root, number, known=None):
    """The state after a commit.

    Parameters
    ----------
    store : path-like
    root : str
        SHA-256 of the store's own file, at which the chain of commits begins.
    number : int
    known : StoreState, optional
        An earlier one, so that only the commits after it are read.

    Returns
    -------
    StoreState

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
        logged = read_commit(store, k)
        if logged.previous != state.sha256:
            raise StoreError(f"{commit_path(store, k)}: does not follow on commit {k-1}; one of the two was replaced: "
                             "restore the log from a copy")
        state = state.after(logged, k)
    return state


def _start(store, root, number):
    """The state from which a replay starts: the newest checkpoint that a commit lists, else the empty store."""
    beginning = StoreState(number=0, sha256=root)
    checkpoint = read_commit(store, number).checkpoint if number else None
    if checkpoint is None:
        return beginning
    # a checkpoint only saves time: the log holds everything
    path = Path(store, checkpoint["path"])
    if not path.exists() or checksums([path])[0][1] != checkpoint[CHECKSUM]:
        log.warning("%s: is not there or damaged: the whole log is read instead", path)
        return beginning
    return replace(read_checkpoint(store, checkpoint), checkpoint=checkpoint)
