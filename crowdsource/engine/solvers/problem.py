"""What a solver is given, and what it answers: the contract of solvers.

A solver is a callable ``solver(problem, config, n_parameters=3, normal=None)`` that gives a `Step`. Parameters of a source are
its flux, and its flux times the shift in x and in y; a Gaussian prior keeps the shifts of one step small. The residual is what
the model of the last pass left of the data, so that a step of zero is the warm start.
"""
from dataclasses import dataclass, replace

import numpy as np

from ..design import StampSet, sparse_matrix


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearProblem:
    """The linear problem of a box of pixels: which changes of the sources' parameters explain the residual.

    Attributes
    ----------
    stamps : crowdsource.engine.design.StampSet
        PSF and derivatives of n sources.
    ivar, residual : ndarray, shape (ny, nx), float32
        Inverse variance; data less sky and model.
    precision : ndarray, shape (n,)
        Prior precision of the two derivative terms of each source.
    """

    stamps: StampSet
    ivar: np.ndarray
    residual: np.ndarray
    precision: np.ndarray

    def __len__(self):
        return len(self.stamps)

    def subset(self, keep):
        """The same problem with some of the sources only.

        Parameters
        ----------
        keep : ndarray of bool, shape (n,)
        """
        return replace(self, stamps=self.stamps.subset(keep), precision=self.precision[keep])

    def design_matrix(self, n_parameters=3):
        """The design matrix over the pixels' errors, for solvers that want it whole.

        Parameters
        ----------
        n_parameters : int
            3 for flux and shifts of each source, 1 for the flux alone.

        Returns
        -------
        scipy.sparse.csc_array, shape (ny*nx, n*n_parameters), float32
        """
        return sparse_matrix(self.stamps, np.sqrt(self.ivar), n_parameters)


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """A solver's answer.

    Attributes
    ----------
    parameters : ndarray, shape (n, 3), float64
        Changes of flux, and flux times shift in x and y; 0 for those that were not fitted.
    iterations : int
    reduction : float
        Final over initial residual norm of the solver.
    sky : ndarray or None
        Changes of the sky at the knots, where a sky is fitted.
    normal : NormalEquations
        The normal equations of the problem, from which errors follow.
    """

    parameters: np.ndarray
    iterations: int
    reduction: float
    sky: np.ndarray = None
    normal: object = None
