"""Solvers of the linear problem: steps of all parameters that bring the model closest to a residual.

Two methods, one answer: `normal_step` builds the normal equations from overlapping stamps and runs preconditioned
conjugate gradients; `lsqr_step` builds the explicit sparse matrix and runs LSQR. Parameters of a source are its flux
and its flux times the shift in x and in y; a Gaussian prior keeps the shifts of one step small.
"""
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .cython_ext import design as design_kernel
from .cython_ext import solve as kernel
from .design import sky_basis, sparse_matrix, spread

UNKNOWN = 1e-15
"""Stands for a flux of 0 in the prior: far below any noise."""
SETTLED = 0.1
"""A fit in confusion stops when what its sources are still due is less than this, in units of their errors."""
TURNS = {1: 8, 3: 1}
"""At most so many turns of it, by the planes that are fitted: where positions move, fluxes are fitted once more afterwards."""


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
    stamps : crowdsource.design.StampSet
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


def normal_step(stamps, ivar, residual, precision, config, planes=3, normal=None):
    """Solve by normal equations and conjugate gradients.

    Parameters
    ----------
    stamps : crowdsource.design.StampSet
    ivar, residual : ndarray, shape (ny, nx), float32
        Inverse variance; data less sky and model.
    precision : ndarray, shape (n,)
        Prior precision of the derivative terms.
    config : crowdsource.config.SolveConfig
    planes : int
        3 to let positions move, 1 for fluxes alone.
    normal : NormalEquations, optional
        Those of the stamps, where they are known already, perhaps without pairs that hardly overlap; with all pairs where the
        answer does not come close enough without them.

    Returns
    -------
    Step
    """
    if config.sky_spacing > 0:
        normal = normal or build_normal(stamps, ivar, residual)
        return _normal_step_with_sky(stamps, ivar, residual, normal.with_prior(precision), normal, config, planes)
    if normal is not None:
        step = _gradient_step(normal, precision, config, planes)
        if step.reduction <= config.tolerance or config.min_overlap <= 1:
            return step
        # without the blocks of stamps that hardly overlap the matrix need not be positive, where stars stand very densely
    return _gradient_step(build_normal(stamps, ivar, residual), precision, config, planes)


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
    faint : crowdsource.undetected.UndetectedLight

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
        return _gradient_step(replace(step.normal, rhs=rhs), precision, loose, planes).parameters

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


def _gradient_step(normal, precision, config, planes):
    """A step by conjugate gradients."""
    x, iterations, reduction = kernel.conjugate_gradients(
        normal.with_prior(precision), normal.flat_blocks(), normal.indptr, normal.indices, normal.rhs, planes, config.tolerance,
        config.max_iterations)
    return Step(x, iterations, reduction, normal=normal)


def _normal_step_with_sky(stamps, ivar, residual, diagonal, normal, config, planes):
    """Sources and sky knots together; the sources' blocks are made a sparse matrix, as knots couple to all of them."""
    from scipy.sparse.linalg import cg  # heavy to import, and seldom needed
    root = np.sqrt(ivar)
    design = sparse_matrix(stamps, root, 3)
    hats = sparse.diags_array(root.ravel())@sky_basis(ivar.shape, config.sky_spacing)
    n, knots = design.shape[1], hats.shape[1]
    used = np.arange(n) % 3 < planes
    extra = np.r_[diagonal.reshape(-1, 9)[:, ::4].ravel()-normal.diagonal.reshape(-1, 9)[:, ::4].ravel(), np.zeros(knots)]
    matrix = sparse.hstack([design, hats], format="csc")
    matrix = matrix[:, np.r_[used, np.ones(knots, bool)]].astype(np.float64)
    extra = extra[np.r_[used, np.ones(knots, bool)]]
    product = (matrix.T@matrix+sparse.diags_array(extra)).tocsr()
    scale = 1/np.sqrt(np.maximum(product.diagonal(), 1e-300))
    scaled = sparse.diags_array(scale)@product@sparse.diags_array(scale)
    rhs = scale*(matrix.T@(root*residual).ravel())
    count = [0]
    x, _ = cg(scaled, rhs, rtol=config.tolerance*0.1, maxiter=10*config.max_iterations,
              callback=lambda _: count.__setitem__(0, count[0]+1))
    reduction = np.linalg.norm(rhs-scaled@x)/max(np.linalg.norm(rhs), 1e-300)
    parameters = np.zeros(n)
    parameters[used] = (scale*x)[:used.sum()]
    return Step(parameters.reshape(-1, 3), count[0], reduction, sky=(scale*x)[used.sum():], normal=normal)


def lsqr_step(stamps, ivar, residual, precision, config, planes=3, normal=None):
    """Solve by the explicit sparse matrix and LSQR, columns scaled to unit norm.

    The prior enters as further rows. The residual holds what the model of the last pass left, so that starting from a
    zero step is the warm start. Parameters and result as `normal_step`.
    """
    from scipy.sparse.linalg import lsqr  # heavy to import, and seldom needed
    root = np.sqrt(ivar)
    design = sparse_matrix(stamps, root, planes)
    n = len(stamps)
    prior = np.zeros((n, planes))
    prior[:, 1:] = np.sqrt(precision)[:, None]
    parts = [sparse.vstack([design, sparse.diags_array(prior.ravel())], format="csc")]
    if config.sky_spacing > 0:
        hats = sparse.diags_array(root.ravel())@sky_basis(ivar.shape, config.sky_spacing)
        parts.append(sparse.vstack([hats, sparse.csr_array((n*planes, hats.shape[1]))], format="csc"))
    matrix = sparse.hstack(parts, format="csc") if len(parts) > 1 else parts[0]
    norm = np.sqrt(np.asarray((matrix*matrix).sum(axis=0)).ravel())
    scale = np.where(norm > 0, 1/np.maximum(norm, 1e-300), 0)
    matrix = (matrix@sparse.diags_array(scale)).tocsc()
    rhs = np.r_[(root*residual).ravel(), np.zeros(n*planes)].astype(np.float64)
    answer = lsqr(matrix, rhs, atol=config.tolerance*0.01, btol=0., iter_lim=10*config.max_iterations)
    x = answer[0]*scale
    parameters = np.zeros((n, 3))
    parameters[:, :planes] = x[:n*planes].reshape(n, planes)
    sky = x[n*planes:] if config.sky_spacing > 0 else None
    reduction = answer[7]/max(np.linalg.norm(matrix.T@rhs), 1e-300)
    return Step(parameters, answer[2], reduction, sky=sky, normal=normal or build_normal(stamps, ivar, residual))


STEPS = {"normal": normal_step, "lsqr": lsqr_step}


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
