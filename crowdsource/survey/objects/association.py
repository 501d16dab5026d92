"""Association of detections to objects.

Friends-of-friends chains would run through a crowd, and would depend on detections arbitrarily far away. Here objects are seeded
where detections are densest, with more weight for sharp images, and a detection belongs to the nearest object. Each step looks no
farther than the radius, and the number of steps is fixed. So the result for a detection depends on nothing farther away than
`AssociationConfig.reach`, and any part of the sky gives the same result, bit for bit, whatever lies beyond that.
"""
from dataclasses import dataclass

import numpy as np

from ...core.errors import ConfigError
from ...cython_ext import match as kernel
from ...cython_ext import sphere
from .average import POLICIES, members_of

ARCSEC = 1/3600.
SEED_ROUNDS, MORE_ROUNDS, SETTLING_ROUNDS = 4, 2, 2
NEGLIGIBLE = 1e-12
"""Weight in an object's centre of detections that make no objects, or share their image with a nearer one."""
STRAY_RADII, STRAY_RATIO = 2., 2
"""Stray detections are at most this many radii from their object, which has at least this many times as many detections."""
REACH_IN_RADII = 1+2*SEED_ROUNDS+3+2*SETTLING_ROUNDS+8+2*MORE_ROUNDS+4+6
"""Nothing farther away than this many radii influences a detection: the density reaches over one, a round of seeds over two (a
seed is denser than the detections linked to it, and takes those), centres and the way to them over three, a round of settling
over two, strays, and whether their object is stray itself, over eight, the last centres, and the counts about them, over four,
and identifiers of an earlier release over six."""


@dataclass(frozen=True)
class AssociationConfig:
    """How detections become objects.

    Attributes
    ----------
    radius : float
        Detections farther than this from an object do not belong to it, arcsec.
    sigmas : float
        If not 0, detections must also be within this many standard deviations of the position.
    error_floor : float
        Error of the astrometry, added in quadrature to each error of a position, arcsec.
    seed_part : float
        Fraction of the radius within which detections count for the density at a seed.
    stray_sigmas : float
        A few detections farther away also belong to an object if they lie within this many standard deviations and within twice
        the radius, and were never seen together with it; 0 for never.
    policy : str
        What is done with several detections of one object in one exposure: "flag" (none is averaged), "sum" (their fluxes are
        added) or "nearest" (only the nearest is averaged).
    """

    radius: float = 0.375
    sigmas: float = 0.
    error_floor: float = 0.02
    seed_part: float = 0.6
    stray_sigmas: float = 5.
    policy: str = "flag"

    @property
    def reach(self):
        """Distance beyond which nothing influences a detection, arcsec."""
        return REACH_IN_RADII*self.radius

    def check(self):
        """Raise `ConfigError` for values that make no sense."""
        if not 0.01 <= self.radius <= 60:
            raise ConfigError(f"radius is {self.radius:g} arcsec: it must be at least 0.01 and at most 60")
        if not (min(self.sigmas, self.stray_sigmas) >= 0 and self.error_floor > 0 and 0 < self.seed_part <= 1):
            raise ConfigError("sigmas and stray_sigmas must not be negative, error_floor must be positive, seed_part from 0 to 1")
        if self.policy not in POLICIES:
            raise ConfigError(f"policy is {self.policy!r}: choose one of {', '.join(POLICIES)}")


@dataclass(frozen=True, eq=False)
class DetectionPositions:
    """Positions of detections, in an order that depends on the detections alone, such as that of their identifiers.

    Attributes
    ----------
    ra, dec : ndarray, shape (n,), float64
        Degrees.
    sigma : ndarray, shape (n,), float64
        Error of the position along each axis, arcsec; NaN where not known.
    weight : ndarray, shape (n,), float64
        Weight for the seeds of objects; 0 for detections that make no objects, as those that are not primary.
    source : ndarray, shape (n,), int32
        Image number: equal for the detections of one image.
    """

    ra: np.ndarray
    dec: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray
    source: np.ndarray


@dataclass(frozen=True, eq=False)
class Association:
    """Objects, and the object of each detection.

    Attributes
    ----------
    owner : ndarray, shape (n,), intp
        Number of the object; -1 for detections that make none and are near none.
    separation : ndarray, shape (n,), float64
        Distance from the object's centre, arcsec; NaN for none.
    offset : ndarray, shape (n, 2), float64
        East and north of it, arcsec.
    ra, dec : ndarray, shape (m,), float64
        The objects' centres, degrees.
    """

    owner: np.ndarray
    separation: np.ndarray
    offset: np.ndarray
    ra: np.ndarray
    dec: np.ndarray


def associate(positions, config):
    """Find the objects among detections.

    Parameters
    ----------
    positions : DetectionPositions
    config : AssociationConfig

    Returns
    -------
    Association
    """
    points = sphere.Points(np.mod(positions.ra, 360.), positions.dec, config.radius*ARCSEC)
    order = points.order
    variance, weight = position_variances(positions.sigma, config)[order], positions.weight[order]
    half = _halves(variance, config)
    dense = np.where(weight > 0, kernel.density(points, half, weight, config.seed_part), -1.)
    owner = np.full(len(order), -1, dtype=np.intp)
    kernel.cover(points, half, dense, owner, SEED_ROUNDS)
    precision = np.where(weight > 0, 1, NEGLIGIBLE)/variance
    number, owner = _numbered(owner)
    ra, dec = sphere.ra_dec(_centres(points, owner, precision, number))
    source = positions.source[order].astype(np.intc)
    near, d2 = kernel.nearest_centres(sphere.Points(ra, dec, points.reach), points.vectors, *points.sorted_positions, half)
    owner, extra = kernel.settle(near, d2, order.astype(np.intp), source, number, SETTLING_ROUNDS)
    if config.stray_sigmas > 0 and number:
        centres = sphere.Points(ra, dec, STRAY_RADII*config.radius*ARCSEC)
        limit = np.minimum(variance*np.radians(config.stray_sigmas*ARCSEC)**2, sphere.chord2(centres.reach))
        into = kernel.absorb(centres, members_of(owner, number), points.vectors, limit, source, (weight > 0).astype(np.uint8),
                             STRAY_RATIO)
        owner = np.where(owner >= 0, into[owner], owner)
    owner = _with_leftovers(points, half, dense, owner, number)
    return _results(points, owner, np.where(extra, NEGLIGIBLE*precision, precision))


def position_variances(sigma, config):
    """Squared errors of positions with the floor, arcsec^2; where not known, those of half the radius."""
    known = np.isfinite(sigma) & (sigma >= 0)
    return np.where(known, np.where(known, sigma, 0)**2, (0.5*config.radius)**2)+config.error_floor**2


def _halves(variance, config):
    """Each point's share of the squared chord of a link."""
    largest = 0.5*sphere.chord2(config.radius*ARCSEC)
    if config.sigmas == 0:
        return np.full(len(variance), largest)
    return np.minimum(variance*np.radians(config.sigmas*ARCSEC)**2, largest)


def _numbered(owner):
    """How many owners there are, and each one's number among them; -1 for negative ones."""
    some = owner >= 0
    named = np.zeros(owner.max(initial=-1)+1, bool)
    named[owner[some]] = True
    out = np.full(len(owner), -1, dtype=np.intp)
    out[some] = (np.cumsum(named)-1)[owner[some]]
    return int(named.sum()), out


def _centres(points, owner, precision, number):
    """Sums of weighted unit vectors by owner, in the order of the points."""
    some = owner >= 0
    sums = [np.bincount(owner[some], precision[some]*points.vectors[some, k], minlength=number) for k in range(3)]
    # without any rows they would be whole numbers
    return np.stack(sums, axis=1).astype(float)


def _with_leftovers(points, half, dense, owner, number):
    """Give detections that the settled centres left behind to seeds of their own; the last ones stand alone."""
    free = np.where(owner >= 0, -2, -1).astype(np.intp)
    kernel.cover(points, half, dense, free, MORE_ROUNDS)
    alone = (free == -1) & (dense >= 0)
    free[alone] = np.flatnonzero(alone)
    return np.where(free >= 0, free+number, owner)


def _results(points, owner, precision):
    """Centres and separations, in the order in which the detections were given."""
    number, owner = _numbered(owner)
    ra, dec = sphere.ra_dec(_centres(points, owner, precision, number))
    offset = sphere.offsets(points.vectors, owner, ra, dec)
    back = np.empty(len(owner), dtype=np.intp)
    back[points.order] = np.arange(len(owner))
    return Association(owner[back], np.hypot(offset[:, 0], offset[:, 1])[back], offset[back], ra, dec)
