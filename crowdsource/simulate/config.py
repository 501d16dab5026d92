"""Configuration of simulated fields."""
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import ConfigError

EFFECTS = "nebula", "cosmic rays"
"""Effects with random numbers of their own."""


@dataclass(frozen=True)
class Cluster:
    """A star cluster with a Plummer profile, in addition to the field stars.

    Attributes
    ----------
    x, y : float
        Centre, pixels.
    radius : float
        Plummer radius: half of the stars lie within it, pixels.
    stars : float
        Expected number of the cluster's stars above 5 sigma.
    """

    x: float
    y: float
    radius: float
    stars: float


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """A simulated field.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx), pixels.
    stars : float
        Expected number of field stars in the image above 5 sigma (of an isolated star on the bare sky).
    slope : float
        The number of stars per unit of flux is proportional to flux^-slope.
    faintest, brightest : float
        Smallest and largest flux, in units of the 5 sigma flux.
    saturated_stars : int
        Least number of saturated stars: the brightest stars are made brighter where there are fewer.
    saturated_peaks : tuple of float
        Least heights of their peaks, in units of the saturation level: of the brightest star, and of the last one.
    clusters : tuple of Cluster
        Star clusters, in addition to the field stars.
    fwhm, beta : float
        Moffat profile in the middle of the image: full width at half maximum in pixels, power.
    fwhm_gradient : tuple of float
        Relative change of the FWHM from the middle to the edge along x and y.
    ellipticity : tuple of float
        Ellipticity along the axes at the right edge, and along the diagonals at the upper edge; both are 0 in the middle.
    gain : float
        Electrons per count.
    readnoise : float
        Electrons.
    sky : float
        Sky level, counts.
    sky_gradient : tuple of float
        Relative change of the sky over the image along x and y.
    nebulosity : float
        Root mean square of smooth random structure in the sky, counts.
    nebulosity_scale : float
        Smallest scale of that structure, pixels.
    saturation : float
        Level at which pixels are clipped and flagged, counts.
    bad_columns : int
        Number of dead columns.
    nebula_area : float
        Part of the image that local nebulae cover: filaments and clumps in addition to the sky.
    nebula_peak : float
        Highest level of the nebulae, counts.
    nebula_scales : tuple of float
        Finest and coarsest scale of the nebulae, pixels.
    bleeding : float
        Part of the charge above saturation that runs along its column and leaves a trail.
    cosmic_rays : float
        Expected number of cosmic rays.
    cosmic_rays_flagged : float
        Part of the cosmic rays that is flagged.
    rim : int
        Width of the strip of bad pixels along each edge, pixels.
    zeropoint : float
        Magnitude of one count.
    position : tuple of float
        ra, dec of the middle of the image, degrees.
    pixel_scale : float
        Arcseconds per pixel.
    seed : int
        Seed of all random numbers.
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
    nebula_area: float = 0.
    nebula_peak: float = 500.
    nebula_scales: tuple = (10., 100.)
    bleeding: float = 0.
    cosmic_rays: float = 0.
    cosmic_rays_flagged: float = 0.95
    rim: int = 0
    zeropoint: float = 27.5
    position: tuple = (266.4, -29.)
    pixel_scale: float = 0.26
    seed: int = 1


def checked(c):
    """The same config; a ConfigError where a value is out of range."""
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
        (0 <= c.nebula_area < 1 and c.nebula_peak >= 0, "nebula_area must be at least 0 and below 1, nebula_peak not negative"),
        (len(c.nebula_scales) == 2 and 1 <= c.nebula_scales[0] <= c.nebula_scales[1],
         "nebula_scales must be two numbers of at least 1 pixel, the finer first"),
        (0 <= c.bleeding <= 1 and 0 <= c.cosmic_rays_flagged <= 1, "bleeding and cosmic_rays_flagged must be from 0 to 1"),
        (c.cosmic_rays >= 0, "cosmic_rays must not be negative"),
        (0 <= 2*c.rim < min(c.shape), "rim must leave pixels in the middle"),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
    return c


def by_area(config, whole, names, given):
    """A config in which numbers of things in the image are in proportion to its area.

    Parameters
    ----------
    config : SimulationConfig
    whole : SimulationConfig
        Of a whole detector.
    names : iterable of str
        Fields that are numbers of things.
    given : collection of str
        Fields that keep their values.
    """
    part = min(1., np.prod(config.shape)/np.prod(whole.shape))
    numbers = {n: getattr(whole, n) for n in names if n not in given}
    return replace(config, **{n: type(number)(np.ceil(number*part)) for n, number in numbers.items()})


def generator_of(config, effect):
    """Random generator of one effect alone: with or without the effect, the rest of a field is the same."""
    return np.random.default_rng((config.seed, EFFECTS.index(effect)+1))
