"""The normal equations of a linear problem, and what follows from them: covariances, and the significance of candidates."""
from dataclasses import dataclass

import numpy as np

from ...cython_ext import design as design_kernel
from ...cython_ext import solve as kernel

UNKNOWN = 1e-15
"""Flux that stands for 0 in the prior: far below any noise."""


@dataclass(frozen=True, eq=False)
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
        """Diagonal blocks, shape (n, 9), with a prior precision added to the two derivative terms of each source."""
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


def errors_from(information):
    """Errors of values whose inverse variances are given; infinite where these are 0."""
    return np.where(information > 0, 1/np.sqrt(np.where(information > 0, information, 1)), np.inf)


def prior_precision(flux, error, width):
    """Precision of the prior on flux times shift: 1/(flux width)^2, shape (n,).

    Where a flux is smaller than its error the error is used in its place, so that a faint source is neither fixed nor free.

    Parameters
    ----------
    flux, error : ndarray, shape (n,)
    width : float
        Of the prior on a shift, pixels.
    """
    # a given source has neither before its first solve: it keeps its position
    return 1/(np.maximum(np.maximum(np.abs(flux), error), UNKNOWN)*width)**2


def build_normal(problem, min_overlap=1):
    """The normal equations of a linear problem.

    Parameters
    ----------
    problem : LinearProblem
    min_overlap : int
        Pairs whose stamps share fewer pixels than this along an axis are left out.

    Returns
    -------
    NormalEquations
    """
    stamps = problem.stamps
    indptr, indices = design_kernel.overlaps(stamps.layout, problem.ivar.shape, min_overlap)
    diagonal, blocks, rhs = design_kernel.normal_equations(stamps.buffer, stamps.layout, problem.ivar, problem.residual, indptr,
                                                           indices)
    return NormalEquations(diagonal, blocks, indptr, indices, rhs)


def covariances(normal, precision, min_correlation=0.03, max_neighbours=12):
    """Covariance of flux, and flux times shift in x and y, of each source, marginalised over its neighbours.

    These are the diagonal blocks of the inverse of the normal matrix; each is computed from the block of the source and its
    strongest neighbours.

    Parameters
    ----------
    normal : NormalEquations
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    min_correlation : float
        Neighbours whose flux is correlated less than this with the source's count as known.
    max_neighbours : int
        Largest number of neighbours.

    Returns
    -------
    ndarray, shape (n, 3, 3)
        Infinite where a source has no good pixel.
    """
    covariance = kernel.local_covariance(normal.with_prior(precision), normal.flat_blocks(), *normal.neighbours(),
                                         min_correlation, max_neighbours)
    return covariance.reshape(-1, 3, 3)


def candidate_significance(normal, precision, first, min_correlation=0.03, max_neighbours=8):
    """Significance of candidates: the improvement in chi2 when one is added and its neighbours are refitted.

    Parameters
    ----------
    normal : NormalEquations
        Of sources and, behind them, candidates.
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    first : int
        Number of the first candidate.
    min_correlation, max_neighbours
        As `covariances`.

    Returns
    -------
    ndarray, shape (n-first,)
        Flux over its error, which is the square root of the improvement in chi2 with the sign of the flux.
    """
    flux, variance = candidate_fluxes(normal, precision, first, min_correlation, max_neighbours).T
    return flux/np.sqrt(variance)


def candidate_fluxes(normal, precision, first, min_correlation=0.03, max_neighbours=8):
    """Flux of each candidate when it is added and its neighbours are refitted, and its variance.

    Parameters as `candidate_significance`.

    Returns
    -------
    ndarray, shape (n-first, 2)
        0 and infinite for a candidate that its neighbours can stand for.
    """
    return kernel.trial_fluxes(normal.with_prior(precision), normal.flat_blocks(), *normal.neighbours(), normal.rhs, first,
                               min_correlation, max_neighbours)
