"""The configuration: TOML round trip, unknown names, values out of range, presets."""
import tomllib
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest

from crowdsource.config import PRESETS, FitConfig, PSFConfig, SolveConfig, as_mapping, checked, described, from_mapping, released
from crowdsource.core.errors import ConfigError, CrowdsourceError


def toml(mapping, prefix=""):
    """A mapping as TOML text; the standard library reads it but does not write it."""
    def text(value):
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (list, tuple)):
            return "["+", ".join(map(text, value))+"]"
        return f'"{value}"' if isinstance(value, str) else repr(value)

    lines = [f"{k} = {text(v)}" for k, v in mapping.items() if not isinstance(v, dict)]
    for k, v in mapping.items():
        if isinstance(v, dict):
            lines += [f"[{prefix}{k}]", toml(v, f"{prefix}{k}.")]
    return "\n".join(lines)


@pytest.mark.parametrize("name", PRESETS)
def test_toml_round_trip(name):
    config = PRESETS[name]()
    assert from_mapping(tomllib.loads(toml(as_mapping(config)))) == config


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_within_their_ranges(name):
    assert checked(PRESETS[name]()) == PRESETS[name]()


def test_parts_of_a_mapping_change_only_what_they_name():
    config = from_mapping({"max_passes": 6, "detect": {"threshold": 7},
                           "solve": {"stamp_sizes": [15, 31], "stamp_levels": [10.]}})
    expected = replace(FitConfig(), max_passes=6, detect=replace(FitConfig().detect, threshold=7.),
                       solve=replace(FitConfig().solve, stamp_sizes=(15, 31), stamp_levels=(10.,)))
    assert config == expected
    assert isinstance(config.detect.threshold, float) and isinstance(config.solve.stamp_sizes, tuple)


def test_preset_and_base():
    assert from_mapping({"preset": "described", "max_passes": 7}) == replace(described(), max_passes=7)
    assert from_mapping({}, base=released()) == released()
    assert from_mapping({"psf": {"order": 0}}, base=released()).psf == replace(released().psf, order=0)
    with pytest.raises(ConfigError, match="preset 'old' is unknown.*described"):
        from_mapping({"preset": "old"})


@pytest.mark.parametrize("mapping, message", [
    ({"passes": 3}, "option passes is unknown.*max_passes"), ({"sky": {"boxes": 3}}, "option sky.boxes is unknown.*block"),
    ({"max_passes": "3"}, "option max_passes is '3': a value of type int"), ({"max_passes": True}, "type int"),
    ({"psf": {"refit": 1}}, "psf.refit is 1: a value of type bool"), ({"detect": {"threshold": True}}, "type float"),
    ({"max_passes": 3.5}, "type int")])
def test_unknown_names_and_wrong_types(mapping, message):
    with pytest.raises(ConfigError, match=message) as caught:
        from_mapping(mapping)
    assert isinstance(caught.value, CrowdsourceError)


@pytest.mark.parametrize("mapping, message", [
    ({"min_passes": 0}, "min_passes"), ({"min_passes": 13}, "min_passes"), ({"sky": {"estimator": "best"}}, "sky.estimator"),
    ({"sky": {"block": 3}}, "sky.block"), ({"detect": {"threshold": 0.}}, "detect.threshold"),
    ({"solve": {"method": "qr"}}, "solve.method"), ({"solve": {"stamp_levels": [1.]}}, "solve.stamp_levels"),
    ({"solve": {"stamp_sizes": [19, 30], "stamp_levels": [5.]}}, "solve.stamp_sizes"),
    ({"solve": {"stamp_sizes": [59, 19], "stamp_levels": [5.]}}, "solve.stamp_sizes"), ({"solve": {"bright_size": 300}}, "odd"),
    ({"solve": {"position_prior": 0.}}, "position_prior"), ({"centroid": {"method": "peak"}}, "centroid.method"),
    ({"psf": {"method": "mean"}}, "psf.method"), ({"psf": {"order": 3}}, "psf.order"), ({"psf": {"core": 18}}, "odd"),
    ({"psf": {"every": 0}}, "psf.every"), ({"psf": {"norm_radius": -1.}}, "norm_radius"),
])
def test_values_out_of_range_are_named(mapping, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(mapping)


def stages(config):
    yield config
    yield from (getattr(config, f.name) for f in fields(config) if is_dataclass(getattr(config, f.name)))


def test_every_field_is_documented_and_frozen():
    for stage in stages(FitConfig()):
        for f in fields(stage):
            assert f.name in type(stage).__doc__, f"{type(stage).__name__}.{f.name}"
        with pytest.raises(FrozenInstanceError):
            setattr(stage, fields(stage)[0].name, 1)


def test_presets_follow_what_was_published():
    d, r = described(), released()
    for c in (d, r):
        assert (c.sky.estimator, c.sky.block, c.sky.global_passes) == ("median", 20, 2)
        assert (c.detect.threshold, c.detect.bright_pixel, c.detect.blend_ratio) == (5, 5/0.3, 0.2)
        assert (c.detect.pixel_flux_ratio, c.detect.pixel_significance_ratio) == (0.1, 0.4)
        assert (c.detect.blend_ratio_first, c.detect.blend_passes, c.detect.split) == (2, 2, "ratio")
        assert (c.solve.method, c.solve.stamp_sizes) == ("lsqr", (19, 59, 149))
        assert (c.psf.method, c.psf.core, c.psf.norm_radius) == ("median", 19, 0.)
        assert (c.min_passes, c.max_passes) == (4, 10)
        assert c.cull.prune == 0 and c.prune_passes == 0
    assert d.sky.first_block_fwhm == 0 and r.sky.first_block_fwhm == 50
    assert d.centroid.method == "moment" and d.psf.order == 0 and d.cull.min_separation == 0 and d.cull.min_significance == 0
    assert (r.cull.min_significance, r.cull.min_separation, r.cull.keep_flux) == (3, 1, 1e5)
    assert (r.detect.min_separation, r.psf.max_stars) == (1.5, 200)
    assert (d.psf.max_shift, d.psf.min_fracflux, d.psf.min_lbs_ratio) == (0.5, 0.5, 0.2)


def test_defaults_are_values_of_their_own():
    assert FitConfig().psf == PSFConfig() and FitConfig().solve == SolveConfig()
