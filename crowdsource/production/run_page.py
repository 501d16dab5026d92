"""The page of a run: all detectors by seeing, depth, zero point, chi2 and failures, in a table, on the sky and by time."""
import os
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..core.errors import CrowdsourceError, DataFileError
from ..exposure.finished import ONLY
from ..exposure.results import ROWS, hdu_prefix
from ..io.bounded import read_json
from ..io.fits_tables import read_hdu
from ..io.hdus import opened
from ..report.measured import plain
from ..report.page import Cell, Page, Panel, Section, cell, number, write_page
from ..report.planes import magnitudes
from ..report.plots import BLUE, INK, MAP, RED, add_bar, bokeh, histogram, limits_of, new_plot
from ..report.star_plots import depth_of
from .records import DONE, ENDING, FAILED, UNUSABLE, OutputPaths
from .status import RUN

PAGE = "index.html"
SHOWN = {"seeing": "seeing (arcsec)", "fwhm": "FWHM (pixels)", "depth": "depth, 5 sigma (mag)", "zeropoint": "zero point (mag)",
         "chi2": "chi2 of the pixels", "sources": "sources"}
"""Figures of which there are plots, and what these say of them."""
STATES = {DONE: "done", FAILED: "failed"}


@dataclass(frozen=True, kw_only=True)
class DetectorFigures:
    """What a run's page tells of a detector.

    Attributes
    ----------
    label, detector, state, message, band : str
        The exposure's folder; the detector; "done", "failed" or "not done"; why it failed.
    mjd, seeing, fwhm, depth, zeropoint, chi2, sources, ra, dec, seconds : float
        NaN where not known; arcsec, pixels, magnitudes, degrees.
    page : Path or None
        What a click opens.
    """

    label: str
    detector: str
    state: str
    message: str = ""
    band: str = ""
    mjd: float = np.nan
    seeing: float = np.nan
    fwhm: float = np.nan
    depth: float = np.nan
    zeropoint: float = np.nan
    chi2: float = np.nan
    sources: float = np.nan
    ra: float = np.nan
    dec: float = np.nan
    seconds: float = np.nan
    page: Path = None

    @property
    def name(self):
        """Folder and detector."""
        return f"{self.label} {self.detector}".strip()


def is_run(folder):
    """Whether a folder is that of a run of a manifest."""
    return (Path(folder)/RUN).is_file() or any(Path(folder).glob(f"*/*{ENDING}"))


def figures_of_run(folder, entries=()):
    """`DetectorFigures` of all detectors of a run.

    Parameters
    ----------
    folder : path-like
        Of the run.
    entries : list of crowdsource.production.manifest.ManifestEntry
        Of the manifest, which tell of what is not there; without them the folder's records tell what was there.

    Returns
    -------
    list of DetectorFigures

    Raises
    ------
    DataFileError
        When there is nothing of a run.
    """
    records = {}
    for path in sorted(Path(folder).glob(f"*/*{ENDING}")):
        records.update(_gathered(path))
    for path in sorted(Path(folder).glob(f"*/*.parts/*{ENDING}")):
        if (held := _read(path)) is not None:
            detector = path.name.removesuffix(ENDING)
            records.setdefault((path.parents[1].name, "" if detector == ONLY else detector), held)
    if not records and not entries:
        raise DataFileError(folder, "holds no records of a run; give the folder that crowdsource run has made")
    out = [_figures(folder, label, detector, held) for (label, detector), held in records.items()]
    known = set(records)
    out += [DetectorFigures(label=e.label, detector=e.detector, message=e.problem,
                            state=STATES[FAILED] if e.problem else "not done")
            for e in entries if (e.label, e.detector) not in known]
    return sorted(out, key=lambda f: (f.label, f.detector))


def _read(path):
    try:
        held = read_json(path)
        return held if isinstance(held, dict) and held.get("state") in STATES else None
    except UNUSABLE:
        return None


def _gathered(path):
    """Records of the detectors of a gathered exposure, by label and detector."""
    held = _read(path)
    detectors = None if held is None else held.get("detectors")
    if not isinstance(detectors, dict):
        return {} if held is None else {(path.parent.name, ""): held}
    return {(path.parent.name, str(d)): r for d, r in detectors.items() if isinstance(r, dict) and r.get("state") in STATES}


def _figures(folder, label, detector, record):
    """The `DetectorFigures` of a record, with what the catalog holds of it."""
    paths = OutputPaths(folder, label)
    page = next((p for p in (paths.page(detector), paths.picture(detector), paths.catalog) if p.is_file()), None)
    facts = dict(label=label, detector=detector, state=STATES[record["state"]], page=page,
                 message=str(record.get("error") or "")+(f" ({record['reason']})" if record.get("reason") else ""))
    if isinstance(record.get("seconds"), int | float):
        facts["seconds"] = float(record["seconds"])
    if record["state"] == DONE:
        try:
            facts.update(_of_catalog(paths.catalog, detector))
        except CrowdsourceError as problem:
            facts["message"] = str(problem)
    return DetectorFigures(**facts)


def _of_catalog(path, detector):
    """Figures of a detector's catalog."""
    with opened(path) as hdus:
        name = hdu_prefix(detector)+ROWS
        if name not in hdus:
            raise DataFileError(path, f"has no HDU {name}")
        header, rows = hdus[name].header, read_hdu(hdus[name])
    names = dict(mjd="MJD-MID", seeing="SEEING", fwhm="FWHM", zeropoint="ZEROPT", chi2="CHI2", sources="NSOURCES")
    facts = {n: float(header[k]) for n, k in names.items() if isinstance(header.get(k), int | float)}
    facts["band"] = str(header.get("BAND", ""))
    if len(rows) and np.isfinite(facts.get("zeropoint", np.nan)):
        facts["depth"] = depth_of(magnitudes(rows)[0], plain(rows["flux"]), plain(rows["dflux"]))
    if len(rows) and "ra" in rows.colnames:
        ra, dec = np.radians(plain(rows["ra"])), plain(rows["dec"])
        facts["ra"] = float(np.degrees(np.arctan2(np.nanmean(np.sin(ra)), np.nanmean(np.cos(ra)))) % 360)
        facts["dec"] = float(np.nanmean(dec))
    return facts


def write_run_page(figures, path, title, overwrite=False):
    """Write the page of a run.

    Parameters
    ----------
    figures : list of DetectorFigures
    path : path-like
    title : str
    overwrite : bool

    Raises
    ------
    OutputError
        When the file exists already or cannot be written.
    """
    write_page(run_page(figures, Path(path).absolute().parent, title), path, overwrite)


def run_page(figures, folder, title):
    """The `crowdsource.report.page.Page` of a run; links are relative to a folder."""
    failed = [f for f in figures if f.state == STATES[FAILED]]
    done = [f for f in figures if f.state == STATES[DONE]]
    links = [_link(f, folder) for f in figures]
    source = _source(figures, links)
    plots = [*_sky_maps(figures, source), *_by_time(figures, source)]
    sections = [Section(name="table", title="Detectors", panels=(_table(figures, links),),
                        text="A click on a heading sorts. A name leads to its page, or to picture or catalog.")]
    if plots:
        sections.append(Section(name="plots", title="On the sky and by time", panels=tuple(plots),
                                text="A click on a point opens its page."))
    sections.append(Section(name="figures", title="Distributions", panels=tuple(_histograms(figures))))
    if failed:
        rows = tuple((f.name, f.message) for f in failed)
        sections.insert(0, Section(name="failures", title="Failures", panels=(
            Panel(title="", head=("detector", "what was wrong"), rows=rows, wide=True),)))
    return Page(title=title, subtitle=f"a run of {len(figures)} detectors", figures=tuple(_summary(figures, done, failed)),
                sections=tuple(sections), missing=_missing(figures, done))


def _missing(figures, done):
    out = []
    if done and not any(f.page is not None and f.page.suffix == ".html" for f in done):
        out.append("The exposures have no pages of their own: crowdsource run --reports writes them with each fit, and "
                   "crowdsource report RUN --each of what is there.")
    if done and not any(np.isfinite(f.zeropoint) for f in figures):
        out.append("No zero point is known: there is no depth in magnitudes.")
    return tuple(out)


def _summary(figures, done, failed):
    sources = np.nansum([f.sources for f in done]) if done else 0
    out = [(f"{len(done)} of {len(figures)}", "detectors done", ""), (str(len(failed)), "failed", ""),
           (f"{int(sources):,}", "sources", "of all catalogs")]
    for name, what, form in (("seeing", "arcsec, seeing", ".2f"), ("fwhm", "px, FWHM", ".2f"),
                             ("depth", "mag, depth, 5 sigma", ".2f"), ("chi2", "chi2", ".2f")):
        values = np.array([getattr(f, name) for f in done])
        values = values[np.isfinite(values)]
        if len(values):
            out.append((number(float(np.median(values)), form), what, f"median; {values.min():{form}} to {values.max():{form}}"))
    return out


def _link(figures, folder):
    return "" if figures.page is None else quote(os.path.relpath(figures.page.absolute(), folder))


def _table(figures, links):
    head = ("detector", "state", "band", "MJD", "seeing (arcsec)", "FWHM (px)", "depth (mag)", "zero point (mag)", "chi2",
            "sources", "ra (deg)", "dec (deg)", "s", "message")
    rows = tuple((Cell(text=f.name, link=link), f.state, f.band, cell(f.mjd, ".4f"), cell(f.seeing, ".2f"), cell(f.fwhm, ".2f"),
                  cell(f.depth, ".2f"), cell(f.zeropoint, ".3f"), cell(f.chi2, ".3f"), cell(f.sources, ".0f"), cell(f.ra, ".4f"),
                  cell(f.dec, ".4f"), cell(f.seconds, ".1f"), f.message) for f, link in zip(figures, links))
    return Panel(title="", head=head, rows=rows, wide=True)


def _source(figures, links):
    """The data of the plots: all figures by name, and the links."""
    names = [f.name for f in fields(DetectorFigures) if f.name not in ("page", "message")]
    columns = {n: [getattr(f, n) for f in figures] for n in names}
    columns = {n: np.array(v, float) if isinstance(v[0], float) else v for n, v in columns.items()}
    return bokeh("models").ColumnDataSource({**columns, "name": [f.name for f in figures], "link": links})


def _opening(plot, source):
    """A click on a point of the plot opens its page; the pointer shows its name."""
    models = bokeh("models")
    plot.add_tools(models.HoverTool(tooltips=[("", "@name"), ("seeing", "@seeing{0.00}"), ("chi2", "@chi2{0.00}")]))
    code = "const link = source.data.link[source.selected.indices[0]]; if (link) window.location = link;"
    plot.select_one(models.TapTool).callback = models.CustomJS(args=dict(source=source), code=code)
    return plot


def _heading(label):
    """What a plot is called, from what its axis says."""
    words = label.partition(" (")[0]
    return words if words.startswith("chi2") else words[0].upper()+words[1:]


def _sky_maps(figures, source):
    models, panels = bokeh("models"), []
    if not any(np.isfinite(f.ra) for f in figures):
        return panels
    for name, label in SHOWN.items():
        values = np.array([getattr(f, name) for f in figures], float)
        if not np.isfinite(values).any() or (name == "fwhm" and np.isfinite([f.seeing for f in figures]).any()):
            continue
        low, high = limits_of(values)
        mapper = models.LinearColorMapper(palette=MAP, low=low, high=high, nan_color="#c9d3da")
        plot = new_plot("right ascension (degrees)", "declination (degrees)")
        plot.x_range.flipped = True
        plot.scatter("ra", "dec", source=source, size=10, color={"field": name, "transform": mapper}, line_color=INK,
                     line_width=0.4)
        add_bar(plot, mapper, label)
        panels.append(Panel(title=_heading(label), figure=_opening(plot, source)))
    return panels


def _by_time(figures, source):
    panels, times = [], np.array([f.mjd for f in figures])
    if np.isfinite(times).sum() < 2:
        return panels
    first = np.floor(np.nanmin(times))
    source.data["day"] = times-first
    for name, label in SHOWN.items():
        if name in ("seeing", "zeropoint", "depth", "chi2") and np.isfinite([getattr(f, name) for f in figures]).any():
            plot = new_plot(f"MJD - {first:.0f} (days)", label)
            plot.scatter("day", name, source=source, size=6, color=BLUE, alpha=0.7)
            panels.append(Panel(title=f"{_heading(label)} by time", figure=_opening(plot, source)))
    return panels


def _histograms(figures):
    for name, label in SHOWN.items():
        values = np.array([getattr(f, name) for f in figures], float)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            low, high = limits_of(values)
            plot = new_plot(label, "detectors")
            histogram(plot, np.clip(values, low, high), np.linspace(low, high, 31), colour=RED if name == "chi2" else BLUE)
            yield Panel(title=_heading(label), figure=plot)
