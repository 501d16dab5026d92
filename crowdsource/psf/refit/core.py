"""Fit of a pixel core: the residual of stars, shifted to their centres, as a polynomial of the position in each pixel."""
from dataclasses import dataclass

import numpy as np

from ...core import functions, linear
from ..base import pixel
from ..grid import basis
from .linear import in_blocks, nuisance_columns, scaled, solve_robustly


@dataclass(frozen=True, eq=False)
class CentredStamps:
    """Stamps sampled at whole-pixel distances from the centre of each star.

    Attributes
    ----------
    values, weight : ndarray, shape (n, size, size)
    """

    values: np.ndarray
    weight: np.ndarray


def fit_core(psf, stamps, order, size, wings=None):
    """A PSF with a new pixel core: the residual of the profile, shifted to the centres of the stars.

    Each star is fitted with the present core, so that flux and centre are those of the whole PSF. Coefficients are shrunk as far
    as they are compatible with noise, so that the core is zero where the profile alone fits; towards its rim the core fades out.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
        New profile and old core.
    stamps : crowdsource.psf.base.StarStamps
    order : int
        Of the polynomial of the position.
    size : int
        Side of the core, pixels.
    wings : ndarray, shape (m, m), optional
        Correction of the profile that does not vary, at whole-pixel offsets; part of the new core.

    Returns
    -------
    FieldPSF
    """
    size = min(size, stamps.size-6)
    bare = psf.with_parts(psf.profile, None if wings is None else wings[None]) if psf.core.any() or wings is not None else None
    # threads must find the planes already made
    psf.prepare(stamps.size)
    if bare:
        psf.prepare(size)
        bare.prepare(size)
    centred = in_blocks(lambda block: centred_residual(psf, bare, block, size), stamps)
    planes = pixel_polynomials(centred.values, centred.weight, basis(stamps.x, stamps.y, psf.shape, order))
    core = planes*taper(planes.shape[-1])
    if wings is not None:
        margin = (len(wings)-size)//2
        core = np.pad(core, ((0, 0), (margin, margin), (margin, margin)))
        core[0] += wings
    return psf.with_parts(psf.profile, core)


def centred_residual(psf, bare, stamps, size):
    """The residual of the profile for each star, shifted to its centre, as `CentredStamps`.

    Parameters as `fit_core`; `bare` is the PSF without its core, None where it has none.
    """
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    fits = solve_robustly(nuisance_columns(value, ddx, ddy), scaled(stamps, value))
    dx, dy = fits.offsets(stamps)
    px, py = pixel(stamps.x), pixel(stamps.y)
    shape = len(stamps), stamps.size, stamps.size
    centred = shifted_back((fits.residual/fits.flux).reshape(shape), fits.weight.reshape(shape), dx, dy, size)
    if bare:
        return CentredStamps(centred.values+psf.render(px, py, size)-bare.render(px, py, size), centred.weight)
    return centred


def shifted_back(stamps, weight, dx, dy, size):
    """Stamps sampled at whole-pixel distances from the centre of each star.

    Six-point Lagrange interpolation along each axis; weights are those of the nearest pixel.

    Parameters
    ----------
    stamps, weight : ndarray, shape (n, side, side)
    dx, dy : ndarray, shape (n,)
        Offsets of the stars from the middle pixel, pixels.
    size : int
        Odd side of the result, at most side-6.

    Returns
    -------
    CentredStamps
    """
    along_y, along_x = (lagrange_matrix(d, stamps.shape[-1], size) for d in (dy, dx))
    values = linear.matmul(linear.matmul(along_y, np.where(weight > 0, stamps, 0)), along_x.transpose(0, 2, 1))
    margin = (stamps.shape[-1]-size)//2
    return CentredStamps(values, weight[:, margin:margin+size, margin:margin+size])


def lagrange_matrix(shift, side, size):
    """Matrices, shape (n, size, side), that interpolate at the middle `size` pixels plus a shift, by six-point Lagrange."""
    shift = np.clip(shift, -1.5, 1.5)
    low = np.floor(shift).astype(int)
    t = (shift-low)[:, None]
    knots = np.arange(-2, 4)
    weights = np.ones((len(shift), 6))
    for k in range(6):
        for other in range(6):
            if other != k:
                weights[:, k] *= ((t-knots[other])/(knots[k]-knots[other]))[:, 0]
    matrix = np.zeros((len(shift), size, side))
    rows = np.arange(size)
    margin = (side-size)//2
    for k in range(6):
        at = np.clip(rows[None, :]+margin+low[:, None]+knots[k], 0, side-1)
        np.add.at(matrix, (np.arange(len(shift))[:, None], rows[None, :], at), weights[:, k][:, None])
    return matrix


def pixel_polynomials(values, weight, design):
    """Weighted fit of a polynomial of the position in each pixel; coefficients shrink where they do not exceed their noise.

    Parameters
    ----------
    values, weight : ndarray, shape (n, size, size)
    design : ndarray, shape (n, k)
        Terms of the polynomial at the stars.

    Returns
    -------
    ndarray, shape (k, size, size)
    """
    n, size, _ = values.shape
    v, w = values.reshape(n, -1), weight.reshape(n, -1)
    matrix = linear.matmul(w.T, (design[:, :, None]*design[:, None]).reshape(n, -1)).reshape(-1, *2*design.shape[1:])
    matrix += (1e-9*np.trace(matrix, axis1=1, axis2=2)[:, None, None]+1e-30)*np.eye(design.shape[1])
    inverse = linear.inverse(matrix)
    solution = (inverse*linear.matmul((w*v).T, design)[:, None]).sum(axis=2).T
    chi2 = (w*(v-linear.matmul(design, solution))**2).sum(axis=0)/max(1, n-design.shape[1])
    variance = np.einsum("paa->ap", inverse)*np.maximum(chi2, 1)
    planes, noise = solution.reshape(-1, size, size), variance.reshape(-1, size, size)
    power, expected = smoothed(planes**2), smoothed(noise)
    return planes*(1-np.divide(expected, power, out=np.ones_like(expected), where=power > expected))


def smoothed(planes):
    """Means over 3x3 pixels of each plane."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    n = planes.shape[-1]
    return sum(padded[:, j:j+n, i:i+n] for j in range(3) for i in range(3))/9


def taper(size):
    """Factors that are 1 in the middle of a stamp and fall to 0 at its rim, shape (size, size)."""
    at = np.arange(size)-size//2
    radius = np.hypot(at[None, :], at[:, None])/(size/2)
    return functions.cos(np.pi/2*np.clip((radius-0.6)/0.4, 0, 1))**2
