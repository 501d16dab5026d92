"""Peaks: local maxima of the residual's significance that deserve to become sources."""
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from .cython_ext import detect as kernel
from .flags import ENGINE

BAND = 256
"""Height of the bands in which an image is correlated, pixels."""
SMALLEST_BLOB = 4
COMPACT, LARGEST_BLOB = 0.5, 61
"""Blobs that may hide a star fill so much of their box, and are at most so wide, pixels."""


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


class MatchedFilter:
    """The PSF as a filter on an image of given inverse variance.

    Parameters
    ----------
    psf_stamp : ndarray, shape (size, size)
        PSF at the middle of the image, odd side, unit flux.
    ivar : ndarray, shape (ny, nx), float32
    run : callable
        ``map`` or an executor's.
    """

    def __init__(self, psf_stamp, ivar, run=map):
        self.kernel = np.ascontiguousarray(psf_stamp, dtype=np.float32)
        self.ivar, self.run = ivar, run
        # the variance of a flux with position known is 1/(ivar * psf^2)
        information = correlated(ivar, self.kernel**2, run)
        self.error = 1/np.sqrt(np.maximum(information, 1e-20*max(float(information.max()), 1e-20)))

    def significance(self, image):
        """Flux over its error for a star centred on each pixel; float32, shape of the image."""
        return correlated(image*self.ivar, self.kernel, self.run)*self.error


def correlated(image, stamp, run=map):
    """The image correlated with a stamp, in bands of rows; pixels outside the image count as zero.

    Parameters
    ----------
    image : ndarray, shape (ny, nx), float32
    stamp : ndarray, shape (size, size), float32
        Odd side.
    run : callable
        ``map`` or an executor's.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    ny, margin = len(image), len(stamp)//2
    out = np.empty_like(image)

    def band(start):
        first, stop = max(0, start-margin), min(ny, start+BAND)
        out[start:stop] = kernel.correlate(image[first:stop+margin], stamp)[start-first:stop-first]

    list(run(band, range(0, ny, BAND)))
    return out


def find_peaks(residual, model, mask, matched, config, passno):
    """Peaks of the residual that are accepted as new sources.

    Parameters
    ----------
    residual, model : ndarray, shape (ny, nx), float32
        Data less sky and model; the sources' model.
    mask : ndarray, shape (ny, nx), uint16
        Engine bits.
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
    model_significance = matched.significance(model) if model.any() else np.zeros_like(model)
    scene = _Scene(residual, model, np.sqrt(matched.ivar), significance, model_significance, mask)
    y, x = kernel.local_maxima(significance, config.candidate if config.split == "chi2" else config.threshold)
    worthy = (significance[y, x] > config.threshold) | (model_significance[y, x] > config.candidate)
    y, x = y[worthy], x[worthy]
    bright = residual[y, x]*scene.root[y, x] > config.bright_pixel
    keep = _acceptable(scene, y, x, bright, config, passno)
    if (mask[y, x] & ENGINE.sharp).any():
        keep &= _sharp_enough(scene, y, x, matched, config)
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
    root: np.ndarray
    significance: np.ndarray
    model_significance: np.ndarray
    mask: np.ndarray


def _acceptable(scene, y, x, bright, config, passno):
    """The rules of acceptance, one line each."""
    ratio = np.full(len(x), config.blend_ratio_first if passno < config.blend_passes else config.blend_ratio)
    saturated = scene.mask & ENGINE.saturated > 0
    ratio = np.where(_near(saturated, y, x, config.saturated_reach), np.maximum(ratio, config.saturated_ratio), ratio)
    ratio = np.where(scene.mask[y, x] & ENGINE.nodeblend, np.maximum(ratio, config.nodeblend_ratio), ratio)
    under, root = np.maximum(scene.model_significance[y, x], 0), scene.root[y, x]
    keep = scene.significance[y, x] > ratio*under
    # the value of a masked pixel means nothing
    keep &= (scene.residual[y, x] >= config.pixel_flux_ratio*scene.model[y, x]) | (root == 0)
    keep &= (scene.residual[y, x]*root >= config.pixel_significance_ratio*under) | (root == 0)
    keep &= ~(bright & (root > 0) & _near(scene.root == 0 if config.edge_of == "masked" else saturated, y, x, config.edge))
    # in a mask only the first pass looks, but a peak on its edge has good pixels to show for it, unless their rim is steep
    keep &= (root > 0) | (passno == 0) | (_near(scene.root > 0, y, x, 1) & ~saturated[y, x])
    return keep


def _near(plane, y, x, steps):
    """Whether a boolean plane holds somewhere within so many steps, along the axes, of each pixel."""
    found = plane[y, x]
    if not plane.any():
        return found
    ny, nx = plane.shape
    for j in range(-steps, steps+1):
        for i in range(abs(j)-steps, steps-abs(j)+1):
            row, column = y+j, x+i
            inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
            found = found | (inside & plane[np.clip(row, 0, ny-1), np.clip(column, 0, nx-1)])
    return found


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
    padded = np.pad(image, 1, mode="edge")
    around = padded[y, x+1]+padded[y+2, x+1]+padded[y+1, x]+padded[y+1, x+2]
    centre = image[y, x].astype(float)
    return (centre-around/4)/np.where(centre == 0, 1, centre)


def _sharp_enough(scene, y, x, matched, config):
    """The rule where the mask says sharp: a peak as curved as the PSF's own autocorrelation, nearly."""
    size = len(matched.kernel)
    own = kernel.correlate(np.pad(matched.kernel, 2), matched.kernel)
    middle = np.array([size//2+2])
    wanted = config.sharpness*curvature(own, middle, middle)[0]
    return ((scene.mask[y, x] & ENGINE.sharp) == 0) | (curvature(scene.significance, y, x) > wanted)


def _refined(significance, y, x):
    """Peak positions from parabolas through the peak and its neighbours, within half a pixel."""
    padded = np.pad(significance, 1, mode="edge")
    shifts = []
    for before, after in (((y+1, x), (y+1, x+2)), ((y, x+1), (y+2, x+1))):
        a, c, b = padded[before].astype(float), padded[y+1, x+1].astype(float), padded[after].astype(float)
        bend = 2*c-a-b
        shifts.append(np.clip(np.where(bend > 0, 0.5*(b-a)/np.where(bend > 0, bend, 1), 0), -0.5, 0.5))
    return x+shifts[0], y+shifts[1]


def _with_hidden(peaks, scene, matched, config):
    """One source for each star whose centre is masked, at the middle of the blob, instead of the peaks on its rim.

    Saturated pixels hide a star's centre; so may other compact blobs of masked pixels, where the light around them is
    brighter in their middle than at any peak nearby.
    """
    label, count = ndimage.label((scene.root == 0) | (scene.mask & ENGINE.saturated > 0), structure=np.ones((3, 3)))
    if not count:
        return peaks
    number = np.arange(1, count+1)
    area = ndimage.sum_labels(np.ones(label.shape, np.float32), label, number)
    saturated = ndimage.maximum(scene.mask & ENGINE.saturated, label, number) > 0
    sides = np.array([[cut.stop-cut.start for cut in box] for box in ndimage.find_objects(label)])
    compact = (area > COMPACT*sides.prod(axis=1)) & (sides.max(axis=1) <= LARGEST_BLOB)
    centre = np.array(ndimage.center_of_mass(label > 0, label, number))
    at = tuple(np.clip(np.round(centre).astype(int), 0, np.array(label.shape)-1).T)
    height = scene.significance[at]
    blob = (area >= SMALLEST_BLOB) & (height > config.threshold) & (saturated | compact)
    # a blob's rim is steep and its wings noisy: peaks within its radius and a PSF core belong to it
    reach = np.sqrt(area/np.pi)+3
    rim = np.zeros(len(peaks), bool)
    for k, near in zip(np.flatnonzero(blob), _around(peaks, centre[blob], reach[blob])):
        top = (peaks.flux[near]/matched.error[at[0][k], at[1][k]]).max(initial=0)
        blob[k] = saturated[k] or height[k] > top
        rim[near] |= blob[k]
    kept, flux = peaks.subset(~rim), height[blob].astype(float)*matched.error[at][blob]
    return Peaks(np.r_[kept.x, centre[blob, 1]], np.r_[kept.y, centre[blob, 0]], np.r_[kept.flux, flux],
                 np.r_[kept.bright, np.ones(len(flux), bool)])


def _around(peaks, centre, reach):
    """Lists of the peaks within reach of each centre (y, x)."""
    if not len(peaks) or not len(centre):
        return [[] for _ in centre]
    return cKDTree(np.c_[peaks.y, peaks.x]).query_ball_point(centre, reach)


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
    if not len(x) or not len(peaks) or separation <= 0:
        return np.ones(len(peaks), bool)
    distance, _ = cKDTree(np.c_[x, y]).query(np.c_[peaks.x, peaks.y], distance_upper_bound=separation)
    return ~np.isfinite(distance)
