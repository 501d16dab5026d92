"""Units of pixels: electrons in a count, and AB magnitudes of physical fluxes."""
import re

import numpy as np

from crowdsource.core import functions

COUNTS = re.compile(r"(?P<what>electrons?|e-|counts?|ct|cts|dn|adu)"
                    r"(?P<rate>\s*/\s*s(ec(onds?)?)?|\s+s(ec)?\s*(\^|\*\*)?-1)?", re.IGNORECASE)
"""Units of pixels of which it is known how many electrons they are."""
ODD = {"nanomaggy": 3.631e-6, "nanomaggies": 3.631e-6, "nmgy": 3.631e-6, "maggy": 3631., "maggies": 3631.}
"""Janskys of units that astropy does not know or writes otherwise, by their names in lower case: 3631 Jy are magnitude 0 (AB)."""


def gain_of(unit, gain, exptime):
    """Electrons per unit, from the unit of the pixels, the electrons per count and the exposure time; None where not known.

    Parameters
    ----------
    unit : str
    gain, exptime : float or None
    """
    known = COUNTS.fullmatch(unit)
    if known is None:
        # a header's gain is that of counts: of fluxes it says nothing
        return None if janskys(unit) is not None else gain
    gain = 1. if known["what"].lower().startswith("e") else gain
    if known["rate"] is None:
        return gain
    # a gain of counts is none of counts a second
    return gain*exptime if gain and exptime else None


def janskys(unit):
    """Janskys in a unit, and whether it is one per steradian; None where it is no unit of flux.

    Parameters
    ----------
    unit : str

    Returns
    -------
    (float, bool) or None
    """
    if unit.lower() in ODD:
        return ODD[unit.lower()], False
    if "Jy" not in unit:
        return None
    from astropy import units
    found = units.Unit(unit, parse_strict="silent")
    for target, per_area in ((units.Jy, False), (units.Jy/units.sr, True)):
        try:
            return float(found.to(target)), per_area
        except (ValueError, AttributeError):
            # another kind of unit, or none that astropy knows
            continue
    return None


def zeropoint_of(unit, wcs=None, area=None):
    """AB magnitude of a pixel sum of 1, where the unit says a flux, or a surface brightness of pixels whose area is known.

    Parameters
    ----------
    unit : str
    wcs : object, optional
        Of which the area of a pixel is taken where it is not given.
    area : float, optional
        Of a pixel, steradians.

    Returns
    -------
    float or None
    """
    known = janskys(unit)
    if known is None:
        return None
    flux, per_area = known
    if per_area:
        area = area or pixel_area(wcs)
        if not area:
            return None
        flux *= area
    return ab_of_jansky(flux)


def ab_of_jansky(flux):
    """AB magnitude of a flux in Jy: the zero point is 3631 Jy (Oke and Gunn 1983)."""
    return float(-2.5*functions.log10(flux/3631.))


def pixel_area(wcs):
    """Area of a pixel in steradians by the linear part of a FITS WCS; None where it has none."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_area
    if not isinstance(wcs, WCS):
        return None
    return float(proj_plane_pixel_area(wcs.celestial))*np.deg2rad(1.)**2
