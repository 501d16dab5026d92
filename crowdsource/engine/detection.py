"""Detection: local maxima of the residual's significance that deserve to become sources.

A detector is a callable ``detector(scene)`` that takes a `Scene` and gives the `Peaks` that it accepts, brightest first. What it
proposes is a candidate: the fit that follows accepts or rejects it by the improvement in chi2.
"""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from ..config import DetectConfig
from ..core.calibration import calibration
from ..core.flags import ENGINE
from ..core.matched_filter import MatchedFilter, local_maxima
from ..core.neighbours import neighbours
from ..core.pixels import values
from ..cython_ext import detect as kernel
from .model_error import coherence

MIN_FILLING, LARGEST_BLOB = calibration.detect.min_filling, calibration.detect.largest_blob
"""Blobs of masked pixels that may hide a star fill at least this fraction of their box, and are at most so wide, pixels."""
SMALL_BLOB = 9
"""A blob of so many pixels hides no more of a star than its summit."""
ADJACENT = ((0, -1), (0, 1), (-1, 0), (1, 0))
"""Steps up and to the right to the four adjacent pixels."""
NEGATIVE_LIMIT = 3.
"""A peak whose own pixel is so many sigma below zero is no star but a hole: light around it has made it."""
MODEL_LIMIT = calibration.detect.model_limit
"""A peak whose flux is less than so many times the error of the model around is no star."""


@dataclass(frozen=True, eq=False)
class Peaks:
    """Proposed sources.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Positions, pixels.
    flux : ndarray, shape (n,), float64
        Matched-filter fluxes.
    bright : ndarray, shape (n,), bool
        Whether the peak is significant in a single pixel, and not only convolved with the PSF.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    bright: np.ndarray

    def __len__(self):
        return len(self.x)

    def inside(self, shape):
        """(row, column) of the pixel of an image of some shape that is nearest to each peak."""
        ny, nx = shape
        return np.clip(np.round(self.y).astype(int), 0, ny-1), np.clip(np.round(self.x).astype(int), 0, nx-1)

    def subset(self, which):
        """The peaks that an index or boolean array selects."""
        return Peaks(*(v[which] for v in (self.x, self.y, self.flux, self.bright)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """What a detector looks at.

    Attributes
    ----------
    residual, model : ndarray, shape (ny, nx), float32
        Data less sky and model; model of the sources.
    mask : ndarray, shape (ny, nx), uint16
        Engine bits, ``bad`` where a pixel has no weight.
    matched : crowdsource.core.matched_filter.MatchedFilter
        Of the present PSF.
    config : crowdsource.config.DetectConfig
    passno : int
        Number of this pass, from 0.
    model_error : ndarray, shape (ny, nx), float32, or None
        Error of the model in each pixel that the uncertainty of the PSF causes; None where that is not known.
    """

    residual: np.ndarray
    model: np.ndarray
    mask: np.ndarray
    matched: MatchedFilter
    config: DetectConfig
    passno: int
    model_error: np.ndarray = None

    @property
    def ivar(self):
        """Inverse variance of the pixels, shape (ny, nx), float32."""
        return self.matched.ivar

    @cached_property
    def significance(self):
        """Flux over its error of a star at each pixel of the residual, shape (ny, nx), float32."""
        return self.matched.significance(self.residual)


def find_peaks(scene):
    """Peaks of the residual that are accepted as candidates.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    Peaks
        Brightest first.
    """
    config, matched, significance = scene.config, scene.matched, scene.significance
    y, x = local_maxima(significance, config.candidate if config.split == "chi2" else config.threshold, matched.run)
    of_model = matched.significance_at(scene.model, y, x)
    high = (significance[y, x] > config.threshold) | (of_model > config.candidate)
    y, x, of_model = y[high], x[high], np.maximum(of_model[high], 0)
    bright = scene.residual[y, x]*np.sqrt(scene.ivar[y, x]) > config.bright_pixel
    keep = _acceptable(scene, y, x, of_model, bright)
    structured = scene.mask[y, x] & ENGINE.sharp > 0
    if structured.any():
        keep &= ~structured | as_sharp(significance, y, x, matched, config)
    y, x, bright = y[keep], x[keep], bright[keep]
    peaks = Peaks(*refined(significance, y, x), significance[y, x].astype(float)*matched.error[y, x], bright)
    if scene.passno == 0:
        peaks = _with_hidden(peaks, scene)
    return peaks.subset(np.argsort(-peaks.flux, kind="stable"))


def _acceptable(scene, y, x, of_model, bright):
    """The rules of acceptance, one line each; `of_model` is the significance of the model at the peaks."""
    config, root, residual = scene.config, np.sqrt(scene.ivar[y, x]), scene.residual[y, x]
    masked = root == 0
    keep = scene.significance[y, x] > _least_ratio(scene, y, x)*of_model
    # the value of a masked pixel is meaningless; noise may make that of a faint star negative, but not by more
    keep &= masked | (residual*root > -NEGATIVE_LIMIT)
    if scene.model_error is not None:
        least = MODEL_LIMIT*coherence(scene.matched.kernel)*scene.model_error[y, x]
        keep &= scene.significance[y, x]*scene.matched.error[y, x] > least
    if config.pixel_flux_ratio > 0:
        keep &= masked | (residual >= config.pixel_flux_ratio*scene.model[y, x])
    if config.pixel_significance_ratio > 0:
        keep &= masked | (residual*root >= config.pixel_significance_ratio*of_model)
    edge_of = ENGINE.bad if config.edge_of == "masked" else ENGINE.saturated
    keep &= ~(bright & ~masked & kernel.bits_near(scene.mask, edge_of, y, x, config.edge))
    # only the first pass looks into masks, but a peak on the edge of one has good pixels as evidence, if it is not saturated
    if scene.passno > 0:
        my, mx = y[masked], x[masked]
        rim = np.any([shifted(scene.ivar, my, mx, *step) > 0 for step in ADJACENT], axis=0)
        keep[masked] &= rim & (scene.mask[my, mx] & ENGINE.saturated == 0)
    return keep


def _least_ratio(scene, y, x):
    """Smallest accepted ratio of a peak's significance to the model's, shape (n,): smaller ones may be errors of the model."""
    config, mask = scene.config, scene.mask
    ratio = np.full(len(x), config.blend_ratio_first if scene.passno < config.blend_passes else config.blend_ratio)
    saturated = kernel.bits_near(mask, ENGINE.saturated, y, x, config.saturated_reach)
    ratio = np.where(saturated, np.maximum(ratio, config.saturated_ratio), ratio)
    return np.where(mask[y, x] & ENGINE.nodeblend, np.maximum(ratio, config.nodeblend_ratio), ratio)


def shifted(image, y, x, up, right):
    """Values of an image at pixels so many rows above and columns right of some pixels, float64; those at the edge beyond it."""
    return values(image, y, x, up, right).astype(float)


def drop(image, y, x):
    """Difference of a pixel from the mean of its four adjacent ones. Parameters and return as `curvature`."""
    adjacent = sum(shifted(image, y, x, *step) for step in ADJACENT)
    return image[y, x].astype(float)-adjacent/4


def curvature(image, y, x):
    """Relative drop from a pixel to the mean of its four adjacent ones.

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
    """The rule where the mask says sharp: a peak must be almost as curved as the PSF's autocorrelation.

    Parameters
    ----------
    significance : ndarray, shape (ny, nx), float32
        Of the residual.
    y, x : ndarray of int, shape (n,)
    matched : MatchedFilter
    config : crowdsource.config.DetectConfig
    flux : ndarray, shape (n,), optional
        Of sources at these pixels that have been removed from the residual.

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


def refined(significance, y, x):
    """Peak positions from parabolas through the peak and its neighbours, within half a pixel."""
    shifts, c = [], significance[y, x].astype(float)
    for up, right in ((0, 1), (1, 0)):
        a, b = shifted(significance, y, x, -up, -right), shifted(significance, y, x, up, right)
        bend = 2*c-a-b
        shifts.append(np.clip(np.where(bend > 0, 0.5*(b-a)/np.where(bend > 0, bend, 1), 0), -0.5, 0.5))
    return x+shifts[0], y+shifts[1]


def _with_hidden(peaks, scene):
    """One peak for each star whose centre is masked, at the centre of the blob, instead of the peaks on its rim.

    Saturated pixels hide the centre of a star. Other compact blobs of masked pixels may do so as well, where the significance at
    their centre exceeds that of any peak nearby.
    """
    matched = scene.matched
    hidden = scene.mask & (ENGINE.bad | ENGINE.saturated) > 0
    inside = np.divmod(np.flatnonzero(hidden), hidden.shape[1])
    if not len(inside[0]):
        return peaks
    # most rows have none; the rows adjacent to others keep blobs separate
    rows = ndimage.maximum_filter1d(hidden.any(axis=1), 3)
    label, count = ndimage.label(hidden[rows], structure=np.ones((3, 3)))
    number = label[np.cumsum(rows)[inside[0]]-1, inside[1]]-1
    area = np.bincount(number, minlength=count)
    saturated = np.bincount(number, scene.mask[inside] & ENGINE.saturated, count) > 0
    order = np.argsort(number, kind="stable")
    first = np.searchsorted(number[order], np.arange(count))
    sides = np.stack([np.maximum.reduceat(at[order], first)-np.minimum.reduceat(at[order], first)+1 for at in inside], axis=1)
    compact = (area > MIN_FILLING*sides.prod(axis=1)) & (sides.max(axis=1) <= LARGEST_BLOB)
    centre = np.stack([np.bincount(number, at, count)/area for at in inside], axis=1)
    at = tuple(np.clip(np.round(centre).astype(int), 0, np.array(hidden.shape)-1).T)
    height = scene.significance[at]
    blob = (height > scene.config.threshold) & (saturated | compact)
    # the flank of a star beside a few masked pixels rises on one side
    small = blob & ~saturated & (area <= SMALL_BLOB)
    blob[small] = summits(scene.significance, at[0][small], at[1][small])
    # the rim of a blob is steep and noisy: peaks within its radius and the core of a PSF belong to it
    reach = np.sqrt(area/np.pi)+3
    rim = np.zeros(len(peaks), bool)
    for k, near in zip(np.flatnonzero(blob), around(peaks, centre[blob], reach[blob])):
        top = (peaks.flux[near]/matched.error[at[0][k], at[1][k]]).max(initial=0)
        blob[k] = saturated[k] or height[k] > top
        rim[near] |= blob[k]
    kept, flux = peaks.subset(~rim), height[blob].astype(float)*matched.error[at][blob]
    return Peaks(np.r_[kept.x, centre[blob, 1]], np.r_[kept.y, centre[blob, 0]], np.r_[kept.flux, flux],
                 np.r_[kept.bright, np.ones(len(flux), bool)])


def summits(image, y, x):
    """Which pixels are higher than all at a distance of two, shape (n,)."""
    steps = [(j, i) for j in range(-2, 3) for i in range(-2, 3) if max(abs(j), abs(i)) == 2]
    rim = [shifted(image, y, x, *step) for step in steps]
    return image[y, x] > np.max(rim, axis=0, initial=-np.inf)


def around(peaks, centre, radius):
    """Numbers of the peaks within a radius of each centre (y, x), a list of arrays."""
    indptr, near = neighbours(peaks.y, peaks.x, *np.reshape(centre, (-1, 2)).T, radius)
    return np.split(near, indptr[1:-1]) if len(indptr) > 1 else []


def apart(peaks, x, y, separation):
    """Which peaks are farther than a separation from all known sources, a boolean array of shape (n,).

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
