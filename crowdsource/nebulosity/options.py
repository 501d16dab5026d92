"""Options of structured background, a stage of `crowdsource.config.FitConfig`."""
from dataclasses import dataclass

from .network import ENDINGS

OFF, DETECT = "off", "detect"


@dataclass(frozen=True)
class NebulosityConfig:
    """Where the sky has structure; blends are not split there, and only peaks as sharp as the PSF are sources.

    Attributes
    ----------
    method : str
        "off", "detect" (structure of the image without its stars, on scales that no star explains), or a trained network: the
        .json or the .h5 file of the two in which Keras 2 keeps it.
    mode : str
        How a network is used: "hard" (window by window), "continuous" (means of overlapping windows in which those sure of
        nebulosity count for more, smoothed; some 12 times the work) or "mean" (plain means, smoothed, as published for WISE).
    nodeblend : bool
        Blends are not split in it.
    weight : float
        Where a network's largest probability decides (not in "continuous"), that of nebulosity counts for so much.
    shift, smooth : int, float
        Overlapping windows start so many pixels after each other, and sigma of the smoothing, pixels.
    stretch : float
        How pixels are stretched for a network: from a window's lowest, in units of what its median lies above that (0), or about
        the median, in units of the difference of the quantiles 0.3 and 0.1, at least this, in image units.
    passno : int
        The detector looks at what the model leaves at the start of this pass, from 0; a network sees the image before all.
    scales : tuple of float
        Smallest and largest scale of the structure, in FWHM.
    threshold, faintest : float
        Significance of structure, in sigma of what stars leave on its scales: a region reaches the former somewhere, and the
        latter everywhere.
    contrast : float
        Structure must change the significance of a star by so much, in sigma: a fainter one does no harm.
    min_area : float
        Smallest region, in squares of the FWHM.
    grow : float
        Regions are grown by so many FWHM.
    sky_fwhm : float
        In them the sky is that of blocks of so many FWHM, 0 for those of the rest; not where a network has found them.
    """

    method: str = OFF
    mode: str = "hard"
    nodeblend: bool = True
    weight: float = 0.25
    shift: int = 128
    smooth: float = 128.
    stretch: float = 0.
    passno: int = 2
    scales: tuple = (3., 30.)
    threshold: float = 6.
    faintest: float = 3.
    contrast: float = 3.
    min_area: float = 30.
    grow: float = 2.
    sky_fwhm: float = 2.

    @property
    def network(self):
        """Whether a network is asked."""
        return self.method not in (OFF, DETECT)


def rules(c):
    """(whether it holds, message) of what a `NebulosityConfig` must keep."""
    return [
        (not c.network or c.method.endswith(ENDINGS),
         f"nebulosity.method is {c.method!r}: give off, detect, or the .json or .h5 file of a network"),
        (c.mode in ("hard", "continuous", "mean"), "nebulosity.mode must be hard, continuous or mean"),
        (c.mode != "continuous" or c.network,
         f"nebulosity.mode is continuous but nebulosity.method is {c.method}: name a network"),
        (c.weight > 0 and c.shift >= 1 and min(c.smooth, c.stretch) >= 0,
         "nebulosity.weight must be positive, nebulosity.shift at least 1 pixel, nebulosity.smooth and stretch not negative"),
        (c.passno >= 1, "nebulosity.passno must be at least 1: the first pass makes the model that is subtracted"),
        (len(c.scales) == 2 and 0 < c.scales[0] < c.scales[-1], "nebulosity.scales must be two positive numbers that grow"),
        (0 < c.faintest <= c.threshold, "nebulosity.faintest must be positive and at most nebulosity.threshold"),
        (c.contrast > 0 and min(c.min_area, c.grow, c.sky_fwhm) >= 0,
         "nebulosity.contrast must be positive, nebulosity.min_area, grow and sky_fwhm not negative"),
    ]
