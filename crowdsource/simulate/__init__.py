"""Crowded fields whose truth is known: stars, sky, noise, saturation and the inverse variance that a pipeline would give.

Stars follow ``dN/dF ~ F^-slope`` down to a fraction of the 5 sigma limit, so that stars too faint to be detected add confusion.
Their profile is a Moffat function that varies over the image and is integrated over pixels by quadrature, without the
interpolation that a fit uses: an error of the fit's PSF shows as an error of the catalog.
`crowdsource.simulate.files` writes fields to files.
"""
import logging
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from ..core.image import Image
from ..psf.profiles.moffat import MoffatProfile
from .config import Cluster, SimulationConfig, checked
from .detector import SIMULATED, pipeline_ivar, read_out
from .sky import draw_nebula, draw_sky
from .stars import HALO_REACH, blurred, draw_stars, five_sigma_flux, render_stars, stamp_sizes, star_stamps, true_psf

__all__ = ("SIMULATED", "Cluster", "Simulation", "SimulationConfig", "draw_nebula", "draw_sky", "draw_stars", "five_sigma_flux",
           "pipeline_ivar", "render_stars", "simulate_field", "star_stamps", "true_psf")
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Simulation:
    """A simulated field and its truth.

    Attributes
    ----------
    data, ivar : ndarray, shape (ny, nx), float32
        Counts, and their inverse variance as estimated from the data; 0 where flagged.
    dq : ndarray, shape (ny, nx), uint32
        Bits of `SIMULATED`.
    truth : astropy.table.Table
        x, y (pixels), flux (counts), snr (of an isolated star on the bare sky), ra, dec (degrees), brightest first, with stars
        just off the image. Where there are local nebulae: nebulosity, their counts at the star, 0 outside of them.
        ``meta["FLUX5"]`` is the 5 sigma flux.
    sky : ndarray, shape (ny, nx), float32
        True sky, counts.
    psf : crowdsource.psf.profiles.moffat.MoffatProfile
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
    psf: MoffatProfile
    header: fits.Header
    config: SimulationConfig

    def image(self) -> Image:
        """The field as an `~crowdsource.core.image.Image`."""
        c = self.config
        return Image.from_arrays(self.data, self.ivar, self.dq, wcs=WCS(self.header), zeropoint=c.zeropoint, gain=c.gain,
                                 saturation=c.saturation, exptime=1., exposure=f"simulated-{c.seed}")


def simulate_field(config=None, wcs=None, halo=None, stars=None) -> Simulation:
    """Make a field.

    Parameters
    ----------
    config : SimulationConfig, optional
    wcs : astropy.wcs.WCS, optional
        World coordinates; a plane around ``config.position`` when not given.
    halo : object, optional
        Blur by the camera: ``halo.picture(n)`` is the image of a point, (2n+1, 2n+1), as in `crowdsource.psf.profiles.halo.Halo`.
        Fluxes are raised with the 5 sigma limit, so that as many stars are above it as without the blur.
    stars : tuple of ndarray, shape (n,), optional
        x, y (pixels) and flux (counts) of all stars, as when several images show the same stars; random when not given.

    Returns
    -------
    Simulation

    Raises
    ------
    ConfigError
        When a value is out of range.
    """
    c = checked(config or SimulationConfig())
    rng = np.random.default_rng(c.seed)
    psf = true_psf(c)
    picture = None if halo is None else halo.picture(HALO_REACH)
    flux5 = five_sigma_flux(c, psf, picture)
    if stars is None:
        x, y, flux = draw_stars(c, psf, rng)
        flux = flux if halo is None else flux*(flux5/five_sigma_flux(c, psf))
    else:
        x, y, flux = np.asarray(stars, dtype=np.float64)[:, np.argsort(-np.asarray(stars[2]), kind="stable")]
    sky, nebula = draw_sky(c, rng), draw_nebula(c)
    if nebula is not None:
        sky += nebula
    light = render_stars(c.shape, psf, x, y, flux, stamp_sizes(c, psf, flux))
    counts = sky+(light if halo is None else blurred(light, picture))
    data = rng.poisson(np.maximum(counts, 0)*c.gain)/c.gain+rng.normal(0, c.readnoise/c.gain, c.shape)
    data, dq = read_out(c, data, rng)
    ivar = np.where(dq > 0, 0, pipeline_ivar(data, dq > 0, c.gain, c.readnoise))
    header = _header(c, wcs or tangent_wcs(c))
    log.info("%d stars, %d of them above 5 sigma, %d saturated pixels", len(x), (flux > flux5).sum(),
             (dq & SIMULATED.saturated > 0).sum())
    truth = _truth(x, y, flux, flux5, wcs or WCS(header))
    if nebula is not None:
        truth["nebulosity"] = nebula[tuple(np.clip(np.rint(v).astype(int), 0, n-1) for v, n in zip((y, x), c.shape))]
    return Simulation(data=data.astype(np.float32), ivar=ivar.astype(np.float32), dq=dq, truth=truth,
                      sky=sky.astype(np.float32), psf=psf, header=header, config=c)


def _truth(x, y, flux, flux5, wcs):
    """Table of the stars, with signal to noise and positions on the sky."""
    ra, dec = wcs.all_pix2world(x, y, 0)
    columns = dict(x=x, y=y, flux=flux, snr=(5*flux/flux5).astype(np.float32), ra=ra, dec=dec)
    return Table(columns, meta=dict(FLUX5=flux5))


def tangent_wcs(config):
    """World coordinates of a field whose middle is at the configured position, by a gnomonic projection."""
    ny, nx = config.shape
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = (nx+1)/2, (ny+1)/2
    wcs.wcs.crval = config.position
    wcs.wcs.cdelt = -config.pixel_scale/3600, config.pixel_scale/3600
    return wcs


def _header(config, wcs):
    """Header with the keywords of an observatory, and the configuration."""
    c = config
    header = wcs.to_header(relax=True)
    header.remove("MJDREF", ignore_missing=True)
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
