"""Artificial stars: added to an image with the noise that they bring, and looked for again."""
from dataclasses import replace

import numpy as np
from astropy.table import Table

from ..config import SolveConfig
from ..core.errors import InputError
from ..core.flags import ENGINE
from ..engine.design import model_image, stamp_sizes
from ..psf.base import pixel
from .evaluate import FLUX_FACTOR, MATCH_RADIUS, match_stars, robust_scatter


def inject(image, psf, sources, *, seed=0, config=None):
    """The image with stars added.

    The stars' own photon noise is drawn and their variance added to the image's. Where the gain is not known, it is taken
    from how the given variance grows with the data; where that does not grow, the stars bring no noise. Masked pixels stay
    masked, and pixels pushed over the saturation level are clipped, flagged and masked.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    psf : crowdsource.psf.base.PSF
    sources : Table or mapping with x, y, flux
        Positions in the parent image's pixels, fluxes in the image's units.
    seed : int
        Of the noise.
    config : crowdsource.config.SolveConfig, optional
        Its stamp sizes and levels.

    Returns
    -------
    crowdsource.core.image.Image

    Raises
    ------
    InputError
        When a column is missing or a value is not finite.
    """
    x, y, flux = _columns(sources)
    x, y = x-image.origin[0], y-image.origin[1]
    size = stamp_sizes(flux, psf, image.noise, config or SolveConfig())
    # stars whose stamps miss the image are left out
    ny, nx = image.shape
    half = size//2
    px, py = pixel(x), pixel(y)
    touches = (px+half >= 0) & (px-half < nx) & (py+half >= 0) & (py-half < ny)
    added = model_image(psf, x[touches], y[touches], flux[touches], size[touches], image.shape)
    per_count = variance_per_count(image)
    rng = np.random.default_rng(seed)
    light = np.maximum(added, 0).astype(np.float64)
    drawn = rng.poisson(light/per_count)*per_count-light if per_count > 0 else 0.
    data = (image.data+added+drawn).astype(np.float32)
    variance = 1/np.where(image.good, image.ivar, 1)+light*per_count
    ivar = np.where(image.good, 1/variance, 0).astype(np.float32)
    return _saturated(replace(image, data=data, ivar=ivar))


def _columns(sources):
    names = sources.colnames if hasattr(sources, "colnames") else list(sources)
    missing = [n for n in ("x", "y", "flux") if n not in names]
    if missing:
        raise InputError(f"the sources have no column {', '.join(missing)}: they have {', '.join(names)}")
    columns = [np.atleast_1d(np.asarray(getattr(sources[n], "value", sources[n]), dtype=np.float64)) for n in ("x", "y", "flux")]
    if not all(np.isfinite(c).all() for c in columns):
        raise InputError("positions and fluxes of injected stars must be finite: remove the rows with NaN")
    return columns


def _saturated(image):
    """The image with pixels above the saturation level clipped and masked; its arrays frozen."""
    over = image.data > image.saturation
    if over.any():
        image = replace(image, data=np.where(over, np.float32(image.saturation), image.data))
        image = image.masked(over, ENGINE.saturated)
    for array in (image.data, image.ivar):
        array.flags.writeable = False
    return image


def variance_per_count(image):
    """Photon variance brought by one count: from the gain, else the slope of the image's variance with its data.

    Returns
    -------
    float
        Units of the image; 0 when the variance does not grow.
    """
    if np.isfinite(image.gain) and image.gain > 0:
        return 1/image.gain
    data, variance = image.data[image.good].astype(np.float64), 1/image.ivar[image.good].astype(np.float64)
    low, high = np.quantile(data, [0.5, 0.99])
    faint, bright = data <= low, data >= high
    rise = np.median(data[bright])-np.median(data[faint])
    if not rise > 0:
        return 0.
    return max(0., float((np.median(variance[bright])-np.median(variance[faint]))/rise))


def completeness(image, psf, fit_function, fluxes, n=100, seed=0):
    """Fraction of artificial stars that a fit finds again, by flux.

    All stars are added at once on a jittered grid, so that they do not crowd each other: `n` times the number of fluxes
    should stay well below the number of stars in the image. Found means a row within 1 px with a flux within a factor 1.5.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    psf : crowdsource.psf.base.PSF
    fit_function : callable
        Called with an Image; returns a catalog with x, y, flux.
    fluxes : sequence of float
        Image units.
    n : int
        Stars of each flux.
    seed : int
        Of positions and noise.

    Returns
    -------
    astropy.table.Table
        flux, injected (stars on good pixels), found, fraction, bias (median of (flux-truth)/truth), scatter (robust, same units).
    """
    rng = np.random.default_rng(seed)
    x, y = _grid(image.shape, n*len(fluxes), rng)
    flux = rng.permutation(np.repeat(np.asarray(fluxes, dtype=np.float64), n))
    keep = image.good[pixel(y), pixel(x)]
    stars = dict(x=x[keep]+image.origin[0], y=y[keep]+image.origin[1], flux=flux[keep])
    catalog = fit_function(inject(image, psf, stars, seed=seed+1))
    rows = dict(zip(("x", "y", "flux"), _columns(catalog)))
    positive = rows["flux"] > 0
    rows = {name: v[positive] for name, v in rows.items()}
    match = match_stars(stars, rows, MATCH_RADIUS)
    error = np.full(len(match), np.nan)
    hit = match >= 0
    error[hit] = rows["flux"][match[hit]]/stars["flux"][hit]-1
    right = hit & (np.abs(np.log1p(np.where(hit, error, 0))) < np.log(FLUX_FACTOR))
    return Table(rows=[_row(f, stars["flux"] == f, right, error) for f in np.unique(flux)])


def _grid(shape, count, rng):
    """Positions on a jittered grid, one in each of `count` random cells."""
    ny, nx = shape
    columns = max(1, int(np.ceil(np.sqrt(count*nx/ny))))
    lines = -(-count//columns)
    cell = rng.permutation(columns*lines)[:count]
    u, v = rng.uniform(0.25, 0.75, (2, count))
    return (cell % columns+u)*nx/columns-0.5, (cell//columns+v)*ny/lines-0.5


def _row(flux, selected, right, error):
    good = error[selected & right]
    return dict(flux=float(flux), injected=int(selected.sum()), found=int((selected & right).sum()),
                fraction=float(np.mean(right[selected])) if selected.any() else np.nan,
                bias=float(np.median(good)) if len(good) else np.nan, scatter=robust_scatter(good))
