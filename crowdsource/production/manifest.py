"""Manifests: tables of what is to be fitted, a row for each detector or tile, in ECSV or Parquet.

A manifest may come from anywhere: its values are checked when it is read, and its paths must lie in given folders.
"""
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import ConfigError, DataFileError
from ..io.bounded import json_of
from ..io.file_names import distinct_name, is_safe
from ..io.tables import read_table, write_catalog

VERSION = 1
ENDINGS = ".ecsv", ".parquet"
COLUMNS = {
    "exposure": "", "label": "", "detector": "", "instrument": "", "image": "", "options": "", "inputs": "",
    "stars": "", "cpu": "s", "memory": "MB", "problem": "",
}
"""Names of the columns and their units."""
DESCRIPTIONS = {
    "exposure": "identity of the exposure", "label": "name of its folder and files", "detector": "name, empty for the only one",
    "instrument": "adapter that reads it", "image": "file that stands for the exposure",
    "options": "of the adapter, JSON", "inputs": "files as JSON: [path, bytes, modification time in ns, SHA-256]",
    "stars": "estimated number", "cpu": "estimated CPU time", "memory": "estimated peak", "problem": "why it cannot be fitted",
}


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that an exposure is read from, as it was when the manifest was made.

    Attributes
    ----------
    path : str
    size : int
        Bytes.
    mtime : int
        Time of the last change, ns.
    sha256 : str
    """

    path: str
    size: int
    mtime: int
    sha256: str

    @classmethod
    def of(cls, path, sha256):
        """A file as it is now."""
        facts = Path(path).stat()
        return cls(str(path), facts.st_size, facts.st_mtime_ns, sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """A row of a manifest.

    Attributes
    ----------
    exposure, label, detector, instrument, image : str
    options : tuple of (str, object)
    inputs : tuple of Input
    stars, cpu, memory : float
        Estimates; s and MB.
    problem : str
        Why it cannot be fitted; empty when it can.
    """

    exposure: str
    label: str
    detector: str
    instrument: str
    image: str
    options: tuple = ()
    inputs: tuple = ()
    stars: float = 0.
    cpu: float = 0.
    memory: float = 0.
    problem: str = ""

    @property
    def name(self):
        """What the task is called: folder and detector."""
        return f"{self.label}/{self.detector}" if self.detector else self.label


def write_manifest(entries, path, overwrite=False):
    """Write a manifest.

    Parameters
    ----------
    entries : list of Entry
        Those of one exposure one after the other.
    path : path-like
        With an ending of `ENDINGS`.
    overwrite : bool

    Raises
    ------
    ConfigError
        When the ending is another.
    OutputError
        When the file exists already or cannot be written.
    """
    from astropy.table import Table
    check_manifest_name(path)
    folder = Path(path).absolute().parent
    held = {"options": lambda e: json.dumps(dict(e.options)), "image": lambda e: _relative(e.image, folder),
            "inputs": lambda e: json.dumps([[_relative(i.path, folder), i.size, i.mtime, i.sha256] for i in e.inputs])}
    table, texts = Table(), {}
    for name, unit in COLUMNS.items():
        if unit or name == "stars":
            table[name] = np.array([getattr(e, name) for e in entries], float)
            table[name].unit = unit or None
        else:
            make = held.get(name, lambda e, n=name: getattr(e, n))
            # those of one exposure share what is the same for all
            table[name] = np.array([texts.setdefault(t, t) for t in map(make, entries)], dtype=str)
        table[name].description = DESCRIPTIONS[name]
    write_catalog(table, path, {"manifest": str(VERSION)}, overwrite)


def check_manifest_name(path):
    """Raise `ConfigError` for a name whose ending is that of no manifest."""
    if Path(path).suffix.lower() not in ENDINGS:
        raise ConfigError(f"{path}: a manifest's name ends with {' or '.join(ENDINGS)}")


def _relative(path, folder):
    """A path relative to a folder where it lies in it; an absolute path otherwise."""
    path = Path(path).absolute()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def read_manifest(path, roots=()):
    """Read a manifest.

    Parameters
    ----------
    path : path-like
    roots : sequence of path-like
        Folders in which inputs may lie, beside the manifest's own.

    Returns
    -------
    list of Entry
        With paths from the root.

    Raises
    ------
    DataFileError
        When the file cannot be read, is no manifest, or leads to a file outside of the folders.
    """
    check_manifest_name(path)
    path = Path(path)
    table = read_table(str(path))
    missing = [n for n in COLUMNS if n not in table.colnames]
    if missing:
        raise DataFileError(path, f"has no column {', '.join(missing)}; make a manifest with crowdsource plan")
    numbers = "stars", "cpu", "memory"
    try:
        columns = {n: np.ma.asarray(table[n], float).filled(np.nan).tolist() if n in numbers else _texts(table[n])
                   for n in COLUMNS}
    except (ValueError, TypeError) as problem:
        raise DataFileError(path, f"holds other things than a manifest ({problem}); plan again") from problem
    reader = _Reader(path, roots)
    entries = [reader.entry(k, dict(zip(columns, row))) for k, row in enumerate(zip(*columns.values()), 1)]
    _check_labels(path, entries)
    return entries


def _texts(column):
    """A column's texts, equal ones as one object; an empty text is a masked one in ECSV."""
    values = np.ma.asarray(column)
    texts = values.data.astype(str, copy=False).tolist()
    for k in np.flatnonzero(np.ma.getmaskarray(values)):
        texts[k] = ""
    return list(map(sys.intern, texts))


class _Reader:
    """Checks and converts the values of a manifest; equal values once."""

    def __init__(self, path, roots):
        self.path, self.folder = path, path.absolute().parent
        self.roots = [Path(r).resolve() for r in (self.folder, *roots)]
        self.shared, self.paths = {}, {}

    def entry(self, number, row):
        """The Entry of a row."""
        for name in ("label", "detector"):
            if (row[name] and not is_safe(row[name])) or not row["label"]:
                raise DataFileError(self.path, f"row {number}: {name} {row[name][:60]!r} cannot be a file's name; plan again")
        bad = [n for n in ("stars", "cpu", "memory") if not (np.isfinite(row[n]) and row[n] >= 0)]
        if bad:
            raise DataFileError(self.path, f"row {number}: {bad[0]} is {row[bad[0]]}; plan again")
        try:
            options, inputs = (self._once(row[n], make) for n, make in (("options", self._options), ("inputs", self._inputs)))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
            raise DataFileError(self.path, f"row {number}: options or inputs cannot be read ({problem}); plan again") from problem
        image = self._inside(row["image"])
        return ManifestEntry(**{**row, "options": options, "inputs": inputs, "image": image})

    def _once(self, text, make):
        key = make.__name__, text
        if key not in self.shared:
            self.shared[key] = make(text)
        return self.shared[key]

    @staticmethod
    def _options(text):
        return tuple(json_of(text).items())

    def _inputs(self, text):
        return tuple(InputFile(self._inside(p), int(size), int(mtime), str(digest))
                     for p, size, mtime, digest in json_of(text))

    def _inside(self, text):
        """The absolute path, checked to lie in one of the folders."""
        if text in self.paths:
            return self.paths[text]
        path = self.folder/text
        where = path.resolve()
        if not any(where.is_relative_to(r) for r in self.roots):
            raise DataFileError(self.path, f"leads to {path}, which is outside of {', '.join(map(str, self.roots))}; if it is to "
                                "be read, allow its folder (--root)")
        self.paths[text] = str(path)
        return self.paths[text]


def _check_labels(path, entries):
    """Raise `DataFileError` when two exposures would write to one folder, or the rows of an exposure differ in how it is read."""
    known, seen, facts = {}, set(), {}
    for e in entries:
        if known.setdefault(e.label, e.exposure) != e.exposure:
            raise DataFileError(path, f"exposures {known[e.label]!r} and {e.exposure!r} have the label {e.label}; plan again")
        own = (e.instrument, e.image, e.options, e.inputs)
        if not e.problem and facts.setdefault(e.label, own) != own:
            raise DataFileError(path, f"{e.name} is read otherwise than other detectors of {e.label}; plan again")
        if (e.label, e.detector) in seen:
            raise DataFileError(path, f"{e.name} is there twice; plan again")
        seen.add((e.label, e.detector))


def entries_by_label(entries):
    """Entries by label, without those that cannot be fitted.

    Returns
    -------
    dict of str to list of Entry
    """
    out = {}
    for e in entries:
        if not e.problem:
            out.setdefault(e.label, []).append(e)
    return out


def with_distinct_labels(entries):
    """Entries in which each exposure has a label of its own: where two had the same, the second gets another."""
    owner = {}
    for e in entries:
        owner.setdefault(e.label, e.exposure)
    return [e if owner[e.label] == e.exposure else replace(e, label=distinct_name(f"{e.label} {e.exposure}")) for e in entries]
