"""The budget of a fit: how much work it may take for an image of its size.

Noise that is a thousand times too small makes a peak of every pixel and gives each the largest stamp; a gradient or ripples do
the same. What a fit takes then is the overlap of stamps, profiles that are tried in vain, and stamps of wide PSFs. All are
counted in work on a pixel of the image, which for a field of stars does not depend on its size, so that bounds hold for any
image. Counts follow from the sources and not from the clock: catalogs are the same on any machine. `crowdsource.engine.savings`
keeps to it.
"""
import numpy as np

SOLVE, ALL_SOLVES = 150., 1000.
"""Most overlap of stamps in one solve, and in all of a fit: the mean over the image's pixels of the square of the number of
stamps that each lies in, for each `max_work`. 20,000 stars above 5 sigma in 1,024 x 1,024 px have 45 in a solve, 270 in all."""
TRIALS = 3.
"""Most pixels of profiles that were tried in vain, on each pixel of the image, for each `max_work`. Fields of a dozen galaxies
have up to 25 in all."""
PSF_PIXELS = 2.
"""Most pixels of stamps of PSF stars on each pixel of the image, for each `max_work`: 0.4 for as many usual ones as may be."""
SMALL = 256**2
"""Images of fewer pixels may take what this many may: a fit has costs that do not depend on the size."""
LEAST_PSF_STARS = 20
CELL = 4
"""Stamps are counted in cells of so many pixels along each axis."""


def share(state):
    """`max_work`, larger for small images."""
    return state.config.max_work*max(1., SMALL/state.image.data.size)


def overlap(sources, size, shape):
    """Mean over an image's pixels of the square of the number of stamps that each lies in: work of a solve on each pixel.

    Parameters
    ----------
    sources : crowdsource.engine.sources.Sources
    size : ndarray of int, shape (n,)
        Their stamp sizes, pixels.
    shape : tuple of int
        (ny, nx).
    """
    (px, py), half = sources.pixels, size//2
    rows, columns = (-(-n//CELL) for n in shape)
    (y0, y1), (x0, x1) = ((np.clip(at-half, 0, n)//CELL, np.clip(at+half+1, 0, n)//CELL) for at, n in zip((py, px), shape))
    wide = columns+1
    corners = np.concatenate([y0*wide+x0, y1*wide+x1, y0*wide+x1, y1*wide+x0])
    count = np.bincount(corners, np.repeat([1., -1.], 2*len(half)), (rows+1)*wide)
    count = count.reshape(rows+1, wide).cumsum(axis=0).cumsum(axis=1)
    return float((count**2).sum()*CELL**2/(shape[0]*shape[1]))


def trials_left(state):
    """Pixels of profiles that may still be tried in vain on this image; infinite where there is no bound."""
    return max(TRIALS*share(state)*state.image.data.size, state.spent.won)-state.spent.lost


def most_psf_stars(state, size):
    """So many PSF stars, of stamps of a size in pixels, may be fitted."""
    most = PSF_PIXELS*share(state)*state.image.data.size/size**2
    return max(LEAST_PSF_STARS, int(most)) if most < len(state.sources) else len(state.sources)
