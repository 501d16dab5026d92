"""Objects of a joint fit with their light curves as a HATS catalog: each object's rows lie nested in its own."""
import numpy as np

from ...core.errors import InputError
from ...io.tables import native_values, plain
from ..healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER, HealpixPixel, index_of
from .arrow import COMPRESSION, arrow, parquet
from .hats_files import CATALOG, FORMAT, SCHEMA, builder, write_footers, write_partitions, write_properties

ORDER = 5
"""Of the pixels into which rows are divided."""
NESTED = "lightcurve"
"""The column that holds an object's rows, as nested-pandas reads it: lists by column."""
LEFT_OUT = "object_id"


def write_nested(objects, curves, folder, name):
    """Write objects with their light curves.

    Parameters
    ----------
    objects : astropy.table.Table
        With ``object_id``, ``ra`` and ``dec``.
    curves : astropy.table.Table
        Rows of ``object_id``, one an image; any further columns.
    folder : pathlib.Path
        Not there yet.
    name : str
        Of the catalog.

    Raises
    ------
    InputError
        When objects have no positions on the sky.
    """
    if "ra" not in objects.colnames:
        raise InputError("objects have no ra and dec: HATS divides the sky, and the reference image has no world coordinates")
    index = index_of(*(np.asarray(plain(objects[c]), dtype=float) for c in ("ra", "dec")))
    order = np.argsort(index, kind="stable")
    table = nested_table(objects[order], index[order], curves)
    pixels = index[order] >> 2*(SPATIAL_INDEX_ORDER-ORDER)
    dataset, files = folder/"dataset", {}
    for number in np.unique(pixels):
        pixel, (first, last) = HealpixPixel(ORDER, int(number)), np.searchsorted(pixels, [number, number+1])
        path = dataset/pixel.path(".parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet().write_table(table.slice(first, last-first), path, **COMPRESSION)
        files[pixel] = int(last-first)
    parquet().write_metadata(table.schema, dataset/SCHEMA)
    write_footers(dataset, table.schema, files)
    write_partitions(folder, files)
    size = sum((dataset/p.path(".parquet")).stat().st_size for p in files)
    values = dict(
        obs_collection=name, dataproduct_type="object", hats_nrows=len(table), hats_col_ra="ra", hats_col_dec="dec",
        hats_col_healpix=SPATIAL_INDEX, hats_col_healpix_order=SPATIAL_INDEX_ORDER, hats_npix_suffix=".parquet", hats_order=ORDER,
        hats_max_rows=max(files.values()), hats_estsize=-(-size//1024), moc_sky_fraction=f"{len(files)/(12 << 2*ORDER):.6g}",
        obs_title=f"objects and light curves of {name}", hats_builder=builder(), hats_version=FORMAT)
    for properties in CATALOG:
        write_properties(folder/properties, values)


def nested_table(objects, index, curves):
    """The Arrow table of objects, in the order in which they are given, each with the rows of its light curve.

    Parameters
    ----------
    objects : astropy.table.Table
    index : ndarray of int, shape (n,)
        Spatial index of each.
    curves : astropy.table.Table
    """
    pa, ids = arrow(), np.asarray(objects["object_id"])
    place = np.empty(ids.max(initial=-1)+1, np.int64)
    place[ids] = np.arange(len(ids))
    row = place[np.asarray(curves["object_id"])]
    order = np.argsort(row, kind="stable")
    offsets = pa.array(np.r_[0, np.cumsum(np.bincount(row, minlength=len(ids)))].astype(np.int32))
    lists = {n: pa.ListArray.from_arrays(offsets, pa.array(native_values(curves[n])[order]))
             for n in curves.colnames if n != LEFT_OUT}
    columns = {SPATIAL_INDEX: pa.array(index), **{n: pa.array(native_values(objects[n])) for n in objects.colnames}}
    columns[NESTED] = pa.StructArray.from_arrays(list(lists.values()), names=list(lists))
    return pa.table(columns)
