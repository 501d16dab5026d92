"""The tuned constants, by name: ``calibration.confusion.kept_share``.

They stand in data/calibration.toml with what they were derived from; ``make -C benchmarks calibrate`` derives them again. The
file is read once, when this module is imported.
"""
import tomllib
from dataclasses import dataclass
from importlib.resources import files

FILE = "calibration.toml"
ABOUT = "derivation"
"""Table of the file that tells how the constants were derived."""


@dataclass(frozen=True, eq=False)
class Constants:
    """Named values, or groups of them, as attributes.

    Attributes
    ----------
    name : str
        What they are called in an error.
    values : dict
    """

    name: str
    values: dict

    def __getattr__(self, name):
        if name.startswith("__") or name not in self.values:
            raise AttributeError(f"{self.name} has no constant {name}")
        return self.values[name]


def constants_of(text):
    """The constants of a calibration file.

    Parameters
    ----------
    text : str
        TOML: one table for each group, in it one for each constant, whose ``value`` counts.

    Returns
    -------
    Constants
        Groups of constants; arrays are tuples.
    """
    groups = tomllib.loads(text)
    groups.pop(ABOUT, None)
    return Constants(FILE, {group: Constants(f"{FILE}: [{group}]", {name: value_of(entry) for name, entry in table.items()})
                            for group, table in groups.items()})


def value_of(entry):
    """The value of a constant's table."""
    value = entry["value"]
    return tuple(value) if isinstance(value, list) else value


calibration = constants_of((files("crowdsource.data")/FILE).read_text(encoding="utf-8"))
