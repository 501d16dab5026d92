"""Options of a joint fit of many images."""
from dataclasses import dataclass
from math import inf

from ..core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """How many images are fitted at once.

    Attributes
    ----------
    first_passes : int
        Passes in which each image is fitted alone, for its PSF, its sky and the stars that register it.
    min_passes, max_passes : int
        Smallest and largest number of passes that all images share, including the last one with fixed positions.
    psf_passes : int
        In so many of them, and once when the search has ended, each image's PSF is refitted.
    memory : float or None
        MB that the images may take, beside a few hundred for the one that is worked on: where they need more their planes are in
        temporary files in the meantime. None for no limit.
    motion : bool
        Also fit the proper motion of each star; images need dates.
    """

    first_passes: int = 2
    min_passes: int = 4
    max_passes: int = 8
    psf_passes: int = 1
    memory: float = None
    motion: bool = False


def checked_joint(config):
    """The same options; a ConfigError where a value is out of range."""
    rules = [
        (config.first_passes >= 1, "joint.first_passes must be at least 1"),
        (2 <= config.min_passes <= config.max_passes, "joint.min_passes must be at least 2 and at most joint.max_passes"),
        (config.psf_passes >= 0, "joint.psf_passes must not be negative"),
        (config.memory is None or 0 < config.memory < inf, "joint.memory must be positive and finite"),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
    return config
