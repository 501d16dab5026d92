"""Parallax factors: where on the sky the Earth's way around the Sun makes a star appear."""
import numpy as np


def parallax_factors(ra, dec, mjd):
    """How far east and north a star appears of where the Sun's system as a whole would see it, in units of its parallax.

    Parameters
    ----------
    ra, dec : float
        ICRS, degrees.
    mjd : ndarray, shape (n,)
        Modified Julian dates.

    Returns
    -------
    ndarray, shape (n, 2)
    """
    from astropy.coordinates import get_body_barycentric
    from astropy.time import Time
    # in a minute, by which time scales differ, the Earth goes nowhere
    earth = get_body_barycentric("earth", Time(np.asarray(mjd, float), format="mjd", scale="tdb"))
    return -earth.xyz.to_value("au").T@np.stack(tangent_plane(ra, dec), axis=1)


def tangent_plane(ra, dec):
    """Unit vectors to the east and to the north at a position, ICRS, degrees."""
    a, d = np.radians(ra), np.radians(dec)
    east = np.array([-np.sin(a), np.cos(a), 0.])
    north = np.array([-np.sin(d)*np.cos(a), -np.sin(d)*np.sin(a), np.cos(d)])
    return east, north


def sky_steps(ra, dec):
    """How far east and north of the first of some positions the others are, degrees, shape (n-1, 2).

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Near to each other, ICRS, degrees.
    """
    a, d = np.radians(ra), np.radians(dec)
    place = np.stack([np.cos(d)*np.cos(a), np.cos(d)*np.sin(a), np.sin(d)], axis=1)
    return np.degrees((place[1:]-place[0])@np.stack(tangent_plane(ra[0], dec[0]), axis=1))
