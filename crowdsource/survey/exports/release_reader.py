"""Reads a release together with the detections that it was made from: rows of both by HEALPix pixel, and their columns."""
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError
from ...engine.schema import DETECTION, FLUX, FORCED, MAGNITUDE, WORLD
from ...io.hdf5 import opened_rows
from ..healpix import SPATIAL_INDEX, at_border
from ..objects.average import USES
from ..objects.columns import MEMBER_COLUMNS, VOColumn
from ..objects.release import open_release
from ..regions import WHOLE_SKY, overlapping
from ..sorting import StackedTables, order_by
from ..store.store import open_store

TEXT = "text"
"""Stands for the dtype of text that many rows share, held as a `DictionaryColumn`."""
OF_SOURCE = (
    VOColumn("exposure", TEXT, "", "meta.id;obs", "exposure"),
    VOColumn("detector", TEXT, "", "meta.id;instr.det", "detector"),
    VOColumn("band", TEXT, "", "meta.id;instr.bandpass", "band"),
    VOColumn("mjd", "f8", "d", "time.epoch", "epoch, modified Julian date"),
)
RENAMED = {"flux": "calibrated_flux", "flux_error": "calibrated_flux_error"}
"""Names in exports of columns of members, as the catalogs have their own fluxes."""
OF_MEMBER = tuple(replace(c, name=RENAMED.get(c.name, c.name), dtype=TEXT if c.name == "use" else c.dtype)
                  for c in MEMBER_COLUMNS if c.name != "detection_id")
STORED = {c.name: VOColumn(c.name, c.dtype, "" if c.unit == FLUX else c.unit, "", c.description)
          for c in (*DETECTION, *FORCED, *WORLD, *MAGNITUDE)}
UCDS = {"ra": "pos.eq.ra;meta.main", "dec": "pos.eq.dec;meta.main", "x": "pos.cartesian.x;instr.det",
        "y": "pos.cartesian.y;instr.det", "flux": "phot.count", "dflux": "stat.error;phot.count", "mag": "phot.mag",
        "dmag": "stat.error;phot.mag", "flags": "meta.code.multip", "fwhm": "instr.det.psf"}
STORED.update({SPATIAL_INDEX: VOColumn(SPATIAL_INDEX, "i8", "", "pos.healpix", "HEALPix index of the position, order 29, nested"),
               "source": VOColumn("source", "i4", "", "meta.id", "number of the detector's catalog in the store"),
               "detection_id": VOColumn("detection_id", "i8", "", "meta.id;meta.main", "identifier of the detection")})
OWN = "_catalog"
"""Suffix of a catalog's column whose name another column has."""


@dataclass(frozen=True, eq=False)
class DictionaryColumn:
    """A column of text, encoded by a dictionary as in Arrow.

    Attributes
    ----------
    code : ndarray, shape (n,), int32
        Index in `words` of each row's text.
    words : ndarray of str
        The different texts.
    """

    code: np.ndarray
    words: np.ndarray

    def decoded(self):
        """The text of the rows."""
        return self.words[self.code]


class ReleaseReader:
    """A release and its detections. It can be pickled: another process opens it anew.

    Attributes
    ----------
    store : crowdsource.survey.store.store.Store
    release : crowdsource.survey.objects.release.Release
    snapshot : crowdsource.survey.store.store.Snapshot
    """

    def __init__(self, store, release):
        self.store, self.release = store, release
        self.snapshot = store.snapshot(release.snapshot)

    def __reduce__(self):
        return open_reader, (str(self.store.path), self.release.name)

    @cached_property
    def newest(self):
        """The store's newest snapshot: since the release, segments may have been merged into others."""
        return self.store.snapshot()

    def row_types(self):
        """The dtypes of rows in the store, the one with most columns first.

        Raises
        ------
        DataFileError
            When no file of a dtype is left.
        """
        paths = {}
        for s in chain.from_iterable(chain(*(n.state.segments.values() for n in (self.snapshot, self.newest)))):
            paths.setdefault(s.schema, []).append(Path(self.store.path, s.path))
        types = []
        for schema in sorted({s.schema for of_pixel in self.snapshot.state.segments.values() for s in of_pixel}):
            there = next((p for p in paths[schema] if p.exists()), paths[schema][0])
            with opened_rows(there) as file:
                types.append(file["detections"].dtype)
        return sorted(types, key=lambda t: -len(t.names))

    def read(self, pixel, border=False):
        """Rows of a pixel as the store had them when the release was made: a list of structured arrays.

        Parameters
        ----------
        pixel : HealpixPixel
            Of the release.
        border : bool
            Only rows in the pixel's outermost cells of the store's ``margin_order``.
        """
        try:
            return self.snapshot.read_border(pixel) if border else self.snapshot.read(pixel)
        except DataFileError:
            if self.newest.number == self.snapshot.number:
                raise
        alive, tables = self.snapshot.images.alive, []
        for table in (t for p in overlapping(self.newest.pixels, pixel) for t in self.newest.read(p)):
            known = table["source"] < len(alive)
            known[known] = alive[table["source"][known]]
            known &= pixel.contains(table[SPATIAL_INDEX])
            if border:
                known &= at_border(table[SPATIAL_INDEX], pixel, self.snapshot.margin_order)
            tables.append(table[known])
        return tables


@lru_cache(maxsize=1)
def open_reader(path, name):
    """The `ReleaseReader` of a store's folder and a release's name."""
    store = open_store(path)
    return ReleaseReader(store, open_release(store, name))


class DetectionReader:
    """Reads detections: the catalogs' columns, their images, and how they count.

    Parameters
    ----------
    survey : ReleaseReader
    """

    def __init__(self, survey):
        self.survey = survey

    @cached_property
    def stored(self):
        """Dtype of each column of the catalogs, by name: the widest where they differ, bytes where some hold text."""
        types = {}
        for row in self.survey.row_types():
            for name in row.names:
                types.setdefault(name, []).append(row[name])
        return {n: common_dtype(t) for n, t in types.items()}

    @cached_property
    def columns(self):
        """`VOColumn` of each column, in order."""
        others = (*OF_SOURCE, *OF_MEMBER)
        taken = {c.name for c in others}
        own = [replace(STORED.get(n, VOColumn(n, "", "", "", "")), dtype=t.str if t.subdtype is None else t,
                       ucd=UCDS.get(n, STORED[n].ucd if n in STORED else "")) for n, t in self.stored.items()]
        return (*(replace(c, name=self.name_of(c.name, taken)) for c in own), *others)

    def name_of(self, name, taken=frozenset(c.name for c in (*OF_SOURCE, *OF_MEMBER))):
        """Name in exports of a column of the catalogs."""
        return name+OWN if name in taken else name

    def rows(self, pixel, region=WHOLE_SKY, border=False):
        """Detections of a pixel, sorted by index and identifier.

        Parameters
        ----------
        pixel : HealpixPixel
            Of the release.
        region : Region
            Only rows in it.
        border : bool
            Only rows in the pixel's outermost cells of the store's ``margin_order``.

        Returns
        -------
        DetectionBlock

        Raises
        ------
        DataFileError
            When the release does not fit the store.
        """
        snapshot, release = self.survey.snapshot, self.survey.release
        tables, members = self.survey.read(pixel, border), release.members(pixel)
        if border:
            members = members[at_border(members[SPATIAL_INDEX], pixel, snapshot.margin_order)]
        order = sky_order(tables)
        if len(order) != len(members) or (sorted_column(tables, "detection_id", order) != members["detection_id"]).any():
            raise DataFileError(release.path, f"its members of {pixel.path()} are not the detections in the store, where others "
                                "have replaced them or a file was damaged; assemble anew")
        if not region.contains_pixel(pixel):
            keep = region.contains_rows({n: sorted_column(tables, n, order) for n in (SPATIAL_INDEX, "ra", "dec")})
            order, members = order[keep], members[keep]
        return DetectionBlock(self, StackedTables(tables), order, members)


def common_dtype(types):
    """One dtype for values of several dtypes."""
    if any(t.kind == "S" for t in types) and not all(t.kind == "S" for t in types):
        return np.result_type(*(t if t.kind == "S" else np.dtype("S32") for t in types))
    return np.result_type(*types) if all(t.subdtype is None for t in types) else types[0]


def sky_order(tables):
    """Row numbers, counted through all tables, sorted by spatial index and identifier."""
    names = SPATIAL_INDEX, "detection_id"
    return order_by(*(np.concatenate([t[n] for t in tables]) if tables else np.zeros(0, np.int64) for n in names))


def sorted_column(tables, name, order):
    """A column that all tables have, in a given order."""
    return np.concatenate([t[name] for t in tables])[order] if tables else np.zeros(0)


@dataclass(frozen=True, eq=False)
class DetectionBlock:
    """Detections of a pixel.

    Attributes
    ----------
    detections : DetectionReader
    tables : StackedTables
        Rows of the store.
    order : ndarray, shape (n,)
        Number of each row, counted through all tables.
    members : ndarray, shape (n,)
    """

    detections: DetectionReader
    tables: StackedTables
    order: np.ndarray
    members: np.ndarray

    def __len__(self):
        return len(self.order)

    def subset(self, rows):
        """Some of the rows, by number, mask or slice."""
        return replace(self, order=self.order[rows], members=self.members[rows])

    def columns(self):
        """All columns.

        Returns
        -------
        dict of str to ndarray, shape (n,), or DictionaryColumn
            By the names of `DetectionReader.columns`; masked arrays where a catalog has no such column.
        """
        stored, missing = self._stored()
        images, members = self.detections.survey.snapshot.images, self.members
        out = {self.detections.name_of(n): np.ma.MaskedArray(v, missing[n]) if n in missing else v for n, v in stored.items()}
        present, code = number_values(stored["source"])
        for c in OF_SOURCE:
            values = getattr(images, c.name)[present]
            if c.dtype == TEXT:
                words, number = np.unique(values, return_inverse=True)
                out[c.name] = DictionaryColumn(number.astype(np.int32)[code], words)
            else:
                out[c.name] = np.asarray(values, c.dtype)[code]
        for c in MEMBER_COLUMNS:
            if c.name != "detection_id":
                out[RENAMED.get(c.name, c.name)] = np.ascontiguousarray(members[c.name])
        out["use"] = DictionaryColumn(out["use"].astype(np.int32), np.array(list(USES.values())))
        return out

    def _stored(self):
        """Columns of the catalogs by name, and by name which rows lack them."""
        out = {n: np.zeros((len(self), *t.shape), t.base) for n, t in self.detections.stored.items()}
        missing = {n: np.zeros(v.shape, bool) for n, v in out.items() if any(n not in t.names for t in self.tables.dtypes)}
        for at, rows in self.tables.strips(self.order):
            for n, column in out.items():
                if n in rows.dtype.names:
                    column[at] = rows[n]
                else:
                    missing[n][at] = True
        return out, missing


def number_values(numbers):
    """The different values of an array of integers from 0, ascending, and the index of each number among them."""
    present = np.flatnonzero(np.bincount(numbers))
    code = np.zeros(present[-1]+1 if len(present) else 0, np.int32)
    code[present] = np.arange(len(present))
    return present, code[numbers]
