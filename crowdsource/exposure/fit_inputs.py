"""Everything that the fit of a detector takes: image, PSF and configuration, as the instrument and the user's files give them."""
from dataclasses import dataclass, replace

import numpy as np

from ..config import FitConfig, from_mapping, preset_config
from ..core.image import Image
from .earlier import earlier_psf, earlier_sky
from .given_catalogs import bright_stars, given_rows, with_galaxies


@dataclass(frozen=True, eq=False, kw_only=True)
class FitInputs:
    """Arguments of `crowdsource.engine.loop.fit`.

    Attributes
    ----------
    image : crowdsource.core.image.Image
        With the flags that a user's catalogs set.
    config : crowdsource.config.FitConfig
    psf : crowdsource.psf.base.PSF or None
        To start from, or to keep; None to measure one on the image.
    forced : astropy.table.Table or None
        Positions and identifiers for a forced fit.
    bright : astropy.table.Table or None
        Stars that get very large stamps.
    sky : ndarray, shape (ny, nx), or None
        Of the first pass, image units.
    """

    image: Image
    config: FitConfig
    psf: object = None
    forced: object = None
    bright: object = None
    sky: np.ndarray = None


def read_fit_inputs(context, task):
    """Read a detector and all that users' catalogs and earlier runs add to it.

    Parameters
    ----------
    context : crowdsource.exposure.tasks.RunContext
    task : crowdsource.exposure.instrument.DetectorTask

    Returns
    -------
    FitInputs
    """
    settings, instrument = context.settings, context.instrument
    catalogs, earlier = settings.catalogs, settings.earlier
    image = context.exposure.read(task)
    if catalogs.galaxies is not None:
        image = with_galaxies(instrument, catalogs.galaxies, image)
    several = len(context.exposure.tasks()) > 1
    forced = None if catalogs.forced is None else given_rows(catalogs.forced, image, several)
    bright = None if catalogs.bright is None else bright_stars(instrument, catalogs.bright, image)
    if bright is not None:
        image = instrument.flag_bright_stars(image, bright)
    config = configuration(instrument, image, settings.config)
    sky = None if earlier.model_file is None else earlier_sky(earlier.model_file, task.detector, image)
    if earlier.catalog is None:
        psf = instrument.psf_prior(image)
    else:
        config, psf = with_fixed_psf(config), earlier_psf(earlier.catalog, task.detector, image)
    return FitInputs(image=image, config=config, psf=psf, forced=forced, bright=bright, sky=sky)


def configuration(instrument, image, values):
    """The configuration of a fit: the preset, the instrument's defaults for the image, then a user's values.

    Parameters
    ----------
    instrument : crowdsource.exposure.instrument.Instrument
    image : crowdsource.core.image.Image
    values : mapping
        A user's values, nested as in a TOML file; ``preset`` names another base.

    Returns
    -------
    crowdsource.config.FitConfig

    Raises
    ------
    ConfigError
        When a name is unknown or a value is out of range.
    """
    values = dict(values)
    base = instrument.fit_config(image, preset_config(values.pop("preset", "default")))
    tiling = instrument.tiling(image)
    if tiling is not None:
        base = replace(base, solve=replace(base.solve, tile=tiling.core, overlap=tiling.overlap))
    return from_mapping(values, base)


def with_fixed_psf(config):
    """The configuration with a PSF that is not refitted."""
    return replace(config, psf=replace(config.psf, refit=False))
