"""Truth-known crowded fields: stars, sky, noise, saturation and the inverse variance that a pipeline would give.

Stars follow ``dN/dF ~ F^-slope`` down to a fraction of the 5 sigma limit, so that undetectable stars add their confusion.
They are drawn from a Moffat profile that varies over the image and is integrated over pixels by quadrature, without any
of the interpolation that a fit uses: what the fit's own PSF cannot represent shows up as an error.
`crowdsource.io.simulation` writes fields to files.
"""
import logging
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy import ndimage

from .errors import ConfigError
from .flags import FlagDefinition, FlagTable
from .image import Image
from .psf.base import pixel
from .psf.moffat import MoffatWings, moffat

log = logging.getLogger(__name__)

SIMULATED = FlagTable("simulated", [
    FlagDefinition(0, "saturated", "at the saturation level"),
    FlagDefinition(1, "bad_column", "a dead column: the value is meaningless"),
])
NEAR = 5, 5
"""Pixels within so many of the star's are integrated with so many points along each axis ..."""
MIDDLE = 4, 2
"""... and those within so many FWHM with so many: past it a pixel's middle is right to 1e-5 of the flux."""
CHUNK_VALUES = 1_000_000
SMALL_STAMP, LARGE_STAMP = 51, 801
TRUNCATION = 0.002


@dataclass(frozen=True)
class Cluster:
    """A star cluster with a Plummer profile on top of the field stars.

    Attributes
    ----------
    x, y : float
        Centre, pixels.
    radius : float
        Plummer radius: half of the stars lie within it, pixels.
    stars : float
        Expected number of its stars above 5 sigma.
    """
    x: float
    y: float
    radius: float
    stars: float


@dataclass(frozen=True)
class SimulationConfig:
    """A simulated field.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx), pixels.
    stars : float
        Expected number of field stars in the image above 5 sigma (isolated, on the bare sky).
    slope : float
        Stars per flux go as flux^-slope.
    faintest, brightest : float
        Bounds of the fluxes, in units of the 5 sigma flux.
    saturated_stars : int
        At least so many stars are saturated: the brightest ones are made brighter when there are fewer.
    saturated_peaks : tuple of float
        Their peaks are at least this high, in units of the saturation level: the brightest star's, and the last one's.
    clusters : tuple of Cluster
        On top of the field stars.
    fwhm, beta : float
        Moffat profile at the middle of the image: full width at half maximum in pixels, power.
    fwhm_gradient : tuple of float
        Relative change of the FWHM from the middle to the edge along x and y.
    ellipticity : tuple of float
        Ellipticity along the axes at the right edge, and along the diagonals at the upper edge.
    gain : float
        Electrons per count.
    readnoise : float
        Electrons.
    sky : float
        Sky level, counts.
    sky_gradient : tuple of float
        Relative change of the sky over the image along x and y.
    nebulosity : float
        Root mean square of a smooth random structure in the sky, counts.
    nebulosity_scale : float
        Its smallest scale, pixels.
    saturation : float
        Level at which pixels are clipped and flagged, counts.
    bad_columns : int
        Number of dead columns.
    zeropoint : float
        Magnitude of one count.
    position : tuple of float
        ra, dec of the middle of the image, degrees.
    pixel_scale : float
        Arcseconds per pixel.
    seed : int
        Of all random numbers.
    """
    shape: tuple = (1024, 1024)
    stars: float = 6000.
    slope: float = 1.8
    faintest: float = 1/3
    brightest: float = 2e4
    saturated_stars: int = 3
    saturated_peaks: tuple = (4., 1.5)
    clusters: tuple = ()
    fwhm: float = 4.
    beta: float = 3.
    fwhm_gradient: tuple = (0.03, 0.02)
    ellipticity: tuple = (0.03, 0.04)
    gain: float = 4.
    readnoise: float = 8.
    sky: float = 300.
    sky_gradient: tuple = (0.06, -0.04)
    nebulosity: float = 6.
    nebulosity_scale: float = 60.
    saturation: float = 50000.
    bad_columns: int = 0
    zeropoint: float = 27.5
    position: tuple = (266.4, -29.)
    pixel_scale: float = 0.26
    seed: int = 1


@dataclass(frozen=True)
class Simulation:
    """A simulated field and all that is true of it.

    Attributes
    ----------
    data, ivar : ndarray, shape (ny, nx), float32
        Counts, and their inverse variance as estimated from the data; 0 where flagged.
    dq : ndarray, shape (ny, nx), uint32
        Bits of `SIMULATED`.
    truth : astropy.table.Table
        x, y (pixels), flux (counts), snr (isolated, on the bare sky), ra, dec (degrees), brightest first; stars just
        off the image are listed. ``meta["FLUX5"]`` is the 5 sigma flux.
    sky : ndarray, shape (ny, nx), float32
        True sky, counts.
    psf : crowdsource.psf.moffat.MoffatWings
        True profile.
    header : astropy.io.fits.Header
        Gain, noise, saturation, zero point, world coordinates and the configuration.
    config : SimulationConfig
    """
    data: np.ndarray
    ivar: np.ndarray
    dq: np.ndarray
    truth: Table
    sky: np.ndarray
    psf: MoffatWings
    header: fits.Header
    config: SimulationConfig

    def image(self):
        """The field as an `~crowdsource.image.Image`."""
        c = self.config
        return Image.from_arrays(self.data, self.ivar, self.dq, wcs=WCS(self.header), zeropoint=c.zeropoint, gain=c.gain,
                                 saturation=c.saturation, exptime=1., exposure=f"simulated-{c.seed}")


def simulate_field(config=None):
    """Make a field.

    Parameters
    ----------
    config : SimulationConfig, optional

    Returns
    -------
    Simulation

    Raises
    ------
    ConfigError
        When a value is out of range.
    """
    c = _checked(config or SimulationConfig())
    rng = np.random.default_rng(c.seed)
    psf = true_psf(c)
    x, y, flux = draw_stars(c, psf, rng)
    sky = draw_sky(c, rng)
    counts = sky+render_stars(c.shape, psf, x, y, flux, _stamp_sizes(c, psf, flux))
    data = rng.poisson(np.maximum(counts, 0)*c.gain)/c.gain+rng.normal(0, c.readnoise/c.gain, c.shape)
    dq = np.zeros(c.shape, np.uint32)
    dq[data >= c.saturation] = SIMULATED.saturated
    data = np.minimum(np.round(data), c.saturation)  # a detector gives whole counts
    columns = rng.choice(c.shape[1], c.bad_columns, replace=False)
    dq[:, columns] |= SIMULATED.bad_column
    data[:, columns] = 0
    ivar = np.where(dq > 0, 0, pipeline_ivar(data, dq > 0, c.gain, c.readnoise))
    header = _header(c)
    log.info("%d stars, %d of them above 5 sigma, %d saturated pixels", len(x), (flux > five_sigma_flux(c, psf)).sum(),
             (dq & SIMULATED.saturated > 0).sum())
    truth = _truth(x, y, flux, five_sigma_flux(c, psf), WCS(header))
    return Simulation(data.astype(np.float32), ivar.astype(np.float32), dq, truth, sky.astype(np.float32), psf, header, c)


def _checked(c):
    """The same config, or an error that names the value out of range."""
    rules = [
        (len(c.shape) == 2 and min(c.shape) >= 5, "shape must be two numbers of at least 5 pixels"),
        (c.stars >= 0, "stars must not be negative"),
        (c.slope > 1, "slope must be above 1"),
        (0 < c.faintest < c.brightest, "faintest must be positive and below brightest"),
        (c.fwhm > 0.5 and c.beta > 1, "fwhm must be above 0.5 pixels and beta above 1"),
        (c.gain > 0 and c.readnoise >= 0 and c.sky >= 0, "gain must be positive, readnoise and sky not negative"),
        (0 <= c.bad_columns < c.shape[1], "bad_columns must be fewer than the columns"),
        (c.saturation > 2*c.sky, "saturation must be above twice the sky"),
        (len(c.saturated_peaks) == 2 and min(c.saturated_peaks) > 0, "saturated_peaks must be two positive numbers"),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
    return c


def true_psf(config):
    """The field's profile: FWHM and ellipticity linear in the position."""
    c = config
    (gx, gy), (e1, e2) = c.fwhm_gradient, c.ellipticity
    coefficients = [[c.fwhm, c.fwhm*gx, c.fwhm*gy], [0, e1, 0], [0, 0, e2], [c.beta, 0, 0]]
    return MoffatWings(np.array(coefficients, dtype=np.float64), tuple(c.shape), 1)


def five_sigma_flux(config, psf):
    """Flux of an isolated star at 5 sigma on the bare sky: 5 sigma / sqrt(sum of p^2), counts."""
    c = config
    ny, nx = c.shape
    p = star_stamps(psf.at([nx/2], [ny/2]), np.zeros(1), np.zeros(1), 61)[0]
    return float(5*np.sqrt((c.sky/c.gain+(c.readnoise/c.gain)**2)/(p**2).sum()))


def draw_stars(config, psf, rng):
    """Positions and fluxes of stars in the image and a margin around it, brightest first.

    Returns
    -------
    x, y, flux : ndarray, shape (n,), float64
    """
    c = config
    ny, nx = c.shape
    margin = 5*c.fwhm
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
    flux = ratio*five_sigma_flux(c, psf)
    peak = star_stamps(psf.at([nx/2], [ny/2]), np.zeros(1), np.zeros(1), 1)[0, 0, 0]
    order = np.argsort(-flux, kind="stable")
    x, y, flux = x[order], y[order], flux[order]
    inside = np.flatnonzero((np.abs(x-(nx-1)/2) < nx/2) & (np.abs(y-(ny-1)/2) < ny/2))[:c.saturated_stars]
    flux[inside] = np.maximum(flux[inside], np.linspace(*c.saturated_peaks, len(inside))*c.saturation/peak)
    return x, y, flux


def _stamp_sizes(config, psf, flux):
    """Stamp sizes at whose edge a star is far below the sky noise, among few values."""
    c = config
    a = c.fwhm/(2*np.sqrt(2**(1/c.beta)-1))
    noise = np.sqrt(c.sky/c.gain+(c.readnoise/c.gain)**2)
    centre = flux*(c.beta-1)/(np.pi*a*a)
    radius = a*(centre/(TRUNCATION*noise))**(1/(2*c.beta))
    steps = np.array([SMALL_STAMP, 75, 101, 151, 251, 401, 601, LARGE_STAMP])
    return steps[np.minimum(np.searchsorted(steps, 2*radius), len(steps)-1)]


def star_stamps(parameters, fx, fy, size):
    """Moffat stamps integrated over pixels: Gauss-Legendre points near the star, a pixel's middle far from it.

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
    psf : MoffatWings
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


def draw_sky(config, rng):
    """Sky with a gradient and random structure whose power falls steeply with spatial frequency, counts, (ny, nx)."""
    c = config
    ny, nx = c.shape
    v, u = np.meshgrid(np.linspace(-0.5, 0.5, ny), np.linspace(-0.5, 0.5, nx), indexing="ij")
    sky = c.sky*(1+c.sky_gradient[0]*u+c.sky_gradient[1]*v)
    if c.nebulosity <= 0:
        return sky
    # made on twice the image so that it does not wrap around
    k = np.hypot(np.fft.fftfreq(2*ny)[:, None], np.fft.rfftfreq(2*nx)[None, :])
    amplitude = np.where(k > 0, np.maximum(k, 0.5/max(ny, nx))**-1.5, 0)*np.exp(-0.5*(k*c.nebulosity_scale)**2)
    wave = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(2*ny, 2*nx)))*amplitude, s=(2*ny, 2*nx))[:ny, :nx]
    return np.maximum(sky+c.nebulosity*(wave-wave.mean())/wave.std(), 0)


def pipeline_ivar(data, bad, gain, readnoise):
    """Inverse variance as a pipeline derives it from the data: smoothed counts, at least the sky's, over the gain.

    The pixel's own count must not set its weight, or low pixels would weigh more and bias every flux.
    """
    block = 64
    ny, nx = data.shape
    filled = np.where(bad & (data <= 0), np.median(data), data)
    by, bx = max(1, ny//block), max(1, nx//block)
    medians = np.array([[np.median(part) for part in np.array_split(row, bx, axis=1)]
                        for row in np.array_split(filled, by)])
    medians = ndimage.median_filter(medians, 3, mode="nearest")
    yy, xx = np.meshgrid((np.arange(ny)+0.5)*by/ny-0.5, (np.arange(nx)+0.5)*bx/nx-0.5, indexing="ij")
    sky = ndimage.map_coordinates(medians, [yy, xx], order=1, mode="nearest")
    variance = np.maximum(ndimage.uniform_filter(filled, 3), sky)/gain+(readnoise/gain)**2
    return 1/np.maximum(variance, 1/gain**2)


def _truth(x, y, flux, flux5, wcs):
    ra, dec = wcs.all_pix2world(x, y, 0)
    columns = dict(x=x, y=y, flux=flux, snr=(5*flux/flux5).astype(np.float32), ra=ra, dec=dec)
    return Table(columns, meta=dict(FLUX5=flux5))


def _header(config):
    """Header with what an observatory writes, and the configuration."""
    c = config
    ny, nx = c.shape
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = (nx+1)/2, (ny+1)/2
    wcs.wcs.crval = c.position
    wcs.wcs.cdelt = -c.pixel_scale/3600, c.pixel_scale/3600
    header = wcs.to_header()
    del header["MJDREF"]
    for key, value, comment in (
            ("OBJECT", f"simulated-{c.seed}", "a simulated field"), ("GAIN", c.gain, "electrons per count"),
            ("RDNOISE", c.readnoise, "read noise, electrons"),
            ("SATURATE", c.saturation, "saturation level, counts"), ("EXPTIME", 1., "s"),
            ("MAGZERO", c.zeropoint, "magnitude of one count"), ("BUNIT", "count", ""),
            ("SEEING", c.fwhm, "FWHM at the middle, pixels"), ("SIMSTARS", c.stars, "stars above 5 sigma expected"),
            ("SIMSLOPE", c.slope, "stars per flux go as flux^-slope"), ("SIMBETA", c.beta, "Moffat power"),
            ("SIMNEB", c.nebulosity, "rms of structure in the sky, counts"), ("SIMCOLS", c.bad_columns, "dead columns"),
            ("SIMSEED", c.seed, "seed of the simulation")):
        header[key] = (value, comment)
    return header
