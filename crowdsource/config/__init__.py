"""Configuration of a fit: frozen dataclasses, one per stage, each field with its unit.

`FitConfig()` is the default; `described` and `released` are presets that follow the published description and the
published code. `from_mapping` reads the same structure from a TOML table, and `as_mapping` gives it back.
"""
from .mapping import as_mapping, as_nested, from_mapping, short_names
from .presets import PRESETS, described, preset_config, released
from .sections import (
    ArtifactsConfig,
    CentroidConfig,
    CullConfig,
    DetectConfig,
    FitConfig,
    NebulosityConfig,
    PSFConfig,
    SelectionConfig,
    SkyConfig,
    SolveConfig,
    checked,
)

__all__ = ["PRESETS", "ArtifactsConfig", "CentroidConfig", "CullConfig", "DetectConfig", "FitConfig", "NebulosityConfig",
           "PSFConfig", "SelectionConfig", "SkyConfig", "SolveConfig", "as_mapping", "as_nested", "checked", "described",
           "from_mapping", "preset_config", "released", "short_names"]
