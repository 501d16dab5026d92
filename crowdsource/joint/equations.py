"""The normal equations that all images of a band share: one flux and one position of each star.

An image alone knows the changes of flux f and of flux times shift (f dx, f dy) of each of its sources. In the reference a star
has the flux F, a shift there is multiplied by the Jacobian J of the image's frame, and on an image of scale s a constant star has
f = s F. Each block of an image's normal equations is therefore multiplied by diag(s, (f/F) J) from both sides, and those of all
images are added: what many images say is one matrix, of the size of that of one image.
"""
from dataclasses import dataclass, replace

import numpy as np

from ..core import linear
from ..cython_ext import shared as kernel
from ..cython_ext import solve
from ..engine.solvers import NormalEquations

FIXED = 1e30
"""Precision of what stays as it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageEquations:
    """What one image says, at the fluxes and positions of its model.

    Attributes
    ----------
    normal : crowdsource.engine.solvers.NormalEquations
        Of flux, and flux times shift in x and y.
    rows : ndarray of int, shape (n,)
        Row in the common list, stars then candidates, of each source.
    flux : ndarray, shape (n,)
        Expected on this image, which makes shifts of the derivative terms.
    jacobian : ndarray, shape (n, 2, 2)
        Of the frame.
    """

    normal: NormalEquations
    rows: np.ndarray
    flux: np.ndarray
    jacobian: np.ndarray

    def factors(self, scale, mean):
        """What turns changes of reference parameters into those of the image, shape (n, 3, 3).

        Parameters
        ----------
        scale : float
            Of the image.
        mean : ndarray, shape (n,)
            Positive fluxes in the reference.
        """
        out = np.zeros((len(self.rows), 3, 3))
        out[:, 0, 0] = scale
        out[:, 1:, 1:] = (self.flux/mean)[:, None, None]*self.jacobian
        return out

    def with_own_fluxes(self, own, spread, config):
        """The same equations once each star has a flux of its own on this image, as far as it is likely to have one.

        Parameters
        ----------
        own : ndarray, shape (n,)
            Present flux beyond the common one, image units.
        spread : ndarray, shape (n,)
            One sigma of it, image units; 0 keeps it as it is.
        config : crowdsource.config.SolveConfig

        Returns
        -------
        ImageEquations
            With the right-hand side of the residual that is left.
        change : ndarray, shape (n,)
            Of `own`.
        """
        normal = self.normal
        precision = np.where(spread > 0, 1/np.where(spread > 0, spread, 1)**2, FIXED)
        diagonal, right = normal.diagonal.reshape(-1, 9).copy(), np.zeros_like(normal.rhs)
        matrix = normal.flat_blocks(), normal.indptr, normal.indices
        diagonal[:, 0] += precision
        right[:, 0] = normal.rhs[:, 0]-np.where(precision < FIXED, own*precision, 0)
        change, *_ = solve.conjugate_gradients(diagonal, *matrix, right, 1, config.search_tolerance, config.max_iterations)
        left = normal.rhs-solve.product(normal.diagonal.reshape(-1, 9), *matrix, change)
        return replace(self, normal=replace(normal, rhs=left)), change[:, 0]

    def alone(self):
        """What the image would change of each source with all others as they are.

        Returns
        -------
        flux, error : ndarray, shape (n,)
            Change of the flux at a fixed position, and the error of that; infinite where the image tells nothing.
        shift : ndarray, shape (n, 2)
            Pixels of the image.
        variance : ndarray, shape (n,)
            Of each coordinate; infinite where the image tells nothing.
        """
        own, right = self.normal.diagonal, self.normal.rhs
        known = own[:, 0, 0] > 0
        per_flux = np.where(known, 1/np.where(known, own[:, 0, 0], 1), 0)
        mixed = own[:, 1:, 0]
        curvature = own[:, 1:, 1:]-np.einsum("ni,nj->nij", mixed, mixed)*per_flux[:, None, None]
        located = known & (linear.determinant(curvature) > 0) & (self.flux > 0)
        inverse = linear.inverse(np.where(located[:, None, None], curvature, np.eye(2)))
        per = 1/np.where(located, self.flux, 1)
        shift = np.einsum("nij,nj->ni", inverse, right[:, 1:]-mixed*(right[:, 0]*per_flux)[:, None])*per[:, None]
        variance = np.trace(inverse, axis1=1, axis2=2)/2*per**2
        return (right[:, 0]*per_flux, np.where(known, np.sqrt(per_flux), np.inf), np.where(located[:, None], shift, 0),
                np.where(located, variance, np.inf))


class SharedEquations:
    """The sum of the normal equations of images, in reference parameters.

    Parameters
    ----------
    mean : ndarray, shape (n,)
        Positive fluxes of stars, then candidates, by which shifts are multiplied.
    """

    def __init__(self, mean):
        n = len(mean)
        self.mean, self.shown = mean, np.zeros(n, int)
        self._diagonal, self._rhs = np.zeros((n, 3, 3)), np.zeros((n, 3))
        self._indptr, self._indices = np.zeros(n+1, np.int64), np.empty(0, np.int32)
        self._blocks = np.empty((0, 3, 3), np.float32)

    def add(self, part, scale):
        """Add the equations of an image.

        Parameters
        ----------
        part : ImageEquations
        scale : float
            Of the image.
        """
        normal, rows = part.normal, part.rows
        factors = part.factors(scale, self.mean[rows])
        self.shown[rows] += normal.diagonal[:, 0, 0] > 0
        turned = factors.transpose(0, 2, 1)
        self._diagonal[rows] += linear.matmul(linear.matmul(turned, normal.diagonal), factors)
        self._rhs[rows] += linear.matmul(turned, normal.rhs[:, :, None])[:, :, 0]
        pairs = normal.indptr, normal.indices, np.ascontiguousarray(rows, np.int32)
        where = kernel.places(self._indptr, self._indices, *pairs)
        if (where < 0).any():
            self._make_room(*pairs, where < 0)
            where = kernel.places(self._indptr, self._indices, *pairs)
        kernel.add_blocks(normal.blocks, *pairs, factors, where, self._blocks)

    def _make_room(self, indptr, indices, rows, missing):
        """Add pairs of zeros for those of an image that are missing."""
        n = len(self.mean)
        first, second = rows[np.repeat(np.arange(len(rows)), np.diff(indptr))[missing]], rows[indices[:indptr[-1]][missing]]
        fresh = np.unique(np.minimum(first, second).astype(np.int64)*n+np.maximum(first, second))
        known = np.repeat(np.arange(n), np.diff(self._indptr)).astype(np.int64)*n+self._indices
        at = np.searchsorted(known, fresh)
        self._indices = np.insert(self._indices, at, fresh % n)
        self._blocks = np.insert(self._blocks, at, np.float32(0), axis=0)
        self._indptr += np.r_[0, np.cumsum(np.bincount(fresh//n, minlength=n))]

    def normal(self):
        """The `NormalEquations` of all that has been added: of flux, and flux times shift in the reference."""
        return NormalEquations(self._diagonal, self._blocks, self._indptr, self._indices, self._rhs)


@dataclass(frozen=True, eq=False)
class Band:
    """The equations that the images of a band share.

    Attributes
    ----------
    normal : crowdsource.engine.solvers.NormalEquations
        Of flux, and flux times shift in the reference.
    mean : ndarray, shape (n,)
        Positive fluxes by which shifts are multiplied.
    shown : ndarray of int, shape (n,)
        Number of images that show each star.
    """

    normal: NormalEquations
    mean: np.ndarray
    shown: np.ndarray

    def subset(self, keep):
        """Those of some of the stars."""
        return Band(self.normal.subset(keep), self.mean[keep], self.shown[keep])

    def precision(self, width):
        """Precision of the prior on flux times shift that a prior of a width, reference pixels, on the shift means."""
        return 1/(self.mean*width)**2


def joint_step(bands, width, tolerance, max_iterations):
    """Changes of all fluxes and positions, by conjugate gradients with blocks of one star as preconditioner.

    Parameters
    ----------
    bands : sequence of Band
        All of the same n stars.
    width : float or ndarray, shape (n,)
        Of the Gaussian prior on the shift of each position, reference pixels; 0 for those that are known.
    tolerance : float
        Stop when the preconditioned residual norm fell by this factor.
    max_iterations : int

    Returns
    -------
    flux : ndarray, shape (bands, n)
        Changes of the fluxes, reference units.
    shift : ndarray, shape (n, 2)
        Reference pixels.
    iterations : int
    reduction : float
        Final over first residual norm.
    """
    matrix, count = _Matrix(bands, np.broadcast_to(width, len(bands[0].mean))), len(bands)
    right = matrix.right.copy()
    x, z = np.zeros_like(right), matrix.preconditioned(right)
    p, first, iterations = z.copy(), float((right*z).sum()), 0
    rz = first
    while iterations < max_iterations and rz > tolerance**2*first:
        w = matrix.times(p)
        curvature = float((p*w).sum())
        if not curvature > 0:
            break
        x += rz/curvature*p
        right -= rz/curvature*w
        z = matrix.preconditioned(right)
        fresh = float((right*z).sum())
        p = z+fresh/rz*p
        rz = fresh
        iterations += 1
    reduction = float(np.sqrt(max(rz, 0)/first)) if first > 0 else 0.
    return x[:, :count].T.copy(), x[:, count:], iterations, reduction


class _Matrix:
    """The matrix of all bands: of each star a flux in each of them, then its shift; vectors have the shape (n, bands+2)."""

    def __init__(self, bands, width):
        n, count = len(width), len(bands)
        self.place, self.parts = np.s_[count:], []
        self.precision = np.where(width > 0, 1/np.where(width > 0, width, 1)**2, FIXED)[:, None]
        block, self.right = np.zeros((n, count+2, count+2)), np.zeros((n, count+2))
        block[:, self.place, self.place] = np.eye(2)*self.precision[:, :, None]
        for b, band in enumerate(bands):
            normal, mean = band.normal, band.mean[:, None]
            own = normal.diagonal
            # the flux in a band that shows nothing of a star stays
            block[:, b, b] = np.where(own[:, 0, 0] > 0, own[:, 0, 0], 1)
            block[:, b, self.place] = block[:, self.place, b] = mean*own[:, 1:, 0]
            block[:, self.place, self.place] += (mean**2)[:, :, None]*own[:, 1:, 1:]
            self.right[:, b] = normal.rhs[:, 0]
            self.right[:, self.place] += mean*normal.rhs[:, 1:]
            self.parts.append((mean, own.reshape(-1, 9), normal.flat_blocks(), normal.indptr, normal.indices))
        self.inverse = linear.inverse(block)

    def times(self, vector):
        """The matrix times a vector."""
        out = np.empty_like(vector)
        out[:, self.place] = vector[:, self.place]*self.precision
        for b, (mean, *matrix) in enumerate(self.parts):
            y = solve.product(*matrix, np.c_[vector[:, b], mean*vector[:, self.place]])
            out[:, b] = y[:, 0]
            out[:, self.place] += mean*y[:, 1:]
        return out

    def preconditioned(self, vector):
        """The inverse of the blocks of single stars times a vector."""
        return np.einsum("nij,nj->ni", self.inverse, vector)
