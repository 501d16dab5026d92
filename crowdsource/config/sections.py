"""The sections of a configuration, one per stage, and the rules for their values."""
from dataclasses import dataclass, field, is_dataclass, replace
from math import inf, isnan

from ..artifacts.options import ArtifactsConfig
from ..core.calibration import calibration
from ..core.errors import ConfigError
from ..core.flags import ENGINE
from ..core.selection import SelectionConfig
from ..nebulosity.options import NebulosityConfig
from ..nebulosity.options import rules as nebulosity_rules
from .extensions import PARTS


@dataclass(frozen=True)
class SkyConfig:
    """How the sky is estimated on the model-subtracted image.

    Attributes
    ----------
    estimator : str or callable
        How the sky is estimated, from the pixels of blocks: "mean" (weighted by inverse variance, clipped; it includes the light
        of undetected stars), "median", or "mode" (an estimate of the peak of their distribution, which undetected stars affect
        least).
    clip : float
        Clipping of the mean, in sigma.
    block : int
        Size of a block in pixels, from the pass `global_passes` on.
    block_fwhm : float
        Smallest width of a block, FWHM: in smaller ones stars would count as sky.
    global_passes : int
        Number of passes at the start that use one block for the whole image.
    first_block_fwhm : float
        When not 0, the passes at the start use blocks of this width, FWHM, instead of one for the whole image.
    min_significance : float
        Sources whose flux over isolated error is below this are not subtracted before the sky is estimated: half of their light
        is noise, and the sky would be too low by it.
    min_good : float
        Smallest fraction of good pixels for a block to be used; others are filled from adjacent ones.
    smooth : int
        Size of the median filter that is applied to the blocks, in blocks; 1 for none.
    keep : bool
        Keep a given sky through all passes.
    """

    estimator: object = "mean"
    clip: float = 3.
    block: int = 20
    block_fwhm: float = calibration.sky.block_fwhm
    global_passes: int = 2
    first_block_fwhm: float = calibration.sky.first_block_fwhm
    min_significance: float = calibration.sky.min_significance
    min_good: float = 0.25
    smooth: int = 1
    keep: bool = False


@dataclass(frozen=True)
class DetectConfig:
    """Which peaks become sources.

    Attributes
    ----------
    detector : str or callable
        What proposes new sources: "peaks" (local maxima of the residual's significance that keep the rules below).
    threshold : float
        Smallest significance of a new source (sigma): after convolution with the PSF and, where `split` is "chi2", as the square
        root of the improvement in chi2 when its neighbours are refitted.
    split : str
        How a peak near a source is judged: "chi2" (one star against two by the improvement in chi2) or "ratio" (by the
        ratios below alone, as the published description does).
    candidate : float
        Smallest significance, after convolution with the PSF, of a peak near a source that "chi2" judges (sigma).
    bright_pixel : float
        Significance in a single pixel from which a peak counts as bright (sigma).
    blend_ratio_first, blend_ratio : float
        Smallest ratio of a peak's significance to that of the model at the same position: in the first `blend_passes` passes, and
        afterwards.
    pixel_flux_ratio : float
        Smallest ratio of the residual's pixel value to the model's; 0 for no limit.
    pixel_significance_ratio : float
        Smallest ratio of the significance of the residual's pixel to the model's significance after convolution; 0 for no limit.
    blend_passes : int
        Number of passes at the start that do not split blends.
    nodeblend_ratio : float
        The blend ratio where the mask says nodeblend.
    saturated_ratio, saturated_reach : float, int
        The blend ratio near saturated pixels, and how many pixels from them it holds: the model of so bright a star is not
        accurate enough for a smaller one.
    sharpness : float
        Where the mask says sharp, smallest ratio of a peak's curvature to that of the PSF's autocorrelation.
    min_separation : float
        Smallest distance of a new peak from a known source, pixels.
    edge : int
        Bright peaks nearer than this to a masked or saturated pixel are rejected, pixels.
    edge_of : str
        Which pixels these are: "masked" (any with inverse variance 0) or "saturated" (only these have steep edges).
    outside : bool
        Also look for stars off the image whose wings and spikes lie on it.
    extended : bool
        Fit one profile in the place of the sources into which an extended thing, as a galaxy, would be taken apart.
    """

    detector: object = "peaks"
    threshold: float = calibration.detect.threshold
    split: str = "chi2"
    candidate: float = calibration.detect.candidate
    bright_pixel: float = calibration.detect.bright_pixel
    blend_ratio_first: float = 2.
    blend_ratio: float = calibration.detect.blend_ratio
    pixel_flux_ratio: float = 0.
    pixel_significance_ratio: float = 0.
    blend_passes: int = 1
    nodeblend_ratio: float = 1.
    saturated_ratio: float = calibration.detect.saturated_ratio
    saturated_reach: int = calibration.detect.saturated_reach
    sharpness: float = calibration.detect.sharpness
    min_separation: float = calibration.detect.min_separation
    edge: int = 1
    edge_of: str = "saturated"
    outside: bool = True
    extended: bool = True


@dataclass(frozen=True)
class SolveConfig:
    """The linear problem and its solver.

    Attributes
    ----------
    method : str or callable
        The solver: "normal" (normal equations, preconditioned conjugate gradients) or "lsqr" (explicit sparse matrix).
    stamp_sizes : tuple of int
        Odd sizes of the stamps in pixels, smallest first.
    stamp_levels : tuple of float
        Peak value, in units of the sky noise, from which each further size is used; one fewer than sizes. Empty: computed from
        the PSF such that stamps end where it falls to `cut_off`.
    cut_off : float
        Largest value of a star's model at the edge of its stamp, in units of the sky noise.
    bright_size : int
        Stamp size of listed bright stars, pixels.
    max_stamp_pixels : int
        Limit on memory: when all stamps of one tile hold more pixels, bright stars get the next smaller size.
    position_prior : float
        Width of the Gaussian prior on the change of a position in one pass, pixels.
    error_prior : float
        Width of the Gaussian prior on positions that the reported errors assume, pixels.
    tolerance : float
        The solver stops when the preconditioned residual has fallen by this factor ...
    search_tolerance : float
        ... or by this one in a search, after which everything is solved again.
    max_iterations : int
        Largest number of solver iterations in one solve.
    min_overlap : int
        The normal equations leave out pairs whose stamps share fewer pixels than this along an axis: a pass then treats them as
        independent, and the next corrects for it.
    undetected : bool
        Once the search has ended, the light of stars too faint to be detected counts as noise that is shaped like the PSF.
    sky_spacing : float
        Spacing of the knots of a smooth sky that is fitted together with the sources, pixels; 0 for none.
    tile : int
        Size of the core of a tile, pixels; an image not larger than 1.5 times this is one tile.
    overlap : int
        Padding of a tile on each side, pixels.
    """

    method: object = "normal"
    stamp_sizes: tuple = (19, 31, 59, 149)
    stamp_levels: tuple = ()
    cut_off: float = calibration.solve.cut_off
    bright_size: int = 299
    max_stamp_pixels: int = 60_000_000
    position_prior: float = calibration.solve.position_prior
    error_prior: float = calibration.solve.error_prior
    tolerance: float = 3e-3
    search_tolerance: float = 3e-2
    max_iterations: int = 200
    min_overlap: int = 7
    undetected: bool = True
    sky_spacing: float = 0.
    tile: int = 1024
    overlap: int = 30


@dataclass(frozen=True)
class CentroidConfig:
    """How positions move from pass to pass.

    Attributes
    ----------
    method : str or callable
        How positions are improved: "derivative" (the derivative terms of the fit) or "moment" (weighted moments of the
        neighbour-subtracted stamp).
    max_step : float
        Largest change of a position in one pass along each axis, pixels.
    """

    method: object = "derivative"
    max_step: float = 1.


@dataclass(frozen=True)
class CullConfig:
    """Which sources are removed between passes.

    Attributes
    ----------
    min_significance : float
        Sources whose flux over isolated error is below this are removed.
    prune : float
        After the last search, sources are removed without which chi2 would increase by less than the square of this when their
        neighbours are refitted, the least significant of several close ones first: the model does not need them. The significance
        of an extended source is reduced, by as much as its noise of confusion is larger than an isolated star's: it is more often
        an unresolved blend of faint stars.
    prune_from, search_share : int, float
        From this pass on searches remove sources as well, below this fraction of that bound: removing a source at a wrong
        position makes room for better ones.
    merge : float
        Sources that are hardly separated from their neighbours are removed in the pruning pass when chi2 increases by less than
        the square of this once the neighbours have moved to their best positions; those below `prune`, by less than the square of
        that. 0 to try none.
    min_separation : float
        The fainter of two sources closer than this is removed, pixels.
    keep_flux : float
        Sources brighter than this are never removed for being close to another; image units.
    """

    min_significance: float = calibration.cull.min_significance
    prune: float = calibration.cull.prune
    prune_from: int = 2
    search_share: float = calibration.cull.search_share
    merge: float = calibration.cull.merge
    min_separation: float = calibration.cull.min_separation
    keep_flux: float = inf


@dataclass(frozen=True)
class PSFConfig:
    """How the PSF is refitted.

    Attributes
    ----------
    refit : bool
        Refit the PSF from the image's stars.
    settle_passes : int
        After this number of passes it is refitted only once more, when the search has ended; 0 for no such number.
    every : int
        A search refits it in every n-th pass, starting from the first: the sources adapt to a new PSF before the next is fitted.
    method : str
        "fit" (least squares with robust weights over the image) or "median" (median of the shifted stamps).
    order : int
        Order of the polynomial that the PSF follows over the image; lowered when there are too few stars.
    core : int
        Size of the pixel core, odd, pixels.
    core_widths : float
        A core that is fitted to shifted stars has at least this size in FWHM; 0 for no such bound. Where the wings are rounder
        than the core, or else not those of a profile, the light beside bright stars would become false sources.
    stamp : int
        Size of the stamps on which the profile is fitted, odd, pixels; 5.5 FWHM where that is more.
    norm_radius : float
        When not 0, fluxes of the catalog refer to the light in a circle of this radius, pixels, instead of that in the box over
        which the PSF sums to 1.
    max_stars : int
        Largest number of PSF stars; the brightest are taken.
    min_stars : int
        With fewer stars a PSF found from the image is a Moffat profile, fitted to these with priors; another is not refitted.
    stars_per_term : float
        Number of stars needed for each term of the polynomial.
    expected_fwhm, fwhm_factor : float
        Where the first is not 0: expected full width at half maximum of the PSF, pixels, and the largest factor by which that of
        a refit may differ from it; a refit that differs more was not made on stars, and is rejected.
    min_snr : float
        Smallest flux over error of a PSF star.
    max_shift : float
        Largest change of the position of a PSF star in the pass, pixels.
    min_fracflux : float
        Smallest PSF-weighted fraction of the light in a PSF star's stamp that is its own.
    max_spread : float
        Largest deviation of a PSF star's `spread_model` from the median of all, in robust sigma: galaxies and close pairs deviate
        more. Where it is finite, stars with a much larger relative residual than most, such as saturated ones, are rejected too.
    min_lbs_ratio : float
        Smallest ratio of the flux with a local sky removed to the flux.
    """

    refit: bool = True
    settle_passes: int = 3
    every: int = 2
    method: str = "fit"
    order: int = 2
    core: int = 19
    core_widths: float = 6.
    stamp: int = 39
    norm_radius: float = 0.
    max_stars: int = 250
    min_stars: int = calibration.psf.min_stars
    stars_per_term: float = calibration.psf.stars_per_term
    expected_fwhm: float = 0.
    fwhm_factor: float = 1.25
    min_snr: float = calibration.psf.min_snr
    max_shift: float = calibration.psf.max_shift
    min_fracflux: float = calibration.psf.min_fracflux
    min_lbs_ratio: float = 0.2
    max_spread: float = calibration.psf.max_spread


@dataclass(frozen=True)
class FitConfig:
    """All of a fit's configuration.

    Attributes
    ----------
    min_passes, max_passes : int
        Smallest and largest number of passes, including the last one with fixed positions.
    prune_passes : int
        Number of passes between the last search and the last pass that remove sources which the model does not need.
    stop_new : float
        The search ends when the net number of sources added by a pass is below this per million good pixels ...
    stop_fraction : float
        ... or below this fraction of all sources; it goes on when a pass removes more than it adds and lowers the mean chi2 by 5
        %.
    max_sources : int
        Limit on the number of sources, at which detection stops adding.
    max_work : float
        A fit takes about as much work as so many crowded fields of its size, at most: then stamps become smaller, and the search
        ends with the brightest sources. Wrong noise and images of no stars do so; inf for no such bound.
    artifacts, sky, detect, solve, centroid, cull, psf, nebulosity, select
        The stages. For `sky`, `detect`, `solve` and `centroid` an estimator, detector, solver or centroid method may be given in
        place of a section, the other options of which are then the default ones.
    """

    min_passes: int = 4
    max_passes: int = 12
    prune_passes: int = 1
    stop_new: float = calibration.fit.stop_new
    stop_fraction: float = calibration.fit.stop_fraction
    max_sources: int = 5_000_000
    max_work: float = 10.
    artifacts: ArtifactsConfig = field(default_factory=ArtifactsConfig)
    sky: SkyConfig = field(default_factory=SkyConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    solve: SolveConfig = field(default_factory=SolveConfig)
    centroid: CentroidConfig = field(default_factory=CentroidConfig)
    cull: CullConfig = field(default_factory=CullConfig)
    psf: PSFConfig = field(default_factory=PSFConfig)
    nebulosity: NebulosityConfig = field(default_factory=NebulosityConfig)
    select: SelectionConfig = field(default_factory=SelectionConfig)

    def __post_init__(self):
        sections = dict(sky=SkyConfig, detect=DetectConfig, solve=SolveConfig, centroid=CentroidConfig)
        for section, option in PARTS:
            part = getattr(self, section)
            if not isinstance(part, sections[section]):
                object.__setattr__(self, section, replace(sections[section](), **{option: part}))


LEAST = {
    "max_sources": 1, "sky.global_passes": 0, "sky.smooth": 0, "detect.saturated_reach": 0, "detect.edge": 0,
    "detect.blend_passes": 0, "solve.max_stamp_pixels": 1, "solve.max_iterations": 1, "solve.tile": 16, "solve.overlap": 0,
    "cull.prune_from": 0, "psf.settle_passes": 0, "psf.core": 3, "psf.stamp": 3, "psf.max_stars": 1, "psf.min_stars": 1,
}
"""The least values of options that are whole numbers, where nothing else is said of them."""
MOST = 2**31-1
"""The highest value of any of them."""


def _number_rules(config):
    """Rules that numbers keep because of what they are, as (whether it holds, message)."""
    sections = {"": config, **{f"{n}.": v for n, v in vars(config).items() if is_dataclass(v)}}
    for prefix, section in sections.items():
        for name, value in vars(section).items():
            if isinstance(value, float):
                yield not isnan(value), f"{prefix}{name} must be a number, not NaN"
            elif isinstance(value, int):
                least = LEAST.get(prefix+name, -MOST)
                yield least <= value <= MOST, f"{prefix}{name} must be at least {least} and at most {MOST}"


def checked(config):
    """The same config, or an error that names the first value out of range.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """
    s, d, p = config.solve, config.detect, config.psf
    rules = [
        (1 <= config.min_passes <= config.max_passes, "min_passes must be at least 1 and at most max_passes"),
        (config.prune_passes >= 0, "prune_passes must not be negative"),
        (config.max_work > 0, "max_work must be positive"),
        (not config.sky.keep or s.sky_spacing == 0, "sky.keep keeps the sky and solve.sky_spacing fits it: choose one"),
        (config.sky.block >= 4, "sky.block must be at least 4 pixels"),
        (0 < d.threshold < inf, "detect.threshold must be positive and finite"),
        (d.edge_of in ("masked", "saturated"), "detect.edge_of must be masked or saturated"),
        (d.split in ("chi2", "ratio"), "detect.split must be chi2 or ratio"),
        (0 < d.candidate <= d.threshold, "detect.candidate must be positive and at most detect.threshold"),
        (not s.stamp_levels or len(s.stamp_levels) == len(s.stamp_sizes)-1,
         "solve.stamp_levels must be empty or have one value fewer than stamp_sizes"),
        (s.cut_off > 0, "solve.cut_off must be positive"),
        (s.min_overlap >= 1, "solve.min_overlap must be at least 1 pixel"),
        (all(n % 2 and n >= 5 for n in (*s.stamp_sizes, s.bright_size)), "solve.stamp_sizes must be odd and at least 5"),
        (list(s.stamp_sizes) == sorted(s.stamp_sizes), "solve.stamp_sizes must grow"),
        (s.position_prior > 0, "solve.position_prior must be positive"),
        (p.method in ("fit", "median"), "psf.method must be fit or median"),
        (p.order in (0, 1, 2), "psf.order must be 0, 1 or 2"),
        (0 <= p.expected_fwhm < inf and p.fwhm_factor > 1, "psf.expected_fwhm must not be negative, psf.fwhm_factor above 1"),
        (p.every >= 1, "psf.every must be at least 1 pass"),
        (all(n % 2 for n in (p.core, p.stamp)), "psf.core and psf.stamp must be odd"),
        (0 <= p.core_widths < inf, "psf.core_widths must not be negative"),
        (0 <= p.norm_radius < inf, "psf.norm_radius must not be negative"),
        (config.select.min_snr >= 0 and 0 <= config.select.min_qf <= 1 and config.select.max_rchi2 > 0,
         "select.min_snr must not be negative, select.min_qf between 0 and 1, select.max_rchi2 positive"),
        (set(config.select.flags) <= {d.name for d in ENGINE.definitions},
         f"select.flags must be among {', '.join(d.name for d in ENGINE.definitions)}"),
        (s.tolerance > 0 and s.search_tolerance > 0, "solve.tolerance and solve.search_tolerance must be positive"),
        *_number_rules(config),
        *nebulosity_rules(config.nebulosity),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
    for (section, option), registry in PARTS.items():
        try:
            registry.check(getattr(getattr(config, section), option))
        except ConfigError as problem:
            raise ConfigError(f"{section}.{option}: {problem}") from problem
    return config
