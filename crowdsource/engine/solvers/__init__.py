"""Solvers of the linear problem: steps of all parameters that bring the model closest to a residual.

Two methods, one answer: `normal_step` builds the normal equations from overlapping stamps and runs preconditioned
conjugate gradients; `lsqr_step` builds the explicit sparse matrix and runs LSQR. Parameters of a source are its flux
and its flux times the shift in x and in y; a Gaussian prior keeps the shifts of one step small.
"""
from .confusion import confused_step
from .equations import NormalEquations, Step, build_normal, covariances, gains, prior_precision
from .lsqr import lsqr_step
from .normal import normal_step

STEPS = {"normal": normal_step, "lsqr": lsqr_step}


__all__ = ("STEPS", "NormalEquations", "Step", "build_normal", "confused_step", "covariances", "gains", "lsqr_step", "normal_step",
           "prior_precision")
