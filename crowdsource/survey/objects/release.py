"""Releases: the objects of a whole store, made pixel by pixel.

``STORE/releases/NAME/`` holds ``release.json``, and for each pixel ``objects/Norder=k/Dir=d/Npix=p.h5`` and ``members/...`` of
the same name. It is made under a name with a dot before it, pixel by pixel, and renamed when it is whole; what a run that was cut
off has made is used by the next, if that is to make the same.
"""
import json
import logging
import os
import re
import shutil
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...core.errors import ConfigError, DataFileError, OutputError
from ...io.checksums import checksums
from ...io.atomic import atomic_path
from ...io.hdf5 import read_attributes, read_rows, write_rows
from ..healpix import INDEX, INDEX_ORDER, Pixel, cells_around
from ..regions import in_cells, overlapping
from ..store.ledger import read_signed, signed
from ..store.store import RELEASES, open_store
from .columns import SkyColumn, object_columns
from .names import CHANGE, GONE, Earlier
from .objects import SkyConfig, catalogs_of, sky_of, used

log = logging.getLogger(__name__)
FORMAT, VERSION = "crowdsource-release", 1
RECORD, PLAN = "release.json", "plan.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PIXELS_OF_TASK = 8
"""So many neighbours are one task: they share what is read."""


@dataclass(frozen=True)
class Release:
    """A finished release.

    Attributes
    ----------
    path : Path
    name : str
    record : dict
        What ``release.json`` says.
    pixels : tuple of Pixel
        In the order of the sky's index.
    """
    path: Path
    name: str
    record: dict
    pixels: tuple

    @property
    def bands(self):
        """(name, system) of each band."""
        return tuple(tuple(b) for b in self.record["bands"])

    @property
    def columns(self):
        """`SkyColumn` of each column of the objects."""
        return tuple(SkyColumn(**c) for c in self.record["columns"])

    @property
    def snapshot(self):
        """Number of the store's commit that it was made from."""
        return self.record["snapshot"]

    def objects(self, pixel):
        """Objects of a pixel, sorted by `INDEX` and identifier."""
        return self._rows(pixel, "objects", "objects")

    def members(self, pixel):
        """How each detection of a pixel counts, sorted by `INDEX` and identifier."""
        return self._rows(pixel, "members", "members")

    def changes(self, pixel):
        """What became of objects of the release before; see `crowdsource.survey.objects.names.CHANGE`."""
        return self._rows(pixel, "objects", "changes")

    def _rows(self, pixel, folder, name):
        return read_rows(self.path/folder/pixel.path(".h5"), name)


@dataclass(frozen=True)
class Plan:
    """What a run makes; one that was cut off is gone on with when this is the same.

    Attributes
    ----------
    store : str
    snapshot : int
    zero_points : int
        Version of their table.
    config : SkyConfig
    previous : str
        "" for none.
    bands : tuple of (str, str)
    """
    store: str
    snapshot: int
    zero_points: int
    config: SkyConfig
    previous: str
    bands: tuple

    def record(self):
        """As JSON gives it back, without the place of the store."""
        return json.loads(json.dumps({k: v for k, v in asdict(self).items() if k != "store"}))


def open_release(store, name):
    """A finished release of a store.

    Raises
    ------
    DataFileError
        When there is none of that name.
    StoreError
        When its record is damaged or of a later version.
    """
    path = Path(store.path)/RELEASES/name
    if not (path/RECORD).is_file():
        others = releases(store)
        raise DataFileError(path, f"is no release; choose one of {', '.join(others)}" if others else
                            "is no release; make one with crowdsource healpix assemble")
    record, _ = read_signed(path/RECORD, FORMAT, VERSION)
    return Release(path, name, record, tuple(Pixel(*p) for p in record["pixels"]))


def releases(store):
    """Names of a store's releases, sorted."""
    folder = Path(store.path)/RELEASES
    return sorted(p.name for p in folder.iterdir() if (p/RECORD).is_file() and not p.name.startswith(".")) \
        if folder.is_dir() else []


def assemble(store, name, config=None, *, previous=None, zero_points=None, executor=None, progress=None):
    """Make a release: objects from all detections of a store.

    The result is the same, bit for bit, whatever the order of ingests, of pixels and of tasks, and whatever the store's order.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    name : str
        Letters, digits, dots, dashes and underscores.
    config : SkyConfig, optional
    previous : str, optional
        Release whose identifiers are carried on.
    zero_points : int, optional
        Version of the table of zero points; the newest when not given.
    executor : concurrent.futures.Executor, optional
        Does the work; here and now when not given.
    progress : callable, optional
        Called with the stage, the number of finished pixels, how many there are, and a dict.

    Returns
    -------
    Release

    Raises
    ------
    OutputError
        When there is such a release.
    ConfigError
        When a value makes no sense, or the store's margin is narrower than the radius needs.
    """
    config = (config or SkyConfig()).checked()
    final = _place(store, name)
    if config.association.reach > store.margin:
        raise ConfigError(f"a radius of {config.association.radius:g} arcsec needs margins of {config.association.reach:.4g}, "
                          f"but the store has {store.margin:g}: make one with --margin {np.ceil(config.association.reach):.0f}")
    with store.making(), store.reading():
        if final.exists():
            raise OutputError(f"{final}: exists already; choose another name or remove it")
        if previous:
            open_release(store, previous)
        snapshot = store.snapshot()
        versions = len(snapshot.state.zeropoints)
        plan = Plan(str(store.path), snapshot.number, versions if zero_points is None else zero_points, config, previous or "",
                    bands_of(snapshot))
        folder = _started(final, plan)
        done = _made(snapshot.pixels, plan, folder, executor, progress)
        _finish(folder, final, plan, done, store)
    return open_release(store, name)


def _place(store, name):
    """Folder of a release to be."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"a release cannot be named {name!r}: use letters, digits, dots, dashes and underscores")
    folder = Path(store.path)/RELEASES
    folder.mkdir(exist_ok=True)
    return folder/name


def bands_of(snapshot):
    """(name, system) of the bands of a snapshot that has any, in its order."""
    sources = snapshot.sources
    systems = {}
    for band, system, alive in zip(sources.band, sources.system, sources.alive):
        if alive and system:
            systems[band] = system
    return tuple((b, systems.get(b, "")) for b in snapshot.bands)


def _started(final, plan):
    """The folder of a release in the making: what is there stays when it was to be the same."""
    folder = final.with_name(f".{final.name}.partial")
    try:
        same = json.loads((folder/PLAN).read_text(encoding="utf-8")) == plan.record()
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with atomic_path(folder/PLAN) as temporary:
            temporary.write_text(json.dumps(plan.record()), encoding="utf-8")
    return folder


def _made(pixels, plan, folder, executor, progress):
    """Make all pixels that are not there; (rows of objects, checksums, counts) by pixel."""
    tasks = [pixels[k:k+PIXELS_OF_TASK] for k in range(0, len(pixels), PIXELS_OF_TASK)]
    done = {}

    def take(results):
        done.update(results)
        if progress:
            progress("pixels", len(done), len(pixels), {})

    if executor is None:
        for task in tasks:
            take(make_pixels(plan, folder, task))
        return done
    for future in as_completed([executor.submit(make_pixels, plan, folder, task) for task in tasks]):
        take(future.result())
    return done


def make_pixels(plan, folder, pixels):
    """Make some pixels of a release, but those that are there whole.

    Returns
    -------
    dict of Pixel to dict
        ``files``, checksums by path; ``objects``, ``members`` and ``uses``, numbers of rows.
    """
    return {pixel: _there(folder, pixel) or _make(plan, folder, pixel) for pixel in pixels}


def _files(folder, pixel):
    return [folder/kind/pixel.path(".h5") for kind in ("objects", "members")]


def _there(folder, pixel):
    """What an earlier run has made of a pixel, or None. The file of members is written last."""
    objects, members = _files(folder, pixel)
    if not (objects.is_file() and members.is_file()):
        return None
    sums = {str(Path(p).relative_to(folder)): digest for p, digest in checksums((objects, members))}
    counts = read_attributes(members)
    return dict(files=sums, objects=counts["objects"], members=counts["members"], uses=json.loads(counts["uses"]))


def _make(plan, folder, pixel):
    """Make the files of a pixel."""
    snapshot, catalogs = _loaded(plan)
    order = snapshot.margin_order
    around = cells_around(pixel, order)
    near = (t for q in neighbours(snapshot.pixels, around, order) for t in snapshot.read_border(q))
    tables = [*snapshot.read(pixel), *(t[in_cells(t[INDEX], around, order)] for t in near)]
    earlier = _earlier(plan, pixel, around, order) if plan.previous else None
    objects, members, changes = sky_of(tables, catalogs, plan.config, earlier)
    own = pixel.holds(objects[INDEX])
    gone = changes["change"] == GONE
    held = np.where(gone, pixel.holds(changes["previous_id"]), np.isin(changes["object_id"], objects["object_id"][own]))
    members = members[pixel.holds(members[INDEX])]
    counts = dict(objects=int(own.sum()), members=len(members), uses=json.dumps(used(members)))
    paths = _files(folder, pixel)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    sums = [write_rows(paths[0], {"objects": objects[own], "changes": changes[held]}, overwrite=True),
            write_rows(paths[1], {"members": members}, counts, overwrite=True)]
    return dict(files={str(p.relative_to(folder)): s for p, s in zip(paths, sums)}, objects=counts["objects"],
                members=counts["members"], uses=json.loads(counts["uses"]))


@lru_cache(maxsize=1)
def _loaded(plan):
    """Snapshot of the store and what is known of its images: once for each process."""
    snapshot = open_store(plan.store).snapshot(plan.snapshot)
    return snapshot, catalogs_of(snapshot.sources, plan.bands, snapshot.zero_points(plan.zero_points))


def neighbours(pixels, cells, order):
    """Those of some pixels, sorted, that hold any of some cells of an order at least theirs."""
    starts = np.array([p.start for p in pixels], dtype=np.int64)
    first = cells << 2*(INDEX_ORDER-order)
    at = np.unique(np.searchsorted(starts, first, side="right")-1)
    held = [pixels[k] for k in at if k >= 0]
    return [p for p in held if np.any(p.holds(first))]


def _earlier(plan, pixel, around, order):
    """What of the earlier release lies in a pixel and in the cells around it."""
    release = _earlier_release(plan)
    near = lambda rows: rows[pixel.holds(rows[INDEX]) | in_cells(rows[INDEX], around, order)]
    members, names = [], []
    for q in {*overlapping(release.pixels, pixel), *neighbours(release.pixels, around, order)}:
        found = near(release.members(q))
        members.append(found[found["object_id"] >= 0])
        names.append(near(release.objects(q))["object_id"])
    if not members:
        return None
    rows = np.concatenate(members)
    return Earlier(rows[INDEX], rows["detection_id"], rows["object_id"], np.unique(np.concatenate([*names, rows["object_id"]])))


@lru_cache(maxsize=1)
def _earlier_release(plan):
    return open_release(open_store(plan.store), plan.previous)


def _finish(folder, final, plan, done, store):
    """Write the record, and give the release its name."""
    record = dict(format=FORMAT, version=VERSION, written_by=version("crowdsourcephoto"), **plan.record())
    pixels = sorted(done, key=lambda p: p.start)
    record["pixels"] = [[p.order, p.number] for p in pixels]
    record["counts"] = [[done[p]["objects"], done[p]["members"]] for p in pixels]
    record["uses"] = {word: sum(done[p]["uses"][word] for p in pixels) for word in (done[pixels[0]]["uses"] if pixels else ())}
    record["columns"] = [asdict(c) for c in object_columns(plan.bands, plan.config.average.proper_motion)]
    record["files"] = {path: digest for p in pixels for path, digest in done[p]["files"].items()}
    if plan.previous:
        lost = _lost(plan, open_release(store, plan.previous), pixels)
        record["files"]["lost.h5"] = write_rows(folder/"lost.h5", {"changes": lost}, overwrite=True)
    with atomic_path(folder/RECORD, overwrite=True) as temporary:
        temporary.write_bytes(signed(record))
    for leftover in (folder/PLAN, *folder.rglob(".*")):
        # files whose writing was cut off
        leftover.unlink()
    os.replace(folder, final)


def _lost(plan, previous, pixels):
    """Changes for objects of the earlier release whose pixels have no detections any more."""
    starts, stops = (np.array([getattr(p, n) for p in pixels], dtype=np.int64) for n in ("start", "stop"))
    lost = []
    for pixel in previous.pixels:
        names = previous.objects(pixel)["object_id"]
        at = np.searchsorted(starts, names, side="right")-1
        lost.append(names[(at < 0) | (names >= stops[np.maximum(at, 0)])] if len(stops) else names)
    names = np.concatenate(lost) if lost else np.zeros(0, np.int64)
    out = np.zeros(len(names), CHANGE)
    out["change"], out["previous_id"], out["object_id"] = GONE, names, -1
    return out
