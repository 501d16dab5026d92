"""The residual and the sky by tiles of the image, and its worst places and stars close up."""
import numpy as np

from .cutouts import cutouts_at
from .measured import binned
from .page import Panel, Section
from .plots import BLUE, RED, diverging, equal_sides, histogram, line, new_plot, plane_plot, with_legend

TILES = 32
"""Along the longer side."""
SMALLEST = 12
"""Side of a tile, pixels."""
WORST, PLACE_SIDE = 9, 65
"""Number of the worst places and stars that are shown, and the side of the pictures of places, pixels."""
FEW = 0.3
"""A tile with a smaller part of good pixels is no worst place."""


def tile_side(shape):
    """Side of a tile, pixels."""
    return max(SMALLEST, -(-max(shape)//TILES))


def residual_section(contents):
    """Statistics of the residual, its map by tiles, and the worst of it; see `crowdsource.report.fit_page.FitContents`."""
    significance, side = contents.parts["significance"], tile_side(contents.shape)
    chi2, mean = binned(significance**2, side), binned(significance, side)
    extent = _extent(chi2, side)
    panels = [
        _distribution(significance),
        Panel(title="chi2 by tiles", figure=plane_plot(chi2, extent, "mean of (residual/sigma)²", palette="Inferno256",
                                                       limits=(0., _most(chi2))),
              caption=f"Tiles of {side} x {side} pixels. 1 where model and noise are right."),
        Panel(title="Mean residual by tiles",
              figure=plane_plot(mean*side, extent, "mean residual (its own error)", palette=diverging(),
                                limits=equal_sides(max(3., _most(mean*side)))),
              caption="In units of what noise alone would make of a tile: patches are light that neither stars nor sky hold."),
        Panel(title="Worst places", wide=True, cutouts=worst_places(contents, chi2, side),
              caption="Image, model, residual of the tiles with the largest chi2. A click goes there in the image.")]
    return Section(name="residual", title="Residual", panels=tuple(panels))


def _extent(tiles, side):
    return -0.5, tiles.shape[1]*side-0.5, -0.5, tiles.shape[0]*side-0.5


def _most(plane):
    known = np.abs(plane[np.isfinite(plane)])
    return float(np.quantile(known, 0.98)) if len(known) else 1.


def _distribution(significance):
    values = significance[np.isfinite(significance)]
    edges = np.linspace(-8, 8, 129)
    plot = new_plot("residual (sigma)", "pixels", y_axis_type="log")
    histogram(plot, np.clip(values, -7.99, 7.99), edges, name="pixels", least=0.7)
    middle = (edges[:-1]+edges[1:])/2
    expected = len(values)*(edges[1]-edges[0])*np.exp(-middle**2/2)/np.sqrt(2*np.pi)
    shown = expected > 0.7
    line(plot, middle[shown], expected[shown], colour=RED, name="noise alone")
    return Panel(title="Distribution", figure=with_legend(plot), caption="Of all good pixels; the last bars hold all beyond.")


def worst_places(contents, chi2, side):
    """Cut-outs of the tiles with the largest chi2."""
    usable = binned(np.isfinite(contents.parts["significance"]).astype(np.float32), side) > FEW
    ranked = np.argsort(-np.where(usable & np.isfinite(chi2), chi2, -1), axis=None, kind="stable")[:WORST]
    out = []
    for j, i in zip(*np.unravel_index(ranked, chi2.shape)):
        if usable[j, i]:
            x, y = ((k+0.5)*side-0.5 for k in (i, j))
            label = f"chi2 {chi2[j, i]:.2f} at {contents.told(x, y)}"
            out.append(cutouts_at(contents.parts, x, y, max(PLACE_SIDE, side), label=label))
    return tuple(out)


def worst_stars_section(contents):
    """Cut-outs of good rows with the largest rchi2."""
    columns = contents.columns
    bad = np.where((columns["good"] > 0) & np.isfinite(columns["rchi2"]), columns["rchi2"], -1)
    cutouts = []
    for row in np.argsort(-bad, kind="stable")[:WORST].tolist():
        if bad[row] > 0:
            x, y = float(columns["x"][row]), float(columns["y"][row])
            label = f"row {row}: rchi2 {columns['rchi2'][row]:.2f}, {columns['magnitude'][row]:.2f} mag"
            cutouts.append(cutouts_at(contents.parts, x, y, label=label, row=row))
    panel = Panel(title="", cutouts=tuple(cutouts), wide=True,
                  caption="The good rows that are fitted worst, by rchi2. A click goes there in the image and shows the row.")
    return Section(name="worst-stars", title="Worst stars", panels=(panel,))


def sky_section(contents):
    """The sky as it was fitted, or as the rows have it."""
    if contents.result.sky is not None:
        sky, side = contents.result.sky, tile_side(contents.shape)
        tiles = binned(sky, side)
        panels = [Panel(title="Sky over the image", figure=plane_plot(tiles, _extent(tiles, side), contents.unit)),
                  _sky_values(sky[::4, ::4].ravel(), "pixels", contents.unit)]
    elif "sky" in contents.columns:
        panels = [_sky_values(contents.columns["sky"].astype(float), "sources", contents.unit)]
    else:
        return None
    return Section(name="sky", title="Sky", panels=tuple(panels))


def _sky_values(values, what, unit):
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.002, 0.998]) if len(known) else (0., 1.)
    plot = new_plot(unit, what)
    histogram(plot, known, np.linspace(low, high if high > low else low+1, 60), colour=BLUE)
    return Panel(title="Its values", figure=plot, caption=f"Median {np.median(known):.6g}." if len(known) else "")
