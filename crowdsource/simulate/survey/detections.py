"""Detections in one detector of an exposure: blends of stars with noise, some of them lost; spurious ones; bad pixels."""
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from .blends import blend
from .geometry import DETECTORS, detector_wcs, exposure_size
from .truth import true_flux, true_positions

THRESHOLD, SOFTNESS = 5., 0.3
"""Signal to noise at which half are detected, and how sharp that limit is."""
LOST = 0.003
"""Fraction of the stars that is lost at random."""
ERRORS = 0.05
"""Relative scatter of reported errors about the true ones."""
POSITION = 2**0.5
"""Error of a position in units of (sigma of the profile)/(signal to noise), for noise from the sky."""
POSITION_FLOOR = 0.004
"""Added to it in quadrature, in FWHM."""
WORST = 25.
"""Largest factor by which neighbours increase the variance of an isolated star."""
NEIGHBOUR_SNR = 3.
"""Neighbours fainter than this are not fitted, and cost no precision."""
SATURATED_ERRORS = 0.03, 0.05
"""Errors of saturated stars: relative error of the flux, and error of the position in FWHM."""
BAD_ERRORS = 0.15, 0.1
"""Errors that bad pixels add, in the same units; the reported errors do not include them."""
NEAR_BRIGHT = 0.6
"""Fraction of the spurious detections that is near bright stars."""
AROUND = 1., 1.5
"""Their smallest distance from those stars, and the mean distance beyond that, in FWHM."""
PEAK = 4*np.log(2)/np.pi
"""Peak of a Gaussian profile of unit flux and FWHM."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedDetections:
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
        Fraction of the light at its position that is its own.
    extent : ndarray, shape (n,), float64
        Fraction of its flux that is not that of its main star.
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
    """Detections of the stars in a detector; they depend on the arguments alone.

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
    SimulatedDetections
    """
    rng = np.random.default_rng((config.seed, 2, exposure.number, DETECTORS[detector]))
    which, x, y = stars_in_detector(config, truth, exposure, detector)
    counts = true_flux(truth[which], exposure.band, exposure.mjd)*10**(0.4*(exposure.zeropoint-22.5))
    fwhm, sky, size = exposure.seeing/config.pixel_scale, sky_noise(exposure), exposure_size(config)
    blends = blend(x, y, counts, counts/np.sqrt(sky**2+counts/config.gain), fwhm, rng)
    stars = measure_blends(config, blends, fwhm, sky, rng)
    stars = keep_detected(stars, size, rng)
    return with_spurious(config, _with_star_numbers(stars, blends, truth["star"][which]), fwhm, sky, size, rng)


def sky_noise(exposure):
    """Noise of the flux of a faint, isolated star, counts."""
    return 10**(-0.4*(exposure.depth-exposure.zeropoint))/5


def stars_in_detector(config, truth, exposure, detector):
    """Stars in a detector and a margin around it.

    Returns
    -------
    which : ndarray, shape (m,), intp
        Rows of the truth.
    x, y : ndarray, shape (m,), float64
        Positions of their light, pixels: displaced by the exposure's distortion from the positions by its world coordinates.
    """
    size, margin = exposure_size(config), 3*exposure.seeing/config.pixel_scale
    x, y = detector_wcs(config, exposure, detector).all_world2pix(*true_positions(truth, exposure.mjd), 0)
    which = np.flatnonzero(size.on_detector(x, y, margin))
    x, y = x[which], y[which]
    # the distortion is that of the whole exposure: it is continuous from one detector to the other
    left = detector_wcs(config, exposure, detector).wcs.crpix[0]-1
    along_x, along_y = exposure.displaced((x-left)/(size.width/2), (y-(size.ny-1)/2)/(size.ny/2))
    return which, x+along_x/config.pixel_scale, y+along_y/config.pixel_scale


def measure_blends(config, blends, fwhm, sky, rng):
    """Each blend with noise, in the order of the blends; links hold ranks instead of star numbers."""
    c, at, n = config, blends.resolved, len(blends.owner)
    flux, x, y = (getattr(blends, name)[at] for name in ("flux", "x", "y"))
    variance = sky**2+flux/c.gain
    loss, foreign = crowding(blends, np.sqrt(sky**2+blends.flux/c.gain))
    saturated = PEAK*flux/fwhm**2 > c.saturation
    sigma = np.hypot(np.sqrt(variance*loss[at]), saturated*SATURATED_ERRORS[0]*flux)
    error = np.hypot(POSITION*fwhm/2.355*sigma/flux, fwhm*np.where(saturated, SATURATED_ERRORS[1], POSITION_FLOOR))
    bad = rng.random(len(at)) < c.flagged
    reported = np.exp(rng.normal(0, ERRORS, (2, len(at))))
    noise, ex, ey = rng.normal(size=(3, len(at)))
    extra = np.where(bad, rng.normal(size=(3, len(at)))*[[BAD_ERRORS[0]], [BAD_ERRORS[1]], [BAD_ERRORS[1]]], 0)
    links = _links(blends, at)
    own = np.maximum.reduceat(blends.share[links["star"]], np.flatnonzero(np.diff(links["row"], prepend=-1)))/flux if n else flux
    return SimulatedDetections(
        x=x+error*ex+fwhm*extra[1], y=y+error*ey+fwhm*extra[2], flux=flux*(1+extra[0])+sigma*noise, dflux=sigma*reported[0],
        dflux_iso=np.sqrt(variance)*reported[0], dposition=error*reported[1], purity=flux/(flux+foreign[at]), extent=1-own,
        saturated=saturated, bad=bad, spurious=np.zeros(len(at), bool), links=links)


def crowding(blends, noise):
    """How neighbours that are fitted together change each star's variance and light.

    Returns
    -------
    loss : ndarray, shape (n,), float64
        Factor on the variance: 1/(1-w^2) for one neighbour, where w is the normalised product of the profiles; for several, the
        sum of what each adds.
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
    """Links of the blends by row, the largest fraction first."""
    number = np.full(len(blends.owner), -1)
    number[at] = np.arange(len(at))
    row = number[blends.owner]
    order = np.lexsort([-blends.share, row])
    links = np.zeros(len(row), dtype=[("row", "i4"), ("star", "i4"), ("fraction", "f4")])
    links["row"], links["star"] = row[order], order
    links["fraction"] = (blends.share/blends.flux[blends.owner])[order]
    return links


def keep_detected(stars, size, rng):
    """Stars that are detected, and whose measured position is in the detector.

    Parameters
    ----------
    stars : SimulatedDetections
    size : crowdsource.simulate.survey.geometry.ExposureSize
    rng : numpy.random.Generator

    Returns
    -------
    SimulatedDetections
    """
    chance = (1-LOST)*expit((stars.flux/stars.dflux-THRESHOLD)/SOFTNESS)
    kept = rng.random(len(stars)) < chance
    kept &= size.on_detector(stars.x, stars.y)
    links = stars.links[kept[stars.links["row"]]]
    links["row"] = (np.cumsum(kept)-1)[links["row"]]
    return stars.rows(kept, links)


def _with_star_numbers(stars, blends, names):
    """With star numbers in place of ranks."""
    links = stars.links.copy()
    links["star"] = names[blends.order[links["star"]]]
    return replace(stars, links=links)


def with_spurious(config, stars, fwhm, sky, size, rng):
    """Detections with spurious ones added, sorted by flux.

    Parameters
    ----------
    config : SurveyConfig
    stars : SimulatedDetections
    fwhm : float
        Pixels.
    sky : float
        Noise of the flux of a faint star, counts.
    size : crowdsource.simulate.survey.geometry.ExposureSize
    rng : numpy.random.Generator

    Returns
    -------
    SimulatedDetections
    """
    ny, nx = size.detector
    number = rng.poisson(config.spurious/(1-config.spurious)*len(stars))
    x, y = rng.uniform(-0.5, nx-0.5, number), rng.uniform(-0.5, ny-0.5, number)
    near = np.flatnonzero(rng.random(number) < NEAR_BRIGHT)
    if len(near):
        weight = np.sqrt(np.maximum(stars.flux, 0))
        host = rng.choice(len(stars), len(near), p=weight/weight.sum())
        r, angle = fwhm*(AROUND[0]+rng.exponential(AROUND[1], len(near))), rng.uniform(0, 2*np.pi, len(near))
        # positions outside are moved to the edge
        x[near] = np.clip(stars.x[host]+r*np.cos(angle), -0.49, nx-0.51)
        y[near] = np.clip(stars.y[host]+r*np.sin(angle), -0.49, ny-0.51)
    flux = sky*(THRESHOLD+rng.exponential(2., number))
    none, off = np.zeros(number), np.zeros(number, bool)
    links = np.zeros(number, stars.links.dtype)
    links["row"], links["star"], links["fraction"] = len(stars)+np.arange(number), -1, 1
    noise = np.full(number, sky)
    more = SimulatedDetections(x=x, y=y, flux=flux, dflux=noise, dflux_iso=noise, dposition=POSITION*fwhm/2.355*sky/flux,
                               purity=none+0.8, extent=none, saturated=off, bad=rng.random(number) < 5*config.flagged,
                               spurious=~off, links=links)
    return sorted_by_flux(concatenated(stars, more))


def concatenated(first, second):
    """All detections of both; rows in links are not changed."""
    return SimulatedDetections(**{n: np.concatenate([getattr(first, n), getattr(second, n)]) for n in first.__dataclass_fields__})


def sorted_by_flux(detections):
    """The same detections, brightest first; links in the order of rows."""
    order = np.argsort(-detections.flux, kind="stable")
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    links = detections.links.copy()
    links["row"] = place[links["row"]]
    return detections.rows(order, links[np.argsort(links["row"], kind="stable")])
