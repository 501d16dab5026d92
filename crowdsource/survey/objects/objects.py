"""The objects of one HEALPix pixel: its detections and those around it, associated and averaged."""
from dataclasses import dataclass, field

import numpy as np

from ..healpix import INDEX, index_of
from ..sorting import Tables, order_by, sorted_rows
from .average import (
    NO_FLUX,
    NO_ZEROPOINT,
    NOT_PRIMARY,
    USES,
    ZEROPOINT,
    AverageConfig,
    Measures,
    band_means,
    good,
    members_of,
    positions,
    ranges,
    several,
    uses,
)
from .columns import MEMBER, object_columns, row_type
from .match import AssociationConfig, Places, associate, variances
from .names import carried, named

WANTED = {"ra": "f8", "dec": "f8", "flux": "f8", "dflux": "f8", "dflux_joint": "f8", "dx": "f8", "dy": "f8",
          "ra_error": "f8", "dec_error": "f8", "qf": "f4", "rchi2": "f4", "fracflux": "f4", "fwhm": "f8", "flags": "i8",
          "primary": "?"}
"""Columns of detections that objects are made from, and what they are read as; NaN, 0 and true stand for missing ones. Errors of
positions are those in arcsec, or dx and dy in pixels."""
MISSING = {"flags": 0, "primary": True}
TYPICAL_FWHM = 1.2
"""Where a catalog does not tell the width of its PSF, arcsec."""


@dataclass(frozen=True)
class SkyConfig:
    """How objects are made from detections.

    Attributes
    ----------
    association : crowdsource.survey.objects.match.AssociationConfig
    average : crowdsource.survey.objects.average.AverageConfig
    """
    association: AssociationConfig = field(default_factory=AssociationConfig)
    average: AverageConfig = field(default_factory=AverageConfig)

    def checked(self):
        """Itself; raises `ConfigError` for values that make no sense."""
        self.association.check()
        self.average.check()
        return self


@dataclass(frozen=True)
class Catalogs:
    """What is known of the images, by the numbers of their sources.

    Attributes
    ----------
    band, visit : ndarray, shape (n,), int32
        Number of the band, -1 for one that is not averaged, and of the exposure in the band.
    zeropoint, mjd, pixel_scale : ndarray, shape (n,), float64
        NaN where not known.
    bands : tuple of (str, str)
        Names and systems of the bands.
    """
    band: np.ndarray
    visit: np.ndarray
    zeropoint: np.ndarray
    mjd: np.ndarray
    pixel_scale: np.ndarray
    bands: tuple


def catalogs_of(sources, bands, zeropoints):
    """`Catalogs` of a store's sources.

    Parameters
    ----------
    sources : crowdsource.survey.store.store.Sources
    bands : tuple of (str, str)
    zeropoints : ndarray
    """
    number = {b: k for k, (b, _) in enumerate(bands)}
    band = np.array([number.get(b, -1) for b in sources.band], dtype=np.int32)
    visits = {}
    visit = np.array([visits.setdefault(key, len(visits)) for key in zip(sources.exposure, sources.band)], dtype=np.int32)
    return Catalogs(band, visit, np.asarray(zeropoints, float), np.asarray(sources.mjd, float),
                    np.asarray(sources.pixel_scale, float), tuple(bands))


def gathered(tables):
    """Detections of several tables as columns, in the order of their identifiers.

    Parameters
    ----------
    tables : list of ndarray
        Structured, with `INDEX`, source, detection_id, ra and dec at least.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        `WANTED` and the first three.
    """
    wanted = {INDEX: "i8", "detection_id": "i8", "source": "i4", **WANTED}
    order = order_by(np.concatenate([t["detection_id"] for t in tables]) if tables else np.zeros(0, np.int64))
    out = {name: np.empty(len(order), dtype) for name, dtype in wanted.items()}
    for at, rows in Tables(tables).strips(order):
        for name, column in out.items():
            column[at] = rows[name] if name in rows.dtype.names else MISSING.get(name, np.nan)
    return out


def placed(rows, catalogs):
    """`Places` of detections: sharper images count for more where objects are seeded, what is not primary not at all."""
    scale = catalogs.pixel_scale[rows["source"]]
    in_arcsec = np.sqrt(0.5*(rows["ra_error"]**2+rows["dec_error"]**2))
    sigma = np.where(np.isfinite(in_arcsec), in_arcsec, np.sqrt(0.5*(rows["dx"]**2+rows["dy"]**2))*scale)
    width = rows["fwhm"]*scale
    width = np.where(np.isfinite(width) & (width > 0), width, TYPICAL_FWHM)
    return Places(rows["ra"], rows["dec"], sigma, np.where(rows["primary"], (TYPICAL_FWHM/width)**2, 0.), rows["source"])


def measured(rows, catalogs, config):
    """`Measures` of detections, calibrated to nanomaggies."""
    source = rows["source"]
    factor = 10**(0.4*(ZEROPOINT-catalogs.zeropoint))[source]
    # confusion is the same in all images of a star: of the error it is what photon noise leaves
    common = np.sqrt(np.maximum(np.nan_to_num(rows["dflux"]**2-rows["dflux_joint"]**2), 0))
    flux = np.stack([rows["flux"]*factor, rows["dflux"]*factor, common*factor], axis=1)
    calibrated = np.isfinite(factor)
    known = np.isfinite(rows["flux"]) & np.isfinite(rows["dflux"]) & (rows["dflux"] > 0)
    reason = np.select([~rows["primary"], ~calibrated | (catalogs.band[source] < 0), ~known],
                       [NOT_PRIMARY, NO_ZEROPOINT, NO_FLUX], 0).astype(np.uint8)
    return Measures(np.where(known[:, None], flux, np.nan), catalogs.band[source], catalogs.visit[source], rows["flags"],
                    catalogs.mjd[source], good(rows, config), reason)


def sky_of(tables, catalogs, config, earlier=None):
    """Objects and members of detections that lie together.

    Parameters
    ----------
    tables : list of ndarray
        As `gathered`.
    catalogs : Catalogs
    config : SkyConfig
    earlier : crowdsource.survey.objects.names.Earlier, optional
        What of an earlier release lies there.

    Returns
    -------
    objects : ndarray
        Structured, as `object_columns`, sorted by `INDEX` and identifier.
    members : ndarray
        Structured, `INDEX` and `MEMBER`, sorted likewise.
    changes : ndarray
        Structured, as `crowdsource.survey.objects.names.CHANGE`.
    """
    association, average = config.association, config.average
    rows = gathered(tables)
    places, measures = placed(rows, catalogs), measured(rows, catalogs, average)
    found = associate(places, association)
    owner = np.where(measures.reason == NOT_PRIMARY, -1, found.owner)
    members = members_of(owner, len(found.ra))
    use = uses(found, places, measures, members, association.policy)
    errors = variances(places.sigma, association), association.error_floor
    objects = _objects(found, errors, measures, members, use, (places.source, catalogs.bands), average)
    names, changes = carried(named(found.ra, found.dec), found.owner, rows, earlier)
    objects["object_id"] = names
    members = _members(rows, np.r_[names, -1][found.owner], found, measures, use)
    # the rows are in the order of the detections' identifiers already
    return sorted_rows(objects, objects[INDEX], names), sorted_rows(members, rows[INDEX]), changes


def _objects(found, errors, measures, members, use, source_and_bands, config):
    """The rows of objects, in the order of the association."""
    n, (source, bands) = len(found.ra), source_and_bands
    out = np.zeros(n, row_type(object_columns(bands, config.proper_motion)))
    _fill(out, positions(found, errors, measures, members, use, config))
    out[INDEX] = index_of(out["ra"], out["dec"])
    every = np.ones(len(use), bool)
    _fill(out, ranges(members, measures, every, n))
    means = band_means(members, measures, source, use, len(bands), config)
    for k, (band, _) in enumerate(bands):
        _fill(out, {f"{name}_{band.lower()}": values[:, k] for name, values in means.items()})
        of_band = ranges(members, measures, measures.band == k, n)
        _fill(out, {f"{name}_{band.lower()}": values for name, values in of_band.items()})
    out["n_det"] = np.diff(members[0])
    out["n_used"], out["n_ok"] = means["n_used"].sum(axis=1), means["n_ok"].sum(axis=1)
    out["n_several"] = np.bincount(found.owner[several(use) & (found.owner >= 0)], minlength=n)
    return out


def _fill(out, columns):
    for name, values in columns.items():
        out[name] = values


def _members(rows, names, found, measures, use):
    """The rows of members, in the order of their identifiers."""
    out = np.zeros(len(use), [(INDEX, "i8"), *row_type(MEMBER)])
    _fill(out, {INDEX: rows[INDEX], "detection_id": rows["detection_id"], "object_id": names, "use": use, "ok": measures.ok,
                "separation": found.separation, "flux": measures.flux[:, 0], "flux_error": measures.flux[:, 1]})
    return out


def used(members):
    """How many members count how, by the words of `USES`."""
    return {word: int(np.sum(members["use"] == code)) for code, word in USES.items()}
