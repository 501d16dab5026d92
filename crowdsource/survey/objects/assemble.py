"""Making a release: the objects of a whole store, pixel by pixel.

A release is made in a folder whose name begins with a dot, and renamed when it is complete. An interrupted run is continued by
the next one with the same `ReleasePlan`, which uses the pixels that are there.
"""
import json
import os
import re
import shutil
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ...core.errors import ConfigError, OutputError
from ...io.atomic import atomic_path
from ...io.bounded import read_json
from ...io.checksums import checksums
from ...io.hdf5 import read_attributes, write_rows
from ..healpix import SPATIAL_INDEX, cells_around
from ..regions import in_cells, overlapping, pixels_with_cells
from ..store.commit_log import signed_json
from ..store.store import RELEASES, open_store
from .columns import object_columns
from .identifiers import CHANGE, GONE, PreviousObjects
from .pixel_objects import ObjectsConfig, count_uses, image_calibrations, make_objects
from .release import FORMAT, RECORD, VERSION, open_release

PLAN = "plan.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
PIXELS_OF_TASK = 8
"""Number of neighbouring pixels of a task: they share what is read."""


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    """What a run makes. An interrupted run is continued when the plan is the same.

    Attributes
    ----------
    store : str
        Its folder.
    snapshot : int
        Number of the store's commit.
    zero_points : int
        Version of the table of zero points; 0 for none.
    config : ObjectsConfig
    previous : str
        Release whose identifiers are kept; empty for none.
    bands : tuple of (str, str)
        Names and magnitude systems.
    """

    store: str
    snapshot: int
    zero_points: int
    config: ObjectsConfig
    previous: str
    bands: tuple

    def record(self):
        """As JSON gives it back, without the store's folder, which may be moved."""
        return json.loads(json.dumps({k: v for k, v in asdict(self).items() if k != "store"}))


@dataclass(frozen=True, eq=False)
class FinishedPixel:
    """What was written of a pixel.

    Attributes
    ----------
    files : dict of str to str
        Checksums by path in the release's folder.
    objects, members : int
        Numbers of rows.
    uses : dict of str to int
        Number of members by how they count.
    """

    files: dict
    objects: int
    members: int
    uses: dict


def assemble(store, name, config=None, *, previous=None, zero_points=None, executor=None, progress=None):
    """Make a release: the objects of all detections of a store.

    The result is the same, bit for bit, for any order of ingests, pixels and tasks, and for any order of the store's pixels.

    Parameters
    ----------
    store : crowdsource.survey.store.store.Store
    name : str
        Letters, digits, dots, dashes and underscores.
    config : ObjectsConfig, optional
    previous : str, optional
        Release whose identifiers of objects are kept.
    zero_points : int, optional
        Version of the table of zero points; the newest when not given.
    executor : concurrent.futures.Executor, optional
        Runs the tasks; this process when not given.
    progress : callable, optional
        Called with ("pixels", number of finished pixels, number of pixels, figures).

    Returns
    -------
    Release

    Raises
    ------
    OutputError
        When there is a release of that name that was made of other detections or in another way.
    ConfigError
        When a value makes no sense, or the store's margin is narrower than the radius needs.
    """
    config = (config or ObjectsConfig()).checked()
    final = _release_folder(store, name)
    if config.association.reach > store.margin:
        raise ConfigError(f"a radius of {config.association.radius:g} arcsec needs margins of {config.association.reach:.4g}, "
                          f"but the store has {store.margin:g}: make one with --margin {np.ceil(config.association.reach):.0f}")
    with store.assembling(), store.reading():
        if previous:
            open_release(store, previous)
        snapshot = store.snapshot()
        versions = len(snapshot.state.zeropoints)
        plan = ReleasePlan(store=str(store.path), snapshot=snapshot.number, config=config, previous=previous or "",
                           zero_points=versions if zero_points is None else zero_points, bands=bands_of(snapshot))
        if final.exists():
            return _same_release(store, name, plan)
        folder = _partial_folder(final, plan)
        done = _make_all(snapshot.pixels, plan, folder, executor, progress)
        _finish(folder, final, plan, done)
    return open_release(store, name)


def _same_release(store, name, plan):
    """The release that is there, if it was made by the same plan; raises `OutputError` otherwise."""
    release, wanted = open_release(store, name), plan.record()
    other = [n.replace("_", " ") for n in wanted if release.record.get(n) != wanted[n]]
    if other:
        raise OutputError(f"{release.path}: exists already, of another {', '.join(other)}; choose another name or remove it")
    return release


def _release_folder(store, name):
    """The folder that a release will have."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"a release cannot be named {name!r}: use letters, digits, dots, dashes and underscores")
    folder = Path(store.path)/RELEASES
    folder.mkdir(exist_ok=True)
    return folder/name


def bands_of(snapshot):
    """(name, magnitude system) of the bands of a snapshot, in its order."""
    images = snapshot.images
    systems = {}
    for band, system, alive in zip(images.band, images.system, images.alive):
        if alive and system:
            systems[band] = system
    return tuple((b, systems.get(b, "")) for b in snapshot.bands)


def _partial_folder(final, plan):
    """The folder of an unfinished release; pixels of an earlier run stay when its plan was the same."""
    folder = final.with_name(f".{final.name}.partial")
    try:
        same = read_json(folder/PLAN) == plan.record()
    except (OSError, ValueError):
        same = False
    if not same:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with atomic_path(folder/PLAN) as temporary:
            temporary.write_text(json.dumps(plan.record()), encoding="utf-8")
    return folder


def _make_all(pixels, plan, folder, executor, progress):
    """Make all pixels that are not there; `FinishedPixel` by pixel."""
    tasks = [pixels[k:k+PIXELS_OF_TASK] for k in range(0, len(pixels), PIXELS_OF_TASK)]
    done = {}

    def add(results):
        done.update(results)
        if progress:
            progress("pixels", len(done), len(pixels), {})

    if executor is None:
        for task in tasks:
            add(make_pixels(plan, folder, task))
        return done
    for future in as_completed([executor.submit(make_pixels, plan, folder, task) for task in tasks]):
        add(future.result())
    return done


def make_pixels(plan, folder, pixels):
    """Make some pixels of a release, except those that are complete already.

    Returns
    -------
    dict of HealpixPixel to FinishedPixel
    """
    return {pixel: finished_pixel(folder, pixel) or make_pixel(plan, folder, pixel) for pixel in pixels}


def _pixel_files(folder, pixel):
    return [folder/kind/pixel.path(".h5") for kind in ("objects", "members")]


def finished_pixel(folder, pixel):
    """The `FinishedPixel` that an earlier run has made, or None. The file of members is written last."""
    objects, members = _pixel_files(folder, pixel)
    if not (objects.is_file() and members.is_file()):
        return None
    sums = {str(Path(p).relative_to(folder)): digest for p, digest in checksums((objects, members))}
    counts = read_attributes(members)
    return FinishedPixel(sums, counts["objects"], counts["members"], json.loads(counts["uses"]))


def make_pixel(plan, folder, pixel):
    """Make the files of a pixel. Returns the `FinishedPixel`."""
    snapshot, images = _opened_snapshot(plan)
    order = snapshot.margin_order
    around = cells_around(pixel, order)
    near = (t for q in pixels_with_cells(snapshot.pixels, around, order) for t in snapshot.read_border(q))
    tables = [*snapshot.read(pixel), *(t[in_cells(t[SPATIAL_INDEX], around, order)] for t in near)]
    previous = _previous_objects(plan, pixel, around, order) if plan.previous else None
    made = make_objects(tables, images, plan.config, previous)
    objects = made.objects[pixel.contains(made.objects[SPATIAL_INDEX])]
    members = made.members[pixel.contains(made.members[SPATIAL_INDEX])]
    changes = _own_changes(made.changes, objects, pixel)
    uses = count_uses(members)
    paths = _pixel_files(folder, pixel)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    sums = [write_rows(paths[0], {"objects": objects, "changes": changes}, overwrite=True),
            write_rows(paths[1], {"members": members}, dict(objects=len(objects), members=len(members), uses=json.dumps(uses)),
                       overwrite=True)]
    return FinishedPixel({str(p.relative_to(folder)): s for p, s in zip(paths, sums)}, len(objects), len(members), uses)


def _own_changes(changes, objects, pixel):
    """The changes that belong to a pixel: to its objects, or to earlier objects that were in it and are gone."""
    gone = changes["change"] == GONE
    return changes[np.where(gone, pixel.contains(changes["previous_id"]), np.isin(changes["object_id"], objects["object_id"]))]


@lru_cache(maxsize=1)
def _opened_snapshot(plan):
    """Snapshot of the store, and `ImageCalibrations`: once for each process."""
    snapshot = open_store(plan.store).snapshot(plan.snapshot)
    return snapshot, image_calibrations(snapshot.images, plan.bands, snapshot.zero_points(plan.zero_points))


def _previous_objects(plan, pixel, around, order):
    """`PreviousObjects` in a pixel and in the cells around it; None where there are none."""
    release = _previous_release(plan)
    members, ids = [], []

    def near(rows):
        return rows[pixel.contains(rows[SPATIAL_INDEX]) | in_cells(rows[SPATIAL_INDEX], around, order)]

    for q in {*overlapping(release.pixels, pixel), *pixels_with_cells(release.pixels, around, order)}:
        found = near(release.members(q))
        members.append(found[found["object_id"] >= 0])
        ids.append(near(release.objects(q))["object_id"])
    if not members:
        return None
    rows = np.concatenate(members)
    return PreviousObjects(rows[SPATIAL_INDEX], rows["detection_id"], rows["object_id"],
                           np.unique(np.concatenate([*ids, rows["object_id"]])))


@lru_cache(maxsize=1)
def _previous_release(plan):
    return open_release(open_store(plan.store), plan.previous)


def _finish(folder, final, plan, done):
    """Write the record, and give the release its name."""
    record = dict(format=FORMAT, version=VERSION, written_by=version("crowdsourcephoto"), **plan.record())
    pixels = sorted(done, key=lambda p: p.start)
    record["pixels"] = [[p.order, p.number] for p in pixels]
    record["counts"] = [[done[p].objects, done[p].members] for p in pixels]
    record["uses"] = {word: sum(done[p].uses[word] for p in pixels) for word in (done[pixels[0]].uses if pixels else ())}
    record["columns"] = [asdict(c) for c in object_columns(plan.bands, plan.config.average.proper_motion)]
    record["files"] = {path: digest for p in pixels for path, digest in done[p].files.items()}
    if plan.previous:
        lost = _lost_objects(open_release(open_store(plan.store), plan.previous), pixels)
        record["files"]["lost.h5"] = write_rows(folder/"lost.h5", {"changes": lost}, overwrite=True)
    with atomic_path(folder/RECORD, overwrite=True) as temporary:
        temporary.write_bytes(signed_json(record))
    for leftover in (folder/PLAN, *folder.rglob(".*")):
        # temporary files of an interrupted run
        leftover.unlink()
    os.replace(folder, final)


def _lost_objects(previous, pixels):
    """Changes for objects of the earlier release whose pixels have no detections any more."""
    starts, stops = (np.array([getattr(p, n) for p in pixels], dtype=np.int64) for n in ("start", "stop"))
    lost = []
    for pixel in previous.pixels:
        ids = previous.objects(pixel)["object_id"]
        at = np.searchsorted(starts, ids, side="right")-1
        lost.append(ids[(at < 0) | (ids >= stops[np.maximum(at, 0)])] if len(stops) else ids)
    ids = np.concatenate(lost) if lost else np.zeros(0, np.int64)
    out = np.zeros(len(ids), CHANGE)
    out["change"], out["previous_id"], out["object_id"] = GONE, ids, -1
    return out
