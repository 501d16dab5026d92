"""Small images of known stars for tests of files and commands."""
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from crowdsource.psf.profiles.moffat import MoffatProfile
from crowdsource.simulate import render_stars

SKY, NOISE, GAIN = 100., 3., 4.


def star_image(shape, x=(), y=(), flux=(), seed=1, fwhm=4.):
    """Stars on a flat sky with Gaussian noise, float32."""
    x, y, flux = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (x, y, flux))
    light = render_stars(shape, MoffatProfile.constant(shape, fwhm), x, y, flux, np.full(len(x), 51))
    return (light+SKY+np.random.default_rng(seed).normal(0, NOISE, shape)).astype(np.float32)


def tan_wcs(shape, ra=150., dec=2., scale=0.26):
    """A tangential WCS with the position in the middle, arcseconds per pixel."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = (shape[1]+1)/2, (shape[0]+1)/2
    wcs.wcs.crval = ra, dec
    wcs.wcs.cdelt = -scale/3600, scale/3600
    return wcs


def write_fits(path, data, header=None, **cards):
    """An image in the first HDU; further keywords go to its header."""
    hdu = fits.PrimaryHDU(data, header)
    hdu.header.update(cards)
    hdu.writeto(path)
    return str(path)
