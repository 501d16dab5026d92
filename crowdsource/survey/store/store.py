"""The store of detections: a folder of files that are never changed, and a log of commits that says which of them count.

docs/store.md is its specification.
"""
import fcntl
import os
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from ...core.errors import ConfigError, OutputError, StoreError
from ...io.atomic import atomic_path
from ...io.hdf5 import read_rows
from ..healpix import HealpixPixel, margin_order
from . import commit_log
from .ledger import TEXT_COLUMNS, empty_ledger
from .segments import DETECTIONS, read_segment

FORMAT, VERSION = "crowdsource-store", 1
STORE_FILE, LOCK, READERS, MAKING = "store.json", "lock", "readers", "making"
LOCKS = LOCK, READERS, MAKING
REJECTS, ZEROPOINTS, RELEASES = "rejects", "zeropoints", "releases"
LOGGED_FOLDERS = DETECTIONS, REJECTS, ZEROPOINTS
"""Folders whose files the log lists."""
HIGHEST_ORDER = 12
"""Highest order of the widest leaves: there are 200 million of them."""
LOWEST_MAX_ROWS = 100


def create_store(path, order=5, max_rows=1_000_000, margin=15., bands=()):
    """Make a new, empty store; one that is there and was made with the same values stays as it is.

    Parameters
    ----------
    path : path-like
        A folder that is not there or empty.
    order, max_rows : int
        Order of the widest pixels; number of rows above which a pixel is divided.
    margin : float
        Arcsec; rows no farther than this from a pixel's edge are found by one contiguous read.
    bands : sequence of str
        Bands that may be ingested, in their order; any when empty.

    Returns
    -------
    Store

    Raises
    ------
    ConfigError
        When a value is out of range.
    OutputError
        When the folder cannot be made or has something else in it.
    """
    path, bands = Path(path), tuple(map(str, bands))
    _check(order, max_rows, margin, bands)
    content = dict(format=FORMAT, version=VERSION, order=int(order), max_rows=int(max_rows), margin=float(margin),
                   margin_order=margin_order(margin), bands=list(bands))
    if _says(path/STORE_FILE, commit_log.signed_json(content)):
        return Store(path)
    # temporary files and locks alone are no store yet
    if path.exists() and not (path.is_dir() and all(p.name in LOCKS or p.name[0] == "." for p in path.iterdir())):
        raise OutputError(f"{path}: exists already; choose another name for a new store")
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name in LOCKS:
            (path/name).touch()
    except OSError as problem:
        raise OutputError(f"{path}: cannot be made ({problem.strerror}); choose another folder") from problem
    with atomic_path(path/STORE_FILE) as temporary:
        temporary.write_bytes(commit_log.signed_json(content))
    return Store(path)


def _says(path, content):
    """Whether a file is there and holds these bytes."""
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _check(order, max_rows, margin, bands):
    """Raise `ConfigError` for values that a store cannot have."""
    if not 0 < margin <= 3600:
        raise ConfigError(f"a margin of {margin} arcsec is out of range: give more than 0 and no more than 3600")
    deepest = min(HIGHEST_ORDER, margin_order(margin))
    if not 0 <= order <= deepest:
        raise ConfigError(f"order {order} is out of range: with a margin of {margin} arcsec it is from 0 to {deepest}")
    if max_rows < LOWEST_MAX_ROWS:
        raise ConfigError(f"at most {max_rows} rows in a pixel are too few: give {LOWEST_MAX_ROWS} or more")
    if "" in bands or len({b.lower() for b in bands}) < len(bands):
        raise ConfigError(f"the bands {', '.join(bands)}: each has a name, and they differ in more than case")


def open_store(path):
    """Open a store.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        When there is none, or its file is damaged.
    """
    return Store(path)


class Store:
    """An existing store; from `create_store` or `open_store`.

    Attributes
    ----------
    path : Path
    order, max_rows, margin_order : int
    margin : float
        Arcsec.
    bands : tuple of str
        Bands that the store was made for; any when empty.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not (self.path/STORE_FILE).is_file():
            raise StoreError(f"{path}: is no store, as it has no {STORE_FILE}; check the name, or make one: crowdsource healpix "
                             "init")
        content, self.root = commit_log.read_signed_json(self.path/STORE_FILE, FORMAT, VERSION)
        self.order, self.max_rows, self.margin_order = (content[n] for n in ("order", "max_rows", "margin_order"))
        self.margin, self.bands = content["margin"], tuple(content["bands"])
        self._state = None

    def state(self, number=None):
        """The `commit_log.StoreState` after a commit, the newest when no number is given."""
        if number is None:
            state = self._state = commit_log.replay(self.path, self.root, commit_log.newest_commit(self.path), self._state)
            return state
        if not 0 <= number <= commit_log.newest_commit(self.path):
            raise StoreError(f"{self.path}: has no commit {number}; its newest is {commit_log.newest_commit(self.path)}")
        return commit_log.replay(self.path, self.root, number, self._state)

    def snapshot(self, number=None):
        """What the store holds after a commit, the newest when no number is given.

        Its files are not removed while a `reading` lock is held that was taken before.

        Parameters
        ----------
        number : int, optional

        Returns
        -------
        Snapshot

        Raises
        ------
        StoreError
            When there is no such commit or the log is damaged.
        """
        return Snapshot(self, self.state(number))

    @contextmanager
    def reading(self):
        """While the block runs, no file of a snapshot is removed. Many processes may read at once."""
        with self._locked(READERS, fcntl.LOCK_SH):
            yield

    @contextmanager
    def writing(self):
        """While the block runs, no other process writes; gives the newest state. A process that dies leaves no lock."""
        with self.exclusive():
            yield self.state()

    @contextmanager
    def exclusive(self):
        """As `writing`, without reading the log."""
        with self._locked(LOCK, fcntl.LOCK_EX):
            yield

    @contextmanager
    def assembling(self):
        """While the block runs, no other process makes a release."""
        with self._locked(MAKING, fcntl.LOCK_EX):
            yield

    @contextmanager
    def _locked(self, name, kind):
        """Hold a lock; gives whether it could be taken, which may be False for kinds that do not wait."""
        try:
            try:
                descriptor = os.open(self.path/name, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError:
                descriptor = os.open(self.path/name, os.O_RDONLY)
        except OSError as problem:
            raise OutputError(f"{self.path/name}: cannot be opened ({problem.strerror}); ask for permission") from problem
        try:
            fcntl.flock(descriptor, kind)
            had = True
        except BlockingIOError:
            had = False
        try:
            yield had
        finally:
            os.close(descriptor)

    def commit(self, state, commit):
        """Add a commit, and remove the files that it replaces; the caller is in `writing`. Returns the state after it."""
        self._state = commit_log.write_commit(self.path, state, commit)
        self.remove([s.path for s in commit.removed])
        return self._state

    def remove(self, paths):
        """Remove files that the newest state does not list, unless a process reads; the caller is in `writing`."""
        if not paths:
            return
        with self._locked(READERS, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            for path in paths if alone else ():
                (self.path/path).unlink(missing_ok=True)

    def orphans(self, state):
        """Paths of files in the store that a state does not list: left by a crash, or kept for a reader."""
        known = state.files()
        found = (p for kind in LOGGED_FOLDERS for p in sorted((self.path/kind).rglob("*")) if p.is_file())
        names = [p.relative_to(self.path).as_posix() for p in (*found, *(self.path/commit_log.LOG).glob(".*"))]
        return [n for n in names if n not in known]


class StoredImages:
    """The images of a store: the ledger as arrays, by image number.

    An image stands here for the detections of one (exposure, detector, band).

    Attributes
    ----------
    source : ndarray of int32
        Image number, which is also the index in the arrays.
    exposure, detector, band, system, instrument, checksum, file : ndarray of str
        ``system`` is "AB", "Vega" or empty.
    mjd, zeropoint, pixel_scale : ndarray of float64
        Days; magnitudes, from the catalog itself; arcsec. NaN where not known.
    rows, rejected : ndarray of int64
        Number of rows in the store, and of rejected rows.
    image : ndarray of int64
        Upper bits of its detection identifiers, from bit 32; -1 without any detection.
    alive : ndarray of bool
        False for images that others have replaced.
    """

    def __init__(self, table, alive):
        self.table, self.alive, self._text = table, alive, {}

    def __len__(self):
        return len(self.table)

    def __getattr__(self, name):
        if name.startswith("_") or name not in empty_ledger().dtype.names:
            raise AttributeError(name)
        if name not in TEXT_COLUMNS:
            return self.table[name]
        if name not in self._text:
            self._text[name] = decoded(self.table[name])
        return self._text[name]


def decoded(values):
    """Bytes as str; UTF-8 where they are not ASCII."""
    try:
        return values.astype(str)
    except UnicodeDecodeError:
        return np.char.decode(values, "utf-8")


class Snapshot:
    """What a store holds after one commit.

    Attributes
    ----------
    store : Store
    state : commit_log.StoreState
    number : int
        Of the commit.
    margin_order : int
        Order of the cells of borders.
    """

    def __init__(self, store, state):
        self.store, self.state, self.number, self.margin_order = store, state, state.number, store.margin_order

    @cached_property
    def images(self):
        """The `StoredImages`."""
        return StoredImages(self.state.ledger(), self.state.alive())

    @cached_property
    def pixels(self):
        """Leaves that have segments, by their first index, as a tuple of HealpixPixel."""
        return tuple(sorted((HealpixPixel(*key) for key in self.state.segments), key=lambda p: p.start))

    @cached_property
    def bands(self):
        """Names of the bands: the declared ones in their order, else those of the rows, sorted."""
        some = self.images.alive & (self.images.rows > 0)
        return self.store.bands or tuple(np.unique(self.images.band[some]).tolist())

    def read(self, pixel):
        """Rows of a leaf.

        Parameters
        ----------
        pixel : HealpixPixel

        Returns
        -------
        list of ndarray
            Structured, one array for each segment, sorted by schema; without the rows of replaced images.

        Raises
        ------
        DataFileError
            When a file is not there or damaged.
        """
        return self._read(pixel, False)

    def read_border(self, pixel):
        """Rows that lie in a leaf's border, in cells of the store's ``margin_order``; otherwise as `read`."""
        return self._read(pixel, True)

    def _read(self, pixel, border):
        segments = sorted(self.state.segments.get((pixel.order, pixel.number), ()), key=lambda s: s.schema)
        tables = [read_segment(self.store.path, s, self.images.alive, border) for s in segments]
        return [t for t in tables if len(t)]

    def zero_points(self, version=None):
        """The zero point of each image: that of a table, or where it lacks the image, that of the catalog.

        Parameters
        ----------
        version : int, optional
            Of the store's table, from 1; the newest when not given, no table for 0.

        Returns
        -------
        ndarray of float64
            By image number; NaN for none.

        Raises
        ------
        StoreError
            When there is no such version.
        """
        values = self.images.zeropoint.copy()
        version = len(self.state.zeropoints) if version is None else version
        if not 0 <= version <= len(self.state.zeropoints):
            raise StoreError(f"{self.store.path}: has no zero points of version {version}; its newest is "
                             f"{len(self.state.zeropoints)}")
        if version:
            table, s = self.zero_point_table(version), self.images.table
            known = {(e, d, b): z for e, d, b, z in zip(*(table[n].tolist() for n in table.dtype.names))}
            for k, (e, d, b) in enumerate(zip(s["exposure"].tolist(), s["detector"].tolist(), s["band"].tolist())):
                values[k] = known.get((e, d, b), known.get((e, d, b""), values[k]))
        return values

    def zero_point_table(self, version):
        """The rows of a version: exposure, detector, band (empty for all) and zeropoint."""
        return read_rows(self.store.path/self.state.zeropoints[version-1].path, ZEROPOINTS)
