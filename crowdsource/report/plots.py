"""Plots of pages, in one style: points, lines, histograms and maps, with axes that say their units."""
import numpy as np

from ..core.errors import need
from .page import EXTRA, PURPOSE

INK, SOFT, LINE = "#22303c", "#5b6770", "#dbe2e7"
BLUE, RED, YELLOW, GREEN, VIOLET, GREY = "#1f77a4", "#c8553d", "#e0a526", "#2a9d8f", "#7a4b9e", "#9aa5b1"
CYCLE = BLUE, RED, GREEN, YELLOW, VIOLET, "#4d4d4d", "#8c6d31", "#56b4e9"
"""Colours that people who see few colours tell apart."""
HEIGHT = 320
TOOLS = "pan,wheel_zoom,box_zoom,box_select,tap,reset,save"
MOST_POINTS = 30_000
"""Points of a plot; of more a part is drawn."""
MAP = "Viridis256"
SEQUENCE = 256


def bokeh(module):
    """A module of bokeh."""
    return need(f"bokeh.{module}", EXTRA, PURPOSE)


def new_plot(x_label, y_label, *, height=HEIGHT, **options):
    """An empty plot in the style of pages.

    Parameters
    ----------
    x_label, y_label : str
        With units.
    height : int
        Pixels of the screen.
    **options
        Of bokeh's figure.
    """
    plot = bokeh("plotting").figure(height=height, sizing_mode="stretch_width", tools=options.pop("tools", TOOLS),
                                    x_axis_label=x_label, y_axis_label=y_label, toolbar_location="above",
                                    toolbar_inner=True, **options)
    plot.toolbar.logo, plot.toolbar.autohide = None, True
    plot.outline_line_color, plot.background_fill_color = LINE, "#ffffff"
    for axis, kind in ((plot.xaxis[0], "x"), (plot.yaxis[0], "y")):
        axis.axis_label_text_font_style, axis.axis_label_text_font_size = "normal", "13px"
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_line_color = axis.major_tick_line_color = SOFT
        axis.minor_tick_line_color, axis.major_label_text_font_size = None, "12px"
        if options.get(f"{kind}_axis_type") == "log":
            axis.ticker = bokeh("models").LogTicker(mantissas=[1, 2, 5])
    for grid in plot.grid:
        grid.grid_line_color = "#eef2f5"
    return plot


def with_legend(plot, place="top_right"):
    """The plot with its legend, a click on which hides what it stands for."""
    if plot.legend:
        legend = plot.legend[0]
        legend.location, legend.click_policy, legend.label_text_font_size = place, "hide", "12px"
        legend.background_fill_alpha, legend.border_line_color, legend.spacing, legend.padding = 0.8, None, 0, 4
    return plot


def points(plot, source, x, y, *, colour=BLUE, size=4, view=None, name=None):
    """Points of columns of a source; one that is selected is large and red in every plot of that source."""
    view = {} if view is None else {"view": view}
    legend = {} if name is None else {"legend_label": name}
    drawn = plot.scatter(x, y, source=source, size=size, color=colour, alpha=0.5, line_color=None, **view, **legend)
    drawn.nonselection_glyph = drawn.glyph
    drawn.selection_glyph = bokeh("models").Scatter(x=x, y=y, size=size+8, fill_color="#e8412c", line_color="#ffffff")
    return drawn


def good_colours(column="good"):
    """What colours rows by whether they are good: blue where they are, yellow where not."""
    mapper = bokeh("models").LinearColorMapper(palette=[YELLOW, BLUE], low=0, high=1)
    return {"field": column, "transform": mapper}


def thinned_view(number, seed=0):
    """A view of no more than `MOST_POINTS` rows of so many, by chance; None where all are drawn."""
    if number <= MOST_POINTS:
        return None
    chosen = np.sort(np.random.default_rng(seed).choice(number, MOST_POINTS, replace=False))
    return bokeh("models").CDSView(filter=bokeh("models").IndexFilter(chosen.tolist()))


def line(plot, x, y, *, colour=RED, name=None, dash="solid", width=2):
    """A line."""
    legend = {} if name is None else {"legend_label": name}
    plot.line(np.asarray(x, float), np.asarray(y, float), color=colour, line_width=width, line_dash=dash, **legend)


def mark(plot, at, text, *, upright=True, colour=RED):
    """A dashed line through the whole plot, with words at its end."""
    models = bokeh("models")
    plot.add_layout(models.Span(location=at, dimension="height" if upright else "width", line_color=colour, line_dash="dashed",
                                line_width=1.5))
    if text:
        place = dict(x=at, y=HEIGHT-115, y_units="screen", x_offset=4)
        place = place if upright else dict(x=8, x_units="screen", y=at, y_offset=3)
        plot.add_layout(models.Label(text=text, text_color=colour, text_font_size="12px", **place))


def histogram(plot, values, edges, *, colour=BLUE, name=None, alpha=0.35, least=0.):
    """Counts of values between edges, as bars; `least` is where they begin, above 0 on logarithmic axes."""
    counts, edges = np.histogram(values[np.isfinite(values)], edges)
    legend = {} if name is None else {"legend_label": name}
    plot.quad(left=edges[:-1], right=edges[1:], bottom=least, top=np.maximum(counts, least), fill_color=colour, fill_alpha=alpha,
              line_color=colour, **legend)
    return counts


def plane_plot(plane, extent, label, *, palette=MAP, limits=None, x_label="x (pixels)", y_label="y (pixels)", height=HEIGHT):
    """A map of a plane with its colours' bar.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        NaN where nothing is known.
    extent : tuple of float
        Of its outer edges: x0, x1, y0, y1.
    label : str
        What the colours tell, with the unit.
    palette : str or sequence of str
    limits : tuple of float, optional
        Values of the first and last colour; those of the plane when not given.
    """
    models = bokeh("models")
    plane = np.asarray(plane, np.float32)
    low, high = limits or limits_of(plane)
    x0, x1, y0, y1 = extent
    plot = new_plot(x_label, y_label, height=height, tools="pan,wheel_zoom,box_zoom,reset,save", match_aspect=True,
                    x_range=models.DataRange1d(range_padding=0), y_range=models.DataRange1d(range_padding=0))
    plot.grid.visible = False
    mapper = models.LinearColorMapper(palette=palette, low=low, high=high, nan_color="#c9d3da")
    plot.image([plane], x=x0, y=y0, dw=x1-x0, dh=y1-y0, color_mapper=mapper)
    plot.add_tools(models.HoverTool(tooltips=[("x, y", "$x{0.0}, $y{0.0}"), (label, "@image{0.0000}")]))
    add_bar(plot, mapper, label)
    return plot


def limits_of(plane):
    """The least and largest values of a plane, without the farthest hundredth; some range where there is none."""
    known = plane[np.isfinite(plane)]
    low, high = (float(v) for v in np.quantile(known, [0.005, 0.995])) if len(known) else (0., 1.)
    return (low, high) if high > low else (low-0.5, low+0.5)


def add_bar(plot, mapper, label):
    """Add the bar of the colours of a mapper at the right of a plot."""
    models = bokeh("models")
    plot.add_layout(models.ColorBar(color_mapper=mapper, width=10, padding=4, title=label, title_text_font_style="normal",
                                    title_text_font_size="12px", major_label_text_font_size="11px", bar_line_color=None,
                                    ticker=models.BasicTicker(desired_num_ticks=5)), "right")


def diverging(number=SEQUENCE):
    """Colours from blue through white to red."""
    palettes = bokeh("palettes")
    return list(palettes.interp_palette(palettes.RdBu[11], number))


def equal_sides(most):
    """Limits that have zero in their middle."""
    return -most, most


def running(x, y, edges, quantiles=(0.16, 0.5, 0.84), fewest=5):
    """Quantiles of y in bins of x: (middles, array of shape (quantiles, bins)); NaN where a bin has few."""
    known = np.isfinite(x) & np.isfinite(y)
    which = np.digitize(x[known], edges)-1
    out = np.full((len(quantiles), len(edges)-1), np.nan)
    for k in range(len(edges)-1):
        inside = y[known][which == k]
        if len(inside) >= fewest:
            out[:, k] = np.quantile(inside, quantiles)
    return (edges[:-1]+edges[1:])/2, out
