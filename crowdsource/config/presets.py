"""Presets: whole configurations by name."""
from dataclasses import replace
from math import inf

from ..core.errors import ConfigError
from ..core.nearest import did_you_mean, one_of
from .sections import ArtifactsConfig, CentroidConfig, CullConfig, DetectConfig, FitConfig, PSFConfig, SkyConfig, SolveConfig

PUBLISHED_ARTIFACTS = ArtifactsConfig(sharp=False, saturated=False, negative=False, trails=False)
PUBLISHED_DETECT = DetectConfig(
    threshold=5., split="ratio", edge_of="masked", saturated_reach=0, bright_pixel=5/0.3, blend_ratio_first=2.,
    blend_ratio=0.2, blend_passes=2, pixel_flux_ratio=0.1, pixel_significance_ratio=0.4,
    outside=False, extended=False)
PUBLISHED_SOLVE = SolveConfig(method="lsqr", stamp_sizes=(19, 59, 149), stamp_levels=(20., 1000.), position_prior=0.6,
                              undetected=False)


def described():
    """The published description to the letter."""
    return FitConfig(
        artifacts=PUBLISHED_ARTIFACTS,
        sky=SkyConfig(estimator="median", block_fwhm=0., first_block_fwhm=0., min_significance=0.),
        detect=replace(PUBLISHED_DETECT, min_separation=0.),
        solve=PUBLISHED_SOLVE,
        centroid=CentroidConfig(method="moment", max_step=0.5),
        cull=CullConfig(min_significance=0., prune=0., merge=0., min_separation=0.),
        max_passes=10,
        prune_passes=0,
        stop_fraction=0.,
        psf=PSFConfig(method="median", order=0, max_spread=inf, settle_passes=0, every=1),
    )


def released():
    """What version 0.5.9 of the published code does."""
    return FitConfig(
        artifacts=PUBLISHED_ARTIFACTS,
        sky=SkyConfig(estimator="median", block_fwhm=0., first_block_fwhm=50., min_significance=0.),
        detect=replace(PUBLISHED_DETECT, min_separation=1.5),
        solve=PUBLISHED_SOLVE,
        centroid=CentroidConfig(method="moment", max_step=0.5),
        cull=CullConfig(min_significance=3., prune=0., merge=0., min_separation=1., keep_flux=1e5),
        max_passes=10,
        prune_passes=0,
        stop_fraction=0.,
        psf=PSFConfig(method="median", order=1, max_stars=200, max_spread=inf, settle_passes=0, every=1),
    )


PRESETS = {"default": FitConfig, "described": described, "released": released}


def preset_config(name):
    """The configuration of a preset.

    Raises
    ------
    ConfigError
        When there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} is unknown{did_you_mean(name, PRESETS, one_of(PRESETS))}")
    return PRESETS[name]()
