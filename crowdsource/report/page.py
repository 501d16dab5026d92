"""Pages: one HTML file each, with everything in it, that a browser shows from a disk without a network."""
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from ..core.errors import OutputError, need
from ..core.version import installed_version
from ..io.atomic import atomic_path, check_output

EXTRA, PURPOSE = "report", "a report page"
NONE = "\u2013"
"""What stands for a missing number; the scripts of pages know it."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    text : str
    value : float or None
        By which rows are sorted; None for the text.
    link : str
        Address, relative to the page.
    """

    text: str
    value: float = None
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A part of a section: a plot, a table, or cut-outs.

    Attributes
    ----------
    title : str
    caption : str
        What it tells, and how to read it.
    figure : bokeh model or None
    head : sequence of str
        Headings of a table.
    rows : sequence of sequence of Cell or str
        Of a table.
    cutouts : sequence of crowdsource.report.cutouts.Cutouts
    wide : bool
        It takes the whole width.
    """

    title: str
    caption: str = ""
    figure: object = None
    head: tuple = ()
    rows: tuple = ()
    cutouts: tuple = ()
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes
    ----------
    name : str
        By which links find it.
    title : str
    panels : sequence of Panel
    text : str
        Before the panels.
    folded : bool
        Shown when it is clicked.
    """

    name: str
    title: str
    panels: tuple = ()
    text: str = ""
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page holds.

    Attributes
    ----------
    title, subtitle : str
    figures : sequence of (str, str, str)
        The most important numbers: value, what it is, and what stands below in small letters.
    warnings : sequence of str
        Sentences.
    missing : sequence of str
        What could not be shown, and what to do about it.
    viewer : mapping or None
        What the viewer of images takes, from `crowdsource.report.planes.viewer_data`.
    sections : sequence of Section
    back : (str, str) or None
        Text and address of the page that this one belongs to.
    """

    title: str
    subtitle: str = ""
    figures: tuple = ()
    warnings: tuple = ()
    missing: tuple = ()
    viewer: dict = None
    sections: tuple = ()
    back: tuple = None


def write_page(page, path, overwrite=False):
    """Write a page.

    Parameters
    ----------
    page : Page
    path : path-like
        Its folder is made where it is not there.
    overwrite : bool

    Raises
    ------
    MissingExtraError
        When bokeh is not installed.
    OutputError
        When the file exists already or cannot be written.
    """
    path = Path(path)
    text = html_of(page)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"{path.parent}: the folder cannot be made ({problem.strerror}); choose another place") from problem
    with atomic_path(path, overwrite) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")


def html_of(page):
    """The text of a page; names and words that come from files are escaped."""
    check_extra()
    panels = [panel for section in page.sections for panel in section.panels if panel.figure is not None]
    script, divs, library = _embedded([panel.figure for panel in panels])
    by_panel = {id(panel): div for panel, div in zip(panels, divs)}
    return _template().render(page=page, div_of=lambda panel: by_panel[id(panel)], script=script, library=library,
                              version=installed_version(), css=_asset("page.css"), code=_asset("page.js"),
                              viewer_code=_asset("viewer.js") if page.viewer else "", viewer=for_script(page.viewer))


def _embedded(figures):
    """The script of plots, their places as HTML, and the library that they need."""
    if not figures:
        return "", (), ""
    embed, resources, documents = (need(f"bokeh.{name}", EXTRA, PURPOSE) for name in ("embed", "resources", "document"))
    document = documents.Document()
    # what plots refer to is looked for once, and not again with each of them
    with document.models.freeze():
        for figure in figures:
            document.add_root(figure)
    script, divs = embed.components(figures)
    return script, divs, resources.Resources(mode="inline", components=["bokeh"]).render_js()


def check_page(path, overwrite=False):
    """Raise an error where a page could not be written, before any work is done.

    Parameters
    ----------
    path : path-like
    overwrite : bool

    Raises
    ------
    MissingExtraError
        When bokeh is not installed.
    OutputError
        When the file exists already, or its folder cannot be written.
    """
    check_extra()
    if Path(path).parent.is_dir():
        check_output(path, overwrite)


def check_extra():
    """Raise `MissingExtraError` where what pages need is not installed; called before any work is done."""
    for module in ("bokeh", "jinja2", "PIL.Image"):
        need(module, EXTRA, PURPOSE)


def for_script(value):
    """JSON that may stand in a script of a page: nothing in it ends the script."""
    return json.dumps(value, default=_plain, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _plain(value):
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value)} has no form in JSON")


def _asset(name):
    return (files(__package__)/"templates"/name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _template():
    jinja2 = need("jinja2", EXTRA, PURPOSE)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html"))


def number(value, form=".3f", unit="", missing=NONE):
    """A number as text with its unit; what stands for a missing one where it is None or not finite."""
    if value is None or not np.isfinite(value):
        return missing
    return f"{value:{form}} {unit}".strip()


def cell(value, form=".3f", unit=""):
    """A `Cell` of a number."""
    known = value is not None and np.isfinite(value)
    return Cell(text=number(value, form, unit), value=float(value) if known else None)
