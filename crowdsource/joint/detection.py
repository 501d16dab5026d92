"""Detection on all images at once: the matched filters of all residuals, added as their noise allows.

A star of reference flux F has the flux s F on an image of scale s. The image's matched filter gives the sum n of weight, PSF and
residual, and the information d on a flux there, so that F = sum(s n)/sum(s^2 d), with the inverse of the latter as its variance:
the significance grows as the root of the number of images.
"""
import numpy as np
from scipy import ndimage

from ..core.flags import ENGINE
from ..core.matched_filter import local_maxima
from ..core.tiles import bands
from ..engine import detection
from ..engine.model_error import coherence
from ..engine.sources import Sources
from ..engine.stages import matched_filter

ORDER = 3
"""Of the splines that interpolate the filtered images."""
MOSTLY = 0.5
"""A peak lies near saturated pixels where they are near on images that give more than this share of what is known."""
LEAST_KNOWN = 1e-3
"""Where less than this share of the typical information on a flux is known no stars are looked for."""


class Evidence:
    """What the residuals of all images say of stars at the points of a grid.

    Parameters
    ----------
    grid : crowdsource.joint.grid.Grid
    """

    def __init__(self, grid):
        self.grid = grid
        self._light, self._known = np.zeros((2, *grid.shape), np.float32)

    def add(self, epoch):
        """Add what an image says, with the model of its stars."""
        state, scale = epoch.state, np.float32(epoch.scale)
        matched = matched_filter(state)
        known, light = information_of(matched), matched.significance(state.residual)/matched.error
        light = ndimage.spline_filter(light, ORDER, output=np.float32, mode="constant")
        for rows in bands(self.grid.shape[0]):
            x, y = self.grid(epoch.frame, rows)
            for total, values, order, factor in ((self._light, light, ORDER, scale), (self._known, known, 1, scale**2)):
                total[rows] += factor*ndimage.map_coordinates(values, (y, x), order=order, prefilter=False, mode="constant",
                                                              output=np.float32)

    def significance(self):
        """Of the residuals of all images at each point, and the error of a star's flux there, infinite where no image tells."""
        some = self._known > LEAST_KNOWN*np.median(self._known[self._known > 0])
        root = np.sqrt(np.where(some, self._known, 1))
        return np.where(some, self._light/root, 0).astype(np.float32), np.where(some, 1/root, np.inf).astype(np.float32)


def around_peaks(epoch, u, v, reach):
    """What an image says of the surroundings of peaks.

    Parameters
    ----------
    epoch : crowdsource.joint.state.Epoch
    u, v : ndarray, shape (n,)
        Of the peaks, in the reference.
    reach : int
        Saturated pixels are near within so many pixels.

    Returns
    -------
    ndarray, shape (3, n)
        What its matched filter gives of the model, what the uncertainty of its PSF may leave, and what it tells of fluxes near
        saturated pixels: each with the scale of the image, for sums over images.
    """
    state, scale, matched = epoch.state, epoch.scale, matched_filter(epoch.state)
    x, y = epoch.frame(u, v)
    known, out = information_of(matched), np.zeros((3, len(u)))
    pixels = Corners(x, y, state.image.shape)
    out[0] = scale*pixels.mean(lambda row, column: matched.significance_at(state.model, row, column)/matched.error[row, column])
    if state.model_error is not None:
        # it may be alike on all images
        out[1] = scale*coherence(matched.kernel)*pixels.mean(lambda *at: state.model_error[at]*known[at])
    saturated = state.image.mask & ENGINE.saturated > 0
    if saturated.any():
        near = ndimage.maximum_filter(saturated, 2*reach+1)
        out[2] = scale**2*pixels.mean(lambda *at: np.where(near[at], known[at], 0))
    return out


def information_of(matched):
    """Inverse variance of the flux of an isolated star at each pixel by a matched filter, shape (ny, nx), float32."""
    # NumPy's powers of floats depend on the processor; a double rounds as the exact number would
    return (1/np.square(matched.error, dtype=np.float64)).astype(np.float32)


class Corners:
    """The four pixels around each of some places on an image; places off the image count as 0.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    shape : tuple of int
        (ny, nx) of the image.
    """

    def __init__(self, x, y, shape):
        ny, nx = shape
        self.on = np.flatnonzero((x >= 0) & (x <= nx-1) & (y >= 0) & (y <= ny-1))
        self.number, x, y = len(x), x[self.on], y[self.on]
        column, row = np.minimum(x.astype(int), max(0, nx-2)), np.minimum(y.astype(int), max(0, ny-2))
        self.pixels = [(np.minimum(row+j, ny-1), np.minimum(column+i, nx-1), (1-abs(y-row-j))*(1-abs(x-column-i)))
                       for j in (0, 1) for i in (0, 1)]

    def mean(self, values):
        """Linear interpolation of the values of pixels, which a function of their rows and columns gives; shape (n,)."""
        out = np.zeros(self.number)
        for row, column, weight in self.pixels:
            out[self.on] += weight*values(row, column)
        return out


def find_stars(state):
    """Candidates at the peaks of the evidence of all images.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState

    Returns
    -------
    crowdsource.engine.sources.Sources
        Places in the reference, and fluxes and errors there.
    """
    c = state.config.detect
    evidence = Evidence(state.grid)
    for epoch in state.epochs:
        evidence.add(state.opened(epoch))
    significance, error = evidence.significance()
    row, column = local_maxima(significance, c.candidate)
    height, error = (v[row, column].astype(float) for v in (significance, error))
    u, v = state.grid.positions(row, column)
    model, doubt, near_saturated = sum(state.over(lambda epoch: around_peaks(epoch, u, v, c.saturated_reach)))
    of_model, saturated = np.maximum(model*error, 0), near_saturated*error**2 > MOSTLY
    ratio = np.where(saturated, max(c.blend_ratio, c.saturated_ratio), c.blend_ratio)
    keep = (height > c.threshold) | (of_model > c.candidate)
    keep &= (height > ratio*of_model) & (height*error > detection.MODEL_LIMIT*doubt*error**2)
    row, column, height, error = row[keep], column[keep], height[keep], error[keep]
    column, row = detection.refined(significance, row, column)
    u, v = state.grid.positions(row, column)
    peaks = detection.Peaks(u, v, height*error, np.zeros(len(u), bool))
    apart = detection.apart(peaks, state.stars.x, state.stars.y, c.min_separation)
    order = np.flatnonzero(apart)[np.argsort(-peaks.flux[apart], kind="stable")]
    return Sources.new(u[order], v[order], peaks.flux[order], error[order], passno=state.passno)
