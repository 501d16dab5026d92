"""A catalog of stars, of this project or of another: where its stars are and how bright, by whatever names."""
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import DataFileError, InputError
from ..core.flags import ENGINE, MASK_SHIFT
from ..engine.schema import magnitudes
from ..exposure.results import ROWS, detectors_in, hdu_prefix
from ..io.fits_tables import read_hdu
from ..io.hdus import opened
from ..io.image_name import ImageName
from ..io.packed import starts_with
from ..io.positions import PIXELS, numbers, sky_positions
from ..io.tables import read_table
from .columns import Magnitude, band_word, chosen, fluxes_of, magnitudes_of, values_of

DOUBTED = int(ENGINE.bad | ENGINE.saturated | ENGINE.nonfinite | ENGINE.uncertain | ENGINE.offimage | ENGINE.extended |
              ENGINE.nebulous | ENGINE.trail | ENGINE.negative) << MASK_SHIFT
"""Flags of rows by which nothing is registered or calibrated."""
SIGNIFICANT = 20.
"""Stars of so many sigma are what catalogs are registered and calibrated by."""
CALIBRATED = "mag_cal"
"""Column of calibrated magnitudes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StarCatalog:
    """Stars by their rows.

    Attributes
    ----------
    name : str
        The file, or what it is called in messages.
    table : astropy.table.Table
    sky : ndarray, shape (2, n), or None
        Right ascension and declination, ICRS, degrees, NaN where not known.
    pixels : ndarray, shape (2, n), or None
        x and y from 0.
    magnitudes : tuple of Magnitude
    fluxes : tuple of ndarray, shape (n,), or None
        Fluxes and errors.
    band : str
        Of the image, empty where not known.
    meta : dict
        What the table says of itself, by names in lower case.
    """

    name: str
    table: object
    sky: np.ndarray = None
    pixels: np.ndarray = None
    magnitudes: tuple = ()
    fluxes: tuple = None
    band: str = ""
    meta: dict = field(default_factory=dict)

    @classmethod
    def of(cls, source, name=None):
        """Of a catalog's file, a table, or the result of a fit.

        Parameters
        ----------
        source : path-like, astropy.table.Table, crowdsource.engine.state.FitResult, or StarCatalog
        name : str, optional
            What it is called in messages, where it is no file.

        Raises
        ------
        DataFileError
            When a file cannot be read as a table.
        InputError
            When it has no positions, or no rows.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, (str, Path)):
            name, table = str(source), read_rows(source)
        else:
            table, name = getattr(source, "catalog", source), name or "the catalog"
        try:
            return cls._of_table(table, name, getattr(getattr(source, "image", None), "band", ""))
        except InputError as problem:
            if not isinstance(source, (str, Path)):
                raise
            raise DataFileError(source, str(problem)) from problem

    @classmethod
    def _of_table(cls, table, name, band):
        meta = {str(k).lower(): v for k, v in table.meta.items()}
        sky = sky_positions(table)
        names = {n.lower(): n for n in reversed(table.colnames)}
        pair = next((p for p in PIXELS if set(p) <= names.keys()), None)
        pixels = None if pair is None else np.array([numbers(table, names[n], "pix")-PIXELS[pair] for n in pair])
        if sky is None and pixels is None:
            raise InputError(f"has no positions by any usual name, such as ra and dec, or x and y; it has "
                             f"{', '.join(table.colnames)}")
        if not len(table):
            raise InputError("has no rows")
        band = band_word(band or meta.get("band") or meta.get("calband", ""))
        return cls(name=name, table=table, sky=None if sky is None else np.array(sky), pixels=pixels, meta=meta, band=band,
                   magnitudes=magnitudes_of(table), fluxes=fluxes_of(table))

    def brightness(self, wanted=None):
        """Magnitudes and errors, NaN where there are none, and the `Magnitude` that says which.

        Parameters
        ----------
        wanted : str, optional
            A column or a band; without it the calibrated magnitude, that of the image's band, the first one, or -2.5 log10 of the
            flux, in this order.

        Raises
        ------
        InputError
            When there is none such.
        """
        found = self.magnitudes
        if wanted is None and found:
            preferred = [m for m in found if m.column == CALIBRATED] or [m for m in found if self.band and m.band == self.band]
            wanted = (preferred or found)[0].column
        if wanted is not None:
            one = chosen(found, wanted, self.name)
            return *values_of(self.table, one), one if one.band or not self.band else Magnitude(one.column, self.band, one.error)
        if self.fluxes is None:
            raise InputError(f"{self.name}: has neither magnitudes nor fluxes by a usual name; it has "
                             f"{', '.join(self.table.colnames)}")
        return *self.instrumental(), Magnitude("", self.band)

    def instrumental(self):
        """Instrumental magnitudes, -2.5 log10 of the flux, and errors, NaN where the flux is not positive."""
        return magnitudes(*self.fluxes, 0.)

    @property
    def reliable(self):
        """Rows without a doubt in flags, and with ``good`` where there is such a column."""
        names, keep = self.table.colnames, np.ones(len(self.table), bool)
        if "good" in names and self.table["good"].dtype.kind == "b":
            keep &= np.asarray(self.table["good"])
        if "flags" in names and "dflux" in names and self.table["flags"].dtype.kind in "iu":
            keep &= (np.asarray(self.table["flags"]).astype(np.int64) & DOUBTED) == 0
        return keep

    @property
    def seeing(self):
        """FWHM of the image in arcseconds; NaN where not known."""
        value = self.meta.get("seeing")
        return float(value) if isinstance(value, (int, float)) else np.nan


def read_rows(path):
    """The rows of a catalog's file, those of several detectors together, with their names as ``detector``."""
    place = ImageName.parse(path)
    if place.path.is_file() and place.hdu is None:
        if starts_with(place.path, 6) == b"SIMPLE":
            with opened(place.path) as hdus:
                detectors = detectors_in(hdus)
                if len(detectors) > 1:
                    return _together({d: read_hdu(hdus[hdu_prefix(d)+ROWS]) for d in detectors}, hdus[0].header)
    return read_table(path)


def _together(tables, header):
    from astropy.table import Table, vstack
    for detector, table in tables.items():
        table["detector"] = np.full(len(table), detector)
    stacked = vstack([Table(t) for t in tables.values()], metadata_conflicts="silent")
    stacked.meta.update({k: header[k] for k in ("BAND", "VERSION", "EXPOSURE", "INSTRUME") if k in header})
    return stacked
