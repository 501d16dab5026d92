"""What a task will take: stars, CPU time and memory, from its pixels and the peaks in a part of them."""
import numpy as np
from scipy import ndimage

from ..core.memory import BYTES_OF_PIXEL

PART = 512
"""Side of the part of an image in which peaks are counted, pixels."""
SIGMA, FOUND = 1.5, 5.
"""Smoothing in pixels, and significance of the peaks that are counted."""
TYPICAL = 3000.
"""Stars per megapixel of an image that was not looked at."""
FAINT = 1.3
"""Sources that a fit ends with for each peak of such a count."""
CPU = 1., 0.7, 2e-4, 4e-9
"""Seconds: of any task, for each megapixel, for each star, and for each star and star per megapixel.

Fitted to simulated fields of 1 to 8 megapixels with 1,000 to 270,000 stars on one core of a server; other machines differ by a
factor of two.
"""
MEMORY = 170., BYTES_OF_PIXEL, 2.2e-3
"""MB: of any task, for each megapixel and for each star; of the same fields."""


def peaks(image):
    """Number of peaks per megapixel in the middle of an Image.

    Parameters
    ----------
    image : crowdsource.core.image.Image

    Returns
    -------
    float
    """
    ny, nx = image.shape
    y, x = max(0, (ny-PART)//2), max(0, (nx-PART)//2)
    part = slice(y, y+PART), slice(x, x+PART)
    data, good = image.data[part], image.good[part]
    if not good.any():
        return 0.
    level = np.median(data[good])
    smooth = ndimage.gaussian_filter(np.where(good, data-level, 0), SIGMA)
    values = smooth[good]
    scatter = 1.4826*np.median(np.abs(values-np.median(values)))
    high = (smooth == ndimage.maximum_filter(smooth, 3)) & good & (smooth-np.median(values) > FOUND*scatter) & (scatter > 0)
    return 1e6*float(high.sum())/good.sum()


def costs(megapixels, density=None):
    """Estimated stars, CPU seconds and MB of a task.

    Parameters
    ----------
    megapixels : float
    density : float, optional
        Peaks per megapixel; `TYPICAL` when not known.

    Returns
    -------
    stars, cpu, memory : float
    """
    density = TYPICAL if density is None else FAINT*density
    stars = density*megapixels
    cpu = CPU[0]+CPU[1]*megapixels+CPU[2]*stars+CPU[3]*stars*density
    return round(stars), round(cpu, 1), round(MEMORY[0]+MEMORY[1]*megapixels+MEMORY[2]*stars)
