"""What pictures and pages show of a fit, as arrays: planes, their stretch, and what the PSF leaves of stars."""
import numpy as np

LARGEST_SIDE = 1100
ZOOM = 96
CORNER_SIZE = 25
WINGS, PHASES, MOST_STARS = 299, 5, 200
"""Side of the PSF's wings, cells of phases along each axis, and number of stars looked at."""


def plain(column):
    """A column's values as a float64 array, without unit or mask."""
    return np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)


def planes_of(image, result):
    """Data, model with sky, and residual in sigma, NaN where masked."""
    model = result.model+result.sky
    significance = np.where(image.good, (image.data-model)*np.sqrt(image.ivar), np.nan)
    # saturated pixels are masked but worth seeing, dead ones lie far below the sky
    dead = ~image.good & (image.data < result.sky-10*image.noise)
    return dict(data=np.where(dead, np.nan, image.data), model=model, significance=significance,
                residual=np.where(image.good, image.data-model, np.nan))


def robust_scatter(values):
    """The standard deviation from the median of absolute deviations; NaN for none."""
    return 1.4826*np.median(np.abs(values-np.median(values))) if len(values) else np.nan


def busiest_box(x, y, shape):
    """The box (x0, x1, y0, y1) with most sources, away from the edge where the image is large enough."""
    ny, nx = shape
    wide, high = min(ZOOM, nx), min(ZOOM, ny)
    step = 16
    count, ye, xe = np.histogram2d(y, x, bins=[np.arange(0, ny+step, step), np.arange(0, nx+step, step)])
    sums = np.cumsum(np.cumsum(np.pad(count, ((1, 0), (1, 0))), axis=0), axis=1)
    m, n = max(1, high//step), max(1, wide//step)
    boxes = sums[m:, n:]-sums[:-m, n:]-sums[m:, :-n]+sums[:-m, :-n]
    if not boxes.size:
        return 0, wide, 0, high
    j, i = np.unravel_index(np.argmax(boxes), boxes.shape)
    x0, y0 = min(int(xe[i]), nx-wide), min(int(ye[j]), ny-high)
    return x0, x0+wide, y0, y0+high


def stretch_limits(data):
    """Limits and softening of an asinh stretch: from below the sky to the brightest stars' wings."""
    values = data[np.isfinite(data)]
    if not len(values):
        return 0., 1., 1.
    low, sky, high = np.quantile(values, [0.005, 0.4, 0.999])
    return low, max(high, low+1e-6), max((sky-low), (high-low)*1e-3, 1e-6)


def asinh_stretched(data, stretch):
    """Data from 0 to 1, by the limits of `stretch_limits`."""
    low, high, soft = stretch
    return np.arcsinh((data-low)/soft)/np.arcsinh((high-low)/soft)


def binned(plane, step):
    """A plane averaged over square blocks; what is outside of it, and not finite, does not count.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
    step : int
        Side of a block, pixels.

    Returns
    -------
    ndarray, shape (ceil(ny/step), ceil(nx/step)), float32
    """
    if step == 1:
        return plane.astype(np.float32)
    ny, nx = plane.shape
    padded = np.pad(plane.astype(np.float32), ((0, -ny % step), (0, -nx % step)), constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0]//step, step, padded.shape[1]//step, step)
    known = np.isfinite(blocks)
    number = known.sum(axis=(1, 3))
    sums = np.where(known, blocks, 0).sum(axis=(1, 3))
    return np.where(number > 0, sums/np.maximum(number, 1), np.nan).astype(np.float32)


def reduced(plane):
    """The plane averaged over square blocks so that no side is above the largest, and the block's side."""
    step = -(-max(plane.shape)//LARGEST_SIDE)
    ny, nx = (n//step*step for n in plane.shape)
    return binned(plane[:ny, :nx], step), step


def left_by_phase(residual, sources):
    """What is left in the middle 3x3 pixels of bright stars, percent of their flux, by place in the pixel, and their number.

    A PSF that is wrong between the pixels leaves light of one sign where stars are in the middle of a pixel, of the other where
    they are at its corners.
    """
    x, y, flux, catalog = sources
    chosen, px, py = bright_stars(residual.shape, x, y, flux, catalog, 1)
    sums, counts = np.zeros((PHASES, PHASES)), np.zeros((PHASES, PHASES))
    at = np.arange(-1, 2)
    middle = residual[py[chosen, None, None]+at[None, :, None], px[chosen, None, None]+at[None, None, :]]
    left = 100*middle.sum(axis=(1, 2))/flux[chosen]
    cell = [np.clip(((v[chosen]-p[chosen]+0.5)*PHASES).astype(int), 0, PHASES-1) for v, p in ((y, py), (x, px))]
    known = np.isfinite(left)
    np.add.at(sums, tuple(c[known] for c in cell), left[known])
    np.add.at(counts, tuple(c[known] for c in cell), 1)
    return np.where(counts > 0, sums/np.maximum(counts, 1), np.nan), int(known.sum())


def bright_stars(shape, x, y, flux, catalog, half):
    """Indices of the brightest PSF stars away from the edge, brightest first, and the pixels of all sources in x and y."""
    ny, nx = shape
    px, py = np.floor(x+0.5).astype(int), np.floor(y+0.5).astype(int)
    use = (px >= half) & (px < nx-half) & (py >= half) & (py < ny-half) & (flux > 0)
    if "psf_star" in catalog.colnames and np.any(catalog["psf_star"]):
        use &= np.asarray(catalog["psf_star"], dtype=bool)
    return np.flatnonzero(use)[np.argsort(-flux[use], kind="stable")][:MOST_STARS], px, py


def corner_differences(psf, shape):
    """PSFs at the four corners less that of the middle, percent of its peak, as a mosaic with the corners in place."""
    ny, nx = shape
    middle = psf.stamp(CORNER_SIZE, (nx-1)//2, (ny-1)//2)
    lines = []
    for y in (0.05*ny, 0.95*ny):
        tiles = [100*(psf.stamp(CORNER_SIZE, x, y)-middle)/middle.max() for x in (0.05*nx, 0.95*nx)]
        lines.append(np.hstack([tiles[0], np.full((CORNER_SIZE, 1), np.nan), tiles[1]]))
    return np.vstack([lines[0], np.full((1, 2*CORNER_SIZE+1), np.nan), lines[1]])


def stacked_residual(residual, sources, peak):
    """Median residual of the PSF's stars in percent of their peaks, and how many they are."""
    x, y, flux, catalog = sources
    half = CORNER_SIZE//2
    chosen, px, py = bright_stars(residual.shape, x, y, flux, catalog, half)
    if not len(chosen):
        return np.full((CORNER_SIZE, CORNER_SIZE), np.nan), 0
    at = np.arange(-half, half+1)
    stack = residual[py[chosen, None, None]+at[None, :, None], px[chosen, None, None]+at[None, None, :]]
    stack = 100*stack/(flux[chosen]*peak)[:, None, None]
    return np.ma.median(np.ma.masked_invalid(stack), axis=0).filled(np.nan), len(chosen)


def radial_profile(psf):
    """The PSF's light by distance from its middle, in units of its peak.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF

    Returns
    -------
    radius : ndarray, shape (n,)
        Pixels.
    least, mean, most : ndarray, shape (n,)
        Of the absolute values of the pixels in a ring.
    """
    wide = psf.stamp(WINGS).astype(np.float64)
    at = np.arange(WINGS)-WINGS//2
    ring = np.hypot(at[:, None], at[None, :]).round().astype(int).ravel()
    order = np.argsort(ring, kind="stable")
    light = np.abs(wide/wide.max()).ravel()[order]
    rings = np.split(light, np.flatnonzero(np.diff(ring[order]))+1)[:WINGS//2]
    return np.arange(len(rings))+0.5, *(np.array([f(r) for r in rings]) for f in (np.min, np.mean, np.max))
