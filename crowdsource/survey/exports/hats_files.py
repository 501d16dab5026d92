"""Files of a HATS catalog beside its rows: properties, the list of its pixels, and the schema."""
from dataclasses import dataclass, replace
from importlib.metadata import version

from ..healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER
from .arrow import parquet, with_votable

COLLECTION, CATALOG = "collection.properties", ("hats.properties", "properties")
"""The second is for older readers."""
SCHEMA, FOOTERS = "_common_metadata", "_metadata"
MOST_FOOTERS = 500_000
"""Number of column chunks above which ``_metadata``, with the footers of all files, is not written: readers do not need it."""
FORMAT = "v1.0"


@dataclass(frozen=True, kw_only=True)
class HatsCatalog:
    """A catalog of a collection.

    Attributes
    ----------
    name : str
        Of its folder.
    kind : str
        ``object``, ``source`` or ``margin``.
    primary : str
        For a margin: name of the catalog that it belongs to.
    margin : float
        Its width, arcsec.
    rows, files, size : int
        Numbers of rows and files, and their size in bytes.
    """

    name: str
    kind: str
    primary: str = None
    margin: float = None
    rows: int = 0
    files: int = 0
    size: int = 0


def write_catalog_files(catalog, folder, content, rows):
    """Write the files of a catalog other than its rows.

    Parameters
    ----------
    catalog : HatsCatalog
    folder : Path
        Of the collection.
    content : ObjectTable or DetectionTable
    rows : mapping of HealpixPixel to int
        Numbers of rows of the files.

    Returns
    -------
    HatsCatalog
        With numbers of rows and files, and the size.
    """
    pixels = sorted(rows, key=lambda p: p.start)
    own = folder/catalog.name
    size = sum((own/"dataset"/p.path(".parquet")).stat().st_size for p in pixels)
    write_schema(own/"dataset", content, pixels)
    write_partitions(own, pixels)
    catalog = replace(catalog, rows=sum(rows.values()), files=len(rows), size=size)
    for name in CATALOG:
        write_properties(own/name, properties(catalog, content, rows))
    return catalog


def properties(catalog, content, rows):
    """The properties of a catalog, by name."""
    sky = sum(1/(12 << 2*p.order) for p in rows)
    return dict(
        obs_collection=f"{content.survey.release.name}_{catalog.name}", dataproduct_type=catalog.kind, hats_nrows=catalog.rows,
        hats_col_ra="ra", hats_col_dec="dec", hats_col_healpix=SPATIAL_INDEX, hats_col_healpix_order=SPATIAL_INDEX_ORDER,
        hats_primary_table_url=catalog.primary, hats_margin_threshold=catalog.margin, hats_npix_suffix=".parquet",
        hats_order=max(p.order for p in rows), hats_max_rows=max(rows.values()), hats_estsize=-(-catalog.size//1024),
        moc_sky_fraction=f"{sky:.6g}", obs_title=f"{content.name} of release {content.survey.release.name}",
        hats_builder=builder(), hats_version=FORMAT)


def write_collection(folder, content, catalogs):
    """Write the properties of a collection: a catalog and, where there is one, its margin."""
    name, margins = content.survey.release.name, [c.name for c in catalogs[1:]]
    write_properties(folder/COLLECTION, dict(
        obs_collection=name if content.kind == "object" else f"{name}_{content.name}", hats_primary_table_url=content.name,
        all_margins=" ".join(margins) or None, default_margin=margins[0] if margins else None, hats_builder=builder(),
        hats_version=FORMAT))


def write_properties(path, values):
    """Write properties. Those without a value are left out, as readers refuse empty ones."""
    lines = [f"{name}={value}" for name, value in values.items() if value is not None]
    path.write_text("\n".join(lines)+"\n", encoding="utf-8")


def write_schema(folder, content, pixels):
    """Write the schema with the columns' descriptions and, unless there are too many, the footers of all files as one file."""
    pq = parquet()
    pq.write_metadata(with_votable(content.schema, content.columns, content.name), folder/SCHEMA)
    if len(pixels)*len(content.schema) > MOST_FOOTERS:
        return
    write_footers(folder, content.schema, pixels)


def write_footers(folder, schema, pixels):
    """Write the footers of the files of pixels as one file."""
    footers = []
    for p in pixels:
        footer = parquet().read_metadata(folder/p.path(".parquet"))
        footer.set_file_path(p.path(".parquet").as_posix())
        footers.append(footer)
    parquet().write_metadata(schema, folder/FOOTERS, metadata_collector=footers)


def write_partitions(folder, pixels):
    """Write the list of a catalog's pixels."""
    lines = ["Norder,Npix", *(f"{p.order},{p.number}" for p in pixels)]
    (folder/"partition_info.csv").write_text("\n".join(lines)+"\n", encoding="utf-8")


def builder():
    """What has written a catalog: this package and its version."""
    return f"crowdsourcephoto {version('crowdsourcephoto')}"
