"""A page of pictures of a completeness."""
import numpy as np

from ...core.errors import need
from ...io.atomic import check_output
from ...report.pictures import ACCENT, GREY, INK, SECOND, STYLE, page_class, save
from ..evaluate import FEWEST
from .curve import Curve

COLOURS = SECOND, "#3a9d6e", "#e08e2b", ACCENT
"""Of classes of density, from the lowest on."""


def completeness_figure(completeness, title=""):
    """Curves by density, depth map, bias, scatter, pulls, errors of positions and purity, as a matplotlib Figure.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    matplotlib = need("matplotlib", "plot", "a picture")
    with matplotlib.rc_context(STYLE):
        figure = page_class()(figsize=(12, 7.2), facecolor="white")
        axes = figure.subplots(2, 3, gridspec_kw=dict(left=0.055, right=0.975, top=0.9, bottom=0.075, wspace=0.26, hspace=0.3))
        known = completeness.figures["ZPKNOWN"]
        word = "magnitude" if known else "-2.5 log10(flux)"
        figure.text(0.055, 0.955, title or "completeness", fontsize=13, fontweight="bold")
        figure.text(0.975, 0.955, completeness.lines()[0], ha="right", fontsize=9)
        _curves(axes[0, 0], completeness)
        _depth(figure, axes[0, 1], completeness)
        _purity(axes[0, 2], completeness)
        _figure_by_brightness(axes[1, 0], completeness, "bias", "bias_error", "bias: median of (found-true)/true")
        _figure_by_brightness(axes[1, 1], completeness, "pull", "pull_error", "scatter of (found-true)/dflux")
        axes[1, 1].axhline(1, color=GREY, lw=0.8, zorder=0)
        axes[1, 0].axhline(0, color=GREY, lw=0.8, zorder=0)
        _figure_by_brightness(axes[1, 2], completeness, "position_scatter", None, "scatter of positions, pixels")
        axes[1, 2].set_yscale("log")
        for axis in (axes[0, 0], axes[0, 2], *axes[1]):
            axis.set_xlabel(word)
    return figure


def check_plot(path, overwrite=False):
    """Raise an error where a picture could not be written, before any work is done."""
    need("matplotlib.figure", "plot", "a picture")
    check_output(path, overwrite)


def plot_completeness(completeness, path, title="", dpi=120):
    """Write the page as a PNG file.

    Raises
    ------
    MissingExtraError, OutputError
        When matplotlib is not installed, or the file cannot be written.
    """
    figure = completeness_figure(completeness, title)
    with need("matplotlib", "plot", "a picture").rc_context(STYLE):
        save(figure, path, dpi)


def _classes(table):
    """(name, colour, rows) of each class of density; of all where there is one."""
    numbers = np.unique(np.asarray(table["density_class"]))
    for k in numbers[numbers > 0] if len(numbers) > 1 else numbers:
        rows = table[np.asarray(table["density_class"]) == k]
        low, high = float(rows["density_low"][0]), float(rows["density_high"][0])
        colour = COLOURS[min(k-1, len(COLOURS)-1)] if k else INK
        yield f"{1000*low:.2g} to {1000*high:.2g} sources in 1000 px", colour, rows


def _middles(completeness, rows):
    return completeness.magnitude(np.sqrt(np.asarray(rows["flux_low"])*np.asarray(rows["flux_high"])))


def _curves(axis, completeness):
    """Parts that were found with their binomial errors, and the fitted curves."""
    names = dict(zip(np.asarray(completeness.curve["region"]).tolist(), completeness.curve))
    for name, colour, rows in _classes(completeness.surface):
        number = int(rows["density_class"][0])
        x, part = _middles(completeness, rows), np.asarray(rows["fraction"])
        error = np.abs([part-rows["fraction_low"], np.asarray(rows["fraction_high"])-part])
        axis.errorbar(x, part, np.nan_to_num(error), fmt="o", ms=3, lw=0.8, color=colour, label=name)
        row = names.get(f"density {number}" if number else "all")
        if row is not None and np.isfinite(row["m50"]):
            at = np.linspace(x.min(), x.max(), 200)
            axis.plot(at, Curve(*(float(row[n]) for n in ("m50", "width", "steepness", "ceiling")))(at), color=colour, lw=1)
    axis.set_title("part that is found")
    axis.set_ylim(-0.03, 1.05)
    axis.legend(loc="lower left")


def _depth(figure, axis, completeness):
    axis.set_title("depth: magnitude of 50 %")
    if completeness.depth is None:
        axis.text(0.5, 0.5, "all or none were found", ha="center", transform=axis.transAxes)
        return
    step = completeness.figures["DEPTHSTP"]
    x0, y0 = completeness.figures["XORIGIN"]-0.5, completeness.figures["YORIGIN"]-0.5
    ny, nx = completeness.depth.shape
    shown = axis.imshow(completeness.depth, origin="lower", extent=(x0, x0+nx*step, y0, y0+ny*step), cmap="viridis_r")
    missed = completeness.table[~np.asarray(completeness.table["found"])]
    axis.plot(completeness.table["x"], completeness.table["y"], ".", ms=1, color="white", alpha=0.5)
    axis.plot(missed["x"], missed["y"], ".", ms=1, color=INK, alpha=0.6)
    axis.set_xlabel("x, pixels; artificial stars: white found, dark missed")
    figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03)


def _purity(axis, completeness):
    axis.set_title("purity of the rows, by repeated noise")
    if completeness.purity is None:
        axis.text(0.5, 0.5, "not measured", ha="center", transform=axis.transAxes)
        return
    rows = completeness.purity[np.asarray(completeness.purity["rows"]) >= FEWEST]
    if not len(rows):
        return
    part = np.asarray(rows["purity"])
    error = np.abs([part-rows["purity_low"], np.asarray(rows["purity_high"])-part])
    axis.errorbar(_middles(completeness, rows), part, error, fmt="o", ms=3, lw=0.8, color=INK)
    axis.set_ylim(min(0.8, np.min(part)-0.05), 1.01)


def _figure_by_brightness(axis, completeness, name, error, title):
    """A column of the surface against brightness, class by class."""
    for _, colour, rows in _classes(completeness.surface):
        spread = None if error is None else np.nan_to_num(np.asarray(rows[error]))
        axis.errorbar(_middles(completeness, rows), np.asarray(rows[name]), spread, fmt="o-", ms=3, lw=0.8, color=colour)
    axis.set_title(title)
