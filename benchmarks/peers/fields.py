"""The comparison fields: simulated crowded fields whose truth is known, on which this project and other programs are measured.

    python -m benchmarks.peers.fields FOLDER [NAME ...]

NAME is a kind (sparse, medium, crowded, extreme, real), alone for the field of the tables, or with a seed, a FWHM in pixels and a
Moffat beta: crowded-7, crowded-7-2.5, crowded-7-2.5-4. FOLDER gets NAME_im.fits, NAME_ivar.fits and NAME_dq.fits, the input of a
fit, and NAME_truth.fits, NAME_sky.fits and NAME_var.fits, the truth, which is for `bounds.py` and never for a fit.

Positions are pixels from 0 at the centre of the first, x along FITS axis 1; fluxes are integrals over the infinite plane, counts.
The same name gives the same field: it follows from numpy's random generator and the seed.
"""
import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy import ndimage

from benchmarks.peers.moffat import LEAST_RADIUS, Profile, render

GAIN, READ_NOISE, SKY, SATURATION = 4., 8., 300., 50000.
"""Electrons per count, electrons, counts per pixel, counts."""
READ_VARIANCE = (READ_NOISE/GAIN)**2
SKY_VARIANCE = SKY/GAIN+READ_VARIANCE
"""Variance of a pixel of bare sky, counts^2."""
SLOPE = 1.8
"""Stars go as dN/dF ~ F^-SLOPE."""
FAINTER, BRIGHTEST = 3., 1.2e7
"""The faintest stars are so many times fainter than 5 sigma; flux of the brightest, counts, at a FWHM of 4 pixels and a beta of
3."""
PAD = 20
"""Stars lie so far beyond the edges, too, pixels."""
SATURATED_STARS = (1.3, 200.3, 300.6), (2.0, 700.7, 800.1), (4.0, 450.2, 620.9)
"""Peak over saturation, x, y of the stars that are put in where fewer would be saturated."""
BRIGHT, BRIGHT_RADIUS, LARGEST_RADIUS = 1e5, 100, 400
"""Stars above this flux are rendered out to a distance of BRIGHT_RADIUS at least, all to LARGEST_RADIUS at most, pixels."""
CUT = 0.002
"""Others are rendered to where their light falls below this part of the sky's noise."""
NEBULOSITY, FINEST_STRUCTURE = 6., 60.
"""Root mean square of the sky's structure, counts, and its smallest scale, pixels."""
BOX, SMOOTH = 64, 5
"""The pipeline's sky: medians of boxes of so many pixels, smoothed over so many boxes."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a field is made from.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx).
    stars : float
        Mean number of stars above 5 sigma.
    seed : int
    fwhm, beta : float
        Moffat PSF in the middle of the image: full width at half maximum, pixels, and power.
    block : int
        Side of the blocks in which `bounds.py` inverts the Fisher matrix, pixels; 0 for bounds of isolated stars only.
    """

    shape: tuple = (1024, 1024)
    stars: float
    seed: int
    fwhm: float = 4.
    beta: float = 3.
    block: int

    @property
    def flux5(self):
        """Flux of an isolated star of 5 sigma on the bare sky, counts."""
        variance = SKY_VARIANCE*np.pi*scale_length(self.fwhm, self.beta)**2*(2*self.beta-1)/(self.beta-1)**2
        return 5*np.sqrt(variance)


KINDS = {
    "sparse": Recipe(stars=1000, seed=101, block=256), "medium": Recipe(stars=6000, seed=102, block=128),
    "crowded": Recipe(stars=20000, seed=103, block=64), "extreme": Recipe(stars=40000, seed=104, block=48),
    "real": Recipe(shape=(4096, 2048), stars=100000, seed=105, block=0),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Field:
    """A simulated field.

    Attributes
    ----------
    data, ivar : ndarray, shape (ny, nx), float32
        Counts, and the inverse variance that a pipeline would give.
    dq : ndarray, shape (ny, nx), int32
        1 where saturated.
    sky, variance : ndarray, shape (ny, nx), float32
        Truth, counts and counts^2.
    truth : Table
        All stars: x, y, flux, snr5 (isolated signal to noise), inside, alpha, g1, g2.
    """

    data: np.ndarray
    ivar: np.ndarray
    dq: np.ndarray
    sky: np.ndarray
    variance: np.ndarray
    truth: Table


def scale_length(fwhm, beta):
    """The alpha of a Moffat profile, pixels."""
    return fwhm/(2*np.sqrt(2**(1/beta)-1))


def recipe_of(name):
    """The recipe that a name stands for.

    Raises
    ------
    ValueError
        When it stands for none.
    """
    kind, *numbers = name.split("-")
    if kind not in KINDS or len(numbers) > 3:
        raise ValueError(f"{name}: no comparison field; use KIND[-SEED[-FWHM[-BETA]]] with KIND one of {', '.join(KINDS)}")
    types = dict(seed=int, fwhm=float, beta=float)
    return replace(KINDS[kind], **{key: kind_of(n) for (key, kind_of), n in zip(types.items(), numbers)})


def draw_stars(recipe, rng):
    """x, y and flux of all stars, brightest first."""
    (ny, nx), g = recipe.shape, SLOPE-1
    faintest, brightest = recipe.flux5/FAINTER, BRIGHTEST*recipe.flux5/KINDS["sparse"].flux5
    padded = (ny+2*PAD)*(nx+2*PAD)
    n = rng.poisson(recipe.stars/(ny*nx)*padded*((faintest/recipe.flux5)**-g-(brightest/recipe.flux5)**-g))
    low, high = faintest**-g, brightest**-g
    flux = (low-rng.random(n)*(low-high))**(-1/g)
    x = rng.random(n)*(nx+2*PAD)-PAD-0.5
    y = rng.random(n)*(ny+2*PAD)-PAD-0.5
    peak = peak_of(recipe)
    if (flux*peak > 1.25*SATURATION).sum() < len(SATURATED_STARS):
        for k, (times, at_x, at_y) in enumerate(SATURATED_STARS):
            flux[k], x[k], y[k] = times*SATURATION/peak, at_x, at_y
    order = np.argsort(-flux)
    return x[order], y[order], flux[order]


def peak_of(recipe):
    """Part of a star's light in its brightest pixel, the star in the middle of it and of the image."""
    zero = np.zeros(1)
    profile = Profile.of([scale_length(recipe.fwhm, recipe.beta)], zero, zero, recipe.beta)
    return float(profile.integrated(zero[:, None], zero[:, None], 5)[0, 0, 0])


def shapes(recipe, x, y):
    """Scale length and shear of the PSF at positions: alpha, g1, g2."""
    ny, nx = recipe.shape
    u, v = 2*x/(nx-1)-1, 2*y/(ny-1)-1
    return scale_length(recipe.fwhm*(1+0.03*u+0.02*v), recipe.beta), 0.015*u, 0.02*v


def radii(recipe, flux):
    """How far stars are rendered, pixels."""
    light = flux*peak_of(recipe)/(CUT*np.sqrt(SKY_VARIANCE))
    radius = scale_length(recipe.fwhm, recipe.beta)*light**(1/(2*recipe.beta))
    radius = np.clip(radius, LEAST_RADIUS, LARGEST_RADIUS).astype(int)
    return np.where(flux > BRIGHT, np.maximum(radius, BRIGHT_RADIUS), radius)


def structure(shape, rng):
    """Structure of the sky: Gaussian, its amplitudes as k^-1.5 down to a smallest scale, counts."""
    ny, nx = shape
    k = np.hypot(np.fft.fftfreq(ny)[:, None], np.fft.rfftfreq(nx)[None, :])
    k[0, 0] = 1
    amplitude = k**-1.5*np.exp(-(k*FINEST_STRUCTURE)**2/2)
    amplitude[0, 0] = 0
    plane = np.fft.irfft2(amplitude*(rng.normal(size=k.shape)+1j*rng.normal(size=k.shape)), s=shape)
    return NEBULOSITY*plane/plane.std()


def pipeline_ivar(data, saturated):
    """Inverse variance from the image alone: its smoothed sky, the read noise, and what is observed above the sky."""
    ny, nx = data.shape
    boxes = data[:ny//BOX*BOX, :nx//BOX*BOX].reshape(ny//BOX, BOX, nx//BOX, BOX)
    level = ndimage.median_filter(np.median(boxes, axis=(1, 3)), SMOOTH)
    sky = ndimage.zoom(level, (ny/level.shape[0], nx/level.shape[1]), order=1)
    observed = ndimage.uniform_filter(np.minimum(data, SATURATION)-sky, 3)
    ivar = 1/(sky/GAIN+READ_VARIANCE+np.maximum(observed, 0)/GAIN)
    ivar[saturated] = 0
    return ivar


def make_field(recipe):
    """The field of a recipe.

    Parameters
    ----------
    recipe : Recipe

    Returns
    -------
    Field
    """
    rng, (ny, nx) = np.random.default_rng(recipe.seed), recipe.shape
    x, y, flux = draw_stars(recipe, rng)
    alpha, g1, g2 = shapes(recipe, x, y)
    stars = render(recipe.shape, x, y, flux, Profile.of(alpha, g1, g2, recipe.beta), radii(recipe, flux))
    down, across = np.mgrid[:ny, :nx]
    sky = SKY*(1+0.06*(across/nx-0.5)-0.04*(down/ny-0.5))+structure(recipe.shape, rng)
    expected = stars+sky
    data = rng.poisson(expected*GAIN)/GAIN+rng.normal(size=recipe.shape)*READ_NOISE/GAIN
    saturated = data > SATURATION
    data[saturated] = SATURATION
    inside = (x > -0.5) & (x < nx-0.5) & (y > -0.5) & (y < ny-0.5)
    meta = dict(F5=recipe.flux5, FWHM=recipe.fwhm, BETA=recipe.beta, CORE=recipe.block, NX=nx, NY=ny, SEED=recipe.seed)
    truth = Table(dict(x=x, y=y, flux=flux, snr5=5*flux/recipe.flux5, inside=inside, alpha=alpha, g1=g1, g2=g2), meta=meta)
    return Field(data=data.astype(np.float32), ivar=pipeline_ivar(data, saturated).astype(np.float32),
                 dq=saturated.astype(np.int32), sky=sky.astype(np.float32),
                 variance=(expected/GAIN+READ_VARIANCE).astype(np.float32), truth=truth)


PLANES = {"im": "data", "ivar": "ivar", "dq": "dq", "sky": "sky", "var": "variance"}
"""Endings of the files' names, and the planes that they hold."""


def write_field(field, folder, name):
    """Write a field's planes and truth into a folder, which is made."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts = dict(GAIN=GAIN, RDNOISE=READ_NOISE, SATURATE=SATURATION, FWHM=field.truth.meta["FWHM"], EXPTIME=1.)
    for ending, plane in PLANES.items():
        fits.writeto(folder/f"{name}_{ending}.fits", getattr(field, plane), fits.Header(facts), overwrite=True)
    field.truth.write(folder/f"{name}_truth.fits", overwrite=True)


def main():
    """Make fields."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(KINDS))
    arguments = parser.parse_args()
    for name in arguments.names:
        start, recipe = time.process_time(), recipe_of(name)
        field = make_field(recipe)
        write_field(field, arguments.folder, name)
        bright = (field.truth["inside"] & (field.truth["snr5"] > 5)).sum()
        print(f"{name}: {len(field.truth)} stars, {bright} above 5 sigma on the image, {(field.dq > 0).sum()} saturated pixels, "
              f"{time.process_time()-start:.1f} CPU s")


if __name__ == "__main__":
    main()
