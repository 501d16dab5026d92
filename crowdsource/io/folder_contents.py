"""The list of what lies in a folder that was written whole: what may be removed with it, and what it is made of."""
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from .bounded import read_json

CONTENTS = "contents.json"
"""Name of the list."""
FORMAT, VERSION = "crowdsource-folder", 1


@dataclass(frozen=True)
class FolderContents:
    """What a list says.

    Attributes
    ----------
    key : str
        What the folder was made of, as `made_of` gives it; empty where that is not known.
    files : dict of str to int
        Bytes by path in the folder, with slashes.
    """

    key: str
    files: dict


def made_of(*things):
    """What something is made of, as a checksum: of values that JSON takes, others by their text."""
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()


def write_contents(folder, key=""):
    """Write the list of all files in a folder."""
    files = {name: size for name, size in _found(folder).items() if name != CONTENTS}
    content = dict(format=FORMAT, version=VERSION, key=key, files=files)
    (Path(folder)/CONTENTS).write_text(json.dumps(content, indent=1, sort_keys=True)+"\n", encoding="utf-8")


def read_contents(folder):
    """The `FolderContents` of a folder; None where it has no list, or one that is none of ours."""
    try:
        content = read_json(Path(folder)/CONTENTS)
        if content["format"] != FORMAT or content["version"] > VERSION or not isinstance(content["key"], str):
            return None
        return FolderContents(content["key"], {str(name): int(size) for name, size in content["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def strangers(folder, contents):
    """Paths in a folder of what its list does not name with its size: files, links, and folders in which nothing lies."""
    return sorted(name for name, size in _found(folder).items()
                  if name != CONTENTS and (size is None or contents.files.get(name) != size))


def is_whole(folder, contents):
    """Whether all files that the list names are there, of their sizes."""
    found = _found(folder)
    return all(found.get(name) == size for name, size in contents.files.items())


def _found(folder):
    """Bytes of each file below a folder; None of what is no file: a link, a device, an empty folder."""
    out = {}
    for place, folders, files in os.walk(folder):
        here = Path(place)
        for name in files+[d for d in folders if (here/d).is_symlink()]:
            path = here/name
            out[path.relative_to(folder).as_posix()] = path.stat().st_size if path.is_file() and not path.is_symlink() else None
        if here != Path(folder) and not folders and not files:
            out[here.relative_to(folder).as_posix()] = None
    return out
