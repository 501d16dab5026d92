"""Which stars of an image are told apart, and what becomes of the others.

Two stars are told apart by chance: the probability rises from 0 to 1 over a small range of separations, about 0.6 FWHM for
stars of equal brightness, more where they differ or the fainter one is faint. Stars are taken from the brightest on. One that
is not told apart from a brighter one that stands for itself goes into that; those that went into another take none, so that
blends do not run along chains.
"""
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

EQUAL, BY_RATIO, BY_SNR, WIDEST = 0.6, 0.06, 1., 1.1
"""Separation in FWHM at which half of the pairs of equal, bright stars are told apart, what each magnitude of difference adds,
what 1/SNR of the fainter star adds, and the most that it can become."""
SOFTNESS = 0.07
"""The probability goes from 0.27 to 0.73 over twice so many FWHM."""
REACH = 1.5
"""Pairs farther apart, in FWHM, are told apart, and have nothing to do with each other."""


@dataclass(frozen=True)
class Blends:
    """Stars in order of brightness, those that stand for themselves, and what went into them.

    Attributes
    ----------
    order : ndarray, shape (n,), intp
        Stars as they were given, brightest first; ranks in it number the stars below.
    owner : ndarray, shape (n,), intp
        Rank of the star that each went into; a star's own where it stands for itself.
    share : ndarray, shape (n,), float64
        Flux that it brought there.
    x, y, flux : ndarray, shape (n,), float64
        Of the blend at each star that stands for itself; of the star elsewhere.
    pairs : ndarray, shape (m, 2), intp
        Neighbours that both stand for themselves.
    overlap : ndarray, shape (m,), float64
        Product of their profiles, 1 at no separation.
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
    def alone(self):
        """Ranks of the stars that stand for themselves."""
        return np.flatnonzero(self.owner == np.arange(len(self.owner)))


def blend(x, y, flux, snr, fwhm, rng):
    """Merge stars that are not told apart.

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
    owner = owners(pairs[together], len(x))
    bx, by, total, share = gathered(x, y, flux, owner, fwhm)
    alone = owner == np.arange(len(x))
    apart = alone[near] & alone[far]
    return Blends(order, owner, share, bx, by, total, pairs[apart], overlap(s[apart]))


def close_pairs(x, y, radius):
    """Pairs of points within a radius, shape (m, 2), the lower number first, in order."""
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(radius, output_type="ndarray")
    # the tree's own order may change from one version of it to the next
    return pairs[np.argsort(pairs[:, 0]*len(x)+pairs[:, 1])]


def resolution(separation, difference, snr):
    """Probability that two stars are told apart.

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


def owners(links, n):
    """Whom each star goes into when the brightest are served first.

    Parameters
    ----------
    links : ndarray, shape (m, 2)
        Ranks of stars that are not told apart, the brighter one first.
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


def gathered(x, y, flux, owner, fwhm):
    """Place and flux of each blend, as a fit of one profile finds them, to first order.

    The fit's place is a centroid in which a star counts with its flux and with its overlap with the profile; what it brings to
    the flux is that product too.

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
    # a star alone is where it is, to the last bit
    several = np.bincount(owner, minlength=n) > 1
    total = np.maximum(summed(share), 1e-300)
    bx, by = (np.where(several, summed(share*v)/total, v) for v in (x, y))
    share = np.where(several[owner], share, flux)
    return bx, by, np.where(several, total, flux), share
