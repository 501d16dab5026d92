"""Options of the search for structured background, a section of `crowdsource.config.FitConfig`."""
from dataclasses import dataclass

from ..core.calibration import calibration
from .network import ENDINGS

OFF, DETECT = "off", "detect"


@dataclass(frozen=True)
class NebulosityConfig:
    """Structured background, such as nebulosity: blends are not split there, and only peaks as sharp as the PSF become sources.

    Attributes
    ----------
    method : str
        "off"; "detect" (structure of the image minus its stars, on scales larger than the PSF); or a trained network, given as
        the .json or the .h5 file of the pair that Keras 2 wrote.
    mode : str
        How a network is used: "hard" (adjacent windows), "continuous" (smoothed means of overlapping windows, weighted by their
        probability of nebulosity; takes about 12 times as long) or "mean" (smoothed unweighted means, as published for WISE).
    nodeblend : bool
        Do not split blends where the background has structure.
    weight : float
        Factor of a network's probability of nebulosity before the largest probability decides; not used in "continuous".
    shift, smooth : int, float
        Distance between overlapping windows, and sigma of the smoothing, pixels.
    stretch : float
        How pixels are stretched for a network. 0: relative to the minimum of the window, in units of the median minus the
        minimum. Otherwise: relative to the median, in units of the difference of the quantiles 0.3 and 0.1, but at least this
        value, image units.
    passno : int
        Pass, counted from 0, at whose start the detector runs on the residual. A network runs before the first pass.
    scales : tuple of float
        Smallest and largest scale of the structure, in FWHM.
    threshold, faintest : float
        Significance, in sigma of the residuals of stars on these scales, that a region must reach in one cell (threshold) and in
        all its cells (faintest).
    contrast : float
        Smallest change of a star's significance by the structure, in sigma; fainter structure does no harm and is ignored.
    min_area : float
        Smallest area of a region, in FWHM squared.
    grow : float
        Distance by which regions are grown, in FWHM.
    sky_fwhm : float
        Size of the sky's blocks in regions that the detector found, in FWHM; 0 for the size used elsewhere.
    """

    method: str = OFF
    mode: str = "hard"
    nodeblend: bool = True
    weight: float = 0.25
    shift: int = 128
    smooth: float = 128.
    stretch: float = 0.
    passno: int = 2
    scales: tuple = calibration.nebulosity.scales
    threshold: float = calibration.nebulosity.threshold
    faintest: float = calibration.nebulosity.faintest
    contrast: float = calibration.nebulosity.contrast
    min_area: float = calibration.nebulosity.min_area
    grow: float = calibration.nebulosity.grow
    sky_fwhm: float = calibration.nebulosity.sky_fwhm

    @property
    def network(self):
        """Whether a network is asked."""
        return self.method not in (OFF, DETECT)


def rules(c):
    """Pairs (whether the rule holds, message) of the rules for the values of a `NebulosityConfig`."""
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
