"""Rules for removing sources: too faint, too close to a brighter one, off the image, or not significant."""
import numpy as np

from ..core.calibration import calibration
from ..core.neighbours import neighbours, pairs

MARGIN = 8.
"""Sources farther off the image than this, and than their stamps reach, are removed, pixels."""
MAX_POSITION_INFLATION = calibration.cull.max_position_inflation
"""Largest ratio of a flux error with the position free to the one with the position known that counts for pruning; where the
ratio is larger, the image hardly separates the source from its neighbours."""


def acceptable(sources, config, shape, reach=MARGIN):
    """Which sources are bright enough, far enough from each other, and not too far off the image.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
    config : crowdsource.config.CullConfig
    shape : tuple of int
        (ny, nx) of the image.
    reach : ndarray, shape (n,), optional
        How far the light of each reaches, pixels.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    known = np.isfinite(sources.error)
    keep = known & (sources.flux > config.min_significance*np.where(known, sources.error, 0))
    keep &= ~off_image(sources, shape, np.maximum(reach, MARGIN))
    keep |= sources.bright
    if config.min_separation > 0 and keep.sum() > 1:
        keep[keep] = ~_fainter_of_close(sources.subset(keep), config)
    return keep


def off_image(sources, shape, margin=MARGIN):
    """Which sources lie farther off an image of some shape than a margin, or each than its own, pixels; shape (n,)."""
    ny, nx = shape
    inside = (sources.x > -margin) & (sources.x < nx-1+margin) & (sources.y > -margin) & (sources.y < ny-1+margin)
    return ~inside


def marginal_error(covariance):
    """Flux errors marginalised over the source's position and its neighbours, shape (n,).

    Parameters
    ----------
    covariance : ndarray, shape (n, 3, 3)
        Of flux, and flux times shift in x and y, marginalised over the neighbours.
    """
    return np.sqrt(np.maximum(covariance[:, 0, 0], 1e-300))


def removal_error(covariance):
    """Flux errors for which flux over error is the square root of the chi2 that the model loses without the source, shape (n,).

    When a source is removed its position goes as well, which therefore counts as known, while the fluxes and positions of its
    neighbours are free. For an isolated source this equals the marginal error; for one on the flank of another the marginal error
    is larger, since a shift of the source changes the image almost as a change of its flux does.

    Parameters
    ----------
    covariance : ndarray, shape (n, 3, 3)
        Of flux, and flux times shift in x and y, neighbours marginalised.
    """
    flux, x, y = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 0, 2]
    xx, xy, yy = covariance[:, 1, 1], covariance[:, 1, 2], covariance[:, 2, 2]
    with np.errstate(invalid="ignore"):
        position = xx*yy-xy**2
        # the Schur complement of the position's block is the inverse of the flux's own element of the inverse
        known = flux-(x**2*yy-2*x*y*xy+y**2*xx)/np.where(position > 0, position, np.inf)
        known = np.where(np.isfinite(known) & (position > 0), known, flux)
    return np.sqrt(np.maximum(np.maximum(known, flux/MAX_POSITION_INFLATION**2), 1e-300))


def significant(sources, significance, bound, radius, fwhm=np.inf, least=0.):
    """Which sources are significant enough to stay.

    Two sources on one star make each other insignificant, so that of several close together only the least significant is removed
    at a time, where the light of both would make one that may be significant.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
    significance : ndarray, shape (n,)
        Flux over `removal_error`, or what stands for it.
    bound : float
        Smallest significance.
    radius : float
        Sources nearer to each other than this compete, pixels.
    fwhm : float
        Of the PSF, pixels: what a source gets of another's light is the overlap of two Gaussians; all of it when not given.
    least : float
        Smallest significance, in units of the error of an isolated source, that the light of both must have.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    insignificant = np.flatnonzero((significance < bound) & ~sources.bright)
    first, second = pairs(sources.x[insignificant], sources.y[insignificant], radius).T
    spared = np.zeros(len(insignificant), bool)
    weaker = significance[insignificant][first] < significance[insignificant][second]
    some = sources.subset(insignificant)
    stronger, other = np.where(weaker, second, first), np.where(weaker, first, second)
    distance = np.hypot(some.x[first]-some.x[second], some.y[first]-some.y[second])
    both = some.flux[stronger]+some.flux[other]*np.exp2(-2*(distance/fwhm)**2)
    spared[stronger[both >= least*some.error[stronger]]] = True
    keep = np.ones(len(sources), bool)
    keep[insignificant[~spared]] = False
    return keep


def joined(sources, removed, radius):
    """Sources where the light of those that were removed beside them counts for their positions.

    Two sources on one star share its light in whatever way fits noise best: neither stands where the star is.

    Parameters
    ----------
    sources, removed : crowdsource.engine.sources.Sources
    radius : float
        The brightest source nearer than this to one that was removed gets its light, pixels.

    Returns
    -------
    Sources
    """
    removed = removed.subset(removed.flux > 0)
    if radius <= 0 or not len(removed):
        return sources
    indptr, near = neighbours(sources.x, sources.y, removed.x, removed.y, radius)
    row = np.repeat(np.arange(len(removed)), np.diff(indptr))
    order = np.lexsort((-sources.flux[near], row))
    row, near = row[order], near[order]
    first = (np.diff(row, prepend=-1) > 0) & (sources.flux[near] > 0) & ~sources.bright[near]
    row, near = row[first], near[first]
    moments = [np.bincount(near, removed.flux[row]*at, len(sources)) for at in (1, removed.x[row], removed.y[row])]
    flux = sources.flux+moments[0]
    x, y = (np.where(moments[0] > 0, (sources.flux*at+moment)/np.where(flux != 0, flux, 1), at)
            for at, moment in zip((sources.x, sources.y), moments[1:]))
    return sources.with_values(flux=flux, x=x, y=y)


def _fainter_of_close(sources, config):
    """Which sources are the fainter of a pair closer than allowed, starting from the brightest; exempt ones stay."""
    first, second = pairs(sources.x, sources.y, config.min_separation).T
    drop = np.zeros(len(sources), bool)
    flux = sources.flux
    fainter = np.where(flux[first] < flux[second], first, second)
    brighter = first+second-fainter
    exempt = sources.bright | (flux > config.keep_flux)
    for k in np.argsort(-flux[brighter], kind="stable"):
        if not drop[brighter[k]] and not exempt[fainter[k]]:
            drop[fainter[k]] = True
    return drop
