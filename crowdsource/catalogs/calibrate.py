"""Photometric calibration: zero point and colour term of a catalog against a reference."""
from dataclasses import dataclass

import numpy as np

from ..core import functions, linear
from ..core.errors import InputError
from ..core.noise import MAD_TO_SIGMA
from ..engine.schema import POGSON, magnitudes
from ..exposure.results import WHOLE
from ..psf.export import curve_of_growth
from .catalog import CALIBRATED, SIGNIFICANT, StarCatalog
from .columns import chosen, colour_for, values_of
from .match import matched

LEAST_STARS = 3
"""So many stars must be left for a zero point."""
STARS_FOR_COLOUR, SPREAD = 10, 0.05
"""A colour term takes so many stars, and colours that scatter by so much, magnitudes."""
CLIPPED = 3.
"""Stars farther off than so many sigma of error and scatter together count no more."""
LEFT_OF_CLIPPED = 0.9733
"""Variance of a normal distribution without what is farther off than that, over the whole one's."""
ROUNDS, HALVINGS = 20, 40
TINY = 1e-12
"""Variance, magnitudes squared, that is nothing beside any other."""
NODES = 5
"""The light of the PSF is summed at so many positions along each axis."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Calibration:
    """How fluxes of a catalog become magnitudes of a reference.

    A star's magnitude is ``zeropoint_total-2.5*log10(flux)-aperture``, where `aperture` is 2.5 log10 of all of the PSF's light
    at the star in units of a flux. In the middle of the image it is ``zeropoint-2.5*log10(flux)``. It is the reference's for
    stars of colour `pivot`; where a star's colour is known, ``colour_term*(colour-pivot)`` is added.

    Attributes
    ----------
    zeropoint, zeropoint_error : float
        Magnitude of a flux of 1, of a star of colour `pivot`.
    zeropoint_total : float
        The same for all of the PSF's light; NaN where the PSF is not known.
    colour_term, colour_term_error : float
        Magnitudes per magnitude of colour; 0 and NaN where none is fitted.
    colour : str
        The colour, as "g-r"; empty where there is none.
    pivot : float
        Median colour of the stars that are used; NaN without colours.
    scatter : float
        Robust standard deviation of the stars around the fit, magnitudes.
    stars, matched : int
        Stars that are used, and pairs that could have been.
    band, reference, column : str
        Of the reference: band, file, and column of magnitudes.
    aperture : ndarray, shape (n,), float64
        For each row of the catalog, magnitudes; 0 where the PSF is not known.
    """

    zeropoint: float
    zeropoint_error: float
    zeropoint_total: float
    colour_term: float
    colour_term_error: float
    colour: str
    pivot: float
    scatter: float
    stars: int
    matched: int
    band: str
    reference: str
    column: str
    aperture: np.ndarray

    def magnitudes(self, flux, error):
        """Calibrated magnitudes and their errors from fluxes of all rows of the catalog; NaN where a flux is not positive."""
        mag, dmag = magnitudes(np.asarray(flux, dtype=float), np.asarray(error, dtype=float),
                               self.zeropoint_total if np.isfinite(self.zeropoint_total) else self.zeropoint)
        return mag-self.aperture, dmag

    def apply(self, table):
        """A copy of the catalog with the columns ``mag_cal`` and ``dmag_cal``, and with the calibration in its ``meta``."""
        out = table.copy()
        self.add_columns(out, *self.magnitudes(*StarCatalog.of(table).fluxes))
        out.meta.update({k: v for k, (v, _) in self.cards().items() if v is not None})
        return out

    def add_columns(self, table, mag, error):
        """Add or replace ``mag_cal`` and ``dmag_cal`` of a table, in place."""
        from astropy.table import Column
        texts = (f"magnitude as in {self.column} of {self.reference}, for stars of its colour CALPIVOT",
                 "error of mag_cal, without that of the zero point")
        for name, values, text in zip((CALIBRATED, f"d{CALIBRATED}"), (mag, error), texts):
            table[name] = Column(values.astype(np.float32), unit="mag")
            table[name].info.description = text

    def cards(self):
        """(value, comment) by the keyword that files record it under; None for what is not known."""
        def known(value):
            return float(value) if np.isfinite(value) else None
        return dict(CALZP=(known(self.zeropoint), "magnitude of a flux of 1, colour CALPIVOT"),
                    CALZPERR=(known(self.zeropoint_error), "error of CALZP"),
                    CALZPALL=(known(self.zeropoint_total), "the same for all light of the PSF"),
                    CALCTERM=(known(self.colour_term), "colour term, mag per mag of CALCOLOR"),
                    CALCTERR=(known(self.colour_term_error), "error of CALCTERM"),
                    CALCOLOR=(self.colour, "colour of the reference"),
                    CALPIVOT=(known(self.pivot), "median colour of the stars"),
                    CALSCAT=(known(self.scatter), "robust scatter of the stars, mag"),
                    CALSTARS=(self.stars, "number of stars"), CALBAND=(self.band, "band of the reference"),
                    CALCOL=(self.column, "column of the reference"), CALREF=(self.reference, "reference catalog"))

    def lines(self):
        """What came out, in lines of text."""
        lines = [f"zero point {self.zeropoint:.4f} +- {self.zeropoint_error:.4f}, scatter {self.scatter:.4f} mag of "
                 f"{self.stars} stars, {self.matched-self.stars} of {self.matched} left out; {self.column} of {self.reference}"]
        if self.colour:
            term = f"{self.colour_term:+.4f} +- {self.colour_term_error:.4f}"
            lines.append(f"colour term {term} ({self.colour} - {self.pivot:.3f})")
        if np.isfinite(self.zeropoint_total):
            lines.append(f"aperture correction {self.zeropoint-self.zeropoint_total:+.4f} mag to all light of the PSF, whose "
                         f"zero point is {self.zeropoint_total:.4f}")
        return lines


def calibrate(catalog, reference, *, band=None, colour=None, radius=None, aperture=None):
    """The zero point and the colour term of a catalog against a reference.

    Parameters
    ----------
    catalog : path-like, astropy.table.Table, crowdsource.engine.state.FitResult or crowdsource.catalogs.catalog.StarCatalog
        With fluxes.
    reference : path-like or astropy.table.Table
        Any catalog with usual names of columns.
    band : str, optional
        Band or column of the reference; that of the image where it is not given.
    colour : str, optional
        "BLUE-RED", bands or columns of the reference, or "none"; the usual one for the band where it is not given.
    radius : float, optional
        As `crowdsource.catalogs.match.match`.
    aperture : tuple of (ndarray of shape (n,), float), optional
        As `aperture_corrections` gives it, for each row and the middle; from the PSF of a `FitResult` where it is not given.

    Returns
    -------
    Calibration

    Raises
    ------
    DataFileError
        When a file cannot be read as a catalog.
    InputError
        When the reference has no such band, the catalog no fluxes, or too few stars are in common.
    """
    ours, theirs = StarCatalog.of(catalog, "the catalog"), StarCatalog.of(reference, "the reference")
    if ours.fluxes is None:
        raise InputError(f"{ours.name}: has no column of fluxes by a usual name; it has {', '.join(ours.table.colnames)}")
    which = reference_magnitude(theirs, band or ours.band)
    pair = reference_colour(theirs, which, colour)
    pairs = matched(ours, theirs, radius)
    mag, error = ours.instrumental()
    if aperture is None and hasattr(catalog, "psf"):
        places = ours.pixels-np.array(catalog.image.origin)[:, None]
        aperture = aperture_corrections(catalog.psf, *places, catalog.config.psf.norm_radius)
    added, middle = (np.zeros(len(mag)), np.nan) if aperture is None else aperture
    value, value_error = values_of(theirs.table, which)
    difference = value[pairs.second]-(mag-added)[pairs.first]
    variance = (error**2)[pairs.first]+(value_error**2)[pairs.second]
    colours = None
    if pair is not None:
        blue, red = (values_of(theirs.table, m)[0] for m in pair)
        colours = (blue-red)[pairs.second]
    usable = ours.reliable[pairs.first] & np.isfinite(difference) & np.isfinite(variance) & \
        (error[pairs.first] < POGSON/SIGNIFICANT)
    found = fitted(difference[usable], variance[usable], None if colours is None else colours[usable])
    total = found.pop("zeropoint")
    with_psf = np.isfinite(middle)
    return Calibration(**found, zeropoint=total-middle if with_psf else total, zeropoint_total=total if with_psf else np.nan,
                       colour="-".join(m.band or m.column for m in pair) if np.isfinite(found["colour_term_error"]) else "",
                       matched=int(usable.sum()), band=which.band, reference=theirs.name, column=which.column, aperture=added)


def reference_magnitude(reference, band):
    """The `Magnitude` of a reference for a band; the only one where it has but one. Raises `InputError` where none is clear."""
    if not reference.magnitudes:
        raise InputError(f"{reference.name}: has no magnitudes by a usual name; it has {', '.join(reference.table.colnames)}")
    if len(reference.magnitudes) == 1 and not band:
        return reference.magnitudes[0]
    if not band:
        raise InputError(f"the image's band is not known: name the band or column of {reference.name} (`band`), one "
                         f"of {', '.join(m.band or m.column for m in reference.magnitudes)}")
    return chosen(reference.magnitudes, band, reference.name)


def reference_colour(reference, which, colour):
    """The two `Magnitude` of a colour, given as "BLUE-RED"; the usual one where it is not given, None for "none"."""
    if colour == "none":
        return None
    if colour is None:
        return colour_for(which.band, reference.magnitudes)
    blue, _, red = colour.partition("-")
    if not (blue and red):
        raise InputError(f"colour {colour!r}: give BLUE-RED, as g-r, or none")
    return tuple(chosen(reference.magnitudes, name, reference.name) for name in (blue, red))


def fitted(difference, variance, colours=None):
    """A robust fit of a constant and a term in colour to differences of magnitudes.

    To the variances the square of a scatter is added that all stars have, such that the fit is as good as errors say. Stars that
    are off by more than `CLIPPED` sigma, and those without a colour where there are colours, are left out.

    Parameters
    ----------
    difference, variance : ndarray, shape (n,)
        Reference less instrumental magnitude.
    colours : ndarray, shape (n,), optional

    Returns
    -------
    dict
        zeropoint, zeropoint_error, colour_term, colour_term_error, pivot, scatter, stars, as of `Calibration`.

    Raises
    ------
    InputError
        When too few stars are left.
    """
    with_colour = np.zeros(len(difference), bool) if colours is None else np.isfinite(colours)
    term = with_colour.sum() >= STARS_FOR_COLOUR and np.std(_central(colours[with_colour])) > SPREAD
    usable = with_colour if term else np.ones(len(difference), bool)
    if usable.sum() < LEAST_STARS:
        raise InputError(f"only {usable.sum()} good stars in common with the reference: give a larger radius, or another one")
    difference, variance = difference[usable], variance[usable]
    pivot = float(np.median(colours[usable])) if term else np.nan
    design = np.c_[np.ones(len(difference)), colours[usable]-pivot] if term else np.ones((len(difference), 1))
    keep, extra = _near(difference), 0.
    for _ in range(ROUNDS):
        values, left, _ = _weighted(design, difference, variance+extra, keep)
        before, extra = extra, _common_variance(left[keep], variance[keep], _half_within)
        now = np.abs(left) < CLIPPED*np.sqrt(variance+extra+TINY)
        if ((now == keep).all() and np.isclose(extra, before, rtol=0.01)) or now.sum() < max(LEAST_STARS, len(values)+1):
            break
        keep = now
    # who counts is decided; what their scatter is, all of them tell better than the middle one
    freedom = keep.sum()/max(keep.sum()-len(values), 1)
    extra = _common_variance(left[keep]*np.sqrt(freedom), variance[keep], _mean_square)
    values, left, covariance = _weighted(design, difference, variance+extra, keep)
    spread = MAD_TO_SIGMA*np.median(np.abs(left[keep]))
    return dict(zeropoint=float(values[0]), zeropoint_error=float(np.sqrt(covariance[0, 0])),
                colour_term=float(values[1]) if term else 0., scatter=float(spread), stars=int(keep.sum()), pivot=pivot,
                colour_term_error=float(np.sqrt(covariance[1, 1])) if term else np.nan)


def _weighted(design, values, variance, keep):
    """A weighted fit to some values: coefficients, residuals of all, and the covariance of the coefficients."""
    weight = 1/(variance[keep]+TINY)
    rows, seen = design[keep].T, values[keep][None]
    covariance = linear.inverse(linear.products(rows*weight, rows))
    fit = linear.products(covariance, linear.products(seen*weight, rows))[:, 0]
    return fit, values-linear.products(design, fit[None])[:, 0], covariance


def _half_within(pulls):
    """The scale of pulls by the one in the middle; 1 of a normal distribution."""
    return MAD_TO_SIGMA*np.median(np.abs(pulls))


def _mean_square(pulls):
    """The mean square of pulls that are clipped; 1 of a normal distribution."""
    return np.mean(pulls**2)/LEFT_OF_CLIPPED


def _common_variance(left, variance, scale):
    """What is to be added to the variances of residuals so that the scale of their pulls is 1."""
    low, high = 0., float(np.max(left**2))+TINY
    if scale(left/np.sqrt(variance+TINY)) <= 1:
        return 0.
    for _ in range(HALVINGS):
        middle = (low+high)/2
        low, high = (middle, high) if scale(left/np.sqrt(variance+middle+TINY)) > 1 else (low, middle)
    return high


def _near(values):
    """Values not farther off the median than five times their scatter: where the fit begins."""
    middle = np.median(values)
    return np.abs(values-middle) <= 5*MAD_TO_SIGMA*np.median(np.abs(values-middle))+1e-6


def _central(values):
    """Values without the twentieth at either end."""
    low, high = np.quantile(values, [0.05, 0.95])
    return values[(values >= low) & (values <= high)]


def aperture_corrections(psf, x, y, radius=0.):
    """What of a PSF's light a flux of a catalog leaves out, at positions and in the middle of the image.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    x, y : ndarray, shape (n,)
        Pixels of the image.
    radius : float
        Of the circle to which fluxes refer, pixels; 0 for the box over which the PSF sums to 1.

    Returns
    -------
    corrections : ndarray, shape (n,)
        2.5 log10 of all light in units of a flux, magnitudes: linear between positions on a grid.
    middle : float
    """
    from scipy.interpolate import RegularGridInterpolator
    unit = float(curve_of_growth(psf, [radius])[0]) if radius else 1.
    ys, xs = (np.linspace(0, n-1, NODES) for n in psf.shape)
    light = np.array([[psf.stamp(WHOLE, u, v).sum() for u in xs] for v in ys])/unit
    ask = np.c_[np.clip(np.nan_to_num(y), 0, ys[-1]), np.clip(np.nan_to_num(x), 0, xs[-1])]
    return (POGSON*functions.log(RegularGridInterpolator((ys, xs), light)(ask)),
            POGSON*functions.log(psf.stamp(WHOLE).sum(dtype=np.float64)/unit))
