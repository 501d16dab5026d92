"""The PSF contract.

A PSF renders stamps at positions and, refitted on stars, gives a *new* PSF. Values are frozen: nothing that a PSF is
handed, or hands out, changes it.

Conventions, the same for every model and kept by every refit:

- a stamp of odd `size` is centred on pixel ``(round(x), round(y))`` and indexed ``[y, x]``;
- the sum over the box of `norm_size` pixels around a star is 1 at the position where the model is evaluated at the
  centre of a pixel;
- the position of a source is the centroid of its central 19x19 pixels (for a star at a pixel's centre).
"""
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from ..core.calibration import calibration
from ..cython_ext import design as design_kernel

MODEL_ERROR = calibration.psf.model_error
"""No PSF is known better than to this part of its light everywhere: in its refit pixels get no smaller errors."""
CENTROID_SIZE = 19


def pixel(position):
    """The pixel that holds a position: floor(position + 0.5), as intp, scalar or array."""
    return np.floor(np.asarray(position)+0.5).astype(np.intp)


@dataclass(frozen=True)
class StarStamps:
    """Neighbour- and sky-subtracted stamps of stars, the input of a refit.

    Attributes
    ----------
    x, y : ndarray, shape (n,), float64
        Positions in the image, pixels; each stamp is centred on (round(x), round(y)).
    flux : ndarray, shape (n,), float64
        Fitted fluxes.
    data : ndarray, shape (n, size, size), float32
        Pixel values with the star in, neighbours and sky out; image units.
    ivar : ndarray, shape (n, size, size), float32
        Their inverse variance; 0 for masked pixels and those outside the image.
    shape : tuple of int
        (ny, nx) of the image, for polynomials over it.
    """
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    data: np.ndarray
    ivar: np.ndarray
    shape: tuple

    def __len__(self):
        return len(self.x)

    def subset(self, which):
        """The stars that an index, slice or boolean array selects."""
        return replace(self, **{name: getattr(self, name)[which] for name in ("x", "y", "flux", "data", "ivar")})

    @property
    def size(self):
        """Side of the stamps in pixels."""
        return self.data.shape[1]


class PSF(ABC):
    """A point-spread function, possibly varying over the image."""

    norm_size: int
    """Side of the box over which the PSF sums to 1, pixels."""

    @abstractmethod
    def render(self, x, y, size, derivatives=False):
        """Stamps of unit flux.

        Parameters
        ----------
        x, y : array_like, shape (n,)
            Positions in the image, pixels.
        size : int
            Odd side of the stamps, pixels; larger than the model's own support is padded with zeros.
        derivatives : bool
            Also give the gradient with respect to the source's position.

        Returns
        -------
        stamps : ndarray, shape (n, size, size), float32
            Or, with derivatives, the triple (stamps, d/dx, d/dy) of such arrays. The derivatives are the true gradient
            of the rendered model with respect to the position, units 1/pixel; a varying PSF's own change with the position,
            some 1e-4 in a pixel, is left out.
        """

    def render_packed(self, x, y, size, buffer, offset, stride):
        """Stamps and derivatives straight into the flat buffer of the design kernels.

        Parameters
        ----------
        x, y, size
            As `render`.
        buffer : ndarray, float32
            Changed: three planes for each star, zero behind their rows.
        offset : ndarray of intp, shape (n,)
            Where each star's three planes start.
        stride : int
            Distance of rows.
        """
        for plane, stamps in enumerate(self.render(x, y, size, derivatives=True)):
            design_kernel.pack(stamps, buffer, offset+plane*size*stride, stride)

    def add_to(self, image, x, y, flux, size, top=0):
        """Add stars to an image, in place; what leaves the image is cut.

        Parameters
        ----------
        image : ndarray, shape (ny, nx), float32
        x, y, flux : ndarray, shape (n,), float64
        size : int
            Odd side of the stamps, pixels.
        top : int
            Row of the whole image that is the first of `image`, which may be a band of it.
        """
        half = size//2
        design_kernel.add_stamps(image, self.render(x, y, size), pixel(x)-half, pixel(y)-half-top, flux)

    def prepare(self, size):
        """Make what rendering stamps of a size needs, before several threads ask for it at once."""
        self.stamp(size)

    @abstractmethod
    def render_smeared(self, x, y, size, scale):
        """Stamps as `render`, of the PSF convolved with a circular exponential disc of a scale length in pixels."""

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
            A new model; self when there are too few stars (logged with the reason).
        """

    @abstractmethod
    def fwhm(self, x=None, y=None):
        """Full width at half maximum in pixels, at a position or at the middle of the image."""

    @abstractmethod
    def to_hdus(self, name="PSF"):
        """FITS HDUs that hold the model exactly; `crowdsource.psf.formats.native.read_hdus` gives it back."""

    @abstractmethod
    def to_group(self, group):
        """Write the model exactly into an h5py group."""

    def stamp(self, size, x=None, y=None):
        """One stamp centred on a pixel, float64, shape (size, size), at a position or the middle of the image."""
        x, y = self.centre if x is None else (x, y)
        return self.render(np.array([float(pixel(x))]), np.array([float(pixel(y))]), size)[0].astype(np.float64)

    @property
    @abstractmethod
    def centre(self):
        """(x, y) of the middle of the image for which the model holds, pixels."""
