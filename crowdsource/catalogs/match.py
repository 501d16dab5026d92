"""Which rows of two catalogs are the same stars: by the sky, or by the stars' pattern where one has no world coordinates."""
import logging
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..core import functions
from ..core.errors import InputError
from ..core.world import tangent_plane, unit_vectors
from ..engine.schema import POGSON
from ..joint.frame import Frame
from ..joint.register import StarList, mutual, refined, register
from .catalog import SIGNIFICANT, StarCatalog

log = logging.getLogger(__name__)
ARCSEC = 3600.
MARGIN = 60.
"""Rows of the second catalog so far around the first are looked at, arcsec."""
FARTHEST = 5.
"""Largest offset between two catalogs on the sky that is looked for, arcsec."""
BRIGHTEST = 2000
"""Number of the brightest stars that tell how two catalogs lie to each other."""
CLOSE, LARGEST_CLOSE = 0.15, 0.6
"""Offsets agree that differ by less than this part of the mean distance of neighbours, and by so many arcsec at most."""
VOTES = 500
"""Number of the brightest stars by which an offset is found."""
USUAL = 1., 2.
"""Stars are the same within these distances where the seeing is not known: arcsec, and pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Pairs:
    """Rows of two catalogs that are the same stars.

    Attributes
    ----------
    first, second : ndarray of int, shape (n,)
        Numbers of rows.
    separation : ndarray, shape (n,), float64
        Distance after the catalogs have been laid onto each other, in `unit`.
    unit : str
        arcsec or pix.
    radius : float
        Largest separation, in `unit`.
    by : str
        "sky" or "pattern".
    offset : tuple of float
        Median of what is to be added to positions of the first catalog: east and north, arcsec. NaN by the pattern.
    rms : float
        Of the separations of bright stars, in `unit`; NaN where too few tell.
    """

    first: np.ndarray
    second: np.ndarray
    separation: np.ndarray
    unit: str
    radius: float
    by: str
    offset: tuple
    rms: float

    def __len__(self):
        return len(self.first)

    def told(self):
        """What was done, in a line."""
        off = "" if self.by != "sky" else f", offset {self.offset[0]:+.3f} {self.offset[1]:+.3f} arcsec taken out"
        return f"{len(self)} stars by the {self.by} within {self.radius:.3g} {self.unit}{off}"


def match(first, second, *, radius=None, magnitudes=(None, None), all_columns=False):
    """The stars that two catalogs have in common, as a table for a colour-magnitude diagram.

    Rows are pairs that are each other's nearest. On the sky the median offset of the two catalogs is taken out, and distortions
    where stars are enough; without world coordinates in one of them the pattern of bright stars tells how they lie to each other.

    Parameters
    ----------
    first, second : path-like, astropy.table.Table, or crowdsource.engine.state.FitResult
        Catalogs of this project, or any with usual names of columns.
    radius : float, optional
        Largest distance of a pair: arcsec, or pixels of the second catalog by the pattern. Half of the worse seeing where it is
        known, else 1 arcsec or 2 pixels.
    magnitudes : tuple of (str or None)
        Bands or columns of magnitudes, one of each catalog; chosen by `crowdsource.catalogs.catalog.StarCatalog.brightness`.
    all_columns : bool
        With all columns of both catalogs, to whose names ``_1`` and ``_2`` are added.

    Returns
    -------
    astropy.table.Table
        ra and dec, or x and y, of the first catalog; mag_1, dmag_1, mag_2, dmag_2; colour, which is mag_1-mag_2, and dcolour;
        separation; row_1 and row_2 from 0; flags and good of both where they have them. ``meta`` says what was done.

    Raises
    ------
    DataFileError
        When a file cannot be read as a catalog.
    InputError
        When the catalogs have no stars in common, or lack positions or magnitudes.
    """
    from astropy.table import Column, Table
    pair = StarCatalog.of(first, "the first catalog"), StarCatalog.of(second, "the second catalog")
    pairs, out = matched(*pair, radius=radius), Table()
    log.info("%s", pairs.told())
    rows = pairs.first, pairs.second
    place, unit, names = (pair[0].sky, "deg", ("ra", "dec")) if pair[0].sky is not None else (pair[0].pixels, "pix", ("x", "y"))
    for name, values in zip(names, place):
        out[name] = Column(values[pairs.first], unit=unit, description=f"of {pair[0].name}")
    for k, (catalog, wanted, chosen) in enumerate(zip(pair, magnitudes, rows), 1):
        mag, error, which = catalog.brightness(wanted)
        of = f"{which.column or '-2.5 log10 of the flux'} of {catalog.name}"+f", band {which.band}"*bool(which.band)
        out[f"mag_{k}"] = Column(mag[chosen], unit="mag", description=of)
        out[f"dmag_{k}"] = Column(error[chosen], unit="mag", description=f"error of mag_{k}")
        out.meta[f"band_{k}"], out.meta[f"catalog_{k}"] = which.band, catalog.name
    out["colour"] = Column(out["mag_1"]-out["mag_2"], unit="mag", description="mag_1-mag_2")
    out["dcolour"] = Column(np.hypot(out["dmag_1"], out["dmag_2"]), unit="mag", description="error of colour")
    out["separation"] = Column(pairs.separation, unit=pairs.unit, description="after the catalogs were laid onto each other")
    for k, (catalog, chosen) in enumerate(zip(pair, rows), 1):
        out[f"row_{k}"] = Column(chosen, description=f"row of {catalog.name}, from 0")
        for name in catalog.table.colnames:
            column = catalog.table[name]
            # what has no type of its own, such as a column of SkyCoord, has no place in most files
            if (all_columns and hasattr(column, "dtype")) or name in ("flags", "good"):
                out[f"{name}_{k}"] = column[chosen]
    out.meta.update(matched_by=pairs.by, radius=pairs.radius, pairs=len(pairs), rms=pairs.rms)
    return out


def matched(first, second, radius=None):
    """The `Pairs` of two `StarCatalog`; parameters and errors as `match`."""
    if first.sky is not None and second.sky is not None:
        return _by_sky(first, second, radius)
    return _by_pattern(first, second, radius)


def _by_sky(first, second, radius):
    """Pairs on the plane that touches the sky in the middle of the first catalog."""
    known = np.isfinite(first.sky).all(axis=0)
    if not known.any():
        raise InputError(f"{first.name}: has no row with a position")
    middle = _middle(first.sky[:, known])
    places = [_on_plane(c.sky, middle) for c in (first, second)]
    here = [np.flatnonzero(np.isfinite(p).all(axis=0)) for p in places]
    low, high = places[0][:, here[0]].min(axis=1)-MARGIN, places[0][:, here[0]].max(axis=1)+MARGIN
    inside = ((places[1][:, here[1]] > low[:, None]) & (places[1][:, here[1]] < high[:, None])).all(axis=0)
    here[1] = here[1][inside]
    if not len(here[1]):
        raise InputError(f"{first.name} and {second.name} are of different parts of the sky: no row of one is near the other")
    points = [p[:, k] for p, k in zip(places, here)]
    if radius is None:
        seeing = [c.seeing for c in (first, second) if np.isfinite(c.seeing)]
        radius = max(seeing)/2 if seeing else USUAL[0]
    stars = [_bright(c, p, k) for c, p, k in zip((first, second), points, here)]
    frame, rms = _frame_on_sky(*stars)
    moved = np.array(frame(*points[0]))
    one, two = mutual(moved.T, cKDTree(points[1].T), radius)
    if not len(one):
        raise InputError(f"{first.name} and {second.name} have no stars in common within {radius:g} arcsec; give a larger radius")
    offset = np.median((moved-points[0])[:, one], axis=1)
    return Pairs(first=here[0][one], second=here[1][two], separation=np.hypot(*(moved[:, one]-points[1][:, two])), unit="arcsec",
                 radius=radius, by="sky", offset=tuple(map(float, offset)), rms=rms)


def _middle(sky):
    """Right ascension and declination of the middle of positions on the sky."""
    x, y, z = unit_vectors(*sky).mean(axis=0)
    return np.degrees(functions.angle(y, x)), np.degrees(functions.angle(z, np.hypot(x, y)))


def _on_plane(sky, middle):
    """Arcsec east and north of the middle on the tangent plane, shape (2, n); NaN beyond 60 degrees from it."""
    *offsets, depth = tangent_plane(*sky, *middle)
    return np.where(depth > 0.5, np.array(offsets)*ARCSEC, np.nan)


def _bright(catalog, points, rows, fwhm=3.):
    """The `StarList` of the brightest reliable stars among rows whose positions are given."""
    try:
        mag, error, _ = catalog.brightness()
        mag, error = mag[rows], np.clip(np.nan_to_num(error[rows], nan=0.05), 1e-4, None)
    except InputError:
        mag, error = np.zeros(len(rows)), np.full(len(rows), 0.01)
    order = np.argsort(np.where(np.isfinite(mag), mag, np.inf), kind="stable")
    good = np.isfinite(mag) & catalog.reliable[rows] & (error < POGSON/SIGNIFICANT*2)
    keep = order[good[order]][:BRIGHTEST] if good.sum() > 2 else order[:BRIGHTEST]
    mag, error = np.where(np.isfinite(mag), mag, 0.)[keep], error[keep]
    flux = functions.power(10., -0.4*(mag-np.median(mag))) if len(mag) else mag
    x, y = points[:, keep]
    return StarList(x=x, y=y, flux=flux, error=flux*error/POGSON, fwhm=fwhm, shape=(0, 0))


def _frame_on_sky(first, second):
    """The frame from one list to the other, arcsec: an offset, refined where stars are enough; and the rms of those that tell."""
    number = min(len(first.x), len(second.x))
    area = max(np.ptp(first.x)*np.ptp(first.y), 1e-6)
    spacing = float(np.sqrt(area/max(len(first.x), len(second.x), 1)))
    close = min(LARGEST_CLOSE, CLOSE*spacing)
    shift = _common_offset(*(np.c_[s.x, s.y][:VOTES] for s in (first, second)), close)
    frame = Frame.similarity(1., 0., shift)
    # distances of register.REACH are in pixels: here such that the first is what an offset may be wrong by
    unit = close/3 if number > 1 else 1.
    scaled = [StarList(x=s.x/unit, y=s.y/unit, flux=s.flux, error=s.error, fwhm=3., shape=(0, 0)) for s in (first, second)]
    found = refined(*scaled, Frame.similarity(1., 0., (shift[0]/unit, shift[1]/unit)))
    if found is None:
        return frame, np.nan
    return _Scaled(found.frame, unit), found.rms*unit


class _Scaled:
    """A frame of positions in another unit."""

    def __init__(self, frame, unit):
        self.frame, self.unit = frame, unit

    def __call__(self, x, y):
        return tuple(c*self.unit for c in self.frame(x/self.unit, y/self.unit))


def _common_offset(first, second, close):
    """The offset that most stars agree on, (dx, dy): where differences of positions crowd most. Zero where they do not."""
    tree = cKDTree(second)
    near = tree.query_ball_point(first, FARTHEST)
    differences = np.concatenate([second[k]-first[n] for n, k in enumerate(near) if k] or [np.zeros((0, 2))])
    if not len(differences):
        return 0., 0.
    count = np.array([len(k) for k in cKDTree(differences).query_ball_point(differences, close)])
    # of what chance brings together the middle is the most crowded too
    expected = len(differences)*(close/FARTHEST)**2
    if count.max() < max(3, expected+5*np.sqrt(expected)):
        return 0., 0.
    best = differences[np.argmax(count)]
    return tuple(np.median(differences[np.hypot(*(differences-best).T) < close], axis=0))


def _by_pattern(first, second, radius):
    """Pairs by the pattern of bright stars, in pixels of the second catalog, or arcseconds where it has none."""
    points, here = [], []
    for catalog in (first, second):
        place = catalog.pixels if catalog.pixels is not None else _on_plane(catalog.sky, _middle(
            catalog.sky[:, np.isfinite(catalog.sky).all(axis=0)]))
        here.append(np.flatnonzero(np.isfinite(place).all(axis=0)))
        points.append(place[:, here[-1]])
    stars = [_bright(c, p, k, _fwhm(c)) for c, p, k in zip((first, second), points, here)]
    unit = "pix" if second.pixels is not None else "arcsec"
    registration = register(*stars, name=second.name)
    radius = radius or (_fwhm(second)/2 if unit == "pix" and "fwhm" in second.table.colnames else USUAL[unit == "pix"])
    moved = np.array(registration.frame(*points[0]))
    one, two = mutual(moved.T, cKDTree(points[1].T), radius)
    return Pairs(first=here[0][one], second=here[1][two], separation=np.hypot(*(moved[:, one]-points[1][:, two])), unit=unit,
                 radius=radius, by="pattern", offset=(np.nan, np.nan), rms=registration.rms)


def _fwhm(catalog):
    """The median of a catalog's widths of the PSF, pixels; 3 where it has none."""
    if "fwhm" not in catalog.table.colnames:
        return 3.
    values = np.asarray(getattr(catalog.table["fwhm"], "value", catalog.table["fwhm"]), dtype=float)
    return float(np.nanmedian(values))
