"""Magnitudes, their errors and their bands in catalogs of any origin, by the usual names of columns."""
import re
from dataclasses import dataclass

import numpy as np

from ..core.errors import InputError
from ..engine.schema import POGSON
from ..io.positions import numbers

PATTERNS = (
    # Gaia, 2MASS, WISE, Pan-STARRS, SDSS, VizieR and others; the first that fits tells the band
    (r"phot_(?P<band>g|bp|rp)_mean_mag", str.upper), (r"(?P<band>[jhk])_m", str.upper), (r"(?P<band>w[1-4])mpro", str.upper),
    (r"(?P<band>[grizy])(mean)?(psf|kron|ap)mag", str), (r"(psf|model|cmodel|petro|fiber)mag_(?P<band>\w+)", str),
    (r"mag(nitude)?s?_(?P<band>\w+)", str), (r"(?P<band>\w+?)_?mag(nitude)?s?", str), (r"(?P<band>)mag(nitude)?s?", str),
    (r"(?P<band>f\d{3}(w|m|n|lp|x|w2|lp2))(_?(mag|vega|vegamag|ab|abmag|st))?", str.upper),
)
"""Names of columns of magnitudes, in any case, and how the band is written of what they say."""
BARE = re.compile(r"(?P<band>[ugrizyUBVRIJHKGY]|[JHK]s|BP|RP|W[1-4])(_?(psf|ps1|sdss|vega|ab|AB|Vega))?")
"""Names of columns that are those of bands, case counts."""
NO_MAGNITUDE = re.compile(r"(e|err|error|sig|sigma|unc|d)_?\w*mag.*|.*(err|error|errs|sig|sigma|unc|_e|std|flag|flags|num|n)",
                          re.IGNORECASE)
"""Names of columns that tell of magnitudes, and are none."""
WAYS = {"auto", "psf", "aper", "iso", "isocor", "best", "petro", "cal", "fit", "inst", "total", "1", "2", "model"}
"""What names of columns say of how a magnitude was measured, which is no band."""
FLUXES = ("flux", "flux_fit", "flux_psf", "flux_auto", "flux_aper", "psfflux", "fluxlbs")
"""Names of columns of fluxes, in lower case."""
TYPICAL_ERROR = 0.03
"""Error of a magnitude whose error no column tells."""
SEQUENCES = (("u", "g", "r", "i", "z", "y"), ("U", "B", "V", "R", "I"), ("J", "H", "K"), ("J", "H", "Ks"), ("W1", "W2"))
"""Bands by wavelength."""


@dataclass(frozen=True)
class Magnitude:
    """A column of magnitudes.

    Attributes
    ----------
    column : str
    band : str
        Empty where its name tells none.
    error : str or None
        The column of its errors.
    """

    column: str
    band: str
    error: str = None


def magnitudes_of(table):
    """The columns of magnitudes of a table, as a tuple of `Magnitude` in their order."""
    found, names = [], {n.lower(): n for n in reversed(table.colnames)}
    for name in table.colnames:
        band = _band_in(name) if table[name].dtype.kind in "fiu" and table[name].ndim == 1 else None
        if band is not None and not (name in ("y", "Y") and names.get("x")):
            column = name.lower()
            error = next((names[e] for e in _error_names(column, band.lower()) if e in names), None)
            found.append(Magnitude(name, "" if band.lower() in WAYS else band, error))
    return tuple(found)


def _band_in(name):
    """The band that a column's name says, empty where it says none; None where it holds no magnitudes."""
    bare = BARE.fullmatch(name)
    if bare:
        return bare["band"]
    if NO_MAGNITUDE.fullmatch(name) or name.lower() in ("image", "mag_zp"):
        return None
    for pattern, spelled in PATTERNS:
        match = re.fullmatch(pattern, name, re.IGNORECASE)
        if match:
            return spelled(match["band"])
    return None


def _error_names(column, band):
    """What the column of errors of a magnitude may be called, in lower case."""
    yield from (f"{before}{column}" for before in ("d", "e_", "err_", "err", "error_", "sig_", "sigma_", "sig", "unc_"))
    yield from (f"{column}{after}" for after in ("_err", "err", "_error", "error", "_sig", "_sigma", "_unc", "_e"))
    yield from (column.replace("mag", other) for other in ("magerr", "mag_err", "dmag", "err", "sigma") if "mag" in column)
    # Gaia, 2MASS, WISE
    yield from (f"phot_{band}_mean_flux_over_error", f"{band}_msigcom", f"{band}_cmsig", f"{band}sigmpro")
    yield from (f"{before}{band}" for before in ("e_", "d", "err_", "sigma_")) if band else ()
    yield from (f"{band}{after}" for after in ("_err", "err")) if band else ()


def values_of(table, magnitude):
    """Magnitudes and their errors, float64, NaN where there are none; an error that is not told is `TYPICAL_ERROR`."""
    values = numbers(table, magnitude.column, "mag")
    # catalogs write 99 and -999 where there is no magnitude
    values[(values > 90) | (values < -90)] = np.nan
    if magnitude.error is None:
        return values, np.where(np.isfinite(values), TYPICAL_ERROR, np.nan)
    errors = numbers(table, magnitude.error, "mag")
    if magnitude.error.lower().endswith("over_error"):
        errors = POGSON/np.where(errors > 0, errors, np.nan)
    return values, np.where((errors >= 0) & (errors < 90), errors, np.nan)


def fluxes_of(table):
    """Fluxes and errors of a table, float64, without a unit; None where it has none."""
    names = {n.lower(): n for n in reversed(table.colnames)}
    flux = next((names[n] for n in FLUXES if n in names), None)
    if flux is None:
        return None
    low = flux.lower()
    error = next((names[n] for n in (f"d{low}", low.replace("flux", "flux_err"), low.replace("flux", "fluxerr"), f"{low}_err",
                                     f"{low}err", f"e_{low}", f"{low}_error") if n in names), None)
    values = _plain(table[flux])
    return values, np.full(len(values), np.nan) if error is None else _plain(table[error])


def _plain(column):
    """A column as float64 without its unit, NaN where masked."""
    return np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=float), np.nan)


def band_word(text):
    """The band in a header's words, as "r DECam SDSS c0002 6415.0 1480.0" or "SDSS-r'"; empty where there is none."""
    for word in (part.strip("'`\"*^()") for part in re.split(r"[\s_./:-]+", str(text))):
        if BARE.fullmatch(word) or re.fullmatch(r"F\d{3}(W|M|N|LP|X|W2|LP2)", word, re.IGNORECASE):
            return word
    return ""


def chosen(found, wanted, what):
    """The magnitude of a band, or of a column, among several.

    Parameters
    ----------
    found : sequence of Magnitude
    wanted : str
        A column's name, or a band: in its own case, or in any where that is clear.
    what : str
        The catalog, for messages.

    Raises
    ------
    InputError
        When none, or several, are meant.
    """
    for same in (lambda m: m.column == wanted, lambda m: m.band == wanted, lambda m: m.column.lower() == wanted.lower(),
                 lambda m: m.band.lower() == wanted.lower()):
        fitting = [m for m in found if same(m)]
        if fitting:
            return fitting[0]
    have = ", ".join(f"{m.column} (band {m.band})" if m.band else m.column for m in found) or "none"
    raise InputError(f"{what} has no magnitudes of band or column {wanted!r}: it has {have}; name one of them")


def colour_for(band, found):
    """The two magnitudes of the usual colour for a band, the band's own and its neighbour's; None where there are none.

    Parameters
    ----------
    band : str
    found : sequence of Magnitude
    """
    of = {m.band: m for m in reversed(found)}
    if "BP" in of and "RP" in of:
        return of["BP"], of["RP"]
    widths = sorted((b for b in of if re.fullmatch(r"F\d{3}\w+", b)), key=lambda b: int(b[1:4]))
    for sequence in (*SEQUENCES, widths):
        have = [b for b in sequence if b in of]
        if band in have and len(have) > 1:
            k = max(have.index(band), 1)
            return of[have[k-1]], of[have[k]]
    return None
