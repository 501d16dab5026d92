"""An effective PSF for narrow stars: a grid finer than the pixels, solved from the pixels of all stars at their own phases.

Stars narrower than some two pixels are undersampled: their pixels cannot be shifted to a common centre, but each samples the
effective PSF, the PSF integrated over a pixel, at another point (Anderson and King 2000, PASP 112, 1360). Here the grid holds
the coefficients of B-splines, and all stars' pixels determine them in one linear problem, in which flux, position and sky of each
star are free. The same problem on wide stamps of the brightest stars, saturated ones included, gives the wings: rings and spikes
of diffraction, of any form.

Two things keep a grid from following what one image does not contradict, a PSF whose flux and centre change with the phase of a
star in its pixel. The PSF before the pixel is solved for, so that the flux cannot (`over_pixel`); and the grid ends near the
resolution of the optics (`RESOLUTION`).
"""
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from scipy import ndimage

from ...core import linear
from ...core.calibration import calibration
from ...cython_ext import render as kernel
from ..base import CENTROID_SIZE
from ..grid import BORDER, basis, first_moment, middle, middle_samples, nodes, planes_through, render, resampled
from ..profiles.stamp import StampProfile
from .linear import CLIPPINGS, NUISANCE, diagonal_part, downweighted, nuisance_columns, scaled, solve_robustly
from .uncertainty import WINGS_FROM, distances, inverse_square, measured_uncertainty, with_uncertainty

RADIUS = calibration.effective.radius
"""Radius of the part of the PSF that varies over the image, pixels."""
FADE = calibration.effective.fade
"""Width over which a fitted part fades out at its edges, pixels."""
RESOLUTION = calibration.effective.resolution
"""Samples in a pixel times FWHM: the grid ends at the resolution of the optics."""
ITERATIONS = calibration.effective.iterations
"""Fits in each refit, each with the positions, fluxes and weights that follow from the last."""
PRIOR_SHARE, PRIOR_FLOOR = calibration.effective.prior_share, calibration.effective.prior_floor
"""Width of the prior on a change of the PSF: this share of the PSF around, and of its peak where the PSF is fainter."""
VARIATION = calibration.effective.variation
"""Width of the prior on terms that vary over the image, relative to the one on the mean."""
WING_PRIOR = calibration.effective.wing_prior
"""Width of the prior on a change of the wings, relative to the peak, at one FWHM; it falls as the square of the distance."""
UNCERTAIN = calibration.effective.uncertain
"""Share of the PSF's uncertainty that adds to the errors of pixels when wings are fitted."""
TOLERANCE, MAX_STEPS = 1e-3, 40
"""The solver stops when its residual has fallen by this factor, or after so many steps."""
LARGEST_OFFSET = 0.499
"""Largest distance of a star from the middle of its brightest pixel along an axis, pixels."""
SPLINE_SQUARE = 0.15
"""Mean square of a spline over its mean, along both axes."""
KERNEL = np.array([1, 26, 66, 26, 1])/120
"""Values of a quintic B-spline at whole numbers."""


def fit_effective(psf, stamps, order):
    """A PSF whose profile is the given one, corrected by an effective PSF that is fitted to the stars.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        With its uncertainty.
    stamps : crowdsource.psf.base.StarStamps
        Where they have wide stamps, wings are fitted to these.
    order : int
        Order of the polynomial that the correction follows over the image.

    Returns
    -------
    FieldPSF
        With a `StampProfile` that says of itself that it was fitted, and its uncertainty.
    """
    sampling = psf.profile.oversampling if is_effective(psf.profile) else sampling_of(psf)
    radius = min(RADIUS, (stamps.size-3)//2)
    if stamps.wide is not None:
        # they may have been cut out for a wider PSF
        stamps = replace(stamps, wide=stamps.wide.middle(psf.wide_stamp))
    for _ in range(ITERATIONS):
        core = problem_of(psf, stamps.with_sky, order, sampling, core_prior(psf, sampling, radius))
        psf = _corrected(psf, core.solution(), sampling, order)
        if stamps.wide is not None:
            prior = wing_prior(psf, sampling, stamps.wide.size//2-BORDER)
            wings = problem_of(psf, stamps.wide.with_sky, 0, sampling, prior, wings=True)
            psf = _corrected(psf, wings.solution(), sampling, order)
    return replace(psf, uncertainty=measured_uncertainty(psf, stamps))


def filtered(planes, taps):
    """Planes convolved with taps along both axes."""
    return ndimage.convolve1d(ndimage.convolve1d(planes, taps, axis=1, mode="constant"), taps, axis=2, mode="constant")


def over_pixel(planes, sampling):
    """Planes averaged over a pixel around each sample.

    Whatever they hold, the pixels of a star then have the same sum at each phase of the star in its pixel. Without this a grid
    that is finer than the resolution of the optics could hold a flux that changes with the phase, and no image contradicts it.
    """
    taps = np.ones(sampling+1-sampling % 2)/sampling
    if sampling % 2 == 0:
        taps[[0, -1]] /= 2
    return filtered(planes, taps)


def sampling_of(psf):
    """Samples in a pixel for the effective PSF of stars as wide as a PSF."""
    return ceil(RESOLUTION/float(psf.fwhm()))


def as_effective(psf):
    """The profile of a PSF that varies as a polynomial, in the form of one that `fit_effective` has fitted, as its start."""
    sampling, order = sampling_of(psf), psf.profile.order
    return StampProfile(sampled_planes(psf, sampling, psf.norm_size, order), sampling, tuple(psf.shape), order, fitted=True)


def is_effective(profile):
    """Whether a profile comes from `fit_effective`."""
    return isinstance(profile, StampProfile) and profile.fitted


def _corrected(psf, change, sampling, order):
    """The PSF with splines added, whose coefficients have the shape (k, m, m)."""
    planes = sampled_planes(psf, sampling, max(psf.norm_size, psf.wide_stamp), order)
    added = filtered(over_pixel(change, sampling), KERNEL)
    reach = (planes.shape[-1]-change.shape[-1])//2
    inner = slice(reach, planes.shape[-1]-reach)
    planes[:len(change), inner, inner] += added
    samples = normalised(planes, sampling, psf.norm_size)
    return psf.with_parts(StampProfile(samples, sampling, tuple(psf.shape), order, fitted=True), uncertainty=psf.uncertainty)


@dataclass(frozen=True, eq=False, kw_only=True)
class EffectiveProblem:
    """The linear problem of a correction to the PSF; k is the number of terms of the polynomial, m the side of the grid.

    Attributes
    ----------
    residual, weight : ndarray, shape (n, side, side), float32
        What the present PSF leaves of each star, in units of its flux, and inverse variance of that.
    nuisances : ndarray, shape (n, NUISANCE, side*side), float32
        Derivatives of a star's pixels with respect to flux, position and sky.
    x, y : ndarray, shape (n,)
        Positions of the stars, relative to their middle pixels.
    sampling : int
        Samples of the grid in a pixel.
    terms : ndarray, shape (n, k), float32
        Terms of the polynomial at each star.
    width : ndarray, shape (m, m)
        Of the prior on the coefficients of the mean.
    """

    residual: np.ndarray
    weight: np.ndarray
    nuisances: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sampling: int
    terms: np.ndarray
    width: np.ndarray

    def images(self, coefficients):
        """Stamps that coefficients, shape (k, m, m), of the PSF before the pixel make of each star, (n, side, side), float32."""
        return render(np.ascontiguousarray(over_pixel(coefficients, self.sampling), dtype=np.float32), self.terms, self.x, self.y,
                      self.weight.shape[1], self.sampling)

    def gradient(self, images):
        """The transpose of `images`, shape (k, m, m), float64."""
        sums = kernel.render_transposed(images, self.terms, self.x, self.y, self.width.shape[0], self.sampling)
        return over_pixel(sums.astype(np.float64), self.sampling)

    def solution(self):
        """The most likely coefficients, shape (k, m, m), nuisances eliminated."""
        precision = 1/(self.width*np.r_[1., np.full(self.terms.shape[1]-1, VARIATION)][:, None, None])**2
        shape, weighted = precision.shape, self.nuisances*self.weight.reshape(len(self.weight), 1, -1)
        inner = linear.products(weighted, self.nuisances)
        inverse = linear.inverse(inner+1e-9*diagonal_part(inner)+1e-30*np.eye(NUISANCE))

        def projected(images):
            """Images times their weights, without what the nuisances explain."""
            shares = linear.matmul(linear.products(images.reshape(len(images), 1, -1), weighted), inverse)
            return self.weight*(images-linear.matmul(shares.astype(np.float32), self.nuisances).reshape(images.shape))

        def normal(x):
            x = x.reshape(shape)
            return (self.gradient(projected(self.images(x)))+precision*x).ravel()

        squares = replace(self, terms=self.terms**2)
        scale = 1/(precision+SPLINE_SQUARE*squares.gradient(self.weight))
        rhs = self.gradient(projected(self.residual)).ravel()
        x, _ = linear.conjugate_gradients(normal, rhs, lambda x: x*scale.ravel(), TOLERANCE, MAX_STEPS)
        return x.reshape(shape)


def problem_of(psf, stamps, order, sampling, width, wings=False):
    """The `EffectiveProblem` of stars, with their fluxes and positions fitted by the present PSF.

    Parameters
    ----------
    psf, stamps, order
        As `fit_effective`.
    sampling : int
        Samples of the grid in a pixel.
    width : ndarray, shape (m, m)
        Of the prior.
    wings : bool
        The uncertainty of the PSF counts: the brightest star does not outweigh the others.
    """
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    columns, data = nuisance_columns(value, ddx, ddy), scaled(stamps, value)
    if wings:
        data = with_uncertainty(data, psf, UNCERTAIN)
    fit = solve_robustly(columns, data)
    dx, dy = (np.clip(d, -LARGEST_OFFSET, LARGEST_OFFSET) for d in fit.offsets(stamps))
    n, shape = len(stamps), (stamps.size, stamps.size)
    side = 2*((len(width)//2-BORDER)//sampling)+1
    left = fit.residual/fit.flux
    planes = [middle_samples(v.reshape(n, -1, *shape), side, 1).reshape(n, -1, side*side)
              for v in (left, without_outliers(left, data.weight*fit.flux**2), columns)]
    residual, weight = (np.ascontiguousarray(v.reshape(n, side, side), dtype=np.float32) for v in planes[:2])
    return EffectiveProblem(residual=residual, weight=weight, nuisances=planes[2], x=dx, y=dy, sampling=sampling,
                            terms=basis(stamps.x, stamps.y, psf.shape, order).astype(np.float32), width=width)


def without_outliers(residual, weight):
    """Weights lowered where a star's pixel differs from that of the others, shape (n, pixels).

    What all stars have in common, as a ring, is no outlier: weights that it lowers would be lower where noise makes it brighter.
    """
    common = np.zeros(residual.shape[1], residual.dtype)
    for _ in range(CLIPPINGS):
        kept = downweighted(weight, residual-common)
        common = (kept*residual).sum(axis=0)/np.maximum(kept.sum(axis=0), 1e-30)
    return kept


def sampled_planes(psf, sampling, size, order):
    """Planes of the polynomial of a PSF at another sampling, shape (terms, m, m).

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
    sampling : int
        Samples in a pixel.
    size : int
        Side, pixels; made odd.
    order : int
    """
    size += 1-size % 2
    x, y = nodes(psf.shape, order)
    stamps = linear.combined(psf.profile.factors(x, y, psf.core_order), psf.samples(size))
    return planes_through(np.array([resampled(s, psf.oversampling, sampling) for s in stamps]), x, y, psf.shape, order)


def core_prior(psf, sampling, radius):
    """Width of the prior on the coefficients, shape (m, m): a share of the PSF around, fading out at the radius."""
    half = radius*sampling+BORDER
    size = 2*(half//sampling+2)+1
    mean = np.abs(middle_samples(sampled_planes(psf, sampling, size, 0)[0], size, sampling))
    around = ndimage.uniform_filter(ndimage.maximum_filter(mean, 2*sampling+1), 2*sampling+1)
    reach = len(mean)//2-half
    fade = np.clip((radius-distances(2*half+1, sampling))/FADE, 1e-3, 1)
    return PRIOR_SHARE*(around[reach:reach+2*half+1, reach:reach+2*half+1]+PRIOR_FLOOR*mean.max())*fade


def wing_prior(psf, sampling, radius):
    """Width of the prior on the coefficients of the wings, shape (m, m), between `WINGS_FROM` and a radius, pixels."""
    distance = distances(2*(radius*sampling+BORDER)+1, sampling)
    width = WING_PRIOR*psf.stamp(1)[0, 0]*inverse_square(distance, psf)
    return width*np.clip(np.minimum(radius-distance, distance-WINGS_FROM)/FADE, 1e-3, 1)


def normalised(planes, sampling, norm_size):
    """Planes with the mean's sum over the norm box 1 and its centroid in the middle, and no flux or shift in the other terms."""
    mean = planes[0]
    slopes = [np.gradient(mean, axis=axis) for axis in (1, 0)]
    out = planes.copy()
    for k, plane in enumerate(planes):
        for slope, axis in zip(slopes, (1, 0)):
            moments = [first_moment(middle(p, CENTROID_SIZE, sampling), axis) for p in (plane, slope)]
            out[k] -= moments[0]/moments[1]*slope
    out /= middle(out[0], norm_size, sampling).sum()
    for k in range(1, len(out)):
        out[k] -= middle(out[k], norm_size, sampling).sum()*out[0]
    return out

