"""Objects or detections of a part of the sky as one table or one file."""
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ...core.errors import ConfigError, OutputError
from ...io.atomic import atomic_path
from ...io.fits_tables import FITS_ENDINGS, table_hdu
from ...io.tables import write_catalog
from .arrow import parquet, parquet_options, with_votable
from .export_tables import DetectionTable, ObjectTable
from .release_reader import TEXT, DictionaryColumn

PARQUET, ECSV = ".parquet", ".ecsv"


def select(survey, region, detections=False):
    """Rows in a region; only pixels that it overlaps are read.

    Parameters
    ----------
    survey : crowdsource.survey.exports.release_reader.ReleaseReader
    region : crowdsource.survey.regions.Region
    detections : bool
        Detections, with how they count, instead of objects.

    Returns
    -------
    astropy.table.Table
        With units and descriptions; values that a catalog lacks are NaN, 0, false or empty.
    """
    return astropy_table((DetectionTable if detections else ObjectTable)(survey, region))


def astropy_table(content):
    """All rows of an export table as an astropy Table."""
    pixels = sorted(content.counts(), key=lambda p: p.start)
    blocks = [block for p in pixels for block in content.blocks(p)]
    table = Table()
    for c in content.columns:
        values = [decoded(block[c.name]) for block in blocks]
        dtype = "U1" if isinstance(c.dtype, str) and c.dtype == TEXT else c.dtype
        values = np.concatenate(values) if values else np.zeros(0, dtype)
        flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
        parts = {c.name: values} if values.ndim == 1 else {f"{c.name}_{k+1}": v for k, v in enumerate(flat.T)}
        for name, part in parts.items():
            table[name] = part
            table[name].unit, table[name].description = c.unit or None, c.description or None
    table.convert_bytestring_to_unicode()
    return table


def decoded(values):
    """A column without dictionary and without mask."""
    if isinstance(values, DictionaryColumn):
        return values.decoded()
    if np.ma.isMA(values) and values.dtype.kind == "f":
        return values.filled(np.nan)
    return np.ma.getdata(values)


def write_tables(contents, out, overwrite=False):
    """Write export tables as FITS, Parquet or ECSV, by the ending of the name.

    FITS has one table HDU for each. In the other formats each is a file: the first has the given name, the second also its own
    name before the ending. Parquet is written pixel by pixel; the other formats are made in memory.

    Parameters
    ----------
    contents : list of ObjectTable or DetectionTable
    out : path-like
    overwrite : bool

    Returns
    -------
    list of (Path, int)
        Files and their numbers of rows.

    Raises
    ------
    ConfigError
        When there are no rows.
    OutputError
        When the ending is unknown, or a file exists or cannot be written.
    """
    if not any(content.counts() for content in contents):
        raise ConfigError(f"release {contents[0].survey.release.name} has no {contents[0].name} there; choose another part of "
                          "the sky")
    out = Path(out)
    if out.suffix.lower() in FITS_ENDINGS:
        return [_write_fits(contents, out, overwrite)]
    if out.suffix.lower() not in (PARQUET, ECSV):
        raise OutputError(f"{out}: the name of a table ends in .fits, .ecsv or .parquet; choose one")
    names = [out, *(out.with_name(f"{out.stem}.{content.name}{out.suffix}") for content in contents[1:])]
    written = []
    for path, content in zip(names, contents):
        if out.suffix.lower() == PARQUET:
            written.append((path, write_parquet(content, path, overwrite)))
        else:
            table = astropy_table(content)
            write_catalog(table, path, dict(release=content.survey.release.name), overwrite)
            written.append((path, len(table)))
    return written


def _write_fits(contents, out, overwrite):
    tables = [astropy_table(content) for content in contents]
    header = fits.Header()
    header["RELEASE"] = (contents[0].survey.release.name, "that the rows are of")
    hdus = [table_hdu(table, content.name.upper()) for table, content in zip(tables, contents)]
    with atomic_path(out, overwrite) as temporary:
        fits.HDUList([fits.PrimaryHDU(header=header), *hdus]).writeto(temporary)
    return out, sum(map(len, tables))


def write_parquet(content, path, overwrite=False):
    """Write an export table as one Parquet file, pixel by pixel. Returns the number of rows."""
    pixels, rows = sorted(content.counts(), key=lambda p: p.start), 0
    schema = with_votable(content.schema, content.columns, content.name)
    options = parquet_options(schema)
    with atomic_path(path, overwrite) as temporary, parquet().ParquetWriter(temporary, schema, **options) as writer:
        for table in (t for p in pixels for t in content.tables(p)):
            writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=max(1, len(table)))
            rows += len(table)
    return rows
