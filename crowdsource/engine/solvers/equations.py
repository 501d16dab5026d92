"""The normal equations of a set of stamps, and what follows from them: covariances, and what candidates would bring."""
from dataclasses import dataclass

import numpy as np

from ...cython_ext import design as design_kernel
from ...cython_ext import solve as kernel

UNKNOWN = 1e-15
"""Stands for a flux of 0 in the prior: far below any noise."""


@dataclass(frozen=True)
class NormalEquations:
    """The normal matrix in 3x3 blocks, without any prior.

    Attributes
    ----------
    diagonal : ndarray, shape (n, 3, 3), float64
    blocks : ndarray, shape (m, 3, 3), float32
        One for each overlapping pair; rows belong to the owner.
    indptr, indices : ndarray
        Partners of each owner.
    rhs : ndarray, shape (n, 3), float64
    """
    diagonal: np.ndarray
    blocks: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    rhs: np.ndarray

    def with_prior(self, precision):
        """Diagonal blocks, shape (n, 9), with a precision added to the two derivative terms of each source."""
        diagonal = self.diagonal.copy()
        diagonal[:, 1, 1] += precision
        diagonal[:, 2, 2] += precision
        return diagonal.reshape(-1, 9)

    def subset(self, keep):
        """The equations of some of the sources, the others left out of the problem.

        Parameters
        ----------
        keep : ndarray of bool, shape (n,)
        """
        owner = np.repeat(np.arange(len(keep)), np.diff(self.indptr))
        pair = keep[owner] & keep[self.indices]
        number = np.cumsum(keep)-1
        count = np.bincount(number[owner[pair]], minlength=int(keep.sum()))
        return NormalEquations(self.diagonal[keep], self.blocks[pair], np.r_[0, np.cumsum(count)].astype(np.int64),
                               number[self.indices[pair]].astype(np.int32), self.rhs[keep])

    def neighbours(self):
        """All partners of each source, owned or not.

        Returns
        -------
        indptr : ndarray, shape (n+1,), int64
        partner : ndarray, int32
        near : ndarray, int32
            Number of each pair's block, its complement where the partner owns it.
        """
        return kernel.partners(self.indptr, self.indices)

    def flat_blocks(self):
        """The blocks as a kernel takes them, shape (m, 9), never empty."""
        return self.blocks.reshape(-1, 9) if len(self.blocks) else np.zeros((1, 9), np.float32)


@dataclass(frozen=True)
class Step:
    """A solver's answer.

    Attributes
    ----------
    parameters : ndarray, shape (n, 3), float64
        Changes of flux, and flux times shift in x and y.
    iterations : int
    reduction : float
        Final over initial residual norm of the solver.
    sky : ndarray or None
        Changes of the sky at the knots, where a sky is fitted.
    normal : NormalEquations or None
    """
    parameters: np.ndarray
    iterations: int
    reduction: float
    sky: np.ndarray = None
    normal: NormalEquations = None


def prior_precision(flux, error, width):
    """Precision of the prior on flux times shift: 1/(flux width)^2.

    Where a flux is fainter than its error the error stands in for it, so that a faint source is neither frozen nor free.
    """
    # a given source has neither before its first solve: it stays where it is
    return 1/(np.maximum(np.maximum(np.abs(flux), error), UNKNOWN)*width)**2


def build_normal(stamps, ivar, residual, least=1):
    """The normal equations of a set of stamps.

    Parameters
    ----------
    stamps : crowdsource.engine.design.StampSet
    ivar, residual : ndarray, shape (ny, nx), float32
    least : int
        Pairs whose stamps share fewer pixels along an axis are left out.

    Returns
    -------
    NormalEquations
    """
    indptr, indices = design_kernel.overlaps(stamps.layout, least)
    diagonal, blocks, rhs = design_kernel.normal_equations(stamps.buffer, stamps.layout, ivar, residual, indptr, indices)
    return NormalEquations(diagonal, blocks, indptr, indices, rhs)


def covariances(normal, precision, least=0.03, most=12):
    """Covariance of flux, and flux times shift in x and y, of each source with its neighbours marginalised.

    Diagonal blocks of the inverse of the normal matrix, inverted locally with the strongest neighbours.

    Parameters
    ----------
    normal : NormalEquations
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    least : float
        Neighbours with a smaller flux correlation are taken as known.
    most : int
        Largest number of neighbours.

    Returns
    -------
    ndarray, shape (n, 3, 3)
        Infinite where a source has no good pixel.
    """
    covariance = kernel.local_covariance(normal.with_prior(precision), normal.flat_blocks(), *normal.neighbours(), least, most)
    return covariance.reshape(-1, 3, 3)


def gains(normal, precision, first, least=0.03, most=8):
    """What each candidate would bring to the fit, its neighbours giving way.

    Parameters
    ----------
    normal : NormalEquations
        Of sources and, behind them, candidates.
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    first : int
        Number of the first candidate.
    least, most
        As `covariances`.

    Returns
    -------
    ndarray, shape (n-first,)
        Flux over its error: the root of the improvement in chi2, with the flux's sign.
    """
    flux, variance = kernel.trial_fluxes(normal.with_prior(precision), normal.flat_blocks(), *normal.neighbours(), normal.rhs,
                                         first, least, most).T
    return flux/np.sqrt(variance)
