"""Means of an object's detections: which of them count, fluxes in each band, positions and proper motions."""
from dataclasses import dataclass

import numpy as np

from ...core.errors import ConfigError
from ...core.flags import ENGINE
from ...cython_ext import average as kernel
from ...cython_ext import positions as position_kernel
from ...cython_ext import sphere
from ...engine.schema import magnitudes

POLICIES = {"flag": kernel.Policy.FLAG, "sum": kernel.Policy.SUM, "nearest": kernel.Policy.CLOSEST}
USES = {
    0: "averaged", 1: "summed", 2: "several", 3: "farther", 4: "overlap", 5: "not primary", 6: "no zero point", 7: "no flux",
}
"""How a detection counts: averaged; averaged as part of a sum; or not averaged, because its image has several detections of the
object; because another one of its image is nearer; because that of another detector of the exposure was taken; because it is not
primary; because there is no zero point; because there is no flux or no error."""
NOT_PRIMARY, NO_ZEROPOINT, NO_FLUX = 5, 6, 7
ENGINE_SHIFT = 32
MJD_YEAR = 365.25
ZEROPOINT = 22.5
"""Magnitude of one nanomaggy."""


@dataclass(frozen=True)
class AverageConfig:
    """How the detections of an object are averaged.

    Attributes
    ----------
    clip : float
        Fluxes farther from the median than this many of their errors are left out of the clipped mean.
    position_clip : float
        Positions farther from the median than this many of their errors are left out.
    min_qf, max_rchi2, min_fracflux : float
        A detection is good when its qf, rchi2 and fracflux are within these limits; columns that a catalog lacks do not matter.
    bad_flags : int
        A detection with any of these flags is not good.
    proper_motion : bool
        Fit proper motions.
    motion_detections, motion_years : int, float
        Lowest number of detections and shortest time base (years) for a proper motion.
    """

    clip: float = 3.
    position_clip: float = 4.
    min_qf: float = 0.7
    max_rchi2: float = 5.
    min_fracflux: float = 0.3
    bad_flags: int = (ENGINE.saturated | ENGINE.nonfinite | ENGINE.interpolated) << ENGINE_SHIFT
    proper_motion: bool = False
    motion_detections: int = 5
    motion_years: float = 1.

    def check(self):
        """Raise `ConfigError` for values that make no sense."""
        if not (self.clip > 0 and self.position_clip > 0):
            raise ConfigError("clip and position_clip must be positive")
        if not (self.motion_detections >= 3 and self.motion_years > 0):
            raise ConfigError("motion_detections must be at least 3, motion_years positive")


@dataclass(frozen=True, eq=False, kw_only=True)
class Measurements:
    """Measurements of detections, in the order of their `crowdsource.survey.objects.association.DetectionPositions`.

    Attributes
    ----------
    flux : ndarray, shape (n, 3), float64
        Calibrated flux, its error, and the part of the error that is common to all images.
    band, visit : ndarray, shape (n,), int32
        Number of the band, and of the exposure in the band.
    flags : ndarray, shape (n,), int64
    mjd : ndarray, shape (n,), float64
    ok : ndarray, shape (n,), bool
        Good by all standards.
    reason : ndarray, shape (n,), uint8
        Why a detection cannot be averaged, a key of `USES`; 0 when it can.
    """

    flux: np.ndarray
    band: np.ndarray
    visit: np.ndarray
    flags: np.ndarray
    mjd: np.ndarray
    ok: np.ndarray
    reason: np.ndarray


@dataclass(frozen=True, eq=False)
class PositionErrors:
    """Errors of the positions of detections.

    Attributes
    ----------
    variance : ndarray, shape (n,)
        From `crowdsource.survey.objects.association.position_variances`, arcsec^2.
    floor : float
        Error of the astrometry that the variances include, arcsec. Of the rest of a variance the same share is common to all
        images as of the variance of the flux: confusion shifts a star as it changes its flux.
    """

    variance: np.ndarray
    floor: float


def within_limits(rows, config):
    """Which detections are within the limits of a configuration; those of averages are stricter than those of `good`.

    Parameters
    ----------
    rows : mapping of str to ndarray
        Columns qf, rchi2, fracflux and flags, NaN where not known.
    config : AverageConfig
    """
    bad = (rows["qf"] < config.min_qf) | (rows["rchi2"] > config.max_rchi2) | (rows["fracflux"] < config.min_fracflux)
    return ~bad & (rows["flags"] & config.bad_flags == 0)


def members_of(owner, objects):
    """Numbers of the detections of each object; see `kernel.members_of`."""
    return kernel.members_of(np.ascontiguousarray(owner, dtype=np.intp), objects)


def shares_image(use):
    """Which detections share their image with another detection of their object."""
    return (use >= kernel.Use.SUMMED) & (use <= kernel.Use.FARTHER)


def detection_uses(association, positions, measurements, members, policy):
    """How each detection counts; keys of `USES`.

    Parameters
    ----------
    association : crowdsource.survey.objects.association.Association
    positions : crowdsource.survey.objects.association.DetectionPositions
    measurements : Measurements
    members : tuple of ndarray
        From `members_of`, of the primary detections.
    policy : str

    Returns
    -------
    ndarray, shape (n,), uint8
    """
    usable = (measurements.reason == 0).astype(np.uint8)
    sigma = np.where(np.isfinite(positions.sigma), positions.sigma, np.inf)
    use = kernel.roles(*members, measurements.visit, positions.source, usable, sigma, association.separation, POLICIES[policy])
    counts = use <= kernel.Use.SUMMED
    reason = measurements.reason
    return np.where((reason == NOT_PRIMARY) | (counts & (reason > 0)), reason, use).astype(np.uint8)


def band_means(members, measurements, source, use, bands, config):
    """Means in each band; see `kernel.mean_fluxes`.

    Returns
    -------
    dict of str to ndarray, shape (objects, bands)
        `kernel.FLUX_COLUMNS`, `kernel.COUNT_COLUMNS`, mag and mag_error.
    """
    values, counts = kernel.mean_fluxes(*members, measurements.band, source, measurements.flux, use,
                                        measurements.ok.astype(np.uint8), bands, config.clip)
    out = {n: values[:, :, k] for k, n in enumerate(kernel.FLUX_COLUMNS)}
    out.update({n: counts[:, :, k] for k, n in enumerate(kernel.COUNT_COLUMNS)})
    out["mag"], out["mag_error"] = magnitudes(np.nan_to_num(out["flux"]), out["flux_error"], ZEROPOINT)
    return out


def flag_and_epoch_ranges(members, measurements, chosen, objects):
    """Flags that all and that any of the chosen members of each object have, and first and last epoch.

    Parameters
    ----------
    members : tuple of ndarray
    measurements : Measurements
    chosen : ndarray, shape (n,), bool
    objects : int

    Returns
    -------
    dict of str to ndarray, shape (objects,)
        0 and NaN where an object has no chosen member.
    """
    start, member = members
    which = np.repeat(np.arange(objects), np.diff(start))
    some = chosen[member]
    at, who = which[some], member[some]
    first = np.flatnonzero(np.r_[True, at[1:] != at[:-1]]) if len(at) else np.zeros(0, int)
    out = dict(flags_and=np.zeros(objects, np.int64), flags_or=np.zeros(objects, np.int64),
               first_mjd=np.full(objects, np.nan), last_mjd=np.full(objects, np.nan))
    if len(first):
        flags, mjd = measurements.flags, measurements.mjd
        for name, reduce, values in (("flags_and", np.bitwise_and, flags), ("flags_or", np.bitwise_or, flags),
                                     ("first_mjd", np.fmin, mjd), ("last_mjd", np.fmax, mjd)):
            out[name][at[first]] = reduce.reduceat(values[who], first)
    return out


def average_positions(association, errors, measurements, members, use, config):
    """Mean positions and, if configured, proper motions.

    Parameters
    ----------
    association : crowdsource.survey.objects.association.Association
    errors : PositionErrors
    measurements, members, use
        As in `detection_uses`, and its result.
    config : AverageConfig

    Returns
    -------
    dict of str to ndarray, shape (objects,)
        Columns of the objects.
    """
    variance = errors.variance
    # a position is as good without a zero point; that of one of several detections in an image is not
    counted = ((use <= kernel.Use.SUMMED) | (use == NO_ZEROPOINT) | (use == NO_FLUX)).astype(np.uint8)
    offset = np.nan_to_num(association.offset)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.nan_to_num((measurements.flux[:, 2]/measurements.flux[:, 1])**2, posinf=0)
    common = np.sqrt(share*(variance-errors.floor**2))
    mean = position_kernel.mean_positions(*members, offset, variance, common, counted, config.position_clip)
    ra, dec = sphere.moved(association.ra, association.dec, np.ascontiguousarray(mean[:, :2]))
    out = dict(ra=ra, dec=dec, ra_error=mean[:, 2], dec_error=mean[:, 2], ra_scatter=mean[:, 3], dec_scatter=mean[:, 4],
               position_chi2=mean[:, 5], n_position=mean[:, 6])
    if config.proper_motion:
        motion = position_kernel.motions(*members, offset, variance, counted, measurements.mjd/MJD_YEAR, config.motion_detections,
                                config.motion_years)
        out.update(pmra=motion[:, 2]*1e3, pmdec=motion[:, 3]*1e3, pm_error=motion[:, 5]*1e3, pm_chi2=motion[:, 6],
                   pm_mjd=motion[:, 7]*MJD_YEAR)
    return out
