"""An image without its artefacts: they are masked, flagged and told of."""
import numpy as np
from scipy import ndimage

from ..core import linear
from ..core.calibration import calibration
from ..core.flags import ENGINE
from ..core.noise import share
from ..core.pixels import BOX
from .negative import DEEP, negative_light
from .saturation import empty_cores, flat_cores
from .sharp import sharp_pixels
from .width import NARROWEST, width_of_most

TOLD = {"cosmic": "are sharper than stars, in tracks: cosmic rays or bad columns, which are masked",
        "hot": "are sharper than stars, each alone: hot or dead pixels, which are masked",
        "negative": "are below the sky in blobs: negative light, which is masked",
        "saturated": "lie in flat or empty cores of bright stars and count as saturated"}
"""What is told of pixels that get a bit of the mask."""
ROUNDS, SETTLED = 12, 1.1
"""Starting from the narrowest stars, what is found makes the width more certain: so many times at most, as long as the width
grows by this factor, or something is found and it grows."""
NARROW, STEP_UP = calibration.clean.narrow, 1.15
"""Below this width, pixels, it is made to grow by that factor, up to the second times what is measured: what is left of cosmic
rays may be round, and as wide."""
FADING = calibration.clean.fading
"""Where so few of the peaks that have the width are left after a step they were no stars, and the width grows further."""
MOST = 0.1
"""Where a larger part of an image would be no star and no sky it is not understood: nothing of it is masked."""
BLOCK, STEP = 128, 7
"""Side of the blocks in which the sky is measured, pixels; one in so many pixels along each axis counts."""
DARK = calibration.clean.dark
"""Quantile of a block's pixels that is its sky: where it is too low all stars look wider, where it is too high sharper."""


def cleaned(image, config):
    """An image in which pixels that are no sky and no star have no weight.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    config : crowdsource.artifacts.options.ArtifactsConfig

    Returns
    -------
    crowdsource.core.image.Image
        With the flags `cosmic`, `hot`, `negative` and `saturated` where these were found, and told of in its `findings`; the
        given one when nothing was found.
    """
    if not (config.sharp or config.saturated or config.negative) or not image.good.any():
        return image
    given, light, error = image, image.data-block_sky(image.data, image.good), error_of(image)
    if config.negative:
        image = without_negative(image, light, error)
        error = error if image is given else error_of(image)
    fwhm, found, number = np.full(4, NARROWEST), image, 0
    for _ in range(ROUNDS):
        # each time on all pixels: beside one that has been masked nothing stands out
        before, found, earlier = found, with_found(image, light, error, fwhm, config), number
        width, number = width_of_most(light, error if found is image else error_of(found), found.good)
        changed = not np.array_equal(found.good, before.good)
        if width.mean() > fwhm.mean()*(1 if changed else SETTLED):
            fwhm = width
        elif changed and fwhm.mean() < NARROW and (fwhm.mean()*SETTLED < STEP_UP*width.mean() or number < FADING*earlier):
            fwhm = fwhm*SETTLED
        else:
            break
    return found if found is given else told(found, given)


def without_negative(image, light, error):
    """The image without negative light."""
    # where hardly a pixel shows the sky none is known to be below it
    hidden = np.median(light[::STEP, ::STEP]/error[::STEP, ::STEP]) > DEEP
    if hidden or not (image.good & (light < -DEEP*error)).any():
        return image
    # beside a cluster or a galaxy that fills a block the sky is lower than the block's dark pixels
    below = negative_light(image.data-block_sky(image.data, image.good, lowest=True), error, image.good)
    return image.masked(below, ENGINE.negative) if 0 < np.count_nonzero(below) < MOST*below.size else image


def told(found, image):
    """An image with sentences on what has been found on it since it was another, which are logged."""
    for bit, what in TOLD.items():
        number = int(np.count_nonzero(found.mask & ~image.mask & getattr(ENGINE, bit)))
        if number:
            found = found.with_finding(f"{share(number, image.data.size)} {what}")
    return found


def error_of(image):
    """Error of each pixel, infinite where it has no weight."""
    with np.errstate(divide="ignore"):
        return 1/np.sqrt(image.ivar)


def with_found(image, light, error, fwhm, config):
    """The image without what stars of a width show to be no stars."""
    if config.saturated:
        # a core that holds one value looks like no data
        blank = image.mask & ENGINE.nodata > 0
        known = np.where(blank, np.float32(image.noise), error) if blank.any() else error
        core = empty_cores(light, known, image.good | blank, fwhm.mean()) | flat_cores(light, error, image.good, fwhm.mean())
        if 0 < np.count_nonzero(core) < MOST*core.size:
            image = image.masked(ndimage.binary_dilation(core, BOX), ENGINE.saturated)
            error = error_of(image)
    if config.sharp:
        tracks, single = sharp_pixels(light, error, fwhm)
        for where, bit in ((tracks, ENGINE.cosmic), (single, ENGINE.hot)):
            if where.any() and np.count_nonzero(tracks) < MOST*tracks.size:
                image = image.masked(where, bit)
    return image


def block_sky(data, good, lowest=False):
    """Low quantiles of blocks, or the lowest of each and those around it, interpolated linearly between their centres.

    The shape is (ny, nx), float32.
    """
    edges = [np.linspace(0, n, max(1, round(n/BLOCK))+1).astype(int) for n in data.shape]
    level = np.full([len(e)-1 for e in edges], np.nan)
    for j, i in np.ndindex(*level.shape):
        box = np.s_[edges[0][j]:edges[0][j+1]:STEP, edges[1][i]:edges[1][i+1]:STEP]
        if good[box].any():
            level[j, i] = np.quantile(data[box][good[box]], DARK)
    level[np.isnan(level)] = np.nanmedian(level) if np.isfinite(level).any() else np.quantile(data[good], DARK)
    if lowest:
        level = ndimage.minimum_filter(level, 3)
    weights = []
    for n, e in zip(data.shape, edges):
        centre = (e[1:]+e[:-1]-1)/2
        at = np.arange(n)
        weights.append(np.stack([np.interp(at, centre, row) for row in np.eye(len(centre))], axis=1))
    return linear.matmul(linear.matmul(weights[0], level).astype(np.float32), weights[1].T.astype(np.float32))
