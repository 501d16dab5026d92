"""The published refit: the median of shifted stamps, with a Moffat profile fitted to it."""
import numpy as np
from scipy.optimize import least_squares

from ..base import CENTROID_SIZE, pixel
from ..grid import basis, nodes, planes_through
from ..model import FieldPSF
from ..profiles.moffat import MoffatProfile, profile_stamp
from .profile import affordable_order, pixel_polynomials, prepared, shifted_back, taper, toned_down


def median_refit(psf, stamps, config):
    """Median of the stars' central stamps, blended into the Moffat profile that fits it best.

    Where there are stars enough, what single stars show beyond the median gives the stamp's dependence on the position, and
    the Moffat profile follows it in width and ellipticity; its power is that of the median.

    Parameters and result as `crowdsource.psf.refit.profile.refit`.
    """
    order = affordable_order(len(stamps), config)
    x, y = nodes(psf.shape, order)
    measured = stamps_at(psf, stamps, min(config.core, CENTROID_SIZE, stamps.size-6), order, x, y)
    size = measured.shape[-1]
    halo = psf.profile.halo
    mean = moffat_of(np.mean(measured, axis=0), float(psf.fwhm()), halo=halo)
    parameters = [mean] if order == 0 else [moffat_of(stamp, mean[0], mean[3], halo) for stamp in measured]
    coefficients = np.linalg.lstsq(basis(x, y, psf.shape, order), np.array(parameters), rcond=None)[0].T
    profile = MoffatProfile(coefficients, psf.shape, order, halo)
    rendered = FieldPSF.of(profile, norm_size=psf.norm_size).render(np.round(x), np.round(y), size).astype(np.float64)
    core = measured*(rendered.sum(axis=(1, 2))/measured.sum(axis=(1, 2)))[:, None, None]-rendered
    return FieldPSF.of(profile, planes_through(core, x, y, psf.shape, order)*taper(size), psf.norm_size)


def stamps_at(psf, stamps, size, order, x, y):
    """Centred stamps, as the stars show them, at positions in the image.

    Stars are shifted to the middle of a pixel as what they differ from the present PSF, to which the centred PSF is added: an
    undersampled star could not be shifted whole.

    Parameters
    ----------
    psf : FieldPSF
        The present one; it also stands in for masked pixels.
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
    problem = prepared(stamps, model)
    shape = len(stamps), stamps.size, stamps.size
    difference, weight = (problem.data-model.reshape(len(stamps), -1)).reshape(shape), problem.weight.reshape(shape)
    dx, dy = stamps.x-pixel(stamps.x), stamps.y-pixel(stamps.y)
    shifted, certainty = shifted_back(difference, weight, dx, dy, size)
    shifted += psf.render(pixel(stamps.x), pixel(stamps.y), size)
    middle = np.median(shifted, axis=0)
    if order == 0:
        return middle[None]
    rest, design = shifted-middle, basis(stamps.x, stamps.y, psf.shape, order)
    planes = pixel_polynomials(rest, certainty, design)
    outlying = toned_down(certainty, rest-np.tensordot(design, planes, axes=1))
    planes = pixel_polynomials(rest, outlying, design)
    return middle+np.tensordot(basis(x, y, psf.shape, order), planes, axes=1)


def moffat_of(stamp, fwhm, beta=None, halo=None):
    """fwhm, e1, e2 and beta of the Moffat profile that is, with its halo, closest to a stamp.

    Parameters
    ----------
    stamp : ndarray, shape (size, size)
    fwhm : float
        Where to start, pixels.
    beta : float, optional
        Held at this when given.
    halo : crowdsource.psf.profiles.halo.Halo, optional
    """
    def left(p):
        profile = profile_stamp(stamp.shape[0], (p[0], p[1], p[2], p[4] if beta is None else beta), halo=halo)
        return (p[3]*profile/profile.sum()*stamp.sum()-stamp).ravel()/stamp.max()

    start = [np.clip(fwhm, 0.9, 59), 0., 0., 1., 3.]
    limits = [0.8, -0.5, -0.5, 0.5, 1.3], [60., 0.5, 0.5, 2., 12.]
    free = slice(4 if beta is not None else 5)
    p = least_squares(left, start[free], bounds=[v[free] for v in limits]).x
    return np.array([*p[:3], p[4] if beta is None else beta])
