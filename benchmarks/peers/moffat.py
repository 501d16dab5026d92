"""Moffat stars integrated over pixels, rendered in numpy: the exact PSF of the comparison fields.

Nothing of the fit's own rendering is used, so that an error there shows in the scores.
"""
from dataclasses import dataclass

import numpy as np

LEAST_RADIUS = 25
"""Stars are rendered out to this distance from their pixel at least, pixels."""
CLOSE, MIDDLE = 8, 14
"""Pixels nearer to the centre are integrated with 5 x 5 and with 3 x 3 Gauss-Legendre points, those beyond with 2 x 2; pixels."""
BATCH, HELD = 40_000, 4_000_000
"""Values of stamps that are computed together, which should stay in the processor's cache, and that are held at once."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Moffat profiles of n stars: ``norm (1 + xx dx^2 + xy dx dy + yy dy^2)^-beta`` for unit flux.

    Attributes
    ----------
    xx, xy, yy, norm : ndarray, shape (n,)
    beta : float
    """

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    norm: np.ndarray
    beta: float

    @classmethod
    def of(cls, alpha, g1, g2, beta):
        """Profiles of the scale lengths alpha (pixels), sheared by (g1, g2), which preserves the area."""
        alpha, g1, g2 = (np.asarray(v, dtype=np.float64) for v in (alpha, g1, g2))
        scale = 1/(alpha**2*(1-g1**2-g2**2))
        return cls(scale*((1-g1)**2+g2**2), -4*scale*g2, scale*((1+g1)**2+g2**2), (beta-1)/(np.pi*alpha**2), beta)

    def subset(self, which):
        """The profiles of some of the stars."""
        return Profile(self.xx[which], self.xy[which], self.yy[which], self.norm[which], self.beta)

    def integrated(self, dx, dy, points):
        """Integrals over pixels by Gauss-Legendre quadrature.

        Parameters
        ----------
        dx, dy : ndarray, shape (n, columns) and (n, rows)
            Offsets of the pixels' centres from each star, pixels.
        points : int
            Points along each axis.

        Returns
        -------
        ndarray, shape (n, rows, columns)
        """
        at, weight = (v/2 for v in np.polynomial.legendre.leggauss(points))
        total = np.zeros((len(dx), dy.shape[1], dx.shape[1]))
        for p, w in zip(at, weight):
            x = (dx+p)[:, None, :]
            own, mixed = 1+self.xx[:, None, None]*x*x, self.xy[:, None, None]*x
            for q, v in zip(at, weight):
                y = (dy+q)[:, :, None]
                radius = mixed*y
                radius += own
                radius += self.yy[:, None, None]*y*y
                total += w*v*self._power(radius)
        return total*self.norm[:, None, None]

    def _power(self, radius):
        """radius^-beta, by multiplications where that is possible."""
        if self.beta != 3:
            return radius**-self.beta
        cube = radius*radius
        cube *= radius
        return np.divide(1, cube, out=cube)

    def stamps(self, dx, dy):
        """Integrals over pixels of square stamps around the stars, with more points near the centre; as `integrated`."""
        side = dx.shape[1]
        parts = np.array_split(np.arange(len(dx)), max(1, len(dx)*side**2//BATCH))
        return np.concatenate([self.subset(p)._graded(dx[p], dy[p], side//2) for p in parts])

    def _graded(self, dx, dy, middle):
        """Stamps of a few stars."""
        out = self.integrated(dx, dy, 2)
        squared = dy[:, :, None]**2+dx[:, None, :]**2
        for reach, points in ((MIDDLE, 3), (CLOSE, 5)):
            inner = np.s_[max(0, middle-reach):middle+reach+1]
            near = squared[:, inner, inner] < reach**2
            out[:, inner, inner][near] = self.integrated(dx[:, inner], dy[:, inner], points)[near]
        return out


def offsets(x, y, reach):
    """Pixels of stars, and offsets of the columns and rows around these from the stars.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    reach : int
        Half the side of the stamps, pixels.

    Returns
    -------
    px, py : ndarray of int, shape (n,)
    dx, dy : ndarray, shape (n, 2 reach + 1)
    """
    px, py = (np.round(v).astype(int) for v in (x, y))
    step = np.arange(-reach, reach+1)
    return px, py, (px-x)[:, None]+step, (py-y)[:, None]+step


def render(shape, x, y, flux, profile, radius):
    """An image of stars.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    x, y, flux : ndarray, shape (n,)
    profile : Profile
    radius : ndarray of int, shape (n,)
        How far each is rendered along both axes, pixels.

    Returns
    -------
    ndarray, shape (ny, nx), float64
    """
    margin = int(radius.max(initial=0))
    outside = int(np.ceil(max(-x.min(initial=0), -y.min(initial=0), (x-shape[1]).max(initial=0), (y-shape[0]).max(initial=0))))+1
    border = margin+outside
    image = np.zeros((shape[0]+2*border, shape[1]+2*border))
    for reach in np.unique(radius):
        stars = np.flatnonzero(radius == reach)
        for some in np.array_split(stars, -(-len(stars)*(2*reach+1)**2//HELD)):
            px, py, dx, dy = offsets(x[some], y[some], reach)
            light = profile.subset(some).stamps(dx, dy)*flux[some][:, None, None]
            for column, row, stamp in zip(px+border-reach, py+border-reach, light):
                image[row:row+2*reach+1, column:column+2*reach+1] += stamp
    return image[border:border+shape[0], border:border+shape[1]]
