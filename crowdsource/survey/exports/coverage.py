"""The part of the sky that a release covers: a MOC, maps of counts and depth, and a picture."""
from dataclasses import dataclass

import numpy as np

from ...core.errors import need
from ...io.atomic import atomic_path
from ...report.pictures import STYLE
from ..healpix import SPATIAL_INDEX, SPATIAL_INDEX_ORDER, cells_at, corners_of, write_map
from ..objects.average import ZEROPOINT

FINEST = 10
"""Order of the finest maps, cells of 3.4 arcmin."""
ENOUGH = 8
"""Mean number of objects in a cell, of those with any, that a map must have; otherwise its cells are made larger."""
FAINT = 20.
"""Signal to noise below which objects are used to measure the depth."""
DEEP = 5.
"""Signal to noise for which the depth is stated."""
SMALL = 40.
"""Degrees; wider fields are shown on a map of the whole sky."""
PIXELS_OF_SKY = 300


@dataclass(frozen=True, eq=False)
class Coverage:
    """Objects, detections and depth in cells of one order.

    Attributes
    ----------
    order : int
    cells : ndarray, shape (n,), int64
        Numbers of the cells with objects or detections, ascending.
    objects, detections : ndarray, shape (n,), int64
        Number of objects and detections in each cell.
    depth : dict of str to ndarray, shape (n,)
        By band: magnitude of an object at `DEEP` sigma, mean over faint objects; NaN where there are none.
    """

    order: int
    cells: np.ndarray
    objects: np.ndarray
    detections: np.ndarray
    depth: dict


def coverage_of(objects, detections):
    """The `Coverage` of objects and detections, pixel by pixel.

    Parameters
    ----------
    objects : crowdsource.survey.exports.export_tables.ObjectTable
    detections : crowdsource.survey.exports.export_tables.DetectionTable

    Returns
    -------
    Coverage
    """
    bands = [b.lower() for b, _ in objects.survey.release.bands]
    sums = {}
    for pixel in objects.counts():
        for rows in objects.blocks(pixel):
            _add(sums, cells_of(rows[SPATIAL_INDEX]), [np.ones(len(rows)), np.zeros(len(rows)), *_depths(rows, bands)])
    for pixel in detections.counts():
        index = detections.index(pixel)
        _add(sums, cells_of(index), [np.zeros(len(index)), np.ones(len(index)), *np.zeros((2*len(bands), len(index)))])
    cells = np.array(sorted(sums), np.int64)
    return coarsen(cells, np.array([sums[c] for c in cells.tolist()]).reshape(len(cells), 2+2*len(bands)), bands)


def cells_of(index):
    """Cells of the order `FINEST`."""
    return np.asarray(index) >> 2*(SPATIAL_INDEX_ORDER-FINEST)


def _depths(rows, bands):
    """For each band the depth from faint objects, and which objects are used: two rows a band."""
    out = []
    for b in bands:
        flux, error = (rows[n].astype(float) for n in (f"flux_{b}", f"flux_error_{b}"))
        faint = np.isfinite(flux) & (error > 0) & (np.abs(flux) < FAINT*error)
        out += [np.where(faint, ZEROPOINT-2.5*np.log10(DEEP*np.where(faint, error, 1)), 0.), faint.astype(float)]
    return out


def _add(sums, cells, values):
    """Add values, shape (k, n), to the sums of their cells."""
    unique, at = np.unique(cells, return_inverse=True)
    total = np.stack([np.bincount(at, v, len(unique)) for v in values], axis=1) if len(cells) else []
    for cell, row in zip(unique.tolist(), total):
        sums[cell] = sums.get(cell, 0)+row


def coarsen(cells, sums, bands):
    """A `Coverage` from sums in cells of the order `FINEST`, with cells wide enough for `ENOUGH` objects."""
    order = FINEST
    while order and len(cells) and sums[:, 0].sum() < ENOUGH*len(cells):
        cells, first = np.unique(cells >> 2, return_index=True) if order else (cells, None)
        sums, order = np.add.reduceat(sums, first, axis=0), order-1
    with np.errstate(invalid="ignore"):
        depth = {b: sums[:, 2+2*k]/sums[:, 3+2*k] for k, b in enumerate(bands)}
    return Coverage(order, cells, sums[:, 0].astype(np.int64), sums[:, 1].astype(np.int64), depth)


def write_moc(coverage, path, overwrite=False):
    """Write the cells that hold anything as a MOC in FITS.

    Raises
    ------
    MissingExtraError
        When mocpy is not installed.
    OutputError
        When the file exists or cannot be written.
    """
    mocpy = need("mocpy", "sky", "a MOC")
    order = np.full(len(coverage.cells), coverage.order, np.uint8)
    moc = mocpy.MOC.from_healpix_cells(coverage.cells.astype(np.uint64), order, coverage.order)
    with atomic_path(path, overwrite) as temporary:
        moc.save(temporary, format="fits")


def write_maps(coverage, prefix, overwrite=False):
    """Write maps as FITS that healpy reads: ``PREFIXobjects.fits``, ``PREFIXdetections.fits``, ``PREFIXdepth_BAND.fits``.

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    maps = {"objects": (coverage.objects, ("OBJECTS", "")), "detections": (coverage.detections, ("DETECTIONS", "")),
            **{f"depth_{b}": (values, ("DEPTH", "mag")) for b, values in coverage.depth.items()}}
    names = []
    for name, (values, column) in maps.items():
        names.append(f"{prefix}{name}.fits")
        with atomic_path(names[-1], overwrite) as temporary:
            write_map(temporary, coverage.cells, values, coverage.order, column)
    return names


def plot_coverage(coverage, path, title="", overwrite=False):
    """Draw counts and depth: on a map of the field where it is small, else on one of the whole sky.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    OutputError
        When the file exists or cannot be written.
    """
    matplotlib = need("matplotlib", "plot", "a picture")
    need("matplotlib.figure", "plot", "a picture")
    panels = {"objects": coverage.objects, "detections": coverage.detections,
              **{f"depth in {b}, {DEEP:.0f} sigma (mag)": v for b, v in coverage.depth.items()}}
    ra, dec = corners_of(coverage.cells, coverage.order)
    field = small_field(ra, dec)
    wide, rows = (3, -(-len(panels)//3)) if field else (2, -(-len(panels)//2))
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(12, 0.5+(4. if field else 3.6)*rows), facecolor="white", layout="constrained")
        figure.suptitle(title, fontsize=12, fontweight="bold", x=0.02, ha="left")
        for k, (name, values) in enumerate(panels.items()):
            axes = figure.add_subplot(rows, wide, k+1, projection=None if field else "mollweide")
            drawn = _field(axes, field, values) if field else _sky(axes, coverage, values)
            axes.set_title(name)
            figure.colorbar(drawn, ax=axes, shrink=0.8)
        with atomic_path(path, overwrite) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def small_field(ra, dec):
    """Corners of cells as degrees from the field's middle, and the middle; None when the field is too wide for that.

    Parameters
    ----------
    ra, dec : ndarray, shape (n, 4)

    Returns
    -------
    x, y : ndarray, shape (n, 4)
        Degrees east (on the sky) and degrees of declination.
    ra : float
        Of the middle.
    """
    turn = np.radians(ra)
    middle = np.degrees(np.arctan2(np.sin(turn).mean(), np.cos(turn).mean())) % 360
    x = ((ra-middle+180) % 360-180)*np.cos(np.radians(dec.mean()))
    if np.ptp(x) > SMALL or np.ptp(dec) > SMALL or np.abs(dec).max() > 90-1e-6:
        return None
    return x, dec, middle


def _field(axes, field, values):
    """Cells of a small field, east to the left."""
    collections = need("matplotlib.collections", "plot", "a picture")
    x, dec, middle = field
    drawn = collections.PolyCollection(np.stack([x, dec], axis=2), array=np.asarray(values, float), edgecolors="face",
                                       linewidths=0.2, cmap="viridis")
    axes.add_collection(drawn)
    axes.set_xlim(x.max(), x.min())
    axes.set_ylim(dec.min(), dec.max())
    axes.set_aspect("equal")
    axes.set_xlabel(f"degrees east of ra {middle:.4f}")
    axes.set_ylabel("dec (degrees)")
    return drawn


def _sky(axes, coverage, values):
    """Cells on the whole sky, east to the left, right ascension 0 in the middle."""
    lon, lat = np.meshgrid(np.linspace(-180, 180, 2*PIXELS_OF_SKY+1), np.linspace(-90, 90, PIXELS_OF_SKY+1))
    cells = cells_at((-(lon[:-1, :-1]+lon[:-1, 1:])/2) % 360, (lat[:-1, :-1]+lat[1:, :-1])/2, coverage.order)
    at = np.minimum(np.searchsorted(coverage.cells, cells), len(coverage.cells)-1)
    shown = np.where(coverage.cells[at] == cells, np.asarray(values, float)[at], np.nan)
    drawn = axes.pcolormesh(np.radians(lon), np.radians(lat), np.ma.masked_invalid(shown), cmap="viridis", rasterized=True)
    axes.set_xticklabels([])
    axes.grid(linewidth=0.3)
    return drawn
