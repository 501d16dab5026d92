"""Removal of sources that are too faint, too close to a brighter one, or have left the image."""
import numpy as np
from scipy.spatial import cKDTree

OUTSIDE = 8.


def worthy(sources, config, shape):
    """Which sources are bright enough, apart enough and on the image.

    Parameters
    ----------
    sources : crowdsource.sources.Sources
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


def needed(sources, significance, least, reach):
    """Which sources the model needs: those significant with position and neighbours marginalised.

    The flux over its marginal error is the root of the chi2 that the model would lose without the source. Two sources on
    one star rob each other of significance, so that of sources close together only the least significant goes at a time.

    Parameters
    ----------
    sources : crowdsource.sources.Sources
    significance : ndarray, shape (n,)
        From `marginal_significance`, less what speaks against a source.
    least : float
        Smallest significance.
    reach : float
        Sources nearer than this compete, pixels.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    doomed = np.flatnonzero((significance < least) & ~sources.bright)
    pairs = cKDTree(np.c_[sources.x[doomed], sources.y[doomed]]).query_pairs(reach, output_type="ndarray")
    spared = np.zeros(len(doomed), bool)
    first = np.where(significance[doomed][pairs[:, 0]] < significance[doomed][pairs[:, 1]], pairs[:, 1], pairs[:, 0])
    spared[first] = True
    keep = np.ones(len(sources), bool)
    keep[doomed[~spared]] = False
    return keep


def _fainter_of_close(sources, config):
    """The fainter of each pair closer than allowed, brightest first; exempt ones stay."""
    pairs = cKDTree(np.c_[sources.x, sources.y]).query_pairs(config.min_separation, output_type="ndarray")
    drop = np.zeros(len(sources), bool)
    if not len(pairs):
        return drop
    flux = sources.flux
    fainter = np.where(flux[pairs[:, 0]] < flux[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    brighter = pairs.sum(axis=1)-fainter
    exempt = sources.bright | (flux > config.keep_flux)
    for k in np.argsort(-flux[brighter], kind="stable"):
        if not drop[brighter[k]] and not exempt[fainter[k]]:
            drop[fainter[k]] = True
    return drop
