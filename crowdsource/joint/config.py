"""Options of a joint fit of many images."""
from dataclasses import dataclass


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
    motion : bool
        Also fit the proper motion of each star; images need dates.
    """

    first_passes: int = 2
    min_passes: int = 4
    max_passes: int = 8
    psf_passes: int = 1
    motion: bool = False
