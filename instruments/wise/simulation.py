"""Simulated tiles of unWISE coadds: the files of W1 and W2 of the same stars, and the truth."""
import logging
import os
from dataclasses import dataclass, fields, replace

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from crowdsource.core.errors import ConfigError, InstrumentError
from crowdsource.io.atomic import check_output
from crowdsource.psf.model import FieldPSF
from crowdsource.simulate import SimulationConfig, draw_nebula, draw_sky
from crowdsource.simulate.config import by_area, checked
from crowdsource.simulate.stars import random_stars

from .atlas import SIDE, atlas
from .bits import MASK_BITS
from .names import paths_of, tile_of
from .noise import FLOOR, SATURATED, full_ivar
from .psf import PSF_VARIABLE, orientation, polar_model, profile_over
from .shapes import BRIGHT, around_stars
from .writing import BandPlanes, tile_header, write_tile

log = logging.getLogger(__name__)
BANDS = 1, 2
DENSITIES = {"pole": 20000., "mid-latitude": 60000., "plane": 500000.}
"""Stars above 5 sigma in W1 in a tile: at the Galactic poles, on average over the sky, and where the plane is full."""
DEFAULTS = SimulationConfig(
    shape=(SIDE, SIDE), stars=DENSITIES["mid-latitude"], slope=1.8, faintest=0.2, brightest=3e5, saturated_stars=3,
    saturated_peaks=(20., 2.), sky=100., sky_gradient=(0.01, -0.01), nebulosity=0.5, nebulosity_scale=200., saturation=SATURATED)
"""A tile; the sky's median is subtracted, as in the coadds."""
CHOSEN = ("shape", "stars", "slope", "faintest", "brightest", "saturated_stars", "saturated_peaks", "clusters", "sky",
          "sky_gradient", "nebulosity", "nebulosity_scale", "nebula_area", "nebula_peak", "nebula_scales", "seed")
"""What a user may choose; the rest is the survey's."""
PER_TILE = "stars", "saturated_stars"
"""Numbers of things in a whole tile; a part of a tile has that part of them."""
EXPOSURES, REJECTED, STRIPES = 153., 0.05, (0.03, 930.)
"""Number of exposures on the ecliptic, which elsewhere is divided by the cosine of the latitude; the part that is rejected;
amplitude, relative, and period, pixels across the scans, of a wave in their number."""
MOST = 5000.
"""Number of exposures at the ecliptic poles."""
IVAR = {1: 0.4675/161, 2: 0.0325/161}
"""Inverse variance per exposure by band, measured on real coadds: it does not depend on the light."""
COLOUR, COLOUR_SCATTER = 0.1, 0.2
"""W1-W2 of the stars, mean and scatter, Vega magnitudes."""
UNSEEN = 2.
"""All exposures of pixels above so many times the saturation are rejected."""
SAMPLES, FINER = 4, 2
"""Samples in a pixel and steps between positions of the true PSF; the fit has half as many of either."""
SIZES, TRUNCATION = (19, 29, 69, 159, 319), 0.01
"""Sizes of the stars' stamps, pixels: each star has the first outside of which it is below this part of a pixel's noise."""
MARGIN = SIZES[-1]//2
"""Pixels beyond the edges in which there are stars, too."""
NORM = 59
"""A flux is the light in a box of this side, pixels, as in the fit."""
MJD = 55356., 58266.
"""First and last date of the exposures."""


@dataclass(frozen=True, eq=False)
class PixelGrid:
    """The pixels of an image that has no values yet.

    Attributes
    ----------
    wcs : astropy.wcs.WCS
    shape : tuple of int
        (ny, nx).
    origin : tuple of int
        (x0, y0) of the first pixel in the image that `wcs` describes.
    """

    wcs: WCS
    shape: tuple
    origin: tuple = (0, 0)


@dataclass(frozen=True, eq=False)
class Conditions:
    """How a band observes a tile: PSF, exposures and noise, without any stars.

    Attributes
    ----------
    band : int
    psf : crowdsource.psf.model.FieldPSF
        The true one.
    seen, looked : ndarray, shape (ny, nx), int16
        Numbers of exposures that were kept, and of all.
    invvar : ndarray, shape (ny, nx), float32
        Inverse variance as in the coadds.
    """

    band: int
    psf: FieldPSF
    seen: np.ndarray
    looked: np.ndarray
    invvar: np.ndarray

    @property
    def noise(self):
        """Noise of a dark pixel, as the adapter has it."""
        return float(np.sqrt(1/np.median(self.invvar)+FLOOR[self.band]**2))

    @property
    def stamp(self):
        """Stamp of a star of unit flux in the middle of the tile."""
        return self.psf.stamp(SIZES[-1])

    @property
    def flux5(self):
        """Flux of an isolated star at 5 sigma on the bare sky."""
        return 5*self.noise/float(np.sqrt((self.stamp**2).sum()))


def simulate_tile(path, detectors=(), overwrite=False, **changes):
    """Write a simulated tile: images, inverse variances, numbers of exposures of W1 and W2, the mask, and the truth.

    The PSF's models are those of ``$WISE_PSF_DIR``, or the built-in ones.

    Parameters
    ----------
    path : path-like
        A tile's name after its folder, as ``FOLDER/1866p257``, or one of its ``img-m`` files. Where the tile lies determines
        how the scans pass.
    detectors : sequence of str
        Empty: a tile has no detectors.
    overwrite : bool
    **changes
        Fields of `crowdsource.simulate.SimulationConfig` that are not to be a tile's (`DEFAULTS`); those not in `CHOSEN` are
        the survey's.

    Returns
    -------
    tuple of pathlib.Path
        The files; the last is the truth.

    Raises
    ------
    ConfigError, InputError, InstrumentError, OutputError
        When a value is out of range or is the survey's, there is no such tile, detectors are asked for or a file exists.
    """
    if detectors:
        raise InstrumentError(f"wise has no detectors {' '.join(detectors)}: leave them out, both bands are made")
    config = configured(changes)
    folder, coadd = tile_of(path)
    paths = paths_of(folder, coadd, BANDS, truth=True)
    for file in paths.values():
        check_output(file, overwrite)
    bands, bits, truths = simulated(config, coadd)
    write_tile(paths, bands, bits, truths, overwrite)
    return tuple(paths.values())


def configured(changes):
    """A tile's configuration with a user's changes; of `PER_TILE`, those that are not given are in proportion to the area."""
    others = [n for n in changes if n not in CHOSEN and n in {f.name for f in fields(SimulationConfig)}]
    if others:
        raise ConfigError(f"{others[0]} of a WISE tile is the survey's: leave it out; to choose are {', '.join(CHOSEN)}")
    config = checked(replace(DEFAULTS, **changes))
    if max(config.shape) > SIDE:
        raise ConfigError(f"shape must be within the {SIDE} x {SIDE} pixels of a tile")
    return by_area(config, DEFAULTS, PER_TILE, changes)


def simulated(config, coadd):
    """The `BandPlanes` of each band, the mask and the truth of each band."""
    rng = np.random.default_rng(config.seed)
    wcs = WCS(tile_header(coadd, config.shape, 1))
    conditions = [conditions_of(PixelGrid(wcs, config.shape), band, rng) for band in BANDS]
    x, y, flux = random_stars(config, conditions[0].flux5, conditions[0].stamp.max(), MARGIN, rng)
    colour = rng.normal(COLOUR, COLOUR_SCATTER, len(x))
    light = flux, flux*10**(0.4*colour)
    log.info("%d stars", len(x))
    middle = orientation(wcs, *((n-1)/2 for n in config.shape[::-1]))
    planes, bits = [], np.zeros(config.shape, np.int32)
    for c, flux_here in zip(conditions, light):
        observed, saturated = observed_band(config, coadd, c, (x, y, flux_here), rng)
        planes.append(observed)
        around_stars(bits, c.band, middle.angle, x, y, flux_here)
        bits[saturated] |= np.int32(1 << MASK_BITS["saturation"][c.band-1][0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    primary = atlas().primary(atlas().index(coadd), ra, dec)
    inside = (np.abs(x-(config.shape[1]-1)/2) < config.shape[1]/2) & (np.abs(y-(config.shape[0]-1)/2) < config.shape[0]/2)
    columns = dict(x=x, y=y, ra=ra, dec=dec, primary=primary & inside)
    return planes, bits, [truth_of(config, c, columns, flux_here) for c, flux_here in zip(conditions, light)]


def truth_of(config, conditions, columns, flux):
    """Truth of a band: x, y, ra, dec, primary, flux in the box of `NORM` pixels, snr; the same rows in each band."""
    folder, flux5 = os.environ.get(PSF_VARIABLE) or "built-in", conditions.flux5
    meta = {"FLUX5": flux5, "NORMBOX": NORM, "SIMSEED": config.seed, "PSFFROM": folder[-60:], "BRIGHT": BRIGHT}
    return Table({**columns, "flux": flux, "snr": (5*flux/flux5).astype(np.float32)}, meta=meta)


def conditions_of(pixels, band, rng):
    """The `Conditions` of a band in a `PixelGrid`."""
    model = polar_model(os.environ.get(PSF_VARIABLE), band)
    profile = profile_over(model, pixels, SAMPLES, NORM, FINER)
    psf = FieldPSF(profile, tuple(pixels.shape), np.zeros((1, 1, 1)), NORM, SAMPLES)
    ny, nx = pixels.shape
    scan = orientation(pixels.wcs, (nx-1)/2, (ny-1)/2)
    mean = min(EXPOSURES/max(np.cos(np.radians(scan.latitude)), 1e-6), MOST)
    v, u = np.indices(pixels.shape, dtype=np.float32)
    across = u*np.cos(np.radians(scan.angle))+v*np.sin(np.radians(scan.angle))
    looked = np.rint(mean*(1+STRIPES[0]*np.sin(2*np.pi*across/STRIPES[1]))).astype(np.int16)
    seen = looked-rng.binomial(looked, REJECTED).astype(np.int16)
    return Conditions(band, psf, seen, looked, (IVAR[band]*seen).astype(np.float32))


def observed_band(config, coadd, conditions, stars, rng):
    """The `BandPlanes` of a band with stars (x, y, flux), and where pixels are saturated.

    The noise is independent from pixel to pixel and all that the adapter assumes, for the true light: that of the coadd's
    inverse variance, and what it leaves out.
    """
    c = conditions
    x, y, flux = stars
    sky = draw_sky(config, rng)
    nebula = draw_nebula(config)
    sky += 0 if nebula is None else nebula
    level = np.median(sky)
    light = (sky-level).astype(np.float32)
    add_stars(light, c, x, y, flux)
    data = light+rng.normal(size=light.shape)/np.sqrt(full_ivar(light, c.invvar, c.band))
    saturated, unseen = light > SATURATED, light > UNSEEN*SATURATED
    header = tile_header(coadd, config.shape, c.band)
    for keyword, value, comment in (("UNW_SKY", level, "Background value subtracted from coadd img"),
                                    ("MJDMIN", MJD[0], ""), ("MJDMAX", MJD[1], ""), ("BUNIT", "Vega nanomaggies", ""),
                                    ("SIMSEED", config.seed, "seed of the simulation")):
        header[keyword] = (value, comment)
    planes = BandPlanes(band=c.band, header=header, data=np.minimum(data, SATURATED).astype(np.float32),
                        invvar=np.where(unseen, 0, c.invvar), seen=np.where(unseen, 0, c.seen), looked=c.looked)
    return planes, saturated


def add_stars(image, conditions, x, y, flux):
    """Add stars to an image, in place, each in a stamp outside of which it is far below the noise."""
    stamp, half = conditions.stamp, SIZES[-1]//2
    ring = np.maximum(*np.abs(np.indices(stamp.shape)-half))
    bounds = [TRUNCATION*conditions.noise/stamp[ring > size//2].max() for size in SIZES[:-1]]
    group = np.searchsorted(bounds, flux)
    for k in np.unique(group):
        chosen = group == k
        conditions.psf.add_to(image, x[chosen], y[chosen], flux[chosen], SIZES[k])
