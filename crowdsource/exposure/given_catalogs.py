"""Users' catalogs: positions of a forced fit, bright stars, galaxies."""
import logging

import numpy as np

from ..core.errors import DataFileError, InputError
from ..engine.given import OUTSIDE, GivenPositions, check_crowding
from ..io.positions import positions
from ..io.tables import read_table
from .instrument import TakesGalaxies, require

log = logging.getLogger(__name__)
APART = 4
"""Bright stars, whose stamps are large, may lie so many times less close together than others."""
IDENTIFIERS = ("id", "name", "row", "index")
"""A user's columns of whole numbers or text whose names end so go along into a forced catalog."""


def given_rows(path, image, several=False):
    """Rows of a user's catalog: x, y, the number of the row in the catalog, and identifiers.

    Parameters
    ----------
    path : path-like
    image : crowdsource.core.image.Image
    several : bool
        The image is one of several detectors, which only takes what lies on it and may have none; otherwise all rows stay.

    Raises
    ------
    DataFileError
        When it cannot be read, lacks the columns or has no row on the image.
    """
    rows = _named(path, named_rows, read_table(path), image)
    x, y = (np.asarray(rows[c])-o for c, o in zip("xy", image.origin))
    ny, nx = image.shape
    on = (x > -OUTSIDE) & (x < nx-1+OUTSIDE) & (y > -OUTSIDE) & (y < ny-1+OUTSIDE)
    if not on.any() and not several:
        raise DataFileError(path, f"none of its {len(on)} positions lies on the image; x and y count from 0")
    _named(path, lambda: GivenPositions.of(dict(x=rows["x"], y=rows["y"]), image))
    if several and not on.all():
        log.warning("%s: %d of %d positions are off the image and left out", path, (~on).sum(), len(on))
    return rows[on] if several else rows


def named_rows(table, image):
    """Rows of a user's table: x, y in pixels of the parent image, input_row, and identifiers.

    Raises
    ------
    InputError
        When it lacks positions.
    """
    rows = positions(table, image)
    rows["input_row"] = np.arange(len(rows))
    for name in table.colnames:
        if name.lower().endswith(IDENTIFIERS) and getattr(table[name], "dtype", rows["x"].dtype).kind in "iuSU" \
                and table[name].ndim == 1:
            rows[name if name.lower() not in ("x", "y", "input_row") else f"input_{name}"] = table[name]
    return rows


def identifiers(forced, catalog):
    """A user's columns for a forced catalog; those whose names are taken get a prefix."""
    if forced is None or len(forced) != len(catalog):
        return {}
    names = [n for n in forced.colnames if n not in ("x", "y")]
    return {n if n not in catalog.colnames else f"input_{n}": np.ma.filled(np.ma.asarray(forced[n])) for n in names}


def bright_stars(instrument, path, image):
    """The bright stars of a user's catalog as the instrument takes them, those without a position left out.

    Raises
    ------
    DataFileError
        When it cannot be read or lacks the columns.
    """
    rows = _named(path, instrument.bright_stars, image, read_table(path))
    rows = rows[np.isfinite(rows["x"]) & np.isfinite(rows["y"])]
    x, y = (np.asarray(rows[c])-o for c, o in zip("xy", image.origin))
    on = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0])
    _named(path, check_crowding, x[on], y[on], image.shape, APART)
    return rows


def with_galaxies(instrument, path, image):
    """The image with the galaxies of a user's catalog flagged.

    Raises
    ------
    DataFileError
        When it cannot be read or lacks the columns.
    InstrumentError
        When the instrument takes no galaxies.
    """
    require(instrument, TakesGalaxies)
    return _named(path, instrument.flag_galaxies, image, read_table(path))


def _named(path, function, *arguments):
    """What a function makes of a user's table; its error names the file."""
    try:
        return function(*arguments)
    except InputError as problem:
        raise DataFileError(path, str(problem)) from problem
