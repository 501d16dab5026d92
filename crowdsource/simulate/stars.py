"""Stars of a simulated field: their positions, their fluxes, and their image without noise."""
import numpy as np

from ..psf.base import pixel
from ..psf.profiles.moffat import MoffatProfile, moffat

NEAR = 5, 5
"""Distance from a star's pixel, pixels, within which pixels are integrated with this number of points along each axis."""
MIDDLE = 4, 2
"""The same for a distance in FWHM; beyond it the value in a pixel's middle is right to 1e-5 of the flux."""
CHUNK_VALUES = 1_000_000
"""Values of stamps that are computed at a time."""
SMALL_STAMP, LARGE_STAMP = 51, 801
"""Sides of the smallest and the largest stamps, pixels."""
TRUNCATION = 0.002
"""A star is below this part of the sky noise at the edge of its stamp, unless the stamp is of the largest size."""
HALO_REACH = 400
"""Radius to which a camera's halo is drawn, pixels."""


def true_psf(config):
    """The field's profile, whose FWHM and ellipticity are linear in the position."""
    c = config
    (gx, gy), (e1, e2) = c.fwhm_gradient, c.ellipticity
    coefficients = [[c.fwhm, c.fwhm*gx, c.fwhm*gy], [0, e1, 0], [0, 0, e2], [c.beta, 0, 0]]
    return MoffatProfile(np.array(coefficients, dtype=np.float64), tuple(c.shape), 1)


def five_sigma_flux(config, psf, picture=None):
    """Flux of an isolated star at 5 sigma on the bare sky: 5 sigma / sqrt(sum of p^2), counts.

    Parameters
    ----------
    config : SimulationConfig
    psf : MoffatProfile
    picture : ndarray, shape (m, m), m odd, optional
        The camera's image of a point.
    """
    c = config
    ny, nx = c.shape
    p = star_stamps(psf.at([nx/2], [ny/2]), np.zeros(1), np.zeros(1), 61)[0]
    if picture is not None:
        p = blurred(p, picture)
    return float(5*np.sqrt((c.sky/c.gain+(c.readnoise/c.gain)**2)/(p**2).sum()))


def draw_stars(config, psf, rng):
    """Positions and fluxes of stars in the image and a margin around it, brightest first.

    Returns
    -------
    x, y, flux : ndarray, shape (n,), float64
    """
    ny, nx = config.shape
    peak = star_stamps(psf.at([nx/2], [ny/2]), np.zeros(1), np.zeros(1), 1)[0, 0, 0]
    return random_stars(config, five_sigma_flux(config, psf), peak, 5*config.fwhm, rng)


def random_stars(config, flux5, peak, margin, rng):
    """Positions and fluxes of stars of any profile.

    Parameters
    ----------
    config : SimulationConfig
    flux5, peak : float
        Flux of an isolated star at 5 sigma, and the value of the middle pixel of a star of unit flux.
    margin : float
        Width of the strip around the image in which there are stars too, pixels.
    rng : numpy.random.Generator

    Returns
    -------
    x, y, flux : ndarray, shape (n,), float64
        As `draw_stars`.
    """
    c = config
    ny, nx = c.shape
    area = (nx+2*margin)*(ny+2*margin)/(nx*ny)
    more = c.faintest**(1-c.slope)-c.brightest**(1-c.slope)
    n = rng.poisson(c.stars*area*more)
    x, y = (rng.uniform(-margin-0.5, length+margin-0.5, n) for length in (nx, ny))
    for cluster in c.clusters:
        m = rng.poisson(cluster.stars*more)
        # half of a projected Plummer sphere lies within its radius
        u, angle = rng.random(m), rng.uniform(0, 2*np.pi, m)
        r = cluster.radius*np.sqrt(u/(1-u))
        x, y = np.append(x, cluster.x+r*np.cos(angle)), np.append(y, cluster.y+r*np.sin(angle))
    ratio = (c.faintest**(1-c.slope)-rng.random(len(x))*more)**(1/(1-c.slope))
    flux = ratio*flux5
    order = np.argsort(-flux, kind="stable")
    x, y, flux = x[order], y[order], flux[order]
    inside = np.flatnonzero((np.abs(x-(nx-1)/2) < nx/2) & (np.abs(y-(ny-1)/2) < ny/2))[:c.saturated_stars]
    flux[inside] = np.maximum(flux[inside], np.linspace(*c.saturated_peaks, len(inside))*c.saturation/peak)
    return x, y, flux


def stamp_sizes(config, psf, flux):
    """Stamp sizes, out of a few, at whose edge a star is far below the sky noise."""
    c = config
    a = c.fwhm/(2*np.sqrt(2**(1/c.beta)-1))
    noise = np.sqrt(c.sky/c.gain+(c.readnoise/c.gain)**2)
    centre = flux*(c.beta-1)/(np.pi*a*a)
    radius = a*(centre/(TRUNCATION*noise))**(1/(2*c.beta))
    steps = np.array([SMALL_STAMP, 75, 101, 151, 251, 401, 601, LARGE_STAMP])
    return steps[np.minimum(np.searchsorted(steps, 2*radius), len(steps)-1)]


def star_stamps(parameters, fx, fy, size):
    """Moffat stamps integrated over pixels: by Gauss-Legendre quadrature near the star, by the pixel's middle far from it.

    Parameters
    ----------
    parameters : ndarray, shape (n, 4)
        fwhm, e1, e2, beta of each star.
    fx, fy : ndarray, shape (n,)
        Position of the star relative to the stamp's central pixel.
    size : int
        Odd.

    Returns
    -------
    ndarray, shape (n, size, size), float64
        Unit flux over the plane.
    """
    half = size//2
    columns = [p[:, None, None] for p in np.transpose(parameters)]
    at = np.arange(-half, half+1.)
    dx, dy = at[None, None, :]-fx[:, None, None], at[None, :, None]-fy[:, None, None]
    middle = int(np.ceil(MIDDLE[0]*np.max(parameters[:, 0], initial=0)))
    out = moffat(dx, dy, *columns) if half > middle else np.empty((len(fx), size, size))
    for reach, points in ((middle, MIDDLE[1]), NEAR):
        box = np.s_[max(0, half-reach):half+reach+1]
        point, weight = np.polynomial.legendre.leggauss(points)
        out[:, box, box] = sum(w*v/4*moffat(dx[:, :, box]+p/2, dy[:, box]+q/2, *columns)
                               for p, w in zip(point, weight) for q, v in zip(point, weight))
    return out


def render_stars(shape, psf, x, y, flux, size):
    """Noise-free image of stars.

    Parameters
    ----------
    shape : tuple of int
        (ny, nx).
    psf : MoffatProfile
    x, y, flux : ndarray, shape (n,)
    size : ndarray of int, shape (n,)
        Odd stamp sizes.

    Returns
    -------
    ndarray, shape (ny, nx), float64
    """
    border = int(size.max())//2+1 if len(size) else 0
    canvas = np.zeros((shape[0]+2*border, shape[1]+2*border))
    px, py = np.clip(pixel(x), -1, shape[1]), np.clip(pixel(y), -1, shape[0])
    for s in np.unique(size):
        members = np.flatnonzero(size == s)
        for chunk in np.array_split(members, -(-len(members)*int(s)**2//CHUNK_VALUES)):
            stamps = star_stamps(psf.at(x[chunk], y[chunk]), x[chunk]-px[chunk], y[chunk]-py[chunk], int(s))
            for k, stamp in zip(chunk, stamps):
                x0, y0 = px[k]+border-s//2, py[k]+border-s//2
                canvas[y0:y0+s, x0:x0+s] += flux[k]*stamp
    return canvas[border:border+shape[0], border:border+shape[1]]


def blurred(stars, picture):
    """Stars blurred by a camera; light is conserved, except for what leaves the image.

    Parameters
    ----------
    stars : ndarray, shape (ny, nx)
    picture : ndarray, shape (m, m), m odd
        The camera's image of a point of unit flux.

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    from scipy.signal import oaconvolve  # heavy to import, and seldom needed
    # rounding errors of the transform may be negative where there is no light
    return np.maximum(oaconvolve(stars, picture, mode="same"), 0)
