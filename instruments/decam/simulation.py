"""Simulated exposures of DECam: planes and headers as the Community Pipeline's, with the truth of every star."""
import logging
import re
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.wcs import WCS

from crowdsource.core.errors import InstrumentError
from crowdsource.io.fits import MJD_ZERO
from crowdsource.psf.grid import area_width, middle
from crowdsource.psf.profiles.moffat import pixel_moffat
from crowdsource.simulate import SIMULATED, SimulationConfig, simulate_field
from crowdsource.simulate.config import by_area, checked
from crowdsource.simulate.stars import HALO_REACH, blurred

from .bits import FLAGS, codes_of
from .layout import SHAPE, ccd_of, wcs_cards
from .names import FILTERS, filter_of, paths_of, stem
from .seam import UNSTABLE
from .wings import halos
from .writing import PLVER, CcdPlanes, exposure_files

log = logging.getLogger(__name__)
DEFAULTS = SimulationConfig(
    shape=SHAPE, stars=60000., brightest=1e5, saturated_stars=10, saturated_peaks=(60., 5.), fwhm=3.2, gain=3.9, readnoise=6.,
    sky=3170., sky_gradient=(0.02, -0.015), nebulosity=30., nebulosity_scale=400., saturation=45800., bad_columns=4,
    nebula_area=0.25, nebula_peak=400., bleeding=1., cosmic_rays=150., rim=10, zeropoint=29.9, pixel_scale=0.2623)
"""A CCD in z band, 107 s in the Galactic plane: sky, noise, saturation and zero point are those of real headers."""
PER_CCD = "stars", "saturated_stars", "bad_columns", "cosmic_rays"
"""Numbers of things on a whole CCD; an image of part of a CCD has that part of them."""
CCDS = "N4", "S7"
"""Made when none is named."""
S7_STEP = 40., 15.
"""By how much the right half of S7 is higher in its middle row, and how much more so in its last row, counts."""
BITS = {"saturated": FLAGS.saturated, "bleed": FLAGS.bleed, "cosmic_ray": FLAGS.cosmic, "bad_column": FLAGS.bad, "rim": FLAGS.bad}
"""The pipeline's bit for each that the simulation sets."""
BOX = 59
"""Side of the box in which a fit's PSF sums to 1, pixels; the truth's headers tell a star's share of light in it."""
EXPTIME = 107.
"""Seconds."""
FIRST_EXPNUM = 10_000_000
"""Beyond the numbers of real exposures."""
START = datetime(2017, 3, 16, 6, 21, 7)
"""Of an exposure whose name tells no date."""


def simulate_exposure(path, ccds=(), overwrite=False, **changes):
    """Write a simulated exposure CCD by CCD: ooi, oow and ood files, and the truth.

    What a CCD holds depends on the seed and its name, not on the other CCDs.

    Parameters
    ----------
    path : path-like
        The ooi file, named as ``c4d_170316_062107_ooi_z_v1.fits`` or ``.fits.fz``, which is compressed.
    ccds : sequence of str
        N4 and S7 when empty.
    overwrite : bool
    **changes
        Fields of `crowdsource.simulate.SimulationConfig` that are not to be DECam's (`DEFAULTS`).

    Returns
    -------
    tuple of pathlib.Path
        The files: ooi, oow, ood, truth.

    Raises
    ------
    ConfigError, InstrumentError, OutputError
        When a value is out of range, a CCD unknown, the name none of DECam's or a file exists.
    """
    band = filter_of(path)
    config = configured(changes)
    wanted = [ccd_of(name) for name in ccds or CCDS]
    twice = [ccd.name for k, ccd in enumerate(wanted) if ccd in wanted[:k]]
    if twice:
        raise InstrumentError(f"CCD {twice[0]} is named twice: name each once")
    with exposure_files(path, primary_header(config, band, Path(path).name, len(wanted)), overwrite, truth=True) as add:
        for ccd in wanted:
            log.info("CCD %s", ccd.name)
            add(simulated_ccd(config, ccd, halos().get(band)))
    return tuple(paths_of(path).values())


def configured(changes):
    """DECam's configuration with a user's changes; of `PER_CCD`, those that are not given are in proportion to the area."""
    return by_area(checked(replace(DEFAULTS, **changes)), DEFAULTS, PER_CCD, changes)


def simulated_ccd(config, ccd, halo=None):
    """The `CcdPlanes` of a `Ccd` whose stars have a `crowdsource.psf.profiles.halo.Halo`."""
    seed = int(np.random.SeedSequence((config.seed, ccd.number)).generate_state(1)[0])
    c = replace(config, seed=seed)
    world = wcs_cards(ccd, c.shape, c.position, c.pixel_scale)
    sim = simulate_field(c, WCS(world), halo)
    bits = np.zeros(c.shape, np.uint32)
    for name, bit in BITS.items():
        bits[sim.dq & getattr(SIMULATED, name) > 0] |= np.uint32(bit)
    data, truth = sim.data, sim.truth.copy()
    truth.meta.update({"CCDNUM": ccd.number, "SIMSEED": c.seed})
    if "nebulosity" not in truth.colnames:
        truth["nebulosity"] = np.float32(0)
    if ccd.name == UNSTABLE:
        data = with_step(data)
        truth.meta.update({"STEPLOW": S7_STEP[0]-S7_STEP[1], "STEPHIGH": S7_STEP[0]+S7_STEP[1]})
    star = star_picture(c.fwhm, c.beta, halo)
    truth.meta["BOXSHARE"] = float(middle(star, BOX).sum())
    header = ccd_header(sim, ccd, world, bits, round(area_width(star), 3))
    return CcdPlanes(name=ccd.name, header=header, data=data, ivar=sim.ivar, codes=codes_of(bits), truth=truth)


@lru_cache(maxsize=1)
def star_picture(fwhm, beta, halo):
    """A star of unit flux in the middle of a CCD, (801, 801), the same on all CCDs of an exposure."""
    star = pixel_moffat(2*HALO_REACH+1, (fwhm, 0., 0., beta))
    return star if halo is None else blurred(star, halo.picture(HALO_REACH))


def with_step(data):
    """Data with the right half raised by `S7_STEP`, (ny, nx), float32."""
    ny, nx = data.shape
    step = S7_STEP[0]+S7_STEP[1]*np.linspace(-1, 1, ny)
    out = data.copy()
    out[:, nx//2:] += step[:, None].astype(np.float32)
    return out


def primary_header(config, band, name, ccds):
    """First header of the files, which describes the exposure."""
    ra, dec = (Angle(v, "deg").to_string(unit, sep=":", precision=2, pad=True)
               for v, unit in zip(config.position, ("hour", "deg")))
    start = _start(name)
    header = fits.Header()
    for keyword, value, comment in (
            ("OBJECT", "simulated", "Name of the object observed"), ("PROCTYPE", "InstCal", "Data processing level"),
            ("PRODTYPE", "image", "Data product type"), ("PIXSCAL1", 0.27, "[arcsec/pixel] Pixel scale, axis 1"),
            ("PIXSCAL2", 0.27, "[arcsec/pixel] Pixel scale, axis 2"), ("TELESCOP", "CTIO 4.0-m telescope", "Telescope name"),
            ("OBSERVAT", "CTIO", "Observatory name"), ("INSTRUME", "DECam", "Instrument used to obtain these data"),
            ("EXPREQ", EXPTIME, "[s] Requested exposure duration"), ("EXPTIME", EXPTIME, "[s] Exposure duration"),
            ("OBSID", f"ct4m{start:%Y%m%dt%H%M%S}", "Unique Observation ID"),
            ("DATE-OBS", start.isoformat(timespec="microseconds"), "UTC epoch"),
            ("MJD-OBS", (start-MJD_ZERO)/timedelta(days=1), "MJD of observation start"), ("TIMESYS", "UTC", "Time system"),
            ("EXPNUM", FIRST_EXPNUM+config.seed % 1_000_000, "DECam exposure number"),
            ("OBSTYPE", "object", "Observation type"), ("PROPID", "SIMULATED", "Proposal ID"),
            ("FILTER", FILTERS[band], "Unique filter identifier"), ("BAND", band, ""),
            ("RA", ra, "[HH:MM:SS] Target RA"), ("DEC", dec, "[DD:MM:SS] Target DEC"),
            ("TELRA", ra, "[HH:MM:SS] Telescope RA"), ("TELDEC", dec, "[DD:MM:SS] Telescope DEC"), ("BUNIT", "adu", ""),
            ("DETSIZE", "[1:29400,1:29050]", "Detector size"), ("CCDSEC", "[1:2048,1:4096]", "CCD section to display"),
            ("CCDBIN1", 1, "Pixel binning, axis 1"), ("CCDBIN2", 1, "Pixel binning, axis 2"),
            ("RADESYS", "ICRS", "World coordinate reference frame"), ("EQUINOX", 2000., "Mean equinox"),
            ("SCAMPFLG", 0, "WCS successful"), ("PHOTREF", "simulated", "Photometric ref. catalog"),
            ("MAGZERO", config.zeropoint, "[mag] Magnitude zero point"),
            ("MAGZPT", config.zeropoint-2.5*np.log10(EXPTIME), "[mag] Magnitude zero point per sec"),
            ("SKYSUB", config.sky, ""), ("NEXTEND", ccds, ""), ("FILENAME", stem(name), ""), ("PLVER", PLVER, ""),
            ("WCSCAL", "Successful", "Astrometric calibration"), ("SIMSEED", config.seed, "seed of the simulation")):
        header[keyword] = (value, comment)
    return header


def _start(name):
    """When an exposure was begun, by its file's name; `START` where that tells no date."""
    found = re.match(r"c4d_(\d{6}_\d{6})_", name)
    try:
        return datetime.strptime(found[1], "%y%m%d_%H%M%S") if found else START
    except ValueError:
        return START


def ccd_header(sim, ccd, world, bits, fwhm):
    """Header of a CCD: its amplifiers, its world coordinates, what the pipeline measured; `fwhm` in pixels."""
    c = sim.config
    x, y = (v+5 for v in ccd.corner)
    header = fits.Header()
    for keyword, value, comment in (
            ("INHERIT", True, "Inherits global header"), ("DETSEC", f"[{x}:{x+2039},{y}:{y+4087}]", "Location on Focal Plane"),
            ("CCDNUM", ccd.number, "CCD number"), ("DETPOS", ccd.name, "detector position ID"),
            *((f"{word}{amplifier}", value, f"{what} for amp {amplifier}") for amplifier in "AB" for word, value, what in (
                ("GAIN", c.gain, "[electrons/adu] Gain"), ("RDNOISE", c.readnoise, "[electrons] Read noise"),
                ("SATURAT", c.saturation, "[adu] Saturation")))):
        header[keyword] = (value, comment)
    header.extend(world)
    header.update(_corners(world, c.shape))
    sky = np.median(sim.sky)
    for keyword, value, comment in (
            ("SATURATE", c.saturation, "Global Saturate Value"),
            ("NSATPIX", int((bits & FLAGS.saturated > 0).sum()), "Number of saturated pixels"),
            ("NBLEED", int((bits & FLAGS.bleed > 0).sum()), "Number of bleed trail pixels."),
            ("FWHM", fwhm, "Median FWHM in pixels"), ("ELLIPTIC", float(np.hypot(*c.ellipticity)/2), "Median ELLIPTICITY"),
            ("AVSKY", float(sky), ""), ("AVSIG", float(np.sqrt(sky/c.gain+(c.readnoise/c.gain)**2)), ""),
            ("WCSDIM", 2, ""), ("WAT0_001", "system=image", ""), ("WAT1_001", "wtype=tpv axtype=ra", ""),
            ("WAT2_001", "wtype=tpv axtype=dec", ""), ("ARAWGAIN", c.gain, "[e/adu] Average raw gain")):
        header[keyword] = (value, comment)
    return header


def _corners(world, shape):
    """Cards of a CCD's centre and corners on the sky, degrees."""
    (ny, nx), wcs = shape, WCS(world)
    at = dict(CEN=((nx-1)/2, (ny-1)/2), COR1=(0, 0), COR2=(nx-1, 0), COR3=(0, ny-1), COR4=(nx-1, ny-1))
    return {f"{name}{axis}1": float(v) for name, p in at.items() for axis, v in zip(("RA", "DEC"), wcs.all_pix2world(*p, 0))}
