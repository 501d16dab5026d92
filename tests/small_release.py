"""A small survey for tests of exports: detections of a few images and the objects made of them, held in memory."""
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import healpy
import numpy as np
from small_sky import FIELDS, detections

from crowdsource.survey.exports.release_reader import ReleaseReader
from crowdsource.survey.healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER, HealpixPixel, at_border, margin_order
from crowdsource.survey.objects.columns import object_columns
from crowdsource.survey.objects.pixel_objects import ObjectsConfig, image_calibrations, make_objects

BANDS = (("g", "AB"), ("r", "AB"))
ORDER, MARGIN = 7, 12.
"""Of the store."""
CENTRE, SIDE, STARS = (45., 0.), 1.8, 1500
"""Degrees: the middle is a corner of pixels of the lowest order."""
EDGE = 40
EXTRA = np.dtype([*FIELDS, ("x", "f4"), ("word", "S5"), ("pair", "f4", (2,))])


class FakeSnapshot:
    """Rows in memory, as `crowdsource.survey.store.store.Snapshot` gives them."""
    number, margin_order = 3, margin_order(MARGIN)

    def __init__(self, tables, images):
        self.tables, self.images = tables, images
        index = np.concatenate([t[SPATIAL_INDEX] for t in tables])
        self.pixels = tuple(HealpixPixel(ORDER, int(p)) for p in np.unique(index >> 2*(SPATIAL_INDEX_ORDER-ORDER)))

    def read(self, pixel):
        rows = [t[t[SPATIAL_INDEX] >> 2*(SPATIAL_INDEX_ORDER-ORDER) == pixel.number] for t in self.tables]
        groups = {}
        for r in rows:
            if len(r):
                groups.setdefault(r.dtype, []).append(r)
        return [np.concatenate(g) for g in groups.values()]

    def read_border(self, pixel):
        rows = [t[at_border(t[SPATIAL_INDEX], pixel, self.margin_order)] for t in self.read(pixel)]
        return [r for r in rows if len(r)]


class FakeRelease:
    """Objects and members in memory, as `crowdsource.survey.objects.release.Release` gives them."""
    name, snapshot, bands, path = "dr1", 3, BANDS, Path("store/releases/dr1")

    def __init__(self, pixels, objects, members):
        self.pixels, self._objects, self._members = pixels, objects, members
        self.columns = object_columns(BANDS)
        self.record = dict(counts=[[len(self.objects(p)), len(self.members(p))] for p in pixels])

    def objects(self, pixel):
        return self._of(self._objects, pixel)

    def members(self, pixel):
        return self._of(self._members, pixel)

    def _of(self, rows, pixel):
        return rows[np.searchsorted(rows[SPATIAL_INDEX], pixel.start):np.searchsorted(rows[SPATIAL_INDEX], pixel.stop)]


class FakeSurvey(ReleaseReader):
    """As `crowdsource.survey.exports.release_reader.ReleaseReader`."""

    def __init__(self, snapshot, release, store):
        self.snapshot, self.release, self.store = snapshot, release, store

    def row_types(self):
        return sorted({t.dtype for t in self.snapshot.tables}, key=lambda t: -len(t.names))


@lru_cache(maxsize=1)
def small_survey(stars=STARS, images=6):
    """A `FakeSurvey`: half of the images have more columns than the others."""
    rng = np.random.default_rng(20)
    ra, dec = (c+SIDE*rng.uniform(-0.5, 0.5, stars) for c in CENTRE)
    # some on the edges of a pixel, so that their detections lie on both sides
    ra[:EDGE], dec[:EDGE] = healpy.vec2ang(healpy.boundaries(1 << ORDER, 0, step=EDGE//4, nest=True).T, lonlat=True)
    flux, tables = 10**rng.uniform(0.5, 3, stars), []
    for k in range(images):
        seen = rng.random(stars) < 0.8
        n = seen.sum()
        rows = detections(k, ra[seen]+rng.normal(0, 0.02, n)/3600, dec[seen]+rng.normal(0, 0.02, n)/3600,
                          flux=flux[seen]+rng.normal(0, 1, n))
        if k % 2:
            more = np.zeros(n, EXTRA)
            for name in rows.dtype.names:
                more[name] = rows[name]
            more["x"], more["word"], more["pair"] = rng.uniform(0, 100, n), b"star", rng.normal(size=(n, 2))
            rows = more
        tables.append(rows[rng.permutation(n)])
    images = SimpleNamespace(
        source=np.arange(images, dtype=np.int32), exposure=np.array([f"e{k}" for k in range(images)]),
        detector=np.array(["n1", "n2"]*3)[:images], band=np.array(["g", "r", "r"]*2)[:images], system=np.array(["AB"]*images),
        alive=np.ones(images, bool), file=np.array([f"e{k}.cat.fits" for k in range(images)]),
        mjd=55000.+np.arange(images), zeropoint=np.full(images, 22.5), pixel_scale=np.full(images, 0.25))
    snapshot = FakeSnapshot(tables, images)
    made = make_objects([t for p in snapshot.pixels for t in snapshot.read(p)],
                        image_calibrations(images, BANDS, images.zeropoint), ObjectsConfig())
    index = np.concatenate([made.objects[SPATIAL_INDEX], made.members[SPATIAL_INDEX]])
    pixels = tuple(HealpixPixel(ORDER, int(p)) for p in np.unique(index >> 2*(SPATIAL_INDEX_ORDER-ORDER)))
    snapshot.pixels = pixels
    store = SimpleNamespace(path="store", snapshot=lambda: snapshot)
    return FakeSurvey(snapshot, FakeRelease(pixels, made.objects, made.members), store)
