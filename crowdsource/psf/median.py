"""The published refit: the median of shifted stamps, with Moffat wings fitted to it."""
import numpy as np
from scipy.optimize import least_squares

from .base import CENTROID_SIZE, pixel
from .grid import basis
from .model import FieldPSF
from .moffat import MoffatWings, pixel_moffat
from .refit import affordable_order, pixel_polynomials, prepared, shifted_back, taper


def median_refit(psf, stamps, config):
    """Median of the stars' central stamps, blended into the Moffat profile that fits it best.

    Parameters and result as `crowdsource.psf.refit.refit`.
    """
    model = psf.render(stamps.x, stamps.y, stamps.size)
    problem = prepared(stamps, model)
    side = stamps.size
    size = min(config.core, CENTROID_SIZE, side-6)
    dx, dy = stamps.x-pixel(stamps.x), stamps.y-pixel(stamps.y)
    weight = problem.weight.reshape(-1, side, side)
    centred, certainty = shifted_back(problem.data.reshape(-1, side, side), weight, dx, dy, size)
    middle = np.median(centred, axis=0)
    wings = MoffatWings.constant(psf.shape, *moffat_of(middle, psf))
    bare = FieldPSF.of(wings, norm_size=psf.norm_size)
    profile = bare.stamp(size)
    order = affordable_order(len(stamps), config)
    core = np.zeros((1, size, size)) if order == 0 else pixel_polynomials(
        centred-middle, certainty, basis(stamps.x, stamps.y, psf.shape, order))
    core[0] += middle*profile.sum()/middle.sum()-profile
    return FieldPSF.of(wings, core*taper(size), psf.norm_size)


def moffat_of(stamp, psf):
    """fwhm, beta, e1, e2 of the Moffat profile closest to a stamp."""
    start = [float(psf.fwhm()), 3., 0., 0., 1.]

    def left(p):
        profile = pixel_moffat(stamp.shape[0], (p[0], p[2], p[3], p[1]))
        return (p[4]*profile/profile.sum()*stamp.sum()-stamp).ravel()/stamp.max()

    limits = [0.8, 1.3, -0.5, -0.5, 0.5], [60., 12., 0.5, 0.5, 2.]
    start[0] = np.clip(start[0], 0.9, 59)
    return least_squares(left, start, bounds=limits).x[:4]
