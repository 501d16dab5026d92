"""Solver that counts the light of undetected stars as noise, beside that of the photons."""
from dataclasses import replace

from ...core.calibration import calibration
from ...cython_ext import design as design_kernel
from ..design import spread
from .normal import gradient_step

SETTLED = calibration.solve.settled
"""Iteration stops when the changes that are still expected are smaller than this, in units of the errors."""
MAX_ITERATIONS = {1: 8, 3: 1}
"""Largest number of iterations, by the number of fitted parameters: where positions move, fluxes are fitted once more
afterwards."""


def confused_step(problem, config, n_parameters, step, undetected):
    """Solve with the light of undetected stars as noise, beside that of the photons.

    Conjugate gradients on the whole problem, started from the solution for photon noise alone, whose normal equations are the
    preconditioner. These are not solved exactly, which asks for the form of Polak and Ribiere (Golub and Ye 1999).

    Parameters
    ----------
    problem, config, n_parameters
        As `crowdsource.engine.solvers.normal.normal_step`.
    step : Step
        The solution for photon noise alone, with its normal equations.
    undetected : crowdsource.engine.undetected.UndetectedLight

    Returns
    -------
    ndarray, shape (n, 3), float64
        Changes of flux, and flux times shift in x and y.
    """
    stamps, ivar, precision = problem.stamps, problem.ivar, problem.precision

    def projected(image):
        return design_kernel.project(stamps.buffer, stamps.layout, undetected.weighed(image, ivar, amplitude), n_parameters)

    def applied(x):
        out = projected(spread(stamps, x, ivar.shape, n_parameters))
        out[:, 1:n_parameters] += precision[:, None]*x[:, 1:n_parameters]
        return out

    def preconditioned(rhs):
        return gradient_step(replace(step.normal, rhs=rhs), precision, loose, n_parameters).parameters

    amplitude, loose = undetected.amplitude(ivar), replace(config, tolerance=config.search_tolerance)
    x = step.parameters.copy()
    gradient = projected(problem.residual)-applied(x)
    direction = change = preconditioned(gradient)
    for iteration in range(MAX_ITERATIONS[n_parameters]):
        # sum of the squared changes that are still expected, in units of the errors
        expected = (gradient*change).sum()
        if expected <= SETTLED**2*len(x):
            break
        image = applied(direction)
        length = expected/(direction*image).sum()
        x += length*direction
        if iteration < MAX_ITERATIONS[n_parameters]-1:
            before, gradient = gradient, gradient-length*image
            change = preconditioned(gradient)
            direction = change+((gradient-before)*change).sum()/expected*direction
    return x
