"""Linear fits to the stamps of many stars at once.

Each star has its own flux, position and constant sky. These four are nuisance parameters: they are fitted together with the shape
of the PSF and eliminated from its normal equations, so that they do not bias it.
"""
from dataclasses import dataclass, fields

import numpy as np

from ...core import linear
from ...core.calibration import calibration
from ..base import MODEL_ERROR, pixel

OUTLIER = calibration.psf.outlier
"""Residual in units of its error at which the weight of a pixel is halved."""
BLOCK = 32
"""Number of stars that are worked on at a time, so that their arrays stay in the cache of the processor."""
LEAST_FLUX = 0.1
"""Smallest factor by which a refit may change the flux of a star."""
CLIPPINGS = 3
"""Times that outliers are found among stars, each time around the mean that is left of the others."""
NUISANCE = 4
"""Number of nuisance parameters of a star."""


@dataclass(frozen=True, eq=False)
class ScaledStamps:
    """Stamps divided by the fluxes of their stars.

    Attributes
    ----------
    data, weight : ndarray, shape (n, pixels), float32
        Values and inverse variances, which include the error of the model.
    """

    data: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class NormalEquations:
    """Normal equations of each star.

    Attributes
    ----------
    matrix : ndarray, shape (n, k, k), float64
    rhs : ndarray, shape (n, k), float64
    """

    matrix: np.ndarray
    rhs: np.ndarray


@dataclass(frozen=True, eq=False)
class StarFits:
    """A fit of each star on its own.

    Attributes
    ----------
    parameters : ndarray, shape (n, k), float64
    residual : ndarray, shape (n, pixels)
        Data less the fitted model.
    weight : ndarray, shape (n, pixels), float32
        Inverse variances, lowered where the residual is large.
    """

    parameters: np.ndarray
    residual: np.ndarray
    weight: np.ndarray

    @property
    def flux(self):
        """Fluxes relative to those of the stamps, shape (n, 1), no smaller than `LEAST_FLUX`."""
        return np.maximum(self.parameters[:, :1], LEAST_FLUX)

    def offsets(self, stamps):
        """Distances in x and y of the fitted positions from the middle pixels of the stamps, pixels."""
        return [at-pixel(at)+self.parameters[:, k]/self.flux[:, 0] for k, at in ((1, stamps.x), (2, stamps.y))]


def scaled(stamps, model):
    """Stamps divided by fluxes, with weights that include the error of the model.

    Parameters
    ----------
    stamps : crowdsource.psf.base.StarStamps
    model : ndarray, shape (n, size, size)
        The PSF at each star.

    Returns
    -------
    ScaledStamps
    """
    flux = stamps.flux[:, None]
    own = model.reshape(len(stamps), -1)
    ivar = stamps.ivar.reshape(own.shape)*np.square(flux).astype(np.float32)
    weight = ivar/(1+ivar*(np.float32(MODEL_ERROR)*own)**2)
    return ScaledStamps(stamps.data.reshape(own.shape)*(1/flux).astype(np.float32), weight)


def nuisance_columns(value, ddx, ddy, *more):
    """Columns of the design of each star, shape (n, NUISANCE+k, pixels): PSF, its derivatives, a constant sky, and k more."""
    columns = np.stack([value, ddx, ddy, np.ones_like(value), *more], axis=1)
    return columns.reshape(len(value), NUISANCE+len(more), -1)


def downweighted(weight, residual):
    """Weights lowered where a residual is large for its error (Cauchy)."""
    return weight/(1+residual**2*weight*np.float32(1/OUTLIER**2))


def in_blocks(function, stamps):
    """What a function gives for stamps of stars, a dataclass of arrays, computed block by block and put together."""
    parts = [function(stamps.subset(slice(k, k+BLOCK))) for k in range(0, len(stamps), BLOCK)]
    return type(parts[0])(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(parts[0])))


def normal_equations(columns, weight, data):
    """The `NormalEquations` of each star.

    Parameters
    ----------
    columns : ndarray, shape (n, k, pixels)
    weight, data : ndarray, shape (n, pixels)
    """
    weighted = columns*weight[:, None]
    return NormalEquations(linear.products(weighted, columns), linear.products(data[:, None], weighted)[:, 0])


def without_nuisances(normal):
    """`NormalEquations` with the nuisance parameters, which come first, eliminated."""
    inner = normal.matrix[:, :NUISANCE, :NUISANCE]
    inverse = linear.inverse(inner+1e-9*diagonal_part(inner))
    cross = linear.matmul(normal.matrix[:, NUISANCE:, :NUISANCE], inverse)
    matrix = normal.matrix[:, NUISANCE:, NUISANCE:]-linear.matmul(cross, normal.matrix[:, :NUISANCE, NUISANCE:])
    return NormalEquations(matrix, normal.rhs[:, NUISANCE:]-linear.matmul(cross, normal.rhs[:, :NUISANCE, None])[:, :, 0])


def diagonal_part(matrices):
    """Diagonal matrices with the diagonals of the given ones, shape (n, k, k)."""
    return np.einsum("nii->ni", matrices)[:, :, None]*np.eye(matrices.shape[-1])


def solve_each(columns, weight, data):
    """Weighted least squares of each star on its own columns.

    Returns
    -------
    parameters : ndarray, shape (n, k)
    residual : ndarray, shape (n, pixels)
    """
    normal = normal_equations(columns, weight, data)
    matrix = normal.matrix+1e-9*diagonal_part(normal.matrix)+1e-30*np.eye(normal.matrix.shape[-1])
    parameters = linear.solve(matrix, normal.rhs[:, :, None])[:, :, 0]
    return parameters, data-linear.matmul(parameters.astype(np.float32)[:, None], columns)[:, 0]


def solve_robustly(columns, stamps):
    """`solve_each` twice, the second time with the weights of outliers lowered.

    Parameters
    ----------
    columns : ndarray, shape (n, k, pixels)
    stamps : ScaledStamps

    Returns
    -------
    StarFits
    """
    weight = stamps.weight
    for _ in range(2):
        parameters, residual = solve_each(columns, weight, stamps.data)
        weight = downweighted(stamps.weight, residual)
    return StarFits(parameters, residual, weight)
