"""Detections of a simulated survey straight from its files, matchers that make objects of them, and the objects' means.

A matcher takes a `Survey` and gives the number of each detection's object, -1 for none.
"""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.spatial import cKDTree

from crowdsource.io.fits import celestial_wcs
from crowdsource.simulate.survey.files import read_links, read_truth

RADIUS = 0.375
"""Arcsec within which the plain matcher takes a detection for an object's."""
FLOOR = 0.02
"""Error of the astrometry, arcsec, in quadrature on the weights of positions."""
GOOD = 0.85
"""Detections on fewer good pixels are not averaged."""
TYPICAL_FWHM = 1.2
"""Images of this seeing, arcsec, count with weight 1."""


@dataclass(frozen=True)
class Survey:
    """A survey's detections, in the order of their identifiers, and its truth.

    Attributes
    ----------
    stars : ndarray, shape (s,)
        As `crowdsource.simulate.survey.files.read_truth` gives them.
    exposures : astropy.table.Table
    bands : list of str
    detection_id : ndarray, shape (n,), int64
    ra, dec : ndarray, shape (n,), float64
        Degrees.
    sigma, fwhm : ndarray, shape (n,), float64
        Error of the position along each axis, width of the PSF, arcsec.
    flux, dflux : ndarray, shape (n,), float64
        Nanomaggies.
    good : ndarray of bool, shape (n,)
    band, exposure, source : ndarray, shape (n,), int32
        Numbers of the band, of the exposure's row, and of the image.
    star : ndarray, shape (n,), int32
        The star that gave most of the flux, -1 for none.
    fraction : ndarray, shape (n,), float32
        Of the flux that it gave.
    """

    stars: np.ndarray
    exposures: Table
    bands: list
    detection_id: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    sigma: np.ndarray
    fwhm: np.ndarray
    flux: np.ndarray
    dflux: np.ndarray
    good: np.ndarray
    band: np.ndarray
    exposure: np.ndarray
    source: np.ndarray
    star: np.ndarray
    fraction: np.ndarray

    @property
    def mjd(self):
        """Date of each detection, shape (n,)."""
        return np.asarray(self.exposures["mjd"], dtype=np.float64)[self.exposure]

    @property
    def places(self):
        """Unit vectors of the detections, shape (n, 3)."""
        return vectors(self.ra, self.dec)


@dataclass(frozen=True)
class Objects:
    """Means of objects.

    Attributes
    ----------
    ra, dec : ndarray, shape (m,), float64
        Degrees.
    position_error : ndarray, shape (m,), float64
        Along each axis, arcsec.
    mjd : ndarray, shape (m,), float64
        Mean date of what the position is made of.
    flux, dflux : ndarray, shape (m, bands), float64
        Nanomaggies; NaN where there is none.
    """

    ra: np.ndarray
    dec: np.ndarray
    position_error: np.ndarray
    mjd: np.ndarray
    flux: np.ndarray
    dflux: np.ndarray


def vectors(ra, dec):
    """Unit vectors of positions in degrees, shape (n, 3)."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.column_stack([np.cos(dec)*np.cos(ra), np.cos(dec)*np.sin(ra), np.sin(dec)])


def read_survey(folder, true_zeropoints=True):
    """Read what ``crowdsource simulate-survey`` wrote.

    Parameters
    ----------
    folder : path-like
    true_zeropoints : bool
        Calibrate with the true zero points, not with the headers'.

    Returns
    -------
    Survey
    """
    stars, exposures = read_truth(folder)
    bands = [str(n)[4:] for n in stars.dtype.names if n.startswith("mag_")]
    images = []
    for k, row in enumerate(exposures):
        path = Path(folder)/row["file"]
        links = read_links(path)
        main = np.flatnonzero(np.diff(links["detection_id"], prepend=-1))
        with fits.open(path, memmap=False) as hdus:
            for name in [h.name[:-4] for h in hdus if h.name.endswith("_CAT")]:
                header, rows = hdus[name+"_HDR"].header, hdus[name+"_CAT"].data
                zeropoint = row["zeropoint"] if true_zeropoints else header["ZPCRWD"]
                at = main[np.searchsorted(links["detection_id"][main], rows["detection_id"])]
                images.append(_image(rows, header, zeropoint, links[at]) |
                              dict(band=np.full(len(rows), bands.index(row["band"]), np.int32),
                                   exposure=np.full(len(rows), k, np.int32), source=np.full(len(rows), len(images), np.int32)))
    columns = {n: np.concatenate([i[n] for i in images]) for n in images[0]}
    order = np.argsort(columns["detection_id"], kind="stable")
    return Survey(stars, exposures, bands, **{n: values[order] for n, values in columns.items()})


def _image(rows, header, zeropoint, main):
    """Columns of a `Survey` from an image's catalog."""
    scale = 3600*float(np.mean(proj_plane_pixel_scales(celestial_wcs(header))))
    nanomaggies = 10**(0.4*(22.5-zeropoint))
    native = {n: np.asarray(rows[n], dtype=kind) for n, kind in dict(
        detection_id="i8", ra="f8", dec="f8", dx="f8", fwhm="f8", flux="f8", dflux="f8", qf="f4", flags="i8").items()}
    return dict(detection_id=native["detection_id"], ra=native["ra"], dec=native["dec"], sigma=scale*native["dx"],
                fwhm=scale*native["fwhm"], flux=nanomaggies*native["flux"], dflux=nanomaggies*native["dflux"],
                good=(native["qf"] > GOOD) & (native["flags"] == 0), star=main["star"], fraction=main["fraction"])


def sequential(survey, exposures=None, radius=RADIUS):
    """The plain matcher: one exposure after the other, each detection to the nearest object so far, or a new object.

    An object's place is the mean of its detections so far, each counting alike.

    Parameters
    ----------
    survey : Survey
    exposures : sequence of int, optional
        Order; that of the dates when not given.
    radius : float
        Arcsec.

    Returns
    -------
    ndarray, shape (n,), int
        Number of the object.
    """
    order = np.argsort(survey.exposures["mjd"]) if exposures is None else exposures
    places, owner = survey.places, np.full(len(survey.ra), -1)
    rows_of = np.split(np.argsort(survey.exposure, kind="stable"), np.cumsum(np.bincount(survey.exposure))[:-1])
    sums, longest = np.empty((0, 3)), 2*np.sin(np.radians(radius/3600)/2)
    for k in order:
        rows, near = rows_of[k], np.full(len(rows_of[k]), len(sums))
        if len(sums):
            _, near = cKDTree(sums/np.linalg.norm(sums, axis=1)[:, None]).query(places[rows], distance_upper_bound=longest)
        new = near == len(sums)
        owner[rows] = np.where(new, len(sums)+np.cumsum(new)-1, near)
        sums = np.concatenate([sums, np.zeros((new.sum(), 3))])
        for axis in range(3):
            sums[:, axis] += np.bincount(owner[rows], places[rows, axis], len(sums))
    return owner


def backwards(survey):
    """The plain matcher from the last exposure to the first."""
    return sequential(survey, np.argsort(survey.exposures["mjd"])[::-1])


def associated(survey, config=None):
    """The matcher of `crowdsource.survey.objects.association`.

    Parameters
    ----------
    survey : Survey
    config : crowdsource.survey.objects.association.AssociationConfig, optional

    Returns
    -------
    ndarray, shape (n,), int
    """
    from crowdsource.survey.objects.association import AssociationConfig, DetectionPositions, associate
    weight = (TYPICAL_FWHM/survey.fwhm)**2
    none = np.full((len(survey.ra), 2), -1)
    places = DetectionPositions(survey.ra, survey.dec, survey.sigma, weight, survey.source, none)
    return associate(places, config or AssociationConfig()).owner


def by_truth(survey):
    """What no matcher can do better: each star's detections are an object, and each that is no star's is one."""
    owner = survey.star.astype(int)
    none = owner < 0
    owner[none] = len(survey.stars)+np.arange(none.sum())
    return np.unique(owner, return_inverse=True)[1]


def averaged(survey, owner):
    """Means of objects: inverse variances as weights, good detections only where there are some.

    Parameters
    ----------
    survey : Survey
    owner : ndarray, shape (n,)
        Number of each detection's object, from 0 on; -1 for none.

    Returns
    -------
    Objects
    """
    m, some = int(owner.max(initial=-1))+1, owner >= 0
    has_good = np.bincount(owner[some & survey.good], minlength=m) > 0
    use = some & (survey.good | ~has_good[owner])
    at = owner[use]
    weight = 1/(survey.sigma[use]**2+FLOOR**2)
    total = np.bincount(at, weight, m)
    mean = np.column_stack([np.bincount(at, weight*v, m) for v in survey.places[use].T])
    mjd = np.bincount(at, weight*survey.mjd[use], m)/np.where(total > 0, total, np.nan)
    flux, dflux = np.full((2, m, len(survey.bands)), np.nan)
    for k in range(len(survey.bands)):
        own = use & (survey.band == k)
        ivar = survey.dflux[own]**-2
        each = np.bincount(owner[own], ivar, m)
        has = each > 0
        flux[has, k] = np.bincount(owner[own], ivar*survey.flux[own], m)[has]/each[has]
        dflux[has, k] = each[has]**-0.5
    ra, dec = np.degrees(np.arctan2(mean[:, 1], mean[:, 0])) % 360, np.degrees(np.arctan2(mean[:, 2], np.hypot(*mean[:, :2].T)))
    return Objects(ra, dec, np.where(total > 0, total, np.nan)**-0.5, mjd, flux, dflux)


MATCHERS = {"associate": associated, "nearest": sequential, "backwards": backwards, "truth": by_truth}
"""By name: that of the package, the plain one in the order of dates and against it, and the truth."""
