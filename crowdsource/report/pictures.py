"""A page of pictures that shows whether a fit is good."""
from functools import cache
from io import BytesIO

import numpy as np

from ..core.errors import OutputError, need
from ..io.atomic import atomic_path
from ..psf.export import oversampled_stamp

LARGEST_SIDE = 1100
ZOOM = 96
PSF_SIZE = 59
CORNER_SIZE = 25
FINER, WINGS, PHASES, MOST_STARS = 5, 299, 5, 200
"""Samples of the PSF's core in a pixel, side of its wings, cells of phases along each axis, and number of stars looked at."""
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
def _page_class():
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
        figure = _page_class()(figsize=(12, 1.15+words+3.75*tall+3.75+2.6+2.9), facecolor="white")
        rows = figure.add_gridspec(4, 1, height_ratios=(3.75*tall, 3.75, 2.6, 2.3), hspace=0.19, left=0.035, right=0.965,
                                   top=1-(0.75+words)/figure.get_figheight(), bottom=0.5/figure.get_figheight())
        # given positions that are not fitted have no flux
        catalog = result.catalog[np.isfinite(plain(result.catalog["flux"]))]
        x, y, flux = (plain(catalog[n]) for n in ("x", "y", "flux"))
        x, y = x-image.origin[0], y-image.origin[1]
        parts = _planes(image, result)
        figure.text(0.035, 1-0.28/figure.get_figheight(), heading, fontsize=13, fontweight="bold", va="center")
        figure.text(0.965, 1-0.28/figure.get_figheight(), _summary(image, result, parts), ha="right", va="center",
                    fontsize=9)
        figure.text(0.035, 1-0.45/figure.get_figheight(), "\n".join(image.findings), fontsize=9, va="top", linespacing=1.4)
        box = _busiest(x, y, image.shape)
        _wide_row(figure, rows[0].subgridspec(1, 3, wspace=0.08), parts, image, box)
        _zoom_row(figure, rows[1].subgridspec(1, 3, wspace=0.08), parts, (x, y, flux), box)
        _psf_row(figure, rows[2].subgridspec(1, 4, wspace=0.3), result.psf, parts["residual"], (x, y, flux, catalog))
        last = rows[3].subgridspec(1, 5, wspace=0.36, width_ratios=(1, 1, 1, 1.2, 1.2))
        psf_panels(figure, last, result.psf, parts, (x, y, flux, catalog))
        _histogram(figure.add_subplot(last[3]), parts["significance"][image.good])
        _errors(figure.add_subplot(last[4]), catalog)
    return figure


def plain(column):
    """A column's values as a float64 array, without unit or mask."""
    return np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)


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


def _planes(image, result):
    """Data, model with sky, and residual in sigma, NaN where masked."""
    model = result.model+result.sky
    significance = np.where(image.good, (image.data-model)*np.sqrt(image.ivar), np.nan)
    # saturated pixels are masked but worth seeing, dead ones lie far below the sky
    dead = ~image.good & (image.data < result.sky-10*image.noise)
    return dict(data=np.where(dead, np.nan, image.data), model=model, significance=significance,
                residual=np.where(image.good, image.data-model, np.nan))


def _summary(image, result, parts):
    good = parts["significance"][image.good]
    return (f"{len(result.catalog)} sources    {len(result.history)} passes    FWHM {float(result.psf.fwhm()):.2f} px    "
            f"residual: chi² {np.mean(good**2):.2f}, robust {_robust(good):.2f} sigma")


def _robust(values):
    return 1.4826*np.median(np.abs(values-np.median(values))) if len(values) else np.nan


def _busiest(x, y, shape):
    """The box (x0, x1, y0, y1) with most sources, away from the edge where the image is large enough."""
    ny, nx = shape
    wide, high = min(ZOOM, nx), min(ZOOM, ny)
    step = 16
    count, ye, xe = np.histogram2d(y, x, bins=[np.arange(0, ny+step, step), np.arange(0, nx+step, step)])
    sums = np.cumsum(np.cumsum(np.pad(count, ((1, 0), (1, 0))), axis=0), axis=1)
    m, n = max(1, high//step), max(1, wide//step)
    boxes = sums[m:, n:]-sums[:-m, n:]-sums[m:, :-n]+sums[:-m, :-n]
    if not boxes.size:
        return 0, wide, 0, high
    j, i = np.unravel_index(np.argmax(boxes), boxes.shape)
    x0, y0 = min(int(xe[i]), nx-wide), min(int(ye[j]), ny-high)
    return x0, x0+wide, y0, y0+high


def _stretch(data):
    """Limits and softening of an asinh stretch: from below the sky to the brightest stars' wings."""
    values = data[np.isfinite(data)]
    if not len(values):
        return 0., 1., 1.
    low, sky, high = np.quantile(values, [0.005, 0.4, 0.999])
    return low, max(high, low+1e-6), max((sky-low), (high-low)*1e-3, 1e-6)


def _asinh(data, stretch):
    low, high, soft = stretch
    return np.arcsinh((data-low)/soft)/np.arcsinh((high-low)/soft)


def reduced(plane):
    """The plane averaged over square blocks so that no side is above the largest, and the block's side."""
    step = -(-max(plane.shape)//LARGEST_SIDE)
    if step == 1:
        return plane, 1
    ny, nx = (n//step*step for n in plane.shape)
    blocks = plane[:ny, :nx].reshape(ny//step, step, nx//step, step)
    good = np.isfinite(blocks)
    number = good.sum(axis=(1, 3))
    return np.where(number > 0, np.where(good, blocks, 0).sum(axis=(1, 3))/np.maximum(number, 1), np.nan), step


def show(axes, plane, name, **options):
    """A plane in image orientation; masked pixels in a plain colour."""
    colours = need("matplotlib", "plot", "a picture").colormaps[options.pop("cmap")]
    colours = colours.with_extremes(bad="#c9d3da" if colours.name == "RdBu_r" else "#3d4f5c")
    shown = axes.imshow(plane, origin="lower", interpolation="nearest", cmap=colours, **options)
    axes.set_title(name)
    axes.tick_params(length=2)
    return shown


def _grey(axes, plane, stretch, name, extent):
    return show(axes, _asinh(plane, stretch), name, cmap="gray", vmin=0, vmax=1, extent=extent)


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
    stretch = _stretch(parts["data"])
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
    stretch = _stretch(cut["data"])
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
    mosaic = _corners(psf, parts["data"].shape)
    most = max(1., np.ceil(np.nanmax(np.abs(mosaic))))
    bar(axes, show(axes, mosaic, "Corners less middle, %", cmap="PuOr_r", vmin=-most, vmax=most))
    _no_ticks(axes)
    axes = figure.add_subplot(grid[2])
    stack, number = _stacked_residual(parts["residual"], sources, peak)
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
    at = np.arange(WINGS)-half
    ring = np.hypot(at[:, None], at[None, :]).round().astype(int).ravel()
    order = np.argsort(ring, kind="stable")
    parts = np.split(np.abs(wide).ravel()[order], np.flatnonzero(np.diff(ring[order]))+1)[:half]
    radius = np.arange(len(parts))+0.5
    axes[2].fill_between(radius, [max(p.min(), 1e-9) for p in parts], [max(p.max(), 1e-9) for p in parts], color="#bcd4e6",
                         label="least to most", lw=0)
    axes[2].plot(radius, [max(p.mean(), 1e-9) for p in parts], color=SECOND, lw=1.2, label="mean")
    if psf.uncertainty is not None:
        error = psf.uncertainty/psf.stamp(1)[0, 0]
        middle = len(error)//2
        axes[2].plot(np.arange(middle+1)+0.5, np.maximum(error[middle, middle:], 1e-9), color=ACCENT, lw=0.9, label="uncertainty")
    axes[2].set_xscale("log")
    axes[2].set_yscale("log")
    axes[2].set_ylim(1e-8, 2)
    axes[2].set_title("PSF by distance, pixels")
    axes[2].legend(loc="lower left", handlelength=1.2)
    phases, number = _by_phase(residual, sources)
    most = max(0.5, float(np.nanmax(np.abs(phases), initial=0.5)))
    shown = show(axes[3], phases, f"Left by pixel phase, {number} stars, %", cmap="PuOr_r", vmin=-most, vmax=most,
                  extent=(-0.5, 0.5, -0.5, 0.5))
    bar(axes[3], shown)


def _by_phase(residual, sources):
    """What is left in the middle 3x3 pixels of bright stars, percent of their flux, by place in the pixel, and their number.

    A PSF that is wrong between the pixels leaves light of one sign where stars are in the middle of a pixel, of the other where
    they are at its corners.
    """
    x, y, flux, catalog = sources
    chosen, px, py = _bright_stars(residual.shape, x, y, flux, catalog, 1)
    sums, counts = np.zeros((PHASES, PHASES)), np.zeros((PHASES, PHASES))
    at = np.arange(-1, 2)
    middle = residual[py[chosen, None, None]+at[None, :, None], px[chosen, None, None]+at[None, None, :]]
    left = 100*middle.sum(axis=(1, 2))/flux[chosen]
    cell = [np.clip(((v[chosen]-p[chosen]+0.5)*PHASES).astype(int), 0, PHASES-1) for v, p in ((y, py), (x, px))]
    known = np.isfinite(left)
    np.add.at(sums, tuple(c[known] for c in cell), left[known])
    np.add.at(counts, tuple(c[known] for c in cell), 1)
    return np.where(counts > 0, sums/np.maximum(counts, 1), np.nan), int(known.sum())


def _bright_stars(shape, x, y, flux, catalog, half):
    """Indices of the brightest PSF stars away from the edge, brightest first, and the pixels of all sources in x and y."""
    ny, nx = shape
    px, py = np.floor(x+0.5).astype(int), np.floor(y+0.5).astype(int)
    use = (px >= half) & (px < nx-half) & (py >= half) & (py < ny-half) & (flux > 0)
    if "psf_star" in catalog.colnames and np.any(catalog["psf_star"]):
        use &= np.asarray(catalog["psf_star"], dtype=bool)
    return np.flatnonzero(use)[np.argsort(-flux[use], kind="stable")][:MOST_STARS], px, py


def _no_ticks(axes):
    axes.set_xticks([])
    axes.set_yticks([])


def _corners(psf, shape):
    """PSFs at the four corners less that of the middle, percent of its peak, as a mosaic with the corners in place."""
    ny, nx = shape
    middle = psf.stamp(CORNER_SIZE, (nx-1)//2, (ny-1)//2)
    lines = []
    for y in (0.05*ny, 0.95*ny):
        tiles = [100*(psf.stamp(CORNER_SIZE, x, y)-middle)/middle.max() for x in (0.05*nx, 0.95*nx)]
        lines.append(np.hstack([tiles[0], np.full((CORNER_SIZE, 1), np.nan), tiles[1]]))
    return np.vstack([lines[0], np.full((1, 2*CORNER_SIZE+1), np.nan), lines[1]])


def _stacked_residual(residual, sources, peak):
    """Median residual of the PSF's stars in percent of their peaks, and how many they are."""
    x, y, flux, catalog = sources
    half = CORNER_SIZE//2
    chosen, px, py = _bright_stars(residual.shape, x, y, flux, catalog, half)
    if not len(chosen):
        return np.full((CORNER_SIZE, CORNER_SIZE), np.nan), 0
    at = np.arange(-half, half+1)
    stack = residual[py[chosen, None, None]+at[None, :, None], px[chosen, None, None]+at[None, None, :]]
    stack = 100*stack/(flux[chosen]*peak)[:, None, None]
    return np.ma.median(np.ma.masked_invalid(stack), axis=0).filled(np.nan), len(chosen)


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
