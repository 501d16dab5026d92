"""Places where many detections lie together: upper bounds of the densities there, each from the place as a whole.

Thousands of images of one star give as many detections within a tenth of an arcsecond. The density at each is a sum over all
others, but only that of the densest few matters, and a bound tells which these are. The sum of w (1-d^2/r^2)^2 over all
detections around, also over those a little farther than r, where a density has nothing, is such a bound, as no term is negative;
for all detections of a small cell it follows from the moments of the positions around.
"""
import numpy as np

from ..sorting import order_by

CELLS = 8, 4, 2
"""On the reach of a density: small cells have close bounds, larger ones bound what is left on the outskirts."""
CROWD, PAIRS = 32, 50_000
"""Densities in a cell are bounded where it has so many detections, and with those around it so many pairs."""
NEXT, FAR = 74, 5
"""Where a cell has so many pairs, the last of so many next detections lies within so many reaches."""
SLACK = 1e-9
"""Relative error of a bound by rounding, at most: moments have 1e-12, sums over a million detections 1e-10."""


def density_bounds(vectors, half, weight, part):
    """Upper bounds of what `crowdsource.cython_ext.match.density` gives, where many points lie together.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
        Unit vectors, as of `crowdsource.cython_ext.sphere.Points`.
    half, weight, part
        As there; weights are not negative.

    Returns
    -------
    ndarray, shape (n,)
        Infinite where a density is quickly worked out.
    """
    out = np.full(len(vectors), np.inf)
    if len(vectors) > NEXT:
        reach = part*np.sqrt(2*half.max())
        close = ((vectors[NEXT:]-vectors[:-NEXT])**2).sum(axis=1) < (FAR*reach)**2
        if close.any():
            # points of such a run; in most fields there is none
            runs = np.cumsum(np.r_[close, np.zeros(NEXT+1, int)]-np.r_[np.zeros(NEXT+1, int), close])[:-1] > 0
            # with all that lies around them
            near = np.flatnonzero(_beside(vectors, 2*reach, runs))
            found = out[near]
            for cells in CELLS:
                _bound_cells(found, vectors[near], reach, weight[near], cells, np.flatnonzero(runs[near]))
            out[near] = found
    return out


def _beside(vectors, side, some):
    """Which points lie in the same cells as some, or in one beside; a boolean array."""
    key, columns = _keys(vectors, side, 1)
    if key is None:
        return np.ones(len(vectors), bool)
    wanted = np.unique((np.unique(key[some])[:, None]+columns).ravel())
    return wanted[np.minimum(np.searchsorted(wanted, key), len(wanted)-1)] == key


def _keys(vectors, side, reach):
    """Numbers of the cells in which points lie, and by how much those of the cells within a reach differ; None of too many cells.

    Those that differ in the last axis alone follow each other.
    """
    cell = np.floor(vectors/side).astype(np.int64)
    cell -= cell.min(axis=0)-reach
    _, high, deep = (int(n) for n in cell.max(axis=0)+reach+1)
    # those of one pixel and those around it span 2**19 cells at most
    if float(cell[:, 0].max())*high*deep >= 2**62:
        return None, None
    steps = np.arange(-reach, reach+1)
    return (cell[:, 0]*high+cell[:, 1])*deep+cell[:, 2], (((steps[:, None]*high+steps)*deep)[..., None]+steps).ravel()


def _bound_cells(out, vectors, reach, weight, cells, some):
    """Bound densities that are not bounded yet in crowded cells that hold some points, so many cells on the reach; in place."""
    key, columns = _keys(vectors, reach/cells, cells+1)
    if key is None:
        return
    # the first and the last of each row of cells
    columns = columns.reshape(-1, 2*cells+3)[:, [0, -1]]
    order = order_by(key)
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) > 0])
    keys, ends = key[order][first], np.r_[first, len(key)]
    # of the points in runs
    which = np.unique(np.searchsorted(keys, key[some]))
    for k in which[np.diff(ends)[which] >= CROWD]:
        low, top = (ends[np.searchsorted(keys, keys[k]+c)] for c in (columns[:, 0], columns[:, 1]+1))
        own = order[ends[k]:ends[k+1]]
        own = own[out[own] == np.inf]
        if len(own) < CROWD or len(own)*int((top-low).sum()) < PAIRS:
            continue
        around = np.concatenate([order[a:b] for a, b in zip(low, top) if b > a])
        bound = _bound((vectors[own]-vectors[own[0]])/reach, (vectors[around]-vectors[own[0]])/reach, weight[around])
        # those of one position have one bound, so that the order among them is theirs
        begins = np.flatnonzero(np.r_[True, (vectors[own[1:]] != vectors[own[:-1]]).any(axis=1)])
        out[own] = np.repeat(np.maximum.reduceat(bound, begins), np.diff(np.r_[begins, len(own)]))


def _bound(places, around, weight):
    """Sum of w (1-d^2)^2 over all points around, at each of some places; vectors of shape (n, 3) in units of the reach."""
    square = (around**2).sum(axis=1)
    near = square <= (1+np.sqrt((places**2).sum(axis=1).max()))**2
    around, weight, square = around[near], weight[near], square[near]
    outer = (around*weight[:, None]).T
    total, first, second = weight.sum(), outer.sum(axis=1), outer @ around
    of_square, of_fourth, mixed = (weight*square).sum(), (weight*square**2).sum(), outer @ square
    own, along = (places**2).sum(axis=1), places @ first
    d2 = own*total-2*along+of_square
    d4 = own**2*total+of_fourth+4*((places @ second)*places).sum(axis=1)+2*own*of_square-4*own*along-4*places @ mixed
    return total-2*d2+d4+SLACK*total
