"""Detection on all images at once: the matched filters of all residuals, added as their noise allows.

A star of reference flux F has the flux s F on an image of scale s. The image's matched filter gives the sum n of weight, PSF and residual,
and the information d on a flux there, so that F = sum(s n)/sum(s^2 d), with the inverse of the latter as its variance: the
significance grows as the root of the number of images.
"""
import numpy as np
from scipy import ndimage

from ..core.flags import ENGINE
from ..core.matched_filter import local_maxima
from ..core.tiles import bands
from ..cython_ext import detect as kernel
from ..engine import detection
from ..engine.model_error import coherence
from ..engine.sources import Sources
from ..engine.stages import matched_filter

ORDER = 3
"""Of the splines that interpolate the filtered images."""
LEAST_KNOWN = 1e-3
"""Where less than this share of the typical information on a flux is known no stars are looked for."""


def with_filter(epoch):
    """The epoch with the matched filter of its present PSF, and what that gives.

    Returns
    -------
    matched : crowdsource.core.matched_filter.MatchedFilter
    weighted : ndarray, shape (ny, nx), float32
        The sum n of each pixel.
    """
    matched = matched_filter(epoch.state)
    return matched, matched.significance(epoch.state.residual)/matched.error


class Evidence:
    """What all images say of stars at the points of a grid.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState
        With the models of its stars on all images.

    Attributes
    ----------
    significance, error : ndarray, shape (nv, nu), float32
        Of the residuals; and of a star's reference flux, infinite where no image tells.
    """

    def __init__(self, state):
        self.state, grid = state, state.grid
        self.filters = list(state.run(with_filter, state.epochs))
        total, information = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
        for epoch, (matched, weighted) in zip(state.epochs, self.filters):
            spline = ndimage.spline_filter(weighted, ORDER, output=np.float32, mode="constant")
            known = matched.error**-2
            for rows in bands(grid.shape[0]):
                x, y = grid(epoch.frame, rows)
                total[rows] += np.float32(epoch.scale)*ndimage.map_coordinates(spline, (y, x), order=ORDER, prefilter=False,
                                                                               mode="constant", output=np.float32)
                information[rows] += np.float32(epoch.scale**2)*ndimage.map_coordinates(known, (y, x), order=1, mode="constant",
                                                                                        output=np.float32)
        some = information > LEAST_KNOWN*np.median(information[information > 0])
        self.error = np.where(some, 1/np.sqrt(np.where(some, information, 1)), np.inf).astype(np.float32)
        self.significance = np.where(some, total/np.sqrt(np.where(some, information, 1)), 0).astype(np.float32)

    def of_images(self, u, v, function):
        """Sum over images of what a function gives for the pixels nearest to reference positions; 0 off an image.

        Parameters
        ----------
        u, v : ndarray, shape (n,)
        function : callable
            Called as ``function(epoch, matched, y, x)``.

        Returns
        -------
        ndarray, shape (n,)
        """
        total = np.zeros(len(u))
        for epoch, (matched, _) in zip(self.state.epochs, self.filters):
            x, y = (np.round(c).astype(int) for c in epoch.frame(u, v))
            ny, nx = epoch.image.shape
            inside = np.flatnonzero((x >= 0) & (y >= 0) & (x < nx) & (y < ny))
            total[inside] += function(epoch, matched, y[inside], x[inside])
        return total


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
    c, evidence = state.config.detect, Evidence(state)
    row, column = local_maxima(evidence.significance, c.candidate)
    u, v = state.grid.positions(row, column)
    height = evidence.significance[row, column].astype(float)
    error = evidence.error[row, column].astype(float)
    of_model = np.maximum(evidence.of_images(u, v, light_of_model)*error, 0)
    keep = (height > c.threshold) | (of_model > c.candidate)
    keep &= height > least_ratio(evidence, u, v, of_model, c)*of_model
    keep &= height*error > detection.MODEL_LIMIT*evidence.of_images(u, v, error_of_model)*error**2
    row, column, height, error = row[keep], column[keep], height[keep], error[keep]
    column, row = detection.refined(evidence.significance, row, column)
    u, v = state.grid.positions(row, column)
    peaks = detection.Peaks(u, v, height*error, np.zeros(len(u), bool))
    apart = detection.apart(peaks, state.stars.x, state.stars.y, c.min_separation)
    order = np.flatnonzero(apart)[np.argsort(-peaks.flux[apart], kind="stable")]
    return Sources.new(u[order], v[order], peaks.flux[order], error[order], passno=state.passno)


def light_of_model(epoch, matched, y, x):
    """The sum of weight, PSF and model, in reference units."""
    return epoch.scale*matched.significance_at(epoch.state.model, y, x)/matched.error[y, x]


def error_of_model(epoch, matched, y, x):
    """The same of what the uncertainty of the PSF leaves: it may be alike on all images."""
    if epoch.state.model_error is None:
        return 0.
    return epoch.scale*coherence(matched.kernel)*epoch.state.model_error[y, x]/matched.error[y, x]**2


def least_ratio(evidence, u, v, of_model, config):
    """Smallest accepted ratio of a peak's significance to the model's, where most of what is known comes from saturated surroundings
    a larger one; shape (n,)."""
    def near(bit):
        def share(epoch, matched, y, x):
            where = kernel.bits_near(epoch.image.mask, bit, y, x, config.saturated_reach)
            return where*epoch.scale**2/matched.error[y, x]**2
        return share

    known = evidence.of_images(u, v, lambda epoch, matched, y, x: epoch.scale**2/matched.error[y, x]**2)
    saturated = evidence.of_images(u, v, near(ENGINE.saturated)) > 0.5*known
    return np.where(saturated, max(config.blend_ratio, config.saturated_ratio), config.blend_ratio)
