"""Registration: the frame and the flux scale of each image against the reference, from the stars that both have."""
import logging
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..core.errors import InputError
from .frame import Frame
from .pattern import common_pattern

log = logging.getLogger(__name__)
MAX_DEGREE = 3
STARS_PER_TERM = 10
"""A polynomial has a term for each so many stars."""
REACH = 3., 1.5, 0.7
"""Stars are taken for the same within these distances, one fit after the other, pixels of the image."""
LEAST_STARS = 6
SIGNIFICANT = 20.
"""Stars of so many sigma count."""
GRID = 12
"""Points along each axis at which world coordinates are compared."""
MOST_STARS = 3000
SYSTEMATIC = 0.02
"""Error of a position that no photon noise explains, pixels; it keeps a few bright stars from deciding alone."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StarList:
    """Stars of one image, brightest first.

    Attributes
    ----------
    x, y, flux, error : ndarray, shape (n,)
        Pixels; image units, and the isolated flux error.
    fwhm : float
        Of the PSF, pixels.
    shape : tuple of int
        (ny, nx) of the image.
    wcs : astropy.wcs.WCS or None
        Of the parent's pixels, in which the image begins at `origin` (x0, y0).
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    fwhm: float
    shape: tuple
    wcs: object = None
    origin: tuple = (0, 0)

    @classmethod
    def of(cls, state):
        """Stars of a fit's state that are on the image."""
        s = state.sources
        ny, nx = state.image.shape
        keep = (s.x > -0.5) & (s.y > -0.5) & (s.x < nx-0.5) & (s.y < ny-0.5) & (s.flux > SIGNIFICANT*s.error)
        s = s.subset(keep)
        s = s.subset(np.argsort(-s.flux, kind="stable")[:MOST_STARS])
        return cls(x=s.x, y=s.y, flux=s.flux, error=s.error, fwhm=float(state.psf.fwhm()), shape=state.image.shape,
                   wcs=state.image.wcs, origin=state.image.origin)

    @property
    def variance(self):
        """Of each coordinate of an isolated star's position, pixels^2."""
        return (self.fwhm*self.error/self.flux)**2/2+SYSTEMATIC**2


@dataclass(frozen=True, eq=False, kw_only=True)
class Registration:
    """How an image lies to the reference.

    Attributes
    ----------
    frame : Frame
        From reference positions to those of the image.
    scale : float
        Flux of a star on the image over that in the reference.
    stars : int
        Number of stars that tell.
    rms : float
        Root mean square distance of these from their places, pixels of the image.
    """

    frame: Frame
    scale: float
    stars: int
    rms: float


def register(reference, other, name=""):
    """How an image lies to the reference: by world coordinates where both have them, else by the pattern of bright stars.

    Parameters
    ----------
    reference, other : StarList
    name : str
        Of the image, for messages.

    Returns
    -------
    Registration

    Raises
    ------
    InputError
        When the stars of the two images do not agree.
    """
    guesses = [by_world(reference, other)] if reference.wcs is not None and other.wcs is not None else []
    for guess in guesses:
        found = None if guess is None else refined(reference, other, guess)
        if found is not None:
            return found
        log.warning("%s: its world coordinates do not bring its stars onto those of the reference; their pattern is tried", name)
    guess = common_pattern(reference.x, reference.y, other.x, other.y)
    found = None if guess is None else refined(reference, other, guess)
    if found is None:
        raise InputError(f"{name}: its bright stars show no pattern of the reference's: it is of another part of the sky, or its "
                         "PSF is bad; leave it out, or give a WCS")
    return found


def by_world(reference, other):
    """The frame that two world coordinate systems give; None where they are of opposite parts of the sky."""
    (ny, nx), (u0, v0), (x0, y0) = reference.shape, reference.origin, other.origin
    u, v = (g.ravel() for g in np.meshgrid(np.linspace(0, nx-1, GRID), np.linspace(0, ny-1, GRID)))
    with warnings.catch_warnings():
        # distortions do not converge far off an image
        warnings.simplefilter("ignore")
        x, y = other.wcs.world_to_pixel(reference.wcs.pixel_to_world(u+u0, v+v0))
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < GRID:
        return None
    return Frame.fitted(u[known], v[known], x[known]-x0, y[known]-y0, MAX_DEGREE)[0]


def refined(reference, other, frame):
    """The `Registration` from a frame that is nearly right; None where too few stars are found near their places."""
    variance, tree = None, cKDTree(np.c_[other.x, other.y])
    for reach in REACH:
        x, y = frame(reference.x, reference.y)
        first, second = mutual(np.c_[x, y], tree, reach*max(1., other.fwhm/3))
        if len(first) < LEAST_STARS:
            return None
        degree = degree_for(len(first))
        variance = (reference.variance[first]*frame.scale**2+other.variance[second])
        frame, used = Frame.fitted(reference.x[first], reference.y[first], other.x[second], other.y[second], degree, 1/variance)
    first, second = first[used], second[used]
    x, y = frame(reference.x[first], reference.y[first])
    rms = float(np.sqrt(np.average((x-other.x[second])**2+(y-other.y[second])**2, weights=1/variance[used])))
    return Registration(frame=frame, scale=flux_ratio(reference, other, first, second), stars=len(first), rms=rms)


def degree_for(stars):
    """Degree of the polynomial that so many stars can bear."""
    return max(d for d in range(1, MAX_DEGREE+1) if d == 1 or stars >= STARS_PER_TERM*(d+1)*(d+2))


def mutual(places, tree, reach):
    """Pairs of places and points of a tree that are nearest to each other, within reach: their numbers."""
    off, second = tree.query(places, distance_upper_bound=reach)
    first = np.flatnonzero(np.isfinite(off))
    back = cKDTree(places).query(tree.data[second[first]])[1]
    first = first[back == first]
    return first, second[first]


def flux_ratio(reference, other, first, second):
    """Median ratio of the fluxes of stars, weighted by what is known of each."""
    ratio = other.flux[second]/reference.flux[first]
    relative = np.hypot(other.error[second]/other.flux[second], reference.error[first]/reference.flux[first])
    return weighted_median(ratio, 1/np.hypot(relative, SYSTEMATIC)**2)


def weighted_median(values, weight):
    """The value that halves the sum of the weights."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, total[-1]/2)])
