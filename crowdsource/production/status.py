"""How far a run of a manifest is: from its records and locks alone, while it goes on or after."""
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
from ..io.locks import is_taken
from .manifest import exposures
from .options import RunOptions
from .records import DONE, FAILED, Place, key_of, read_record, read_whole, settled
from .state import retried

RUN = "run.json"
SHOWN = 12
"""Failed tasks that are named for each reason."""
PICTURES = 2000
"""Most pictures of a page."""
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}
.bar{background:#ddd;height:1.2em}.bar div{background:#3a7;height:100%;float:left}.bar .failed{background:#c43}
figure{display:inline-block;margin:.5em;width:15em;vertical-align:top}img{width:100%}figcaption{font-size:85%}"""


@dataclass
class Status:
    """How far a run is.

    Attributes
    ----------
    total, done : int
        Detectors.
    running : list of str
        Names of tasks that are being worked on.
    failed : dict of str to (str, str)
        Reason and message by the task's name.
    again : int
        Failed tasks that the next run tries again.
    gathered : int
        Exposures that have their catalog.
    ungathered : dict of str to (str, str)
        Exposures whose detectors are settled but that have no catalog: reason and message.
    exposures : int
    seconds : float
        Of all fits that are done.
    remaining : float
        Expected seconds of work of what is left.
    finish : datetime or None
        When that is done, with as many workers as the last run had.
    pictures : list of (str, str, Path)
        Name, caption and file.
    """
    total: int = 0
    done: int = 0
    running: list = field(default_factory=list)
    failed: dict = field(default_factory=dict)
    again: int = 0
    gathered: int = 0
    ungathered: dict = field(default_factory=dict)
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
        """What is told on a terminal."""
        out = [f"{self.done} of {self.total} detectors are done, {len(self.running)} running, {len(self.failed)} failed, "
               f"{self.left-len(self.running)} remain; {self.gathered} of {self.exposures} exposures are gathered"]
        if self.finish is not None:
            hours = self.remaining/3600
            out.append(f"about {hours:.1f} hours of work are left, expected to be done {self.finish:%Y-%m-%d %H:%M}")
        out += [f"running: {name}" for name in self.running[:SHOWN]]
        out += [f"{name}: {reason}{': '*bool(told)}{told}" for name, (reason, told) in [*self.ungathered.items()][:SHOWN]]
        for reason, names in self.reasons():
            out.append(f"failed, {reason}: {len(names)}")
            out += [f"  {name}: {self.failed[name][1]}" for name in names[:SHOWN]]
            out += [f"  and {len(names)-SHOWN} more"]*(len(names) > SHOWN)
        return out

    def reasons(self):
        """(reason, names) of failed tasks, the most frequent first."""
        counts = Counter(reason for reason, _ in self.failed.values())
        return [(r, [n for n, (reason, _) in self.failed.items() if reason == r]) for r, _ in counts.most_common()]


def write_run(out, options, reads, workers):
    """Tell in a run's folder what the run does, for `status`."""
    with atomic_path(Path(out)/RUN, overwrite=True) as temporary:
        temporary.write_text(json.dumps(dict(options=asdict(options), reads=reads, workers=workers), indent=1), encoding="utf-8")


def read_run(out):
    """(options, reads, workers) of the last run in a folder, None where there was none.

    Raises
    ------
    DataFileError
        When its file is damaged.
    """
    path = Path(out)/RUN
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return RunOptions(**told["options"]), told["reads"], int(told["workers"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as problem:
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
    Status
    """
    last, units = read_run(out), exposures(entries)
    state = Status(total=len(entries), exposures=len(units))
    state.failed = {e.name: ("input", e.problem) for e in entries if e.problem}
    options, reads, workers = last or (RunOptions(), [], 1)
    expected = left = 0.
    for label, own in units.items():
        place = Place(out, label)
        key = key_of(own[0], options.told(own[0].instrument, reads))
        gathered, records = settled(place, own, key)
        state.gathered += gathered is not None
        if gathered is None and records and len(records) == len(own) and any(r["state"] == DONE for r in records.values()):
            found = read_record(place.record, key)
            state.ungathered[f"{label} gathered"] = ("not yet", "") if found is None else (found["reason"], found["error"])
        for e in own:
            record = records.get(e.detector)
            if record is None or record["state"] == FAILED:
                left += e.cpu*(record is None)
                if last is not None and is_taken(place.lock(e.detector)):
                    state.running.append(e.name)
                elif record is not None:
                    state.failed[e.name] = (record["reason"], record["error"])
                    state.again += retried(record)
            else:
                state.done += 1
                expected += e.cpu
                state.seconds += record["seconds"]
            if pictures and (picture := place.picture(e.detector)).is_file():
                state.pictures.append((e.name, caption(place, e.detector, record), picture))
    if left:
        state.remaining = left*(state.seconds/expected if expected else 1.)
        if last is not None:
            state.finish = (now or datetime.now())+timedelta(seconds=state.remaining/max(workers, 1))
    return state


def caption(place, detector, record):
    """A line about a detector's result."""
    whole = read_whole(place, detector)
    if whole is None or whole["state"] != DONE:
        return "" if record is None else record["error"]
    figures = whole["figures"]
    fwhm, chi2 = ("none" if figures[n] is None else f"{figures[n]:.2f}" for n in ("fwhm", "chi2"))
    return f"{figures['nsources']} sources, FWHM {fwhm} px, chi2 {chi2}, {whole['seconds']:.0f} s"


def write_page(state, title, path, overwrite=True):
    """Write a page with a status and its pictures.

    Parameters
    ----------
    state : Status
    title : str
    path : path-like
        Pictures are named from its folder on.
    overwrite : bool
    """
    parts, text = [], html.escape
    for width, kind in ((state.done, "done"), (len(state.failed), "failed")):
        parts.append(f'<div class="{kind}" style="width:{100*width/max(state.total, 1):.2f}%"></div>')
    rows = "".join(f"<tr><td>{text(reason)}</td><td>{text(n)}</td><td>{text(state.failed[n][1])}</td></tr>"
                   for reason, names in state.reasons() for n in names)
    failed = f"<h2>Failed</h2><table><tr><th>reason<th>task<th>message</tr>{rows}</table>" if rows else ""
    figures = "".join(
        f'<figure><a href="{(where := quote(os.path.relpath(p, Path(path).absolute().parent)))}"><img loading="lazy" alt="" '
        f'src="{where}"></a><figcaption><b>{text(n)}</b><br>{text(told)}</figcaption></figure>'
        for n, told, p in state.pictures[:PICTURES])
    more = f"<p>and {len(state.pictures)-PICTURES} more</p>" if len(state.pictures) > PICTURES else ""
    figures = figures or "<p>none: they are made of what a run with --pictures fits</p>"
    lines = "".join(f"<p>{text(line)}</p>" for line in state.lines() if not line.startswith(("failed", " ")))
    with atomic_path(path, overwrite) as temporary:
        temporary.write_text(f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{text(title)}</title>'
                             f"<style>{STYLE}</style><h1>{text(title)}</h1>"
                             f"<div class=\"bar\">{''.join(parts)}</div>{lines}{failed}"
                             f"<h2>Pictures</h2>{figures}{more}</html>\n", encoding="utf-8")
