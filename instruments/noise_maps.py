"""Noise maps in files: the arguments of an Image that say the same."""
import numpy as np

from crowdsource.core.errors import DataFileError, InputError
from crowdsource.core.noise import without_marks
from crowdsource.core.noise_maps import doubts

LARGEST_INVERSE = 1e19
"""Largest inverse of a noise, whose square float32 still holds."""
NOISE_MAPS = ("ivar", "inverse_sigma", "weight", "rms", "variance")
"""Options that give the noise, of which one may be used."""


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
