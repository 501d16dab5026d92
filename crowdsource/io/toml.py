"""Configuration files."""
from ..core.errors import ConfigError
from .bounded import read_toml_file


def read_toml(path):
    """What a TOML file holds, as nested dicts.

    Raises
    ------
    ConfigError
        When it cannot be read or is no TOML.
    """
    try:
        return read_toml_file(path)
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror}); check the name") from problem
    except ValueError as problem:
        raise ConfigError(f"{path}: is no TOML ({problem}); mend it") from problem
