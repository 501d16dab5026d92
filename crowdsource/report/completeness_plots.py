"""The section of artificial stars: what is found by brightness and density, how right fluxes are, and a map of the depth."""
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from .measured import plain
from .page import Panel, Section
from .plots import BLUE, GREEN, SOFT, YELLOW, line, mark, new_plot, plane_plot, with_legend

COLOURS = BLUE, GREEN, YELLOW
"""Of classes of density."""
LIMITS = (50, 80, 95)
"""Percent that are found, of which the table tells the magnitudes."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ArtificialStars:
    """What artificial stars have told of an image; tables and depth as `crowdsource.validate.completeness` writes them.

    Attributes
    ----------
    surface, curve : astropy.table.Table
        By brightness and density; by region.
    zeropoint : float
        Of their magnitudes.
    named : bool
        Whether the image has this zero point; else magnitudes are instrumental.
    depth : ndarray, shape (ny, nx), or None
        Magnitude at which half is found, in squares.
    step : float
        Side of a square, pixels.
    """

    surface: Table
    curve: Table
    zeropoint: float
    named: bool
    depth: np.ndarray | None = None
    step: float = 1.


def completeness_section(stars):
    """The section.

    Parameters
    ----------
    stars : ArtificialStars

    Returns
    -------
    Section
    """
    label = "magnitude (mag)" if stars.named else "instrumental magnitude, -2.5 log10(flux)"
    panels = [_found(stars, label), _fluxes(stars, label), _pulls(stars, label)]
    if stars.depth is not None:
        ny, nx = stars.depth.shape
        extent = -0.5, nx*stars.step-0.5, -0.5, ny*stars.step-0.5
        panels.append(Panel(title="Depth", figure=plane_plot(stars.depth, extent, "magnitude of 50 %"),
                            caption="Where the image is deeper, and where crowding or noise hide stars."))
    panels.append(_limits(stars.curve))
    return Section(name="completeness", title="Completeness", panels=tuple(panels),
                   text="Artificial stars that were added to the image and searched for like all others.")


def _classes(stars):
    """Rows of each class of density that hold stars, with magnitude, name and colour; all densities alone where there is one."""
    of = plain(stars.surface["density_class"]).astype(int)
    numbers = [k for k in np.unique(of) if k > 0] or [0]
    for k, colour in zip(numbers, COLOURS):
        rows = stars.surface[(of == k) & (plain(stars.surface["stars"]) > 0)]
        magnitude = stars.zeropoint-1.25*np.log10(plain(rows["flux_low"])*plain(rows["flux_high"]))
        name = f"{1e3*rows['density_low'][0]:.3g} to {1e3*rows['density_high'][0]:.3g} sources in 1000 px" if len(rows) else ""
        yield rows, magnitude, name, colour


def _found(stars, label):
    plot = new_plot(label, "part that is found", y_range=(-0.03, 1.05))
    for rows, at, name, colour in _classes(stars):
        plot.segment(at, plain(rows["fraction_low"]), at, plain(rows["fraction_high"]), color=colour)
        line(plot, at, plain(rows["fraction"]), colour=colour, name=name)
        plot.scatter(at, plain(rows["fraction"]), size=6, color=colour)
    return Panel(title="Completeness", figure=with_legend(plot, "bottom_left"),
                 caption="A star is found where a row close to it has its flux within a factor of 1.5; bars are binomial.")


def _fluxes(stars, label):
    plot = new_plot(label, "(measured - true)/true")
    for rows, at, name, colour in _classes(stars):
        bias, scatter = plain(rows["bias"]), plain(rows["scatter"])
        plot.varea(at, bias-scatter, bias+scatter, fill_color=colour, fill_alpha=0.15)
        line(plot, at, bias, colour=colour, name=name)
    mark(plot, 0., "", upright=False, colour=SOFT)
    return Panel(title="Fluxes of artificial stars", figure=with_legend(plot, "top_left"),
                 caption="Median and robust scatter: light of others makes faint stars too bright.")


def _pulls(stars, label):
    plot = new_plot(label, "scatter of (measured - true)/dflux")
    for rows, at, name, colour in _classes(stars):
        pull, error = plain(rows["pull"]), plain(rows["pull_error"])
        plot.segment(at, pull-error, at, pull+error, color=colour)
        line(plot, at, pull, colour=colour, name=name)
    mark(plot, 1., "", upright=False, colour=SOFT)
    return Panel(title="Errors of artificial stars", figure=with_legend(plot, "top_left"), caption="1 where dflux is right.")


def _limits(curve):
    head = ("region", "stars", "found", *(f"{p} % at" for p in LIMITS))
    rows = [[str(r["region"]), f"{r['stars']:.0f}", f"{r['found']:.0f}",
             *(f"{r[f'm{p}']:.2f} \u00b1 {r[f'm{p}_error']:.2f}" if np.isfinite(r[f"m{p}"]) else "\u2013" for p in LIMITS)]
            for r in curve]
    return Panel(title="Limits", wide=True, head=head, rows=rows,
                 caption="Magnitudes at which so many percent are found, of fitted curves.")
