"""The design matrix: stamps of all sources of a box, and the images and matrices computed from them."""
import logging
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from ..core.tiles import bands
from ..cython_ext import design as kernel
from ..psf.base import pixel

log = logging.getLogger(__name__)
CHUNK_PIXELS = 400_000
RESERVE, MAX_RESERVE = 4, 1 << 26
"""Spare length of a buffer for stamps in units of the length that is needed, and its largest number of values."""
ROWS = 512
"""Height of the ranges of rows in which a model is rendered, pixels; stars that reach into two are rendered twice."""


@dataclass(frozen=True, eq=False)
class StampSet:
    """Rendered stamps of sources, in the layout of the design kernels.

    Attributes
    ----------
    buffer : ndarray, float32
        Planes of all stamps.
    layout : ndarray, shape (n, 5), intp
        offset, size, stride, x0, y0 of each source.
    """

    buffer: np.ndarray
    layout: np.ndarray

    def __len__(self):
        return len(self.layout)

    def subset(self, keep):
        """The stamps that a boolean array selects; the buffer is shared."""
        return StampSet(self.buffer, np.ascontiguousarray(self.layout[keep]))


def by_size(size):
    """Index arrays of all sources of one stamp size, for each size, ascending."""
    return [np.flatnonzero(size == s) for s in np.flatnonzero(np.bincount(size))]


def chunks_by_size(size):
    """Index arrays of sources of one stamp size, each small enough to render at once.

    Parameters
    ----------
    size : ndarray of int, shape (n,)

    Yields
    ------
    ndarray of int
        Indices, ascending.
    """
    for members in by_size(size):
        step = max(1, CHUNK_PIXELS//int(size[members[0]])**2)
        for start in range(0, len(members), step):
            yield members[start:start+step]


class Workspace:
    """Buffers for stamps that are lent and returned, so that each pass need not allocate new memory."""

    def __init__(self):
        self._free = []

    def take(self, length):
        """A float32 buffer of at least so many values, not initialised."""
        try:
            buffer = self._free.pop()
        except IndexError:
            buffer = np.empty(0, np.float32)
        # the next pass has more sources; pages that are not written to take no memory, and allocating takes time
        return buffer if len(buffer) >= length else np.empty(length+min(RESERVE*length, MAX_RESERVE), np.float32)

    def give(self, buffer):
        """Return a buffer, which must not be used any more."""
        self._free.append(buffer)


def render_stamps(psf, x, y, size, origin=(0, 0), workspace=None):
    """Stamps of PSF and derivatives for many sources of different sizes.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    x, y : ndarray, shape (n,)
        Positions in the image, pixels.
    size : ndarray of int, shape (n,)
        Odd stamp sizes, pixels.
    origin : tuple of int
        (x0, y0) of the box in the image to which the layout refers.
    workspace : Workspace, optional
        Where the buffer comes from, and should be given back to.

    Returns
    -------
    StampSet
    """
    size = np.asarray(size, dtype=np.intp)
    stride = (size+7)//8*8
    length = 3*size*stride
    offset = np.r_[0, np.cumsum(length)].astype(np.intp)
    half = size//2
    layout = np.stack([offset[:-1], size, stride, pixel(x)-half-origin[0], pixel(y)-half-origin[1]], axis=1).astype(np.intp)
    buffer = (workspace or Workspace()).take(int(offset[-1])+8)
    for members in by_size(size):
        psf.render_packed(x[members], y[members], int(size[members[0]]), buffer, offset[members], int(stride[members[0]]))
    return StampSet(buffer, layout)


def model_image(psf, x, y, flux, size, shape, out=None, run=map):
    """The sources' model image.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    x, y, flux : ndarray, shape (n,), float64
    size : ndarray of int, shape (n,)
        Odd stamp sizes, pixels.
    shape : tuple of int
        (ny, nx).
    out : ndarray, shape (ny, nx), float32, optional
        Added to, and returned.
    run : callable
        ``map`` or an executor's.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    fresh = out is None
    out = np.empty(shape, np.float32) if fresh else out
    groups = [[np.ascontiguousarray(v[m], dtype=np.float64) for v in (x, y, flux)]+[int(size[m[0]])] for m in by_size(size)]
    for *_, s in groups:
        psf.prepare(s)

    def band(rows):
        if fresh:
            # written before it is read: the kernel would otherwise map pages of zeros twice, while other threads wait
            out[rows] = 0
        for gx, gy, gf, s in groups:
            near = (gy > rows.start-s//2-1) & (gy < rows.stop+s//2)
            psf.add_to(out[rows], gx[near], gy[near], gf[near], s, top=rows.start)

    list(run(band, bands(shape[0], ROWS)))
    return out


def spread(stamps, parameters, shape, n_parameters=3):
    """The design matrix times changes of the parameters, as an image.

    Parameters
    ----------
    stamps : StampSet
    parameters : ndarray, shape (n, 3), float64
        Factors of the PSF and its derivatives.
    shape : tuple of int
        (ny, nx).
    n_parameters : int
        So many of the three are used.

    Returns
    -------
    ndarray, shape (ny, nx), float32
    """
    # initialised by writing, as in `model_image`
    out = np.full(shape, 0, np.float32)
    kernel.spread(stamps.buffer, stamps.layout, np.ascontiguousarray(parameters, dtype=np.float64), n_parameters, out)
    return out


def add_stamps(image, stamps, x, y, factor):
    """Add stamps around positions to an image, in place, each times a factor; parts off the image are ignored.

    Parameters
    ----------
    image : ndarray, shape (ny, nx), float32
    stamps : ndarray, shape (n, size, size), float32
    x, y, factor : ndarray, shape (n,), float64
    """
    half = stamps.shape[1]//2
    kernel.add_stamps(image, stamps, pixel(x)-half, pixel(y)-half, np.ascontiguousarray(factor, dtype=np.float64))


def stamp_levels(psf, config):
    """Brightness, in units of the sky noise at the peak, from which each larger stamp is used.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    config : crowdsource.config.SolveConfig
        Its levels; where it has none, those at which the PSF at a stamp's edge comes to `cut_off` of the noise.

    Returns
    -------
    ndarray, shape (len(stamp_sizes)-1,)
    """
    if config.stamp_levels or len(config.stamp_sizes) == 1:
        return np.array(config.stamp_levels)
    stamp = psf.stamp(config.stamp_sizes[-2])
    middle = len(stamp)//2
    edge = [max(stamp[middle-h, middle], stamp[middle+h, middle], stamp[middle, middle-h], stamp[middle, middle+h])
            for h in (size//2 for size in config.stamp_sizes[:-1])]
    return np.maximum.accumulate(config.cut_off*stamp[middle, middle]/np.maximum(edge, 1e-9*stamp[middle, middle]))


def sizes(state, sources):
    """Stamp sizes of sources; the limit on memory is for the stamps of one tile, that of the budget for all.

    Parameters
    ----------
    state : crowdsource.engine.state.PassState
    sources : crowdsource.engine.sources.Sources

    Returns
    -------
    ndarray of int, shape (n,)
    """
    solve = state.config.solve
    guarded = replace(solve, max_stamp_pixels=solve.max_stamp_pixels*len(state.tiles))
    size = stamp_sizes(sources.flux, state.psf, state.noise, guarded, sources.bright)
    return within_largest(size, state.spent)


def within_largest(size, spent):
    """Stamp sizes, no larger than the budget allows by what is `crowdsource.engine.state.Spent`."""
    return size if spent.largest == np.inf else np.minimum(size, int(spent.largest))


def stamp_sizes(flux, psf, noise, config, bright=None):
    """Stamp sizes by brightness, from the table in the config.

    Parameters
    ----------
    flux : ndarray, shape (n,)
    psf : crowdsource.psf.base.PSF
    noise : float
        Typical sky noise of a pixel.
    config : crowdsource.config.SolveConfig
    bright : ndarray of bool, shape (n,), optional
        Listed bright stars, which get `bright_size`.

    Returns
    -------
    ndarray of int, shape (n,)
    """
    sizes = np.array(config.stamp_sizes)
    peak = psf.stamp(5)[2, 2]
    level = np.searchsorted(stamp_levels(psf, config), np.abs(flux)*peak/noise, side="right")
    chosen = sizes[level]
    while (chosen.astype(np.int64)**2).sum() > config.max_stamp_pixels and level.max(initial=0) > 0:
        top = level.max()
        log.warning("stamps of %d bright stars would hold %.0f million pixels: they get %d px stamps instead of %d",
                    (level == top).sum(), (chosen.astype(np.int64)**2).sum()/1e6, sizes[top-1], sizes[top])
        level = np.minimum(level, top-1)
        chosen = sizes[level]
    return chosen if bright is None else np.where(bright, config.bright_size, chosen)


def sparse_matrix(stamps, inverse_sigma, n_parameters):
    """The explicit design matrix.

    Parameters
    ----------
    stamps : StampSet
    inverse_sigma : ndarray, shape (ny, nx), float32
        Root of the inverse variance.
    n_parameters : int
        3 for PSF and derivatives, 1 for the PSF alone.

    Returns
    -------
    scipy.sparse.csc_array, shape (ny*nx, n*n_parameters)
    """
    values, rows, indptr = kernel.sparse_columns(stamps.buffer, stamps.layout, inverse_sigma, n_parameters)
    return sparse.csc_array((values, rows, indptr), shape=(inverse_sigma.size, len(indptr)-1))


def sky_basis(shape, spacing):
    """Bilinear hat functions on a grid of knots, as a sparse matrix.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    spacing : float
        Distance of knots, pixels.

    Returns
    -------
    scipy.sparse.csr_array, shape (ny*nx, knots)
        Each row sums to 1.
    """
    return sparse.kron(*(_hats(n, spacing) for n in shape), format="csr").astype(np.float32)


def _hats(n, spacing):
    knots = max(2, int(np.ceil(n/spacing))+1)
    at = np.arange(n)*(knots-1)/max(1, n-1)
    low = np.minimum(at.astype(int), knots-2)
    part = at-low
    row = np.arange(n)
    return sparse.csr_array((np.r_[1-part, part], (np.r_[row, row], np.r_[low, low+1])), shape=(n, knots))
