"""Plots of the stars of a catalog: how many there are, how good they are fitted, and their errors, by magnitude."""
import re

import numpy as np

from .page import Panel, Section
from .plots import (
    BLUE,
    GREEN,
    RED,
    SOFT,
    YELLOW,
    good_colours,
    histogram,
    line,
    mark,
    new_plot,
    points,
    running,
    with_legend,
)

BIN = 0.25
"""Of magnitudes."""
FAINT, DEEP = 20., 5.
"""Stars below the one signal to noise tell at which magnitude the other is reached."""
OF_BAND = re.compile(r"mag_(?!err|error|cal$|calibrated)\w{1,12}")
PERCENT = 2.5/np.log(10)


def depth_of(magnitude, flux, error):
    """The magnitude at which the error of a flux is a fifth of it: median over faint stars; NaN without any.

    Parameters
    ----------
    magnitude, flux, error : ndarray, shape (n,)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        faint = (flux > 0) & (error > 0) & (flux < FAINT*error) & np.isfinite(magnitude)
        limit = magnitude[faint]+2.5*np.log10(flux[faint]/(DEEP*error[faint]))
    return float(np.median(limit)) if len(limit) else np.nan


def star_section(contents):
    """The section of the stars; `contents` is a `crowdsource.report.fit_page.FitContents`."""
    columns = contents.columns
    panels = [_luminosity(contents), _error(contents)]
    for name, title, words in (
            ("rchi2", "How well stars are fitted: rchi2", "Reduced chi2 at each star, weighted by the PSF; 1 where model and "
             "noise are right. A rise towards bright stars is an error of the PSF in percent of their light."),
            ("spread_model", "Extent: spread_model", "0 for stars. A ridge above zero is of galaxies or blends, one below of "
             "cosmic rays and hot pixels."),
            ("fracflux", "Own share of the light: fracflux", "1 for an isolated star; below a fifth others rule the place.")):
        if name in columns:
            panels.append(_against_magnitude(contents, name, title, words))
    panels += _colour_panels(contents)
    return Section(name="stars", title="Stars", panels=tuple(panels),
                   text="Blue: good rows. Yellow: rows that are not good. A click on a point marks its source in the image and "
                        "in all plots; a box of points marks all in it.")


def edges_of(magnitude):
    """Edges of bins of magnitudes, without a few outliers."""
    known = magnitude[np.isfinite(magnitude)]
    low, high = np.quantile(known, [0.0005, 0.9995]) if len(known) else (0., 1.)
    return np.arange(np.floor(low/BIN)*BIN, np.ceil(high/BIN)*BIN+1.5*BIN, BIN)


def _luminosity(contents):
    magnitude, good = contents.columns["magnitude"].astype(float), contents.columns["good"] > 0
    edges = edges_of(magnitude)
    plot = new_plot(contents.magnitude_label, f"stars in {BIN} mag", y_axis_type="log")
    histogram(plot, magnitude, edges, colour=YELLOW, name="all rows", least=0.7)
    histogram(plot, magnitude[good], edges, colour=BLUE, name="good rows", least=0.7)
    if np.isfinite(contents.depth):
        mark(plot, contents.depth, f"5 sigma: {contents.depth:.2f}")
    return Panel(title="Luminosity function", figure=with_legend(plot, "top_left"),
                 caption="Where the counts fall the catalog is no longer complete.")


def _error(contents):
    plot = new_plot(contents.magnitude_label, "error (mag)", y_axis_type="log", y_range=(3e-4, 2))
    view = contents.view
    points(plot, contents.source, "magnitude", "error", colour=BLUE, view=view, name="dflux, neighbours free")
    if "error_alone" in contents.columns:
        points(plot, contents.source, "magnitude", "error_alone", colour=GREEN, size=3, view=view,
               name="dflux_iso, as if isolated")
    mark(plot, PERCENT/DEEP, "5 sigma", upright=False, colour=SOFT)
    return Panel(title="Errors", figure=with_legend(plot, "bottom_right"),
                 caption="What lies between the two is what neighbours and unknown positions cost.")


def _against_magnitude(contents, name, title, words):
    values, magnitude = contents.columns[name].astype(float), contents.columns["magnitude"].astype(float)
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.002, 0.998]) if len(known) else (0., 1.)
    options = dict(y_axis_type="log", y_range=(max(low/1.5, 1e-2), max(high*1.5, 2.))) if name == "rchi2" else dict(
        y_range=(low-0.1*(high-low+1e-3), high+0.1*(high-low+1e-3)))
    plot = new_plot(contents.magnitude_label, name, **options)
    points(plot, contents.source, "magnitude", name, colour=good_colours(), view=contents.view)
    middle, (_, median, _) = running(magnitude, values, edges_of(magnitude))
    line(plot, middle, median, colour=RED, name="median")
    if name != "fracflux":
        mark(plot, 1. if name == "rchi2" else 0., "", upright=False, colour=SOFT)
    return Panel(title=title, figure=with_legend(plot, "top_right"), caption=words)


def _colour_panels(contents):
    """A colour-magnitude diagram of the first two bands, where a catalog has two."""
    names = [n for n in contents.columns if OF_BAND.fullmatch(n)]
    if len(names) < 2:
        return []
    first, second = (contents.columns[n].astype(float) for n in names[:2])
    contents.source.data["colour"] = (first-second).astype(np.float32)
    blue, red = (n.removeprefix("mag_") for n in names[:2])
    return [colour_magnitude(contents.source, names[0], f"{blue} - {red} (mag)", f"{blue} (mag)", first-second, first,
                             contents.view)]


def colour_magnitude(source, magnitude, x_label, y_label, colours, values, view=None):
    """The panel of a colour-magnitude diagram of the columns ``colour`` and `magnitude` of a source."""
    known = np.isfinite(colours) & np.isfinite(values)
    span = np.quantile(colours[known], [0.005, 0.995]) if known.any() else (0., 1.)
    tall = np.quantile(values[known], [0.0005, 0.9995]) if known.any() else (0., 1.)
    plot = new_plot(x_label, y_label, height=480, x_range=(span[0]-0.3, span[1]+0.3), y_range=(tall[1]+0.3, tall[0]-0.3))
    points(plot, source, "colour", magnitude, colour=good_colours(), size=3, view=view)
    return Panel(title="Colour-magnitude diagram", figure=plot, caption=f"{known.sum()} stars with both magnitudes.")
