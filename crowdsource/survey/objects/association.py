"""Association of detections to objects.

Friends-of-friends chains would run through a crowd, and would depend on detections arbitrarily far away. Here objects are seeded
where detections are densest, with more weight for sharp images, and a detection belongs to the nearest object. Each step looks no
farther than the radius, and the number of steps is fixed. So the result for a detection depends on nothing farther away than
`AssociationConfig.reach`, and any part of the sky gives the same result, bit for bit, whatever lies beyond that.

Detections of a joint fit that are the same star there are one point, with the weight of all, and two stars of a fit are never
one object: as if the fit were one image that resolves them.
"""
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...core.errors import ConfigError
from ...cython_ext import match as kernel
from ...cython_ext import sphere
from ...cython_ext.settling import settle
from ..sorting import order_by
from .average import POLICIES, members_of
from .crowded import density_bounds

ARCSEC = 1/3600.
SEED_ROUNDS, MORE_ROUNDS, SETTLING_ROUNDS = 4, 2, 2
NEGLIGIBLE = 1e-12
"""Weight in an object's centre of detections that make no objects, or share their image with a nearer one."""
STRAY_RADII, STRAY_RATIO = 2., 2
"""Stray detections are at most this many radii from their object, which has at least this many times as many detections."""
MOST_COUNTED = 255
"""Of the detections of a star of a joint fit, where it is decided which objects are stray."""
REACH_IN_RADII = 1+2*SEED_ROUNDS+3+2*SETTLING_ROUNDS+8+2*MORE_ROUNDS+4+6+2
"""Nothing farther away than this many radii influences a detection: the density reaches over one, a round of seeds over two (a
seed is denser than the detections linked to it, and takes those), centres and the way to them over three, a round of settling
over two, strays, and whether their object is stray itself, over eight, the last centres, and the counts about them, over four,
identifiers of an earlier release over six, and from detections to the first of their star, at both ends, it is one."""


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
    joint : ndarray, shape (n, 2), int64
        Number of the joint fit that a detection comes from, and of its star there; -1 for none.
    """

    ra: np.ndarray
    dec: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray
    source: np.ndarray
    joint: np.ndarray


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
    first, point = _points_of_stars(positions, config)
    points = _placed(positions, first, config)
    order, all_variances = points.order, position_variances(positions.sigma, config)
    shares = np.where(positions.weight > 0, 1, NEGLIGIBLE)/all_variances
    variance = all_variances[first][order]
    weight, precision, count = (_sums(point, v)[order] for v in (positions.weight, shares, positions.weight > 0))
    family, source = (v[order] for v in _families(positions, first))
    half = _halves(variance, config)
    cover = partial(kernel.cover, points, half, weight, config.seed_part, *_densities(points, half, weight, config.seed_part))
    owner = np.full(len(order), -1, dtype=np.intp)
    cover(owner, family, SEED_ROUNDS)
    number, owner = _numbered(owner)
    ra, dec = sphere.ra_dec(_centres(points, owner, precision, number))
    near, d2 = kernel.nearest_centres(sphere.Points(ra, dec, points.reach), points.vectors, *points.sorted_positions, half)
    owner, extra = settle(near, d2, order.astype(np.intp), source, number, SETTLING_ROUNDS)
    # a star of a joint fit is no second detection of another
    owner, extra = np.where(extra & (family >= 0), -1, owner), extra & (family < 0)
    if config.stray_sigmas > 0 and number:
        centres = sphere.Points(ra, dec, STRAY_RADII*config.radius*ARCSEC)
        limit = np.minimum(variance*np.radians(config.stray_sigmas*ARCSEC)**2, sphere.chord2(centres.reach))
        into = kernel.absorb(centres, members_of(owner, number), points.vectors, np.where(family < 0, limit, -1), source,
                             np.minimum(count, MOST_COUNTED).astype(np.uint8), STRAY_RATIO)
        owner = np.where(owner >= 0, into[owner], owner)
    owner = _with_leftovers(cover, weight, owner, family, number)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    owner, extra = owner[place][point], extra[place][point]
    every = points if len(first) == len(point) else _placed(positions, slice(None), config)
    return _results(every, owner, np.where(extra, NEGLIGIBLE*shares, shares))


def _points_of_stars(positions, config):
    """The first detection of each star of a joint fit, or one that is in none, and which of these stands for each detection.

    Detections of a joint fit that are farther than the radius from the first of their star stand alone.
    """
    first = np.arange(len(positions.ra))
    joint = np.flatnonzero(positions.joint[:, 0] >= 0)
    joint = joint[order_by(*positions.joint[joint].T)]
    begins = np.r_[True, (np.diff(positions.joint[joint], axis=0) != 0).any(axis=1)] if len(joint) else np.zeros(0, bool)
    lead = joint[begins][np.cumsum(begins)-1]
    apart = ((sphere.unit_vectors(*_places(positions, joint))-sphere.unit_vectors(*_places(positions, lead)))**2).sum(axis=1)
    near = apart <= sphere.chord2(config.radius*ARCSEC)
    first[joint[near]] = lead[near]
    return np.unique(first, return_inverse=True)


def _sums(number, values, most=0):
    """Sums of values by number, one after the other; without any values they would be whole numbers."""
    return np.bincount(number, values, minlength=most).astype(float)


def _places(positions, which):
    """Right ascension and declination of some detections, degrees."""
    return np.mod(positions.ra[which], 360.), positions.dec[which]


def _placed(positions, which, config):
    """Some detections as points whose neighbours are found fast."""
    return sphere.Points(*_places(positions, which), config.radius*ARCSEC)


def _families(positions, first):
    """Numbers of the joint fits of some detections, -1 for none, and of their images, where a joint fit counts as one image."""
    fit, source = positions.joint[first, 0], positions.source[first]
    family = np.where(fit >= 0, np.unique(fit, return_inverse=True)[1], -1).astype(np.intc)
    return family, np.where(family >= 0, positions.source.max(initial=-1)+1+family, source).astype(np.intc)


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
    return np.stack([_sums(owner[some], precision[some]*points.vectors[some, k], number) for k in range(3)], axis=1)


def _densities(points, half, weight, part):
    """Densities, negative where a point makes no object and NaN where many lie together, and upper bounds of the latter."""
    bound = density_bounds(points.vectors, half, weight, part)
    some = weight > 0
    return np.where(some, kernel.density(points, half, weight, part, (some & (bound == np.inf)).astype(np.uint8)), -1.), bound


def _with_leftovers(cover, weight, owner, family, number):
    """Give detections that the settled centres left behind to seeds of their own; the last ones stand alone."""
    free = np.where(owner >= 0, -2, -1).astype(np.intp)
    cover(free, family, MORE_ROUNDS)
    alone = (free == -1) & (weight > 0)
    free[alone] = np.flatnonzero(alone)
    return np.where(free >= 0, free+number, owner)


def _results(points, owner, precision):
    """Centres and separations, in the order in which the detections were given, as owners and weights are."""
    number, owner = _numbered(owner[points.order])
    ra, dec = sphere.ra_dec(_centres(points, owner, precision[points.order], number))
    offset = sphere.offsets(points.vectors, owner, ra, dec)
    back = np.empty(len(owner), dtype=np.intp)
    back[points.order] = np.arange(len(owner))
    return Association(owner[back], np.hypot(offset[:, 0], offset[:, 1])[back], offset[back], ra, dec)
