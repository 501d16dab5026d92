"""The images of a joint fit, read by instruments' adapters when they are wanted."""
from dataclasses import dataclass, field, replace
from functools import partial

from ..core.errors import CrowdsourceError
from ..exposure.fit_inputs import configuration
from ..exposure.instrument import load
from ..io.file_names import distinct_name
from .loop import ImageSource, check_some


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


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenedImage:
    """An image of an exposure that was opened, not read yet.

    Attributes
    ----------
    name : str
        That can be a file's.
    file : ImageFile
        With its detector.
    instrument : crowdsource.exposure.instrument.Instrument
    exposure : crowdsource.exposure.instrument.Exposure
    task : crowdsource.exposure.instrument.DetectorTask
    """

    name: str
    file: ImageFile
    instrument: object
    exposure: object
    task: object

    @property
    def inputs(self):
        """Files that it is read from."""
        return tuple(self.exposure.inputs)

    def source(self, values):
        """The `ImageSource`, for a configuration of the fit, nested as in a TOML file."""
        return ImageSource(self.name, partial(self.exposure.read, self.task), self.instrument.psf_prior,
                           partial(configuration, self.instrument, values=values), self.instrument.extra_columns)


def opened_images(files):
    """Images in files; exposures that cannot be opened are left out and named.

    Parameters
    ----------
    files : sequence of ImageFile

    Returns
    -------
    images : list of OpenedImage
        With different names.
    refused : dict of str to str
        Exposures that are left out, and why.

    Raises
    ------
    NoImageError
        When no exposure can be opened.
    """
    images, refused = {}, {}
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
            name = name if name not in images else distinct_name(f"{name} {file.path}")
            images[name] = OpenedImage(name=name, file=replace(file, detector=task.detector), instrument=instrument,
                                       exposure=exposure, task=task)
    check_some(images, "opened", refused)
    return list(images.values()), refused
