"""A first guess of how two images lie to each other, from the pattern of their bright stars.

Triangles of neighbouring bright stars have the same ratios of sides in both images, whatever shift, angle, scale and parity lie
between them (Groth 1986, AJ 91, 1244). Each pair of alike triangles proposes a similarity; the one that brings most stars
together is taken.
"""
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

from ..core import functions
from .frame import Frame

BRIGHTEST = 60, 150
"""Numbers of the brightest stars that are tried, the larger one where the smaller does not do."""
NEAREST = 7
"""Triangles are those of a star and two of so many neighbours."""
ALIKE = 0.01
"""Largest difference of the ratios of sides."""
LARGEST_RATIO = 0.97
"""The two longer sides of a triangle may not be more alike, nor the shorter: it is not known then which is which."""
TRIED = 4000
"""At most so many pairs of triangles are tried, the most alike first."""
CHUNK, PLENTY = 250, 0.5
"""They are tried so many at a time, until one brings this share of the brightest stars together."""
TOLERANCE = 2.
"""Stars nearer than this to each other are the same, pixels."""
LEAST, LEAST_SHARE = 8, 0.2
"""So many stars must come together, and such a share of the brightest."""


def common_pattern(u, v, x, y):
    """The similarity that brings most bright stars of two images together.

    Parameters
    ----------
    u, v : ndarray, shape (n,)
        Stars of the reference, brightest first, pixels.
    x, y : ndarray, shape (m,)
        Stars of the image, brightest first, pixels.

    Returns
    -------
    Frame or None
        None where too few stars agree.
    """
    for most in BRIGHTEST:
        frame, count = _best(np.c_[u, v][:most], np.c_[x, y][:most])
        if count >= max(LEAST, LEAST_SHARE*min(most, len(u), len(x))):
            return frame
    return None


def _best(reference, image):
    """The best similarity of two lists of stars, and the number of stars that it brings together."""
    (corners, shape), (other_corners, other_shape) = triangles(reference), triangles(image)
    if not len(corners) or not len(other_corners):
        return None, 0
    distance, number = cKDTree(shape).query(other_shape, distance_upper_bound=ALIKE)
    order = np.argsort(distance, kind="stable")[:TRIED]
    order = order[np.isfinite(distance[order])]
    tree, best, count = cKDTree(image), None, 0
    for first in range(0, len(order), CHUNK):
        pairs = order[first:first+CHUNK]
        factor, shift, mirrored = _similarities(reference[corners[number[pairs]]], image[other_corners[pairs]])
        places = functions.times(factor[:, None], _complex(reference, mirrored[:, None]))+shift[:, None]
        _, partner = tree.query(np.stack([places.real, places.imag], axis=-1), distance_upper_bound=TOLERANCE)
        found = _different(partner, len(image))
        k = int(found.argmax())
        if found[k] > count:
            place, count = (shift[k].real, shift[k].imag), found[k]
            best = Frame.turned(factor[k], place, mirrored[k])
        if count >= PLENTY*min(len(reference), len(image)):
            break
    return best, count


def _different(partner, none):
    """How many different numbers each row has, but for one that stands for none."""
    rows = np.sort(partner, axis=1)
    return ((np.diff(rows, axis=1, prepend=-1) > 0) & (rows < none)).sum(axis=1)


def triangles(stars):
    """Triangles of each star with two of its neighbours: their corners, that opposite of the longest side first, and their shape.

    Returns
    -------
    corners : ndarray of int, shape (n, 3)
    shape : ndarray, shape (n, 2)
        The middle and the shortest side over the longest.
    """
    near = min(NEAREST, len(stars)-1)
    if near < 2:
        return np.empty((0, 3), int), np.empty((0, 2))
    _, neighbours = cKDTree(stars).query(stars, near+1)
    corners = np.concatenate([neighbours[:, (0, a, b)] for a, b in combinations(range(1, near+1), 2)])
    corners = np.unique(np.sort(corners, axis=1), axis=0)
    sides = np.stack([np.hypot(*(stars[corners[:, (k+1) % 3]]-stars[corners[:, (k+2) % 3]]).T) for k in range(3)], axis=1)
    order = np.argsort(-sides, axis=1)
    corners, sides = np.take_along_axis(corners, order, 1), np.take_along_axis(sides, order, 1)
    shape = sides[:, 1:]/np.maximum(sides[:, :1], 1e-9)
    clear = (shape[:, 0] < LARGEST_RATIO) & (shape[:, 1] < LARGEST_RATIO*shape[:, 0])
    return corners[clear], shape[clear]


def _complex(places, mirrored):
    """Places as complex numbers, with the second coordinate reversed where they are mirrored."""
    return places[..., 0]+1j*np.where(mirrored, -1, 1)*places[..., 1]


def _similarities(reference, image):
    """The similarities of pairs of triangles, mirrored where these turn in different senses.

    Parameters
    ----------
    reference, image : ndarray, shape (n, 3, 2)
        Their corners, in the same order.

    Returns
    -------
    factor, shift : ndarray, shape (n,), complex128
        A place z of the reference, as `_complex`, lies at factor z + shift.
    mirrored : ndarray of bool, shape (n,)
    """
    a, b, p, q = (t[:, k]-t[:, 0] for t in (_complex(reference, False), _complex(image, False)) for k in (1, 2))
    mirrored = functions.times(a.conj(), b).imag*functions.times(p.conj(), q).imag < 0
    places, there = _complex(reference, mirrored[:, None]), _complex(image, False)
    a, b = (places[:, k]-places[:, 0] for k in (1, 2))
    # corners of a triangle lie apart: its longest side is not 0
    size = functions.squared_modulus(a)+functions.squared_modulus(b)
    factor = functions.times(functions.times(p, a.conj())+functions.times(q, b.conj()), 1/size)
    return factor, there.mean(axis=1)-functions.times(factor, places.mean(axis=1)), mirrored
