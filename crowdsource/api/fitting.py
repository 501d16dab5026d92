"""The fit as Python users call it: of a file, an array or an Image, with options by name."""
from collections.abc import Callable, Mapping
from inspect import signature
from os import PathLike
from typing import Any

import numpy as np

from ..config import FitConfig, as_nested, from_mapping, short_names
from ..core.errors import ConfigError, InputError
from ..core.image import Image
from ..core.nearest import did_you_mean
from ..engine.loop import fit as fit_image
from ..exposure.fit_inputs import configuration
from ..exposure.given_catalogs import identifiers, named_rows
from ..exposure.instrument import Instrument
from ..exposure.results import add_columns
from ..io.image_name import ImageName
from ..io.tables import read_table
from ..psf.formats.reading import read_psf as read_psf_file
from .images import as_image, image_options
from .progress import Progress, progress_bar
from .result import Result

TOP = tuple(FitConfig.__dataclass_fields__)
"""Options of a fit that are not in a section, and the sections."""
NOWHERE = ": it is none of the image's, nor of the configuration's, which crowdsource.FitConfig() shows"
"""What is said of a name that resembles none."""


def fit(image: Any, psf: Any = None, config: FitConfig | Mapping[str, Any] | str | None = None, *, sources: Any = None,
        ra: Any = None, dec: Any = None, fixed: bool = True, bright: Any = None, sky: Any = None, threads: int = 1,
        progress: bool | Progress | None = None, observer: Callable[[Any], None] | None = None,
        instrument: str | Instrument | None = None, detector: str | None = None, **options: Any) -> Result:
    """Fit all sources of an image at once.

    Parameters
    ----------
    image : path-like, array_like of shape (ny, nx), astropy.nddata.CCDData or crowdsource.Image
        Of a file ``FILE[:HDU[:PLANE]]``; of an array `options` may tell the noise and more.
    psf : crowdsource.PSF, a PSF model of photutils, or path-like, optional
        The PSF to start from, refitted by the stars unless ``refit=False``; found from the image when not given. A mapping is the
        section of the configuration.
    config : crowdsource.FitConfig, mapping or str, optional
        A mapping is nested, as in a TOML file; a text is the name of a preset.
    sources : Table, mapping, SkyCoord or path-like, optional
        Makes it a forced fit: positions as right ascension and declination where the image has world coordinates, else as x and y
        in pixels from 0, by the names that `crowdsource.io.positions` lists. The catalog has a row for each, in their order, the
        number ``input_row``, and the table's columns of identifiers.
    ra, dec : array_like, shape (n,), optional
        The same, by themselves; degrees, Quantity or sexagesimal text.
    fixed : bool
        False: given positions are where the fit starts from, and move. No others are looked for.
    bright : mapping or Table with x and y, optional
        Stars with very large stamps: the brightest peak within 5 pixels, or added where there is none.
    sky : ndarray, shape (ny, nx), optional
        Sky of the first pass, or of all where ``keep=True``. A mapping is the section of the configuration.
    threads : int
        Tiles and bands of the image are worked on in so many threads; the result does not depend on it.
    progress : bool or callable, optional
        True for a bar; or called as ``progress(stage, passno, total, info)``.
    observer : callable, optional
        Called with the `crowdsource.engine.state.PassState` after each pass.
    instrument, detector
        As `crowdsource.read_image`, for files.
    **options
        Of the image, as ``error=sigma`` or ``zeropoint=27.5`` (see `crowdsource.api.images.as_image`), and of the configuration:
        its fields as ``max_passes=6``, sections as ``detect={"threshold": 5}``, and what is in one section only by itself, as
        ``threshold=5`` or ``refit=False``; ``preset`` names another base.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        When arrays, sources or the sky cannot be used.
    ConfigError
        When an option is unknown or its value out of range.
    DataFileError
        When a file cannot be read.
    InstrumentError
        As `crowdsource.read_image`.
    """
    if isinstance(psf, Mapping):
        options, psf = {**options, "psf": psf}, None
    if isinstance(sky, Mapping):
        options, sky = {**options, "sky": sky}, None
    of_image, of_fit = divided(options, image_options(image, instrument))
    whole = as_image(image, instrument=instrument, detector=detector, **of_image)
    settings = configured(whole, config, of_fit)
    adapter = whole.meta.get("instrument")
    if psf is None and adapter is not None:
        psf = adapter.psf_prior(whole)
    elif isinstance(psf, str | PathLike):
        name = ImageName.parse(str(psf))
        psf = read_psf_file(name.path, whole.shape, hdu=name.hdu)
    rows = given_rows(whole, sources, ra, dec)
    with progress_bar(progress) as shown:
        result = fit_image(whole, psf, settings, sources=rows, fixed=fixed, bright=bright, sky=sky, threads=threads,
                           progress=shown, observer=observer)
    extra = {} if adapter is None else adapter.extra_columns(whole, result)
    add_columns(result.catalog, {**extra, **identifiers(rows, result.catalog)})
    return Result.of(result)


def divided(options: Mapping[str, Any], known: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the image, of which the names are known, and those of the fit.

    Raises
    ------
    ConfigError
        When a name is neither.
    """
    of_fit = (*TOP, "preset", *short_names())
    for name in options:
        if name not in known and name not in of_fit:
            near = did_you_mean(name, (*signature(fit).parameters, *of_fit, *known), NOWHERE)
            raise ConfigError(f"option {name} is unknown{near}")
    first = {name: value for name, value in options.items() if name in known and not (isinstance(value, Mapping) and name in TOP)}
    return first, {name: value for name, value in options.items() if name not in first}


def configured(image: Image, config: FitConfig | Mapping[str, Any] | str | None, options: Mapping[str, Any]) -> FitConfig:
    """The configuration of a fit: what suits the image's instrument, then a config, then options by name.

    Raises
    ------
    ConfigError
        When a name is unknown or a value is out of range.
    """
    if isinstance(config, FitConfig):
        return from_mapping(as_nested(options), config)
    if config is not None and not isinstance(config, str | Mapping):
        raise ConfigError(f"config is a {type(config).__name__}: give a FitConfig, a mapping, or the name of a preset")
    values: dict[str, Any] = {"preset": config} if isinstance(config, str) else as_nested(config or {})
    for name, value in as_nested(options).items():
        values[name] = {**values.get(name, {}), **value} if isinstance(value, Mapping) else value
    adapter = image.meta.get("instrument")
    return from_mapping(values) if adapter is None else configuration(adapter, image, values)


def given_rows(image: Image, sources: Any = None, ra: Any = None, dec: Any = None) -> Any:
    """Positions of a forced fit, in whatever form they are given.

    Parameters
    ----------
    image : crowdsource.Image
    sources, ra, dec
        As `fit`.

    Returns
    -------
    astropy.table.Table or None
        x and y in pixels of the parent image, input_row and identifiers; None where nothing is given.

    Raises
    ------
    InputError
        When they are given twice or in part, or are no positions.
    """
    if (ra is None) != (dec is None):
        raise InputError("ra and dec belong together: give both")
    if sources is not None and ra is not None:
        raise InputError("sources and ra, dec are both given: keep one of them")
    if sources is None and ra is None:
        return None
    from astropy.coordinates import SkyCoord
    from astropy.table import Table
    if ra is not None:
        if image.wcs is None:
            raise InputError("ra and dec need an image with world coordinates: give wcs, or sources with x and y")
        sources = Table({"ra": np.atleast_1d(ra), "dec": np.atleast_1d(dec)})
    elif isinstance(sources, str | PathLike):
        sources = read_table(str(sources))
    elif isinstance(sources, SkyCoord):
        sources = Table({"position": np.atleast_1d(sources)})
    elif not isinstance(sources, Table):
        try:
            sources = Table({name: np.atleast_1d(values) for name, values in dict(sources).items()})
        except (TypeError, ValueError) as problem:
            raise InputError(f"sources cannot be made a table ({problem}): give x and y, or ra and dec, of one length") \
                from problem
    return named_rows(sources, image)
