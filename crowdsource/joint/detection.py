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
    """What all images say of stars at the points of a grid.

    Parameters
    ----------
    grid : crowdsource.joint.grid.Grid
    config : crowdsource.config.DetectConfig
    """

    def __init__(self, grid, config):
        self.grid, self.config = grid, config
        self._sums = {name: np.zeros(grid.shape, np.float32) for name in ("light", "known", "model", "doubt", "saturated")}

    def add(self, epoch):
        """Add what an image says, with the model of its stars."""
        state, scale = epoch.state, np.float32(epoch.scale)
        matched = matched_filter(state)
        known, light = matched.error**-2, matched.significance(state.residual)/matched.error
        light = ndimage.spline_filter(light, ORDER, output=np.float32, mode="constant")
        maps = {"light": (light, ORDER, scale), "known": (known, 1, scale**2),
                "model": (matched.significance(state.model)/matched.error, 1, scale)}
        if state.model_error is not None:
            # what the uncertainty of the PSF leaves may be alike on all images
            maps["doubt"] = np.float32(coherence(matched.kernel))*state.model_error*known, 1, scale
        saturated = state.image.mask & ENGINE.saturated > 0
        if saturated.any():
            near = ndimage.maximum_filter(saturated, 2*self.config.saturated_reach+1)
            maps["saturated"] = np.where(near, known, np.float32(0)), 1, scale**2
        for rows in bands(self.grid.shape[0]):
            x, y = self.grid(epoch.frame, rows)
            for name, (values, order, factor) in maps.items():
                self._sums[name][rows] += factor*ndimage.map_coordinates(values, (y, x), order=order, prefilter=False,
                                                                         mode="constant", output=np.float32)

    def significance(self):
        """Of the residuals of all images at each point, and the error of a star's flux there, infinite where no image tells."""
        light, known = self._sums["light"], self._sums["known"]
        some = known > LEAST_KNOWN*np.median(known[known > 0])
        root = np.sqrt(np.where(some, known, 1))
        return np.where(some, light/root, 0).astype(np.float32), np.where(some, 1/root, np.inf).astype(np.float32)

    def at(self, name, row, column):
        """A sum at some points, float64."""
        return self._sums[name][row, column].astype(float)


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
    evidence = Evidence(state.grid, c)
    for epoch in state.epochs:
        evidence.add(state.opened(epoch))
    significance, error = evidence.significance()
    row, column = local_maxima(significance, c.candidate)
    height, error = (v[row, column].astype(float) for v in (significance, error))
    of_model = np.maximum(evidence.at("model", row, column)*error, 0)
    saturated = evidence.at("saturated", row, column)*error**2 > MOSTLY
    ratio = np.where(saturated, max(c.blend_ratio, c.saturated_ratio), c.blend_ratio)
    keep = (height > c.threshold) | (of_model > c.candidate)
    keep &= (height > ratio*of_model) & (height*error > detection.MODEL_LIMIT*evidence.at("doubt", row, column)*error**2)
    row, column, height, error = row[keep], column[keep], height[keep], error[keep]
    column, row = detection.refined(significance, row, column)
    u, v = state.grid.positions(row, column)
    peaks = detection.Peaks(u, v, height*error, np.zeros(len(u), bool))
    apart = detection.apart(peaks, state.stars.x, state.stars.y, c.min_separation)
    order = np.flatnonzero(apart)[np.argsort(-peaks.flux[apart], kind="stable")]
    return Sources.new(u[order], v[order], peaks.flux[order], error[order], passno=state.passno)
