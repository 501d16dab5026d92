"""Configuration files."""
import tomllib
from pathlib import Path

from ..core.errors import ConfigError


def read_toml(path):
    """What a TOML file holds, as nested dicts.

    Raises
    ------
    ConfigError
        When it cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror}); check the name") from problem
    except ValueError as problem:
        raise ConfigError(f"{path}: is no TOML ({problem}); mend it") from problem
