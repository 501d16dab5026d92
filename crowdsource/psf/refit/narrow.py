"""A pixel core for stars too narrow to be shifted to a common centre.

Interpolation between such a star's pixels leaves ripples. So no star is shifted: each of the core's pixels is rendered at every
star, through the same splines as the PSF itself, and the pixels that fit all stars best are the solution of one linear system.
"""
import logging
from dataclasses import replace

import numpy as np

from ..grid import coefficients, render
from ..model import FieldPSF
from ..profiles.moffat import middle_samples
from .profile import DIRECT_CORE, NUISANCE, prepared, products, solve_steadily, taper, without_nuisances

log = logging.getLogger(__name__)
REACH = 10
"""The stars' stamps are wider than the core by so many pixels, which tell flux and sky."""
PRIOR, WIDTH_STEPS = 0.1, 30
"""Width of the prior on a pixel of the core to start with, in units of the PSF's peak, and how often it is improved."""
ITERATIONS = 2
SIGNIFICANCE = 5.
"""A core must fit better than none by so many standard deviations of what noise would make it fit better."""


def fit_narrow_core(psf, stamps, size):
    """A PSF with a core, the same over the image, that is fitted without shifting a star.

    Parameters
    ----------
    psf : FieldPSF
        Profile, and the core as it was.
    stamps : crowdsource.psf.base.StarStamps
    size : int
        Side of the core, pixels; at most 9.

    Returns
    -------
    FieldPSF
        Without a core where none is significant.
    """
    size = min(size, DIRECT_CORE, stamps.size-2)
    bare, margin = FieldPSF.of(psf.profile, norm_size=psf.norm_size), max(0, stamps.size-size-REACH)//2
    inner = np.s_[:, margin:stamps.size-margin, margin:stamps.size-margin]
    stamps = replace(stamps, data=stamps.data[inner], ivar=stamps.ivar[inner])
    templates, fade = core_templates(bare, stamps, size), taper(size)
    core = psf.core if psf.core.shape == (1, size, size) else np.zeros((1, size, size))
    for _ in range(ITERATIONS):
        information, gradient, scatter = normal_of_core(replace(bare, core=core), stamps, templates)
        before = (core[0]/np.where(fade > 0, fade, 1)).ravel()
        pixels = likeliest(information/scatter, (gradient+information@before)/scatter, PRIOR*bare.stamp(1)[0, 0])
        if pixels is None:
            log.info("PSF without a pixel core: the stars show none")
            return bare
        core = (pixels.reshape(size, size)*fade)[None]
    return FieldPSF.of(psf.profile, core, psf.norm_size)


def likeliest(information, right, width):
    """Solution of normal equations under a prior about 0 whose width comes from the data; None where noise explains them as well.

    Patterns of pixels of which the stars tell little, and those that stand for flux, position and sky, stay near 0.

    Parameters
    ----------
    information : ndarray, shape (k, k)
    right : ndarray, shape (k,)
    width : float
        Of the prior to start with.

    Returns
    -------
    ndarray, shape (k,), or None
    """
    known, modes = np.linalg.eigh(information)
    known, seen = np.maximum(known, 0), modes.T@right
    precision = 1/width**2
    free = (known/(known+precision)).sum()
    if (seen**2/(known+precision)).sum() < free+SIGNIFICANCE*np.sqrt(2*free):
        return None
    for _ in range(WIDTH_STEPS):
        # expectation and maximisation: mean square of what the modes are, by mean and variance given the width
        precision = 1/np.mean((seen/(known+precision))**2+1/(known+precision))
    return modes@(seen/(known+precision))


def core_templates(bare, stamps, size):
    """What a unit of each pixel of a core, faded towards its rim, adds to each star's stamp; shape (size^2, n, side, side)."""
    units = np.eye(size**2).reshape(-1, size, size)*taper(size)
    wide = stamps.size+4
    planes = replace(bare, core=units).core_samples(max(wide, bare.norm_size))
    one = np.ones((len(stamps), 1))
    return np.array([render(coefficients(middle_samples(plane[None], wide, bare.oversampling)), one, stamps.x, stamps.y,
                            stamps.size, bare.oversampling) for plane in planes])


def normal_of_core(psf, stamps, templates):
    """Normal equations of a core's change, each star's nuisances eliminated.

    Parameters
    ----------
    psf : FieldPSF
        With the core that is to be changed.
    stamps : crowdsource.psf.base.StarStamps
    templates : ndarray, shape (k, n, side, side)

    Returns
    -------
    information : ndarray, shape (k, k)
    gradient : ndarray, shape (k,)
    scatter : float
        Mean square of the residual over its error, at least 1.
    """
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    problem, n = prepared(stamps, value), len(stamps)
    columns = np.stack([value, ddx, ddy, np.ones_like(value), *templates], axis=1).reshape(n, NUISANCE+len(templates), -1)
    _, left, weight = solve_steadily(columns[:, :NUISANCE], problem)
    normal, right = without_nuisances(*products(columns, weight, problem.data-value.reshape(n, -1)))
    information, gradient = normal.sum(axis=0), right.sum(axis=0)
    explained = gradient@np.linalg.lstsq(information, gradient, rcond=1e-6)[0]
    scatter = ((weight*left**2).sum()-explained)/max(1, (weight > 0).sum()-NUISANCE*n)
    return information, gradient, max(1., float(scatter))
