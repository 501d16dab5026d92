"""What a simulated survey is made of."""
from dataclasses import dataclass
from math import isfinite

from ...core.errors import ConfigError

DEPTHS = {"g": 23.7, "r": 23.4, "i": 23.0, "z": 22.5, "Y": 21.3}
"""Magnitude of an isolated star at 5 sigma where the seeing is 1 arcsec, by band."""
EPOCH = 57_400.
"""Date of the stars' positions, MJD; the survey starts then."""


@dataclass(frozen=True)
class SurveyConfig:
    """A simulated survey.

    Attributes
    ----------
    stars : int
        Stars of the truth; the field grows with them.
    exposures : int
        Exposures, as many in each band as can be.
    bands : tuple of str
        Some of g, r, i, z, Y.
    position : tuple of float
        ra, dec of the middle of the field, degrees.
    density : float
        Mean number of stars in a square arcsecond, faint ones included; that and the stars give the field's size.
    contrast : float
        So many times as dense are stars at the lower edge of the field as at the upper edge, clusters left out.
    clusters : int
        Clusters with a Plummer profile.
    cluster_part : float
        Part of the stars that is in them.
    cluster_densities : tuple of float
        Stars in a square arcsecond in the middle of the loosest and of the densest cluster, field stars left out.
    brightest, faintest : float
        Bounds of the magnitude r.
    slope : float
        Stars in a magnitude go as 10^(slope r).
    moving : float
        Part of the stars that have a proper motion.
    motion : float
        Standard deviation of it in each coordinate, mas a year.
    variables : float
        Part of the stars that vary, as sines.
    variability : float
        Mean of their amplitudes, magnitudes.
    seeing : tuple of float
        Smallest and largest full width at half maximum of an exposure's stars, arcsec.
    depth : float
        Added to each band's depth, magnitudes.
    depth_scatter : float
        Scatter of the depth from exposure to exposure, magnitudes.
    zeropoint : float
        Mean magnitude of one count.
    zeropoint_scatter : float
        Scatter of the true zero points.
    zeropoint_error : float
        Scatter of the headers' zero points about the true ones.
    distortion : float
        Root mean square, in each coordinate, of the smooth distortion that an exposure's world coordinates do not include, mas.
    offset : float
        Scatter of their offsets in each coordinate, mas.
    overlap : float
        Width of the strip that both detectors of an exposure see, in parts of the exposure's width.
    dither : float
        Scatter of pointings in each coordinate, in parts of the field's side.
    rotation : float
        Scatter of the exposures' angles, degrees.
    years : float
        From the first exposure to the last.
    spurious : float
        Part of the detections that is no star.
    flagged : float
        Part of the detections on bad pixels.
    pixel_scale : float
        Arcseconds per pixel.
    gain : float
        Electrons per count.
    saturation : float
        Highest peak of a star that is not saturated, counts.
    seed : int
        Of all random numbers.
    """

    stars: int = 300_000
    exposures: int = 40
    bands: tuple = ("g", "r", "i")
    position: tuple = (270., -29.)
    density: float = 0.09
    contrast: float = 100.
    clusters: int = 6
    cluster_part: float = 0.25
    cluster_densities: tuple = (0.6, 3.)
    brightest: float = 14.
    faintest: float = 23.5
    slope: float = 0.25
    moving: float = 0.5
    motion: float = 5.
    variables: float = 0.03
    variability: float = 0.2
    seeing: tuple = (0.8, 1.9)
    depth: float = 0.
    depth_scatter: float = 0.15
    zeropoint: float = 30.
    zeropoint_scatter: float = 0.1
    zeropoint_error: float = 0.01
    distortion: float = 20.
    offset: float = 5.
    overlap: float = 0.05
    dither: float = 0.04
    rotation: float = 3.
    years: float = 5.
    spurious: float = 0.03
    flagged: float = 0.01
    pixel_scale: float = 0.26
    gain: float = 4.
    saturation: float = 45_000.
    seed: int = 1

    @property
    def side(self):
        """Side of the square field, arcsec."""
        return (self.stars/self.density)**0.5


def checked(c):
    """The same config, or a `ConfigError` that names the value out of range."""
    parts = "cluster_part", "moving", "variables", "spurious", "flagged"
    scatters = ("motion", "variability", "depth_scatter", "zeropoint_scatter", "zeropoint_error", "distortion", "offset",
                "dither", "rotation", "years")
    rules = [
        *((all(isfinite(v) for v in (value if isinstance(value, tuple) else (value,))), f"{name} must be finite")
          for name, value in vars(c).items() if name != "bands"),
        (c.seed >= 0, "seed must not be negative"),
        (c.stars >= 1 and c.exposures >= 1, "stars and exposures must be at least 1"),
        (c.exposures < 1 << 23, "exposures must be fewer than 2^23, as their numbers are part of identifiers"),
        (len(c.bands) > 0 and len(set(c.bands)) == len(c.bands) and set(c.bands) <= set(DEPTHS),
         f"bands must be some of {', '.join(DEPTHS)}, each once"),
        (len(c.position) == 2 and 0 <= c.position[0] < 360 and -90 <= c.position[1] <= 90,
         "position must be ra from 0 to below 360 and dec from -90 to 90"),
        (c.density > 0 and c.side <= 5*3600, "density must be positive, and such that the field's side is at most 5 degrees"),
        (c.contrast >= 1 and c.clusters >= 0, "contrast must be at least 1, clusters not negative"),
        (0 < c.cluster_densities[0] <= c.cluster_densities[1], "cluster_densities must be positive, the lower first"),
        (all(0 <= getattr(c, n) < 1 for n in parts), f"{', '.join(parts)} must be at least 0 and below 1"),
        (all(getattr(c, n) >= 0 for n in scatters), f"{', '.join(scatters)} must not be negative"),
        (c.brightest < c.faintest and c.slope > 0, "brightest must be below faintest, slope positive"),
        (0 < c.seeing[0] <= c.seeing[1], "seeing must be positive, the lower first"),
        (0 <= c.overlap < 1, "overlap must be at least 0 and below 1"),
        (c.pixel_scale > 0 and c.gain > 0 and c.saturation > 0, "pixel_scale, gain and saturation must be positive"),
    ]
    for holds, message in rules:
        if not holds:
            raise ConfigError(message)
    return c
