"""Plans: what of some folders is an exposure, and what it will take to fit it."""
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import CrowdsourceError, DataFileError, InstrumentError
from ..exposure.instrument import claiming_all, load
from ..io.checksums import checksums
from ..io.fits import read_header
from ..io.names import distinct_name
from .estimate import costs, peaks
from .manifest import Entry, Input, labelled

log = logging.getLogger(__name__)
FITS = re.compile(r".+\.(fits|fit|fts)(\.(gz|fz|bz2))?", re.IGNORECASE)
"""What the names of files in folders end with."""
OURS = ".cat.fits", ".mod.fits", ".info.fits", ".truth.fits"
"""Endings of what crowdsource writes itself."""


@dataclass(frozen=True)
class Wish:
    """What a plan is to take.

    Attributes
    ----------
    instrument : str or None
        Adapter that reads all files; the one that claims a file when not given.
    options : tuple of (str, str)
        Of the adapter; ``{path}``, ``{folder}``, ``{name}`` and ``{stem}`` stand for the image's path, folder, name, and name
        up to its first dot.
    pattern : str or None
        Of the names of files in folders; those that end as FITS files do when not given.
    count : bool
        Read an image of each exposure and count its peaks, for better estimates.
    """
    instrument: str = None
    options: tuple = ()
    pattern: str = None
    count: bool = True

    def options_of(self, path):
        """The options for a file."""
        path = Path(path)
        words = dict(path=path, folder=path.parent, name=path.name, stem=path.name.partition(".")[0])
        out = {}
        for name, text in self.options:
            out[name] = re.sub(r"\{(path|folder|name|stem)\}", lambda m: str(words[m[1]]), text)
        return out


@dataclass
class Plan:
    """What was found.

    Attributes
    ----------
    entries : list of Entry
    unclaimed : list of Path
        FITS files that are no instrument's.
    """
    entries: list = field(default_factory=list)
    unclaimed: list = field(default_factory=list)

    @property
    def problems(self):
        """Entries that cannot be fitted."""
        return [e for e in self.entries if e.problem]


def files_of(names, pattern=None):
    """Files in folders and below, without hidden ones and those that crowdsource writes.

    Parameters
    ----------
    names : iterable of path-like
        Files and folders.
    pattern : str, optional
        As that of `Wish`.

    Returns
    -------
    list of Path

    Raises
    ------
    DataFileError
        When a name is neither.
    """
    out = []
    for name in map(Path, names):
        if name.is_dir():
            inside = (p for p in name.rglob(pattern or "*") if not any(part.startswith(".") or part.endswith(".parts")
                                                                       for part in p.relative_to(name).parts))
            out += sorted(p for p in inside if p.is_file() and not p.name.endswith(OURS) and (pattern or FITS.fullmatch(p.name)))
        elif name.is_file():
            out.append(name)
        else:
            raise DataFileError(name, "there is no such file or folder; check the name")
    return list(dict.fromkeys(p.absolute() for p in out))


def plan(names, wish, workers=1, progress=None):
    """Look for exposures, and estimate what their detectors will take.

    Parameters
    ----------
    names : iterable of path-like
        Files and folders.
    wish : Wish
    workers : int
        Files that are read at a time.
    progress : callable, optional
        Called with ("plan", number, total, figures).

    Returns
    -------
    Plan
    """
    files, out = files_of(names, wish.pattern), Plan()
    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(files, pool.map(lambda p: _opened(p, wish), files)))
        out.unclaimed = [p for p in files if found[p] is None]
        first = _first(found, wish)
        for k, entries in enumerate(pool.map(lambda p: _entries(p, found[p], wish), first.values()), 1):
            out.entries += entries
            if progress:
                progress("plan", k, len(first), dict(tasks=len(out.entries)))
    out.entries = labelled(out.entries)
    return out


def _first(found, wish):
    """The file that stands for each exposure, by its identity; by their names those that cannot be used, or are one again.

    The planes of an exposure may each be claimed: it is named by the one that it reads first.
    """
    first = {}
    for path, thing in found.items():
        if isinstance(thing, Entry):
            first[str(path)] = path
        elif thing is not None:
            identity, inputs = thing[1].identity, [Path(p).absolute() for p in thing[1].inputs]
            known = first.setdefault(identity, path)
            if path == inputs[0] and known in inputs:
                first[identity] = path
            elif known != path and known not in inputs:
                found[path] = _broken(path, wish, f"{path}: is exposure {identity}, as is {known}; leave one of them out, or "
                                                  "give them different names")
                first[str(path)] = path
    return first


def _broken(path, wish, told):
    """The row of a file that cannot be used."""
    # names that are no UTF-8 cannot be written
    path, told = (str(t).encode("utf-8", "backslashreplace").decode() for t in (path, told))
    return Entry(path, distinct_name(Path(path).name), "", wish.instrument or "", path, problem=told)


def _told(path, wish, make):
    """What `make` gives; an Entry that tells of the problem where the file cannot be used."""
    try:
        return make()
    except CrowdsourceError as problem:
        told = " ".join(str(problem).split())
    except Exception as problem:
        # a damaged header can hold anything
        log.debug("%s", path, exc_info=True)
        told = f"{path}: cannot be read ({type(problem).__name__}: {' '.join(str(problem).split())[:200]}); fetch it again"
    return _broken(path, wish, told)


def _opened(path, wish):
    """Instrument and exposure of a file, None where it is nobody's, an Entry with the problem where it cannot be opened."""
    def make():
        claims = [load(wish.instrument)] if wish.instrument else claiming_all(path, read_header(path))
        if len(claims) > 1:
            raise InstrumentError(f"{path}: claimed by {', '.join(i.name for i in claims)}; name one (--instrument)")
        return (claims[0], claims[0].open(str(path), **wish.options_of(path))) if claims else None
    return _told(path, wish, make)


def _entries(path, opened, wish):
    """Rows of an exposure; one row with a problem where it cannot be used."""
    if isinstance(opened, Entry):
        return [opened]
    rows = _told(path, wish, lambda: _planned(*opened, path, wish))
    return [rows] if isinstance(rows, Entry) else rows


def _planned(instrument, exposure, path, wish):
    """Rows of an exposure that can be opened."""
    for p in (path, *exposure.inputs):
        str(p).encode()  # else it can neither be written into a table nor given to a worker
    tasks = exposure.tasks()
    inputs = tuple(Input.of(Path(p).absolute(), digest) for p, digest in checksums(dict.fromkeys(exposure.inputs)))
    scale, density = 1., None
    if wish.count:
        middle = tasks[len(tasks)//2]
        image = exposure.read(middle)
        scale, density = image.data.size/1e6/middle.cost, peaks(image)
    return [Entry(exposure.identity, exposure.label or distinct_name(exposure.identity), t.detector, instrument.name, str(path),
                  tuple(sorted(wish.options_of(path).items())), inputs, *costs(t.cost*scale, density)) for t in tasks]
