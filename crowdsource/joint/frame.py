"""Frames: where the places of a reference image lie on another image."""
from dataclasses import dataclass, replace

import numpy as np

from ..core import functions, linear

CLIPPED = 4.
"""Pairs farther off than so many robust sigma count no more."""
ROUNDS = 8
"""Fits of a frame, each without the pairs that the one before has left off."""
NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """A polynomial that maps positions of the reference to those of an image.

    Attributes
    ----------
    coefficients : ndarray, shape (2, n)
        Of x and y, by `powers`.
    degree : int
    middle : tuple of float
        Reference position at which the polynomial is expanded, pixels.
    half : float
        Length by which distances from there are divided, pixels.
    """

    coefficients: np.ndarray
    degree: int
    middle: tuple = (0., 0.)
    half: float = 1.

    @classmethod
    def identity(cls):
        """The frame of the reference itself."""
        return cls(coefficients=np.array([[0., 1., 0.], [0., 0., 1.]]), degree=1)

    @classmethod
    def similarity(cls, scale, angle, shift, mirrored=False):
        """A frame of one scale and angle: x + iy = shift + scale exp(i angle) (u + iv), with v reversed where it is mirrored."""
        return cls.turned(scale*complex(functions.cos(angle), functions.sin(angle)), shift, mirrored)

    @classmethod
    def turned(cls, factor, shift, mirrored=False):
        """A `similarity` whose scale and angle are those of a complex number."""
        a, b, sign = factor.real, factor.imag, -1. if mirrored else 1.
        return cls(coefficients=np.array([[shift[0], a, -sign*b], [shift[1], b, sign*a]]), degree=1)

    @classmethod
    def fitted(cls, u, v, x, y, degree, weight=None):
        """The polynomial that fits pairs of positions best, those left out that do not agree with the others.

        Parameters
        ----------
        u, v : ndarray, shape (n,)
            In the reference, pixels.
        x, y : ndarray, shape (n,)
            In the image, pixels.
        degree : int
        weight : ndarray, shape (n,), optional
            Inverse variances, equal where not given.

        Returns
        -------
        frame : Frame
        used : ndarray of bool, shape (n,)
        """
        middle = float(np.mean(u)), float(np.mean(v))
        half = max(1., float(np.abs(np.r_[u-middle[0], v-middle[1]]).max(initial=1.)))
        terms = powers((u-middle[0])/half, (v-middle[1])/half, degree)
        coefficients, used = _agreeing(terms, np.c_[x, y], np.ones(len(u)) if weight is None else np.sqrt(weight))
        return cls(coefficients=coefficients, degree=degree, middle=middle, half=half), used

    def moved(self, u, v, shift, weight):
        """The frame moved by what shifts of stars on the image say, those left out that do not agree with the others.

        Parameters
        ----------
        u, v : ndarray, shape (n,)
            In the reference, pixels.
        shift : ndarray, shape (n, 2)
            In the image, pixels.
        weight : ndarray, shape (n,)
            Their inverse variances.
        """
        change, _ = _agreeing(powers(*self._scaled(u, v), self.degree), shift, np.sqrt(weight))
        return replace(self, coefficients=self.coefficients+change)

    def __call__(self, u, v):
        """Positions x, y on the image, pixels."""
        return tuple(linear.products(self.coefficients, powers(*self._scaled(u, v), self.degree)))

    def on_grid(self, u, v):
        """Positions x, y on the image of a grid of reference positions, each of shape (len(v), len(u)); fast for many.

        Parameters
        ----------
        u, v : ndarray
            Of the columns and of the rows, pixels.
        """
        (su, sv), terms = self._scaled(u, v), exponents(self.degree)
        pu, pv = (np.stack(_ladder(c, self.degree), axis=1) for c in (su, sv))
        out = []
        for line in self.coefficients:
            square = np.zeros((self.degree+1, self.degree+1))
            for value, (a, b) in zip(line, terms):
                square[b, a] = value
            out.append(linear.matmul(linear.matmul(pv, square), pu.T))
        return tuple(out)

    def jacobian(self, u, v):
        """Derivatives of x and y by u and v, shape (n, 2, 2): [[dx/du, dx/dv], [dy/du, dy/dv]]."""
        by = [linear.products(self.coefficients, derivative)/self.half for derivative in slopes(*self._scaled(u, v), self.degree)]
        return np.stack(by, axis=-1).transpose(1, 0, 2)

    def inverse(self, x, y):
        """Reference positions u, v of positions on the image, by Newton's method."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        u, v = (np.full(x.shape, m) for m in self.middle)
        for _ in range(NEWTON_STEPS):
            nx, ny = self(u, v)
            step = linear.solve(self.jacobian(u, v), np.stack([x-nx, y-ny], axis=-1)[..., None])[..., 0]
            u, v = u+step[:, 0], v+step[:, 1]
        return u, v

    @property
    def scale(self):
        """Pixels of the image in one of the reference, in the middle."""
        return float(np.sqrt(abs(linear.determinant(self.jacobian(*(np.array([m]) for m in self.middle))[0]))))

    def _scaled(self, u, v):
        return (np.asarray(u, float)-self.middle[0])/self.half, (np.asarray(v, float)-self.middle[1])/self.half


def _agreeing(terms, values, root):
    """Coefficients, shape (2, k), of a robust fit of terms, shape (n, k), to values, shape (n, 2), and which values it uses."""
    used = np.ones(len(values), bool)
    for _ in range(ROUNDS):
        coefficients = linear.least_squares(terms[used]*root[used, None], values[used]*root[used, None]).T
        off = np.hypot(*(values-linear.products(terms, coefficients)).T)*root
        # half of the distances of two normal coordinates are below 1.1774 sigma
        keep = off <= max(CLIPPED/1.1774*np.median(off[used]), 1e-6*root.max(initial=0))
        if (keep == used).all() or keep.sum() <= 2*terms.shape[1]:
            break
        used = keep
    return coefficients, used


def exponents(degree):
    """Pairs of exponents (of u, of v) of the terms of a polynomial, by ascending degree."""
    return [(total-k, k) for total in range(degree+1) for k in range(total+1)]


def powers(u, v, degree):
    """Terms of a polynomial of two variables, shape (n, (degree+1)(degree+2)/2)."""
    (pu, pv), out = (_ladder(c, degree) for c in (u, v)), np.empty((len(u), len(exponents(degree))))
    for k, (a, b) in enumerate(exponents(degree)):
        np.multiply(pu[a], pv[b], out=out[:, k])
    return out


def slopes(u, v, degree):
    """Derivatives of these terms by u, and by v."""
    (pu, pv), out = (_ladder(c, degree) for c in (u, v)), np.zeros((2, len(u), len(exponents(degree))))
    for k, (a, b) in enumerate(exponents(degree)):
        if a:
            out[0, :, k] = a*pu[a-1]*pv[b]
        if b:
            out[1, :, k] = b*pu[a]*pv[b-1]
    return out


def _ladder(values, degree):
    """Powers of values from 0 to a degree, by multiplication: ten times as fast as by exponents."""
    out = [np.ones(len(values))]
    for _ in range(degree):
        out.append(out[-1]*values)
    return out
