"""A page of pictures that shows whether a fit is good."""
from functools import cache
from io import BytesIO

import numpy as np

from ..core.errors import OutputError, need
from ..io.atomic import atomic_path
from ..psf.export import oversampled_stamp
from .measured import (
    CORNER_SIZE,
    WINGS,
    asinh_stretched,
    busiest_box,
    corner_differences,
    left_by_phase,
    plain,
    planes_of,
    radial_profile,
    reduced,
    robust_scatter,
    stacked_residual,
    stretch_limits,
)

PSF_SIZE = 59
FINER = 5
"""Samples of the PSF's core in a pixel."""
RESIDUAL_RANGE = 5.
INK, ACCENT, SECOND, GREY = "#22303c", "#d1495b", "#1f77a4", "#9aa5b1"
STYLE = {"font.size": 8., "axes.titlesize": 9., "axes.titleweight": "bold", "axes.titlelocation": "left",
         "axes.edgecolor": "#5b6770", "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
         "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.titlepad": 5.,
         "xtick.labelsize": 7., "ytick.labelsize": 7., "legend.fontsize": 7., "legend.frameon": False}


def plot_fit(image, result, path, title="", dpi=120):
    """One page: image, model and residual, a crowded part close up, the PSF in four ways, residuals, their statistics, errors.

    Large images are averaged over blocks of pixels.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    result : crowdsource.engine.state.FitResult
    path : path-like
        The PNG file.
    title : str
        Shown on top.
    dpi : float
        Resolution of the page, which is 12 inches wide.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    OutputError
        When the file cannot be written.
    """
    matplotlib = need("matplotlib", "plot", "a picture")
    figure = fit_figure(result, title or image.exposure)
    with matplotlib.rc_context(STYLE):
        save(figure, path, dpi)


@cache
def page_class():
    """A class of matplotlib's figures that notebooks show by themselves, also where pyplot is not used."""
    figure = need("matplotlib.figure", "plot", "a picture")

    class Page(figure.Figure):
        def _repr_png_(self):
            file = BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    return Page


def fit_figure(result, title=""):
    """The page of `plot_fit` as a matplotlib Figure.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    matplotlib = need("matplotlib", "plot", "a picture")
    image = result.image
    heading = title or image.exposure or "crowdsource"
    ny, nx = image.shape
    tall, words = np.clip(ny/nx, 0.4, 2.), 0.18*len(image.findings)
    with matplotlib.rc_context(STYLE):
        figure = page_class()(figsize=(12, 1.15+words+3.75*tall+3.75+2.6+2.9), facecolor="white")
        rows = figure.add_gridspec(4, 1, height_ratios=(3.75*tall, 3.75, 2.6, 2.3), hspace=0.19, left=0.035, right=0.965,
                                   top=1-(0.75+words)/figure.get_figheight(), bottom=0.5/figure.get_figheight())
        # given positions that are not fitted have no flux
        catalog = result.catalog[np.isfinite(plain(result.catalog["flux"]))]
        x, y, flux = (plain(catalog[n]) for n in ("x", "y", "flux"))
        x, y = x-image.origin[0], y-image.origin[1]
        parts = planes_of(image, result)
        figure.text(0.035, 1-0.28/figure.get_figheight(), heading, fontsize=13, fontweight="bold", va="center")
        figure.text(0.965, 1-0.28/figure.get_figheight(), _summary(image, result, parts), ha="right", va="center",
                    fontsize=9)
        figure.text(0.035, 1-0.45/figure.get_figheight(), "\n".join(image.findings), fontsize=9, va="top", linespacing=1.4)
        box = busiest_box(x, y, image.shape)
        _wide_row(figure, rows[0].subgridspec(1, 3, wspace=0.08), parts, image, box)
        _zoom_row(figure, rows[1].subgridspec(1, 3, wspace=0.08), parts, (x, y, flux), box)
        _psf_row(figure, rows[2].subgridspec(1, 4, wspace=0.3), result.psf, parts["residual"], (x, y, flux, catalog))
        last = rows[3].subgridspec(1, 5, wspace=0.36, width_ratios=(1, 1, 1, 1.2, 1.2))
        psf_panels(figure, last, result.psf, parts, (x, y, flux, catalog))
        _histogram(figure.add_subplot(last[3]), parts["significance"][image.good])
        _errors(figure.add_subplot(last[4]), catalog)
    return figure


def save(figure, path, dpi=100):
    """Write a figure as PNG.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    try:
        with atomic_path(path, overwrite=True) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi)
    except OSError as problem:
        raise problem if isinstance(problem, OutputError) else OutputError(f"{path}: {problem}") from problem


def _summary(image, result, parts):
    good = parts["significance"][image.good]
    return (f"{len(result.catalog)} sources    {len(result.history)} passes    FWHM {float(result.psf.fwhm()):.2f} px    "
            f"residual: chi² {np.mean(good**2):.2f}, robust {robust_scatter(good):.2f} sigma")


def show(axes, plane, name, **options):
    """A plane in image orientation; masked pixels in a plain colour."""
    colours = need("matplotlib", "plot", "a picture").colormaps[options.pop("cmap")]
    colours = colours.with_extremes(bad="#c9d3da" if colours.name == "RdBu_r" else "#3d4f5c")
    shown = axes.imshow(plane, origin="lower", interpolation="nearest", cmap=colours, **options)
    axes.set_title(name)
    axes.tick_params(length=2)
    return shown


def _grey(axes, plane, stretch, name, extent):
    return show(axes, asinh_stretched(plane, stretch), name, cmap="gray", vmin=0, vmax=1, extent=extent)


def bar(axes, shown, label=""):
    """A slim colour bar inside the panel's right edge."""
    inset = axes.inset_axes([1.015, 0, 0.022, 1])
    bar = axes.figure.colorbar(shown, cax=inset)
    bar.outline.set_linewidth(0.4)
    bar.set_ticks([v for v in bar.get_ticks() if shown.norm.vmin <= v <= shown.norm.vmax][::2])
    inset.tick_params(length=2, labelsize=6)
    axes.text(1.0, 1.015, label, transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def _wide_row(figure, grid, parts, image, box):
    """Image, model and residual of the whole image, with the zoomed box outlined."""
    ny, nx = image.shape
    extent = (-0.5, nx-0.5, -0.5, ny-0.5)
    stretch = stretch_limits(parts["data"])
    axes = [figure.add_subplot(grid[0, k]) for k in range(3)]
    for panel, key, name in ((axes[0], "data", "Image"), (axes[1], "model", "Model: stars and sky")):
        plane, step = reduced(parts[key])
        _grey(panel, plane, stretch, name, extent)
    plane, step = reduced(parts["significance"])
    shown = show(axes[2], plane, "Residual", cmap="RdBu_r", vmin=-RESIDUAL_RANGE, vmax=RESIDUAL_RANGE, extent=extent)
    bar(axes[2], shown, "sigma" if step == 1 else f"sigma, mean of {step} x {step} pixels")
    for panel in axes:
        panel.plot(np.array(box)[[0, 1, 1, 0, 0]]-0.5, np.array(box)[[2, 2, 3, 3, 2]]-0.5, color="#f2b134", lw=1)
        panel.set_xlim(extent[:2])
        panel.set_ylim(extent[2:])


def _zoom_row(figure, grid, parts, sources, box):
    """The same close up, with the sources."""
    x, y, flux = sources
    x0, x1, y0, y1 = box
    extent = (x0-0.5, x1-0.5, y0-0.5, y1-0.5)
    cut = {k: v[y0:y1, x0:x1] for k, v in parts.items()}
    stretch = stretch_limits(cut["data"])
    near = (x > x0-0.5) & (x < x1-0.5) & (y > y0-0.5) & (y < y1-0.5) & (flux > 0)
    size = 10+9*np.log10(np.maximum(flux[near], 1e-9)/max(np.min(flux[near], initial=np.inf), 1e-9)) if near.any() else 10
    axes = [figure.add_subplot(grid[0, k]) for k in range(3)]
    _grey(axes[0], cut["data"], stretch, f"Close up, {near.sum()} sources", extent)
    axes[0].scatter(x[near], y[near], s=size, facecolors="none", edgecolors="#f2b134", linewidths=0.7)
    _grey(axes[1], cut["model"], stretch, "Model", extent)
    shown = show(axes[2], cut["significance"], "Residual", cmap="RdBu_r", vmin=-RESIDUAL_RANGE, vmax=RESIDUAL_RANGE,
                  extent=extent)
    axes[2].scatter(x[near], y[near], s=4, color=INK, linewidths=0, alpha=0.7)
    bar(axes[2], shown, "sigma")
    for panel in axes:
        panel.set_xlim(extent[:2])
        panel.set_ylim(extent[2:])


def psf_panels(figure, grid, psf, parts, sources):
    """The PSF, its change towards the corners, and what it leaves of the stars that made it."""
    stamp = psf.stamp(PSF_SIZE)
    peak = stamp.max()
    half = PSF_SIZE//2
    extent = (-half-0.5, half+0.5, -half-0.5, half+0.5)
    axes = figure.add_subplot(grid[0])
    shown = show(axes, np.log10(np.clip(stamp/peak, 1e-5, 1)), "PSF, log of its peak", cmap="viridis", vmin=-4.5, vmax=0,
                  extent=extent)
    bar(axes, shown)
    axes = figure.add_subplot(grid[1])
    mosaic = corner_differences(psf, parts["data"].shape)
    most = max(1., np.ceil(np.nanmax(np.abs(mosaic))))
    bar(axes, show(axes, mosaic, "Corners less middle, %", cmap="PuOr_r", vmin=-most, vmax=most))
    _no_ticks(axes)
    axes = figure.add_subplot(grid[2])
    stack, number = stacked_residual(parts["residual"], sources, peak)
    most = max(1., np.ceil(np.nanmax(np.abs(stack), initial=0)))
    half = CORNER_SIZE//2
    shown = show(axes, stack, f"Left of {number} stars, %", cmap="PuOr_r", vmin=-most, vmax=most,
                  extent=(-half-0.5, half+0.5, -half-0.5, half+0.5))
    bar(axes, shown)


def _psf_row(figure, grid, psf, residual, sources):
    """The PSF's core between the pixels, its wings to their end, both as functions of the distance, and fluxes by pixel phase."""
    axes = [figure.add_subplot(grid[k]) for k in range(4)]
    fwhm = float(psf.fwhm())
    side = 2*max(3, round(1.6*fwhm))+1
    fine = oversampled_stamp(psf, side=side, oversampling=FINER)
    extent = (-side/2, side/2, -side/2, side/2)
    shown = show(axes[0], fine/fine.max(), f"PSF's core, {FINER} samples a pixel", cmap="viridis", vmin=0, vmax=1, extent=extent)
    bar(axes[0], shown)
    for edge in np.arange(-(side//2)-0.5, side//2+1):
        axes[0].axhline(edge, color="white", lw=0.2)
        axes[0].axvline(edge, color="white", lw=0.2)
    wide = psf.stamp(WINGS).astype(np.float64)
    wide, half = wide/wide.max(), WINGS//2
    shown = show(axes[1], np.log10(np.clip(np.abs(wide), 1e-8, 1)), "PSF's wings, log of its peak", cmap="viridis", vmin=-7,
                  vmax=0, extent=(-half, half, -half, half))
    bar(axes[1], shown)
    radius, least, mean, most = (np.maximum(v, 1e-9) for v in radial_profile(psf))
    axes[2].fill_between(radius, least, most, color="#bcd4e6", label="least to most", lw=0)
    axes[2].plot(radius, mean, color=SECOND, lw=1.2, label="mean")
    if psf.uncertainty is not None:
        error = psf.uncertainty/psf.stamp(1)[0, 0]
        middle = len(error)//2
        axes[2].plot(np.arange(middle+1)+0.5, np.maximum(error[middle, middle:], 1e-9), color=ACCENT, lw=0.9, label="uncertainty")
    axes[2].set_xscale("log")
    axes[2].set_yscale("log")
    axes[2].set_ylim(1e-8, 2)
    axes[2].set_title("PSF by distance, pixels")
    axes[2].legend(loc="lower left", handlelength=1.2)
    phases, number = left_by_phase(residual, sources)
    most = max(0.5, float(np.nanmax(np.abs(phases), initial=0.5)))
    shown = show(axes[3], phases, f"Left by pixel phase, {number} stars, %", cmap="PuOr_r", vmin=-most, vmax=most,
                  extent=(-0.5, 0.5, -0.5, 0.5))
    bar(axes[3], shown)


def _no_ticks(axes):
    axes.set_xticks([])
    axes.set_yticks([])


def _histogram(axes, significance):
    """Distribution of the residual against the unit Gaussian."""
    edges = np.linspace(-8, 8, 129)
    middle = (edges[:-1]+edges[1:])/2
    count, _ = np.histogram(np.clip(significance, -7.99, 7.99), edges)
    scale = max(len(significance), 1)*(edges[1]-edges[0])
    axes.stairs(count/scale, edges, fill=True, color="#bcd4e6", ec=SECOND, lw=0.8, label="residual / sigma")
    axes.plot(middle, np.exp(-middle**2/2)/np.sqrt(2*np.pi), color=ACCENT, lw=1.3, label="unit Gaussian")
    axes.set_yscale("log")
    axes.set_ylim(0.5/scale if scale else 1e-6, 3)
    axes.set_xlim(-8, 8)
    axes.set_title("Residual / sigma")
    axes.legend(loc="upper right", handlelength=1.2)


def _errors(axes, catalog):
    """Flux against its error, with neighbours and as if isolated."""
    flux, error = plain(catalog["flux"]), plain(catalog["dflux"])
    alone = plain(catalog["dflux_iso"]) if "dflux_iso" in catalog.colnames else np.full(len(flux), np.nan)
    sane = (flux > 0) & (error > 0) & (error < 1e20)
    dots = dict(s=3, linewidths=0, rasterized=True)
    alone = np.where(alone > 0, alone, np.nan)
    axes.scatter(flux[sane], error[sane], color=SECOND, alpha=0.45, label="neighbours free", **dots)
    axes.scatter(flux[sane], alone[sane], color="#f2b134", alpha=0.7, label="as if isolated", **dots)
    axes.set_xscale("log")
    axes.set_yscale("log")
    if sane.any():
        span = np.array([flux[sane].min()/1.5, flux[sane].max()*1.5])
        floor, ceiling = np.nanmin(np.fmin(alone, error)[sane])/2, np.quantile(error[sane], 0.998)*4
        for snr in (5, 100):
            axes.plot(span, span/snr, color=GREY, lw=0.8, ls="--", zorder=0)
            axes.text(floor*1.3*snr, floor*1.15, f" S/N {snr}", fontsize=6, color="#66727e")
        axes.set_xlim(span)
        axes.set_ylim(floor, ceiling)
    axes.set_title("Flux and its error")
    axes.legend(loc="upper left", handletextpad=0.2, markerscale=2.5)
