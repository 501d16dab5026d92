"""Positions in an image's pixels of the rows of a user's catalog."""
from contextlib import suppress

import numpy as np

from ..core.errors import InputError
from ..core.world import pixels_of

SKY = (("ra", "dec"), ("raj2000", "dej2000"), ("raj2000", "decj2000"), ("_raj2000", "_dej2000"), ("ra_icrs", "de_icrs"),
       ("ra_icrs", "dec_icrs"), ("alpha_j2000", "delta_j2000"), ("alphawin_j2000", "deltawin_j2000"), ("radeg", "dedeg"),
       ("radeg", "decdeg"), ("ra_deg", "dec_deg"), ("right_ascension", "declination"), ("ramean", "decmean"),
       ("rastack", "decstack"), ("ra_j2000", "dec_j2000"), ("ra2000", "dec2000"), ("_ra", "_de"))
"""Names of right ascension and declination, in lower case: ours, and those of VizieR, SExtractor and others."""
PIXELS = {("x", "y"): 0, ("xcentroid", "ycentroid"): 0, ("x_centroid", "y_centroid"): 0, ("x_fit", "y_fit"): 0, ("x_0", "y_0"): 0,
          ("x_init", "y_init"): 0, ("x_image", "y_image"): 1, ("xwin_image", "ywin_image"): 1, ("xcenter", "ycenter"): 1}
"""Names of positions in pixels, ours and those of photutils, SExtractor and IRAF, and the number of the first pixel."""
MARGIN = 0.2
"""Part of the image's size around it in which positions are put through distortions."""
MJD_2000, JULIAN_YEAR = 51544.5, 365.25
MAS_PER_DEGREE = 3.6e6


def positions(table, image):
    """Positions in an image's pixels.

    Parameters
    ----------
    table : Table
        Where the image has a WCS a column of SkyCoord, or right ascension and declination by one of the names in `SKY`, in
        degrees, in the column's unit, or as sexagesimal text of hours and degrees; else pixels of the whole image, by one of the
        names in `PIXELS`. Names in any case.
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
    sky = None if image.wcs is None else sky_positions(table)
    pixels = next((pair for pair in PIXELS if set(pair) <= names.keys()), None)
    if sky is not None:
        x, y = _projected(*sky, image)
    elif pixels is not None:
        x, y = (numbers(table, names[n], "pix")-PIXELS[pixels] for n in pixels)
    else:
        wanted = "x and y, or ra and dec" if image.wcs is not None else "x and y (ra and dec serve an image with a WCS only)"
        raise InputError(f"the catalog has no columns {wanted}; it has {', '.join(table.colnames)}")
    return Table(dict(x=x, y=y))


def sky_positions(table):
    """Right ascension and declination of a table's rows, ICRS, degrees, NaN where masked; None where it has none.

    Raises
    ------
    InputError
        When the columns hold neither numbers nor sexagesimal text.
    """
    from astropy.coordinates import SkyCoord
    names = {n.lower(): n for n in reversed(table.colnames)}
    pair = next((pair for pair in SKY if set(pair) <= names.keys()), None)
    if pair is not None:
        return tuple(angles(table, names[name], unit) for name, unit in zip(pair, ("hourangle", "deg")))
    whole = next((_one_dimensional(table, n) for n in table.colnames if isinstance(table[n], SkyCoord)), None)
    return None if whole is None else (whole.icrs.ra.deg, whole.icrs.dec.deg)


def angles(table, name, unit):
    """A column of angles in degrees; of sexagesimal text, in a unit, where it holds text that is no number."""
    text = np.ma.asarray(_one_dimensional(table, name))
    if text.dtype.kind not in "SUO":
        return numbers(table, name, "deg")
    from astropy.coordinates import Angle
    known, out = ~np.ma.getmaskarray(text), np.full(len(text), np.nan)
    text = np.ma.getdata(text)[known]
    with suppress(ValueError, TypeError):
        out[known] = text.astype(np.float64)
        return out
    try:
        out[known] = Angle([str(t) for t in text], unit=unit).deg
        return out
    except Exception as problem:
        raise InputError(f"column {name} of the catalog holds no angles ({problem}); give degrees, or hours as 12:34:56.7") \
            from problem


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


def _one_dimensional(table, name):
    """A column that has one value in each row."""
    column = table[name]
    if len(column.shape) != 1:
        raise InputError(f"column {name} of the catalog has {column.shape[1:]} values in each row; give one")
    return column


def numbers(table, name, unit):
    """A column as float64 in a unit, NaN where masked."""
    column = _one_dimensional(table, name)
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
    rough[:, known] = pixels_of(image.wcs, ra[known], dec[known], distorted=False)
    x, y = rough[0]-image.origin[0], rough[1]-image.origin[1]
    mx, my = 100+MARGIN*nx, 100+MARGIN*ny
    near = (x > -mx) & (x < nx+mx) & (y > -my) & (y < ny+my)
    if near.any():
        out[:, near] = pixels_of(image.wcs, ra[near], dec[near])
    return out
