"""The tuned constants: where each is used, and by which objective it is derived."""
from dataclasses import dataclass
from importlib import import_module

from crowdsource import FitConfig

FACTORS = 0.6, 0.8, 1.2, 1.5
"""Parts of its value at which each constant is tried, beside the value itself."""
GROUPS = {"engine.solvers.confusion": "solve", "psf.base": "psf", "psf.refit.linear": "psf", "engine.detection": "detect",
          "nebulosity.detector": "nebulosity", "core.noise": "noise"}
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
        Attribute of `figures.Figures` that is least at the best value: detection, errors or fluxes.
    factors : tuple of float
        Parts of its value at which it is tried; they hold 0.8 and 1.2.
    scenes : str
        Group of `scenes.GROUPS` on which it is tried.
    called : str
        Dotted name in data/calibration.toml, where it is not the module's and the attribute's.
    """

    owner: str
    attribute: str
    unit: str
    objective: str
    factors: tuple = FACTORS
    scenes: str = "stars"
    called: str = ""

    @property
    def name(self):
        """Dotted name in data/calibration.toml."""
        return self.called or f"{GROUPS.get(self.owner, self.owner.rpartition('.')[2])}.{self.attribute.lower()}"

    @property
    def value(self):
        """The value in use."""
        if "." in self.owner:
            return getattr(import_module("crowdsource."+self.owner), self.attribute)
        config = FitConfig()
        return getattr(config if self.owner == "fit" else getattr(config, self.owner), self.attribute)

    def ratio(self, factor):
        """The part of its value that is tried for a factor; whole numbers differ from it."""
        return self.scaled(factor)/self.value if isinstance(self.value, int) else factor

    def scaled(self, factor):
        """Its value times a factor; of a number, a whole one that differs."""
        value = self.value
        if isinstance(value, tuple):
            return tuple(v*factor for v in value)
        if self.unit == ODD:
            odd = max(1, 2*round((value*factor-1)/2)+1)
            return odd if odd != value else value+(2 if factor > 1 else -2)
        if isinstance(value, int):
            return max(1, round(value*factor)) if abs(round(value*factor)-value) >= 1 else max(1, value+(1 if factor > 1 else -1))
        return value*factor


SIGMA, FWHM, PIXELS, RATIO, NUMBER, ODD = "sigma", "FWHM", "pixels", "ratio", "number", "pixels, odd"
TUNED = (
    Tuned("engine.confusion", "COUNTING_LIMIT", SIGMA, "errors"),
    Tuned("engine.confusion", "TYPICAL_SLOPE", "power", "errors"),
    Tuned("engine.confusion", "SLOPE_WEIGHT", NUMBER, "errors"),
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
    Tuned("engine.merge", "NEIGHBOUR_RADIUS", FWHM, "detection"),
    Tuned("engine.merge", "BOX_SIDE", FWHM, "detection"),
    Tuned("engine.merge", "MAX_NEIGHBOURS", NUMBER, "detection"),
    Tuned("engine.merge", "LARGEST_STEP", PIXELS, "detection"),
    Tuned("detect", "threshold", SIGMA, "detection", (0.8, 0.9, 1.2, 1.5)),  # not below candidate
    Tuned("detect", "candidate", SIGMA, "detection", (0.6, 0.8, 1.2, 1.4)),  # not above threshold
    Tuned("detect", "blend_ratio", RATIO, "detection"),
    Tuned("detect", "min_separation", PIXELS, "detection"),
    Tuned("detect", "saturated_ratio", RATIO, "detection"),
    Tuned("engine.measure", "INNER_HALF_SIDE", FWHM, "detection"),
    Tuned("fit", "stop_fraction", RATIO, "detection"),
    Tuned("engine.solvers.confusion", "SETTLED", SIGMA, "fluxes"),
    Tuned("engine.psf_stars", "MISFIT", RATIO, "fluxes"),
    Tuned("engine.psf_stars", "MISFIT_FLOOR", RATIO, "fluxes"),
    Tuned("engine.psf_stars", "SPREAD_FLOOR", RATIO, "fluxes"),
    Tuned("psf.base", "MODEL_ERROR", RATIO, "fluxes"),
    Tuned("psf.refit.linear", "OUTLIER", SIGMA, "fluxes"),
    Tuned("psf", "min_snr", SIGMA, "fluxes"),
    Tuned("psf", "max_spread", SIGMA, "fluxes"),
    Tuned("psf", "min_fracflux", RATIO, "fluxes"),
    Tuned("psf", "max_shift", PIXELS, "fluxes"),
    Tuned("sky", "block_fwhm", FWHM, "fluxes"),
    Tuned("sky", "first_block_fwhm", FWHM, "fluxes"),
    Tuned("sky", "min_significance", SIGMA, "fluxes"),
    Tuned("solve", "position_prior", PIXELS, "fluxes"),
    Tuned("solve", "error_prior", PIXELS, "errors"),
    # structured background
    *(Tuned("nebulosity", name, unit, "detection", scenes="nebulous") for name, unit in (
        ("scales", FWHM), ("threshold", SIGMA), ("faintest", SIGMA), ("contrast", SIGMA), ("min_area", "FWHM^2"), ("grow", FWHM),
        ("sky_fwhm", FWHM))),
    *(Tuned("nebulosity.detector", name, unit, "detection", scenes="nebulous") for name, unit in (
        ("PSF_ERROR", RATIO), ("HALO_ERROR", RATIO), ("BAND_ERROR", RATIO), ("CLIP", SIGMA),
        ("LEAST_WEIGHT", RATIO))),
    Tuned("nebulosity.detector", "OPEN", RATIO, "detection", (0.6, 0.8, 1.1, 1.2), "nebulous"),
    Tuned("detect", "sharpness", RATIO, "detection", scenes="nebulous"),
    # masked, saturated and listed stars
    *(Tuned("engine.detection", name, unit, "detection", scenes="dirty") for name, unit in (
        ("MIN_FILLING", RATIO), ("LARGEST_BLOB", PIXELS))),
    Tuned("detect", "saturated_reach", PIXELS, "detection", scenes="dirty"),
    Tuned("detect", "bright_pixel", SIGMA, "detection", scenes="dirty"),
    Tuned("engine.stages", "LISTED_RADIUS", PIXELS, "detection", scenes="dirty", called="detect.listed_radius"),
    # given lists
    Tuned("engine.stages", "FORCED_SKY_STEP", RATIO, "fluxes", scenes="forced", called="sky.forced_step"),
    Tuned("engine.schedule", "SETTLED_SKY", SIGMA, "fluxes", scenes="forced"),
    # few stars
    Tuned("engine.psf_stars", "FEW", NUMBER, "fluxes", scenes="few"),
    Tuned("psf", "stars_per_term", NUMBER, "fluxes", scenes="few"),
    Tuned("psf", "min_stars", NUMBER, "fluxes", scenes="few"),
    Tuned("fit", "stop_new", NUMBER, "detection", scenes="few"),
    # images without a map of their noise
    *(Tuned("core.noise", name, unit, "detection", scenes="noiseless") for name, unit in (
        ("BLOCK", PIXELS), ("SMOOTH", ODD), ("RING", ODD), ("SIGNIFICANT", SIGMA))),
    # the start
    Tuned("psf.initial", "REACH", PIXELS, "detection"),
    Tuned("psf.initial", "MOST", NUMBER, "detection"),
    Tuned("psf.initial", "STARS_QUANTILE", RATIO, "detection"),
    Tuned("solve", "cut_off", SIGMA, "fluxes"),
    # undersampled and diffraction-limited images
    *(Tuned("psf.refit.effective", name, unit, "fluxes", scenes="optical") for name, unit in (
        ("RADIUS", PIXELS), ("FADE", PIXELS), ("RESOLUTION", "samples per FWHM"), ("ITERATIONS", NUMBER), ("PRIOR_SHARE", RATIO),
        ("PRIOR_FLOOR", RATIO), ("VARIATION", RATIO), ("WING_PRIOR", RATIO), ("UNCERTAIN", RATIO))),
    Tuned("psf.refit.refit", "NARROW", PIXELS, "fluxes", scenes="optical", called="effective.narrow"),
    *(Tuned("psf.refit.uncertainty", name, unit, "detection", scenes="optical") for name, unit in (
        ("CORE_ERROR", RATIO), ("DIFFRACTED", RATIO), ("WING_SHARE", RATIO), ("WINGS_FROM", PIXELS), ("SMOOTHED", ODD))),
    Tuned("engine.loop", "FIRST_REFITS", NUMBER, "fluxes", scenes="optical", called="schedule.first_refits"),
    *(Tuned("engine.psf_stars", name, unit, "detection", scenes="optical") for name, unit in (
        ("MOST_WIDE", NUMBER), ("LEAST_PEAK", SIGMA), ("COMPANION", RATIO), ("KNOT", ODD))),
    *(Tuned("engine.model_error", name, RATIO, "detection", scenes="optical") for name in ("LEAST", "JUDGED")),
    Tuned("engine.detection", "MODEL_LIMIT", RATIO, "detection", scenes="optical"),
    Tuned("engine.stages", "LARGEST_ERROR", RATIO, "fluxes", scenes="optical", called="sky.largest_error"),
    Tuned("engine.stages", "LEAST_SKY", RATIO, "fluxes", scenes="optical", called="sky.least_sky"),
    *(Tuned("engine.psf_error", name, unit, "errors", scenes="optical") for name, unit in (
        ("LEAST_STARS", NUMBER), ("SIDE", ODD), ("CORE", RATIO))),
    # well-sampled stars of any profile
    *(Tuned("psf.refit.radial", name, unit, "fluxes", scenes="shapes") for name, unit in (
        ("SPACING", FWHM), ("REACH", FWHM), ("SIGNIFICANT", SIGMA), ("PRIOR", RATIO), ("MISPLACED", RATIO),
        ("CROWDED", RATIO))),
    # a given grid
    *(Tuned("psf.refit.narrow", name, unit, "fluxes", scenes="given") for name, unit in (
        ("LARGEST_CORE", ODD), ("MARGIN", PIXELS), ("PRIOR", RATIO), ("SIGNIFICANCE", SIGMA))),
    # what is neither sky nor star
    *(Tuned("artifacts.saturation", name, unit, "detection", scenes="artifacts") for name, unit in (
        ("BRIGHT", SIGMA), ("RIM", SIGMA), ("EMPTY", SIGMA), ("ENCLOSED", RATIO), ("LARGEST_CORE", FWHM), ("LEAST_CORE", PIXELS),
        ("TOP", RATIO), ("FLAT", RATIO), ("PART", RATIO), ("STEEP", RATIO))),
    *(Tuned("artifacts.sharp", name, unit, "detection", scenes="artifacts") for name, unit in (
        ("NARROWER", RATIO), ("SIGNIFICANT", SIGMA), ("LEAST", SIGMA), ("LEAST_BESIDE", SIGMA), ("SHAPE_ERROR", RATIO),
        ("SUSPECT", SIGMA), ("SLOPE", RATIO), ("TYPICAL", RATIO), ("DARK", RATIO))),
    *(Tuned("artifacts.width", name, RATIO, "detection", scenes="artifacts") for name in ("ROUND", "ALIKE")),
    *(Tuned("artifacts.clean", name, unit, "detection", scenes="artifacts") for name, unit in (
        ("NARROW", PIXELS), ("FADING", RATIO), ("DARK", RATIO))),
    # what is no star
    *(Tuned("engine.extended", name, unit, "detection", scenes="extended") for name, unit in (
        ("REACHES", FWHM), ("BETTER", RATIO), ("LIKE", RATIO), ("WORSE", RATIO), ("LEAST_SNR", SIGMA))),
    *(Tuned("engine.profile_fit", name, "scale lengths", "detection", scenes="extended") for name in ("NEAR", "FAR")),
    Tuned("engine.extended", "MOST_IN_ONE", RATIO, "detection", scenes="extended"),
)
