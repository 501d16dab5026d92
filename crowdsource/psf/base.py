"""The PSF contract.

A PSF renders stamps at positions and gives a *new* PSF when it is refitted to stars. A PSF is immutable: no method changes it,
and arrays that it takes or returns are not shared with it.

Conventions for every model, kept by every refit:

- a stamp of odd `size` is centred on pixel ``(round(x), round(y))`` and indexed ``[y, x]``;
- the sum over the box of `norm_size` pixels around a star at the centre of a pixel is 1;
- the position of a source is the centroid of its central 19x19 pixels (for a star at the centre of a pixel).

A model of your own is a subclass of `PSF`. `crowdsource.testing.psf_contract.PSFContract` is a suite of tests for it. So that its
PSFs can be read back from catalogs, register it under the name that its attribute `registered_as` tells::

    [project.entry-points."crowdsource.psf_models"]
    gauss = "mypackage:GaussPSF"
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from astropy.io import fits

from ..core.calibration import calibration
from ..core.errors import InputError
from ..cython_ext import design as design_kernel
from .grid import area_width, smeared

MODEL_ERROR = calibration.psf.model_error
"""Relative error of every PSF model. In a refit it adds to the errors of the pixels."""
CENTROID_SIZE = 19
"""Side of the box whose centroid is the position of a source, pixels."""


def pixel(position):
    """The pixel that holds a position: floor(position + 0.5), as intp, scalar or array."""
    return np.floor(np.asarray(position)+0.5).astype(np.intp)


@dataclass(frozen=True, eq=False, kw_only=True)
class StarStamps:
    """Stamps of stars with sky and neighbours subtracted, the input of a refit.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Positions in the image, pixels; each stamp is centred on (round(x), round(y)).
    flux : ndarray, shape (n,), float64
        Fitted fluxes.
    data : ndarray, shape (n, size, size), float32
        Pixel values of the star alone; units of the image.
    ivar : ndarray, shape (n, size, size), float32
        Their inverse variance; 0 for masked pixels and those outside the image.
    shape : tuple of int
        (ny, nx) of the image over which the PSF varies.
    sky : ndarray, shape (n, size, size), float32, or None
        What varies of the sky that was subtracted: where the model has no wings, the sky has them.
    wide : StarStamps or None
        Larger stamps of the brightest stars, which show the wings; None where the PSF does not want them (`PSF.wide_stamp` is
        0), or there are no such stars.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    data: np.ndarray
    ivar: np.ndarray
    shape: tuple
    sky: np.ndarray = None
    wide: "StarStamps" = None

    def __len__(self):
        return len(self.x)

    def subset(self, which):
        """The stars that an index, slice or boolean array selects."""
        return self._each(("x", "y", "flux", "data", "ivar", "sky"), which)

    def middle(self, size):
        """The stamps' middle `size` pixels along each axis, odd; all of them where they are smaller."""
        margin = max(0, (self.size-size)//2)
        return self._each(("data", "ivar", "sky"), np.s_[:, margin:self.size-margin, margin:self.size-margin])

    def _each(self, names, index):
        return replace(self, **{name: getattr(self, name)[index] for name in names if getattr(self, name) is not None})

    @property
    def with_sky(self):
        """The same with the sky's variation in the data."""
        return self if self.sky is None else replace(self, data=self.data+self.sky, sky=None)

    @property
    def size(self):
        """Side of the stamps in pixels."""
        return self.data.shape[1]


class PSF(ABC):
    """A point-spread function, possibly varying over the image.

    A subclass gives `render`, `refit`, `to_hdus` and `from_hdus`, and the attributes below; the other methods have defaults that
    serve any model.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx) of the image for which the model holds.
    norm_size : int
        The PSF sums to 1 over a box of this side, pixels.
    registered_as : str
        Name of the class in the registry of PSF models, by which files refer to it.
    uncertainty : ndarray, shape (m, m), float32, or None
        Error of the model at whole-pixel offsets from a star of unit flux, m odd; None where it is not known.
    covariance : ndarray, shape (k, k), or None
        Of the parameters of the model's shape, where so few stars determine them that it matters for fluxes (`shape_errors`).
    wide_stamp : int
        Side of the stamps of the brightest stars that a refit wants for the wings, odd, pixels; 0 for none.
    wants_saturated : bool
        Whether these are the brightest of all stars, saturated ones included, or the brightest of those that show the core.
    """

    shape: tuple
    norm_size: int
    registered_as: str = ""
    uncertainty = None
    covariance = None
    wide_stamp = 0
    wants_saturated = False

    @property
    def centre(self):
        """(x, y) of the middle of the image, pixels."""
        return (self.shape[1]-1)/2, (self.shape[0]-1)/2

    @abstractmethod
    def render(self, x, y, size, derivatives=False):
        """Stamps of unit flux.

        Parameters
        ----------
        x, y : array_like, shape (n,)
            Positions in the image, pixels.
        size : int
            Odd side of the stamps, pixels; a stamp larger than the extent of the model is padded with zeros.
        derivatives : bool
            Also give the gradient with respect to the position of the source.

        Returns
        -------
        stamps : ndarray, shape (n, size, size), float32
            Or, with derivatives, the triple (stamps, d/dx, d/dy) of such arrays. The derivatives are the true gradient
            of the rendered model with respect to the position, in 1/pixel. They leave out that a varying PSF itself changes with
            the position, by about 1e-4 in a pixel.
        """

    @abstractmethod
    def refit(self, stamps, config):
        """A new PSF fitted to stars.

        Parameters
        ----------
        stamps : StarStamps
            The stars.
        config : crowdsource.config.PSFConfig
            Options.

        Returns
        -------
        PSF
            A new model; self when there are too few stars (the reason is logged), or when the model cannot be refitted.
        """

    @abstractmethod
    def to_hdus(self, name="PSF"):
        """The exact model as a list of FITS HDUs.

        The EXTNAME of the first is `name`, those of the others begin with it and an underscore. The first should be an image of
        the PSF in the middle of the image. `crowdsource.psf.formats.native.to_hdus` adds the name of the class.
        """

    @classmethod
    @abstractmethod
    def from_hdus(cls, hdus, name="PSF"):
        """The PSF that `to_hdus` wrote.

        Parameters
        ----------
        hdus : astropy.io.fits.HDUList
            It may hold other HDUs as well.
        name : str
            EXTNAME of the first HDU.

        Raises
        ------
        crowdsource.core.errors.DataFileError
            When the HDUs do not hold such a PSF.
        """

    def as_first_guess(self, config):
        """The PSF as the start of a fit that refits it as `config`, a `crowdsource.config.PSFConfig`, says; by default itself."""
        return self

    def adapted_to(self, shape):
        """The PSF for an image of another shape (ny, nx).

        Raises
        ------
        InputError
            When that cannot be told, since the PSF varies over the image.
        """
        if tuple(shape) == tuple(self.shape):
            return self
        raise InputError(f"the PSF varies over an image of shape {tuple(self.shape)}, but this image has {tuple(shape)}: save "
                         "its first HDU as a file of its own to use the PSF of the middle everywhere")

    def render_packed(self, x, y, size, buffer, offset, stride):
        """Stamps and derivatives written into the flat buffer of the design kernels.

        Parameters
        ----------
        x, y, size
            As `render`.
        buffer : ndarray, float32
            Changed: for each star the stamp and its two derivatives, one after the other, rows filled up with zeros.
        offset : ndarray of intp, shape (n,)
            Index in the buffer of the first pixel of each star.
        stride : int
            Length of a row in the buffer, pixels.
        """
        for k, stamps in enumerate(self.render(x, y, size, derivatives=True)):
            design_kernel.pack(stamps, buffer, offset+k*size*stride, stride)

    def add_to(self, image, x, y, flux, size, top=0):
        """Add stars to an image, in place; parts of stamps outside the image are cut off.

        Parameters
        ----------
        image : ndarray, shape (ny, nx), float32
        x, y, flux : ndarray, shape (n,), float64
        size : int
            Odd side of the stamps, pixels.
        top : int
            Row of the whole image that is the first row of `image`, which may be a band of it.
        """
        half = size//2
        design_kernel.add_stamps(image, self.render(x, y, size), pixel(x)-half, pixel(y)-half-top, flux)

    def prepare(self, size):
        """Compute in advance what rendering stamps of a size needs, before several threads ask for it at the same time."""
        self.stamp(size)

    def render_smeared(self, x, y, size, scale):
        """Stamps as `render`, of the PSF convolved with a circular exponential disc of a scale length in pixels.

        By default the rendered stamps are convolved, which suits a PSF that is well sampled.
        """
        margin = 2*int(np.ceil(4*scale))
        wide = smeared(self.render(x, y, size+margin).astype(np.float64), scale)
        inner = np.s_[:, margin//2:margin//2+size, margin//2:margin//2+size]
        return np.ascontiguousarray(wide[inner], dtype=np.float32)

    def shape_errors(self, x, y, size):
        """Independent errors of stamps of unit flux, one sigma each, that follow from `covariance`.

        Parameters
        ----------
        x, y, size
            As `render`.

        Returns
        -------
        ndarray, shape (k, n, size, size), float32
            By default there are none.
        """
        return np.zeros((0, len(x), size, size), np.float32)

    def fwhm(self, x=None, y=None):
        """Full width at half maximum at a position, or in the middle of the image, pixels.

        It is the diameter of the circle with the same area as that where the PSF exceeds half of its central value.
        """
        return area_width(self.stamp(self.norm_size, x, y))

    def to_group(self, group):
        """Write the exact model into an empty h5py group. By default the bytes of a FITS file with `to_hdus`."""
        file = BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *self.to_hdus("PSF")]).writeto(file)
        group["fits"] = np.frombuffer(file.getvalue(), dtype=np.uint8)

    @classmethod
    def from_group(cls, group):
        """The PSF that `to_group` wrote. Errors as `from_hdus`."""
        with fits.open(BytesIO(group["fits"][()].tobytes())) as hdus:
            return cls.from_hdus(hdus, "PSF")

    def stamp(self, size, x=None, y=None):
        """One stamp centred on a pixel, float64, shape (size, size), at a position or in the middle of the image."""
        x, y = self.centre if x is None else (x, y)
        return self.render(np.array([float(pixel(x))]), np.array([float(pixel(y))]), size)[0].astype(np.float64)
