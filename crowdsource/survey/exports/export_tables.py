"""Tables that are exported: objects, objects with their detections, or detections, of a region, by HEALPix pixel."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..healpix import SPATIAL_INDEX, cells_around
from ..objects.columns import VOColumn
from ..regions import WHOLE_SKY, Region, in_cells, pixels_with_cells
from ..sorting import order_by
from .arrow import arrow, arrow_field, arrow_table, joined_tables, schema_of
from .release_reader import DetectionReader, ReleaseReader

ROWS = 1 << 17
"""Highest number of rows of a table."""
NESTED = "detections"
NOT_NESTED = {SPATIAL_INDEX, "object_id"}
"""Columns that detections have from their object."""


@dataclass(frozen=True, eq=False)
class ExportTable:
    """Rows of one kind in a region; base class.

    A table has ``columns``, ``index(pixel)`` and ``blocks(pixel, part)``, and the class attributes ``name``, ``kind`` (HATS),
    ``identity`` (column of identifiers) and ``counted`` (which of the release's counts are its rows).

    Attributes
    ----------
    survey : ReleaseReader
    region : Region
    """

    survey: ReleaseReader
    region: Region = WHOLE_SKY

    @cached_property
    def schema(self):
        """The Arrow schema of the tables."""
        return schema_of(self.columns)

    def counts(self):
        """Number of rows by pixel of the release, for pixels with rows."""
        release, out = self.survey.release, {}
        for pixel, counts in zip(release.pixels, release.record["counts"]):
            if self.region.overlaps(pixel):
                number = counts[self.counted] if self.region.contains_pixel(pixel) else len(self.index(pixel))
                if number:
                    out[pixel] = number
        return out

    def tables(self, pixel, part=WHOLE_SKY):
        """The ``blocks`` as Arrow tables."""
        for block in self.blocks(pixel, part):
            yield arrow_table(block, self.schema)


@dataclass(frozen=True, eq=False)
class ObjectTable(ExportTable):
    """Objects of a region."""

    name, kind, identity, counted = "objects", "object", "object_id", 0

    @cached_property
    def columns(self):
        """`VOColumn` of each column."""
        return self.survey.release.columns

    def index(self, pixel):
        """The ascending spatial index of the rows of a pixel of the release."""
        return self._rows(pixel)[SPATIAL_INDEX]

    def blocks(self, pixel, part=WHOLE_SKY):
        """Columns by name of the rows of a pixel in a part of the sky, in order, at most `ROWS` rows at a time."""
        rows = self._rows(pixel)
        if not part.contains_pixel(pixel):
            rows = rows[part.contains_rows(rows)]
        for piece in slices(len(rows)):
            yield rows[piece]

    def _rows(self, pixel):
        rows = self.survey.release.objects(pixel)
        return rows if self.region.contains_pixel(pixel) else rows[self.region.contains_rows(rows)]


@dataclass(frozen=True, eq=False)
class DetectionTable(ExportTable):
    """Detections of a region, with their images and how they count."""

    name, kind, identity, counted = "detections", "source", "detection_id", 1

    @cached_property
    def rows(self):
        """The `DetectionReader`."""
        return DetectionReader(self.survey)

    @cached_property
    def columns(self):
        """`VOColumn` of each column."""
        return self.rows.columns

    def index(self, pixel):
        """The ascending spatial index of the rows of a pixel of the release."""
        if self.region.contains_pixel(pixel):
            return self.survey.release.members(pixel)[SPATIAL_INDEX]
        return self.rows.rows(pixel, self.region).members[SPATIAL_INDEX]

    def blocks(self, pixel, part=WHOLE_SKY):
        """Columns by name of the rows of a pixel in a part of the sky, in order, at most `ROWS` rows at a time."""
        joined = self.rows.rows(pixel, self.region)
        if not part.contains_pixel(pixel):
            joined = joined.subset(part.contains_rows({SPATIAL_INDEX: joined.members[SPATIAL_INDEX]}))
        for piece in slices(len(joined)):
            yield joined.subset(piece).columns()


@dataclass(frozen=True, eq=False)
class NestedObjectTable(ObjectTable):
    """Objects, each with its detections as lists in one more column."""

    @cached_property
    def rows(self):
        """The `DetectionReader`."""
        return DetectionReader(self.survey)

    @cached_property
    def inner(self):
        """`VOColumn` of each column of the lists."""
        return tuple(c for c in self.rows.columns if c.name not in NOT_NESTED)

    @cached_property
    def schema(self):
        """The Arrow schema of the tables."""
        pa = arrow()
        fields = [arrow_field(c, pa.list_(pa.string() if pa.types.is_dictionary(t) else t))
                  for c, t in ((c, schema_of([c]).types[0]) for c in self.inner)]
        nested = arrow_field(VOColumn(NESTED, "", "", "", "the detections of the object, by identifier"), pa.struct(fields))
        return super().schema.append(nested)

    def tables(self, pixel, part=WHOLE_SKY):
        """Rows as of `ObjectTable.tables` with their detections, some of which lie in neighbouring pixels."""
        detections = self._detections(pixel)
        owner, ids = (detections[n].to_numpy() for n in ("object_id", "detection_id"))
        for objects in self.blocks(pixel, part):
            at, start = detections_of_objects(owner, ids, objects["object_id"])
            table = arrow_table(objects, schema_of(self.columns))
            yield table.append_column(self.schema.field(NESTED), self._nested(detections.take(at), start))

    def _detections(self, pixel):
        """Detections of the objects in a pixel: those in it, and those near its edge."""
        snapshot, schema = self.survey.snapshot, schema_of(self.rows.columns)
        around = cells_around(pixel, snapshot.margin_order)
        found = [self.rows.rows(pixel)]
        for q in pixels_with_cells(self.survey.release.pixels, around, snapshot.margin_order):
            border = self.rows.rows(q, border=True)
            found.append(border.subset(in_cells(border.members[SPATIAL_INDEX], around, snapshot.margin_order)))
        found = [f.subset(f.members["object_id"] >= 0) for f in found]
        return joined_tables([arrow_table(f.columns(), schema) for f in found if len(f)], schema)

    def _nested(self, detections, start):
        """The column of lists; `start` has where the detections of each object begin, and the end of the last."""
        pa = arrow()
        offsets, struct = pa.array(start.astype(np.int32)), self.schema.field(NESTED).type
        lists = []
        for f in struct:
            values = detections[f.name].combine_chunks()
            values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
            lists.append(pa.ListArray.from_arrays(offsets, values, type=f.type))
        return pa.StructArray.from_arrays(lists, fields=list(struct))


def detections_of_objects(owner, ids, objects):
    """Detections of objects.

    Parameters
    ----------
    owner, ids : ndarray, shape (n,), int64
        Object and identifier of each detection.
    objects : ndarray, shape (m,), int64

    Returns
    -------
    rows : ndarray of int
        Detections by object, and by identifier.
    start : ndarray, shape (m+1,)
        Where those of each object begin in ``rows``.
    """
    by_name = order_by(objects)
    at = np.searchsorted(objects[by_name], owner)
    known = np.flatnonzero(objects[by_name][np.minimum(at, len(objects)-1)] == owner)
    place = by_name[at[known]]
    return known[order_by(place, ids[known])], np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(objects)))])


def slices(n):
    """Slices of nearly equal length, at most `ROWS`, of n rows."""
    number = -(-n//ROWS)
    edges = [n*k//number for k in range(number+1)] if n else []
    return [slice(a, b) for a, b in zip(edges, edges[1:])]
