"""Solvers of the linear problem: steps of all parameters that bring the model closest to a residual.

Two methods, one answer: `normal_step` builds the normal equations from overlapping stamps and runs preconditioned conjugate
gradients; `lsqr_step` builds the explicit sparse matrix and runs LSQR. `confused_step` goes on from such an answer and counts the
light of undetected stars as noise.
"""
from .confusion import confused_step
from .equations import NormalEquations, build_normal, candidate_significance, covariances, prior_precision
from .lsqr import lsqr_step
from .normal import normal_step
from .problem import LinearProblem, Step

__all__ = ("LinearProblem", "NormalEquations", "Step", "build_normal", "candidate_significance", "confused_step",
           "covariances", "lsqr_step", "normal_step", "prior_precision")
