"""The Moffat profile, with width, ellipticity and power as polynomials of the position."""
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ...core import functions, linear
from ..grid import basis, middle, middle_samples, nodes, planes_through, terms
from .base import PolynomialProfile

LN2 = functions.log(2)
PARAMETERS = ("fwhm", "e1", "e2", "beta")
CLOSE = 12, 3
"""The profile is integrated over pixels up to this distance from the centre, in pixels or in FWHM, whichever is larger."""
LIMITS = dict(fwhm=(0.8, 60.), e=0.6, beta=(1.3, 40.))
"""Range of each parameter; ellipticities lie between -e and e."""
FADED, WEIGHT_STEP = 40., 0.25
"""A Gaussian or a weight is nothing with so large an exponent; steps of the logarithm of a Gaussian's width."""


def moffat(dx, dy, fwhm, e1, e2, beta):
    """Moffat profile of unit flux over the plane, not integrated over pixels.

    Moffat (1969), with an ellipse of equal area: a shear (e1, e2)/2 of a circular profile.

    Parameters
    ----------
    dx, dy : ndarray
        Offsets from the centre, pixels.
    fwhm : float
        Full width at half maximum of the circular profile, pixels.
    e1, e2 : float
        Ellipticity along the axes and along the diagonals, twice the shear.
    beta : float
        Power.

    Returns
    -------
    ndarray
    """
    g1, g2 = 0.5*e1, 0.5*e2
    scale = 1/(1-g1*g1-g2*g2)
    a2 = fwhm**2/(4*(functions.exp(LN2/beta)-1))
    u, v = (1-g1)*dx-g2*dy, (1+g1)*dy-g2*dx
    # in place, as these arrays are large and many
    u *= u
    v *= v
    u += v
    u = scale*u/a2
    u += 1
    return (beta-1)/(np.pi*a2)*functions.power(u, -beta)


def moffat_transform(frequency, fwhm, beta):
    """Fourier transform of a circular Moffat profile of unit flux.

    ``(u/2)^(beta-1) 2 K_(beta-1)(u)/Gamma(beta-1)`` with u = 2 pi f a (Trujillo et al. 2001, MNRAS 328, 977). By an integral for
    that Bessel function (Watson 1922, 6.22) it is a sum of Gaussians ``exp(-(u/2)^2/e^s)`` with weights ``exp((beta-1)s-e^s)``.
    These vanish at both ends, where sums over equal steps of s are as good as exact (Trefethen and Weideman 2014).

    Parameters
    ----------
    frequency : ndarray
        Cycles per pixel.
    fwhm, beta : float
        Pixels; power.
    """
    u = 2*np.pi*frequency*fwhm/(2*np.sqrt(functions.exp(LN2/beta)-1))
    square, order = u*u/4, beta-1
    least = np.min(square, where=square > 0, initial=1.)
    # below the first no Gaussian, or no weight, is left; above the last no weight
    first = max(functions.log(order)-1-FADED/order, functions.log(least/FADED)-3)
    last = functions.log(order+FADED+9*np.sqrt(order))
    at = np.arange(first, last, WEIGHT_STEP/np.sqrt(1+order/10))
    weights = functions.exp(order*at-functions.exp(at)-functions.log_gamma(order))*(at[1]-at[0])
    out = sum(weight*functions.exp(-square*width) for weight, width in zip(weights, functions.exp(-at)))
    return np.where(square > 0, out, 1)


def profile_stamp(size, parameters, oversampling=1, halo=None):
    """Moffat profiles as `pixel_moffat` gives them, convolved with a halo where there is one."""
    if halo is None:
        return pixel_moffat(size, parameters, oversampling)
    if np.ndim(parameters) == 2:
        return np.array([profile_stamp(size, one, oversampling, halo) for one in parameters])
    return halo.convolved(lambda side: pixel_moffat(side, parameters, oversampling), size, oversampling)


def pixel_moffat(size, parameters, oversampling=1):
    """Moffat integrated over pixels, sampled around its centre.

    Near the centre by Gauss-Legendre quadrature in each pixel; farther out, where the profile is smooth, by its value in the
    middle of the pixel.

    Parameters
    ----------
    size : int
        Odd side in pixels.
    parameters : array_like, shape (4,) or (n, 4)
        fwhm, e1, e2, beta of one profile or of several, all with the same quadrature points.
    oversampling : int
        Samples in a pixel; each is an integral over a whole pixel.

    Returns
    -------
    ndarray, shape (m, m) or (n, m, m), float64
        m = oversampling*(size-1)+1.
    """
    parameters = np.asarray(parameters, dtype=np.float64)
    each = parameters.T.reshape(4, -1, 1, 1)
    narrowest, widest = each[0].min(), each[0].max()
    reach = size//2*oversampling
    at = np.arange(-reach, reach+1)/oversampling
    # a profile is point-symmetric about its centre: the upper half is enough
    upper = moffat(at[None, :], at[reach:, None], *each)
    close = np.flatnonzero(np.abs(at) <= max(CLOSE[0], CLOSE[1]*widest))
    point, weight = gauss_legendre(3 if narrowest > 3 else 5)
    near, above = at[close], at[close[len(close)//2:]]
    total = 0.
    for p, w in zip(point/2, weight/2):
        for q, v in zip(point/2, weight/2):
            total = total+w*v*moffat(near[None, :]+p, above[:, None]+q, *each)
    upper[:, :len(above), close] = total
    whole = np.concatenate([upper[:, :0:-1, ::-1], upper], axis=1)
    return whole.reshape(*parameters.shape[:-1], *whole.shape[1:])


@cache
def gauss_legendre(count):
    """Points and weights of a Gauss-Legendre quadrature between -1 and 1."""
    point, weight = np.polynomial.legendre.leggauss(count)
    # they come from eigenvalues, whose last bits depend on the processor
    return np.round(point, 15), np.round(weight, 15)


@dataclass(frozen=True, eq=False)
class MoffatProfile(PolynomialProfile):
    """A Moffat profile over an image.

    Attributes
    ----------
    coefficients : ndarray, shape (4, terms), float64
        Polynomials of fwhm (pixels), e1, e2, beta.
    shape : tuple of int
        (ny, nx) of the image.
    order : int
        Order of the polynomials.
    halo : crowdsource.psf.profiles.halo.Halo, optional
        What the profile is convolved with.
    """

    coefficients: np.ndarray
    shape: tuple
    order: int
    halo: object = None

    @classmethod
    def constant(cls, shape, fwhm, beta=3., e1=0., e2=0., halo=None):
        """The same profile everywhere."""
        return cls(np.array([[fwhm], [e1], [e2], [beta]], dtype=np.float64), tuple(shape), 0, halo)

    def at(self, x, y):
        """Parameters at positions, shape (n, 4), kept within `LIMITS`."""
        values = linear.products(basis(x, y, self.shape, self.order), self.coefficients)
        values[:, 0] = np.clip(values[:, 0], *LIMITS["fwhm"])
        values[:, 1:3] = np.clip(values[:, 1:3], -LIMITS["e"], LIMITS["e"])
        values[:, 3] = np.clip(values[:, 3], *LIMITS["beta"])
        return values

    @property
    def width(self):
        """See `Profile.width`: the widths of the profile and of the blur of the halo, added in quadrature."""
        x, y = nodes(self.shape, 0)
        return float(np.hypot(self.at(x, y)[0, 0], self.halo.blur if self.halo else 0))

    def raised(self, order):
        """The same polynomials at another order: new terms are zero, terms of a higher order are dropped."""
        coefficients = np.zeros((4, terms(order)))
        n = min(terms(order), self.coefficients.shape[1])
        coefficients[:, :n] = self.coefficients[:, :n]
        return replace(self, coefficients=coefficients, order=order)

    @property
    def plane_order(self):
        """See `PolynomialProfile.plane_order`.

        Pixels are not linear in the parameters, so that a linear change of these needs quadratic planes.
        """
        return 2 if self.order else 0

    def planes(self, size, oversampling, norm_size):
        """See `Profile.planes`; normalised over the box of norm_size pixels at each node."""
        x, y = nodes(self.shape, self.plane_order)
        stamps = unit_stamps(self.at(x, y), size, oversampling, norm_size, self.halo)
        return planes_through(stamps, x, y, self.shape, self.plane_order)


def unit_stamps(parameters, size, oversampling, norm_size, halo=None):
    """Samples of profiles as `profile_stamp` gives them, shape (n, m, m), that sum to 1 over the box of norm_size pixels."""
    stamps = profile_stamp(max(size, norm_size), parameters, oversampling, halo)
    stamps = stamps/middle(stamps, norm_size, oversampling).sum(axis=(1, 2))[:, None, None]
    return middle_samples(stamps, size, oversampling)
