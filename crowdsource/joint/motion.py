"""Proper motions: how the position of each star moves with time, from where single images would put it."""
import numpy as np

from ..core import linear
from ..core.errors import InputError

YEAR = 365.25
LARGEST_CONDITION = 1e12
"""Of normal matrices that tell all of their parameters."""
MEASURED = 0.3
"""A motion that moves a star by less than this error, over all images, is known well enough to place the star by it, pixels."""


def years_of(names, times):
    """Years from the mean time of images to that of each, shape (images,).

    Parameters
    ----------
    names : sequence of str
    times : ndarray, shape (images,)
        Modified Julian dates.

    Raises
    ------
    InputError
        When an image has no date.
    """
    unknown = np.flatnonzero(~np.isfinite(times))
    if len(unknown):
        raise InputError(f"{names[unknown[0]]}: its date is not known, and proper motions and parallaxes need it; give mjd, or "
                         "fit neither")
    return (times-times.mean())/YEAR


def line_in_time(weight, times):
    """Times of images from the weighted mean of those that show a star, shape (images, n), and the sum of weight times time^2."""
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, 1)
    middle = (weight*times[:, None]).sum(axis=0)/safe
    time = times[:, None]-middle
    return time, (weight*time**2).sum(axis=0)


def change_of_motion(shift, weight, years):
    """By how much the motion of each star would have to change for single images to see it where it is, shape (n, 2).

    Parameters
    ----------
    shift : ndarray, shape (images, n, 2)
        From where a star is placed on an image to where the image alone sees it, reference pixels.
    weight : ndarray, shape (images, n)
        Inverse variances of each coordinate, 0 where an image does not show it.
    years : ndarray, shape (images,)

    Returns
    -------
    ndarray, shape (n, 2)
        Reference pixels a year; 0 where it is not known well.
    """
    time, lever = line_in_time(weight, years)
    span = np.ptp(years)
    # where all dates are the same what rounding leaves of them tells nothing
    known = (lever > (span/MEASURED)**2) & (span > 0)
    slope = ((weight*time)[..., None]*shift).sum(axis=0)/np.where(known, lever, 1)[:, None]
    return np.where(known[:, None], slope, 0)


def proper_motions(information, shift, times):
    """Position corrections and motions by weighted least squares.

    Parameters
    ----------
    information : ndarray, shape (images, n, 2, 2)
        On each image's position, pixels^-2; 0 where one does not show a star.
    shift : ndarray, shape (images, n, 2)
        From the common position to each image's, reference pixels.
    times : ndarray, shape (images,)
        Days.

    Returns
    -------
    motion : ndarray, shape (n, 2)
        Reference pixels a year; NaN where fewer than three images or a single night tell.
    covariance : ndarray, shape (n, 2, 2)
    epoch : ndarray, shape (n,)
        Mean time of each star, weighted by what its images tell of the position, at which the errors of position and motion are
        independent; that of all images where none tells; days.
    """
    solution, covariance, epoch = positions_and_motions(information, shift, times)
    return solution[:, 2:], covariance[:, 2:, 2:], epoch


def positions_and_motions(information, shift, times):
    """Corrections of positions and motions together, shape (n, 4), their covariance, and the mean times; as `proper_motions`."""
    weight = np.trace(information, axis1=2, axis2=3)
    total = weight.sum(axis=0)
    epoch = np.where(total > 0, (weight*times[:, None]).sum(axis=0)/np.where(total > 0, total, 1), times.mean())
    years = (times[:, None]-epoch)/YEAR
    n = information.shape[1]
    normal, right = np.zeros((n, 4, 4)), np.zeros((n, 4))
    pulled = np.einsum("knij,knj->kni", information, shift)
    for power, a, b in ((0, 0, 0), (1, 0, 2), (1, 2, 0), (2, 2, 2)):
        normal[:, a:a+2, b:b+2] = ((years**power)[..., None, None]*information).sum(axis=0)
    right[:, :2], right[:, 2:] = pulled.sum(axis=0), (years[..., None]*pulled).sum(axis=0)
    known = ((weight > 0).sum(axis=0) > 2) & (np.abs(years).max(axis=0, initial=0) > 0)
    known[known] = independent(normal[known])
    covariance = np.full((n, 4, 4), np.nan)
    covariance[known] = linear.inverse(normal[known])
    solution = np.einsum("nij,nj->ni", covariance, right)
    return solution, covariance, epoch


def independent(normal):
    """Whether some normal matrices tell each of their parameters, and not sums of these alone.

    Parameters
    ----------
    normal : ndarray, shape (n, k, k)
        Not 0.

    Returns
    -------
    ndarray of bool, shape (n,)
        Where the condition number is less than about `LARGEST_CONDITION`.
    """
    size = np.trace(normal, axis1=1, axis2=2)
    # with so little on the diagonal none is singular
    least = (0.01/LARGEST_CONDITION*size)[:, None, None]*np.eye(normal.shape[1])
    return size*np.trace(linear.inverse(normal+least), axis1=1, axis2=2) < LARGEST_CONDITION
