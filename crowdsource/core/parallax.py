"""Parallax factors: where on the sky the Earth's way around the Sun makes a star appear."""
import numpy as np

from . import functions, linear
from .world import unit_vectors

EXACT = 12
"""Decimals of positions of the Earth, astronomical units."""


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
    # whose last bits depend on the processor
    place = np.round(earth.xyz.to_value("au").T, EXACT)
    return -linear.products(place, np.stack(tangent_plane(ra, dec)))


def tangent_plane(ra, dec):
    """Unit vectors to the east and to the north at a position, ICRS, degrees."""
    (sin_a, cos_a), (sin_d, cos_d) = ((functions.sin(v), functions.cos(v)) for v in (np.radians(ra), np.radians(dec)))
    return np.array([-sin_a, cos_a, 0.]), np.array([-sin_d*cos_a, -sin_d*sin_a, cos_d])


def sky_steps(ra, dec):
    """How far east and north of the first of some positions the others are, degrees, shape (n-1, 2).

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Near to each other, ICRS, degrees.
    """
    place = unit_vectors(ra, dec)
    return np.degrees(linear.products(place[1:]-place[0], np.stack(tangent_plane(ra[0], dec[0]))))
