"""Catalogs in HATS, the IVOA's scheme of Parquet files by HEALPix pixel: what lsdb opens.

A collection is a folder with ``collection.properties`` and folders of catalogs: ``objects`` and, if wanted, their margin
``objects_10arcs`` and ``detections``, a collection of the same kind. Each catalog has ``hats.properties``,
``partition_info.csv`` and ``dataset/Norder=k/Dir=d/Npix=p.parquet``, sorted by `SPATIAL_INDEX`; the margin's file of a pixel
holds the rows of other pixels that lie near it.
"""
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...core.errors import ConfigError
from ...io.atomic_folder import atomic_folder, published
from ...io.folder_contents import made_of
from ..healpix import SPATIAL_INDEX, HealpixPixel, at_border, cells_around, margin_order
from ..regions import WHOLE_SKY, Region, in_cells, overlapping, pixels_with_cells
from ..sorting import order_by
from .arrow import joined_tables, parquet, parquet_options
from .export_tables import DetectionTable, NestedObjectTable, ObjectTable
from .hats_files import COLLECTION, HatsCatalog, builder, write_catalog_files, write_collection

SECOND, NESTED, NONE = FORMS = ("second", "nested", "none")
WIDEST_MARGIN = 600.
FINEST = 15
"""Order of the finest cells of margins, and of the finest pixels."""
ENOUGH_ROWS = 1 << 16
"""Lowest number of rows of a row group, except the last of a file; a table has at most twice as many."""
FILE = ".parquet"


@dataclass(frozen=True)
class HatsConfig:
    """How a release becomes a collection.

    Attributes
    ----------
    detections : str
        ``second``: as a second catalog; ``nested``: as lists in the objects' rows; ``none``.
    margin : float
        Arcsec; a pixel's margin has all rows of other pixels within this distance of it, and a few more; 0 for no margins.
    max_rows : int
        Number of rows above which a pixel is divided.
    """

    detections: str = SECOND
    margin: float = 10.
    max_rows: int = 1_000_000

    def checked(self):
        """Itself; raises `ConfigError` for values that make no sense."""
        if self.detections not in FORMS:
            raise ConfigError(f"detections as {self.detections!r} are unknown; choose one of {', '.join(FORMS)}")
        if not 0 <= self.margin <= WIDEST_MARGIN:
            raise ConfigError(f"a margin of {self.margin:g} arcsec is out of range: give 0 for none, up to {WIDEST_MARGIN:.0f}")
        if self.max_rows < 1:
            raise ConfigError(f"at most {self.max_rows} rows are too few: give 1 or more")
        return self

    @property
    def border_order(self):
        """Order of the cells along the edges of pixels, of which margins are made; no pixel is finer."""
        return min(margin_order(self.margin), FINEST) if self.margin else FINEST


@dataclass(frozen=True)
class TaskRunner:
    """Runs tasks and reports the progress.

    Attributes
    ----------
    executor : concurrent.futures.Executor or None
        Runs the tasks; this process when None.
    progress : callable or None
        Called with (stage, number of finished tasks, number of tasks, figures) after each task.
    """

    executor: object = None
    progress: object = None

    def run(self, work, tasks, stage):
        """Results of `work` for each task, in order."""
        futures = [self.executor.submit(work, t) for t in tasks] if self.executor else None
        results = []
        for k, task in enumerate(tasks):
            results.append(futures[k].result() if futures else work(task))
            if self.progress:
                self.progress(stage, k+1, len(tasks), {})
        return results


def export_hats(survey, out, config=None, *, region=WHOLE_SKY, runner=None, overwrite=False):
    """Write a release as a HATS collection; the same release gives the same bytes, with any number of workers.

    Parameters
    ----------
    survey : crowdsource.survey.exports.release_reader.ReleaseReader
    out : path-like
        Folder of the collection; it appears when it is complete.
    config : HatsConfig, optional
    region : crowdsource.survey.regions.Region, optional
        Only rows in it.
    runner : TaskRunner, optional
        Runs the tasks; this process when not given.
    overwrite : bool
        Replace a collection.

    Returns
    -------
    list of crowdsource.survey.exports.hats_files.HatsCatalog
        Empty where the same collection is there already.

    Raises
    ------
    OutputError
        When the folder exists or cannot be written.
    ConfigError
        When a value makes no sense, or the release has no objects in the region.
    MissingExtraError
        When pyarrow is not installed.
    """
    config, runner = (config or HatsConfig()).checked(), runner or TaskRunner()
    key = collection_key(survey.release, config, region)
    if published(out, COLLECTION, key):
        return []
    objects = (NestedObjectTable if config.detections == NESTED else ObjectTable)(survey, region)
    parquet()
    if not objects.counts():
        raise ConfigError(f"release {survey.release.name} has no objects there; choose another part of the sky")
    with atomic_folder(out, COLLECTION, overwrite, key) as folder:
        written = write_catalog_and_margin(objects, folder, config, runner)
        if config.detections == SECOND:
            detections = DetectionTable(survey, region)
            (folder/detections.name).mkdir()
            written += write_catalog_and_margin(detections, folder/detections.name, config, runner)
    return written


def collection_key(release, config, region):
    """What a collection is made of, as a checksum: the release, how it is exported, which part of it, and by which version."""
    return made_of(release.name, release.record, asdict(config), asdict(region), builder())


def write_catalog_and_margin(content, folder, config, runner):
    """Write a catalog and its margin as a collection.

    Returns
    -------
    list of HatsCatalog
    """
    counts, order = content.counts(), config.border_order
    pixels = sorted(counts, key=lambda p: p.start)
    found = partitions(pixels, [counts[p] for p in pixels], content.index, PixelLimits(config.max_rows, order))
    main, borders = HatsCatalog(name=content.name, kind=content.kind), folder/"borders"
    tasks = [PartitionTask(content=content, pixel=pixel, sources=overlapping(pixels, pixel), folder=folder/main.name,
                           borders=borders if config.margin else None, order=order) for pixel in found]
    catalogs = [write_catalog_files(main, folder, content, dict(zip(found, runner.run(write_partition, tasks, main.name))))]
    if config.margin:
        margin = HatsCatalog(name=f"{content.name}_{config.margin:g}arcs", kind="margin", primary=content.name,
                             margin=config.margin)
        have = [p for p in found if (borders/p.path(FILE)).exists()]
        margins = [MarginTask(pixel=pixel, near=near, borders=borders, folder=folder/margin.name, order=order,
                              identity=content.identity)
                   for pixel in found if (near := pixels_with_cells(have, cells_around(pixel, order), order))]
        rows = runner.run(write_margin, margins, margin.name)
        shutil.rmtree(borders, ignore_errors=True)
        filled = {e.pixel: n for e, n in zip(margins, rows) if n}
        # lsdb cannot open an empty catalog
        catalogs += [write_catalog_files(margin, folder, content, filled)] if filled else []
    write_collection(folder, content, catalogs)
    return catalogs


@dataclass(frozen=True)
class PixelLimits:
    """How far pixels are divided.

    Attributes
    ----------
    max_rows : int
        Number of rows above which a pixel is divided.
    order : int
        Order at which no pixel is divided any more.
    """

    max_rows: int
    order: int


def partitions(pixels, counts, index, limits):
    """The widest pixels that hold at most a number of rows.

    Parameters
    ----------
    pixels : list of HealpixPixel
        Pixels with rows, ascending and without overlap.
    counts : list of int
        Their numbers of rows.
    index : callable
        Takes one of the pixels, returns the ascending spatial index of its rows.
    limits : PixelLimits

    Returns
    -------
    list of HealpixPixel
        Pixels with rows, ascending.
    """
    starts = np.array([p.start for p in pixels], np.int64)
    sums = np.concatenate([[0], np.cumsum(counts)])

    def inside(pixel, rows):
        if len(rows) <= limits.max_rows or pixel.order >= limits.order:
            return [pixel]*bool(len(rows))
        edges = np.searchsorted(rows, [p.start for p in pixel.children()]+[pixel.stop])
        return [q for child, a, b in zip(pixel.children(), edges, edges[1:]) for q in inside(child, rows[a:b])]

    def above(pixel):
        first, last = np.searchsorted(starts, [pixel.start, pixel.stop])
        if sums[last]-sums[first] <= limits.max_rows or pixel.order >= limits.order:
            return [pixel]*bool(last > first)
        if pixels[first] == pixel:
            return inside(pixel, index(pixel))
        return [q for child in pixel.children() for q in above(child)]

    return [q for number in range(12) for q in above(HealpixPixel(0, number))]


@dataclass(frozen=True, eq=False, kw_only=True)
class PartitionTask:
    """A file of a catalog that is to be written.

    Attributes
    ----------
    content : ObjectTable or DetectionTable
    pixel : HealpixPixel
    sources : tuple of HealpixPixel
        Pixels of the release that have rows in it.
    folder : Path
        Of the catalog.
    borders : Path or None
        Folder of the files with the rows along the pixels' edges, from which margins are made.
    order : int
        Order of the cells along the edges.
    """

    content: object
    pixel: HealpixPixel
    sources: tuple
    folder: Path
    borders: Path
    order: int


def write_partition(task):
    """Write a file of a catalog, and its rows along the edges as another. Returns the number of rows."""
    content, region, border, rows = task.content, Region(((task.pixel.start, task.pixel.stop),)), [], 0
    with _writer(task.folder/"dataset"/task.pixel.path(FILE), content.schema) as writer:
        group = []
        for table in (t for p in task.sources for t in content.tables(p, region)):
            group.append(table)
            if sum(map(len, group)) >= ENOUGH_ROWS:
                _write(writer, group, content.schema)
                group = []
            rows += len(table)
            if task.borders is not None:
                border.append(table.filter(at_border(table[SPATIAL_INDEX].to_numpy(), task.pixel, task.order)))
        _write(writer, group, content.schema)
    if any(map(len, border)):
        with _writer(task.borders/task.pixel.path(FILE), content.schema) as writer:
            _write(writer, border, content.schema)
    return rows


@dataclass(frozen=True, eq=False, kw_only=True)
class MarginTask:
    """A file of a margin that is to be written.

    Attributes
    ----------
    pixel : HealpixPixel
    near : list of HealpixPixel
        Pixels whose rows may lie in its margin.
    borders : Path
        Folder of the files with the rows along the pixels' edges.
    folder : Path
        Of the margin.
    order : int
        Order of the cells that make the margin.
    identity : str
        Column by which rows of the same spatial index are sorted.
    """

    pixel: HealpixPixel
    near: list
    borders: Path
    folder: Path
    order: int
    identity: str


def write_margin(task):
    """Write the file of a margin if it has any rows. Returns their number."""
    cells, tables = cells_around(task.pixel, task.order), []
    for pixel in task.near:
        # pyarrow would take the folder Norder=k for a column
        table = parquet().ParquetFile(task.borders/pixel.path(FILE)).read()
        tables.append(table.filter(in_cells(table[SPATIAL_INDEX].to_numpy(), cells, task.order)))
    table = joined_tables(tables, tables[0].schema)
    if len(table):
        table = table.take(order_by(*(table[n].to_numpy() for n in (SPATIAL_INDEX, task.identity))))
        with _writer(task.folder/"dataset"/task.pixel.path(FILE), table.schema) as writer:
            _write(writer, [table], table.schema)
    return len(table)


def _writer(path, schema):
    path.parent.mkdir(parents=True, exist_ok=True)
    return parquet().ParquetWriter(path, schema, sorting_columns=[parquet().SortingColumn(schema.get_field_index(SPATIAL_INDEX))],
                                   **parquet_options(schema))


def _write(writer, tables, schema):
    """Write tables as one row group."""
    table = joined_tables(tables, schema)
    if len(table):
        writer.write_table(table, row_group_size=len(table))
