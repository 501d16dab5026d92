"""Catalog files as sources: what is known of each image's detections, and their rows."""
import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...core.errors import DataFileError, StoreError, need
from ...exposure.results import MAGNITUDE_SYSTEM
from ...io.fits import FitsImage
from ...io.fits_rows import digest, fields, read_fields, scan
from ...io.tables import PREFERRED, read_table
from ..healpix import INDEX, index_of
from ..sorting import order_by
from .columns import IDENTITY, PER_ROW, as_labels, plain, row_type, stored_names
from .older_catalogs import corrections, system_in_comment

log = logging.getLogger(__name__)
FITS_ENDINGS = ".fits", ".fit", ".fts"
CATALOG = "CAT"
ID_BITS = 32
NAN_POSITION, OUT_OF_RANGE = "position is not a number", "declination beyond a pole, or right ascension beyond 360 degrees"
FITTED = 2000
"""Rows to which pixels are fitted, at most."""
HASH_BITS = 31
RECORD = {"instrument", "exposure", "band", "system", "config"}
"""Metadata of a table that crowdsource wrote for one image; older ones lack the system."""


@dataclass(frozen=True)
class Facts:
    """What is known of a source.

    Attributes
    ----------
    exposure, detector, band : str
        Its identity.
    system : str
        "AB", "Vega" or empty.
    mjd, zeropoint, pixel_scale : float
        NaN where not known; pixel_scale in arcsec.
    instrument, checksum, file : str
    """
    exposure: str
    detector: str = ""
    band: str = ""
    system: str = ""
    mjd: float = np.nan
    zeropoint: float = np.nan
    pixel_scale: float = np.nan
    instrument: str = ""
    checksum: str = ""
    file: str = ""

    @property
    def key(self):
        """Identity, as in the ledger."""
        return tuple(getattr(self, n).encode() for n in IDENTITY)

    def __str__(self):
        return " ".join(filter(None, (self.exposure, self.detector, self.band)))


@dataclass(frozen=True)
class Piece:
    """A source with its rows.

    Attributes
    ----------
    facts : Facts
    rows : ndarray, shape (n,)
        Structured, those that have a place in the sky; ``source`` is not yet known.
    image : int
        What their identifiers have above bit 31; -1 without any row.
    bad : tuple of (int, str)
        Row in the file and reason of the others.
    places : ndarray, shape (n,)
        Row in the file.
    shared : bool
        The file's rows are of several sources, which may share the identifiers' upper bits.
    """
    facts: Facts
    rows: np.ndarray
    image: int = -1
    bad: tuple = ()
    places: np.ndarray = None
    shared: bool = False


def read_catalogs(path, given, known):
    """The sources of a file.

    Parameters
    ----------
    path : path-like
    given : crowdsource.survey.store.columns.Given
    known : callable
        Takes `Facts` and tells whether the store has them already: their rows are not read.

    Yields
    ------
    Piece, or Facts where known

    Raises
    ------
    DataFileError
        When the file cannot be read or lacks columns.
    StoreError
        When identifiers cannot be told apart.
    """
    path = Path(path)
    if path.suffix.lower() in FITS_ENDINGS or _begins_as_fits(path):
        parts = scan(path)
        own = [p for p in parts if p.table and (p.name == CATALOG or p.name.endswith("_"+CATALOG))]
        tables = own or sorted((p for p in parts if p.table), key=lambda p: p.name not in PREFERRED)[:1]
        if not tables:
            raise DataFileError(path, "holds no table; give a catalog")
        primary, named = parts[0].header(), {p.name: p for p in parts}
        for part in tables:
            before = part.name[:-len(CATALOG)] if own else None
            yield from _from_fits(path, (primary, None if before is None else named.get(before+"HDR"), part), given, known)
        return
    yield from _from_table(path, given, known)


def _begins_as_fits(path):
    try:
        with open(path, "rb") as file:
            return file.read(6) == b"SIMPLE"
    except OSError:
        return False


def _from_fits(path, parts, given, known):
    """The sources of one table of a FITS file; `parts` are the primary header, what tells of the image, and the table."""
    primary, told, part = parts
    columns = fields(part)
    names = stored_names(path, [f.name for f in columns], given.mapping)
    several = _per_row(names.values(), given) if part.name != CATALOG and not part.name.endswith("_"+CATALOG) else ()
    facts = facts_of(path, primary, (told or part).header(), part.name, given)
    if not several:
        facts = replace(facts, checksum=digest(path, [p for p in (told, part) if p is not None], given.key()))
        if known(facts):
            yield facts
            return
    wanted = [(f, names[f.name]) for f in columns if f.name in names]
    rows = np.zeros(part.number("NAXIS2"), row_type({n: f.dtype for f, n in wanted}))
    labels = {n: np.zeros(len(rows), f.dtype) for f, n in wanted if n not in rows.dtype.names}
    read_fields(path, part, [(f, n) for f, n in wanted if n in rows.dtype.names], rows)
    if several and labels:
        aside = np.zeros(len(rows), [(n, v.dtype) for n, v in labels.items()])
        read_fields(path, part, [(f, n) for f, n in wanted if n in labels], aside)
        labels = {n: aside[n] for n in labels}
    yield from _pieces(facts, rows, "detection_id" in names.values(), {n: labels.get(n, _column(rows, n)) for n in several},
                       (given, known))


def _column(rows, name):
    return rows[name] if name in rows.dtype.names else None


def _per_row(stored, given):
    """Names of the columns that tell of a row's source, but for what the user says of all."""
    return tuple(n for n in PER_ROW if n in stored and getattr(given, n) is None)


def _from_table(path, given, known):
    """The sources of a table that is not FITS."""
    table = read_table(str(path))
    names = stored_names(path, table.colnames, given.mapping)
    columns = {names[n]: v for n in table.colnames if n in names and (v := plain(path, table[n])) is not None}
    rows = np.zeros(len(table), row_type({n: np.dtype((v.dtype, v.shape[1:])) for n, v in columns.items()}))
    for name in rows.dtype.names:
        if name in columns:
            rows[name] = columns[name]
    meta = {str(k).lower(): v for k, v in {**_parquet_meta(path), **table.meta}.items()}
    facts = Facts(str(meta.get("exposure") or path.name.partition(".")[0]), str(meta.get("detector", "")),
                  str(meta.get("band", "")), system_of(path, meta.get("system", "")), _number(meta.get("mjd")),
                  _number(meta.get("zeropoint")), np.nan, str(meta.get("instrument", "")), "", str(path))
    if facts.instrument and not np.isfinite(facts.zeropoint):
        facts = replace(facts, zeropoint=zeropoint_of(rows))
    stated = RECORD <= meta.keys()
    if not stated:
        facts = replace(facts, **corrections(facts.instrument, facts.exposure, facts.band))
    several = () if stated else _per_row(columns, given)
    yield from _pieces(_overridden(facts, given), rows, "detection_id" in columns, {n: columns[n] for n in several},
                       (given, known))


def _parquet_meta(path):
    """Metadata of a Parquet file's schema, as text."""
    if path.suffix.lower() != ".parquet":
        return {}
    found = need("pyarrow.parquet", "parquet", "reading a Parquet file").read_schema(path).metadata or {}
    return {k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in found.items()}


def system_of(path, text):
    """A magnitude system in this package's letters; empty for none. Raises `DataFileError` for others."""
    name = {"ab": "AB", "vega": "Vega", "": ""}.get(str(text).strip().lower())
    if name is None:
        raise DataFileError(path, f"has magnitudes of the system {text}, which is unknown; give --system AB or Vega")
    return name


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def facts_of(path, primary, header, name, given):
    """What the headers of a FITS catalog say of its image.

    Parameters
    ----------
    path : Path
    primary, header : astropy.io.fits.Header
        Of the file, and of the image.
    name : str
        Of the table's HDU.
    given : Given

    Returns
    -------
    Facts
        Without a checksum.
    """
    own = primary.get("ORIGIN") == "crowdsource"
    image = FitsImage(path, None, None, header, primary)
    detector = name[:-len(CATALOG)-1] if name.endswith("_"+CATALOG) else ""
    instrument = str(primary.get("INSTRUME", "")).strip() if own else ""
    exposure = str(own and primary.get("EXPOSURE") or path.name.partition(".")[0])
    stated = own and MAGNITUDE_SYSTEM in primary
    if stated:
        band, system = str(primary.get("BAND", "")).strip(), system_of(path, primary[MAGNITUDE_SYSTEM])
    else:
        band, system = image.value("band", str) or "", system_in_comment(header)
    facts = Facts(exposure, detector, band, system, image.mjd(), _number(header.get("ZPCRWD")), scale_of(header), instrument,
                  "", str(path))
    if not stated:
        facts = replace(facts, **corrections(instrument, exposure, band))
    return _overridden(facts, given)


def _overridden(facts, given):
    """Facts with what the user says in their place."""
    said = {n: getattr(given, n) for n in PER_ROW if getattr(given, n) is not None}
    return replace(facts, **said)


def scale_of(header):
    """Pixel scale of a header's world coordinates, arcsec: the root of a pixel's area; NaN without."""
    if not str(header.get("CTYPE1", "")).strip():
        return np.nan
    if any(k in header for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")):
        a, b, c, d = (_number(header.get(k, 0)) for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"))
        size = a*d-b*c
    else:
        a, b, c, d = (_number(header.get(f"PC{k}", one)) for k, one in (("1_1", 1), ("1_2", 0), ("2_1", 0), ("2_2", 1)))
        size = (a*d-b*c)*_number(header.get("CDELT1", 1))*_number(header.get("CDELT2", 1))
    return float(np.sqrt(abs(size)))*3600 if size else np.nan


def zeropoint_of(rows):
    """The zero point that rows' magnitudes were made with; NaN without."""
    if "mag" not in rows.dtype.names:
        return np.nan
    good = np.isfinite(rows["mag"]) & (rows["flux"] > 0)
    return float(np.median(rows["mag"][good]+2.5*np.log10(rows["flux"][good]))) if good.any() else np.nan


def fitted_scale(rows):
    """Pixel scale from a linear fit of positions in the sky to those on the image, arcsec; NaN where they do not tell."""
    if not {"x", "y"} <= set(rows.dtype.names) or len(rows) < 3:
        return np.nan
    some = rows[::-(-len(rows)//FITTED)]
    x, y, ra, dec = (some[n].astype(float) for n in ("x", "y", "ra", "dec"))
    east = (ra-ra[0]+180) % 360-180
    plane = np.column_stack([east*np.cos(np.radians(dec)), dec-dec[0]])
    design = np.column_stack([x-x.mean(), y-y.mean(), np.ones(len(x))])
    if not np.isfinite(design).all():
        return np.nan
    solution, _, rank, _ = np.linalg.lstsq(design, plane, rcond=None)
    return float(np.sqrt(abs(np.linalg.det(solution[:2]))))*3600 if rank == 3 else np.nan


def _pieces(facts, rows, has_ids, labels, asked):
    """Sources from the rows of one table; `labels` are the columns that tell of a row's source."""
    given, known = asked
    if not labels:
        own = facts if facts.checksum else replace(facts, checksum=_content(facts, rows, given))
        # with a checksum of its bytes it was asked for before it was read
        places = np.arange(len(rows))
        yield own if not facts.checksum and known(own) else finished(own, rows, places, None if has_ids else places)
        return
    if has_ids and len(np.unique(rows["detection_id"])) < len(rows):
        raise StoreError(f"{facts.file}: identifiers stand in several rows; have new ones made: --map detection_id=")
    text = [as_labels(labels[n]) if n in labels else np.full(len(rows), facts.__dict__[n]) for n in IDENTITY]
    identities, number = np.unique(np.rec.fromarrays(text, names=list(IDENTITY)), return_inverse=True)
    ranks = None if has_ids else _ranks(np.unique(np.rec.fromarrays(text[:2]), return_inverse=True)[1].ravel())
    for k, identity in enumerate(identities):
        at = np.flatnonzero(number.ravel() == k)
        said = {n: _one(labels[n][at]) for n in ("mjd", "zeropoint", "system") if n in labels}
        if "system" in said:
            said["system"] = system_of(facts.file, said["system"])
        own = replace(facts, **{n: str(identity[n]) for n in IDENTITY}, **said)
        own = _overridden(replace(own, **corrections(own.instrument, own.exposure, own.band)), given)
        own = replace(own, checksum=_content(own, rows[at], given))
        yield own if known(own) else replace(finished(own, rows[at], at, None if has_ids else ranks[at]),
                                             shared=len(identities) > 1)


def _content(facts, rows, given):
    """SHA-256 of a source's rows and of what is known of it beside them, but for the file's name."""
    return hashlib.sha256(rows.tobytes()+repr(replace(facts, file="")).encode()+given.key()).hexdigest()


def _ranks(group):
    """The place of each row among those of its group."""
    order = order_by(group)
    out = np.empty(len(group), np.int64)
    out[order] = np.arange(len(group))-np.searchsorted(group[order], group[order])
    return out


def _one(values):
    """What a column says of a source: the mean of numbers, the first of texts."""
    return as_labels(values[:1])[0] if values.dtype.kind == "S" else float(np.mean(values))


def finished(facts, rows, places, ranks):
    """A Piece of all rows of a source: identifiers, indices and pixel scale; rows without a place set aside.

    Parameters
    ----------
    facts : Facts
    rows : ndarray, shape (n,)
    places : ndarray, shape (n,)
        Row in the file.
    ranks : ndarray, shape (n,), or None
        Lower bits of identifiers for rows that have none.

    Returns
    -------
    Piece

    Raises
    ------
    StoreError
        When identifiers are those of several images, or not of one row each.
    """
    if ranks is not None:
        rows["detection_id"] = np.int64(image_number(facts)) << np.int64(ID_BITS) | ranks
    if rows["ra"].dtype.itemsize < 8:
        log.warning("%s: right ascension is %s: positions are good to 0.1 arcsec at best", facts.file, rows["ra"].dtype)
    ra, dec = rows["ra"].astype("f8"), rows["dec"].astype("f8")
    finite = np.isfinite(ra) & np.isfinite(dec)
    good = finite & (np.abs(dec) <= 90) & (ra >= -360) & (ra <= 360)
    bad = tuple((int(places[k]), OUT_OF_RANGE if finite[k] else NAN_POSITION) for k in np.flatnonzero(~good))
    if bad:
        rows, places, ra, dec = rows[good], places[good], ra[good], dec[good]
    rows[INDEX] = index_of(ra, dec)
    scale = facts.pixel_scale if np.isfinite(facts.pixel_scale) else fitted_scale(rows)
    return Piece(replace(facts, pixel_scale=scale), rows, _image(facts, rows["detection_id"]), bad, places)


def image_number(facts):
    """31 bits of a hash of what a source is, for detections without identifiers."""
    what = " ".join(filter(None, (facts.exposure, facts.detector)))
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:4]) >> 1


def _image(facts, ids):
    """What identifiers have above bit 31, the same for all; each of one row only."""
    if not len(ids):
        return -1
    images = ids >> ID_BITS
    if images.min() != images.max() or images[0] < 0:
        raise StoreError(f"{facts.file}: the identifiers of {facts} are not those of one image, as their upper 31 bits differ or "
                         "they are negative; have new ones made: --map detection_id=")
    if not (np.diff(ids) > 0).all() and len(np.unique(ids)) < len(ids):
        raise StoreError(f"{facts.file}: identifiers of {facts} stand in several rows; have new ones made: --map detection_id=")
    return int(images[0])
