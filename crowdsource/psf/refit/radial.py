"""What an analytic profile leaves of the stars, as a function of the distance alone: rings, and wings that fall in another way.

A profile of a few parameters fits the core of every star, but its wings hold a few percent of the light wherever they are not
those of the image. The mean over circles and over many stars shows wings that no single pixel shows. Where the stars show nothing
the profile stays as it is.
"""
import logging
from dataclasses import dataclass, fields, replace

import numpy as np

from ...core import functions, linear
from ...core.calibration import calibration
from .linear import (
    CLIPPINGS,
    NUISANCE,
    downweighted,
    in_blocks,
    normal_equations,
    nuisance_columns,
    scaled,
    solve_robustly,
    without_nuisances,
)
from .uncertainty import distances, inverse_square

log = logging.getLogger(__name__)
SPACING = calibration.radial.spacing
"""Distance of the knots, FWHM, but at least a pixel: rings of diffraction are about one FWHM apart."""
EVEN = 3.
"""Distance within which the knots have equal steps, FWHM; farther out only the mean light over several rings matters."""
REACH = calibration.radial.reach
"""Half side of the stamps, FWHM, but at least that of the box to which fluxes refer."""
SIGNIFICANT = calibration.radial.significant
"""Mean of a ring over its error from which on it counts."""
MISPLACED = calibration.radial.misplaced
"""Part of the light in other rings from which on a profile is corrected."""
CROWDED = calibration.radial.crowded
"""By how much more for each unit by which the scatter between stars exceeds that of noise."""
LOOK = 4.
"""Half side of the stamps in which a profile is judged, FWHM, but at least that of the box to which fluxes refer."""
LARGEST_CHANGE = 1.5
"""Largest factor by which the correction may change the FWHM: knots of a galaxy, too, have something in common."""
LARGEST = 199
"""Largest side of the stamps, pixels."""
PRIOR = calibration.radial.prior
"""Initial width of the prior: this share of the profile, and of its peak times the square of the FWHM over the distance."""
STEPS = 50
"""Iterations that determine the widths of the prior."""


def stamp_size(fwhm, norm_size):
    """Odd side of the stamps from which the correction is made, pixels."""
    return min(LARGEST, max(norm_size, 2*round(REACH*fwhm)+1))


def radial_correction(bare, stamps):
    """The correction of a profile at whole-pixel offsets.

    Parameters
    ----------
    bare : crowdsource.psf.model.FieldPSF
        The profile without a core.
    stamps : crowdsource.psf.base.StarStamps
        Wide stamps of bright stars.

    Returns
    -------
    ndarray, shape (size, size), float64, or None
        None when what they have in common is no star.
    """
    bare.prepare(stamps.size)
    splines = RadialSplines(bare, stamps.size)
    stars = in_blocks(lambda block: residuals_of(bare, block), stamps)
    rings = clipped_rings(stars, splines)
    stars = replace(stars, weight=rings.weight/rings.scatter)
    normal = in_blocks(lambda block: normal_of_stars(block, splines), stars)
    solution = relevant_solution(normal.matrix.sum(axis=0), normal.rhs.sum(axis=0))
    plane, own = linear.combined(solution, splines(distances(stamps.size))), bare.stamp(stamps.size).astype(np.float64)
    # the profile itself is among what splines can make, and a share of it changes nothing but the flux of the stars
    weight = stars.weight.mean(axis=0).reshape(own.shape)
    plane -= own*(weight*own*plane).sum()/(weight*own*own).sum()
    change = float(bare.with_parts(bare.profile, plane[None]).fwhm())/float(bare.fwhm())
    if not 1/LARGEST_CHANGE < change < LARGEST_CHANGE:
        log.warning("PSF keeps its profile: %d sources show one %.2f times as wide, so that they are hardly stars", len(stamps),
                    change)
        return None
    log.info("PSF with a radial correction of its profile, from %d stars", len(stamps))
    return plane


@dataclass(frozen=True, eq=False)
class StarResiduals:
    """What a profile leaves of stars, in units of their fluxes.

    Attributes
    ----------
    residual, weight : ndarray, shape (n, pixels)
        And inverse variances, over the scatter of the star's residuals.
    columns : ndarray, shape (n, NUISANCE, pixels), float32
        Derivatives with respect to flux, position and sky.
    x, y : ndarray, shape (n,)
        Positions of the stars from the middle of the stamps, pixels.
    """

    residual: np.ndarray
    weight: np.ndarray
    columns: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def __len__(self):
        return len(self.x)

    def subset(self, which):
        """The stars that a slice selects."""
        return StarResiduals(*(getattr(self, f.name)[which] for f in fields(self)))


def residuals_of(bare, stamps):
    """The `StarResiduals` of a profile. Parameters as `radial_correction`."""
    value, ddx, ddy = bare.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    columns, data = nuisance_columns(value, ddx, ddy), scaled(stamps, value)
    fit = solve_robustly(columns, data)
    good = (data.weight > 0).sum(axis=1)-NUISANCE
    scatter = np.maximum(1, (fit.weight*fit.residual**2).sum(axis=1)/np.maximum(1, good))
    return StarResiduals(fit.residual/fit.flux, data.weight*(fit.flux**2/scatter[:, None]), columns, *fit.offsets(stamps))


def misfits(bare, stamps):
    """Whether a profile puts a significant part of the light of stars into other rings.

    In a crowded field the light of undetected stars and of wrong splits makes rings around any profile. They differ from star to
    star by more than noise, and more is asked for then.

    Parameters
    ----------
    bare, stamps
        As `radial_correction`.
    """
    stamps = stamps.middle(max(bare.norm_size, 2*round(LOOK*bare.profile.width)+1))
    bare.prepare(stamps.size)
    rings = clipped_rings(residuals_of(bare, stamps), RadialSplines(bare, stamps.size))
    significant = rings.means**2*rings.sums > SIGNIFICANT**2*rings.scatter
    significant[-1] = False  # the rim of the stamps is the sky
    share = float((np.abs(rings.means)*rings.pixels)[significant].sum())
    return share > MISPLACED+CROWDED*(rings.scatter-1)


@dataclass(frozen=True, eq=False)
class Rings:
    """Residuals of stars averaged over rings.

    Attributes
    ----------
    weight : ndarray, shape (n, pixels)
        Weights of pixels, lowered where they differ from others at their distance.
    means, sums : ndarray, shape (k,)
        Means of the residuals, and the sums of their weights.
    pixels : ndarray of int, shape (k,)
        Number of pixels of each ring.
    scatter : float
        Mean square of the differences between stars, over what their weights tell, at least 1: what differs from star to star, as
        the light of undetected neighbours, is not the PSF's.
    """

    weight: np.ndarray
    means: np.ndarray
    sums: np.ndarray
    pixels: np.ndarray
    scatter: float


def clipped_rings(stars, splines):
    """The `Rings` of stars.

    Rings are not outliers: weights lowered by the residual of the profile would be lower where noise has made a ring brighter.
    """
    ring = np.minimum(splines.places(distances(splines.size)).round().astype(int), splines.count).ravel()
    means = np.zeros(splines.count+1)
    for _ in range(CLIPPINGS):
        weight = downweighted(stars.weight, stars.residual-means[ring])
        sums, seen = (np.bincount(ring, v.sum(axis=0), len(means)) for v in (weight, weight*stars.residual))
        means = seen/np.maximum(sums, 1e-30)
    flat = (ring+len(means)*np.arange(len(stars))[:, None]).ravel()
    own, light = (np.bincount(flat, v.ravel(), len(means)*len(stars)).reshape(len(stars), -1)
                  for v in (weight, weight*(stars.residual-means[ring])))
    known = own > 0
    scatter = float((light[known]**2/own[known]).mean()) if known.any() else 1.
    return Rings(weight, means, sums, np.bincount(ring, minlength=len(means)), max(1., scatter))


def relevant_solution(matrix, rhs):
    """Solution of normal equations with a Gaussian prior around 0 on each unknown, whose widths are determined from the data.

    What no data support stays near 0, whatever others need (automatic relevance determination: MacKay 1992, Neural Computation 4,
    448). The first widths are 1.

    Parameters
    ----------
    matrix : ndarray, shape (k, k)
    rhs : ndarray, shape (k,)

    Returns
    -------
    ndarray, shape (k,)
    """
    unknowns = len(rhs)
    covariance = linear.inverse(matrix+np.eye(unknowns))
    precision = np.ones(unknowns)
    for _ in range(STEPS):
        solution = linear.combined(covariance, rhs)
        precision = 1/(solution**2+np.diag(covariance))
        covariance = linear.inverse(matrix+np.diag(precision))
    return linear.combined(covariance, rhs)


class RadialSplines:
    """Cubic splines of the distance, each as high as the prior is wide; they end at the rim of the stamps.

    The steps between them are equal at first and grow with the distance from `EVEN` on.
    """

    def __init__(self, bare, size):
        fwhm = float(bare.fwhm())
        self.size, self.scale, step = size, EVEN*fwhm, max(1., SPACING*fwhm)
        self.steps = self.scale/step
        self.count = max(1, int(self.steps*np.arcsinh(size//2/self.scale))-2)
        stamp, middle = bare.stamp(size), size//2
        grown = functions.exp(np.arange(self.count)/self.steps)
        at = self.scale*(grown-1/grown)/2
        along = np.interp(at, np.arange(middle+1), np.abs(stamp[middle, middle:]))
        self.height = PRIOR*(along+stamp[middle, middle]*inverse_square(at, bare))

    def places(self, distance):
        """Distances in steps."""
        return self.steps*np.arcsinh(np.asarray(distance)/self.scale)

    def __call__(self, distance):
        """Values at distances of any shape, pixels: shape (count, *shape), float64."""
        u = self.places(distance)
        values = [cubic(u-k)+(cubic(u+k) if k else 0) for k in range(self.count)]
        return self.height.reshape(-1, *(1,)*u.ndim)*np.array(values)


def cubic(u):
    """The cubic B-spline with knots at -2, -1, 0, 1 and 2 (de Boor 1978, A Practical Guide to Splines)."""
    # SciPy's takes longer to import than it saves
    near, far = np.maximum(1-np.abs(u), 0), np.maximum(2-np.abs(u), 0)
    return (far*far*far-4*near*near*near)/6


def normal_of_stars(stars, splines):
    """The `NormalEquations` of the splines of each star, nuisance parameters eliminated."""
    half = splines.size//2
    at = np.arange(-half, half+1)
    distance = np.hypot((at-stars.x[:, None])[:, None, :], (at-stars.y[:, None])[:, :, None]).reshape(len(stars), -1)
    columns = np.concatenate([stars.columns, splines(distance).astype(np.float32).transpose(1, 0, 2)], axis=1)
    return without_nuisances(normal_equations(columns, stars.weight, stars.residual))
