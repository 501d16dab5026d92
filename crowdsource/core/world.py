"""World coordinates: right ascension and declination in the ICRS from any celestial frame, and back.

A WCS may be of Galactic or ecliptic coordinates, of an older equinox, or have latitude as its first axis; anything with astropy's
high-level interface serves (APE 14), such as an `astropy.wcs.WCS` or a `gwcs.WCS`.
"""
import numpy as np

from . import functions
from .errors import InputError

NODES, DEGREE = 12, 4
"""Places along each axis on which a WCS is fitted, and the degree of its polynomials."""


def check_wcs(wcs):
    """Raise `InputError` for what are no world coordinates of a plane; None is none."""
    if wcs is None:
        return
    if not hasattr(wcs, "pixel_to_world"):
        header = "; of a header, WCS(header)" if hasattr(wcs, "cards") else ""
        raise InputError(f"wcs is a {type(wcs).__name__}: give an astropy.wcs.WCS{header}, or another with pixel_to_world")
    if getattr(wcs, "pixel_n_dim", 2) != 2:
        raise InputError(f"wcs has {wcs.pixel_n_dim} axes: give that of the plane, as wcs.celestial")


def sky_of(wcs, x, y):
    """Right ascension and declination of 0-based pixels, ICRS, degrees, float64; shape (2, ...)."""
    if is_plain(wcs):
        return np.asarray(wcs.all_pix2world(x, y, 0))
    place = wcs.pixel_to_world(x, y).icrs
    return np.stack([place.ra.deg, place.dec.deg])


def pixels_of(wcs, ra, dec, distorted=True):
    """0-based pixels of ICRS positions in degrees, float64; shape (2, ...).

    Parameters
    ----------
    wcs : astropy.wcs.WCS or another one of APE 14
    ra, dec : ndarray
    distorted : bool
        False: as if the image had no distortions, where the WCS can tell that; these lead anywhere far off an image.
    """
    if is_plain(wcs):
        return np.asarray(wcs.all_world2pix(ra, dec, 0, quiet=True) if distorted else wcs.wcs_world2pix(ra, dec, 0))
    from astropy.coordinates import SkyCoord
    place = SkyCoord(ra, dec, unit="deg", frame="icrs")
    frame = None if distorted else frame_of(wcs)
    if frame is None:
        return np.asarray(wcs.world_to_pixel(place))
    there = place.transform_to(frame).spherical
    pair = there.lon.deg, there.lat.deg
    return np.asarray(wcs.wcs_world2pix(*(pair if wcs.wcs.lng == 0 else pair[::-1]), 0))


def pixel_scale(wcs, x, y):
    """Arcseconds in a pixel at a 0-based position, from the area of a pixel there."""
    ra, dec = sky_of(wcs, np.array([x, x+1, x]), np.array([y, y, y+1]))
    east, north = ((ra[1:]-ra[0]+180) % 360-180)*functions.cos(np.radians(dec[0])), dec[1:]-dec[0]
    return float(3600*np.sqrt(abs(east[0]*north[1]-east[1]*north[0])))


def tangent_plane(ra, dec, ra0, dec0):
    """Offsets on the plane that touches the sky at a position: the gnomonic projection (Calabretta & Greisen 2002, 5.1.3).

    Parameters
    ----------
    ra, dec, ra0, dec0 : array_like
        Degrees; they are broadcast.

    Returns
    -------
    east, north : ndarray, float64
        Degrees at the position where the plane touches. Of no meaning where the depth is not positive.
    depth : ndarray, float64
        Cosine of the distance from that position: positive on its half of the sky.
    """
    (sin_a, cos_a), (sin, cos), (sin0, cos0) = ((functions.sin(v), functions.cos(v)) for v in (
        np.radians(np.subtract(ra, ra0)), np.radians(dec), np.radians(dec0)))
    depth = sin0*sin+cos0*cos*cos_a
    scale = np.degrees(1/np.where(depth == 0, 1e-300, depth))
    return scale*cos*sin_a, scale*(cos0*sin-sin0*cos*cos_a), depth


def frame_of(wcs):
    """The celestial frame of an `astropy.wcs.WCS`; None of another WCS, or where it says none."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import wcs_to_celestial_frame
    if not isinstance(wcs, WCS):
        return None
    try:
        return wcs_to_celestial_frame(wcs)
    except ValueError:
        return None


def fits_wcs(wcs, shape, origin=(0, 0)):
    """A WCS that FITS headers can hold: itself, or a gnomonic one with polynomials that is fitted to another one of APE 14.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or another one of APE 14
    shape : tuple of int
        (ny, nx) of the image in which they agree.
    origin : tuple of int
        (x0, y0) of its first pixel in those of the WCS.
    """
    from astropy.wcs import WCS
    if isinstance(wcs, WCS):
        return wcs
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import fit_wcs_from_points
    x, y = (g.ravel() for g in np.meshgrid(*(o+np.linspace(0, n-1, NODES) for o, n in zip(origin, shape[::-1]))))
    ra, dec = sky_of(wcs, x, y)
    middle = [o+(n-1)/2 for o, n in zip(origin, shape[::-1])]
    around = SkyCoord(*sky_of(wcs, *middle), unit="deg")
    return fit_wcs_from_points((x, y), SkyCoord(ra, dec, unit="deg"), proj_point=around, sip_degree=DEGREE)


def is_plain(wcs):
    """Whether a WCS gives right ascension and declination in the ICRS by itself, in that order."""
    from astropy.coordinates import ICRS
    return isinstance(frame_of(wcs), ICRS) and wcs.wcs.lng == 0 and wcs.wcs.lat == 1


def unit_vectors(ra, dec):
    """Unit vectors of positions, ICRS, degrees; shape (..., 3)."""
    a, d = np.radians(ra), np.radians(dec)
    across = functions.cos(d)
    return np.stack([across*functions.cos(a), across*functions.sin(a), functions.sin(d)], axis=-1)
