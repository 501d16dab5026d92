"""Plans: finds the exposures in folders, and estimates what fitting them will take."""
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import ConfigError, CrowdsourceError, DataFileError, InstrumentError
from ..exposure.instrument import claiming, load
from ..io.checksums import checksums
from ..io.file_names import distinct_name, with_parts_of
from ..io.fits import read_header
from .estimate import costs, peaks
from .manifest import InputFile, ManifestEntry, with_distinct_labels

log = logging.getLogger(__name__)
FITS = re.compile(r".+\.(fits|fit|fts)(\.(gz|fz|bz2))?", re.IGNORECASE)
"""What the names of files in folders end with."""
OURS = ".cat.fits", ".mod.fits", ".info.fits", ".truth.fits"
"""Endings of what crowdsource writes itself."""


@dataclass(frozen=True)
class PlanRequest:
    """What a plan is to contain.

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
        return {name: with_parts_of(text, path) for name, text in self.options}


@dataclass(frozen=True)
class OpenedExposure:
    """An exposure with the instrument that has opened it.

    Attributes
    ----------
    instrument : crowdsource.exposure.instrument.Instrument
    exposure : crowdsource.exposure.instrument.Exposure
    """

    instrument: object
    exposure: object


@dataclass
class RunPlan:
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
        As that of `PlanRequest`.

    Returns
    -------
    list of Path

    Raises
    ------
    DataFileError
        When a name is neither.
    """
    out = []
    if pattern is not None and (Path(pattern).is_absolute() or not pattern.strip() or ".." in Path(pattern).parts):
        raise ConfigError(f"--pattern {pattern}: give a name with wildcards, as *_r.fits; folders are named by themselves")
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


def plan(names, request, workers=1, progress=None):
    """Look for exposures, and estimate what their detectors will take.

    Parameters
    ----------
    names : iterable of path-like
        Files and folders.
    request : PlanRequest
    workers : int
        Files that are read at a time.
    progress : callable, optional
        Called with ("plan", number, total, figures).

    Returns
    -------
    RunPlan
    """
    files, out = files_of(names, request.pattern), RunPlan()
    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(files, pool.map(lambda p: _opened(p, request), files)))
        out.unclaimed = [p for p in files if found[p] is None]
        first = _first(found, request)
        for k, entries in enumerate(pool.map(lambda p: _entries(p, found[p], request), first.values()), 1):
            out.entries += entries
            if progress:
                progress("plan", k, len(first), dict(tasks=len(out.entries)))
    out.entries = with_distinct_labels(out.entries)
    return out


def _first(found, request):
    """The file that stands for each exposure, by identity; files that cannot be used, or repeat an exposure, by name.

    Several planes of an exposure may be claimed: the one that it reads first stands for it.
    """
    first = {}
    for path, thing in found.items():
        if isinstance(thing, ManifestEntry):
            first[str(path)] = path
        elif thing is not None:
            identity, inputs = thing.exposure.identity, [Path(p).absolute() for p in thing.exposure.inputs]
            known = first.setdefault(identity, path)
            if path == inputs[0] and known in inputs:
                first[identity] = path
            elif known != path and known not in inputs:
                found[path] = _broken(path, request, f"{path}: is exposure {identity}, as is {known}; leave one of them out, or "
                                                  "give them different names")
                first[str(path)] = path
    return first


def _broken(path, request, message):
    """The entry of a file that cannot be used."""
    # names that are no UTF-8 cannot be written
    path, message = (str(t).encode("utf-8", "backslashreplace").decode() for t in (path, message))
    return ManifestEntry(exposure=path, label=distinct_name(Path(path).name), detector="", instrument=request.instrument or "",
                         image=path, problem=message)


def _or_problem(path, request, make):
    """The value of `make()`; a ManifestEntry with the problem where the file cannot be used."""
    try:
        return make()
    except CrowdsourceError as problem:
        message = " ".join(str(problem).split())
    except Exception as problem:
        # a damaged header can hold anything
        log.debug("%s", path, exc_info=True)
        message = f"{path}: cannot be read ({type(problem).__name__}: {' '.join(str(problem).split())[:200]}); fetch it again"
    return _broken(path, request, message)


def _opened(path, request):
    """The `OpenedExposure` of a file; None where no instrument claims it; a ManifestEntry where it cannot be opened."""
    def make():
        claims = [load(request.instrument)] if request.instrument else claiming(path, read_header(path))
        if len(claims) > 1:
            raise InstrumentError(f"{path}: claimed by {', '.join(i.name for i in claims)}; name one (--instrument)")
        return OpenedExposure(claims[0], claims[0].open(str(path), **request.options_of(path))) if claims else None
    return _or_problem(path, request, make)


def _entries(path, opened, request):
    """Entries of an exposure; one entry with the problem where it cannot be used."""
    if isinstance(opened, ManifestEntry):
        return [opened]
    rows = _or_problem(path, request, lambda: _planned(opened.instrument, opened.exposure, path, request))
    return [rows] if isinstance(rows, ManifestEntry) else rows


def _planned(instrument, exposure, path, request):
    """Entries of an exposure that can be opened."""
    for p in (path, *exposure.inputs):
        str(p).encode()  # a name that is no UTF-8 can neither be written into a table nor given to a worker
    tasks = exposure.tasks()
    inputs = tuple(InputFile.of(Path(p).absolute(), digest) for p, digest in checksums(dict.fromkeys(exposure.inputs)))
    scale, density = 1., None
    if request.count:
        middle = tasks[len(tasks)//2]
        image = exposure.read(middle)
        scale, density = image.data.size/1e6/middle.cost, peaks(image)
    entries = []
    for task in tasks:
        stars, cpu, memory = costs(task.cost*scale, density)
        entries.append(ManifestEntry(
            exposure=exposure.identity, label=exposure.label or distinct_name(exposure.identity), detector=task.detector,
            instrument=instrument.name, image=str(path), options=tuple(sorted(request.options_of(path).items())), inputs=inputs,
            stars=stars, cpu=cpu, memory=memory))
    return entries
