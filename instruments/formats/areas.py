"""Pixels of different areas, and pixels that share noise: distorted detectors, and images that are drizzled from them."""
import numpy as np

from crowdsource.core import functions
from crowdsource.core.world import sky_of

NODES, SAMPLES = 33, 64
"""Along each axis, places where the area of pixels is computed, and samples of a pixel in which kernels are drawn."""


def area_map(wcs, shape, nominal):
    """Area of each pixel in units of a nominal one, by the world coordinates; ndarray, shape (ny, nx), float32.

    Flat fields make distorted images ones of surface brightness: the light of a star is the sum of pixels times their areas.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or another one of APE 14
    shape : tuple of int
    nominal : float
        Square degrees.
    """
    from scipy.interpolate import RectBivariateSpline
    y, x = (np.linspace(0, n-1, min(n, NODES)) for n in shape)
    at = np.meshgrid(x, y)
    steps = ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))
    sky = np.array([sky_of(wcs, at[0]+dx, at[1]+dy) for dx, dy in steps])
    right = [(sky[b]-sky[a]) for a, b in ((0, 1), (2, 3))]
    (ra1, dec1), (ra2, dec2) = (((d[0]+180) % 360-180, d[1]) for d in right)
    area = np.abs(ra1*dec2-ra2*dec1)*functions.cos(np.deg2rad(sky[:, 1].mean(axis=0)))
    smooth = RectBivariateSpline(y, x, area/nominal, kx=min(3, len(y)-1), ky=min(3, len(x)-1))
    return smooth(np.arange(shape[0]), np.arange(shape[1])).astype(np.float32)


def shared_noise(pixfrac, ratio):
    """By how much the noise of large areas exceeds what pixels of a drizzled image tell, as if these were independent.

    The kernel of a drizzled pixel is the input pixel, shrunk by `pixfrac`, on the output pixel, at all phases; its
    autocorrelation is that of the noise. The first number is the R of Casertano et al. (2000, AJ 120, 2747), 1.5 for a
    pixfrac and a ratio of 1.

    Parameters
    ----------
    pixfrac : float
        Side of a drop in input pixels.
    ratio : float
        Side of an output pixel in input pixels.

    Returns
    -------
    pixels, differences : float
        For the scatter of pixels, and for that of mixed second differences, by which `crowdsource.core.noise` measures noise.
    """
    drop, cell = (np.ones(max(1, round(SAMPLES*v))) for v in (pixfrac, ratio))
    kernel = np.convolve(drop, cell)
    whole, step = np.correlate(kernel, kernel, "full"), len(cell)
    middle = len(whole)//2
    at = [float(whole[middle+k*step]) if middle+k*step < len(whole) else 0. for k in range(len(whole)//step+1)]
    a0, a1, a2 = (*at, 0., 0.)[:3]
    total = a0+2*sum(at[1:])
    # both axes alike: the variance is the product of two factors, the noise is one of them
    return total/a0, total/((6*a0-8*a1+2*a2)/6)
