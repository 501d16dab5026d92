"""What is detected in one detector of an exposure: blends of stars with noise, some lost; what is no star; bad pixels."""
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from .blends import blend
from .geometry import DETECTORS, detector_wcs, widths
from .truth import true_flux, true_places

THRESHOLD, SOFTNESS = 5., 0.3
"""Signal to noise at which half are detected, and how sharp that limit is."""
LOST = 0.003
"""Part of the stars that is not detected for no reason."""
ERRORS = 0.05
"""Scatter of reported errors about the true ones, in parts."""
POSITION = 2**0.5
"""A position's error is so many times sigma of the profile over the signal to noise, where the sky makes the noise."""
POSITION_FLOOR = 0.004
"""Added to it in quadrature, in FWHM."""
WORST = 25.
"""Neighbours make no variance larger than so many times an isolated star's."""
NEIGHBOUR_SNR = 3.
"""Neighbours fainter than this are not fitted, and cost no precision."""
SATURATED_ERRORS = 0.03, 0.05
"""Errors of saturated stars: of the flux in parts, of the position in FWHM."""
BAD_ERRORS = 0.15, 0.1
"""What bad pixels add to errors, in the same units; what is reported knows nothing of it."""
NEAR_BRIGHT = 0.6
"""Part of what is no star that is near bright stars."""
AROUND = 1., 1.5
"""It lies so many FWHM from them, and on average so many more."""
PEAK = 4*np.log(2)/np.pi
"""Peak of a Gaussian profile of unit flux and FWHM."""


@dataclass(frozen=True)
class Detections:
    """Detections in one detector, brightest first.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Pixels.
    flux : ndarray, shape (n,), float64
        Counts.
    dflux, dflux_iso : ndarray, shape (n,), float64
        Reported error with neighbours and without, counts.
    dposition : ndarray, shape (n,), float64
        Reported error of x and of y, pixels.
    purity : ndarray, shape (n,), float64
        Part of the light there that is its own.
    extent : ndarray, shape (n,), float64
        Part of its flux that is not its main star's.
    saturated, bad : ndarray of bool, shape (n,)
    spurious : ndarray of bool, shape (n,)
    links : ndarray, shape (m,)
        Structured: ``row`` of the detection, ``star`` of the truth (-1 for none), ``fraction`` of the detection's flux, largest
        first.
    """
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    dflux: np.ndarray
    dflux_iso: np.ndarray
    dposition: np.ndarray
    purity: np.ndarray
    extent: np.ndarray
    saturated: np.ndarray
    bad: np.ndarray
    spurious: np.ndarray
    links: np.ndarray

    def __len__(self):
        return len(self.x)

    def rows(self, which, links):
        """Some of the detections, or all in another order, with links that are given."""
        return replace(self, **{n: getattr(self, n)[which] for n in self.__dataclass_fields__ if n != "links"}, links=links)


def observe(config, truth, exposure, detector):
    """Detections of the stars in a detector; they depend on nothing but the seed and what is given.

    Parameters
    ----------
    config : SurveyConfig
    truth : ndarray, shape (n,)
        Of `crowdsource.simulate.survey.truth.draw_truth`.
    exposure : SurveyExposure
    detector : str
        A key of `crowdsource.simulate.survey.geometry.DETECTORS`.

    Returns
    -------
    Detections
    """
    rng = np.random.default_rng((config.seed, 2, exposure.number, DETECTORS[detector]))
    which, x, y = seen(config, truth, exposure, detector)
    counts = true_flux(truth[which], exposure.band, exposure.mjd)*10**(0.4*(exposure.zeropoint-22.5))
    fwhm, sky = exposure.seeing/config.pixel_scale, sky_noise(exposure)
    blends = blend(x, y, counts, counts/np.sqrt(sky**2+counts/config.gain), fwhm, rng)
    stars = measured(config, blends, fwhm, sky, rng)
    stars = found(stars, widths(config), rng)
    return with_spurious(config, _named(stars, blends, truth["star"][which]), fwhm, (sky, widths(config)), rng)


def sky_noise(exposure):
    """Noise of the flux of a faint, isolated star, counts."""
    return 10**(-0.4*(exposure.depth-exposure.zeropoint))/5


def seen(config, truth, exposure, detector):
    """Stars in a detector and a margin around it.

    Returns
    -------
    which : ndarray, shape (m,), intp
        Rows of the truth.
    x, y : ndarray, shape (m,), float64
        Where their light is, pixels: off by the exposure's distortion from where its world coordinates have them.
    """
    ny, nx, whole = widths(config)
    margin = 3*exposure.seeing/config.pixel_scale
    x, y = detector_wcs(config, exposure, detector).all_world2pix(*true_places(truth, exposure.mjd), 0)
    which = np.flatnonzero((np.abs(x-(nx-1)/2) < nx/2+margin) & (np.abs(y-(ny-1)/2) < ny/2+margin))
    x, y = x[which], y[which]
    # the distortion is one of the whole exposure, so that it goes on from one detector to the other
    left = detector_wcs(config, exposure, detector).wcs.crpix[0]-1
    along_x, along_y = exposure.displaced((x-left)/(whole/2), (y-(ny-1)/2)/(ny/2))
    return which, x+along_x/config.pixel_scale, y+along_y/config.pixel_scale


def measured(config, blends, fwhm, sky, rng):
    """Each blend with noise, in the blends' order; links hold ranks, not stars."""
    c, at, n = config, blends.alone, len(blends.owner)
    flux, x, y = (getattr(blends, name)[at] for name in ("flux", "x", "y"))
    variance = sky**2+flux/c.gain
    loss, foreign = crowding(blends, np.sqrt(sky**2+blends.flux/c.gain))
    saturated = PEAK*flux/fwhm**2 > c.saturation
    sigma = np.hypot(np.sqrt(variance*loss[at]), saturated*SATURATED_ERRORS[0]*flux)
    place = np.hypot(POSITION*fwhm/2.355*sigma/flux, fwhm*np.where(saturated, SATURATED_ERRORS[1], POSITION_FLOOR))
    bad = rng.random(len(at)) < c.flagged
    reported = np.exp(rng.normal(0, ERRORS, (2, len(at))))
    noise, ex, ey = rng.normal(size=(3, len(at)))
    surprise = np.where(bad, rng.normal(size=(3, len(at)))*[[BAD_ERRORS[0]], [BAD_ERRORS[1]], [BAD_ERRORS[1]]], 0)
    links = _links(blends, at)
    own = np.maximum.reduceat(blends.share[links["star"]], np.flatnonzero(np.diff(links["row"], prepend=-1)))/flux if n else flux
    return Detections(x+place*ex+fwhm*surprise[1], y+place*ey+fwhm*surprise[2], flux*(1+surprise[0])+sigma*noise,
                      sigma*reported[0], np.sqrt(variance)*reported[0], place*reported[1], flux/(flux+foreign[at]), 1-own,
                      saturated, bad, np.zeros(len(at), bool), links)


def crowding(blends, noise):
    """What neighbours that are fitted along do to each star.

    Returns
    -------
    loss : ndarray, shape (n,), float64
        Factor on the variance: 1/(1-w^2) for one neighbour with which the normalised product of profiles is w, and the sum of
        what each adds for several.
    foreign : ndarray, shape (n,), float64
        Flux of neighbours, weighted with w.
    """
    n, (near, far), w = len(blends.owner), blends.pairs.T, blends.overlap
    fitted = blends.flux > NEIGHBOUR_SNR*noise
    added = w**2/np.maximum(1-w**2, 1e-6)
    loss = 1+np.bincount(near, added*fitted[far], n)+np.bincount(far, added*fitted[near], n)
    foreign = np.bincount(near, w*blends.flux[far], n)+np.bincount(far, w*blends.flux[near], n)
    return np.minimum(loss, WORST), foreign


def _links(blends, at):
    """Links of the blends, by row, the largest part first."""
    number = np.full(len(blends.owner), -1)
    number[at] = np.arange(len(at))
    row = number[blends.owner]
    order = np.lexsort([-blends.share, row])
    links = np.zeros(len(row), dtype=[("row", "i4"), ("star", "i4"), ("fraction", "f4")])
    links["row"], links["star"] = row[order], order
    links["fraction"] = (blends.share/blends.flux[blends.owner])[order]
    return links


def found(stars, shape, rng):
    """Those that are detected, and whose measured place is in the detector.

    Parameters
    ----------
    stars : Detections
    shape : tuple of int
        (ny, nx, ...).
    rng : numpy.random.Generator

    Returns
    -------
    Detections
    """
    chance = (1-LOST)*expit((stars.flux/stars.dflux-THRESHOLD)/SOFTNESS)
    kept = rng.random(len(stars)) < chance
    kept &= (np.abs(stars.x-(shape[1]-1)/2) < shape[1]/2) & (np.abs(stars.y-(shape[0]-1)/2) < shape[0]/2)
    links = stars.links[kept[stars.links["row"]]]
    links["row"] = (np.cumsum(kept)-1)[links["row"]]
    return stars.rows(kept, links)


def _named(stars, blends, names):
    """With the stars' names in place of their ranks."""
    links = stars.links.copy()
    links["star"] = names[blends.order[links["star"]]]
    return replace(stars, links=links)


def with_spurious(config, stars, fwhm, frame, rng):
    """Detections that are no stars added, and all sorted by flux.

    Parameters
    ----------
    config : SurveyConfig
    stars : Detections
    fwhm : float
        Pixels.
    frame : tuple
        Noise of a faint star's flux, and (ny, nx, ...) of the detector.
    rng : numpy.random.Generator

    Returns
    -------
    Detections
    """
    sky, (ny, nx, _) = frame
    number = rng.poisson(config.spurious/(1-config.spurious)*len(stars))
    x, y = rng.uniform(-0.5, nx-0.5, number), rng.uniform(-0.5, ny-0.5, number)
    near = np.flatnonzero(rng.random(number) < NEAR_BRIGHT)
    if len(near):
        weight = np.sqrt(np.maximum(stars.flux, 0))
        host = rng.choice(len(stars), len(near), p=weight/weight.sum())
        r, angle = fwhm*(AROUND[0]+rng.exponential(AROUND[1], len(near))), rng.uniform(0, 2*np.pi, len(near))
        # those that fall outside come to lie on the edge
        x[near] = np.clip(stars.x[host]+r*np.cos(angle), -0.49, nx-0.51)
        y[near] = np.clip(stars.y[host]+r*np.sin(angle), -0.49, ny-0.51)
    flux = sky*(THRESHOLD+rng.exponential(2., number))
    none, off = np.zeros(number), np.zeros(number, bool)
    links = np.zeros(number, stars.links.dtype)
    links["row"], links["star"], links["fraction"] = len(stars)+np.arange(number), -1, 1
    more = Detections(x, y, flux, np.full(number, sky), np.full(number, sky), POSITION*fwhm/2.355*sky/flux, none+0.8, none, off,
                      rng.random(number) < 5*config.flagged, ~off, links)
    return by_flux(joined(stars, more))


def joined(first, second):
    """Detections of both, the links' rows as they are."""
    return Detections(*(np.concatenate([getattr(first, n), getattr(second, n)]) for n in first.__dataclass_fields__))


def by_flux(detections):
    """The same detections, brightest first; links in the order of rows."""
    order = np.argsort(-detections.flux, kind="stable")
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    links = detections.links.copy()
    links["row"] = place[links["row"]]
    return detections.rows(order, links[np.argsort(links["row"], kind="stable")])
