"""Peaks: local maxima of the residual's significance that deserve to become sources."""
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.flags import ENGINE
from ..core.matched_filter import local_maxima
from ..core.neighbours import neighbours
from ..cython_ext import detect as kernel

SMALLEST_BLOB = 4
COMPACT, LARGEST_BLOB = 0.5, 61
"""Blobs that may hide a star fill so much of their box, and are at most so wide, pixels."""
SIDES = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""Steps up and to the right to a pixel's four neighbours."""
HOLE = 3.
"""A peak's own pixel is no star when it is so many sigma below zero: light around it makes it one."""


@dataclass(frozen=True)
class Peaks:
    """Proposed sources.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Positions, pixels.
    flux : ndarray, shape (n,), float64
        Matched-filter fluxes.
    bright : ndarray, shape (n,), bool
        Kind: seen in a single pixel, or only convolved with the PSF.
    """
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    bright: np.ndarray

    def __len__(self):
        return len(self.x)

    def subset(self, which):
        """The peaks that an index or boolean array selects."""
        return Peaks(*(v[which] for v in (self.x, self.y, self.flux, self.bright)))


def find_peaks(residual, model, mask, matched, config, passno):
    """Peaks of the residual that are accepted as new sources.

    Parameters
    ----------
    residual, model : ndarray, shape (ny, nx), float32
        Data less sky and model; the sources' model.
    mask : ndarray, shape (ny, nx), uint16
        Engine bits, ``bad`` where a pixel has no weight.
    matched : MatchedFilter
        Made with the current PSF.
    config : crowdsource.config.DetectConfig
    passno : int
        Number of this pass, from 0.

    Returns
    -------
    Peaks
        Brightest first.
    """
    significance = matched.significance(residual)
    scene = _Scene(residual, model, matched.ivar, significance, mask)
    y, x = local_maxima(significance, config.candidate if config.split == "chi2" else config.threshold, matched.run)
    under = matched.significance_at(model, y, x)
    worthy = (significance[y, x] > config.threshold) | (under > config.candidate)
    y, x, under = y[worthy], x[worthy], np.maximum(under[worthy], 0)
    bright = residual[y, x]*np.sqrt(matched.ivar[y, x]) > config.bright_pixel
    keep = _acceptable(scene, y, x, under, bright, config, passno)
    blurry = mask[y, x] & ENGINE.sharp > 0
    if blurry.any():
        keep &= ~blurry | as_sharp(significance, y, x, matched, config)
    y, x, bright = y[keep], x[keep], bright[keep]
    peaks = Peaks(*_refined(significance, y, x), significance[y, x].astype(float)*matched.error[y, x], bright)
    if passno == 0:
        peaks = _with_hidden(peaks, scene, matched, config)
    return peaks.subset(np.argsort(-peaks.flux, kind="stable"))


@dataclass(frozen=True)
class _Scene:
    """The planes that the rules look at, each of shape (ny, nx)."""
    residual: np.ndarray
    model: np.ndarray
    ivar: np.ndarray
    significance: np.ndarray
    mask: np.ndarray


def _acceptable(scene, y, x, under, bright, config, passno):
    """The rules of acceptance, one line each; `under` is the significance of the model at the peaks."""
    root, residual = np.sqrt(scene.ivar[y, x]), scene.residual[y, x]
    masked = root == 0
    keep = scene.significance[y, x] > _least_ratio(scene.mask, y, x, config, passno)*under
    # the value of a masked pixel means nothing; that of a faint star noise may leave below zero, but not by more
    keep &= masked | (residual*root > -HOLE)
    if config.pixel_flux_ratio > 0:
        keep &= masked | (residual >= config.pixel_flux_ratio*scene.model[y, x])
    if config.pixel_significance_ratio > 0:
        keep &= masked | (residual*root >= config.pixel_significance_ratio*under)
    edge_of = ENGINE.bad if config.edge_of == "masked" else ENGINE.saturated
    keep &= ~(bright & ~masked & kernel.bits_near(scene.mask, edge_of, y, x, config.edge))
    # in a mask only the first pass looks, but a peak on its edge has good pixels to show for it, unless their rim is steep
    if passno > 0:
        my, mx = y[masked], x[masked]
        rim = np.any([shifted(scene.ivar, my, mx, *step) > 0 for step in SIDES], axis=0)
        keep[masked] &= rim & (scene.mask[my, mx] & ENGINE.saturated == 0)
    return keep


def _least_ratio(mask, y, x, config, passno):
    """The least ratio of a new source's significance to the model's at some pixels, shape (n,): less may be the model's error."""
    ratio = np.full(len(x), config.blend_ratio_first if passno < config.blend_passes else config.blend_ratio)
    saturated = kernel.bits_near(mask, ENGINE.saturated, y, x, config.saturated_reach)
    ratio = np.where(saturated, np.maximum(ratio, config.saturated_ratio), ratio)
    return np.where(mask[y, x] & ENGINE.nodeblend, np.maximum(ratio, config.nodeblend_ratio), ratio)


def shifted(image, y, x, rise, shift):
    """Values of an image so many pixels above and right of some pixels, float64; past the edge those at the edge."""
    ny, nx = image.shape
    return image[np.clip(y+rise, 0, ny-1), np.clip(x+shift, 0, nx-1)].astype(float)


def drop(image, y, x):
    """Difference of a pixel from the mean of its four neighbours. Parameters and return as `curvature`."""
    around = sum(shifted(image, y, x, *step) for step in SIDES)
    return image[y, x].astype(float)-around/4


def curvature(image, y, x):
    """Relative drop from a pixel to the mean of its four neighbours.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
    y, x : ndarray of int, shape (n,)

    Returns
    -------
    ndarray, shape (n,), float64
    """
    centre = image[y, x].astype(float)
    return drop(image, y, x)/np.where(centre == 0, 1, centre)


def as_sharp(significance, y, x, matched, config, flux=0.):
    """The rule where the mask says sharp: a peak as curved as the PSF's own autocorrelation, nearly.

    Parameters
    ----------
    significance : ndarray, shape (ny, nx), float32
        Of the residual.
    y, x : ndarray of int, shape (n,)
    matched : MatchedFilter
    config : crowdsource.config.DetectConfig
    flux : ndarray, shape (n,), optional
        Of sources at these pixels that the residual is without.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    own = kernel.correlate(np.pad(matched.kernel, 2), matched.kernel)
    middle = np.array([len(matched.kernel)//2+2])
    of_psf = curvature(own, middle, middle)[0]
    height = flux/matched.error[y, x]
    top = significance[y, x].astype(float)+height
    return (top > 0) & (drop(significance, y, x)+height*of_psf > config.sharpness*of_psf*top)


def _refined(significance, y, x):
    """Peak positions from parabolas through the peak and its neighbours, within half a pixel."""
    shifts, c = [], significance[y, x].astype(float)
    for rise, shift in ((0, 1), (1, 0)):
        a, b = shifted(significance, y, x, -rise, -shift), shifted(significance, y, x, rise, shift)
        bend = 2*c-a-b
        shifts.append(np.clip(np.where(bend > 0, 0.5*(b-a)/np.where(bend > 0, bend, 1), 0), -0.5, 0.5))
    return x+shifts[0], y+shifts[1]


def _with_hidden(peaks, scene, matched, config):
    """One source for each star whose centre is masked, at the middle of the blob, instead of the peaks on its rim.

    Saturated pixels hide a star's centre; so may other compact blobs of masked pixels, where the light around them is
    brighter in their middle than at any peak nearby.
    """
    hidden = scene.mask & (ENGINE.bad | ENGINE.saturated) > 0
    inside = np.divmod(np.flatnonzero(hidden), hidden.shape[1])
    if not len(inside[0]):
        return peaks
    # most rows have none: those beside the others keep blobs apart
    rows = ndimage.maximum_filter1d(hidden.any(axis=1), 3)
    label, count = ndimage.label(hidden[rows], structure=np.ones((3, 3)))
    number = label[np.cumsum(rows)[inside[0]]-1, inside[1]]-1
    area = np.bincount(number, minlength=count)
    saturated = np.bincount(number, scene.mask[inside] & ENGINE.saturated, count) > 0
    order = np.argsort(number, kind="stable")
    first = np.searchsorted(number[order], np.arange(count))
    sides = np.stack([np.maximum.reduceat(at[order], first)-np.minimum.reduceat(at[order], first)+1 for at in inside], axis=1)
    compact = (area > COMPACT*sides.prod(axis=1)) & (sides.max(axis=1) <= LARGEST_BLOB)
    centre = np.stack([np.bincount(number, at, count)/area for at in inside], axis=1)
    at = tuple(np.clip(np.round(centre).astype(int), 0, np.array(hidden.shape)-1).T)
    height = scene.significance[at]
    blob = (area >= SMALLEST_BLOB) & (height > config.threshold) & (saturated | compact)
    # a blob's rim is steep and its wings noisy: peaks within its radius and a PSF core belong to it
    reach = np.sqrt(area/np.pi)+3
    rim = np.zeros(len(peaks), bool)
    for k, near in zip(np.flatnonzero(blob), around(peaks, centre[blob], reach[blob])):
        top = (peaks.flux[near]/matched.error[at[0][k], at[1][k]]).max(initial=0)
        blob[k] = saturated[k] or height[k] > top
        rim[near] |= blob[k]
    kept, flux = peaks.subset(~rim), height[blob].astype(float)*matched.error[at][blob]
    return Peaks(np.r_[kept.x, centre[blob, 1]], np.r_[kept.y, centre[blob, 0]], np.r_[kept.flux, flux],
                 np.r_[kept.bright, np.ones(len(flux), bool)])


def around(peaks, centre, reach):
    """Lists of the peaks within reach of each centre (y, x)."""
    indptr, near = neighbours(peaks.y, peaks.x, *np.reshape(centre, (-1, 2)).T, reach)
    return np.split(near, indptr[1:-1]) if len(indptr) > 1 else []


def apart(peaks, x, y, separation):
    """Peaks farther than a separation from all known sources; which, as a boolean array.

    Parameters
    ----------
    peaks : Peaks
    x, y : ndarray
        Known sources, pixels.
    separation : float
        Pixels.
    """
    if separation <= 0:
        return np.ones(len(peaks), bool)
    indptr, _ = neighbours(x, y, peaks.x, peaks.y, separation)
    return np.diff(indptr) == 0
