"""Configurations from nested mappings, as a TOML file gives them, and back."""
from dataclasses import fields, is_dataclass, replace
from math import isfinite

from ..core.errors import ConfigError
from .extensions import PARTS
from .presets import preset_config
from .sections import FitConfig, checked


def from_mapping(mapping, base=None):
    """A FitConfig from nested mappings, as a TOML file gives them.

    Parameters
    ----------
    mapping : mapping
        Values by name; a stage's values in a mapping of its own. ``preset`` names the base.
    base : FitConfig, optional
        What is not in the mapping comes from here; the default config when not given.

    Raises
    ------
    ConfigError
        When a name is unknown, a value has the wrong type or is out of range.
    """
    mapping = dict(mapping)
    preset = mapping.pop("preset", None)
    if preset is not None:
        base = preset_config(preset)
    return checked(merged(FitConfig() if base is None else base, mapping))


def as_mapping(config):
    """Nested dicts of plain values, for TOML or a FITS header; an object given for a part of the fit becomes its name."""
    mapping = {f.name: getattr(config, f.name) for f in fields(config)}
    mapping = {name: dict(vars(value)) if is_dataclass(value) else value for name, value in mapping.items()}
    for (section, option), registry in PARTS.items():
        mapping[section][option] = registry.name_of(mapping[section][option])
    return mapping


def merged(config, mapping, prefix=""):
    """A dataclass with values of nested mappings in place of its own, each of the type of what it replaces.

    Parameters
    ----------
    config : dataclass
        Its fields are values or dataclasses.
    mapping : mapping
    prefix : str
        Before the names in messages.

    Raises
    ------
    ConfigError
        When a name is unknown or a value has the wrong type.
    """
    known = {f.name: f for f in fields(config)}
    changes = {}
    for name, value in mapping.items():
        if name not in known:
            raise ConfigError(f"option {prefix}{name} is unknown: choose one of {', '.join(known)}")
        old = getattr(config, name)
        changes[name] = merged(old, value, f"{prefix}{name}.") if is_dataclass(old) else _converted(prefix+name, value, old)
    return replace(config, **changes)


def _converted(name, value, old):
    """The value in the type of the one it replaces; ints serve as floats, nothing else is converted."""
    if isinstance(old, tuple) and isinstance(value, (list, tuple)):
        if old and isinstance(old[0], str):
            if not all(isinstance(v, str) for v in value):
                raise ConfigError(f"option {name} is {value!r}: a list of names is needed, such as {list(old)}")
            return tuple(value)
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and isfinite(v) for v in value)
        if not numbers or (name.endswith("stamp_sizes") and not all(isinstance(v, int) for v in value)):
            raise ConfigError(f"option {name} is {value!r}: a list of numbers is needed, whole ones for sizes")
        return tuple(value)
    if callable(old) and isinstance(value, str):
        return value
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(old):
        raise ConfigError(f"option {name} is {value!r}: a value of type {type(old).__name__} is needed, such as {old!r}")
    return value
