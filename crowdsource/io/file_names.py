"""Names of files from what headers and tables say, which is not to be trusted."""
import hashlib
import re
from pathlib import Path

LONGEST = 120
"""Bytes: with endings and the marks of temporary files a name stays below the 255 that file systems take."""
PARTS = re.compile(r"\{(path|folder|name|stem)\}")
PLAIN = re.compile(r"[\w+][\w.+-]*")


def safe_name(text):
    """A file name from any text: letters, digits and ``_ . + -``, none of the last three first, and not too long.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        Empty when nothing of the text can be used.
    """
    # a lone half of a surrogate pair, as of a name that is no UTF-8, is no letter
    name = re.sub(r"[^\w.+-]+", "_", str(text)).strip("_").lstrip(".-")
    return name if len(name.encode()) <= LONGEST else f"{_cut(name)}-{_short(text)}"


def distinct_name(text):
    """As `safe_name`, with a word of its own for a text that is no file name as it is: different texts have different names."""
    name = safe_name(text)
    return name if name and name == text else f"{_cut(name) or 'file'}-{_short(text)}"


def is_safe(name):
    """Whether a text can be the name of a file as it is."""
    return len(name.encode()) <= LONGEST and PLAIN.fullmatch(name) is not None


def _cut(name):
    """As much of a name as leaves room for `_short`."""
    return name.encode()[:LONGEST-9].decode(errors="ignore")


def _short(text):
    return hashlib.sha256(str(text).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def with_parts_of(text, path):
    """A text with a file's path, folder, name, and name up to its first dot for {path}, {folder}, {name} and {stem}."""
    path = Path(path)
    words = dict(path=path, folder=path.parent, name=path.name, stem=path.name.partition(".")[0])
    return PARTS.sub(lambda m: str(words[m[1]]), text)
