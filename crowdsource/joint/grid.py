"""The grid of reference positions on which the evidence of all images is added, and new stars are looked for."""
from dataclasses import dataclass

import numpy as np

FINE = 2.2
"""Where the best image's FWHM is fewer reference pixels than this, the grid has two points in each of them."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Points of the reference: u = u0 + column/steps, v = v0 + row/steps.

    Attributes
    ----------
    u0, v0 : float
        Reference position of the first, pixels.
    shape : tuple of int
        (nv, nu).
    steps : int
        Points in a pixel.
    """

    u0: float
    v0: float
    shape: tuple
    steps: int = 1

    @classmethod
    def around(cls, frames, shapes, fwhm):
        """The grid that holds what all images show.

        Parameters
        ----------
        frames : sequence of Frame
        shapes : sequence of tuple of int
            (ny, nx) of the images.
        fwhm : float
            Of the best image, reference pixels.
        """
        corners = []
        for frame, (ny, nx) in zip(frames, shapes):
            x, y = (g.ravel() for g in np.meshgrid(np.linspace(-0.5, nx-0.5, 5), np.linspace(-0.5, ny-0.5, 5)))
            corners.append(np.stack(frame.inverse(x, y)))
        low = np.floor(np.min([c.min(axis=1) for c in corners], axis=0))
        high = np.ceil(np.max([c.max(axis=1) for c in corners], axis=0))
        steps = 2 if fwhm < FINE else 1
        nu, nv = (int(n)*steps+1 for n in high-low)
        return cls(u0=float(low[0]), v0=float(low[1]), shape=(nv, nu), steps=steps)

    @property
    def middle(self):
        """Its middle, a reference position u, v."""
        return self.positions((self.shape[0]-1)/2, (self.shape[1]-1)/2)

    def positions(self, row, column):
        """Reference positions u, v of points."""
        return self.u0+np.asarray(column)/self.steps, self.v0+np.asarray(row)/self.steps

    def points(self, u, v):
        """Points (row, column) of reference positions, not rounded."""
        return (np.asarray(v)-self.v0)*self.steps, (np.asarray(u)-self.u0)*self.steps

    def __call__(self, frame, rows):
        """Positions x, y on an image of the points of some rows, each of shape (len(rows), nu)."""
        return frame.on_grid(*self.positions(np.arange(rows.start, rows.stop), np.arange(self.shape[1])))
