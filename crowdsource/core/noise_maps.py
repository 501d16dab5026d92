"""Noise maps: what a map of each kind says, and whether the image agrees."""
import numpy as np

from .errors import InputError
from .noise import scatter_in_units_of

NOISE_OF = {"ivar": lambda v: 1/np.sqrt(v), "inverse_sigma": lambda v: 1/v, "rms": lambda v: v, "variance": np.sqrt}
"""One sigma of a pixel from the value of each map."""
OFF, FAR_OFF, ALIKE = 3., 10., 1.7
"""The image scatters by less than `OFF` times what a map says, and by more than one `OFF`-th of it, or one `FAR_OFF`-th where
resampled pixels may be smooth; by a factor of `ALIKE` where the map is another one. See `benchmarks/studies/noise_maps.py`."""


def doubts(values, data, kind, argument=None):
    """Sentences about a noise map that disagrees with the scatter of the image itself; none where it agrees.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
        The map.
    data : ndarray, shape (ny, nx), float32
        NaN for pixels that do not count.
    kind : str
        What it is given as, of `NOISE_OF`.
    argument : str, optional
        How the user calls it, for messages; `kind` when not given.

    Raises
    ------
    InputError
        When it disagrees so much that it must be something else.
    """
    with np.errstate(all="ignore"):
        own, = scatter_in_units_of([NOISE_OF[kind]], values, data)
        if not own > 0 or 1/OFF <= own <= OFF:
            return ()
        found = dict(zip(NOISE_OF, scatter_in_units_of(NOISE_OF.values(), values, data)))
    told = f"the image's background scatters by {own:.3g} times the noise that `{argument or kind}` gives"
    like = [n for n, ratio in found.items() if 1/ALIKE < ratio < ALIKE]
    if like:
        raise InputError(f"{told}; taken as `{like[0]}` the map would fit ({found[like[0]]:.2g}): give it as "
                         "that, or add `trust_noise=True`")
    if own > OFF or own < 1/FAR_OFF:
        raise InputError(f"{told}: check the units of both; `weight` takes the scale from the image, `trust_noise=True` the "
                         "map as it is")
    return (f"{told}: correlated noise of resampled pixels, or units that differ",)
