"""PSF stars: which sources show the PSF, and their stamps with neighbours removed."""
from dataclasses import replace

import numpy as np

from ..core.calibration import calibration
from ..core.flags import ENGINE
from ..core.kinds import narrow_kind
from ..core.neighbours import neighbours
from ..psf.base import StarStamps, pixel
from ..psf.refit.uncertainty import inverse_square
from .budget import most_psf_stars
from .cull import off_image
from .design import sizes
from .measure import boxes, cutouts, measured

STAMP = 2.75
"""Least half side of the stamps of PSF stars, FWHM."""
WHOLE, PARTLY = 0.999, 0.5
"""PSF-weighted share of good pixels of a star without masked ones, and of one that shows enough of the PSF."""
ENOUGH_WHOLE = 20
"""With fewer stars without masked pixels those that have some count, too."""
ENOUGH = 60
"""With fewer stars the saturated ones show the wings better than these."""
CANDIDATES = 2
"""So many times the wanted number of stars are measured."""
FEW = calibration.psf_stars.few
"""Fewer stars than this are not compared with each other, but with the best one where they are too few for a usual refit."""
MISFIT, MISFIT_FLOOR = calibration.psf_stars.misfit, calibration.psf_stars.misfit_floor
"""Largest relative residual of a PSF star, in units of the median one, and a value below which it is always accepted; saturated
stars exceed it."""
SPREAD_FLOOR = calibration.psf_stars.spread_floor
"""Differences of `spread_model` from the median below this are not significant: errors of the PSF cause them in bright stars."""
GALAXIES_WIDER = 0.006
"""Galaxies differ from stars by more than this in `spread_model` where they are a kind of their own."""
MOST_WIDE, LEAST_PEAK = calibration.psf_stars.most_wide, calibration.psf_stars.least_peak
"""Largest number of stars that show the wings, and their smallest peak in units of the sky noise."""
NEIGHBOUR_ERROR = 0.1
"""Relative error of the model of a star's neighbours where a profile is judged."""
COMPANION, KNOT = calibration.psf_stars.companion, calibration.psf_stars.knot
"""Sources fainter than this share of a bright star, at a distance of one FWHM, may be knots in its wings before these are known;
side of their stamps, pixels."""


def psf_stars(state, first=False):
    """Stamps of the sources that pass every test for a PSF star.

    Rejected are sources near any masked pixel, where there are enough others, faint ones, those whose position still moves, those
    dominated by the light of their neighbours, and those whose flux a local sky would take away.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    first : bool
        Whether the wings have not been fitted before.

    Returns
    -------
    crowdsource.psf.base.StarStamps
    """
    size = max(state.config.psf.stamp, 2*round(STAMP*float(state.psf.fwhm()))+1)
    chosen = select(state)[:most_psf_stars(state, size)]
    if state.config.psf.method == "fit":
        chosen = np.r_[chosen, saturated_stars(state, len(chosen))]
    stamps = stamps_of(state, chosen, size)
    if not state.psf.wide_stamp or not len(chosen):
        return stamps
    stamps = with_sky_around(state, stamps)
    if state.psf.wants_saturated:
        wide = wide_stamps(state, first)
    else:
        wide = with_doubtful_neighbours(state, stamps_of(state, chosen[:MOST_WIDE], state.psf.wide_stamp))
    return replace(stamps, wide=wide and with_sky_around(state, wide))


def with_sky_around(state, stamps):
    """Stamps that know what the sky varies in them."""
    sky = cutouts(state.sky, stamps.x, stamps.y, stamps.size)
    return replace(stamps, sky=sky-np.median(sky, axis=(1, 2), keepdims=True))


def with_doubtful_neighbours(state, stamps):
    """Stamps whose weights count an error of the neighbours: rings around a star are not to be what those leave."""
    own = state.psf.render(stamps.x, stamps.y, stamps.size)*stamps.flux[:, None, None].astype(np.float32)
    others = NEIGHBOUR_ERROR*np.maximum(cutouts(state.model, stamps.x, stamps.y, stamps.size)-own, 0)
    return replace(stamps, ivar=stamps.ivar/(1+stamps.ivar*others**2))


def wide_stamps(state, first):
    """Stamps of the brightest stars, saturated ones included, as wide as the PSF wants them; None where none is bright enough.

    The first time their wings are unknown, and sources near them may be parts of these.
    """
    s = state.sources
    order = np.argsort(-s.flux, kind="stable")[:MOST_WIDE]
    bright = order[s.flux[order]*state.psf.stamp(1)[0, 0] > LEAST_PEAK*state.noise]
    if not len(bright):
        return None
    stamps = stamps_of(state, bright, state.psf.wide_stamp)
    return replace(stamps, data=stamps.data+light_of_companions(state, bright, stamps.size)) if first else stamps


def light_of_companions(state, bright, size):
    """Light of sources that may be knots in the wings of the star beside them, in stamps around bright stars.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    bright : ndarray of int, shape (n,)
    size : int
        Odd side of the stamps, pixels.

    Returns
    -------
    ndarray, shape (n, size, size), float32
    """
    s, out = state.sources, np.zeros((len(bright), size, size), np.float32)
    indptr, near = neighbours(s.x, s.y, s.x[bright], s.y[bright], size/2)
    for k, star in enumerate(bright):
        some = s.subset(near[indptr[k]:indptr[k+1]])
        distance = np.hypot(some.x-s.x[star], some.y-s.y[star])
        knots = some.subset((distance > 0) & (some.flux < COMPANION*s.flux[star]*inverse_square(distance, state.psf)))
        corner = pixel(s.x[star])-size//2, pixel(s.y[star])-size//2
        state.psf.add_to(out[k], knots.x-corner[0], knots.y-corner[1], knots.flux, KNOT)
    return out


def select(state):
    """Indices of the PSF stars, brightest first. Parameters as `psf_stars`."""
    c, s = state.config.psf, state.sources
    ny, nx = state.image.shape
    px, py = s.pixels
    candidate = (s.flux > c.min_snr*s.error) & (np.abs(s.shift).max(axis=1, initial=0) <= c.max_shift)
    candidate &= (px >= 0) & (py >= 0) & (px < nx) & (py < ny)
    candidate[candidate] &= state.image.good[py[candidate], px[candidate]]
    index = np.flatnonzero(candidate)
    index = index[np.argsort(-s.flux[index], kind="stable")][:CANDIDATES*c.max_stars]
    if not len(index):
        return index
    m = measured(state, index)
    misfit = np.sqrt(np.maximum(m["rchi2"]-1, 0))*s.error[index]/s.flux[index]
    for least in (WHOLE, PARTLY):
        good = (m["qf"] > least) & (m["fracflux"] > c.min_fracflux) & (m["fluxlbs"] > c.min_lbs_ratio*s.flux[index])
        if c.max_spread < np.inf:
            good[good] &= fitting(misfit[good], c.min_stars)
            good[good] &= alike(m["spread_model"][good], c.max_spread)
        if good.sum() >= ENOUGH_WHOLE:
            break
    return index[good][:c.max_stars]


def saturated_stars(state, others):
    """Indices of saturated stars that show the wings where there are few others, brightest first.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    others : int
        Number of stars that show all of the PSF.
    """
    s = state.sources
    if others >= ENOUGH or not len(s):
        return np.empty(0, int)
    c, middle = state.config.psf, s.inside(state.image.shape)
    saturated = (state.image.mask[middle] & ENGINE.saturated > 0) & ~off_image(s, state.image.shape, 0)
    bright = np.flatnonzero(saturated & (s.flux > c.min_snr*s.error) & (s.flux*state.psf.stamp(1)[0, 0] > LEAST_PEAK*state.noise))
    return bright[np.argsort(-s.flux[bright], kind="stable")][:ENOUGH-others]


def fitting(misfit, least):
    """Which stars the PSF fits about as well as most others, or of fewer than `least` as the best one.

    The misfit is the residual relative to the flux, shape (n,). A hot pixel among few stars would be all that the PSF becomes.
    """
    if min(least, FEW) <= len(misfit) < FEW or not len(misfit):
        return np.ones(len(misfit), bool)
    return misfit <= max(MISFIT_FLOOR, MISFIT*(np.median(misfit) if len(misfit) >= FEW else misfit.min()))


def alike(spread, most):
    """Which sources are as extended as most stars: within so many robust sigma of the median; all where stars are few.

    Where there are many galaxies among the brightest sources, the narrow ones are the stars.
    """
    stars = narrow_kind(spread, GALAXIES_WIDER)
    if np.count_nonzero(stars) < FEW:
        return stars
    off = np.abs(spread-np.median(spread[stars]))
    return off <= most*max(1.4826*np.median(off[stars]), SPREAD_FLOOR)


def stamps_of(state, index, size):
    """Stamps of stars with sky and neighbours removed.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    index : ndarray of int
    size : int
        Odd side, pixels.

    Returns
    -------
    crowdsource.psf.base.StarStamps
    """
    s = state.sources.subset(index)
    residual, ivar = boxes(state, s.x, s.y, size)
    # of what the model has not subtracted from the image nothing is added
    reach, at = sizes(state, state.sources)[index]//2, np.abs(np.arange(size)-size//2)
    inside = np.maximum(at[:, None], at[None, :]) <= reach[:, None, None]
    own = state.psf.render(s.x, s.y, size)*inside
    data = residual+own*s.flux[:, None, None].astype(np.float32)
    return StarStamps(x=s.x, y=s.y, flux=s.flux, data=data, ivar=ivar, shape=state.image.shape)
