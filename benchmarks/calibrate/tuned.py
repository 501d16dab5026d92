"""The tuned constants: where each is used, and by which objective it is derived."""
from dataclasses import dataclass
from importlib import import_module

from crowdsource import FitConfig

FACTORS = 0.6, 0.8, 1.2, 1.5
"""Parts of its value at which each constant is tried, beside the value itself."""
GROUPS = {"engine.solvers.confusion": "solve", "psf.base": "psf", "psf.refit.profile": "psf", "engine.catalog": "measure",
          "engine.detection": "detect"}
"""Groups in the file that are not called like the module."""


@dataclass(frozen=True)
class Tuned:
    """A tuned constant.

    Attributes
    ----------
    owner, attribute : str
        A section of the configuration and an option, or a module within `crowdsource` and its attribute.
    unit : str
    objective : str
        Attribute of `trials.Figures` that is least at the best value: detection, errors or fluxes.
    factors : tuple of float
        Parts of its value at which it is tried; they hold 0.8 and 1.2.
    """

    owner: str
    attribute: str
    unit: str
    objective: str
    factors: tuple = FACTORS

    @property
    def name(self):
        """Dotted name in data/calibration.toml: the group and the attribute."""
        return f"{GROUPS.get(self.owner, self.owner.rpartition('.')[2])}.{self.attribute.lower()}"

    @property
    def value(self):
        """The value in use."""
        if "." in self.owner:
            return getattr(import_module("crowdsource."+self.owner), self.attribute)
        config = FitConfig()
        return getattr(config if self.owner == "fit" else getattr(config, self.owner), self.attribute)

    def scaled(self, factor):
        """Its value times a factor; of a range of powers, the distance from 1, and of a number, a whole one that differs."""
        value = self.value
        if self.attribute == "SLOPE_RANGE":
            return tuple(1+(v-1)*factor for v in value)
        if isinstance(value, tuple):
            return tuple(v*factor for v in value)
        if isinstance(value, int):
            return max(1, round(value*factor)) if abs(round(value*factor)-value) >= 1 else value+(1 if factor > 1 else -1)
        return value*factor


SIGMA, FWHM, PIXELS, RATIO, NUMBER = "sigma", "FWHM", "pixels", "ratio", "number"
TUNED = (
    Tuned("engine.confusion", "COUNTING_LIMIT", SIGMA, "errors"),
    Tuned("engine.confusion", "TYPICAL_SLOPE", "power", "errors"),
    Tuned("engine.confusion", "SLOPE_WEIGHT", NUMBER, "errors"),
    Tuned("engine.confusion", "SLOPE_RANGE", "power", "errors"),
    Tuned("engine.confusion", "CELL_WEIGHT", NUMBER, "errors"),
    Tuned("engine.confusion", "MAX_BLENDING", RATIO, "errors"),
    Tuned("engine.confusion", "KEPT_SHARE", RATIO, "errors"),
    Tuned("engine.confusion", "SPLIT_RATIO", RATIO, "errors"),
    Tuned("engine.confusion", "POSITION_SHARE", RATIO, "errors"),
    Tuned("engine.confusion", "EXTENT_GAIN", "1/sigma", "errors"),
    Tuned("engine.confusion", "EXTENT_RANGE", SIGMA, "errors"),
    Tuned("engine.prune", "SAFE_SIGNIFICANCE", RATIO, "detection"),
    Tuned("engine.prune", "TYPICAL_EXTENT", SIGMA, "detection"),
    Tuned("engine.prune", "EXTENT_SHARE", RATIO, "detection"),
    Tuned("engine.prune", "COMPETITION_RADIUS", FWHM, "detection"),
    Tuned("cull", "prune", SIGMA, "detection"),
    Tuned("cull", "min_significance", SIGMA, "detection"),
    Tuned("cull", "search_share", RATIO, "detection"),
    Tuned("cull", "merge", SIGMA, "detection"),
    Tuned("cull", "min_separation", PIXELS, "detection"),
    Tuned("engine.cull", "MAX_POSITION_INFLATION", RATIO, "detection"),
    Tuned("engine.merge", "MIN_BLENDING", RATIO, "detection"),
    Tuned("engine.merge", "SAFE_SIGNIFICANCE", SIGMA, "detection"),
    Tuned("engine.merge", "NEIGHBOUR_RADIUS", FWHM, "detection"),
    Tuned("engine.merge", "BOX_SIDE", FWHM, "detection"),
    Tuned("engine.merge", "MAX_NEIGHBOURS", NUMBER, "detection"),
    Tuned("engine.merge", "LARGEST_STEP", PIXELS, "detection"),
    Tuned("detect", "threshold", SIGMA, "detection", (0.8, 0.9, 1.2, 1.5)),  # not below candidate
    Tuned("detect", "candidate", SIGMA, "detection", (0.6, 0.8, 1.2, 1.4)),  # not above threshold
    Tuned("detect", "blend_ratio", RATIO, "detection"),
    Tuned("detect", "blend_ratio_first", RATIO, "detection"),
    Tuned("detect", "min_separation", PIXELS, "detection"),
    Tuned("detect", "saturated_ratio", RATIO, "detection"),
    Tuned("engine.detection", "NEGATIVE_LIMIT", SIGMA, "detection"),
    Tuned("engine.measure", "INNER_HALF_SIDE", FWHM, "detection"),
    Tuned("engine.schedule", "FALLING_CHI2", RATIO, "detection"),
    Tuned("fit", "stop_fraction", RATIO, "detection"),
    Tuned("engine.catalog", "LARGEST_BIAS", RATIO, "fluxes"),
    Tuned("engine.solvers.confusion", "SETTLED", SIGMA, "fluxes"),
    Tuned("engine.psf_stars", "MISFIT", RATIO, "fluxes"),
    Tuned("engine.psf_stars", "MISFIT_FLOOR", RATIO, "fluxes"),
    Tuned("engine.psf_stars", "SPREAD_FLOOR", RATIO, "fluxes"),
    Tuned("psf.base", "MODEL_ERROR", RATIO, "fluxes"),
    Tuned("psf.refit.profile", "OUTLIER", SIGMA, "fluxes"),
    Tuned("psf", "settle_fraction", RATIO, "fluxes"),
    Tuned("psf", "min_snr", SIGMA, "fluxes"),
    Tuned("psf", "max_spread", SIGMA, "fluxes"),
    Tuned("psf", "min_fracflux", RATIO, "fluxes"),
    Tuned("psf", "min_lbs_ratio", RATIO, "fluxes"),
    Tuned("psf", "max_shift", PIXELS, "fluxes"),
    Tuned("sky", "block_fwhm", FWHM, "fluxes"),
    Tuned("sky", "first_block_fwhm", FWHM, "fluxes"),
    Tuned("sky", "min_significance", SIGMA, "fluxes"),
    Tuned("solve", "position_prior", PIXELS, "fluxes"),
    Tuned("solve", "error_prior", PIXELS, "errors"),
)
