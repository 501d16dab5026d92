"""JSON and TOML of others, read within bounds: of size, and of how deep things nest."""
import json
import tomllib
from pathlib import Path

LARGEST = 1 << 30
"""Bytes of a file above which it is no record, list or configuration."""


def read_json(path):
    """What a JSON file holds.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it is too large, nests too deep, or is no JSON in UTF-8.
    """
    return _parsed(json.loads, path)


def read_toml_file(path):
    """What a TOML file holds, as nested dicts. Errors as `read_json`."""
    return _parsed(tomllib.loads, path)


def json_of(text):
    """What a JSON text holds; raises ValueError where it nests too deep or is no JSON."""
    return _shallow(json.loads, text)


def _parsed(parse, path):
    with open(path, "rb") as file:
        data = file.read(LARGEST+1)
    if len(data) > LARGEST:
        raise ValueError(f"{Path(path).name} is longer than {LARGEST >> 20} MB")
    return _shallow(parse, data.decode("utf-8"))


def _shallow(parse, text):
    try:
        return parse(text)
    except RecursionError as problem:
        raise ValueError("things nest too deep in it") from problem
