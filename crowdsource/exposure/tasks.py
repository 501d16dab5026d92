"""What the fit of a detector is given, and what became of it."""
import re
from dataclasses import dataclass, field
from pathlib import Path

from .finished import FinishedDetectors
from .results import Provenance
from .settings import RunSettings

ENDINGS = re.compile(r"(\.cat)?\.(fits?|fts|ecsv|vot|csv|parquet)(\.fz|\.gz)?$", re.IGNORECASE)
"""Of catalogs; without them their names are those of the files beside them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RunContext:
    """What all detectors of a run have in common; goes to other processes.

    Attributes
    ----------
    instrument : crowdsource.exposure.instrument.Instrument
    exposure : crowdsource.exposure.instrument.Exposure
    settings : crowdsource.exposure.settings.RunSettings
    provenance : crowdsource.exposure.results.Provenance
    finished : crowdsource.exposure.finished.FinishedDetectors
    """

    instrument: object
    exposure: object
    settings: RunSettings
    provenance: Provenance
    finished: FinishedDetectors


@dataclass(frozen=True, eq=False)
class TaskOutcome:
    """What became of the fit of a detector.

    Attributes
    ----------
    task : crowdsource.exposure.instrument.DetectorTask
    header : astropy.io.fits.Header or None
        Of the finished detector's catalog: ``NSOURCES``, ``NPASS``, ``CHI2``, ``FWHM`` and more.
    cpu : dict
        CPU seconds by stage; empty when the detector was finished by an earlier run.
    error : Exception or None
        Why there is no result.
    """

    task: object
    header: object = None
    cpu: dict = field(default_factory=dict)
    error: Exception = None


def page_name(catalog):
    """The name of the report page of a catalog."""
    return ENDINGS.sub("", Path(catalog).name)+".html"


def path_of_detector(path, detector):
    """A path with the name of a detector before its ending."""
    path = Path(path)
    return path if not detector else path.with_name(f"{path.stem}-{detector}{path.suffix}")
