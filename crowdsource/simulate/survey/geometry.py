"""Exposures of a simulated survey: when, where and how they were taken, and their world coordinates."""
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from .config import DEPTHS, EPOCH

DETECTORS = {"S4": 28, "N4": 35}
"""Names and numbers of an exposure's detectors, side by side along x."""
FIRST = 1_000_001
"""Number of the first exposure."""
WAVES = 8
"""A distortion is a sum of this many waves in each coordinate ..."""
LONGEST, SHORTEST = 0.3, 1.2
"""... with this many periods from the middle to an edge."""
SEEING_POWER = 1.6
"""Good seeing is more frequent than bad."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SurveyExposure:
    """How an exposure was taken.

    Attributes
    ----------
    number : int
    band : str
    mjd : float
        Of its middle.
    ra, dec : float
        Of the middle between its detectors, degrees.
    rotation : float
        From north through east, degrees.
    seeing : float
        Full width at half maximum, arcsec.
    depth : float
        Magnitude of an isolated star at 5 sigma.
    zeropoint, header_zeropoint : float
        True magnitude of one count, and what the header says.
    offset : tuple of float
        Of positions along x and y, arcsec.
    waves : ndarray, shape (2, WAVES, 4), float64
        Distortion along x and y: amplitude in arcsec, turns along u and v, phase in turns.
    """

    number: int
    band: str
    mjd: float
    ra: float
    dec: float
    rotation: float
    seeing: float
    depth: float
    zeropoint: float
    header_zeropoint: float
    offset: tuple
    waves: np.ndarray

    @property
    def name(self):
        """The exposure's identity, as DECam's are."""
        return f"decam-{self.number}"

    def displaced(self, u, v):
        """Displacement of positions along x and y, arcsec, each shaped as u.

        Parameters
        ----------
        u, v : ndarray
            Position in the exposure, -1 to 1 from edge to edge.
        """
        out = []
        for offset, waves in zip(self.offset, self.waves):
            total = np.full(np.shape(u), float(offset))
            for amplitude, along_u, along_v, phase in waves:
                total += amplitude*np.cos(2*np.pi*(along_u*u+along_v*v+phase))
            out.append(total)
        return out


def plan_exposures(config):
    """All exposures, in the order of their dates.

    Parameters
    ----------
    config : SurveyConfig

    Returns
    -------
    tuple of SurveyExposure
    """
    c, n = config, config.exposures
    rng = np.random.default_rng((c.seed, 1))
    bands = rng.permutation(np.resize(np.array(c.bands), n))
    dates = EPOCH+365.25*c.years*np.sort(rng.random(n))
    ra, dec = field_plane(c.position).all_pix2world(*rng.normal(0, c.dither*c.side, (2, n)), 0)
    low, high = c.seeing
    seeing = low+(high-low)*rng.random(n)**SEEING_POWER
    depth = c.depth+rng.normal(0, c.depth_scatter, n)+[DEPTHS[b] for b in bands]-2.5*np.log10(seeing)
    rotation = rng.normal(0, c.rotation, n)
    zeropoint = rng.normal(c.zeropoint, c.zeropoint_scatter, n)
    header = zeropoint+rng.normal(0, c.zeropoint_error, n)
    offset = rng.normal(0, c.offset/1000, (n, 2))
    waves = draw_waves(c, rng)
    columns = dict(mjd=dates, ra=ra, dec=dec, rotation=rotation, seeing=seeing, depth=depth, zeropoint=zeropoint,
                   header_zeropoint=header)
    return tuple(SurveyExposure(number=FIRST+k, band=str(bands[k]), offset=tuple(offset[k]), waves=waves[k],
                                **{name: float(values[k]) for name, values in columns.items()}) for k in range(n))


def draw_waves(config, rng):
    """Distortions of all exposures, shape (exposures, 2, WAVES, 4)."""
    size = config.exposures, 2, WAVES
    turns, angle = rng.uniform(LONGEST, SHORTEST, size)/2, rng.uniform(0, 2*np.pi, size)
    # the mean square of a sum of waves is half the sum of their squared amplitudes
    amplitude = rng.normal(0, config.distortion/1000*np.sqrt(2/WAVES), size)
    return np.stack([amplitude, turns*np.cos(angle), turns*np.sin(angle), rng.random(size)], axis=-1)


def field_plane(position):
    """World coordinates of a plane in arcsec whose origin, x east and y north, is at a position."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = position, (1, 1), (1/3600, 1/3600)
    return wcs


@dataclass(frozen=True)
class ExposureSize:
    """Size of an exposure, pixels.

    Attributes
    ----------
    ny, nx : int
        Of a detector.
    width : int
        Of the whole exposure along x.
    """

    ny: int
    nx: int
    width: int

    @property
    def detector(self):
        """(ny, nx) of a detector."""
        return self.ny, self.nx

    def on_detector(self, x, y, margin=0.):
        """Whether positions lie on a detector or within a margin (pixels) around it."""
        return (np.abs(x-(self.nx-1)/2) < self.nx/2+margin) & (np.abs(y-(self.ny-1)/2) < self.ny/2+margin)


def exposure_size(config):
    """The `ExposureSize` of a survey, whose exposures are as large as the field."""
    width = max(2, int(np.ceil(config.side/config.pixel_scale)))
    return ExposureSize(width, int(np.ceil(width*(1+config.overlap)/2)), width)


def detector_origin(config, detector):
    """Position (x, y) of a detector's first pixel, from the middle of the exposure, pixels."""
    size = exposure_size(config)
    edge = (size.width-1)/2
    return (-edge if detector == next(iter(DETECTORS)) else edge-(size.nx-1)), -(size.ny-1)/2


def detector_wcs(config, exposure, detector):
    """World coordinates of a detector as its header has them.

    Parameters
    ----------
    config : SurveyConfig
    exposure : SurveyExposure
    detector : str

    Returns
    -------
    astropy.wcs.WCS
    """
    scale, angle = config.pixel_scale/3600, np.radians(exposure.rotation)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ("RA---TAN", "DEC--TAN"), (exposure.ra, exposure.dec)
    wcs.wcs.crpix = [1-v for v in detector_origin(config, detector)]
    # x runs west
    wcs.wcs.cd = scale*np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.set()
    return wcs
