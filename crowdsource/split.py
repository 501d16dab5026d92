"""Blends that show no second peak: sources wider than the PSF, and where a second star would stand."""
import numpy as np

from .confusion import SLOPE
from .cython_ext import split as kernel
from .detect import Peaks, apart, least_ratio
from .flags import ENGINE
from .near import pairs
from .psf.base import pixel

SCREEN = 2.5
"""Root of the improvement in chi2 by the PSF's second derivative, from which places for a second star are tried."""
BOX = 2.5
"""Side of the box of pixels that are looked at, in FWHM."""
SHARE = 0.1
"""A source with less of the light at its place stands on another's wings: what it leaves may be that one's."""
STEPS = 4
"""A FWHM holds so many steps between the places that are tried."""
CHUNK = 2000


def companions(state, residual, peaks, matched):
    """Second stars of blends, which two stars leave when they are fitted as one.

    Parameters
    ----------
    state : crowdsource.fit.PassState
        With sources that have been fitted.
    residual : ndarray, shape (ny, nx), float32
        Data less sky and model.
    peaks : crowdsource.detect.Peaks
        Proposed already: what lies next to them is theirs.
    matched : crowdsource.detect.MatchedFilter

    Returns
    -------
    crowdsource.detect.Peaks
        Others, brightest first.
    """
    c, image, s = state.config.detect, state.image, state.sources
    ny, nx = image.shape
    py, px = s.inside(image.shape)
    tried = (s.flux > c.companion_snr*s.error) & ~s.bright
    tried &= image.mask[py, px] & (ENGINE.nodeblend | ENGINE.sharp | ENGINE.saturated) == 0
    tried = np.flatnonzero(tried)
    light = matched.significance_at(state.model, py[tried], px[tried])*matched.error[py[tried], px[tried]]
    tried = tried[s.flux[tried] > SHARE*light]
    fwhm = float(state.psf.fwhm())
    step = max(1, round(fwhm/STEPS))
    half = round(BOX*fwhm/2)+3*step+1
    state.psf.prepare(2*half+1)

    def one(members):
        x, y = s.x[members], s.y[members]
        stamps = state.psf.render(x, y, 2*half+1)
        return kernel.companions(residual, image.ivar, stamps, pixel(x)-half, pixel(y)-half, SCREEN, step, SLOPE)

    parts = list(state.run(one, [tried[k:k+CHUNK] for k in range(0, len(tried), CHUNK)]))
    gain, flux, dx, dy = np.concatenate([np.zeros((0, 4)), *parts]).T
    good = np.flatnonzero((gain > c.companion) & (flux > c.companion_ratio*s.flux[tried]))
    good = good[np.argsort(-flux[good], kind="stable")]
    parent = tried[good]
    found = Peaks(s.x[parent]+dx[good], s.y[parent]+dy[good], np.minimum(flux[good], s.flux[parent]), np.zeros(len(good), bool))
    found = found.subset(apart(found, peaks.x, peaks.y, fwhm/2))
    fx, fy = (np.clip(pixel(at), 0, n-1) for at, n in zip((found.x, found.y), (nx, ny)))
    under = matched.significance_at(state.model, fy, fx)
    found = found.subset(found.flux > least_ratio(image.mask, fy, fx, c, state.passno)*under*matched.error[fy, fx])
    _, fainter = pairs(found.x, found.y, fwhm/2).T
    return found.subset(~np.isin(np.arange(len(found)), fainter))
