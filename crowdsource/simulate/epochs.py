"""Many images of one field whose truth is known: dithered and turned, of different seeing, sky and transparency.

Some stars vary from image to image, all may move with time, and colours differ from star to star.
"""
from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from ..core.errors import ConfigError
from ..core.parallax import parallax_factors
from . import simulate_field, tangent_wcs
from .config import SimulationConfig
from .stars import five_sigma_flux, random_stars, star_stamps, true_psf

FIELD = SimulationConfig(shape=(512, 512), stars=1000., fwhm=3.6)
"""Of a reference that is not given."""
YEAR = 365.25
BOX = 59
"""A fit's PSF sums to 1 in a box of so many pixels: fluxes of a catalog are what lies in it."""


@dataclass(frozen=True, kw_only=True)
class EpochsConfig:
    """Images of one field.

    Attributes
    ----------
    images : int
        In each band.
    bands : tuple of str
    field : SimulationConfig
        Of the reference, the first image: its stars, PSF, sky and noise.
    fwhm, sky, transparency : tuple of float
        Range of the others' FWHM (pixels), sky (counts) and transparency.
    dither, rotation : float
        Largest shift along each axis, pixels, and largest angle, degrees.
    variables : float
        Share of the stars that vary.
    variation : float
        Standard deviation of their magnitudes from image to image.
    motion : float
        Standard deviation of the proper motions along each axis, reference pixels a year.
    parallax : float
        Mean of the parallaxes, which are distributed exponentially, milliarcseconds.
    years : float
        Time from the first to the last image.
    transients : int
        Further stars that one or a few images show, well on the reference.
    transient_images : tuple of int
        Smallest and largest number of the images, of any band, that show one.
    transient_snr : tuple of float
        Range of their signal to noise on each of these, of an isolated star.
    colour : tuple of float
        Mean and standard deviation of the magnitude in each further band less that in the one before.
    """

    images: int = 8
    bands: tuple = ("r",)
    field: SimulationConfig = FIELD
    fwhm: tuple = (3., 6.)
    sky: tuple = (200., 600.)
    transparency: tuple = (0.6, 1.1)
    dither: float = 30.
    rotation: float = 4.
    variables: float = 0.1
    variation: float = 0.1
    motion: float = 0.
    parallax: float = 0.
    years: float = 1.
    transients: int = 0
    transient_images: tuple = (1, 3)
    transient_snr: tuple = (8., 20.)
    colour: tuple = (0.6, 0.3)


@dataclass(frozen=True, eq=False, kw_only=True)
class SimulatedEpoch:
    """One of the images.

    Attributes
    ----------
    simulation : crowdsource.simulate.Simulation
    band : str
    mjd : float
    x, y : ndarray, shape (n,)
        Where the stars of the truth are on it, pixels.
    flux, constant : ndarray, shape (n,)
        Counts in the whole plane; and what they would be if no star varied.
    light : float
        Part of that in the box to which fluxes of a catalog refer.
    """

    simulation: object
    band: str
    mjd: float
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    constant: np.ndarray
    light: float

    def image(self, world=False):
        """The image as a fit takes it.

        Parameters
        ----------
        world : bool
            Whether it has its world coordinates.
        """
        image = self.simulation.image()
        return replace(image, wcs=image.wcs if world else None, band=self.band, mjd=self.mjd)


def simulate_epochs(config=None):
    """Make images of one field.

    Parameters
    ----------
    config : EpochsConfig, optional

    Returns
    -------
    truth : astropy.table.Table
        x, y on the reference (pixels), flux there (counts), snr (on the reference, of an isolated star), variable, pm_x, pm_y
        (reference pixels a year), parallax (mas). Transients come last: their flux and snr here are 0.
    epochs : list of SimulatedEpoch
        The first is the reference; bands follow each other.

    Raises
    ------
    ConfigError
        When a value is out of range.
    """
    c = config or EpochsConfig()
    if c.images < 1 or not c.bands or not 0 <= c.variables <= 1:
        raise ConfigError("images and bands must be one at least, variables from 0 to 1")
    if c.transients < 0 or not 0 < c.transient_images[0] <= c.transient_images[1] or c.transient_snr[0] <= 0:
        raise ConfigError("transients must not be negative, transient_images and transient_snr positive, the smaller first")
    rng = np.random.default_rng([c.field.seed, 1])
    psf, (ny, nx) = true_psf(c.field), c.field.shape
    flux5 = five_sigma_flux(c.field, psf)
    peak = star_stamps(psf.at([nx/2], [ny/2]), np.zeros(1), np.zeros(1), 1)[0, 0, 0]
    x, y, flux = random_stars(c.field, flux5, peak, 1.5*c.dither+0.5*np.radians(c.rotation)*max(nx, ny)+5*c.field.fwhm, rng)
    n = len(x)
    truth = Table(dict(x=x, y=y, flux=flux, snr=5*flux/flux5, variable=rng.random(n) < c.variables,
                       pm_x=rng.normal(0, c.motion, n), pm_y=rng.normal(0, c.motion, n),
                       parallax=np.random.default_rng([c.field.seed, 4]).exponential(c.parallax, n)))
    truth, shown = with_transients(c, truth)
    epochs, colour = [], np.zeros(len(truth))
    for b, band in enumerate(c.bands):
        if b:
            colour[:n] += rng.normal(*c.colour, n)
        for k in range(c.images):
            number = b*c.images+k
            epochs.append(_epoch(c, truth, band, 10**(-0.4*colour), shown[number], number, k/max(1, c.images-1)*c.years))
    return truth, epochs


def with_transients(c, truth):
    """The truth with transients at its end, and the signal to noise of all stars as transients on each image, (images, n)."""
    rng, (ny, nx), number = np.random.default_rng([c.field.seed, 3]), c.field.shape, len(c.bands)*c.images
    shown = np.zeros((number, len(truth)+c.transients))
    for star in range(len(truth), len(truth)+c.transients):
        low, high = np.minimum(c.transient_images, number)
        images = rng.choice(number, rng.integers(low, high+1), replace=False)
        shown[images, star] = rng.uniform(*c.transient_snr, len(images))
        truth.add_row(dict(x=rng.uniform(0.1, 0.9)*nx, y=rng.uniform(0.1, 0.9)*ny))
    return truth, shown


def _epoch(c, truth, band, ratio, shown, number, years):
    """The image of some number; the first is the reference."""
    rng, (ny, nx) = np.random.default_rng([c.field.seed, 2, number]), c.field.shape
    fwhm, sky, clear, angle = (rng.uniform(*limits) for limits in (c.fwhm, c.sky, c.transparency, (-c.rotation, c.rotation)))
    shift = rng.uniform(-c.dither, c.dither, 2)
    own = replace(c.field, fwhm=fwhm, sky=sky, seed=int(rng.integers(1 << 30)))
    if number == 0:
        own, clear, angle, shift = c.field, 1., 0., np.zeros(2)
    mjd = 59000.+YEAR*years
    middle, turn = np.array([(nx-1)/2, (ny-1)/2]), np.exp(1j*np.radians(angle))
    east, north = parallax_factors(*c.field.position, [mjd])[0]/(1000*c.field.pixel_scale)
    place = (truth["x"]-middle[0]+years*truth["pm_x"])+1j*(truth["y"]-middle[1]+years*truth["pm_y"])
    place = place+(-east+1j*north)*truth["parallax"]
    place = np.asarray(place)*turn
    x, y = place.real+middle[0]+shift[0], place.imag+middle[1]+shift[1]
    varied = np.where(truth["variable"], 10**(-0.4*c.variation*rng.normal(size=len(truth))), 1.)
    constant = np.asarray(truth["flux"])*ratio*clear
    flux = constant*varied+shown*five_sigma_flux(own, true_psf(own))/5
    near = (flux > 0) & (np.abs(x-middle[0]) < nx/2+5*own.fwhm) & (np.abs(y-middle[1]) < ny/2+5*own.fwhm)
    wcs = tangent_wcs(own)
    wcs.wcs.crpix = middle+1+shift
    wcs.wcs.pc = [[turn.real, turn.imag], [-turn.imag, turn.real]]
    made = simulate_field(own, wcs, stars=(x[near], y[near], flux[near]))
    light = float(star_stamps(made.psf.at([middle[0]], [middle[1]]), np.zeros(1), np.zeros(1), BOX).sum())
    return SimulatedEpoch(simulation=made, band=band, mjd=mjd, x=x, y=y, flux=flux, constant=constant, light=light)
