"""Solver that counts the light of undetected stars as noise, beside that of the photons."""
from dataclasses import replace

from ...cython_ext import design as design_kernel
from ..design import spread
from .normal import gradient_step

SETTLED = 0.1
"""A fit in confusion stops when what its sources are still due is less than this, in units of their errors."""
TURNS = {1: 8, 3: 1}
"""At most so many turns of it, by the planes that are fitted: where positions move, fluxes are fitted once more afterwards."""


def confused_step(stamps, ivar, residual, precision, config, planes, step, faint):
    """Solve with the light of undetected stars as noise, beside that of the photons.

    Conjugate gradients on the whole problem, from the answer for photons alone, whose normal equations are the preconditioner;
    solving these not quite exactly takes the form of Polak and Ribiere (Golub and Ye 1999).

    Parameters
    ----------
    stamps, ivar, residual, precision, config, planes
        As `normal_step`.
    step : Step
        The answer for photons alone, with its normal equations.
    faint : crowdsource.engine.undetected.UndetectedLight

    Returns
    -------
    ndarray, shape (n, 3), float64
        Changes of flux, and flux times shift in x and y.
    """
    def seen(image):
        return design_kernel.project(stamps.buffer, stamps.layout, faint.weighed(image, ivar, amplitude), planes)

    def applied(x):
        out = seen(spread(stamps, x, ivar.shape, planes))
        out[:, 1:planes] += precision[:, None]*x[:, 1:planes]
        return out

    def photons(rhs):
        return gradient_step(replace(step.normal, rhs=rhs), precision, loose, planes).parameters

    amplitude, loose = faint.amplitude(ivar), replace(config, tolerance=config.search_tolerance)
    x = step.parameters.copy()
    left = seen(residual)-applied(x)
    direction = change = photons(left)
    for turn in range(TURNS[planes]):
        # the sum of squared changes that are still due, in units of the errors
        due = (left*change).sum()
        if due <= SETTLED**2*len(x):
            break
        image = applied(direction)
        length = due/(direction*image).sum()
        x += length*direction
        if turn < TURNS[planes]-1:
            before, left = left, left-length*image
            change = photons(left)
            direction = change+((left-before)*change).sum()/due*direction
    return x
