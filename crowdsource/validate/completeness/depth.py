"""The depth map: the magnitude at which half of the stars is found, at each place of an image."""
import numpy as np
from scipy.special import xlog1py, xlogy

NODES = 32
"""Number of places along the longer axis."""
NEAREST = 60
"""The surroundings of a place hold about so many stars."""
RANGE, STEPS = 2.5, 201
"""Limits that are tried are off that of the whole image by up to this, magnitudes; and their number."""
PRIOR = 1.
"""Width of the Gaussian prior on the difference from the limit of the whole image, magnitudes."""


def depth_map(stars, magnitude, curve, shape, origin):
    """The 50 % magnitude at places of an image.

    The curve of the whole image is moved along the magnitudes until it suits the stars around, which count by a Gaussian of their
    distance that is as wide as needed. So details smaller than the distance of some tens of artificial stars are not seen.

    Parameters
    ----------
    stars : astropy.table.Table
        With x, y and found.
    magnitude : ndarray, shape (n,)
    curve : crowdsource.validate.completeness.curve.Curve
        Of the whole image.
    shape, origin : tuple of int
        (ny, nx) of the image, and (x0, y0) of its first pixel.

    Returns
    -------
    depth, error : ndarray, float32
        One value for each square of `step` pixels.
    step : int
    """
    ny, nx = shape
    step = max(1, int(np.ceil(max(shape)/NODES)))
    x, y = ((np.arange(0, side, step)+(step-1)/2) for side in (nx, ny))
    trial = np.linspace(-RANGE, RANGE, STEPS)
    found = np.asarray(stars["found"], bool)[:, None]
    c = np.clip(curve(magnitude[:, None]-trial), 1e-9, 1-1e-9)
    likelihood = xlogy(found, c)+xlog1py(~found, -c)
    at = np.asarray(stars["x"])-origin[0], np.asarray(stars["y"])-origin[1]
    depth = np.empty((len(y), len(x)), np.float32)
    error = np.empty_like(depth)
    for j, row in enumerate(y):
        distance = (at[0]-x[:, None])**2+(at[1]-row)**2
        width = np.partition(distance, min(NEAREST, distance.shape[1]-1), axis=1)[:, [min(NEAREST, distance.shape[1]-1)]]/2
        value = np.exp(-distance/(2*np.maximum(width, 1))) @ likelihood-(trial/PRIOR)**2/2
        weight = np.exp(value-value.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        middle = weight @ trial
        depth[j], error[j] = curve.magnitude(0.5)+middle, np.sqrt(np.maximum(weight @ trial**2-middle**2, 0))
    return depth, error, step
