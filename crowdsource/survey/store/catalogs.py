"""Catalog files as images: the metadata and the rows of each image in a file."""
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError, StoreError, need
from ...exposure.results import JOINT, MAGNITUDE_SYSTEM
from ...io.fits import FitsImage
from ...io.fits_rows import hdu_checksum, locate_hdus, read_fields, table_fields
from ...io.tables import PREFERRED, read_table
from ..sorting import order_by
from .columns import IMAGE_COLUMNS, IMAGE_IDENTITY, JOINT_FIT, JOINT_ID, label_text, plain_values, stored_dtype, stored_names
from .image_catalog import ImageMetadata, content_checksum, image_catalog, spatial_indices
from .older_catalogs import corrections, system_in_comment

FITS_ENDINGS = ".fits", ".fit", ".fts"
CATALOG = "CAT"
RECORD = {"instrument", "exposure", "band", "system", "config"}
"""Metadata of a table that crowdsource wrote for one image; older ones lack the system."""


@dataclass(frozen=True)
class ReadRequest:
    """What is asked of a file.

    Attributes
    ----------
    options : crowdsource.survey.store.columns.IngestOptions
    known : callable
        Takes `ImageMetadata`, returns whether the store has the image, so that its rows are not needed.
    """

    options: object
    known: object

    def with_options(self, metadata):
        """Metadata with what the user states in their place."""
        return replaced(metadata, {n: v for n in IMAGE_COLUMNS if (v := getattr(self.options, n)) is not None})

    def image_columns(self, names):
        """Which of some columns describe a row's image; not those that the user states for all rows."""
        return tuple(n for n in IMAGE_COLUMNS if n in names and getattr(self.options, n) is None)


@dataclass(frozen=True)
class CatalogHDUs:
    """Parts of a FITS file that make one catalog.

    Attributes
    ----------
    primary : astropy.io.fits.Header
    image : crowdsource.io.fits_rows.HduSpan or None
        The HDU with the image's header; None for catalogs of other programs.
    table : crowdsource.io.fits_rows.HduSpan
    """

    primary: object
    image: object
    table: object

    @property
    def detector(self):
        """The detector that the table's name states; empty for none."""
        return self.table.name[:-len(CATALOG)-1] if self.table.name.endswith("_"+CATALOG) else ""

    @property
    def joint_fit(self):
        """Number of the joint fit that the catalog is part of; None for none."""
        own = self.primary.get("ORIGIN") == "crowdsource" and self.of_one_image
        return self.primary.get(JOINT) if own else None

    @property
    def of_one_image(self):
        """Whether the table is a catalog as crowdsource writes them."""
        return self.table.name == CATALOG or self.table.name.endswith("_"+CATALOG)


def read_catalogs(path, options, known):
    """The images of a file.

    Parameters
    ----------
    path : path-like
    options : crowdsource.survey.store.columns.IngestOptions
    known : callable
        Takes `ImageMetadata`, returns whether the store has the image already: its rows are not read then.

    Yields
    ------
    ImageCatalog, or ImageMetadata where known

    Raises
    ------
    DataFileError
        When the file cannot be read or lacks columns.
    StoreError
        When identifiers are ambiguous.
    """
    path, request = Path(path), ReadRequest(options, known)
    if path.suffix.lower() not in FITS_ENDINGS and not _begins_as_fits(path):
        yield from _from_table(path, request)
        return
    hdus = locate_hdus(path)
    own = [h for h in hdus if h.table and (h.name == CATALOG or h.name.endswith("_"+CATALOG))]
    tables = own or sorted((h for h in hdus if h.table), key=lambda h: h.name not in PREFERRED)[:1]
    if not tables:
        raise DataFileError(path, "holds no table; give a catalog")
    primary, by_name = hdus[0].header(), {h.name: h for h in hdus}
    for table in tables:
        image = by_name.get(table.name[:-len(CATALOG)]+"HDR") if own else None
        yield from _from_fits(path, CatalogHDUs(primary, image, table), request)


def _begins_as_fits(path):
    try:
        with open(path, "rb") as file:
            return file.read(6) == b"SIMPLE"
    except OSError:
        return False


def _from_fits(path, hdus, request):
    """The images of one table of a FITS file."""
    table, fields = hdus.table, table_fields(hdus.table)
    names = stored_names(path, [f.name for f in fields], request.options.mapping)
    image_columns = () if hdus.of_one_image else request.image_columns(names.values())
    metadata = request.with_options(fits_metadata(path, hdus))
    joint = hdus.joint_fit if "object_id" in names else None
    if joint is not None:
        names["object_id"] = JOINT_ID
    if not image_columns:
        more = request.options.key()+(b"" if joint is None else f"{JOINT}={joint}".encode())
        checksum = hdu_checksum(path, [h for h in (hdus.image, table) if h is not None], more)
        metadata = replace(metadata, checksum=checksum)
        if request.known(metadata):
            yield metadata
            return
    wanted = [(f, names[f.name]) for f in fields if f.name in names]
    of_fit = {} if joint is None else {JOINT_FIT: np.dtype("i8")}
    rows = np.zeros(table.number("NAXIS2"), stored_dtype({**{n: f.dtype for f, n in wanted}, **of_fit}))
    for name in of_fit:
        rows[name] = joint
    read_fields(path, table, [(f, n) for f, n in wanted if n in rows.dtype.names], rows)
    others = [(f, n) for f, n in wanted if n not in rows.dtype.names]
    labels = np.zeros(len(rows), [(n, f.dtype) for f, n in others])
    if image_columns and others:
        read_fields(path, table, others, labels)
    described = {n: (rows if n in rows.dtype.names else labels)[n] for n in image_columns}
    yield from _images_of_rows(metadata, rows, "detection_id" in names.values(), described, request)


def _from_table(path, request):
    """The images of a table that is not FITS."""
    table = read_table(str(path))
    names = stored_names(path, table.colnames, request.options.mapping)
    columns = {names[n]: v for n in table.colnames if n in names and (v := plain_values(path, table[n])) is not None}
    rows = np.zeros(len(table), stored_dtype({n: np.dtype((v.dtype, v.shape[1:])) for n, v in columns.items()}))
    for name in rows.dtype.names:
        if name in columns:
            rows[name] = columns[name]
    record = {str(k).lower(): v for k, v in {**_parquet_metadata(path), **table.meta}.items()}
    metadata = _table_metadata(path, record, rows)
    image_columns = () if RECORD <= record.keys() else request.image_columns(columns)
    yield from _images_of_rows(request.with_options(metadata), rows, "detection_id" in columns,
                               {n: columns[n] for n in image_columns}, request)


def _table_metadata(path, record, rows):
    """What the record of a table that is not FITS states of its image."""
    texts = {n: str(record.get(n, "")) for n in ("detector", "band", "instrument")}
    exposure = str(record.get("exposure") or path.name.partition(".")[0])
    metadata = ImageMetadata(exposure=exposure, system=checked_system(path, record.get("system", "")), file=str(path),
                             mjd=_number(record.get("mjd")), zeropoint=_number(record.get("zeropoint")), **texts)
    if metadata.instrument and not np.isfinite(metadata.zeropoint):
        metadata = replace(metadata, zeropoint=zeropoint_of_rows(rows))
    if RECORD <= record.keys():
        return metadata
    return replace(metadata, **corrections(metadata.instrument, metadata.exposure, metadata.band))


def _parquet_metadata(path):
    """Metadata of a Parquet file's schema, as text."""
    if path.suffix.lower() != ".parquet":
        return {}
    found = need("pyarrow.parquet", "parquet", "reading a Parquet file").read_schema(path).metadata or {}
    return {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in found.items()}


def checked_system(path, text):
    """A magnitude system in this package's spelling; empty for none. Raises `DataFileError` for others."""
    name = {"ab": "AB", "vega": "Vega", "": ""}.get(str(text).strip().lower())
    if name is None:
        raise DataFileError(path, f"has magnitudes of the system {text}, which is unknown; give --system AB or Vega")
    return name


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def fits_metadata(path, hdus):
    """What the headers of a FITS catalog state of its image.

    Parameters
    ----------
    path : Path
    hdus : CatalogHDUs

    Returns
    -------
    ImageMetadata
        Without a checksum.
    """
    primary, header = hdus.primary, (hdus.image or hdus.table).header()
    own = primary.get("ORIGIN") == "crowdsource"
    image = FitsImage(path, None, None, header, primary)
    instrument = str(primary.get("INSTRUME", "")).strip() if own else ""
    exposure = str((own and primary.get("EXPOSURE")) or path.name.partition(".")[0])
    stated = own and MAGNITUDE_SYSTEM in primary
    if stated:
        band, system = str(primary.get("BAND", "")).strip(), checked_system(path, primary[MAGNITUDE_SYSTEM])
    else:
        band, system = image.value("band", str) or "", system_in_comment(header)
    metadata = ImageMetadata(exposure=exposure, detector=hdus.detector, band=band, system=system, mjd=image.mjd(),
                             zeropoint=_number(header.get("ZPCRWD")), pixel_scale=wcs_pixel_scale(header),
                             instrument=instrument, file=str(path))
    return metadata if stated else replace(metadata, **corrections(instrument, exposure, band))


def wcs_pixel_scale(header):
    """The pixel scale of a header's world coordinates, arcsec: the root of a pixel's area; NaN without coordinates."""
    if not str(header.get("CTYPE1", "")).strip():
        return np.nan
    if any(k in header for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")):
        a, b, c, d = (_number(header.get(k, 0)) for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"))
        area = a*d-b*c
    else:
        a, b, c, d = (_number(header.get(f"PC{k}", one)) for k, one in (("1_1", 1), ("1_2", 0), ("2_1", 0), ("2_2", 1)))
        area = (a*d-b*c)*_number(header.get("CDELT1", 1))*_number(header.get("CDELT2", 1))
    return float(np.sqrt(abs(area)))*3600 if area else np.nan


def zeropoint_of_rows(rows):
    """The zero point with which the rows' magnitudes were made; NaN without magnitudes."""
    if "mag" not in rows.dtype.names:
        return np.nan
    good = np.isfinite(rows["mag"]) & (rows["flux"] > 0)
    return float(np.median(rows["mag"][good]+2.5*np.log10(rows["flux"][good]))) if good.any() else np.nan


def _images_of_rows(metadata, rows, has_ids, described, request):
    """Images from the rows of one table; `described` are the columns that describe a row's image, by name."""
    if not described:
        file_rows = np.arange(len(rows))
        own = metadata
        if not metadata.checksum:
            own = replace(metadata, checksum=content_checksum(metadata, rows, request.options))
            if request.known(own):
                yield own
                return
        yield image_catalog(own, rows, file_rows, spatial_indices(own.file, rows), None if has_ids else file_rows)
        return
    if has_ids and len(np.unique(rows["detection_id"])) < len(rows):
        raise StoreError(f"{metadata.file}: several rows have the same identifier; have new ones made: --map detection_id=")
    parts = _RowsByImage(metadata, described, len(rows))
    ranks = None if has_ids else parts.ranks()
    # sorted by image once: looking for each image's rows among all would take as long as images times rows
    rows, described = rows[parts.order], {n: column[parts.order] for n, column in described.items()}
    index = spatial_indices(metadata.file, rows)
    for identity, own_rows in parts:
        stated = {n: _value_of(described[n][own_rows]) for n in ("mjd", "zeropoint", "system") if n in described}
        if "system" in stated:
            stated["system"] = checked_system(metadata.file, stated["system"])
        own = request.with_options(replace(metadata, **identity, **stated))
        own = replaced(own, corrections(own.instrument, own.exposure, own.band))
        own = replace(own, checksum=content_checksum(own, rows[own_rows], request.options))
        yield own if request.known(own) else image_catalog(
            own, rows[own_rows], parts.order[own_rows], index[own_rows], None if has_ids else ranks[own_rows],
            from_mixed_table=len(parts) > 1)


class _RowsByImage:
    """Rows of a table by the images that they belong to: iterates over (identity, slice of the sorted rows), sorted by identity.

    Parameters
    ----------
    metadata : ImageMetadata
        Parts of the identity that no column describes.
    described : dict of str to ndarray, shape (n,)
        Columns that describe a row's image.
    n : int
        Number of rows.

    Attributes
    ----------
    order : ndarray, shape (n,)
        The rows by image, those of an image in the order of the table.
    """

    def __init__(self, metadata, described, n):
        self.labels, numbers = [], []
        for name in IMAGE_IDENTITY:
            labels, number = np.array([getattr(metadata, name)]), np.zeros(n, np.int64)
            if name in described:
                # names are compared as text, but there are as few of them as images
                values, of_row = np.unique(described[name], return_inverse=True)
                labels, of_value = np.unique(label_text(values), return_inverse=True)
                number = of_value[of_row]
            self.labels.append(labels)
            numbers.append(number)
        self.order = order_by(*numbers)
        self.numbers = np.stack(numbers)[:, self.order]
        self.begins = np.flatnonzero(self._differs(len(IMAGE_IDENTITY)))

    def _differs(self, parts):
        """Which of the sorted rows differ from the row before in the first parts of the identity."""
        own = self.numbers[:parts]
        return np.r_[True, (own[:, 1:] != own[:, :-1]).any(axis=0)][:own.shape[1]]

    def __len__(self):
        return len(self.begins)

    def __iter__(self):
        for a, b in zip(self.begins.tolist(), [*self.begins[1:].tolist(), len(self.order)]):
            yield {n: str(labels[k]) for n, labels, k in zip(IMAGE_IDENTITY, self.labels, self.numbers[:, a])}, slice(a, b)

    def ranks(self):
        """The rank, in the table, of each of the sorted rows among those of its exposure and detector."""
        group = np.cumsum(self._differs(2))-1
        again = order_by(group, self.order)
        out = np.empty(len(group), np.int64)
        out[again] = np.arange(len(group))-np.searchsorted(group, group)
        return out


def replaced(metadata, values):
    """Metadata with other values; itself where there are none."""
    return replace(metadata, **values) if values else metadata


def _value_of(column):
    """The value of an image's column: the mean of numbers, the first of texts."""
    return label_text(column[:1])[0] if column.dtype.kind == "S" else float(np.mean(column))
