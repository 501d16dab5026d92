"""The page of a fit: what an astronomer looks at first."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .completeness_plots import completeness_section
from .measured import plain, planes_of
from .page import Cell, Page, Panel, Section, cell, check_page, number, write_page
from .planes import compact, magnitudes, source_columns, viewer_data
from .plots import BLUE, GREEN, RED, bokeh, good_colours, line, new_plot, points, thinned_view, with_legend
from .psf_plots import psf_section
from .star_plots import depth_of, star_section
from .tile_plots import residual_section, sky_section, worst_stars_section

LARGE_CHI2, FEW_STARS = 1.5, 10
"""Mean (residual/sigma)^2, and number of PSF stars, from which a page warns."""


@dataclass(frozen=True, kw_only=True)
class FitFacts:
    """What a page says of a fit that its result does not hold.

    Attributes
    ----------
    title : str
    instrument, band, magnitude_system, version : str
    mjd, zeropoint, pixel_scale : float
        NaN when not known; the last one in arcsec.
    origin : tuple of int
        First pixel in the parent image.
    noise_estimated : bool
    findings : sequence of str
        Sentences.
    inputs : sequence of (str, str)
        Files and their SHA-256.
    config : sequence of str
        Lines of TOML.
    usual : frozenset of str
        Such lines of the default configuration.
    """

    title: str
    instrument: str = ""
    band: str = ""
    magnitude_system: str = ""
    version: str = ""
    mjd: float = np.nan
    zeropoint: float = np.nan
    pixel_scale: float = np.nan
    origin: tuple = (0, 0)
    noise_estimated: bool = False
    findings: tuple = ()
    inputs: tuple = ()
    config: tuple = ()
    usual: frozenset = frozenset()


@dataclass(frozen=True, eq=False, kw_only=True)
class FitContents:
    """A fit, with what the sections of its page have in common.

    Attributes
    ----------
    result : crowdsource.engine.state.FitResult
        What is not known of it is None.
    facts : FitFacts
    columns : dict of str to ndarray
        For plots, x and y in pixels of the image.
    column_facts : list of dict
        From `crowdsource.report.planes.source_columns`.
    magnitude_label : str
    depth : float
        5 sigma, as the magnitudes; NaN when not known.
    """

    result: object
    facts: FitFacts
    columns: dict
    column_facts: list
    magnitude_label: str
    depth: float

    @classmethod
    def of(cls, result, facts):
        """The contents of a result and its `FitFacts`."""
        image, catalog = result.image, result.catalog
        columns, column_facts = source_columns(catalog, facts.origin if image is None else image.origin)
        magnitude, label = magnitudes(catalog)
        flux = plain(catalog["flux"])
        errors = {n: plain(catalog[c]) for n, c in (("error", "dflux"), ("error_alone", "dflux_iso")) if c in catalog.colnames}
        with np.errstate(divide="ignore", invalid="ignore"):
            for name, error in errors.items():
                relative = np.where((flux > 0) & (error > 0) & (error < 1e20), 2.5/np.log(10)*error/flux, np.nan)
                columns[name] = compact(relative)
        columns["magnitude"] = compact(magnitude)
        depth = depth_of(magnitude, flux, errors["error"]) if "error" in errors else np.nan
        return cls(result=result, facts=facts, columns=columns, column_facts=column_facts, magnitude_label=label, depth=depth)

    @cached_property
    def source(self):
        """The data of all plots of rows; the page's viewer finds it by its name."""
        return bokeh("models").ColumnDataSource(self.columns, name="sources")

    @cached_property
    def view(self):
        """The rows that plots show; None for all."""
        return thinned_view(len(self.columns["x"]))

    @cached_property
    def parts(self):
        """Planes by name, as of `crowdsource.report.measured.planes_of`; None without image, model or sky."""
        r = self.result
        return planes_of(r.image, r) if not any(p is None for p in (r.image, r.model, r.sky)) else None

    @cached_property
    def sources(self):
        """x, y, flux and the catalog, of rows that have a flux, as functions of `crowdsource.report.measured` take them."""
        flux = plain(self.result.catalog["flux"])
        known = np.isfinite(flux)
        x, y = (self.columns[n].astype(float)[known] for n in ("x", "y"))
        return x, y, flux[known], self.result.catalog[known]

    @property
    def shape(self):
        """(ny, nx) of the image, or of the rows' positions where it is not known."""
        if self.result.image is not None:
            return self.result.image.shape
        if self.result.psf is not None:
            return self.result.psf.shape
        return tuple(int(np.nanmax(self.columns[n], initial=0))+1 for n in ("y", "x"))

    @property
    def fwhm(self):
        """FWHM of the PSF in the middle, pixels; NaN when not known."""
        return np.nan if self.result.psf is None else float(self.result.psf.fwhm())

    @property
    def unit(self):
        """What is said of values of pixels."""
        return "sky (image units in a pixel)"

    def told(self, x, y):
        """A place of the image in words, in the parent's pixels."""
        x0, y0 = self.facts.origin if self.result.image is None else self.result.image.origin
        return f"x {x+x0:.0f}, y {y+y0:.0f}"


def write_fit_page(result, facts, path, *, missing=(), completeness=None, back=None, overwrite=False):
    """Write the page of a fit.

    Parameters
    ----------
    result : crowdsource.engine.state.FitResult
        What is not known of it is None: the page is made of the rest.
    facts : FitFacts
    path : path-like
        The HTML file.
    missing : sequence of str
        Sentences that say what could not be had, and what to do about it.
    completeness : crowdsource.report.completeness_plots.ArtificialStars, optional
    back : (str, str), optional
        As in `crowdsource.report.page.Page`.
    overwrite : bool

    Raises
    ------
    MissingExtraError
        When bokeh is not installed.
    OutputError
        When the file exists already or cannot be written.
    """
    check_page(path, overwrite)
    write_page(fit_page(result, facts, missing=missing, completeness=completeness, back=back), path, overwrite)


def fit_page(result, facts, *, missing=(), completeness=None, back=None):
    """The `crowdsource.report.page.Page` of a fit. Parameters as `write_fit_page`."""
    contents = FitContents.of(result, facts)
    viewer, sections = None, [star_section(contents)]
    if result.image is not None:
        viewer = dict(viewer_data(result.image, contents.parts, contents.fwhm), columns=contents.column_facts)
    if contents.parts is not None:
        sections.append(residual_section(contents))
        if "rchi2" in contents.columns:
            sections.append(worst_stars_section(contents))
    if result.psf is not None:
        sections.append(psf_section(contents))
    sections += [sky_section(contents)]
    if completeness is not None:
        sections.insert(1, completeness_section(completeness))
    if result.history:
        sections.append(pass_section(result.history))
    sections.append(origin_section(facts))
    if viewer is None:
        sections.insert(0, _positions(contents))
    return Page(title=facts.title, subtitle=_subtitle(contents), figures=tuple(summary(contents)),
                warnings=tuple(warnings(contents)), missing=tuple(missing),
                viewer=viewer, sections=tuple(s for s in sections if s is not None), back=back)


def _subtitle(contents):
    facts, (ny, nx) = contents.facts, contents.shape
    words = [f"{nx} x {ny} pixels", facts.instrument, facts.band and f"band {facts.band}",
             np.isfinite(facts.mjd) and f"MJD {facts.mjd:.5f}", facts.version and f"fitted by crowdsource {facts.version}"]
    return ", ".join(w for w in words if w)


def summary(contents):
    """The most important numbers: (value, what it is, a note)."""
    facts, good, history = contents.facts, contents.columns["good"] > 0, contents.result.history
    out = [(f"{len(good):,}", "sources", f"{good.sum():,} good")]
    if np.isfinite(contents.fwhm):
        scale = facts.pixel_scale
        seeing = number(contents.fwhm*scale, ".2f", "arcsec") if np.isfinite(scale) else "of the PSF in the middle"
        out.append((f"{contents.fwhm:.2f} px", "FWHM", seeing))
    system = f" {facts.magnitude_system}" if facts.magnitude_system else ""
    known = np.isfinite(facts.zeropoint) or not contents.magnitude_label.startswith("instr")
    out.append((number(contents.depth, ".2f"), "depth, 5 sigma", f"mag{system}" if known else "mag, zero point not known"))
    if np.isfinite(facts.zeropoint):
        out.append((f"{facts.zeropoint:.3f}", "zero point", f"mag{system}"))
    if history:
        out.append((f"{history[-1]['chi2']:.3f}", "chi2 of the pixels", "1 where model and noise are right"))
    if contents.parts is not None:
        values = contents.parts["significance"]
        values = values[np.isfinite(values)][::7]
        core = 1.4826*np.median(np.abs(values-np.median(values))) if len(values) else np.nan
        out.append((number(core, ".3f"), "scatter of the residual", "sigma, robust"))
    if contents.result.sky is not None:
        out.append((f"{np.median(contents.result.sky[::7, ::7]):.5g}", "sky", "image units, median"))
    if history:
        out.append((str(len(history)), "passes", ""))
    return out


def warnings(contents):
    """Sentences that a user should read."""
    facts, history, out = contents.facts, contents.result.history, list(contents.facts.findings)
    if history and history[-1]["chi2"] > LARGE_CHI2:
        out.append(f"chi2 is {history[-1]['chi2']:.2f}: the model leaves more than the noise. Look where, in the residual by "
                   "tiles and the worst places; everywhere: the noise map is too small.")
    if facts.noise_estimated:
        out.append("No noise map was given: the noise is estimated from the image itself.")
    stars = contents.columns.get("psf_star")
    if stars is not None and 0 < stars.sum() < FEW_STARS:
        out.append(f"The PSF is of {int(stars.sum())} stars only: look at what is left of them.")
    most = next((line.partition("=")[2].strip() for line in facts.config if line.startswith("max_passes")), "")
    if history and most.isdigit() and len(history) >= int(most):
        out.append(f"The fit ended with the largest number of passes, {most}, perhaps while it still found sources (max_passes).")
    return out


def _positions(contents):
    """Where sources are, for pages without an image."""
    ny, nx = contents.shape
    plot = new_plot("x (pixels)", "y (pixels)", height=560, match_aspect=True, x_range=(-0.5, nx-0.5), y_range=(-0.5, ny-0.5))
    points(plot, contents.source, "x", "y", colour=good_colours(), size=3, view=contents.view)
    return Section(name="positions", title="Positions", panels=(Panel(title="Rows of the catalog", figure=plot, wide=True),))


def pass_section(history):
    """The passes of the loop, as a table and as curves."""
    x = [record["passno"] for record in history]
    plot = new_plot("pass", "sources", y_axis_type="log")
    line(plot, x, np.maximum([record["sources"] for record in history], 0.7), colour=BLUE, name="sources")
    line(plot, x, np.maximum([record["new"] for record in history], 0.7), colour=GREEN, name="new ones", dash="dashed")
    curve = new_plot("pass", "chi2 of the pixels")
    line(curve, x, [record["chi2"] for record in history], colour=RED)
    names = [n for n in dict.fromkeys(n for r in history for n in r) if not n.startswith("cpu_")]
    rows = tuple(tuple(_spelled(record.get(n)) for n in names) for record in history)
    return Section(name="passes", title="Passes", panels=(
        Panel(title="Sources", figure=with_legend(plot, "bottom_right")), Panel(title="chi2", figure=curve),
        Panel(title="Figures", head=tuple(names), rows=rows, wide=True)))


def _spelled(value):
    if isinstance(value, str):
        return value
    return cell(value, "d") if isinstance(value, int | np.integer) else cell(value, ".5g")


def origin_section(facts):
    """Inputs and configuration."""
    rows = []
    for text in facts.config:
        name, _, value = text.partition(" = ")
        rows.append((name, value, "" if text in facts.usual else "differs"))
    rows.sort(key=lambda row: row[2] == "")
    inputs = tuple((path, Cell(text=digest)) for path, digest in facts.inputs)
    panels = [Panel(title="Files read", head=("file", "SHA-256"), rows=inputs, wide=True)] if inputs else []
    if rows:
        panels.append(Panel(title="Configuration", head=("option", "value", "from the default"), rows=tuple(rows), wide=True))
    return Section(name="origin", title="Files and configuration", panels=tuple(panels), folded=True) if panels else None
