"""The columns of one image's catalog: the single definition of their names, types, units and meanings."""
from dataclasses import dataclass

import numpy as np

from ..core import functions

FLUX = "flux"
"""Placeholder in a column's unit for the unit of the image."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
    dtype : str
        NumPy dtype.
    unit : str
        Unit, "" for none, `FLUX` for the image's.
    description : str
        Definition.
    """

    name: str
    dtype: str
    unit: str
    description: str


DETECTION = (
    Column("x", "f8", "pix", "position along FITS axis 1, 0-based, pixel centres at integers"),
    Column("y", "f8", "pix", "position along FITS axis 2, 0-based, pixel centres at integers"),
    Column("flux", "f8", FLUX, "flux from the joint fit of all sources, corrected for the bias of a fitted position"),
    Column("dflux", "f4", FLUX, "error of flux, marginalised over position and neighbours, with confusion and masked light"),
    Column("dflux_joint", "f4", FLUX, "error of flux from photon noise alone, marginalised over position and neighbours"),
    Column("dx", "f4", "pix", "error of x, marginalised over neighbours, with confusion by undetected stars"),
    Column("dy", "f4", "pix", "error of y, marginalised over neighbours, with confusion by undetected stars"),
    Column("dflux_iso", "f4", FLUX, "error of flux for an isolated star at a known position"),
    Column("passno", "i2", "", "pass in which the source was found, from 0"),
    Column("qf", "f4", "", "PSF-weighted fraction of good pixels"),
    Column("rchi2", "f4", "", "PSF-weighted reduced chi2 of the residual"),
    Column("fracflux", "f4", "", "PSF-weighted fraction of the light at the source that is its own"),
    Column("fluxlbs", "f4", FLUX, "flux from the neighbour-subtracted stamp, fitted together with a constant local sky"),
    Column("dfluxlbs", "f4", FLUX, "error of fluxlbs"),
    Column("fwhm", "f4", "pix", "FWHM of the PSF at the source, 1.18/sqrt(pi sum p^2)"),
    Column("spread_model", "f4", "", "extent as defined by SExtractor: PSF against PSF convolved with a disc of FWHM/16"),
    Column("dspread_model", "f4", "", "error of spread_model"),
    Column("fluxiso", "f4", FLUX, "flux from a fit of flux and position to the neighbour-subtracted stamp"),
    Column("xiso", "f4", "pix", "offset of that fit's position from x"),
    Column("yiso", "f4", "pix", "offset of that fit's position from y"),
    Column("flags", "i8", "", "flags of the central pixel: instrument bits, and engine bits from bit 32"),
    Column("sky", "f4", FLUX, "sky at the source, per pixel"),
    Column("psf_star", "?", "", "whether the source was used to fit the PSF"),
    Column("good", "?", "", "whether to use the row: significant, well fitted, on good pixels, not in a bright star's wings"),
)
FORCED = (
    Column("deltx", "f4", "pix", "offset in x that a joint fit of all positions prefers; its error is dx"),
    Column("delty", "f4", "pix", "offset in y that a joint fit of all positions prefers; its error is dy"),
)
WORLD = (
    Column("ra", "f8", "deg", "right ascension"),
    Column("dec", "f8", "deg", "declination"),
    Column("detection_id", "i8", "", "identifier of the detection"),
)
MAGNITUDE = (
    Column("mag", "f4", "mag", "magnitude with the zero point of the image; NaN for non-positive flux"),
    Column("dmag", "f4", "mag", "error of mag, from dflux"),
)
PROBABILITY = (
    Column("prob_nebulosity", "f4", "", "probability, from a network, that the sky at the source is nebulous"),
    Column("prob_light", "f4", "", "probability that the sky has faint nebulosity"),
    Column("prob_normal", "f4", "", "probability that the sky is normal"),
    Column("prob_error", "f4", "", "probability that the image is defective at the source"),
)


def columns_of(forced=False, world=False, magnitude=False, probabilities=0):
    """The columns of a catalog, in order.

    Parameters
    ----------
    forced, world, magnitude : bool
        A forced fit; an image with a WCS; one with a zero point.
    probabilities : int
        Number of classes of background for which a network gave a probability.
    """
    return DETECTION+FORCED*forced+WORLD*world+MAGNITUDE*magnitude+PROBABILITY[:probabilities]


def make_catalog(values, unit="ct", **has):
    """A table of values with the schema's dtypes, units and descriptions.

    Parameters
    ----------
    values : mapping of str to ndarray, shape (n,)
        Every column of the schema.
    unit : str
        The image's unit.
    **has
        As `columns_of`.

    Returns
    -------
    astropy.table.QTable
    """
    from astropy.table import Column as TableColumn
    from astropy.table import QTable
    table = QTable()
    for c in columns_of(**has):
        name_of_unit = unit if c.unit == FLUX else c.unit
        table[c.name] = TableColumn(np.asarray(values[c.name]).astype(c.dtype), unit=name_of_unit or None,
                                    description=c.description)
    for c in columns_of(**has):
        table[c.name].info.description = c.description
    return table


def documentation():
    """The columns as a Markdown table."""
    rows = [f"| `{c.name}` | {np.dtype(c.dtype).name} | {'image' if c.unit == FLUX else c.unit} | {c.description} |"
            for c in columns_of(True, True, True, len(PROBABILITY))]
    return "\n".join(["| column | type | unit | definition |", "|---|---|---|---|", *rows])


POGSON = 2.5/functions.log(10)
"""Magnitudes of a relative change of the flux by 1, for small ones."""


def magnitudes(flux, dflux, zeropoint):
    """Magnitudes and errors of fluxes.

    Parameters
    ----------
    flux, dflux : ndarray, shape (n,)
    zeropoint : float
        Magnitude of one unit of flux.

    Returns
    -------
    mag, dmag : ndarray, shape (n,)
        NaN where the flux is not positive.
    """
    positive = np.asarray(flux) > 0
    safe = np.where(positive, flux, 1.)
    mag = np.where(positive, zeropoint-POGSON*functions.log(safe), np.nan)
    return mag, np.where(positive, POGSON*np.asarray(dflux)/safe, np.nan)
