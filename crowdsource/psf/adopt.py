"""PSFs of other programs, as objects."""
import numpy as np

from ..core.errors import InputError
from .base import PSF
from .formats.nodes import psf_of_nodes

PARAMETERS = {"x": "x_0", "y": "y_0", "flux": "flux"}
"""Parameters of photutils' models; where they have other names, attributes ``x_name``, ``y_name`` and ``flux_name`` tell them."""
SAMPLES, SIDE = 5, 149
"""Samples in a pixel, and largest side in pixels, of stamps drawn from a function; it ends where it is below `FAINTEST`."""
FAINTEST, LEAST_SIDE = 1e-6, 61
"""Part of the peak; smallest side, pixels."""


def as_psf(model, shape, norm_size=59):
    """A PSF from one of photutils' models; a `PSF` is returned as it is.

    Parameters
    ----------
    model : PSF, or a PSF model of photutils
        Of a GriddedPSFModel or ImagePSF, data and oversampling are taken, and the positions of a grid; flux and position are not.
        Of any other astropy model of x and y with the parameters x_0, y_0 and flux, as photutils' CircularGaussianPRF or
        MoffatPSF, the values at distances from its centre are the light in whole pixels, as photutils takes them.
    shape : tuple of int
        (ny, nx) of the image.
    norm_size : int
        The PSF sums to 1 over this box, pixels.

    Raises
    ------
    InputError
        When the object is none of them, or its stamps cannot be used.
    """
    if isinstance(model, PSF):
        return model
    if hasattr(model, "data") and hasattr(model, "oversampling"):
        return _of_samples(model, shape, norm_size)
    if is_function(model):
        stamp = _drawn(model)
        return psf_of_nodes(stamp[None], [(shape[1]-1)/2], [(shape[0]-1)/2], shape, SAMPLES, norm_size)
    raise InputError(f"psf is a {type(model).__name__}: give a crowdsource.PSF, as read_psf reads one from a file, or "
                     "a PSF model of photutils with the parameters x_0, y_0 and flux")


def _of_samples(model, shape, norm_size):
    """The PSF of a GriddedPSFModel or ImagePSF."""
    oversampling = np.unique(model.oversampling)
    if len(oversampling) > 1 or oversampling[0] < 1 or oversampling[0] != int(oversampling[0]):
        raise InputError(f"the PSF's oversampling is {model.oversampling}: the same whole number along both axes is needed")
    stamps = np.atleast_3d(np.asarray(model.data, dtype=np.float64).T).T
    where = np.array(getattr(model, "grid_xypos", [((shape[1]-1)/2, (shape[0]-1)/2)]), dtype=np.float64)
    return psf_of_nodes(stamps, *where.T, shape, int(oversampling[0]), norm_size)


def parameter_names(model):
    """Names of a model's parameters of position and flux: (x, y, flux)."""
    return tuple(getattr(model, f"{what}_name", default) for what, default in PARAMETERS.items())


def is_function(model):
    """Whether something is an astropy model of x and y with the parameters of photutils' PSFs."""
    return getattr(model, "n_inputs", 0) == 2 and set(parameter_names(model)) <= set(getattr(model, "param_names", ()))


def values_at(model, dx, dy, x=0., y=0.):
    """Values of one of photutils' models, whose flux is 1, at distances from a star.

    Parameters
    ----------
    model : astropy.modeling.Model
        `is_function` holds.
    dx, dy : ndarray
        Pixels.
    x, y : float
        Position of the star.

    Returns
    -------
    ndarray, float64
        Of the shape of dx.
    """
    model = model.copy()
    for name, value in zip(parameter_names(model), (x, y, 1.)):
        unit = getattr(model, name).unit
        setattr(model, name, value if unit is None else value*unit)
    values = model(dx+x, dy+y)
    return np.asarray(getattr(values, "value", values), dtype=np.float64)


def _drawn(model):
    """A stamp of a function with `SAMPLES` in a pixel, odd side, as far as there is light."""
    half = SIDE//2*SAMPLES
    at = np.arange(-half, half+1)/SAMPLES
    stamp = values_at(model, *np.meshgrid(at, at))
    if not np.isfinite(stamp).all():
        raise InputError(f"psf is a {type(model).__name__} whose values are not all finite: check its parameters")
    bright = np.abs(stamp) > FAINTEST*np.abs(stamp).max()
    reach = int(np.max(np.abs(np.argwhere(bright)-half), initial=0))
    reach = min(half, max(-(-reach//SAMPLES), LEAST_SIDE//2)*SAMPLES)
    return stamp[half-reach:half+reach+1, half-reach:half+reach+1]
