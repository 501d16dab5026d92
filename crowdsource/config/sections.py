"""The sections of a configuration, one per stage, and what their values must hold."""
from dataclasses import dataclass, field, replace
from math import inf

from ..core.errors import ConfigError
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
        A block is at least so many FWHM wide: smaller ones take stars for sky.
    global_passes : int
        So many passes at the start use one block for the whole image.
    first_block_fwhm : float
        When not 0, the passes at the start use blocks of so many FWHM instead of one for the whole image.
    min_significance : float
        Sources with a flux below so many times their isolated error are not taken off before the sky is estimated: half of
        their light is chance, and the sky would fall short of it.
    min_good : float
        Smallest fraction of good pixels for a block to be used; others are filled from neighbours.
    smooth : int
        Size in blocks of the median filter run over the blocks; 1 for none.
    keep : bool
        A given sky stays as it is through all passes.
    """
    estimator: object = "mean"
    clip: float = 3.
    block: int = 20
    block_fwhm: float = 6.
    global_passes: int = 2
    first_block_fwhm: float = 10.
    min_significance: float = 5.5
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
        Significance of a new source, in sigma: the PSF-convolved one of a faint peak and, where `split` is "chi2", the
        root of the improvement in chi2 with its neighbours giving way.
    split : str
        How a peak near a source is judged: "chi2" (one star against two by the improvement in chi2) or "ratio" (by the
        ratios below alone, as the published description does).
    candidate : float
        PSF-convolved significance of a peak near a source from which "chi2" judges it, in sigma.
    bright_pixel : float
        Single-pixel significance of a bright peak, in sigma.
    blend_ratio_first, blend_ratio : float
        A peak's significance must exceed this times the convolved significance of the model there: in the first
        `blend_passes` passes, and afterwards.
    pixel_flux_ratio : float
        The residual's pixel value must exceed this times the model's; 0 asks nothing.
    pixel_significance_ratio : float
        The residual's pixel significance must exceed this times the model's convolved significance; 0 asks nothing.
    blend_passes : int
        So many passes at the start do not split blends.
    nodeblend_ratio : float
        The blend ratio where the mask says nodeblend.
    saturated_ratio, saturated_reach : float, int
        The blend ratio near saturated pixels, and how far from them it holds, in steps along the axes: the model of so bright
        a star is never good enough for less.
    sharpness : float
        Where the mask says sharp, a peak's curvature must be at least this times that of the PSF's autocorrelation.
    min_separation : float
        Smallest distance of a new peak from a known source, pixels.
    edge : int
        Bright peaks within so many pixels of a masked or saturated one are not accepted, pixels.
    edge_of : str
        Beside which pixels: "masked" (any without weight) or "saturated" (their rims are steep; a dead column's are not).
    """
    detector: object = "peaks"
    threshold: float = 2.8
    split: str = "chi2"
    candidate: float = 2.
    bright_pixel: float = 5/0.3
    blend_ratio_first: float = 2.
    blend_ratio: float = 0.015
    pixel_flux_ratio: float = 0.
    pixel_significance_ratio: float = 0.
    blend_passes: int = 1
    nodeblend_ratio: float = 1.
    saturated_ratio: float = 0.1
    saturated_reach: int = 4
    sharpness: float = 0.7
    min_separation: float = 1.
    edge: int = 1
    edge_of: str = "saturated"


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
        Peak value, in units of the sky noise, from which each further size is used; one fewer than sizes. Empty: from
        the PSF, where what is cut off comes to `cut_off`.
    cut_off : float
        Largest value at the edge of a stamp of given size, in units of the sky noise.
    bright_size : int
        Stamp size of listed bright stars, pixels.
    max_stamp_pixels : int
        Guard on memory: when all stamps of one tile hold more pixels, bright stars get the next smaller size.
    position_prior : float
        Width of the Gaussian prior on a position's step in one pass, pixels.
    error_prior : float
        Width of the prior on a position that the reported errors assume, pixels.
    tolerance : float
        Solver stops when the preconditioned residual fell by this factor ...
    search_tolerance : float
        ... and in a search, after which all is solved again, when it fell by this one.
    max_iterations : int
        Solver iterations in one solve.
    min_overlap : int
        The normal equations leave out pairs whose stamps share fewer pixels than this along an axis: one pass then moves
        them as if they were alone, and the next sees what that left.
    undetected : bool
        Once the search has ended, the light of stars too faint to be sources counts as noise that is shaped like the PSF.
    sky_spacing : float
        Spacing in pixels of the knots of a smooth sky fitted together with the sources; 0 for none.
    tile : int
        Core size of a tile in pixels; the image is one tile when it is not larger than 1.5 times this.
    overlap : int
        How far a tile is padded on each side, pixels.
    """
    method: object = "normal"
    stamp_sizes: tuple = (19, 31, 59, 149)
    stamp_levels: tuple = ()
    cut_off: float = 0.1
    bright_size: int = 299
    max_stamp_pixels: int = 60_000_000
    position_prior: float = 1.
    error_prior: float = 1.
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
        Largest step in one pass, pixels.
    """
    method: object = "derivative"
    max_step: float = 1.


@dataclass(frozen=True)
class CullConfig:
    """Which sources are removed between passes.

    Attributes
    ----------
    min_significance : float
        Sources with flux below so many times their isolated error are removed.
    prune : float
        After the last search, sources without which chi2 would grow by less than the square of this, neighbours giving way, are
        removed, the least significant of each crowd first: the model does not need them. The flux of a source wider than
        single stars counts for less, by as much as its noise of confusion is larger: it is more often several stars too faint
        to be told apart than one.
    prune_from, search_share : int, float
        From this pass on a search, too, removes sources, below this share of that bound: what stood in a false place gives
        room for better ones.
    merge : float
        Sources that are entangled with neighbours are removed with the last of the others when chi2 grows by less than the
        square of this once the neighbours have moved to where they fit best; those below `prune`, by less than the square of
        that. 0 to try none.
    min_separation : float
        The fainter of two sources closer than this is removed, pixels.
    keep_flux : float
        Sources brighter than this are never removed for being close; image units.
    """
    min_significance: float = 2.
    prune: float = 4.5
    prune_from: int = 2
    search_share: float = 0.72
    merge: float = 3.
    min_separation: float = 1.
    keep_flux: float = inf


@dataclass(frozen=True)
class PSFConfig:
    """How the PSF is refitted.

    Attributes
    ----------
    refit : bool
        Refit the PSF from the image's stars.
    settle_passes, settle_fraction : int, float
        After so many passes it is refitted only where new sources are more than this fraction of all, and once when the
        search has ended.
    every : int
        A search refits it in every so many-th pass, from the first on: the stars settle on a new PSF before they tell of the
        next.
    method : str
        "fit" (least squares with robust weights over the image) or "median" (median of the shifted stamps).
    order : int
        Order of the polynomial that the PSF follows over the image; lowered when there are too few stars.
    core : int
        Size of the pixel core, odd, pixels.
    stamp : int
        Size of the stamps that the wings are fitted on, odd, pixels.
    norm_size : int
        The PSF sums to 1 over this box, odd, pixels.
    max_stars : int
        At most so many stars, the brightest.
    min_stars : int
        With fewer stars the PSF is not refitted.
    stars_per_term : float
        Stars needed for each term of the polynomial.
    expected_fwhm, fwhm_factor : float
        Where the first is not 0: full width at half maximum that the PSF is expected to have, pixels, and the factor by which a
        refit may lie off it; one that lies farther was made on what are no stars, and is not taken.
    min_snr : float
        Smallest flux over error of a PSF star.
    max_shift : float
        Largest centroid shift of a PSF star in the pass, pixels.
    min_fracflux : float
        Smallest PSF-weighted fraction of the flux that is the star's own.
    max_spread : float
        Largest distance of a PSF star's `spread_model` from the median of all, in robust sigma: galaxies and close pairs
        lie farther. Where it is finite, stars that leave much more of their light than most, clipped ones, are turned down too.
    min_lbs_ratio : float
        Smallest ratio of the flux with a local sky removed to the flux.
    """
    refit: bool = True
    settle_passes: int = 3
    settle_fraction: float = 0.15
    every: int = 2
    method: str = "fit"
    order: int = 2
    core: int = 19
    stamp: int = 39
    norm_size: int = 59
    max_stars: int = 250
    min_stars: int = 5
    stars_per_term: float = 10.
    expected_fwhm: float = 0.
    fwhm_factor: float = 1.25
    min_snr: float = 20.
    max_shift: float = 0.5
    min_fracflux: float = 0.5
    min_lbs_ratio: float = 0.2
    max_spread: float = 4.


@dataclass(frozen=True)
class FitConfig:
    """All of a fit's configuration.

    Attributes
    ----------
    min_passes, max_passes : int
        Bounds on the number of passes, the last forced one included.
    prune_passes : int
        So many passes between the last search and the forced pass remove sources that the model does not need.
    stop_new : float
        The search ends when a pass adds fewer sources, less those that it removes, than this per million good pixels ...
    stop_fraction : float
        ... or fewer than this fraction of all sources; not yet when it removes more than it adds and lowers the mean chi2 by 5 %.
    max_sources : int
        Guard: detection stops adding sources at this number.
    sky, detect, solve, centroid, cull, psf, nebulosity
        The stages. For `sky`, `detect`, `solve` and `centroid` an estimator, detector, solver or centroid method may be given in
        place of a section, the other options of which are then the default ones.
    """
    min_passes: int = 4
    max_passes: int = 12
    prune_passes: int = 1
    stop_new: float = 20.
    stop_fraction: float = 0.015
    max_sources: int = 5_000_000
    sky: SkyConfig = field(default_factory=SkyConfig)
    detect: DetectConfig = field(default_factory=DetectConfig)
    solve: SolveConfig = field(default_factory=SolveConfig)
    centroid: CentroidConfig = field(default_factory=CentroidConfig)
    cull: CullConfig = field(default_factory=CullConfig)
    psf: PSFConfig = field(default_factory=PSFConfig)
    nebulosity: NebulosityConfig = field(default_factory=NebulosityConfig)

    def __post_init__(self):
        sections = dict(sky=SkyConfig, detect=DetectConfig, solve=SolveConfig, centroid=CentroidConfig)
        for section, option in PARTS:
            part = getattr(self, section)
            if not isinstance(part, sections[section]):
                object.__setattr__(self, section, replace(sections[section](), **{option: part}))


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
        (all(n % 2 for n in (p.core, p.stamp, p.norm_size)), "psf.core, psf.stamp and psf.norm_size must be odd"),
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
