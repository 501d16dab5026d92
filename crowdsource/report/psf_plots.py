"""Plots of the PSF: its core, its wings, how it differs over the image, and what it leaves of the stars that made it."""
import numpy as np

from ..psf.export import oversampled_stamp
from .measured import CORNER_SIZE, corner_differences, left_by_phase, radial_profile, stacked_residual
from .page import Panel, Section
from .plots import (
    BLUE,
    RED,
    bokeh,
    diverging,
    equal_sides,
    line,
    new_plot,
    plane_plot,
    points,
    with_legend,
)

FINER, WIDE, NODES = 5, 121, 9
"""Samples of the core in a pixel, side of the wings' picture, and places along a side at which the width is shown."""
FLOOR = 1e-8
OFFSETS = dict(x_label="x offset (pixels)", y_label="y offset (pixels)")


def psf_section(contents):
    """The section of the PSF; `contents` is a `crowdsource.report.fit_page.FitContents`."""
    psf = contents.result.psf
    panels = [_core(psf), _wings(psf), _profile(psf), _corner_panel(psf, contents.shape), _width(psf, contents.shape)]
    if contents.parts is not None and "residual" in contents.parts:
        panels += _left_panels(contents)
    if "psf_star" in contents.columns and contents.columns["psf_star"].any():
        panels.append(_psf_stars(contents))
    return Section(name="psf", title="PSF", panels=tuple(panels))


def _core(psf):
    side = 2*max(3, round(1.6*float(psf.fwhm())))+1
    fine = oversampled_stamp(psf, side=side, oversampling=FINER)
    plot = plane_plot(fine/fine.max(), (-side/2, side/2, -side/2, side/2), "of the peak", limits=(0, 1), **OFFSETS)
    return Panel(title="Core", figure=plot, caption=f"In the middle of the image, {FINER} samples a pixel; each is what a "
                 "pixel there would collect.")


def _wings(psf):
    stamp = psf.stamp(WIDE).astype(float)
    half = WIDE/2
    plane = np.log10(np.clip(np.abs(stamp)/stamp.max(), FLOOR, 1))
    plot = plane_plot(plane, (-half, half, -half, half), "log10 of the peak", limits=(-6, 0), **OFFSETS)
    return Panel(title="Wings", figure=plot)


def _profile(psf):
    radius, least, mean, most = (np.maximum(v, FLOOR) for v in radial_profile(psf))
    plot = new_plot("distance (pixels)", "light (of the peak)", x_axis_type="log", y_axis_type="log", y_range=(FLOOR, 2))
    plot.varea(x=radius, y1=least, y2=most, fill_color=BLUE, fill_alpha=0.25, legend_label="least to most at a distance")
    line(plot, radius, mean, colour=BLUE, name="mean")
    if psf.uncertainty is not None:
        error = psf.uncertainty/psf.stamp(1)[0, 0]
        middle = len(error)//2
        line(plot, np.arange(middle+1)+0.5, np.maximum(error[middle, middle:], FLOOR), name="uncertainty", dash="dashed")
    return Panel(title="Light by distance", figure=with_legend(plot, "bottom_left"))


def _corner_panel(psf, shape):
    mosaic = corner_differences(psf, shape)
    most = max(1., float(np.ceil(np.nanmax(np.abs(mosaic)))))
    plot = plane_plot(mosaic, (0, mosaic.shape[1], 0, mosaic.shape[0]), "% of the peak", palette=diverging(),
                      limits=equal_sides(most), x_label="", y_label="")
    plot.axis.visible = False
    return Panel(title="Variation: four corners less the middle", figure=plot,
                 caption=f"PSFs near the corners of the image, {CORNER_SIZE} pixels wide each, less that of the middle.")


def _width(psf, shape):
    ny, nx = shape
    x, y = np.linspace(0, nx-1, NODES), np.linspace(0, ny-1, NODES)
    width = np.array([[float(psf.fwhm(a, b)) for a in x] for b in y])
    plot = plane_plot(width, (-0.5, nx-0.5, -0.5, ny-0.5), "FWHM (pixels)")
    return Panel(title="Width over the image", figure=plot, caption=f"From {width.min():.3f} to {width.max():.3f} pixels.")


def _left_panels(contents):
    """What the PSF leaves of the stars that made it, stacked, and by where they lie in a pixel."""
    peak = contents.result.psf.stamp(1)[0, 0]
    stack, number = stacked_residual(contents.parts["residual"], contents.sources, peak)
    half, most = CORNER_SIZE/2, max(1., float(np.ceil(np.nanmax(np.abs(stack), initial=0))))
    plot = plane_plot(stack, (-half, half, -half, half), "% of the peak", palette=diverging(), limits=equal_sides(most),
                      **OFFSETS)
    phases, counted = left_by_phase(contents.parts["residual"], contents.sources)
    limit = max(0.5, float(np.nanmax(np.abs(phases), initial=0.5)))
    by_phase = plane_plot(phases, (-0.5, 0.5, -0.5, 0.5), "% of the flux", palette=diverging(), limits=equal_sides(limit),
                          x_label="x in the pixel", y_label="y in the pixel")
    return [Panel(title=f"What is left of {number} PSF stars", figure=plot,
                  caption="Median of their residuals, in percent of each star's peak. A ring or a core is an error of the PSF."),
            Panel(title=f"Left by place in the pixel, {counted} stars", figure=by_phase,
                  caption="In the middle 3 x 3 pixels. A pattern here is an error of the PSF between the pixels.")]


def _psf_stars(contents):
    models = bokeh("models")
    view = models.CDSView(filter=models.IndexFilter(np.flatnonzero(contents.columns["psf_star"]).tolist()))
    ny, nx = contents.shape
    plot = new_plot("x (pixels)", "y (pixels)", match_aspect=True, x_range=(-0.5, nx-0.5), y_range=(-0.5, ny-0.5))
    points(plot, contents.source, "x", "y", colour=RED, size=6, view=view)
    return Panel(title=f"{int(contents.columns['psf_star'].sum())} PSF stars", figure=plot,
                 caption="Where they are; a click shows one in the image.")


