"""The PSF of unWISE coadds: a model averaged over the scans, turned to the ecliptic and blurred along with the scans' spread."""
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from scipy import ndimage

from crowdsource.core import functions, linear
from crowdsource.core.errors import DataFileError
from crowdsource.io.fits import read_image
from crowdsource.psf.base import CENTROID_SIZE
from crowdsource.psf.grid import first_moment, middle
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.gridded import KEPT, GridProfile
from crowdsource.psf.profiles.halo import Halo
from crowdsource.psf.profiles.moffat import pixel_moffat

MODEL_SIDE, TAPER = 325, 60
"""Side of the models, and width of their rim in which they fade out, pixels."""
SMOOTHING, SMOOTHING_NOISE, BASE_SUM = 11, 0.1, 1.05e7
"""Box of the Wiener filter, pixels; noise at which it works, on the scale of models that sum to so much."""
FIELD = 1016*2.754/3600
"""Width of the detector on the sky, degrees, by which the directions of the scans through a position spread."""
WIDEST = 90.
"""Largest spread of scan directions, degrees."""
PADDED = 12
"""Points of the polar picture beyond its ends, so that quintic splines, which forget by 0.43 a point, do not see the ends."""
RADIAL_STEP, ANGLES = 0.25, 1024
"""Polar picture: step of the radius, pixels, and number of angles."""
PSF_VARIABLE = "WISE_PSF_DIR"
"""Environment variable that names the folder of the models."""
FILES = "psf_model_w{band}.fits"
BUILT_IN = "wise_psf.toml"
SAMPLES = 2
"""Samples in a pixel of the stamps that the fit interpolates."""
NOTHING = 1e-9
"""Modes weaker than this, relative to the mean over all positions, are rounding errors."""
EXACT = 9
"""Decimals of directions, degrees: transformations of the sky depend on the processor in their last bits."""


@dataclass(frozen=True)
class Orientation:
    """How the scans pass over a position.

    Attributes
    ----------
    angle : float
        Direction of ecliptic north, degrees counterclockwise from the image's y axis; on an image whose y axis points north it
        is the position angle, east of north.
    latitude : float
        Ecliptic, degrees.
    """

    angle: float
    latitude: float

    @property
    def spread(self):
        """Width of the box by which scan directions spread: 2 pi (field of view)/(360 cos latitude) radians, in degrees."""
        cosine = max(functions.cos(np.radians(self.latitude)), 1e-6)
        return min(np.degrees(2*np.pi*FIELD/(360*cosine)), WIDEST)


@cache
def _ecliptic_pole():
    """The north pole of the ecliptic."""
    from astropy import units
    from astropy.coordinates import BarycentricMeanEcliptic
    return BarycentricMeanEcliptic(lon=0*units.deg, lat=90*units.deg)


def orientation(wcs, x, y):
    """The `Orientation` at a pixel of an image with celestial coordinates."""
    # takes as long to import as numpy, and the command's help does without
    from astropy import units
    from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
    ra, dec = wcs.all_pix2world(x, y, 0)
    position = SkyCoord(ra*units.deg, dec*units.deg)
    ecliptic = position.transform_to(BarycentricMeanEcliptic())
    ahead = position.directional_offset_by(position.position_angle(_ecliptic_pole().transform_to(position)), 1*units.arcsec)
    px, py = wcs.all_world2pix(ahead.ra.deg, ahead.dec.deg, 0)
    return Orientation(*(round(float(v), EXACT) for v in (np.degrees(functions.angle(x-px, py-y)), ecliptic.lat.deg)))


def nodes_along(latitude):
    """Number of positions along each axis of a tile at which the PSF is made: more where directions change faster."""
    return int(np.floor(np.clip(1.4/max(abs(functions.cos(np.radians(latitude))), 1e-6), 4, 16)))


def read_model(folder, band, name=None):
    """A cleaned model of a band from a folder.

    Parameters
    ----------
    folder : path-like
    band : int
    name : str, optional
        Of the file, with ``{band}`` for the band; the base model's when not given.

    Returns
    -------
    ndarray, shape (325, 325), float64

    Raises
    ------
    DataFileError
        When there is no such file, or it holds no model of that size.
    """
    path = Path(folder)/(name or FILES).format(band=band)
    if not path.is_file():
        raise DataFileError(path, "there is no such PSF model; check the folder, or leave it out for the built-in one")
    data = read_image(path).data
    if data.shape != (MODEL_SIDE, MODEL_SIDE) or not np.isfinite(data).all() or not data.sum() > 0:
        raise DataFileError(path, f"holds a PSF of shape {data.shape}: {MODEL_SIDE} x {MODEL_SIDE} finite pixels of positive sum "
                            "are needed")
    return cleaned(data.astype(np.float64))


def cleaned(model):
    """A model without background, negative pixels and noise, fading out at its rim, with sum 1.

    Parameters
    ----------
    model : ndarray, shape (m, m), float64
    """
    rim = np.r_[model[0], model[-1], model[1:-1, 0], model[1:-1, -1]]
    model = np.maximum(model-np.median(rim)/2, 0)
    # models that sum to 1 are brought to the scale on which the noise is known
    model = smoothed(model*(BASE_SUM/model.sum()))
    at = np.arange(len(model))
    fade = np.clip(np.minimum(at, at[::-1])/TAPER, 0, 1)
    model = np.maximum(model, 0)*np.minimum(fade[:, None], fade[None, :])
    return model/model.sum()


def smoothed(model):
    """A model through Wiener's filter for noise that is known (Lim 1990, "Two-dimensional signal and image processing", p. 548).

    The one of scipy sums by Fourier transforms, whose rounding errors are those of the brightest pixel everywhere.
    """
    def local(image):
        for axis in (0, 1):
            image = ndimage.correlate1d(image, np.full(SMOOTHING, 1/SMOOTHING), axis, mode="constant")
        return image

    mean = local(model)
    variance = np.maximum(local(model*model)-mean*mean, SMOOTHING_NOISE)
    return mean+(model-mean)*(1-SMOOTHING_NOISE/variance)


def centroid(model):
    """(x, y) of the light in the central 19x19 pixels, relative to the middle, pixels."""
    inner = middle(model, CENTROID_SIZE)
    return first_moment(inner, 1)/inner.sum(), first_moment(inner, 0)/inner.sum()


@dataclass(frozen=True, eq=False)
class PolarModel:
    """A model as angular harmonics at each radius.

    Attributes
    ----------
    harmonics : ndarray, shape (radii, harmonics), complex128
        Fourier transform over the angle, which runs from x towards y.
    side : int
        Pixels of the model along an axis.
    """

    harmonics: np.ndarray
    side: int

    @classmethod
    def of(cls, model):
        """From a model's pixels, its centroid moved to the middle."""
        side, m = len(model), len(model)//2
        radius = np.arange(0, (m+1)*np.sqrt(2), RADIAL_STEP)
        angle = 2*np.pi*np.arange(ANGLES)/ANGLES
        spline = ndimage.spline_filter(np.pad(model, 8), 5)
        x, y = radius[:, None]*functions.cos(angle), radius[:, None]*functions.sin(angle)
        dx = dy = 0.
        for _ in range(3):
            at = np.arange(-(CENTROID_SIZE//2), CENTROID_SIZE//2+1.)
            moved = _sampled(spline, at[None, :]+dx+0*at[:, None], at[:, None]+dy+0*at[None, :])
            cx, cy = centroid(moved)
            dx, dy = dx+cx, dy+cy
        return cls(np.fft.rfft(_sampled(spline, x+dx, y+dy), axis=1), side)

    def stamp(self, scan, oversampling=1):
        """The PSF at a position.

        It is the mean of both scan directions, 180 degrees apart, turned by the orientation's angle and convolved along the
        angle with a box of its spread: products with the harmonics.

        Parameters
        ----------
        scan : Orientation
        oversampling : int
            Samples in a pixel.

        Returns
        -------
        ndarray, shape (m, m), float64
            m = oversampling*(side-1)+1; sum oversampling^2.
        """
        stamp = self._drawn(self._factors([scan])[0], oversampling)
        return stamp/stamp.sum()*oversampling**2

    def grid(self, scans, shape, oversampling=1, norm_size=59):
        """The PSF over an image, made at positions on a grid.

        A stamp is linear in the factors of the harmonics, so mean and modes are found among the factors of all positions, and
        only they are drawn.

        Parameters
        ----------
        scans : list of list of Orientation
            At the positions: the first at pixel (0, 0), the last in the opposite corner, x fastest.
        shape : tuple of int
            (ny, nx) of the image.
        oversampling : int
        norm_size : int
            Side of the box over which the PSF sums to 1 at every position, pixels.

        Returns
        -------
        crowdsource.psf.profiles.gridded.GridProfile
        """
        factors = self._factors([scan for row in scans for scan in row])
        mean = factors.mean(axis=0)
        # rings count by their circumference
        light = np.sqrt((np.arange(len(self.harmonics))[:, None]*functions.squared_modulus(self.harmonics)).sum(axis=0))
        differences = factors-mean
        u, strength = linear.singular_modes(np.hstack([part*light for part in (differences.real, differences.imag)]))
        samples = [self._drawn(mean, oversampling)]
        whole = np.sqrt((functions.squared_modulus(mean)*light**2).sum())
        for k in np.flatnonzero(strength > NOTHING*whole):
            mode = self._drawn(linear.combined(u[:, k], differences.view(np.float64)).view(np.complex128), oversampling)
            if np.abs(u[:, k]).max()*np.abs(mode).max() < KEPT*samples[0].max():
                break
            samples.append(mode)
        weights = np.c_[np.ones(len(u)), u[:, :len(samples)-1]]
        sums = middle(np.array(samples), min(norm_size, self.side), oversampling).sum(axis=(1, 2))
        weights *= sums[0]/linear.combined(weights, sums)[:, None]
        return GridProfile(np.array(samples)/sums[0], weights.reshape(len(scans), -1, len(samples)), oversampling, tuple(shape))

    def _factors(self, scans):
        """Factors on the harmonics for each `Orientation`, shape (n, harmonics), complex128."""
        k = np.arange(self.harmonics.shape[1])
        turned, spread = (np.radians(v)[:, None]*k for v in ([p.angle for p in scans], [p.spread/2 for p in scans]))
        blur = np.where(k % 2 == 0, np.where(k > 0, functions.sin(spread)/np.where(k > 0, spread, 1), 1), 0)
        return blur*functions.cos(turned)-1j*(blur*functions.sin(turned))

    def _drawn(self, factor, oversampling):
        """The picture of the harmonics times a factor each, shape (m, m)."""
        polar = np.fft.irfft(functions.times(self.harmonics, factor), n=ANGLES, axis=1)
        # a negative radius is a positive one on the other side; the angle is periodic
        wide = np.concatenate([np.roll(polar[PADDED:0:-1], ANGLES//2, axis=1), polar])
        wide = np.pad(wide, ((0, 0), (PADDED, PADDED)), mode="wrap")
        reach = self.side//2*oversampling
        at = np.arange(-reach, reach+1)/oversampling
        radius, angle = np.hypot(at[None, :], at[:, None]), functions.angle(at[:, None], at[None, :])
        row, column = radius/RADIAL_STEP+PADDED, (angle % (2*np.pi))*ANGLES/(2*np.pi)+PADDED
        return ndimage.map_coordinates(wide, [row, column], order=5, mode="nearest")


def _sampled(spline, x, y):
    """Values at offsets from the middle of an image given by its quintic spline coefficients."""
    m = len(spline)//2
    return ndimage.map_coordinates(spline, [y+m, x+m], order=5, prefilter=False, mode="constant")


def built_in(band):
    """The built-in model of a band.

    It consists of Moffat profiles and spikes, fitted to the base model by `benchmarks/calibrate/fit_wise_psf.py`.

    Parameters
    ----------
    band : int

    Returns
    -------
    ndarray, shape (325, 325), float64
        Sum 1.
    """
    text = (files("crowdsource.data")/BUILT_IN).read_text(encoding="utf-8")
    return model_of(tomllib.loads(text)[f"w{band}"])


def model_of(rows):
    """The picture of a parametric model.

    Parameters
    ----------
    rows : mapping
        ``core`` and ``lobes`` as `core_of` has them, ``moffats`` and ``spikes`` as `Halo`.

    Returns
    -------
    ndarray, shape (325, 325), float64
        Sum 1.
    """
    wide = Halo(tuple(map(tuple, rows["moffats"])), tuple(map(tuple, rows["spikes"])))
    picture = wide.rendered(MODEL_SIDE//2)+core_of(rows, MODEL_SIDE)
    return picture/picture.sum()


def core_of(rows, size):
    """The bright middle of a parametric model, integrated over pixels.

    Parameters
    ----------
    rows : mapping
        ``core``: share, fwhm, e1, e2 and beta of elliptical Moffat profiles; ``lobes``: share, distance, angle and fwhm of
        Gaussians, one on each side of the centre.
    size : int
        Odd side, pixels.

    Returns
    -------
    ndarray, shape (size, size), float64
    """
    picture = sum(share*pixel_moffat(size, shape) for share, *shape in rows["core"])
    edges = np.arange(-(size//2)-0.5, size//2+1)
    for share, distance, angle, fwhm in rows["lobes"]:
        scale = fwhm/np.sqrt(4*functions.log(2))
        for side in (share/2, -share/2):
            # a Gaussian integrated over pixels is a product of differences of error functions
            offset = np.sign(side)*distance*np.array([functions.cos(np.radians(angle)), functions.sin(np.radians(angle))])
            across, up = (np.diff(functions.erf((edges-o)/scale))/2 for o in offset)
            picture = picture+abs(side)*up[:, None]*across[None, :]
    return picture


@lru_cache(maxsize=4)
def polar_model(folder, band, name=None):
    """The `PolarModel` of a file, as `read_model` names it, or the built-in one without a folder."""
    return PolarModel.of(built_in(band) if folder is None else read_model(folder, band, name))


def field_psf(image, band, folder=None, name=None, norm_size=59):
    """The PSF over an image.

    Parameters
    ----------
    image : crowdsource.core.image.Image
        With celestial coordinates.
    band : int
    folder : path-like, optional
        Of the models; the built-in one when not given.
    name : str, optional
        Of the model's file in it.
    norm_size : int
        The PSF sums to 1 over this box, pixels.

    Returns
    -------
    crowdsource.psf.model.FieldPSF
    """
    model = polar_model(None if folder is None else str(folder), band, name)
    return FieldPSF.of(profile_over(model, image, SAMPLES, norm_size), norm_size=norm_size)


def profile_over(model, image, samples, norm_size=59, finer=1):
    """A model over an image, as `PolarModel.grid` gives it.

    Parameters
    ----------
    model : PolarModel
    image : object
        With `wcs`, `shape` and `origin` as a `crowdsource.core.image.Image` has them.
    samples : int
        In a pixel.
    norm_size : int
    finer : int
        The number of steps between positions along each axis is that of a fit times this.
    """
    (ny, nx), (x0, y0) = image.shape, image.origin
    count = finer*(nodes_along(orientation(image.wcs, x0+(nx-1)/2, y0+(ny-1)/2).latitude)-1)+1
    scans = [[orientation(image.wcs, x, y) for x in np.linspace(x0, x0+nx-1, count)] for y in np.linspace(y0, y0+ny-1, count)]
    return model.grid(scans, image.shape, samples, norm_size)
