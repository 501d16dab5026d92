"""Removal of sources that are too faint, too close to a brighter one, or have left the image."""
import numpy as np

from ..core.neighbours import pairs

OUTSIDE = 8.
ENTANGLED = 2.5
"""Largest ratio of a flux error with the source's own position unknown to one with it known that speaks for two sources: where it
is larger they stand in places that the image hardly tells apart from others."""


def worthy(sources, config, shape):
    """Which sources are bright enough, apart enough and on the image.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
    config : crowdsource.config.CullConfig
    shape : tuple of int
        (ny, nx) of the image.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    ny, nx = shape
    known = np.isfinite(sources.error)
    keep = known & (sources.flux > config.min_significance*np.where(known, sources.error, 0))
    keep &= (sources.x > -OUTSIDE) & (sources.x < nx-1+OUTSIDE) & (sources.y > -OUTSIDE) & (sources.y < ny-1+OUTSIDE)
    keep |= sources.bright
    if config.min_separation > 0 and keep.sum() > 1:
        keep[keep] = ~_fainter_of_close(sources.subset(keep), config)
    return keep


def marginal_error(covariance):
    """Flux errors with position and neighbours marginalised, shape (n,)."""
    return np.sqrt(np.maximum(covariance[:, 0, 0], 1e-300))


def removal_error(covariance):
    """Flux errors in units of which a flux is the root of the chi2 that the model loses without the source, shape (n,).

    A source that goes takes its position with it, which therefore counts as known; its neighbours' fluxes and positions give way.
    For a source on its own that is no different from the marginal error; one on the flank of another differs from it in little
    but what a shift of its own would do as well.

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
    return np.sqrt(np.maximum(np.maximum(known, flux/ENTANGLED**2), 1e-300))


def needed(sources, significance, least, reach):
    """Which sources the model needs: those whose fluxes are significant.

    Two sources on one star rob each other of significance, so that of sources close together only the least significant goes at
    a time.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
    significance : ndarray, shape (n,)
        Flux over `removal_error`, less what speaks against a source.
    least : float
        Smallest significance.
    reach : float
        Sources nearer than this compete, pixels.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    doomed = np.flatnonzero((significance < least) & ~sources.bright)
    first, second = pairs(sources.x[doomed], sources.y[doomed], reach).T
    spared = np.zeros(len(doomed), bool)
    spared[np.where(significance[doomed][first] < significance[doomed][second], second, first)] = True
    keep = np.ones(len(sources), bool)
    keep[doomed[~spared]] = False
    return keep


def _fainter_of_close(sources, config):
    """The fainter of each pair closer than allowed, brightest first; exempt ones stay."""
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
