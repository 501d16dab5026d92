"""The images of a joint fit, read by instruments' adapters."""
import logging
from dataclasses import dataclass, field

from ..core.errors import CrowdsourceError, InputError
from ..exposure.fit_inputs import configuration
from ..exposure.instrument import load
from ..io.file_names import distinct_name

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """Where images come from.

    Attributes
    ----------
    path : str
        The file that stands for an exposure; all of its detectors are taken, or the one named.
    instrument : str
    options : mapping
        Values of the instrument's options.
    detector : str or None
    """

    path: str
    instrument: str = "generic"
    options: dict = field(default_factory=dict)
    detector: str = None


@dataclass(frozen=True, eq=False)
class ReadImage:
    """An image with what the fit needs beside it.

    Attributes
    ----------
    name : str
        Different for each image, and a file name.
    image : crowdsource.core.image.Image
    psf : crowdsource.psf.base.PSF or None
    config : crowdsource.config.FitConfig
    inputs : tuple of path-like
        Files that it was read from.
    """

    name: str
    image: object
    psf: object
    config: object
    inputs: tuple


def read_images(sources, values):
    """Read images; those that cannot be read are left out and named.

    Parameters
    ----------
    sources : sequence of ImageSource
    values : mapping
        Configuration of the fit, nested as in a TOML file.

    Returns
    -------
    images : list of ReadImage
    refused : dict of str to str
        Names of those left out, and why.

    Raises
    ------
    InputError
        When no image can be read.
    """
    images, refused = [], {}
    for source in sources:
        try:
            instrument = load(source.instrument)
            exposure = instrument.open(source.path, **source.options)
            tasks = [t for t in exposure.tasks() if source.detector in (None, t.detector)]
        except CrowdsourceError as problem:
            refused[str(source.path)] = str(problem)
            continue
        for task in tasks:
            plain = distinct_name(f"{exposure.label}-{task.detector}".strip("-"))
            name = plain if plain not in {*refused, *(i.name for i in images)} else distinct_name(f"{plain} {source.path}")
            try:
                image = exposure.read(task)
                images.append(ReadImage(name, image, instrument.psf_prior(image), configuration(instrument, image, values),
                                        exposure.inputs))
            except CrowdsourceError as problem:
                refused[name] = str(problem)
    for name, why in refused.items():
        log.warning("%s is left out: %s", name, why)
    if not images:
        raise InputError("no image can be read: "+"; ".join(f"{n}: {why}" for n, why in refused.items()))
    return images, refused
