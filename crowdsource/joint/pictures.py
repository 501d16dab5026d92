"""A picture of a joint fit: scatter against flux, light curves of the most variable stars, and how images are registered."""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import QTable

from ..core.errors import need
from ..core.flags import ENGINE, MASK_SHIFT
from ..io.atomic import check_output
from ..io.tables import read_table
from ..report.pictures import ACCENT, GREY, INK, SECOND, STYLE, plain, save
from .files import CURVES, IMAGES, OBJECTS, ROWS

SHOWN = 4
"""So many variable stars are shown."""
LEAST_SNR, LEAST_SHARE = 15., 0.7
"""These are so significant on a typical image, and on so many of the images."""
BELOW = 3.
"""No star is fainter than this below zero, sigma."""
HALF = 10
"""Half side of a cut-out, pixels."""
MMAG = 2500/np.log(10)


def check_plot(path, overwrite=False):
    """Raise an error where a picture could not be written, before any work is done."""
    need("matplotlib.figure", "plot", "a picture")
    check_output(path, overwrite)


@dataclass(frozen=True, eq=False)
class Written:
    """The tables of a joint fit that was written into a folder.

    Attributes
    ----------
    folder : pathlib.Path
    objects, light_curves : astropy.table.QTable
    images : astropy.table.QTable
        One row an image; of one in several tiles that of the first.
    names : list of str
        Of these images.
    """

    folder: Path
    objects: QTable
    light_curves: QTable
    images: QTable
    names: list

    @classmethod
    def read(cls, folder):
        """Those of a folder."""
        folder = Path(folder)
        images = read_table(f"{folder/OBJECTS}:{IMAGES}")
        names, first = np.unique(np.asarray(images["image"]).astype(str), return_index=True)
        return cls(folder, read_table(f"{folder/OBJECTS}:{ROWS}"), read_table(folder/CURVES), images[first], names.tolist())


def plot_joint(folder, images, path, title="", dpi=110):
    """One page: scatter of all stars against their flux beside their errors, images, and the most variable stars with cut-outs.

    Parameters
    ----------
    folder : path-like
        As `crowdsource.joint.files.write_joint`, or a fit in tiles, has written it.
    images : mapping of str to callable
        Called without arguments, each reads the image of a name; a few are read.
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
    need("matplotlib.figure", "plot", "a picture")
    result = Written.read(folder)
    curves = curve_arrays(result)
    stars = most_variable(result, curves)
    with matplotlib.rc_context(STYLE):
        height = 3.9+1.9*max(1, len(stars))
        figure = matplotlib.figure.Figure(figsize=(12, height), facecolor="white")
        figure.text(0.05, 1-0.25/height, title or "Joint fit", fontsize=13, fontweight="bold", va="center")
        figure.text(0.97, 1-0.25/height, f"{len(result.objects)} objects on {len(result.names)} images", ha="right", va="center",
                    fontsize=9)
        grid = figure.add_gridspec(2, 1, height_ratios=(2.9, 1.9*max(1, len(stars))), hspace=0.16, left=0.06, right=0.97,
                                   top=1-0.6/height, bottom=0.45/height)
        top = grid[0].subgridspec(1, 3, wspace=0.26)
        _scatter(figure.add_subplot(top[0]), curves)
        _chi(figure.add_subplot(top[1]), curves)
        _images(figure.add_subplot(top[2]), result)
        rows = grid[1].subgridspec(max(1, len(stars)), 4, width_ratios=(5, 1, 1, 0.05), hspace=0.35, wspace=0.1)
        for k, star in enumerate(stars):
            _light_curve(figure.add_subplot(rows[k, 0]), result, curves, star)
            for place, image in enumerate(_extremes(curves, star)):
                _cutout(figure.add_subplot(rows[k, 1+place]), result, images, image, star)
        save(figure, path, dpi)


def curve_arrays(result):
    """Light curves as arrays of shape (images, objects): flux and error, NaN where an image does not show an object."""
    number = {name: k for k, name in enumerate(result.names)}
    names, place = np.unique(np.asarray(result.light_curves["image"]), return_inverse=True)
    image = np.array([number[str(n)] for n in names])[place]
    ids = np.asarray(result.objects["object_id"])
    row = np.searchsorted(ids, np.asarray(result.light_curves["object_id"]), sorter=np.argsort(ids))
    row = np.argsort(ids)[row]
    flux, error = np.full((2, len(result.names), len(ids)), np.nan)
    seen = plain(result.light_curves["qf"]) > 0.5
    for out, name in ((flux, "flux"), (error, "dflux")):
        out[image[seen], row[seen]] = plain(result.light_curves[name])[seen]
    return flux, error


def most_variable(result, curves):
    """Rows of the objects that vary most surely: of many images, enough light, and nowhere less than none.

    What stands on the wings of a saturated star follows the errors of its PSF, up and down.
    """
    flux, error = curves
    name = next(n for n in result.objects.colnames if n.startswith("stetson_j"))
    many = (np.isfinite(flux).mean(axis=0) > LEAST_SHARE) & ~(flux < -BELOW*error).any(axis=0)
    many &= np.asarray(result.objects["flags"]) & (int(ENGINE.saturated) << MASK_SHIFT) == 0
    with np.errstate(all="ignore"):
        bright = np.nanmedian(np.where(np.isfinite(flux), flux/error, np.nan)[:, many], axis=0) > LEAST_SNR
    usable = np.flatnonzero(many)[bright]
    index = plain(result.objects[name])[usable]
    order = np.argsort(-np.nan_to_num(index, nan=-np.inf), kind="stable")[:SHOWN]
    return usable[order][np.isfinite(index[order])]


def _scatter(axes, curves):
    flux, error = curves
    many = (np.isfinite(flux).sum(axis=0) >= max(2, LEAST_SHARE*len(flux)))
    with np.errstate(all="ignore"):
        middle = np.nanmedian(flux[:, many], axis=0)
        spread = MMAG*1.4826*np.nanmedian(np.abs(flux[:, many]-middle), axis=0)/middle
        typical = MMAG*np.nanmedian(error[:, many], axis=0)/middle
    good = (middle > 0) & (spread > 0)
    mag = -2.5*np.log10(np.where(good, middle, 1))
    axes.scatter(mag[good], spread[good], s=2, color=SECOND, alpha=0.4, lw=0, label="scatter", rasterized=True)
    axes.scatter(mag[good], typical[good], s=1, color=ACCENT, alpha=0.4, lw=0, label="error", rasterized=True)
    axes.set(yscale="log", xlabel="magnitude on the reference, zero point 0", ylabel="mmag", title="Scatter of light curves")
    axes.legend(loc="lower right", markerscale=4)


def _chi(axes, curves):
    flux, error = curves
    weight = np.where(np.isfinite(flux), 1/error**2, 0)
    mean = np.where(weight > 0, weight*flux, 0).sum(axis=0)/np.maximum(weight.sum(axis=0), 1e-300)
    chi = ((flux-mean)/error)[np.isfinite(flux) & (mean > 5*error)]
    if len(chi):
        axes.hist(chi, np.linspace(-5, 5, 61), density=True, color=GREY)
    x = np.linspace(-5, 5, 201)
    axes.plot(x, np.exp(-x**2/2)/np.sqrt(2*np.pi), color=ACCENT, lw=1)
    axes.set(xlabel="(flux - mean)/error, above 5 sigma", title="Repeats against their errors", yticks=[])


def _images(axes, result):
    rms, fwhm = (plain(result.images[n]) for n in ("registration_rms", "fwhm"))
    axes.bar(np.arange(len(rms)), rms, color=SECOND, label="first registration, px rms")
    axes.plot(np.arange(len(rms)), fwhm/10, color=ACCENT, lw=0, marker="o", ms=3, label="FWHM/10, px")
    axes.set(xlabel="image", ylabel="pixels", title="Images")
    axes.legend(loc="upper right")


def _light_curve(axes, result, curves, star):
    flux, error = (c[:, star] for c in curves)
    time = plain(result.images["mjd"])
    dated = np.isfinite(time).all() and np.ptp(time) > 0
    x = time if dated else np.arange(len(flux), dtype=float)
    name = next(n for n in result.objects.colnames if n.startswith("stetson_j"))
    bands = np.asarray(result.images["band"]).astype(str)
    for band, colour in zip(np.unique(bands), (INK, ACCENT, SECOND, GREY)*len(bands)):
        s = (bands == band) & np.isfinite(flux)
        axes.errorbar(x[s], flux[s], error[s], color=colour, lw=0, elinewidth=0.7, marker="o", ms=2.5, label=band or None)
    axes.set(title=f"object {result.objects['object_id'][star]}, Stetson J {plain(result.objects[name])[star]:.1f}",
             xlabel="MJD" if dated else "image", ylabel="flux")


def _extremes(curves, star):
    """Images on which a star is brightest and faintest."""
    flux = curves[0][:, star]
    return int(np.nanargmax(flux)), int(np.nanargmin(flux))


def _cutout(axes, result, images, number, star):
    name = result.names[number]
    image, catalog = images[name](), read_table(result.folder/f"{name}.cat.fits")
    row = int(np.flatnonzero(np.asarray(catalog["object_id"]) == result.objects["object_id"][star])[0])
    x, y = (float(plain(catalog[axis])[row])-start for axis, start in zip("xy", image.origin))
    px, py = int(round(x)), int(round(y))
    ny, nx = image.shape
    rows, columns = slice(max(0, py-HALF), min(ny, py+HALF+1)), slice(max(0, px-HALF), min(nx, px+HALF+1))
    light = image.data[rows, columns]-float(plain(catalog["sky"])[row])
    scale = float(plain(result.images["scale"])[number])
    mine = np.asarray(result.light_curves["object_id"]) == result.objects["object_id"][star]
    top = float(np.nanmax(plain(result.light_curves["flux"])[mine]))
    axes.imshow(light/scale, origin="lower", cmap="gray", vmin=-3*image.noise/scale, vmax=0.08*top,
                extent=(columns.start-0.5, columns.stop-0.5, rows.start-0.5, rows.stop-0.5))
    axes.plot([x], [y], marker="o", ms=12, mfc="none", mec=ACCENT, mew=0.7)
    axes.set(xticks=[], yticks=[], title=name[-16:])
