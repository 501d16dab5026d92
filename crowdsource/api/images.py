"""Images from whatever a user has: a file, arrays, an object of astropy."""
import logging
from collections.abc import Mapping
from dataclasses import fields, replace
from inspect import signature
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.errors import InputError, InstrumentError
from ..core.image import Image
from ..core.nearest import did_you_mean, one_of
from ..core.noise_maps import doubts
from ..exposure.instrument import Instrument, load, recognised
from ..exposure.results import Provenance

NOISE = {"ivar": lambda v: v, "inverse_sigma": lambda v: v**2, "variance": lambda v: 1/v, "rms": lambda v: v**-2,
         "error": lambda v: v**-2}
"""Inverse variance from each way to give the noise of arrays."""
DERIVED = {"data", "cls", "metadata", "findings", "ivar_estimated", "copy"}
"""Parameters and attributes of an `Image` that no user gives."""
KINDS = {"error": "rms", "std": "rms", "var": "variance"}
"""What noise maps are called in `crowdsource.core.noise_maps`, where arguments or uncertainties of astropy have other names."""
log = logging.getLogger(__name__)


def read_image(path: str | PathLike[str], *, instrument: str | Instrument | None = None, detector: str | None = None,
               **options: Any) -> Image:
    """Read an image from a file, as the command ``crowdsource`` does.

    Parameters
    ----------
    path : path-like
        ``FILE[:HDU[:PLANE]]``.
    instrument : str or crowdsource.Instrument, optional
        The one that claims the file when not given, or ``generic``.
    detector : str, optional
        Which one, where the exposure has several.
    **options
        Of the instrument, as ``rms="rms.fits"`` or ``gain=2.1`` for ``generic``.

    Returns
    -------
    crowdsource.Image
        Its ``meta["instrument"]`` tells a fit what suits the instrument.

    Raises
    ------
    DataFileError
        When the file cannot be read.
    InstrumentError
        When an option is unknown, or there are several detectors and none is chosen.
    """
    adapter = instrument_of(path, instrument)
    exposure = adapter.open(str(path), **options)
    tasks = {task.detector: task for task in exposure.tasks()}
    if detector is None and len(tasks) == 1:
        detector = next(iter(tasks))
    if detector not in tasks:
        problem = "which one is not said" if detector is None else f"there is no {detector!r} among them"
        raise InstrumentError(f"{path}: has {len(tasks)} detectors, and {problem}: give detector, one of {', '.join(tasks)}")
    image = exposure.read(tasks[detector])
    provenance = Provenance(instrument=adapter.name, inputs=tuple(exposure.inputs), options=dict(exposure.options),
                            exposure=exposure.identity)
    return replace(image, meta=MappingProxyType({**image.meta, "instrument": adapter, "provenance": provenance}))


def instrument_of(path: str | PathLike[str], instrument: str | Instrument | None = None) -> Instrument:
    """The instrument of a file: the one that is named, the only one that claims it, or the one of any image.

    Raises
    ------
    InstrumentError
        When several instruments claim it.
    """
    return recognised(str(path)) if instrument is None else load(instrument)


def as_image(data: Any, *, instrument: str | Instrument | None = None, detector: str | None = None, **options: Any) -> Image:
    """An Image from whatever a user has.

    Parameters
    ----------
    data : path-like, Image, astropy.nddata.NDData, or array_like of shape (ny, nx)
        An array may be a masked one, or a Quantity. The noise that a user gave an Image is compared, too.
    instrument, detector
        As `read_image`, for files.
    **options
        For a file as `read_image`, for an array as `crowdsource.Image.from_arrays`, and `error` (or `rms`), `variance` or
        `inverse_sigma` in the place of `ivar`; with ``trust_noise=True`` the noise is not compared with the image's own scatter.

    Raises
    ------
    InputError
        When the arrays cannot be used, an option is none of such data, or the noise cannot be what it is given as.
    DataFileError, InstrumentError
        As `read_image`.
    """
    if isinstance(data, str | PathLike):
        return read_image(data, instrument=instrument, detector=detector, **options)
    for name, value in (("instrument", instrument), ("detector", detector)):
        if value is not None:
            raise InputError(f"{name} is for images in files: leave it out")
    if unknown := [name for name in options if name not in image_options(data)]:
        names = image_options(data)
        what = ": an Image has its own" if isinstance(data, Image) else did_you_mean(unknown[0], names, one_of(names))
        raise InputError(f"option {unknown[0]} is not one of a {type(data).__name__}{what}")
    trusted = options.pop("trust_noise", False)
    if isinstance(data, Image):
        given = not data.ivar_estimated and "instrument" not in data.meta
        return compared(data, data.ivar, "ivar", "ivar") if given and not trusted else data
    if is_nddata(data):
        image, noise = Image.from_nddata(data, **options), data.uncertainty
        known = noise is not None and noise.uncertainty_type in (*KINDS, "ivar")
        return compared(image, noise.array, noise.uncertainty_type, "uncertainty") if known and not trusted else image
    if hasattr(data, "fileinfo") or hasattr(data, "filename"):
        raise InputError(f"image is a {type(data).__name__} of an open file: give the name of the file, as 'image.fits' or "
                         "'image.fits:SCI', or hdu.data")
    if np.asanyarray(data).dtype.kind == "b":
        raise InputError("image is an array of bool, as masks are: give the image, and what excludes pixels as mask")
    name, values = noise_given(options, np.shape(data), getattr(data, "unit", None))
    image = Image.from_arrays(data, **with_ivar(options, name, values))
    return image if trusted or name in ("", "weight") else compared(image, values, name, name)


def compared(image: Image, values: Any, kind: str, argument: str) -> Image:
    """An image whose noise was compared with its own scatter; it keeps what is odd about it.

    Parameters
    ----------
    image : crowdsource.Image
    values : array_like, shape (ny, nx)
        The map as it was given.
    kind : str
        What it holds, of `NOISE`, or the type of an uncertainty.
    argument : str
        How the user calls it.

    Raises
    ------
    InputError
        When it cannot be what it is given as.
    """
    values = np.broadcast_to(np.ma.getdata(values), image.shape)
    told = doubts(values, np.where(image.good, image.data, np.float32(np.nan)), KINDS.get(kind, kind), argument)
    for sentence in told:
        log.warning("%s", sentence)
    return replace(image, findings=(*image.findings, *told)) if told else image


def image_options(data: Any, instrument: str | Instrument | None = None) -> tuple[str, ...]:
    """What may be given beside data: options of a file's instrument, or parameters of `Image`. Errors as `read_image`."""
    if isinstance(data, Image):
        return ("trust_noise",)
    if isinstance(data, str | PathLike):
        return tuple(option.name for option in instrument_of(data, instrument).options)
    attributes = [f.name for f in fields(Image)]
    if is_nddata(data):
        planes = set(signature(Image.from_arrays).parameters) & set(attributes) | {"wcs"}
        return *(name for name in attributes if name not in DERIVED | planes), "trust_noise"
    names = dict.fromkeys([*signature(Image.from_arrays).parameters, *NOISE, *attributes, "trust_noise"])
    return tuple(name for name in names if name not in DERIVED)


def is_nddata(data: Any) -> bool:
    """Whether something is an NDData or CCDData of astropy; asks for no import of it."""
    return any(c.__name__ == "NDData" and c.__module__.startswith("astropy.nddata") for c in type(data).__mro__)


def noise_given(options: Mapping[str, Any], shape: tuple[int, ...], unit: Any = None) -> tuple[str, Any]:
    """By which option the noise of arrays is given, and its values as plain numbers; ("", None) where it is not.

    Parameters
    ----------
    options : mapping
    shape : tuple of int
        Of the data; one number is the noise of all pixels.
    unit : astropy.units.Unit, optional
        Of the data, into which a noise with a unit is converted.

    Raises
    ------
    InputError
        When the noise is given in more than one way, or in a unit or a shape that does not suit the data.
    """
    given = [name for name in (*NOISE, "weight") if options.get(name) is not None]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are both given: keep the one that is the noise, leave out the others")
    if not given:
        return "", None
    name, = given
    values = options[name]
    if name != "weight" and hasattr(values, "to_value") and unit is not None:
        wanted = {"ivar": unit**-2, "inverse_sigma": unit**-1, "variance": unit**2}.get(name, unit)
        try:
            values = values.to_value(wanted)
        except ValueError as problem:
            raise InputError(f"{name} is in {values.unit}, and data need it in {wanted}: convert it") from problem
    values = np.asarray(getattr(values, "value", values), dtype=np.float64)
    if values.shape not in ((), shape):
        raise InputError(f"{name} has shape {values.shape} but data has {shape}: cut them to the same pixels")
    return name, np.broadcast_to(values, shape)


def with_ivar(options: Mapping[str, Any], name: str, values: Any) -> dict[str, Any]:
    """Options of arrays with the inverse variance in the place of a noise of another name; see `noise_given`."""
    rest = {option: value for option, value in options.items() if option not in NOISE}
    if name not in NOISE:
        return rest
    with np.errstate(divide="ignore"):
        ivar = NOISE[name](values)
    # no noise at all is how maps of errors mark what is not to be used
    return {**rest, "ivar": np.where(np.isinf(ivar) & (values == 0), 0, ivar)}
