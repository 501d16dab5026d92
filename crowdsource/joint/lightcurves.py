"""Light curves of all stars of a joint fit, and their means: one scale, errors that repeats show, variability."""
from dataclasses import dataclass, replace

import numpy as np

from ..core import functions, linear
from ..core.flags import ENGINE, MASK_SHIFT
from ..engine.schema import POGSON
from ..io.tables import plain
from .frame import powers

MAP_DEGREE = 2
"""Of the polynomial of the position by which the scale of an image differs from place to place."""
CONSTANT_SNR, CONSTANT_CHI = 50., 4.
"""Stars of so many sigma on an image whose fluxes differ by no more than this, in errors and `LARGEST_FLOOR`, tell the scale."""
LARGEST_FLOOR = 0.02
STEADY = 0.75
"""Share of its images on which such a star is so near to its median."""
ROUNDS = 3
"""So often the maps of all images are found in turn."""
MOST_OWN = 0.9
"""An image counts as no more than this part of a mean."""
BRIGHTEST = 0.3
"""Part of these that tells what is left of the scale from place to place."""
FEWEST = 30
"""A map of the scale needs so many stars."""
SEEN_APART = 0.5
"""Share of the confusion that two filters see differently which differs from image to image: the stars that are found do not.
See `benchmarks/studies/joint.py`."""
LEAST_SNR = 5.
"""Stars from this significance on an image up to `CONSTANT_SNR` tell whether its errors are right ..."""
ENOUGH_STARS, ENOUGH_IMAGES = 100, 5
"""... where there are so many of them, on so many images."""
FACTORS = 0.8, 1.6
"""Errors are not made smaller or larger than by these factors."""
MEDIAN_CHI2 = 0.4549
"""Median of the square of a standard normal variable."""
PAIR_DAYS = 0.1
"""Images closer in time than this make a pair, days."""
SINGLE_WEIGHT = 0.5
"""Weight of a flux without a partner."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LightCurves:
    """Fluxes of all stars on all images, on the scale of the reference; arrays of shape (images, n), NaN where one shows no star.

    Attributes
    ----------
    flux, error : ndarray
        The error is of what differs from image to image: photons, PSF, calibration, and what confusion adds to one but not all.
    confusion : ndarray
        Noise that all images share, as each has it.
    saturated : ndarray of bool, optional
        Where a star is saturated on an image: it does not tell how good others are there.
    scales : ndarray, shape (images, terms)
        Polynomial of the reference position that the scale of each image is to be multiplied by.
    floor : ndarray, shape (images,)
        Relative error of the scale from place to place, which is part of the error.
    factor : ndarray, shape (images,)
        By which repeats of stars have made the errors larger or smaller.
    """

    flux: np.ndarray
    error: np.ndarray
    confusion: np.ndarray
    saturated: np.ndarray = None
    scales: np.ndarray = None
    floor: np.ndarray = None
    factor: np.ndarray = None

    def subset(self, images):
        """Those of some images."""
        return LightCurves(flux=self.flux[images], error=self.error[images], confusion=self.confusion[images])

    @property
    def weight(self):
        """Of each flux in a mean: the inverse variance of all noise, 0 where a star is not shown."""
        known = np.isfinite(self.error) & (self.error > 0)
        return np.where(known, 1/np.where(known, self.error**2+self.confusion**2, 1), 0)

    def mean(self, values):
        """Mean of values over images, one for each star, shape (n,); 0 where no image shows one."""
        weight = self.weight
        return np.where(weight > 0, weight*values, 0).sum(axis=0)/np.maximum(weight.sum(axis=0), 1e-300)


@dataclass(frozen=True, eq=False)
class MeanFluxes:
    """Mean fluxes of stars from some images, on the scale of the reference; shape (n,).

    Attributes
    ----------
    flux, error : ndarray
        The error with the noise of confusion that all images share.
    rchi2 : ndarray
        Reduced chi2 of the differences from the mean, by the errors of single images; NaN of a single image.
    images : ndarray of int
    """

    flux: np.ndarray
    error: np.ndarray
    rchi2: np.ndarray
    images: np.ndarray


def light_curves(state, fits, catalogs):
    """The `LightCurves` of a joint fit.

    What undetected stars add to a flux is much the same on all images. Two matched filters of widths a and b see their light with
    a correlation r = 2ab/(a^2+b^2), so that of confusion with noise c on an image and m in the mean c^2+m^2-2rcm is the image's
    own. This c is of sources as wide as the PSF: light that widens a star is so close to it that all filters see it alike, and
    what seems to widen bright stars, the error of each PSF, would be taken for light that comes and goes.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        After its last pass.
    fits : sequence of crowdsource.joint.last.LastFit
    catalogs : sequence of astropy.table.Table
        Of each image, with errors of the fluxes without confusion.
    """
    flux, sigma, confusion, typical = np.full((4, len(fits), len(state.stars)), np.nan)
    saturated = np.zeros(flux.shape, bool)
    width = np.array([float(e.state.psf.fwhm())/e.frame.scale for e in state.epochs])[:, None]
    for k, (epoch, fit, catalog) in enumerate(zip(state.epochs, fits, catalogs)):
        for line, values in ((flux[k], epoch.state.sources.flux), (sigma[k], np.asarray(plain(catalog["dflux"]), float)),
                             (confusion[k], fit.confusion), (typical[k], fit.typical)):
            line[epoch.rows] = values/epoch.scale
        saturated[k, epoch.rows] = np.asarray(catalog["flags"]) & (int(ENGINE.saturated) << MASK_SHIFT) > 0
    alone = LightCurves(flux=flux, error=sigma, confusion=typical)
    shared, mean = alone.mean(typical), alone.mean(width)
    alike = 2*width*mean/np.maximum(width**2+mean**2, 1e-300)
    differs = SEEN_APART*np.maximum(typical**2+shared**2-2*alike*typical*shared, 0)
    bands = np.array([e.band for e in state.epochs])
    curves = LightCurves(flux=flux, error=np.sqrt(sigma**2+differs), confusion=confusion, saturated=saturated)
    return calibrated(curves, scaled_positions(state), bands)


def scaled_positions(state):
    """Positions of the stars for the maps of scales, from -1 to 1 over the grid; shape (n, 2)."""
    return np.stack([2*(p-low)*state.grid.steps/max(1, n-1)-1 for p, low, n in (
        (state.stars.x, state.grid.u0, state.grid.shape[1]), (state.stars.y, state.grid.v0, state.grid.shape[0]))], axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class ScaleMap:
    """Flux of a star on an image over that on the reference, by the place of the star.

    Attributes
    ----------
    coefficients : ndarray, shape (terms,)
        Of a polynomial of the reference position, by `crowdsource.joint.frame.powers`.
    middle, half : tuple of float
        Reference position at which it is expanded, and lengths by which distances from there are divided, pixels.
    """

    coefficients: np.ndarray
    middle: tuple
    half: tuple

    def __call__(self, u, v):
        """Ratios at reference positions, float64 of their shape (n,)."""
        place = [(np.asarray(p, float)-m)/h for p, m, h in zip((u, v), self.middle, self.half)]
        return linear.products(self.coefficients[None], powers(*place, MAP_DEGREE))[0]


def scale_map(state, curves, number):
    """The `ScaleMap` of an image of a joint fit."""
    half = tuple(max(1, n-1)/(2*state.grid.steps) for n in state.grid.shape[::-1])
    return ScaleMap(coefficients=state.epochs[number].scale*curves.scales[number], half=half,
                    middle=(state.grid.u0+half[0], state.grid.v0+half[1]))


def calibrated(curves, place, bands):
    """Light curves on one scale all over each image, as bright constant stars have it, with what is left in their errors.

    Parameters
    ----------
    curves : LightCurves
    place : ndarray, shape (n, 2)
        Positions, of the order of 1.
    bands : ndarray of int, shape (images,)
    """
    terms = powers(*place.T, MAP_DEGREE)
    scales, floor = np.zeros((len(curves.flux), terms.shape[1])), np.zeros(len(curves.flux))
    scales[:, 0] = 1
    several = [images for band in np.unique(bands) if len(images := np.flatnonzero(bands == band)) > 1]
    mapped = curves
    # the means have the maps of all images in them
    for _ in range(ROUNDS):
        for images in several:
            mean = steady_fluxes(mapped.subset(images))
            for k in images:
                tells, off, relative = constant_stars(mapped, k, mean)
                if len(tells) >= FEWEST:
                    root = 1/np.hypot(relative, LARGEST_FLOOR/4)
                    raw = off+curves.flux[k, tells]/mean[tells]-mapped.flux[k, tells]/mean[tells]
                    scales[k] = np.eye(1, terms.shape[1])[0]
                    scales[k] += linear.least_squares(terms[tells]*root[:, None], raw*root)
        here = linear.products(scales, terms)
        mapped = replace(curves, flux=curves.flux/here, error=curves.error/here)
    noisy = mapped = with_errors_of_repeats(mapped, several)
    # an image with a large floor counts less in the means
    for _ in range(ROUNDS):
        for images in several:
            mean, total = steady_fluxes(noisy.subset(images)), np.maximum(noisy.weight[images].sum(axis=0), 1e-300)
            for k in images:
                tells, off, relative = constant_stars(mapped, k, mean)
                if len(tells) >= FEWEST:
                    # the mean has a part of this image's error in it
                    share = 1-np.minimum((noisy.weight[k]/total)[tells], MOST_OWN)
                    # of the brightest, whose errors of photons are the smallest
                    best = relative <= np.quantile(relative, BRIGHTEST)
                    floor[k] = excess((off/np.sqrt(share))[best], relative[best])
        noisy = replace(mapped, error=np.hypot(mapped.error, floor[:, None]*np.maximum(mapped.flux, 0)))
    return replace(noisy, scales=scales, floor=floor)


def with_errors_of_repeats(curves, several):
    """Light curves with the errors of each image multiplied by what repeats of its stars show, where many tell.

    Parameters
    ----------
    curves : LightCurves
    several : list of ndarray of int
        Images of each band that has more than one.
    """
    factor, found = np.ones(len(curves.flux)), curves
    # weights in the means follow the errors
    for _ in range(ROUNDS):
        for images in (i for i in several if len(i) >= ENOUGH_IMAGES):
            mean, total = steady_fluxes(found.subset(images)), np.maximum(found.weight[images].sum(axis=0), 1e-300)
            for k in images:
                relative = curves.error[k]/np.where(mean > 0, mean, np.nan)
                tells = np.flatnonzero((relative < 1/LEAST_SNR) & (relative > 1/CONSTANT_SNR))
                if len(tells) >= ENOUGH_STARS:
                    share = 1-np.minimum((found.weight[k]/total)[tells], MOST_OWN)
                    chi2 = (curves.flux[k, tells]-mean[tells])**2/curves.error[k, tells]**2/share
                    factor[k] = np.clip(np.sqrt(np.median(chi2)/MEDIAN_CHI2), *FACTORS)
        found = replace(curves, error=curves.error*factor[:, None], factor=factor)
    return found


def steady_fluxes(curves):
    """Mean fluxes of stars without what is far off their medians, shape (n,); NaN of those that are so on many images.

    A cosmic ray, or a fit that has run away, on one image does not tell the scales of all; nor do stars that vary.
    """
    weight = curves.weight
    flux = np.where(weight > 0, curves.flux, np.nan)
    out = np.full(flux.shape[1], np.nan)
    some = np.flatnonzero((weight > 0).any(axis=0))
    flux, weight = flux[:, some], weight[:, some]
    middle = np.nanmedian(flux, axis=0)
    near = np.abs(flux-middle) < CONSTANT_CHI*np.hypot(curves.error[:, some], LARGEST_FLOOR*middle)
    weight = np.where(near, weight, 0)
    total = weight.sum(axis=0)
    steady = near.sum(axis=0) >= STEADY*np.isfinite(flux).sum(axis=0)
    out[some] = np.where(steady, np.where(near, weight*flux, 0).sum(axis=0)/np.where(total > 0, total, 1), np.nan)
    return out


def constant_stars(curves, image, mean):
    """Rows of the bright constant stars of an image, how far they are off the mean, and their errors, both relative."""
    safe = np.where(mean > 0, mean, np.nan)
    off, relative = curves.flux[image]/safe-1, curves.error[image]/safe
    tells = (relative < 1/CONSTANT_SNR) & (np.abs(off) < CONSTANT_CHI*np.hypot(relative, LARGEST_FLOOR))
    tells = np.flatnonzero(tells if curves.saturated is None else tells & ~curves.saturated[image])
    return tells, off[tells], relative[tells]


def excess(values, errors):
    """What added in quadrature to the errors makes the median of squares over variances that of a normal distribution."""
    low, high = 0., LARGEST_FLOOR
    if np.median(values**2/errors**2) <= MEDIAN_CHI2:
        return 0.
    for _ in range(30):
        middle = (low+high)/2
        low, high = (middle, high) if np.median(values**2/(errors**2+middle**2)) > MEDIAN_CHI2 else (low, middle)
    return high


def mean_fluxes(curves):
    """The `MeanFluxes` of light curves."""
    weight = curves.weight
    known, total = weight > 0, np.maximum(weight.sum(axis=0), 1e-300)
    flux, images = curves.mean(curves.flux), known.sum(axis=0)
    varying = np.sqrt(np.where(known, (weight*curves.error)**2, 0).sum(axis=0))/total
    chi2 = np.where(known, (curves.flux-flux)**2/np.where(known, curves.error, 1)**2, 0).sum(axis=0)
    error = np.hypot(varying, curves.mean(curves.confusion))
    return MeanFluxes(np.where(images > 0, flux, np.nan), np.where(images > 0, error, np.nan),
                      np.where(images > 1, chi2/np.maximum(images-1, 1), np.nan), images)


def stetson_j(curves, mean, times):
    """Stetson's J index (Stetson 1996, PASP 108, 851): fluxes that are close in time vary together where a star varies.

    Parameters
    ----------
    curves : LightCurves
        Of images in the order of time.
    mean : MeanFluxes
    times : ndarray, shape (images,)
        Days; images without one count as single ones.

    Returns
    -------
    ndarray, shape (n,)
        0 for constant stars; NaN of fewer than two images.
    """
    known = curves.weight > 0
    factor = np.sqrt(mean.images/np.maximum(mean.images-1, 1))
    delta = np.where(known, factor*(curves.flux-mean.flux)/np.where(known, curves.error, 1), 0)
    total, weight = np.zeros((2, curves.flux.shape[1]))
    spacing = np.diff(times)
    close = np.r_[spacing < PAIR_DAYS, False]
    k = 0
    while k < len(delta):
        two = close[k] and k+1 < len(delta)
        both = known[k] & known[k+1] if two else np.zeros(len(total), bool)
        pair = delta[k]*delta[k+1] if two else 0.
        total += np.where(both, np.sign(pair)*np.sqrt(np.abs(pair)), 0)
        weight += both
        singles = [known[k] & ~both]+([known[k+1] & ~both] if two else [])
        for j, alone in enumerate(singles):
            squared = delta[k+j]**2-1
            total += np.where(alone, SINGLE_WEIGHT*np.sign(squared)*np.sqrt(np.abs(squared)), 0)
            weight += SINGLE_WEIGHT*alone
        k += 1+two
    return np.where(mean.images > 1, total/np.maximum(weight, 1e-300), np.nan)


def amplitude(curves):
    """Difference in magnitudes of the 95th and the 5th percentile of the positive fluxes of each star; NaN of fewer than two."""
    flux = np.sort(np.where(curves.flux > 0, curves.flux, np.nan), axis=0)
    count = np.isfinite(flux).sum(axis=0)
    out = np.full(flux.shape[1], np.nan)
    some = np.flatnonzero(count > 1)
    high, low = (_between(flux[:, some], share*(count[some]-1)) for share in (0.95, 0.05))
    out[some] = POGSON*functions.log(high/low)
    return out


def _between(values, place):
    """Linear interpolation in each column at a place of its own, shape (n,)."""
    row, column = place.astype(int), np.arange(len(place))
    part = place-row
    return values[row, column]*(1-part)+values[np.minimum(row+1, len(values)-1), column]*np.where(part > 0, part, 0)
