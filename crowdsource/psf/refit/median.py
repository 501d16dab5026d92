"""The refit of the published pipeline: the median of shifted stamps, with a Moffat profile fitted to it."""
import numpy as np

from ...core import linear
from ..base import CENTROID_SIZE, pixel
from ..grid import basis, nodes, planes_through
from ..profiles.moffat import MoffatProfile, profile_stamp
from .core import pixel_polynomials, shifted_back, taper
from .linear import downweighted, scaled


def median_refit(psf, stamps, order, size):
    """Median of the central stamps of the stars, joined to the Moffat profile that fits it best.

    At a higher order the differences of the stars from the median determine how the stamp depends on the position, and the width
    and ellipticity of the Moffat profile follow it; its beta is that of the median.

    Parameters
    ----------
    psf : crowdsource.psf.model.FieldPSF
    stamps : crowdsource.psf.base.StarStamps
    order : int
        Of the polynomial of the position.
    size : int
        Side of the core, pixels, at most 19.

    Returns
    -------
    FieldPSF
    """
    x, y = nodes(psf.shape, order)
    measured = stamps_at(psf, stamps, min(size, CENTROID_SIZE, stamps.size-6), order, x, y)
    size = measured.shape[-1]
    halo = psf.profile.halo
    mean = moffat_of(np.mean(measured, axis=0), float(psf.fwhm()), halo=halo)
    parameters = [mean] if order == 0 else [moffat_of(stamp, mean[0], mean[3], halo) for stamp in measured]
    coefficients = linear.least_squares(basis(x, y, psf.shape, order), np.array(parameters)).T
    profile = MoffatProfile(coefficients, psf.shape, order, halo)
    rendered = psf.with_parts(profile).render(np.round(x), np.round(y), size).astype(np.float64)
    core = measured*(rendered.sum(axis=(1, 2))/measured.sum(axis=(1, 2)))[:, None, None]-rendered
    return psf.with_parts(profile, planes_through(core, x, y, psf.shape, order)*taper(size))


def stamps_at(psf, stamps, size, order, x, y):
    """Centred stamps at positions in the image, from the stars.

    Only the difference of a star from the present PSF is shifted to the middle of a pixel, and the centred PSF is added to it: an
    undersampled star cannot be shifted as a whole.

    Parameters
    ----------
    psf : FieldPSF
        The present one; it also fills masked pixels.
    stamps : StarStamps
    size : int
        Side of the result, pixels.
    order : int
        Of the polynomial of the position.
    x, y : ndarray, shape (n,)
        Pixels.

    Returns
    -------
    ndarray, shape (n, size, size), float64
    """
    model = psf.render(stamps.x, stamps.y, stamps.size)
    data = scaled(stamps, model)
    shape = len(stamps), stamps.size, stamps.size
    difference, weight = (data.data-model.reshape(len(stamps), -1)).reshape(shape), data.weight.reshape(shape)
    dx, dy = stamps.x-pixel(stamps.x), stamps.y-pixel(stamps.y)
    centred = shifted_back(difference, weight, dx, dy, size)
    shifted = centred.values+psf.render(pixel(stamps.x), pixel(stamps.y), size)
    middle = np.median(shifted, axis=0)
    if order == 0:
        return middle[None]
    residual, design = shifted-middle, basis(stamps.x, stamps.y, psf.shape, order)
    planes = pixel_polynomials(residual, centred.weight, design)
    weight = downweighted(centred.weight, residual-linear.combined(design, planes))
    planes = pixel_polynomials(residual, weight, design)
    return middle+linear.combined(basis(x, y, psf.shape, order), planes)


def moffat_of(stamp, fwhm, beta=None, halo=None):
    """fwhm, e1, e2 and beta of the Moffat profile that, with its halo, fits a stamp best.

    Parameters
    ----------
    stamp : ndarray, shape (size, size)
    fwhm : float
        Starting value, pixels.
    beta : float, optional
        Fixed at this value when given.
    halo : crowdsource.psf.profiles.halo.Halo, optional
    """
    from scipy.optimize import least_squares  # slow to import, and needed for this refit alone

    def residual(p):
        profile = profile_stamp(stamp.shape[0], (p[0], p[1], p[2], p[4] if beta is None else beta), halo=halo)
        return (p[3]*profile/profile.sum()*stamp.sum()-stamp).ravel()/stamp.max()

    start = [np.clip(fwhm, 0.9, 59), 0., 0., 1., 3.]
    limits = [0.8, -0.5, -0.5, 0.5, 1.3], [60., 0.5, 0.5, 2., 12.]
    free = slice(4 if beta is not None else 5)
    p = least_squares(residual, start[free], bounds=[v[free] for v in limits]).x
    return np.array([*p[:3], p[4] if beta is None else beta])
