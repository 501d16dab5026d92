"""Configurations from nested mappings, as a TOML file gives them, and back."""
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from math import isfinite

import numpy as np

from ..core.errors import ConfigError
from ..core.nearest import did_you_mean, one_of
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


EXCHANGED = {f"{section}.{option}" for section, option in PARTS}
"""Options that hold a part of the fit: by its name, or itself."""
SHORT = ("detect", "psf", "sky", "solve", "centroid", "cull", "select")
"""Sections whose options may be given without the section where only one of these has the name."""


def as_nested(options):
    """Nested mappings from options of which those of a section may stand by themselves: ``threshold`` is ``detect.threshold``.

    Parameters
    ----------
    options : mapping
        Fields of `FitConfig`, ``preset``, or options of the sections in `SHORT`.

    Returns
    -------
    dict
        As `from_mapping` takes it.

    Raises
    ------
    ConfigError
        When a name is unknown or several sections have it.
    """
    top, homes, out = (*(f.name for f in fields(FitConfig)), "preset"), short_names(), {}
    sections = {name for name in top if is_dataclass(getattr(FitConfig(), name, None))}
    for name, value in options.items():
        if name in sections:
            out[name] = {**out.get(name, {}), **_as_section(name, value)}
        elif name in top:
            out[name] = value
        elif name not in homes:
            near = did_you_mean(name, (*top, *homes), ": crowdsource.FitConfig() shows all")
            raise ConfigError(f"option {name} is unknown{near}")
        elif len(homes[name]) > 1:
            several = " or ".join(f"{home}={{{name!r}: ...}}" for home in homes[name])
            raise ConfigError(f"option {name} is of several sections: give {several}")
        else:
            out.setdefault(homes[name][0], {})[name] = value
    return out


def _as_section(name, value):
    """Options of a section: of a mapping, a section itself, or the part of the fit that stands for the section."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return dict(vars(value))
    part = dict(PARTS.keys()).get(name)
    if part is None:
        raise ConfigError(f"option {name} is {value!r}: it is a section, give its options, as in {name}={{...}}")
    return {part: value}


def short_names():
    """Options of the sections in `SHORT`: for each name the sections that have it."""
    homes = {}
    for section in SHORT:
        for f in fields(getattr(FitConfig(), section)):
            homes.setdefault(f.name, []).append(section)
    return homes


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
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"option {prefix.rstrip('.')} is {mapping!r}: it is a table, give its options")
    known = {f.name: f for f in fields(config)}
    changes = {}
    for name, value in mapping.items():
        if name not in known:
            raise ConfigError(f"option {prefix}{name} is unknown{did_you_mean(name, known, one_of(known))}")
        old = getattr(config, name)
        changes[name] = merged(old, value, f"{prefix}{name}.") if is_dataclass(old) else _converted(prefix+name, value, old)
    return replace(config, **changes)


def _converted(name, value, old):
    """The value in the type of the one it replaces; ints serve as floats, and NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(old, tuple) and isinstance(value, (list, tuple)):
        if old and isinstance(old[0], str):
            if not all(isinstance(v, str) for v in value):
                raise ConfigError(f"option {name} is {value!r}: a list of names is needed, such as {list(old)}")
            return tuple(value)
        numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) and isfinite(v) for v in value)
        if not numbers or (name.endswith("stamp_sizes") and not all(isinstance(v, int) for v in value)):
            raise ConfigError(f"option {name} is {value!r}: a list of numbers is needed, whole ones for sizes")
        return tuple(value)
    if name in EXCHANGED and (callable(value) or isinstance(value, str)):
        return value
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(old):
        raise ConfigError(f"option {name} is {value!r}: a value of type {type(old).__name__} is needed, such as {old!r}")
    return value
