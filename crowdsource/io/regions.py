"""Region files: the sources of a catalog as circles on an image that DS9 or another viewer shows."""
import numpy as np

from ..core.errors import InputError
from .atomic import atomic_path
from .tables import plain

HEAD = """# Region file format: DS9 version 4.1
global color=green width=1 select=1 edit=1 move=0 delete=1 include=1
{system}
"""
PSF_STARS = " # color=cyan tag={psf_star}"
ARCSEC = 3600


def write_regions(table, path, overwrite=False):
    """Write a circle for each source, of its FWHM as diameter: stars that the PSF was fitted to in cyan, the others in green.

    Parameters
    ----------
    table : astropy.table.Table
        A catalog: x, y and fwhm in pixels; where it has ra and dec, in degrees, circles lie on the sky (ICRS), else in pixels of
        the image, which DS9 counts from 1. Rows without a position are left out.
    path : path-like
    overwrite : bool

    Raises
    ------
    InputError
        When rows of several detectors have no positions on the sky.
    OutputError
        When the file exists already or cannot be written.
    """
    x, y, fwhm = (np.asarray(plain(table[n]), dtype=float) for n in ("x", "y", "fwhm"))
    radius = np.where(np.isfinite(fwhm) & (fwhm > 0), fwhm, np.nanmedian(fwhm) if np.isfinite(fwhm).any() else 1.)/2
    if {"ra", "dec"} <= set(table.colnames):
        first, second = (np.asarray(plain(table[n]), dtype=float) for n in ("ra", "dec"))
        system, form = "icrs", 'circle({:.7f},{:.7f},{:.3f}")'
        radius = radius*_scale(x, y, first, second)
    elif "detector" in table.colnames:
        raise InputError(f"{path}: several detectors without positions on the sky have no image in common: leave out `regions`")
    else:
        first, second, system, form = x+1, y+1, "image", "circle({:.3f},{:.3f},{:.3f})"
    marks = np.asarray(table["psf_star"]) if "psf_star" in table.colnames else np.zeros(len(table), bool)
    lines = [form.format(*place)+PSF_STARS*bool(star) for *place, star in zip(first, second, radius, marks)
             if np.isfinite(place).all()]
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(HEAD.format(system=system)+"".join(line+"\n" for line in lines), encoding="ascii")


def _scale(x, y, ra, dec):
    """Arcseconds in a pixel, as distances of rows from the one before say in the median; 1 where there is but one row."""
    east, north = ((np.diff(ra)+180) % 360-180)*np.cos(np.radians(dec[1:])), np.diff(dec)
    with np.errstate(all="ignore"):
        ratio = ARCSEC*np.hypot(east, north)/np.hypot(np.diff(x), np.diff(y))
    return float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else 1.
