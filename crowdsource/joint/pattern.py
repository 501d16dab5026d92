"""A first guess of how two images lie to each other, from the pattern of their bright stars.

Triangles of neighbouring bright stars have the same ratios of sides in both images, whatever shift, angle, scale and parity lie
between them (Groth 1986, AJ 91, 1244). Each pair of alike triangles proposes a similarity; the one that brings most stars
together is taken.
"""
from itertools import combinations

import numpy as np
from scipy.spatial import cKDTree

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
    for k in order:
        frame = _similarity(reference[corners[number[k]]], image[other_corners[k]])
        if frame is None:
            continue
        off, partner = tree.query(np.c_[frame(*reference.T)], distance_upper_bound=TOLERANCE)
        found = len(np.unique(partner[np.isfinite(off)]))
        if found > count:
            best, count = frame, found
    return best, count


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


def _similarity(reference, image):
    """The similarity of two triangles of known corners, mirrored where they turn in different senses; None if degenerate."""
    (a, b), (p, q) = ((t[1:]-t[0])@np.array([1, 1j]) for t in (reference, image))
    mirrored = (a.conjugate()*b).imag*(p.conjugate()*q).imag < 0
    if mirrored:
        a, b = a.conjugate(), b.conjugate()
    size = abs(a)**2+abs(b)**2
    if not size > 0:
        return None
    factor = (p*a.conjugate()+q*b.conjugate())/size
    if not abs(factor) > 0:
        return None
    frame = Frame.similarity(abs(factor), np.angle(factor), (0., 0.), mirrored)
    centre = reference.mean(axis=0)
    x, y = (c[0] for c in frame(*centre[:, None]))
    shift = image.mean(axis=0)-(x, y)
    return Frame.similarity(abs(factor), np.angle(factor), shift, mirrored)
