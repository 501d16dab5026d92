"""The objects of one HEALPix pixel: its detections and those around it, associated and averaged."""
from dataclasses import dataclass, field

import numpy as np

from ..healpix import SPATIAL_INDEX, index_of
from ..sorting import StackedTables, order_by, sorted_rows
from .association import AssociationConfig, DetectionPositions, associate, position_variances
from .average import (
    NO_FLUX,
    NO_ZEROPOINT,
    NOT_PRIMARY,
    USES,
    ZEROPOINT,
    AverageConfig,
    Measurements,
    PositionErrors,
    average_positions,
    band_means,
    detection_uses,
    flag_and_epoch_ranges,
    members_of,
    shares_image,
    within_limits,
)
from .columns import MEMBER_COLUMNS, dtype_of, object_columns
from .identifiers import carry_over_identifiers, new_identifiers

DETECTION_COLUMNS = {
    "ra": "f8", "dec": "f8", "flux": "f8", "dflux": "f8", "dflux_joint": "f8", "dx": "f8", "dy": "f8", "ra_error": "f8",
    "dec_error": "f8", "qf": "f4", "rchi2": "f4", "fracflux": "f4", "fwhm": "f8", "flags": "i8", "primary": "?",
    "joint_fit": "i8", "joint_id": "i8"}
"""Columns of detections from which objects are made, and the types as which they are read. Errors of positions are ``ra_error``
and ``dec_error`` in arcsec, or ``dx`` and ``dy`` in pixels."""
MISSING_VALUES = {"flags": 0, "primary": True, "joint_fit": -1, "joint_id": -1}
"""Values of columns that a catalog lacks; NaN for all others."""
TYPICAL_FWHM = 1.2
"""Width of the PSF where a catalog does not state it, arcsec."""


@dataclass(frozen=True)
class ObjectsConfig:
    """How objects are made from detections.

    Attributes
    ----------
    association : crowdsource.survey.objects.association.AssociationConfig
    average : crowdsource.survey.objects.average.AverageConfig
    """

    association: AssociationConfig = field(default_factory=AssociationConfig)
    average: AverageConfig = field(default_factory=AverageConfig)

    def checked(self):
        """Itself; raises `ConfigError` for values that make no sense."""
        self.association.check()
        self.average.check()
        return self


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageCalibrations:
    """Band, epoch and calibration of the images, by image number.

    Attributes
    ----------
    band : ndarray, shape (n,), int32
        Number of the band in `bands`; -1 for a band that is not averaged.
    visit : ndarray, shape (n,), int32
        Number of the exposure in its band.
    zeropoint, mjd, pixel_scale : ndarray, shape (n,), float64
        Magnitude of one unit of flux; days; arcsec. NaN where not known.
    bands : tuple of (str, str)
        Names and magnitude systems of the bands.
    """

    band: np.ndarray
    visit: np.ndarray
    zeropoint: np.ndarray
    mjd: np.ndarray
    pixel_scale: np.ndarray
    bands: tuple


@dataclass(frozen=True, eq=False)
class PixelObjects:
    """The objects of detections that lie together.

    Attributes
    ----------
    objects : ndarray
        Structured, as `crowdsource.survey.objects.columns.object_columns`, sorted by `SPATIAL_INDEX` and identifier.
    members : ndarray
        Structured, `SPATIAL_INDEX` and `crowdsource.survey.objects.columns.MEMBER_COLUMNS`, sorted likewise.
    changes : ndarray
        Structured, as `crowdsource.survey.objects.identifiers.CHANGE`.
    """

    objects: np.ndarray
    members: np.ndarray
    changes: np.ndarray


def image_calibrations(images, bands, zeropoints):
    """`ImageCalibrations` of a store's images.

    Parameters
    ----------
    images : crowdsource.survey.store.store.StoredImages
    bands : tuple of (str, str)
        Names and magnitude systems.
    zeropoints : ndarray
        By image number.
    """
    number = {b: k for k, (b, _) in enumerate(bands)}
    band = np.array([number.get(b, -1) for b in images.band], dtype=np.int32)
    visits = {}
    visit = np.array([visits.setdefault(key, len(visits)) for key in zip(images.exposure, images.band)], dtype=np.int32)
    return ImageCalibrations(band=band, visit=visit, zeropoint=np.asarray(zeropoints, float), mjd=np.asarray(images.mjd, float),
                             pixel_scale=np.asarray(images.pixel_scale, float), bands=tuple(bands))


def detection_columns(tables):
    """Detections of several tables as columns, sorted by identifier.

    Parameters
    ----------
    tables : list of ndarray
        Structured, with `SPATIAL_INDEX`, source, detection_id, ra and dec at least.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        `SPATIAL_INDEX`, detection_id, source and `DETECTION_COLUMNS`.
    """
    wanted = {SPATIAL_INDEX: "i8", "detection_id": "i8", "source": "i4", **DETECTION_COLUMNS}
    order = order_by(np.concatenate([t["detection_id"] for t in tables]) if tables else np.zeros(0, np.int64))
    out = {name: np.empty(len(order), dtype) for name, dtype in wanted.items()}
    for at, rows in StackedTables(tables).strips(order):
        for name, column in out.items():
            column[at] = rows[name] if name in rows.dtype.names else MISSING_VALUES.get(name, np.nan)
    return out


def detection_positions(rows, images):
    """`DetectionPositions` of detections. Sharp images have more weight for the seeds of objects; those not primary have none."""
    scale = images.pixel_scale[rows["source"]]
    in_arcsec = np.sqrt(0.5*(rows["ra_error"]**2+rows["dec_error"]**2))
    sigma = np.where(np.isfinite(in_arcsec), in_arcsec, np.sqrt(0.5*(rows["dx"]**2+rows["dy"]**2))*scale)
    width = rows["fwhm"]*scale
    width = np.where(np.isfinite(width) & (width > 0), width, TYPICAL_FWHM)
    return DetectionPositions(ra=rows["ra"], dec=rows["dec"], sigma=sigma, source=rows["source"],
                              weight=np.where(rows["primary"], (TYPICAL_FWHM/width)**2, 0.),
                              joint=np.stack([rows["joint_fit"], rows["joint_id"]], axis=1))


def measurements_of(rows, images, config):
    """`Measurements` of detections, calibrated to nanomaggies."""
    source = rows["source"]
    factor = 10**(0.4*(ZEROPOINT-images.zeropoint))[source]
    # confusion is the same in all images of a star: it is the part of the error that is not photon noise
    common = np.sqrt(np.maximum(np.nan_to_num(rows["dflux"]**2-rows["dflux_joint"]**2), 0))
    flux = np.stack([rows["flux"]*factor, rows["dflux"]*factor, common*factor], axis=1)
    calibrated = np.isfinite(factor)
    known = np.isfinite(rows["flux"]) & np.isfinite(rows["dflux"]) & (rows["dflux"] > 0)
    reason = np.select([~rows["primary"], ~calibrated | (images.band[source] < 0), ~known],
                       [NOT_PRIMARY, NO_ZEROPOINT, NO_FLUX], 0).astype(np.uint8)
    return Measurements(flux=np.where(known[:, None], flux, np.nan), band=images.band[source], visit=images.visit[source],
                        flags=rows["flags"], mjd=images.mjd[source], ok=within_limits(rows, config), reason=reason)


def make_objects(tables, images, config, previous=None):
    """Objects and their members, from detections that lie together.

    Parameters
    ----------
    tables : list of ndarray
        As in `detection_columns`.
    images : ImageCalibrations
    config : ObjectsConfig
    previous : crowdsource.survey.objects.identifiers.PreviousObjects, optional
        Objects of an earlier release that lie there.

    Returns
    -------
    PixelObjects
    """
    association, average = config.association, config.average
    rows = detection_columns(tables)
    positions, measurements = detection_positions(rows, images), measurements_of(rows, images, average)
    found = associate(positions, association)
    owner = np.where(measurements.reason == NOT_PRIMARY, -1, found.owner)
    members = members_of(owner, len(found.ra))
    use = detection_uses(found, positions, measurements, members, association.policy)
    errors = PositionErrors(position_variances(positions.sigma, association), association.error_floor)
    objects = np.zeros(len(found.ra), dtype_of(object_columns(images.bands, average.proper_motion)))
    _fill(objects, average_positions(found, errors, measurements, members, use, average))
    objects[SPATIAL_INDEX] = index_of(objects["ra"], objects["dec"])
    means = band_means(members, measurements, positions.source, use, len(images.bands), average)
    _fill_bands(objects, means, measurements, members, images.bands)
    _fill_counts(objects, means, found, members, use)
    _fill(objects, joint_stars(members, positions.joint))
    ids, changes = carry_over_identifiers(new_identifiers(found.ra, found.dec), found.owner, rows, previous)
    objects["object_id"] = ids
    members = _members(rows, np.r_[ids, -1][found.owner], found, measurements, use)
    # the rows are sorted by detection identifier already
    return PixelObjects(sorted_rows(objects, objects[SPATIAL_INDEX], ids), sorted_rows(members, rows[SPATIAL_INDEX]), changes)


def joint_stars(members, joint):
    """The joint fit that has most detections of each object, the one of the lowest number of several, and the star there.

    Parameters
    ----------
    members : tuple of ndarray
        Numbers of each object's detections: ``member[start[k]:start[k+1]]``.
    joint : ndarray, shape (n, 2)
        Joint fit and star of each detection, -1 for none.

    Returns
    -------
    dict of str to ndarray
        ``joint_fit`` and ``joint_id``, -1 for none.
    """
    start, member = members
    owner, (fit, star) = np.repeat(np.arange(len(start)-1), np.diff(start)), joint[member].T
    known = np.flatnonzero(fit >= 0)
    known = known[order_by(owner[known], fit[known], star[known])]
    rows = np.stack([owner, fit, star], axis=1)[known]
    begins = np.flatnonzero(np.r_[True, (np.diff(rows, axis=0) != 0).any(axis=1)][:len(rows)])
    count = np.diff(np.r_[begins, len(rows)])
    rows = rows[begins]
    # the largest of each object comes last, and stays
    last = np.lexsort((-rows[:, 1], count, rows[:, 0]))
    out = np.full((len(start)-1, 2), -1, np.int64)
    out[rows[last, 0]] = rows[last, 1:]
    return dict(joint_fit=out[:, 0], joint_id=out[:, 1])


def _fill_bands(objects, means, measurements, members, bands):
    """Fill the columns of each band, and the flags and epochs of all."""
    n = len(objects)
    _fill(objects, flag_and_epoch_ranges(members, measurements, np.ones(len(measurements.band), bool), n))
    for k, (band, _) in enumerate(bands):
        of_band = flag_and_epoch_ranges(members, measurements, measurements.band == k, n)
        columns = {**{name: values[:, k] for name, values in means.items()}, **of_band}
        _fill(objects, {f"{name}_{band.lower()}": values for name, values in columns.items()})


def _fill_counts(objects, means, found, members, use):
    """Fill the numbers of detections and measurements in all bands."""
    objects["n_det"] = np.diff(members[0])
    objects["n_used"], objects["n_ok"] = means["n_used"].sum(axis=1), means["n_ok"].sum(axis=1)
    objects["n_several"] = np.bincount(found.owner[shares_image(use) & (found.owner >= 0)], minlength=len(objects))


def _fill(out, columns):
    for name, values in columns.items():
        out[name] = values


def _members(rows, object_ids, found, measurements, use):
    """The rows of members, sorted by detection identifier."""
    out = np.zeros(len(use), [(SPATIAL_INDEX, "i8"), *dtype_of(MEMBER_COLUMNS)])
    _fill(out, {SPATIAL_INDEX: rows[SPATIAL_INDEX], "detection_id": rows["detection_id"], "object_id": object_ids, "use": use,
                "ok": measurements.ok, "separation": found.separation, "flux": measurements.flux[:, 0],
                "flux_error": measurements.flux[:, 1]})
    return out


def count_uses(members):
    """How many members count in each way, by the words of `USES`."""
    return {word: int(np.sum(members["use"] == code)) for code, word in USES.items()}
