"""A profile made of stamps on a grid of positions over an image, interpolated between them."""
from dataclasses import dataclass, replace

import numpy as np

from ...core import linear
from ..grid import area_width, basis, middle, middle_samples, resampled, through_nodes
from .base import Profile
from .stamp import recentred, validated

KEPT = 1e-5
"""Modes that are smaller than this at all nodes, in units of the peak, are left out."""


@dataclass(frozen=True, eq=False)
class GridProfile(Profile):
    """Stamps at the nodes of a grid, bilinear between them, as combinations of a few modes.

    Attributes
    ----------
    samples : ndarray, shape (k, m, m), float64
        The mean stamp, then the modes by which the nodes differ from it; odd side, the centroid of the star in the middle.
    weights : ndarray, shape (rows, columns, k), float64
        Share of each in the stamp of each node, 1 for the mean.
    oversampling : int
        Samples in a pixel; each is an integral over a whole pixel.
    shape : tuple of int
        (ny, nx) of the image.
    nodes : tuple of ndarray
        Positions of the rows in y and of the columns in x, pixels, growing; equal steps from corner to corner when not given.
    """

    samples: np.ndarray
    weights: np.ndarray
    oversampling: int
    shape: tuple
    nodes: tuple = None
    order = 0

    @classmethod
    def from_nodes(cls, stamps, shape, oversampling=1, norm_size=59, nodes=None):
        """From a stamp for each node; each is validated, centred as by `StampProfile.from_stamp`, and normalised.

        Parameters
        ----------
        stamps : ndarray, shape (rows, columns, m, m)
        shape : tuple of int
        oversampling : int
        norm_size : int
            Each sums to 1 over this box, pixels.
        nodes : tuple of ndarray, optional
            As the attribute.

        Raises
        ------
        InputError
            When a stamp is not square and odd-sided, not finite, or its sum is not positive.
        """
        rows, columns, side, _ = np.shape(stamps)
        ready = np.array([recentred(validated(s), oversampling) for s in np.reshape(stamps, (-1, side, side))])
        box = min(norm_size, 2*(side//2//oversampling)+1)
        ready /= middle(ready, box, oversampling).sum(axis=(1, 2))[:, None, None]
        mean = ready.mean(axis=0)
        difference = (ready-mean).reshape(len(ready), -1)
        # there are far fewer nodes than pixels: the eigenvectors of the products between nodes are cheap; strongest first
        directions = linear.symmetric_modes(linear.products(difference, difference))[1][:, ::-1]
        modes = linear.matmul(directions.T, difference)
        # the largest pixel that a mode makes in any node
        keep = np.abs(directions).max(axis=0)*np.abs(modes).max(axis=1) > KEPT*mean.max()
        weights = np.c_[np.ones(len(ready)), directions[:, keep]]
        samples = np.concatenate([mean[None], modes[keep].reshape(-1, side, side)])
        return cls(samples, weights.reshape(rows, columns, -1), oversampling, tuple(shape), nodes)

    def with_nodes(self, rows, columns):
        """The same profile with its weights at other nodes, taken from splines through those at its own, which need positions.

        More nodes than there are stamps let a smooth variation be followed: between nodes it stays bilinear.

        Parameters
        ----------
        rows, columns : ndarray
            Positions in y and in x, pixels, growing.
        """
        down, across = (through_nodes(own, new) for own, new in zip(self.nodes, (rows, columns)))
        return replace(self, weights=np.einsum("jr,ic,rck->jik", down, across, self.weights), nodes=(rows, columns))

    def factors(self, x, y, core_order):
        """See `Profile.factors`: those of mean and modes, then those of the core's polynomial."""
        share = self._shares(x, y)
        return share if core_order is None else np.hstack([share, basis(x, y, self.shape, core_order)])

    def joined(self, planes, core):
        """See `Profile.joined`; in the order of `factors`."""
        return planes if core is None else np.concatenate([planes, core])

    def _shares(self, x, y):
        """Weights of the modes at positions, bilinear between nodes; positions beyond the nodes take the values at the last."""
        at = []
        for k, (length, count) in enumerate(zip(self.shape, self.weights.shape)):
            position = np.atleast_1d(np.asarray((y, x)[k], dtype=np.float64))
            if self.nodes is None:
                step = np.clip(position/max(1, length-1), 0, 1)*(count-1)
            else:
                step = np.interp(position, self.nodes[k], np.arange(count))
            low = np.clip(step.astype(int), 0, max(0, count-2))
            at.append((low, np.minimum(low+1, count-1), (step-low)[:, None]))
        (top, bottom, v), (left, right, u) = at
        w = self.weights
        return (1-v)*((1-u)*w[top, left]+u*w[top, right])+v*((1-u)*w[bottom, left]+u*w[bottom, right])

    def planes(self, size, oversampling, norm_size):
        """See `Profile.planes`: the mean and the modes."""
        fine = np.array([resampled(s, self.oversampling, oversampling) for s in self.samples])
        want = max(size, norm_size)//2*oversampling
        edge = max(0, want-fine.shape[-1]//2)
        fine = np.pad(fine, ((0, 0), (edge, edge), (edge, edge)))
        return middle_samples(fine/middle(fine[0], norm_size, oversampling).sum(), size, oversampling)

    @property
    def width(self):
        """See `Profile.width`: that of the mean stamp."""
        return area_width(self.samples[0])/self.oversampling
