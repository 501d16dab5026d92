"""Pixels and those around them."""
import numpy as np

AXES = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps (up, right) along the two axes and the two diagonals."""
BOX = np.ones((3, 3))
"""A pixel and the eight that touch it."""


def values(image, y, x, up, right):
    """Values of pixels so many rows above and columns right of some, shape (n,); those off the image are its edge's."""
    ny, nx = image.shape
    return image[np.clip(y+up, 0, ny-1), np.clip(x+right, 0, nx-1)]
