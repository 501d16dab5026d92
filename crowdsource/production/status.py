"""The status of a run of a manifest, from its records and locks alone, while it goes on or after."""
import html
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from ..core.errors import DataFileError
from ..io.atomic import atomic_path
from ..io.bounded import read_json
from ..io.locks import is_locked
from .manifest import entries_by_label
from .options import RunOptions
from .records import (
    DONE,
    FAILED,
    UNUSABLE,
    OutputPaths,
    ingest_failure,
    known_records,
    read_detector_record,
    read_record,
    results_key,
)
from .state import Failure, may_be_retried

RUN = "run.json"
SHOWN = 12
"""Failed tasks that are named for each reason."""
PICTURES = 2000
"""Most pictures of a page."""
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}
.bar{background:#ddd;height:1.2em}.bar div{background:#3a7;height:100%;float:left}.bar .failed{background:#c43}
figure{display:inline-block;margin:.5em;width:15em;vertical-align:top}img{width:100%}figcaption{font-size:85%}"""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What the last run in a folder does, or did.

    Attributes
    ----------
    options : crowdsource.production.options.RunOptions
    reads : list of (str, str)
        Files that each fit reads beside the exposure's, and their SHA-256.
    workers : int
        Tasks at a time.
    """

    options: RunOptions = field(default_factory=RunOptions)
    reads: list = field(default_factory=list)
    workers: int = 1


@dataclass(frozen=True)
class TaskPicture:
    """The picture of a task.

    Attributes
    ----------
    name : str
        Of the task.
    caption : str
    path : Path
    """

    name: str
    caption: str
    path: Path


@dataclass(kw_only=True)
class RunStatus:
    """The status of a run.

    Attributes
    ----------
    total, done : int
        Detectors.
    running : list of str
        Names of tasks that are being worked on.
    failed : dict of str to Failure
        By the task's name.
    again : int
        Failed tasks that the next run tries again.
    gathered : int
        Exposures that have their catalog.
    ungathered : dict of str to Failure
        Exposures whose detectors are done or failed but that have no catalog.
    outside : dict of str to Failure
        Exposures whose catalog was given to a store which has taken none of its rows.
    exposures : int
    seconds : float
        Of all fits that are done.
    remaining : float
        Expected seconds of work of what is left.
    finish : datetime or None
        When that is done, with as many workers as the last run had.
    pictures : list of TaskPicture
    """

    total: int = 0
    done: int = 0
    running: list = field(default_factory=list)
    failed: dict = field(default_factory=dict)
    again: int = 0
    gathered: int = 0
    ungathered: dict = field(default_factory=dict)
    outside: dict = field(default_factory=dict)
    exposures: int = 0
    seconds: float = 0.
    remaining: float = 0.
    finish: datetime = None
    pictures: list = field(default_factory=list)

    @property
    def left(self):
        """Detectors that are neither done nor failed."""
        return self.total-self.done-len(self.failed)

    def lines(self):
        """The status as lines of text."""
        out = [f"{self.done} of {self.total} detectors are done, {len(self.running)} running, {len(self.failed)} failed, "
               f"{self.left-len(self.running)} remain; {self.gathered} of {self.exposures} exposures are gathered"]
        if self.finish is not None:
            hours = self.remaining/3600
            out.append(f"about {hours:.1f} hours of work are left, expected to be done {self.finish:%Y-%m-%d %H:%M}")
        out += [f"running: {name}" for name in self.running[:SHOWN]]
        out += [f"{name}: {f.reason}{': '*bool(f.message)}{f.message}" for name, f in
                [*self.ungathered.items(), *self.outside.items()][:SHOWN]]
        for reason, names in self.reasons():
            out.append(f"failed, {reason}: {len(names)}")
            out += [f"  {name}: {self.failed[name].message}" for name in names[:SHOWN]]
            out += [f"  and {len(names)-SHOWN} more"]*(len(names) > SHOWN)
        return out

    def reasons(self):
        """(reason, names) of failed tasks, the most frequent first."""
        counts = Counter(f.reason for f in self.failed.values())
        return [(r, [n for n, f in self.failed.items() if f.reason == r]) for r, _ in counts.most_common()]


def write_last_run(out, run):
    """Write into the folder of a run what the run does, a `LastRun`."""
    with atomic_path(Path(out)/RUN, overwrite=True) as temporary:
        temporary.write_text(json.dumps(asdict(run), indent=1), encoding="utf-8")


def read_last_run(out):
    """The `LastRun` in a folder; None where there was none.

    Raises
    ------
    DataFileError
        When its file is damaged.
    """
    path = Path(out)/RUN
    try:
        held = read_json(path)
        return LastRun(options=RunOptions(**held["options"]), reads=held["reads"], workers=int(held["workers"]))
    except FileNotFoundError:
        return None
    except UNUSABLE as problem:
        raise DataFileError(path, f"cannot be read ({problem}); run again") from problem


def status_of(entries, out, pictures=False, now=None):
    """How far a run of a manifest is.

    Parameters
    ----------
    entries : list of Entry
    out : path-like
        Folder of the results.
    pictures : bool
        Look for pictures too.
    now : datetime, optional

    Returns
    -------
    RunStatus
    """
    last, labels = read_last_run(out), entries_by_label(entries)
    run, status = last or LastRun(), RunStatus(total=len(entries), exposures=len(labels))
    status.failed = {e.name: Failure("input", e.problem) for e in entries if e.problem}
    expected = left = 0.
    for label, own in labels.items():
        paths = OutputPaths(out, label)
        key = results_key(own[0], run.options.result_settings(own[0].instrument, run.reads))
        known = known_records(paths, own, key)
        _count_gathering(status, paths, own, key, known)
        if known.gathered is not None and (problem := ingest_failure(paths, known.gathered)):
            status.outside[f"{paths.label} into the store"] = Failure("input", problem)
        for e in own:
            record = known.detectors.get(e.detector)
            if record is None or record["state"] == FAILED:
                left += e.cpu*(record is None)
                _count_unfinished(status, e, record, last is not None and is_locked(paths.lock(e.detector)))
            else:
                status.done += 1
                expected += e.cpu
                status.seconds += record["seconds"]
            if pictures and (picture := paths.picture(e.detector)).is_file():
                status.pictures.append(TaskPicture(e.name, caption(paths, e.detector, record), picture))
    if left:
        status.remaining = left*(status.seconds/expected if expected else 1.)
        if last is not None:
            status.finish = (now or datetime.now())+timedelta(seconds=status.remaining/max(run.workers, 1))
    return status


def _count_gathering(status, paths, entries, key, known):
    """Count an exposure that is gathered; note why one is not whose detectors are done or failed."""
    status.gathered += known.gathered is not None
    records = known.detectors
    if known.gathered is None and records and len(records) == len(entries) and any(r["state"] == DONE for r in records.values()):
        found = read_record(paths.record, key)
        status.ungathered[f"{paths.label} gathered"] = Failure("not yet", "") if found is None else Failure(found["reason"],
                                                                                                            found["error"])


def _count_unfinished(status, entry, record, locked):
    """Count a detector that is not done: as running, failed, or left."""
    if locked:
        status.running.append(entry.name)
    elif record is not None:
        status.failed[entry.name] = Failure(record["reason"], record["error"])
        status.again += may_be_retried(record)


def caption(paths, detector, record):
    """A line about a detector's result."""
    whole = read_detector_record(paths, detector)
    if whole is None or whole["state"] != DONE:
        return "" if record is None else record["error"]
    figures = whole["figures"]
    fwhm, chi2 = ("none" if figures[n] is None else f"{figures[n]:.2f}" for n in ("fwhm", "chi2"))
    return f"{figures['nsources']} sources, FWHM {fwhm} px, chi2 {chi2}, {whole['seconds']:.0f} s"


def write_page(status, title, path, overwrite=True):
    """Write a page with a status and its pictures.

    Parameters
    ----------
    status : RunStatus
    title : str
    path : path-like
        Pictures are named from its folder on.
    overwrite : bool
    """
    parts, text = [], html.escape
    for width, kind in ((status.done, "done"), (len(status.failed), "failed")):
        parts.append(f'<div class="{kind}" style="width:{100*width/max(status.total, 1):.2f}%"></div>')
    rows = "".join(f"<tr><td>{text(reason)}</td><td>{text(n)}</td><td>{text(status.failed[n].message)}</td></tr>"
                   for reason, names in status.reasons() for n in names)
    failed = f"<h2>Failed</h2><table><tr><th>reason<th>task<th>message</tr>{rows}</table>" if rows else ""
    figures = "".join(
        f'<figure><a href="{(link := quote(os.path.relpath(p.path, Path(path).absolute().parent)))}"><img loading="lazy" alt="" '
        f'src="{link}"></a><figcaption><b>{text(p.name)}</b><br>{text(p.caption)}</figcaption></figure>'
        for p in status.pictures[:PICTURES])
    more = f"<p>and {len(status.pictures)-PICTURES} more</p>" if len(status.pictures) > PICTURES else ""
    figures = figures or "<p>none: they are made of what a run with --pictures fits</p>"
    lines = "".join(f"<p>{text(line)}</p>" for line in status.lines() if not line.startswith(("failed", " ")))
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{text(title)}</title>'
                             f"<style>{STYLE}</style><h1>{text(title)}</h1>"
                             f"<div class=\"bar\">{''.join(parts)}</div>{lines}{failed}"
                             f"<h2>Pictures</h2>{figures}{more}</html>\n", encoding="utf-8")
