"""Blends: which stars of an image are resolved, and what the others merge into.

Whether two stars are resolved is random: the probability rises from 0 to 1 over a small range of separations, about 0.6 FWHM for
stars of equal brightness, more where they differ or the fainter one is faint. Stars are processed from the brightest to the
faintest. A star that is not resolved from a brighter resolved star is merged into it; a star that was merged takes no others, so
that blends do not run along chains.
"""
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

EQUAL, BY_RATIO, BY_SNR, WIDEST = 0.6, 0.06, 1., 1.1
"""Separation in FWHM at which half of the pairs of equal, bright stars are resolved; what each magnitude of difference adds; what
1/SNR of the fainter star adds; and its largest value."""
SOFTNESS = 0.07
"""Half of the range of separations, in FWHM, over which the probability rises from 0.27 to 0.73."""
REACH = 1.5
"""Pairs farther apart than this, in FWHM, are resolved and do not influence each other."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Blends:
    """Stars in order of brightness, which of them are resolved, and what was merged into those.

    Attributes
    ----------
    order : ndarray, shape (n,), intp
        Indices of the stars, brightest first. The other attributes number the stars by their rank in this order.
    owner : ndarray, shape (n,), intp
        Rank of the star that each was merged into; its own rank for a resolved star.
    share : ndarray, shape (n,), float64
        Flux that each star adds there.
    x, y, flux : ndarray, shape (n,), float64
        Of the blend for each resolved star; of the star itself for the others.
    pairs : ndarray, shape (m, 2), intp
        Neighbours that are both resolved.
    overlap : ndarray, shape (m,), float64
        Normalised product of their profiles, 1 at separation 0.
    """

    order: np.ndarray
    owner: np.ndarray
    share: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    pairs: np.ndarray
    overlap: np.ndarray

    @property
    def resolved(self):
        """Ranks of the resolved stars."""
        return np.flatnonzero(self.owner == np.arange(len(self.owner)))


def blend(x, y, flux, snr, fwhm, rng):
    """Merge stars that are not resolved.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Pixels.
    flux, snr : ndarray, shape (n,)
        True flux, and its ratio to the noise of an isolated star.
    fwhm : float
        Pixels.
    rng : numpy.random.Generator

    Returns
    -------
    Blends
    """
    order = np.argsort(-flux, kind="stable")
    x, y, flux, snr = x[order], y[order], flux[order], snr[order]
    pairs = close_pairs(x, y, REACH*fwhm)
    near, far = pairs.T
    s = np.hypot(x[near]-x[far], y[near]-y[far])/fwhm
    together = rng.random(len(s)) > resolution(s, 2.5*np.log10(flux[near]/flux[far]), snr[far])
    owner = blend_owners(pairs[together], len(x))
    bx, by, total, share = blend_sums(x, y, flux, owner, fwhm)
    resolved = owner == np.arange(len(x))
    apart = resolved[near] & resolved[far]
    return Blends(order=order, owner=owner, share=share, x=bx, y=by, flux=total, pairs=pairs[apart], overlap=overlap(s[apart]))


def close_pairs(x, y, radius):
    """Pairs of points within a radius, shape (m, 2), the lower number first, in order."""
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(radius, output_type="ndarray")
    # the tree's own order may change from one version of it to the next
    return pairs[np.argsort(pairs[:, 0]*len(x)+pairs[:, 1])]


def resolution(separation, difference, snr):
    """Probability that two stars are resolved.

    Parameters
    ----------
    separation : ndarray
        In FWHM.
    difference : ndarray
        Magnitudes.
    snr : ndarray
        Of the fainter one.

    Returns
    -------
    ndarray
    """
    half = np.minimum(EQUAL+BY_RATIO*difference+BY_SNR/np.maximum(snr, 0.1), WIDEST)
    return expit((separation-half)/SOFTNESS)


def overlap(separation):
    """Normalised product of two Gaussian profiles by their separation in FWHM: exp(-d^2/(4 sigma^2))."""
    return 4.**-np.square(separation)


def blend_owners(links, n):
    """Rank of the star that each star is merged into, from the brightest to the faintest.

    Parameters
    ----------
    links : ndarray, shape (m, 2)
        Ranks of pairs that are not resolved, the brighter star first.
    n : int

    Returns
    -------
    ndarray, shape (n,), intp
    """
    unknown, alone = np.ones(n, bool), np.zeros(n, bool)
    left = links
    while unknown.any():
        blocked = np.zeros(n, bool)
        blocked[left[:, 1]] = True
        fresh = unknown & ~blocked
        alone |= fresh
        taken = left[alone[left[:, 0]], 1]
        unknown &= ~fresh
        unknown[taken] = False
        left = left[unknown[left[:, 0]] & unknown[left[:, 1]]]
    owner = np.where(alone, np.arange(n), n)
    near, far = links[alone[links[:, 0]]].T
    np.minimum.at(owner, far, near)
    return owner


def blend_sums(x, y, flux, owner, fwhm):
    """Position and flux of each blend as a fit of one profile finds them, to first order.

    The fitted position is a centroid in which the weight of each star is its flux times its overlap with the profile. That
    product is also what the star adds to the flux.

    Returns
    -------
    x, y, flux : ndarray, shape (n,), float64
    share : ndarray, shape (n,), float64
    """
    n = len(x)

    def summed(values):
        return np.bincount(owner, values, n)

    whole = np.maximum(summed(flux), 1e-300)
    mx, my = summed(flux*x)/whole, summed(flux*y)/whole
    share = flux*overlap(np.hypot(x-mx[owner], y-my[owner])/fwhm)
    # a star without others keeps its position to the last bit
    several = np.bincount(owner, minlength=n) > 1
    total = np.maximum(summed(share), 1e-300)
    bx, by = (np.where(several, summed(share*v)/total, v) for v in (x, y))
    share = np.where(several[owner], share, flux)
    return bx, by, np.where(several, total, flux), share
