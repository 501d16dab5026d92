"""The last pass of a joint fit: fluxes on each image at the final positions, and errors of both."""
from dataclasses import dataclass, replace

import numpy as np

from ..core import linear
from ..engine.confusion import confusion_noise, extent_factor, response, undetected_power
from ..engine.joint_fit import preferred_shifts
from ..engine.measure import extent_significance, inner_side, measured
from ..engine.solvers import confused_step, covariances
from ..engine.solvers.equations import errors_from
from ..engine.solvers.normal import gradient_step
from ..engine.stages import with_model
from ..engine.state import LAST
from ..engine.undetected import UndetectedLight

LARGEST_POSITION_ERROR = 1.
"""Error of a position of which no image knows anything, reference pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LastFit:
    """The last fit of an image.

    Attributes
    ----------
    epoch : crowdsource.joint.state.Epoch
        With its last fluxes, and the covariances of these at positions that are known as well as all images tell.
    confusion : ndarray, shape (n,)
        Noise of confusion in the fluxes, image units.
    typical : ndarray, shape (n,)
        The same of sources that are as wide as the PSF.
    lever : float
        Noise of a position over that of confusion, relative to the flux, pixels.
    information : ndarray, shape (n, 2, 2)
        On the positions in the reference, with fluxes and neighbours free, pixels^-2.
    shift : ndarray, shape (n, 2)
        Shift that the image alone would make, reference pixels.
    """

    epoch: object
    confusion: np.ndarray
    typical: np.ndarray
    lever: float
    information: np.ndarray
    shift: np.ndarray


def last_pass(state):
    """Fluxes at fixed positions, and the errors of fluxes and positions.

    Parameters
    ----------
    state : crowdsource.joint.state.JointState

    Returns
    -------
    state : JointState
    fits : list of LastFit
    """
    def one(epoch):
        fit = last_fit(epoch, state)
        return replace(fit, epoch=state.kept(fit.epoch))

    fits = state.over(one)
    total = np.repeat(np.eye(2)[None]/LARGEST_POSITION_ERROR**2, len(state.stars), axis=0)
    for fit in fits:
        total[fit.epoch.rows] += fit.information
    covariance = linear.inverse(total)
    return replace(state, epochs=tuple(fit.epoch for fit in fits), covariance=covariance), fits


def last_fit(epoch, joint):
    """The `LastFit` of an image.

    Parameters
    ----------
    epoch : crowdsource.joint.state.Epoch
    joint : crowdsource.joint.state.JointState
    """
    state = replace(epoch.with_sky().state, kind=LAST)
    s, c = state.sources, state.config.solve
    listed = listed_on(epoch, joint)
    stamp = state.psf.stamp(c.stamp_sizes[0])
    power = undetected_power(listed, state.image.good, state.config.detect.threshold) if c.undetected else 0.
    undetected = UndetectedLight(stamp, power, state.noise) if power > 0 else None
    problem = replace(epoch, state=state).problem(s, len(s))
    precision, normal, place = problem.linear.precision, problem.normal, np.argsort(problem.members)
    step = gradient_step(normal, precision, c, 1)
    change = step.parameters if undetected is None else confused_step(problem.linear, c, 1, step, undetected)
    shift = preferred_shifts(problem.linear, c, step, problem.sources.flux)
    state.workspace.give(problem.linear.stamps.buffer)
    flux = problem.sources.flux+change[:, 0]
    jacobian = epoch.frame.jacobian(joint.stars.x[epoch.rows], joint.stars.y[epoch.rows])
    free = covariances(normal, precision)
    error = errors_from(normal.diagonal[:, 0, 0])[place]
    state = with_model(replace(state, sources=s.with_values(flux=flux[place], error=error, shift=shift[place])))
    of_fit = response(stamp, undetected)
    covariance = known_covariance(problem, state.sources, joint.covariance[epoch.rows], jacobian)
    state = replace(state, covariance=covariance*of_fit.photons[0])
    typical = confusion_noise(listed, np.sqrt(free[place, 0, 0])*listed.error/np.where(np.isfinite(error), error, 1),
                              state.image.good, of_fit, state.config)
    confusion = typical
    if typical.any():
        confusion = typical*extent_factor(extent_significance(measured(state, side=inner_side(state.psf))))
    return LastFit(epoch=replace(epoch, state=state), confusion=confusion, typical=typical, lever=of_fit.lever,
                   information=known_shifts(free[place, 1:, 1:], flux[place], jacobian)/of_fit.photons[1],
                   shift=np.einsum("nij,nj->ni", linear.inverse(jacobian), shift[place]))


def listed_on(epoch, joint):
    """An image's sources with the common fluxes and the errors of these, image units.

    What is not in the list of all images is fainter than what this image alone would show.
    """
    return epoch.state.sources.with_values(flux=joint.fluxes[epoch.band, epoch.rows]*epoch.scale,
                                           error=joint.stars.error[epoch.rows]*epoch.scale)


def known_shifts(covariance, flux, jacobian):
    """Information on a reference position from the covariance of flux times shift on an image, shape (n, 2, 2)."""
    known = np.isfinite(covariance).all(axis=(1, 2)) & (flux > 0)
    safe = np.where(known[:, None, None], covariance, np.eye(2))
    information = flux[:, None, None]**2*np.einsum("nki,nkl,nlj->nij", jacobian, linear.inverse(safe), jacobian)
    return np.where(known[:, None, None], information, 0)


def known_covariance(problem, sources, covariance, jacobian):
    """Covariances of an image's sources whose positions are known as well as all images tell, shape (n, 3, 3).

    Parameters
    ----------
    problem : crowdsource.engine.joint_fit.TileProblem
    sources : crowdsource.engine.sources.Sources
        With their last fluxes, in the order of the image's list.
    covariance : ndarray, shape (n, 2, 2)
        Of their positions, reference pixels squared.
    jacobian : ndarray, shape (n, 2, 2)
        Of the image's frame.
    """
    here = np.einsum("nij,njk,nlk->nil", jacobian, covariance, jacobian)
    width = np.sqrt(np.trace(here, axis1=1, axis2=2)/2)
    flux = np.maximum(np.abs(sources.flux), np.where(np.isfinite(sources.error), sources.error, 1.))
    out = covariances(problem.normal, 1/(flux*width)[problem.members]**2)[np.argsort(problem.members)]
    out[:, 1:, 1:] = here*(flux**2)[:, None, None]
    return out
