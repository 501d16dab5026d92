"""Noise maps: what a map of each kind says, and whether the image agrees."""
import numpy as np

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.core.noise import scatter_in_units_of, without_marks

LARGEST_INVERSE = 1e19
"""Largest inverse of a noise, whose square float32 still holds."""
NOISE_MAPS = ("ivar", "inverse_sigma", "weight", "rms", "variance")
"""Options that give the noise, of which one may be used."""
NOISE_OF = {"ivar": lambda v: 1/np.sqrt(v), "inverse_sigma": lambda v: 1/v, "rms": lambda v: v, "variance": np.sqrt}
"""One sigma of a pixel from the value of each map."""
OFF, FAR_OFF, ALIKE = 3., 10., 1.7
"""The image scatters by less than `OFF` times what a map says, and by more than one `OFF`-th of it, or one `FAR_OFF`-th where
resampled pixels may be smooth; by a factor of `ALIKE` where the map is another one. See `benchmarks/studies/noise_maps.py`."""


def noise_arguments(noise, data, used, trusted=False):
    """Arguments of `crowdsource.core.image.Image.from_arrays` that say the noise.

    Parameters
    ----------
    noise : crowdsource.instruments.formats.base.Noise
    data : ndarray, shape (ny, nx), float32
    used : ndarray of bool, shape (ny, nx)
        Pixels that count.
    trusted : bool
        The map is not compared with the image.

    Returns
    -------
    dict

    Raises
    ------
    DataFileError
        When the map cannot be what it is taken for.
    """
    kind, plane = noise.kind, noise.plane
    # the map's value at a pixel that is not used does not matter
    values = plane.floats()
    values[~used] = 0
    try:
        findings = without_marks(values, used, kind.replace("_", " "), ("0", "infinite") if kind in ("rms", "variance") else ())
        if kind != "weight" and not trusted:
            findings += doubts(values, np.where(used, data, np.float32(np.nan)), kind)
    except InputError as problem:
        raise DataFileError(plane.path, str(problem), plane.hdu) from problem
    if kind == "weight":
        return dict(weight=values, findings=findings, shared=noise.factor)
    if kind == "variance":
        values = np.sqrt(values)
    if kind in ("rms", "variance"):
        values = np.where(values > 0, 1/np.maximum(values, np.float32(1/LARGEST_INVERSE)), np.float32(0))
    ivar = values if kind == "ivar" else np.minimum(values, np.float32(LARGEST_INVERSE))**2
    return dict(ivar=ivar, findings=findings)


def doubts(values, data, kind):
    """Sentences about a noise map that disagrees with the scatter of the image itself; none where it agrees.

    Parameters
    ----------
    values : ndarray, shape (ny, nx), float32
        The map.
    data : ndarray, shape (ny, nx), float32
        NaN for pixels that do not count.
    kind : str
        What it is given as, of `NOISE_OF`.

    Raises
    ------
    InputError
        When it disagrees so much that it must be something else.
    """
    with np.errstate(all="ignore"):
        found = dict(zip(NOISE_OF, scatter_in_units_of(NOISE_OF.values(), values, data)))
    own = found[kind]
    if not own > 0 or 1/OFF <= own <= OFF:
        return ()
    told = f"the image's background scatters by {own:.3g} times the noise that `{kind}` gives"
    like = [n for n, ratio in found.items() if 1/ALIKE < ratio < ALIKE]
    if like:
        raise InputError(f"{told}; taken as `{like[0]}` the map would fit ({found[like[0]]:.2g}): give it as "
                         "that, or add `trust_noise=True`")
    if own > OFF or own < 1/FAR_OFF:
        raise InputError(f"{told}: check the units of both; `weight` takes the scale from the image, `trust_noise=True` the "
                         "map as it is")
    return (f"{told}: correlated noise of resampled pixels, or units that differ",)
