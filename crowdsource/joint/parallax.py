"""Parallaxes: the part that the Earth's way around the Sun has in where single images see each star.

Within a fit they are in pixels of the reference, as motions are, and are turned into angles at the end.
"""
from dataclasses import replace

import numpy as np

from ..core import linear
from ..core.errors import InputError
from ..core.parallax import parallax_factors, sky_steps
from .motion import MEASURED, YEAR, line_in_time, positions_and_motions
from .reference import Reference

LEAST_IMAGES = 4
"""So many images of a star, or more, tell its parallax: three give six coordinates for five values."""
LARGEST_CONDITION = 30.
"""Condition number of the dates up to which they tell parallaxes: there errors are some twenty times those of positions."""
STEP = 10.
"""Over which the scale of the reference is taken, pixels."""
MAS = 3.6e6
"""Of a degree."""


def facing(state, whole=True):
    """The state with the parallax factors of its images.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        Of images with dates.
    whole : bool
        Whether these are all images of the field, whose dates must tell parallaxes; those of a tile may not.
    """
    times = np.array([e.image.mjd for e in state.epochs])
    factor, _ = factors_of(Reference.of(state), state.grid.middle, times)
    if whole:
        check_dates(times, factor)
    # positions are those in the middle of all images, so that hardly anything of a parallax is in them
    factor = (factor-factor.mean(axis=0))*told(np.ones((len(times), 1)), times, factor)
    return replace(state, epochs=tuple(replace(e, factor=f) for e, f in zip(state.epochs, factor)))


def factors_of(reference, middle, times):
    """How far stars appear from their places for a parallax of one pixel, and how much that is.

    Parameters
    ----------
    reference : crowdsource.joint.reference.Reference
    middle : tuple of float
        Position in it for which that is told, pixels.
    times : ndarray, shape (images,)
        Modified Julian dates.

    Returns
    -------
    factor : ndarray, shape (images, 2)
        Along the axes of the reference.
    pixel : float
        Milliarcseconds.

    Raises
    ------
    InputError
        When the reference has no world coordinates.
    """
    u, v = middle
    sky = reference.sky(u+np.array([0., STEP, 0.]), v+np.array([0., 0., STEP]))
    if sky is None or not np.isfinite(sky).all():
        raise InputError(f"{reference.name}: the reference has no world coordinates there, and parallaxes need them; give images "
                         "with a WCS, or fit no parallaxes")
    by_pixel = sky_steps(*sky).T/STEP
    pixel = np.sqrt(np.abs(linear.determinant(by_pixel)))
    return linear.products(parallax_factors(sky[0][0], sky[1][0], times), linear.inverse(by_pixel/pixel)), float(pixel*MAS)


def check_dates(times, factor):
    """Check that dates can tell parallaxes.

    Raises
    ------
    InputError
        When there are too few, or they cannot tell parallaxes and motions apart.
    """
    if len(times) < LEAST_IMAGES:
        raise InputError(f"{len(times)} images cannot tell parallaxes: give {LEAST_IMAGES} at least, or fit no parallaxes")
    condition = condition_of(np.ones((len(times), 1)), times, factor)[0]
    if not condition < LARGEST_CONDITION:
        raise InputError("the dates of the images cannot tell parallaxes from positions and motions (condition number "
                         f"{condition:.3g}, at most {LARGEST_CONDITION:g} is useful): give images of three seasons at least, as "
                         "spring, autumn and the next spring, or fit no parallaxes")


def told(weight, times, factor):
    """Whether the images that show each star tell its parallax, shape (n,); parameters as `condition_of`."""
    return ((weight > 0).sum(axis=0) >= LEAST_IMAGES) & (condition_of(weight, times, factor) < LARGEST_CONDITION)


def condition_of(weight, times, factor):
    """Condition number of position, motion and parallax as the images that show each star tell them, shape (n,).

    Parameters
    ----------
    weight : ndarray, shape (images, n)
        Of each image, 0 where it does not show a star.
    times : ndarray, shape (images,)
    factor : ndarray, shape (images, 2)
    """
    total = weight.sum(axis=0)
    share = weight/np.where(total > 0, total, 1)
    time, lever = line_in_time(share, times)
    own = factor[:, None]-np.einsum("kn,kj->nj", share, factor)
    common = np.einsum("kn,kn,knj->nj", share, time/np.sqrt(np.where(lever > 0, lever, 1)), own)
    size = np.einsum("kn,knj->n", share, own**2)
    # the normal matrix of the two positions, the two motions and the parallax is 1 but for a row and a column of the last
    half = np.hypot((1-size)/2, np.hypot(*common.T))
    least = np.maximum((1+size)/2-half, 0)
    with np.errstate(divide="ignore"):
        return np.sqrt(((1+size)/2+half)/least)


def change_of_parallax(shift, weight, years, factor):
    """By how much the parallax of each star would have to change for single images to see it where it is, shape (n,).

    Its position and motion are free to change with it.

    Parameters
    ----------
    shift, weight, years
        As `crowdsource.joint.motion.change_of_motion`.
    factor : ndarray, shape (images, 2)

    Returns
    -------
    ndarray, shape (n,)
        Reference pixels; 0 where it is not known well.
    """
    time, lever = line_in_time(weight, years)
    own = factor[:, None]-np.einsum("kn,kj->nj", weight/np.maximum(weight.sum(axis=0), 1e-300), factor)
    slope = np.einsum("kn,knj->nj", weight*time, own)/np.where(lever > 0, lever, 1)[:, None]
    own = own-time[..., None]*slope
    known_by = (weight*(own**2).sum(axis=2)).sum(axis=0)
    known = (known_by > (np.hypot(*np.ptp(factor, axis=0))/MEASURED)**2) & told(weight, years, factor)
    change = (weight*(own*shift).sum(axis=2)).sum(axis=0)/np.where(known, known_by, 1)
    return np.where(known, change, 0)


def motions_and_parallaxes(information, shift, times, factor):
    """Motions and parallaxes by weighted least squares; motions as they are without a parallax where that is not known.

    Parameters
    ----------
    information, shift, times
        As `crowdsource.joint.motion.proper_motions`.
    factor : ndarray, shape (images, 2)

    Returns
    -------
    motion, covariance, epoch
        As there.
    parallax : ndarray, shape (n,)
        Reference pixels; NaN where fewer than `LEAST_IMAGES` images or too similar dates tell.
    error : ndarray, shape (n,)
    """
    solution, covariance, epoch = positions_and_motions(information, shift, times)
    years = (times[:, None]-epoch)/YEAR
    seen = np.einsum("knij,kj->kni", information, factor)
    common = np.concatenate([seen.sum(axis=0), (years[..., None]*seen).sum(axis=0)], axis=1)
    by_parallax = np.einsum("nij,nj->ni", covariance, common)
    known_by = np.einsum("kni,ki->n", seen, factor)-(common*by_parallax).sum(axis=1)
    weight = np.trace(information, axis1=2, axis2=3)
    known = told(weight, times, factor) & (known_by > 0)
    variance = np.where(known, 1/np.where(known, known_by, 1), np.nan)
    pulled = np.einsum("kni,kni->n", seen, shift)-(common*solution).sum(axis=1)
    parallax = variance*pulled
    solution = solution-by_parallax*np.where(known, parallax, 0)[:, None]
    own = np.where(known, variance, 0)[:, None, None]*by_parallax[:, :, None]*by_parallax[:, None]
    return solution[:, 2:], (covariance+own)[:, 2:, 2:], epoch, parallax, np.sqrt(variance)
