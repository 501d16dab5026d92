"""Tables: users' catalogs of positions in, catalogs out."""
import warnings
from pathlib import Path

import numpy as np

from ..core.errors import DataFileError, InputError, OutputError, need
from .fits import ImageName
from .hdus import UNREADABLE, existing, one_line, opened

ENDINGS = (".fits", ".fit", ".ecsv", ".parquet")
PREFERRED = ("CAT", "OBJECTS", "LDAC_OBJECTS")
"""Table HDUs taken before the first."""
FORMATS = {".ecsv": "ascii.ecsv", ".vot": "votable", ".xml": "votable", ".hdf5": "hdf5", ".h5": "hdf5"}
"""astropy's names of formats by ending; text of any form otherwise."""
MARGIN = 0.2
"""Part of the image's size around it in which positions are put through distortions."""
MJD_2000, JULIAN_YEAR = 51544.5, 365.25
MAS_PER_DEGREE = 3.6e6


def check_ending(path):
    """Raise `OutputError` when no catalog can be written under that name."""
    if not str(path).lower().endswith(ENDINGS):
        raise OutputError(f"{path}: a catalog's name ends in .cat.fits, .fits, .ecsv or .parquet; choose one")


def read_table(name):
    """Read a table of any form that astropy or pyarrow reads.

    Parameters
    ----------
    name : str
        ``FILE``, or ``FILE:HDU`` for FITS: else the HDU ``CAT``, or the first table.

    Returns
    -------
    astropy.table.Table

    Raises
    ------
    DataFileError
        When it is not there or cannot be read.
    MissingExtraError
        When a Parquet file is given without pyarrow.
    """
    place = ImageName.parse(name)
    path = existing(place.path, "a table")
    if path.suffix.lower() == ".parquet":
        return _from_parquet(path)
    with open(path, "rb") as start:
        head = start.read(9)
    if head.startswith((b"SIMPLE", b"\x1f\x8b")):
        return _from_fits(path, place.hdu)
    from astropy.table import Table
    kind = FORMATS.get(path.suffix.lower(), "ascii")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Table.read(path, format=kind)
    except Exception as problem:
        raise DataFileError(path, f"cannot be read as a table ({one_line(problem)[:120]}); "
                            "give FITS, ECSV, CSV, VOTable or Parquet") from problem


def _from_fits(path, hdu):
    from astropy.table import Table
    with opened(path) as hdus:
        tables = [k for k, h in enumerate(hdus) if _has_rows(h)]
        names = [hdus[k].name for k in tables]
        try:
            chosen = hdus.index_of(hdu) if hdu is not None else \
                next((k for k, n in zip(tables, names) if n in PREFERRED), tables[0] if tables else None)
        except UNREADABLE:
            chosen = None
        if chosen not in tables:
            offer = ", ".join(f"{k} ({n})" if n else str(k) for k, n in zip(tables, names))
            raise DataFileError(path, f"holds no table there; its tables are in HDU {offer}" if tables else
                                "holds no table; give a file with one", hdu)
        try:
            return Table.read(hdus[chosen])
        except UNREADABLE as problem:
            raise DataFileError(path, f"its table cannot be read ({one_line(problem)}); fetch the file again",
                                chosen) from problem


def _has_rows(hdu):
    try:
        return getattr(hdu, "columns", None) is not None
    except UNREADABLE:
        return False


def _from_parquet(path):
    parquet = need("pyarrow.parquet", "parquet", "reading a Parquet file")
    from astropy.table import Table
    try:
        columns = parquet.read_table(path)
    except (OSError, ValueError) as problem:
        raise DataFileError(path, f"cannot be read as Parquet ({problem}); fetch it again") from problem
    return Table({n: columns[n].to_numpy() for n in columns.column_names})


def positions(table, image):
    """Positions in an image's pixels.

    Parameters
    ----------
    table : Table
        With ra and dec in degrees, which are used where the image has a WCS, or x and y: 0-based pixels of the whole image.
        Names in any case.
    image : crowdsource.core.image.Image

    Returns
    -------
    astropy.table.Table
        x, y in pixels of the parent image; NaN where there is none or the position is far from the image.

    Raises
    ------
    InputError
        When the table lacks the columns, or they hold no numbers.
    """
    from astropy.table import Table
    names = {n.lower(): n for n in reversed(table.colnames)}
    if image.wcs is not None and {"ra", "dec"} <= names.keys():
        x, y = _projected(numbers(table, names["ra"], "deg"), numbers(table, names["dec"], "deg"), image)
    elif {"x", "y"} <= names.keys():
        x, y = numbers(table, names["x"], "pix"), numbers(table, names["y"], "pix")
    else:
        wanted = "x and y, or ra and dec" if image.wcs is not None else "x and y (ra and dec serve an image with a WCS only)"
        raise InputError(f"the catalog has no columns {wanted}; it has {', '.join(table.colnames)}")
    return Table(dict(x=x, y=y))


def star_positions(table, image):
    """Positions and magnitudes of a user's stars in an image, moved to its date.

    Parameters
    ----------
    table : Table
        As `positions`, and perhaps pmra, which includes the cosine of dec, and pmdec in mas/yr, epoch (or ref_epoch; 2000 when
        not given) in Julian years, mag (or magnitude, phot_g_mean_mag).
    image : crowdsource.core.image.Image
        Where its date is not known, stars stay where the catalog has them.

    Returns
    -------
    astropy.table.Table
        x, y in pixels of the parent image, NaN as in `positions`; mag, NaN where not known.

    Raises
    ------
    InputError
        As `positions`.
    """
    from astropy.table import Table
    names = {n.lower(): n for n in reversed(table.colnames)}

    def column(options, unit, default):
        name = next((names[o] for o in options if o in names), None)
        values = np.full(len(table), default) if name is None else numbers(table, name, unit)
        return np.where(np.isfinite(values), values, default)

    mag = column(("mag", "magnitude", "phot_g_mean_mag"), "mag", np.nan)
    if {"ra", "dec", "pmra", "pmdec"} <= names.keys() and np.isfinite(image.mjd):
        years = (image.mjd-MJD_2000)/JULIAN_YEAR-(column(("epoch", "ref_epoch"), "yr", 2000.)-2000)
        dec = numbers(table, names["dec"], "deg")
        moved = dec+column(("pmdec",), "mas/yr", 0.)*years/MAS_PER_DEGREE
        ra = numbers(table, names["ra"], "deg")+column(("pmra",), "mas/yr", 0.)*years/MAS_PER_DEGREE/np.cos(np.radians(dec))
        table = Table(dict(ra=ra, dec=moved))
    rows = positions(table, image)
    rows["mag"] = mag
    return rows


def numbers(table, name, unit):
    """A column as float64 in a unit, NaN where masked."""
    column = table[name]
    try:
        if getattr(column, "unit", None) not in (None, ""):
            from astropy import units
            wanted = units.Unit(unit)
            column = column.quantity if not hasattr(column, "to_value") else column
            column = column.to_value(wanted) if column.unit.is_equivalent(wanted) else column.value
        return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)
    except (ValueError, TypeError) as problem:
        raise InputError(f"column {name} of the catalog holds no numbers; give it in {unit}") from problem


def _projected(ra, dec, image):
    """Pixels of sky positions; NaN away from the image, where distortions lead anywhere."""
    ny, nx = image.shape
    out = np.full((2, len(ra)), np.nan)
    known = np.isfinite(ra) & np.isfinite(dec)
    rough = np.full((2, len(ra)), np.nan)
    rough[:, known] = image.wcs.wcs_world2pix(ra[known], dec[known], 0)
    x, y = rough[0]-image.origin[0], rough[1]-image.origin[1]
    mx, my = 100+MARGIN*nx, 100+MARGIN*ny
    near = (x > -mx) & (x < nx+mx) & (y > -my) & (y < ny+my)
    if near.any():
        out[:, near] = image.wcs.all_world2pix(ra[near], dec[near], 0, quiet=True)
    return out


def write_catalog(table, path, meta=None, overwrite=False):
    """Write a catalog as ECSV or Parquet, by the name's ending, whole or not at all.

    Parameters
    ----------
    table : astropy.table.QTable
    path : path-like
    meta : mapping of str to str, optional
        Recorded in the file.
    overwrite : bool

    Raises
    ------
    OutputError
        When the ending is not known, the file exists or cannot be written.
    MissingExtraError
        When Parquet is wanted and pyarrow is not installed.
    """
    from .atomic import atomic_path
    check_ending(path)
    if Path(path).suffix.lower() == ".parquet":
        parquet = need("pyarrow.parquet", "parquet", "a Parquet catalog")
        with atomic_path(path, overwrite) as temporary:
            parquet.write_table(arrow_table(table, meta), temporary)
        return
    table = table.copy(copy_data=False)
    table.meta.update(meta or {})
    with atomic_path(path, overwrite) as temporary:
        table.write(temporary, format="ascii.ecsv")


def arrow_table(table, meta=None):
    """A pyarrow Table with each column's unit and description in its field's metadata, and `meta` in the schema's."""
    arrow = need("pyarrow", "parquet", "a Parquet catalog")
    fields, arrays = [], []
    for name in table.colnames:
        info = table[name].info
        values = np.asarray(getattr(table[name], "value", table[name]))
        array = arrow.array(np.ascontiguousarray(values, values.dtype.newbyteorder("=")))
        notes = {"unit": str(info.unit or ""), "description": info.description or ""}
        fields.append(arrow.field(name, array.type, metadata=notes))
        arrays.append(array)
    schema = arrow.schema(fields, metadata={str(k): str(v) for k, v in (meta or {}).items()})
    return arrow.Table.from_arrays(arrays, schema=schema)
