"""Options of the search for artefacts, a section of `crowdsource.config.FitConfig`."""
from dataclasses import dataclass


@dataclass(frozen=True)
class ArtifactsConfig:
    """What is no sky and no star, whether or not the file says so.

    Attributes
    ----------
    sharp : bool
        Mask what is sharper than stars can be: cosmic rays, hot and dead pixels, bad columns.
    saturated : bool
        Recognise saturated stars by their flat or empty cores, whatever level is given.
    negative : bool
        Mask compact light below the sky, such as negative ghosts of bright stars.
    trails : bool
        Mask straight lines of peaks from one edge of the image to another.
    """

    sharp: bool = True
    saturated: bool = True
    negative: bool = True
    trails: bool = True
