"""The images of a joint fit, read by instruments' adapters when they are wanted."""
from dataclasses import dataclass, field
from functools import partial

from ..core.errors import CrowdsourceError, InputError
from ..exposure.fit_inputs import configuration
from ..exposure.instrument import load
from ..io.file_names import distinct_name
from .loop import ImageSource


@dataclass(frozen=True, kw_only=True)
class ImageFile:
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


def image_sources(files, values):
    """Sources of a joint fit from files; exposures that cannot be opened are left out and named.

    Parameters
    ----------
    files : sequence of ImageFile
    values : mapping
        Configuration of the fit, nested as in a TOML file.

    Returns
    -------
    sources : list of crowdsource.joint.loop.ImageSource
        With names that can be those of files.
    inputs : dict of str to tuple of path-like
        Files that each is read from.
    refused : dict of str to str
        Exposures that are left out, and why.

    Raises
    ------
    InputError
        When no exposure can be opened.
    """
    sources, inputs, refused = [], {}, {}
    for file in files:
        try:
            instrument = load(file.instrument)
            exposure = instrument.open(file.path, **file.options)
            tasks = [t for t in exposure.tasks() if file.detector in (None, t.detector)]
        except CrowdsourceError as problem:
            refused[str(file.path)] = str(problem)
            continue
        for task in tasks:
            name = distinct_name(f"{exposure.label}-{task.detector}".strip("-"))
            name = name if name not in inputs else distinct_name(f"{name} {file.path}")
            sources.append(ImageSource(name, partial(exposure.read, task), instrument.psf_prior,
                                       partial(configuration, instrument, values=values), instrument.extra_columns))
            inputs[name] = tuple(exposure.inputs)
    if not sources:
        raise InputError("no image can be opened: "+"; ".join(f"{n}: {why}" for n, why in refused.items()))
    return sources, inputs, refused
