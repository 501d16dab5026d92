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
    parallax : bool
        Also fit the parallax and the proper motion of each star; images need dates at different times of the year, and the
        reference world coordinates.
    """

    first_passes: int = 2
    min_passes: int = 4
    max_passes: int = 8
    psf_passes: int = 1
    memory: float = None
    motion: bool = False
    parallax: bool = False

    @property
    def moving(self):
        """Whether stars move: with a parallax they have a motion."""
        return self.motion or self.parallax


def checked_joint(config):
    """The same options.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """
    for name, least in (("first_passes", 1), ("min_passes", 1), ("max_passes", 2), ("psf_passes", 0)):
        value = getattr(config, name)
        if type(value) is not int or value < least:
            raise ConfigError(f"joint.{name} must be a whole number of at least {least}, not {value!r}")
    if config.min_passes > config.max_passes:
        raise ConfigError("joint.min_passes must be at most joint.max_passes")
    for name in ("motion", "parallax"):
        if type(getattr(config, name)) is not bool:
            raise ConfigError(f"joint.{name} must be true or false, not {getattr(config, name)!r}")
    if config.memory is not None and not (isinstance(config.memory, int | float) and 0 < config.memory < inf):
        raise ConfigError(f"joint.memory must be positive and finite, not {config.memory!r}")
    return config
