"""Stars off the image whose wings, rings and spikes lie on it: without them each spike that comes in is a row of false stars."""
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from ..core import functions
from ..psf.base import pixel
from ..psf.grid import middle_continued
from ..psf.refit.uncertainty import distances
from .detection import refined
from .sources import Sources

PASSES = 1, 2
"""Passes in which they are looked for, from 0: after the first more is known of the PSF than its width."""
FAINT = 20.
"""Sources below this significance may be knots of spikes."""
SMOOTH = 5.
"""What is smooth over so many FWHM may be sky: only what is sharper tells of a star."""
HALF = 74
"""How far off the image stars are looked for, pixels."""
SIGNIFICANT = 8.
"""Flux over its error of a star off the image, in units of the scatter of this over all positions where that exceeds 1: errors of
a model are alike over many pixels."""
CORE, SPIKES = 8, 0.4
"""Light beyond so many pixels that differs from its mean at the same distance by this share makes spikes; that of a round PSF is
sky on an image beside it."""
KNOT = 4.
"""A source whose peak is lower than so many times the light of a new star off the image there is a knot of its spikes: the star's
flux is too low as long as they hold a part of it."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Stars at the pixels around an image, as far as their light on it tells of them.

    Attributes
    ----------
    significance, error : ndarray, shape (ny+2*half, nx+2*half), float64
        Flux over its error of a star centred on each pixel, and the error; 0 on the image itself, and where no light of it
        arrives, or less (root mean square over the image) than is uncertain of the PSF.
    half : int
        Width of the frame, pixels.
    """

    significance: np.ndarray
    error: np.ndarray
    half: int


def has_spikes(psf):
    """Whether the wings of a PSF are uneven enough to tell of a star off the image."""
    stamp, distance = psf.stamp(2*HALF+1), distances(2*HALF+1)
    ring = distance.round().astype(int)
    mean = (np.bincount(ring.ravel(), stamp.ravel())/np.bincount(ring.ravel()))[ring]
    wings = (distance > CORE) & (distance < HALF)
    return bool(np.square(stamp-mean)[wings].sum() > SPIKES**2*np.square(mean)[wings].sum())


def stars_outside(state, light):
    """Candidates off the image, at the peaks of what a matched filter makes of the light of their wings.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    light : ndarray, shape (ny, nx), float32
        Data less sky and model of the sources that are certain to be stars.

    Returns
    -------
    crowdsource.engine.sources.Sources
    """
    return candidates_in(frame_of(state, light), state)


def frame_of(state, light):
    """The `Frame` of the image less sky and the stars that are certain.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    light : ndarray, shape (ny, nx), float32
        Data less sky and model of these stars.
    """
    (ny, nx), half = state.image.shape, min(HALF, *(n//2 for n in state.image.shape))
    weight = state.image.ivar.astype(np.float64)
    if state.model_error is not None:
        weight /= 1+weight*np.square(state.model_error)
    side = 2*round(SMOOTH*float(state.psf.fwhm())/2)+1
    stamp = sharp_part(state.psf.stamp(2*half+1), np.ones((2*half+1, 2*half+1)), side)
    light = weight*sharp_part(light, weight, side)
    shape = [fft.next_fast_len(n+4*half, real=True) for n in (ny, nx)]

    def correlated(image, by):
        product = functions.times(fft.rfft2(image, shape), fft.rfft2(by[::-1, ::-1], shape))
        return fft.irfft2(product, shape)[:ny+2*half, :nx+2*half]

    known = correlated(weight, stamp**2)
    outside = np.ones(known.shape, bool)
    outside[half:half+ny, half:half+nx] = False
    # where no light arrives the transforms leave errors of rounding
    outside &= known > 1e-12*known.max()
    if state.psf.uncertainty is not None:
        seen, doubt = (weight > 0).astype(np.float64), np.square(state.psf.uncertainty.astype(np.float64))
        doubt = middle_continued(doubt, 2*half+1)
        # the ends of wings tell of no star: they fit errors of the model at the edge, with fluxes beyond all others
        outside &= correlated(seen, stamp**2) > correlated(seen, doubt)
    root = np.sqrt(np.where(outside, known, np.inf))
    return Frame(correlated(light, stamp)/root, 1/root, half)


def sharp_part(image, weight, side):
    """An image less its weighted means over boxes of a side, pixels."""
    total = ndimage.uniform_filter(weight, side, mode="constant")
    return image-ndimage.uniform_filter(weight*image, side, mode="constant")/np.where(total > 0, total, np.inf)


def candidates_in(frame, state):
    """Sources at the peaks of a frame that are farther apart than its width: nearer ones may be the wings of the same star."""
    left, half, found = frame.significance.copy(), frame.half, []
    positions = left[frame.error > 0]
    if not len(positions):
        # the rim of the image has no data, and no light comes in
        return Sources.new([], [])
    least = SIGNIFICANT*max(1., 1.4826*float(np.median(np.abs(positions))))
    while len(found) < left.size:
        y, x = np.unravel_index(left.argmax(), left.shape)
        if left[y, x] <= least:
            break
        found.append((y, x))
        left[max(0, y-half):y+half+1, max(0, x-half):x+half+1] = 0
    if not found:
        return Sources.new([], [])
    y, x = np.array(found).T
    px, py = refined(frame.significance, y, x)
    error = frame.error[y, x]
    return Sources.new(px-half, py-half, frame.significance[y, x]*error, error, passno=state.passno)


def knots(sources, stars, psf):
    """Which sources may be knots in the wings of stars.

    Parameters
    ----------
    sources, stars : crowdsource.engine.sources.Sources
        n sources; the stars lie off the image.
    psf : crowdsource.psf.base.PSF

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    stamp, light = psf.stamp(2*HALF+1), np.zeros(len(sources))
    for x, y, flux in zip(stars.x, stars.y, stars.flux):
        dx, dy = pixel(sources.x-x), pixel(sources.y-y)
        near = (np.abs(dx) <= HALF) & (np.abs(dy) <= HALF)
        light[near] += flux*stamp[dy[near]+HALF, dx[near]+HALF]
    return sources.flux*stamp[HALF, HALF] < KNOT*light
