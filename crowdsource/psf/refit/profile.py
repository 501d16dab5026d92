"""Refit of a PSF on stars: the profile's parameters first, then a pixel core on what it leaves.

Each star's flux, position and a constant sky are fitted along and projected out, so that the shape alone is learnt.
"""
import logging
from dataclasses import dataclass, replace

import numpy as np

from ...core.calibration import calibration
from ..base import MODEL_ERROR, pixel
from ..grid import basis, coefficients, render, terms
from ..model import FieldPSF
from ..profiles.moffat import MoffatProfile, unit_stamps

log = logging.getLogger(__name__)
STEPS = dict(fwhm=0.02, e=0.02, beta=0.05)
"""Finite differences for the shape's derivatives: relative for fwhm and beta."""
LARGEST = np.array([0.3, 0.1, 0.1, 0.5])
"""Largest change of fwhm (relative), e1, e2 and beta (relative) in one iteration."""
ITERATIONS = 3
SETTLED = np.array([0.01, 0.003, 0.003, 0.05])
"""No further iteration when fwhm (pixels), e1, e2 and beta change by less."""
OUTLIER = calibration.psf.outlier
NARROW = 2.3
"""Below so many pixels of FWHM interpolation between a star's pixels leaves ripples larger than what a core could mend."""
DIRECT_CORE = 9
"""Largest core whose pixels are fitted to all stars in one system."""
BLOCK = 32
"""So many stars are worked on at a time: what they need stays in the processor's cache."""
NUISANCE = 4


def refit(psf, stamps, config):
    """A new PSF fitted to stars.

    Parameters
    ----------
    psf : FieldPSF
    stamps : StarStamps
    config : crowdsource.config.PSFConfig

    Returns
    -------
    FieldPSF
        The same where there are too few stars, or the new one is far from the FWHM that is expected.
    """
    if len(stamps) < config.min_stars:
        log.warning("PSF not refitted: %d stars, %d are needed", len(stamps), config.min_stars)
        return psf
    new = refitted(psf, stamps, config)
    if config.expected_fwhm:
        fwhm = float(new.fwhm())
        if not 1/config.fwhm_factor < fwhm/config.expected_fwhm < config.fwhm_factor:
            log.warning("PSF not refitted: %d stars of FWHM %.2f px, where %.2f is expected, are none", len(stamps), fwhm,
                        config.expected_fwhm)
            return psf
    return new


def refitted(psf, stamps, config):
    """A new PSF, whatever it looks like; see `refit`."""
    if config.method == "median":
        from .median import median_refit
        return median_refit(psf, stamps, config)
    order = affordable_order(len(stamps), config)
    profile = fit_profile(psf, stamps, order) if isinstance(psf.profile, MoffatProfile) else psf.profile
    bare = FieldPSF.of(profile, norm_size=psf.norm_size)
    # a PSF sampled once a pixel is wide enough, and need not be rendered to know it
    width = float(bare.fwhm()) if bare.oversampling > 1 else np.inf
    if directly(profile, width, order, config):
        from .narrow import fit_narrow_core
        return fit_narrow_core(FieldPSF.of(profile, psf.core, psf.norm_size), stamps, config.core)
    if width < NARROW:
        log.info("PSF without a pixel core: stars of %.2f px cannot be shifted to a common centre", width)
        return bare
    return fit_core(FieldPSF.of(profile, psf.core, psf.norm_size), stamps, order, config.core)


def directly(profile, width, order, config):
    """Whether a core is fitted without shifting stars: to stamps, which nothing else fits to the stars, and only where they are
    narrow, or a small core that is the same over the image is all that is wanted."""
    if isinstance(profile, MoffatProfile) or width == np.inf:
        return False
    return width < NARROW or (order == 0 and config.core <= DIRECT_CORE)


def affordable_order(stars, config):
    """The largest order of the polynomials that so many stars determine, at most the config's."""
    order = config.order
    while order > 0 and stars < config.stars_per_term*terms(order):
        order -= 1
    if order < config.order:
        log.info("PSF varies with order %d instead of %d: %d stars", order, config.order, stars)
    return order


@dataclass(frozen=True)
class Problem:
    """Stars ready for linear fits.

    Attributes
    ----------
    data, weight : ndarray, shape (n, pixels), float32
        Stamps over fluxes, and inverse variances of that with outliers weighted down.
    """
    data: np.ndarray
    weight: np.ndarray


def prepared(stamps, model):
    """Stamps over fluxes with weights that know the model's own error.

    Parameters
    ----------
    stamps : StarStamps
    model : ndarray, shape (n, size, size)
        The PSF at each star.

    Returns
    -------
    Problem
    """
    flux = stamps.flux[:, None]
    own = model.reshape(len(stamps), -1)
    ivar = stamps.ivar.reshape(own.shape)*np.square(flux).astype(np.float32)
    weight = ivar/(1+ivar*(np.float32(MODEL_ERROR)*own)**2)
    return Problem(stamps.data.reshape(own.shape)*(1/flux).astype(np.float32), weight)


def toned_down(weight, residual):
    """Weights lowered where a residual is larger than its error allows (Cauchy)."""
    return weight/(1+residual**2*weight*np.float32(1/OUTLIER**2))


def fit_profile(psf, stamps, order):
    """Gauss-Newton on the polynomials of the Moffat profile's parameters.

    Parameters
    ----------
    psf : FieldPSF
        Its profile is the start; its core plays no part.
    stamps : StarStamps
    order : int

    Returns
    -------
    MoffatProfile
    """
    profile = psf.profile.raised(order)
    design = basis(stamps.x, stamps.y, psf.shape, order)
    # the power varies slowly and is the least certain: one value for the image
    free = [terms(order)]*3+[1]
    for _ in range(ITERATIONS):
        current, before = FieldPSF.of(profile, norm_size=psf.norm_size), profile
        matrix, rhs = normal_of_shape(current, stamps, profile, design, free)
        step = np.linalg.lstsq(matrix, rhs, rcond=1e-10)[0]
        profile = stepped(profile, step, free)
        if (np.abs(profile.coefficients-before.coefficients).sum(axis=1) < SETTLED).all():
            break
    return profile


def shape_changes(psf, size, profile):
    """Spline coefficients of the derivatives of the PSF with respect to fwhm, e1, e2 and beta, at the mean shape."""
    middle = profile.at(*(np.atleast_1d(c) for c in psf.centre))[0]
    steps = np.diag([STEPS["fwhm"]*middle[0], STEPS["e"], STEPS["e"], STEPS["beta"]*middle[3]])
    stamps = unit_stamps(np.r_[middle+steps, middle-steps], size+4, psf.oversampling, psf.norm_size, profile.halo)
    change = coefficients((stamps[:4]-stamps[4:])/(2*np.diag(steps)[:, None, None]))
    return [change[k:k+1] for k in range(4)]


def normal_of_shape(psf, stamps, profile, design, free):
    """Normal equations of the shape's polynomials with each star's nuisances eliminated."""
    n, changes = len(stamps), shape_changes(psf, stamps.size, profile)
    psf.prepare(stamps.size)
    information, gradient = in_blocks(lambda block: normal_of_stars(psf, block, changes), stamps)
    # a star's shape steps are its place in the polynomials
    place = np.zeros((n, 4, sum(free)))
    start = 0
    for k, count in enumerate(free):
        place[:, k, start:start+count] = design[:, :count]
        start += count
    matrix = np.einsum("nka,nkl,nlb->ab", place, information, place, optimize=True)
    return matrix+1e-9*np.diag(np.diag(matrix)), np.einsum("nka,nk->a", place, gradient)


def in_blocks(function, stamps):
    """Arrays that a function gives for stamps of stars, worked out block by block."""
    parts = map(function, [stamps.subset(slice(k, k+BLOCK)) for k in range(0, len(stamps), BLOCK)])
    return [np.concatenate(part) for part in zip(*parts)]


def normal_of_stars(psf, stamps, changes):
    """Normal matrices, shape (n, 4, 4), and right-hand sides, shape (n, 4), of each star's own shape, nuisances eliminated."""
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    problem = prepared(stamps, value)
    n, one = len(stamps), np.ones((len(stamps), 1))
    shapes = [render(change, one, stamps.x, stamps.y, stamps.size, psf.oversampling) for change in changes]
    columns = np.stack([value, ddx, ddy, np.ones_like(value), *shapes], axis=1).reshape(n, NUISANCE+4, -1)
    _, _, weight = solve_steadily(columns[:, :NUISANCE], problem)
    return without_nuisances(*products(columns, weight, problem.data-value.reshape(n, -1)))


def without_nuisances(normal, right):
    """Normal equations of each star with the nuisances, which come first, eliminated."""
    inner = np.linalg.inv(normal[:, :NUISANCE, :NUISANCE]+1e-9*scaled_identity(normal[:, :NUISANCE, :NUISANCE]))
    cross = normal[:, NUISANCE:, :NUISANCE]@inner
    information = normal[:, NUISANCE:, NUISANCE:]-cross@normal[:, :NUISANCE, NUISANCE:]
    return information, right[:, NUISANCE:]-(cross@right[:, :NUISANCE, None])[:, :, 0]


def scaled_identity(matrices):
    """Diagonal matrices with the diagonals of others."""
    return np.einsum("nii->ni", matrices)[:, :, None]*np.eye(matrices.shape[-1])


def solve_each(columns, weight, data):
    """Weighted least squares of each star's stamp on its own columns.

    Returns
    -------
    parameters : ndarray, shape (n, k)
    left : ndarray, shape (n, pixels)
        What the fit leaves.
    """
    normal, right = products(columns, weight, data)
    normal = normal+1e-9*scaled_identity(normal)+1e-30*np.eye(normal.shape[-1])
    parameters = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
    return parameters, data-(parameters.astype(np.float32)[:, None]@columns)[:, 0]


def solve_steadily(columns, problem):
    """`solve_each` twice, the second time with outliers weighted down.

    Returns
    -------
    parameters, left : ndarray
        As `solve_each`.
    weight : ndarray, shape (n, pixels), float32
        Those that what is left asks for.
    """
    weight = problem.weight
    for _ in range(2):
        parameters, left = solve_each(columns, weight, problem.data)
        weight = toned_down(problem.weight, left)
    return parameters, left, weight


def products(columns, weight, data):
    """Normal matrices, shape (n, k, k), and right-hand sides, shape (n, k), float64, of each star's columns."""
    weighted = columns*weight[:, None]
    normal, right = weighted@columns.transpose(0, 2, 1), weighted@data[:, :, None]
    return normal.astype(np.float64), right[:, :, 0].astype(np.float64)


def stepped(profile, step, free):
    """A profile after a step, limited so that a bad start cannot run away."""
    change = np.zeros_like(profile.coefficients)
    start = 0
    for k, count in enumerate(free):
        change[k, :count] = step[start:start+count]
        start += count
    limit = LARGEST*np.array([profile.coefficients[0, 0], 1, 1, profile.coefficients[3, 0]])
    change *= np.minimum(1, limit/np.maximum(np.abs(change).sum(axis=1), 1e-30))[:, None]
    return replace(profile, coefficients=profile.coefficients+change)


def fit_core(psf, stamps, order, size):
    """A pixel core: what the profile leaves, shifted to the stars' centres, as a polynomial of the position per pixel.

    Each star is fitted with the present core, so that its flux and centre are those of the whole PSF. A coefficient stays only
    as far as it stands out of its own noise, so that a core fitted to a good profile adds nothing; towards the core's rim
    it fades out.

    Parameters
    ----------
    psf : FieldPSF
        New profile, and the core as it was.
    stamps : StarStamps
    order : int
    size : int
        Side of the core, pixels.

    Returns
    -------
    FieldPSF
    """
    size = min(size, stamps.size-6)
    bare = FieldPSF.of(psf.profile, norm_size=psf.norm_size) if psf.core.any() else None
    # threads find what they render from made
    psf.prepare(stamps.size)
    if bare:
        psf.prepare(size)
        bare.prepare(size)
    centred, certainty = in_blocks(lambda block: centred_rest(psf, bare, block, size), stamps)
    planes = pixel_polynomials(centred, certainty, basis(stamps.x, stamps.y, psf.shape, order))
    return FieldPSF.of(psf.profile, planes*taper(planes.shape[-1]), psf.norm_size)


def centred_rest(psf, bare, stamps, size):
    """What the profile leaves of each star, shifted to its centre, and the weights of its pixels.

    Parameters as `fit_core`; `bare` is the PSF without its core, None where it has none.
    """
    value, ddx, ddy = psf.render(stamps.x, stamps.y, stamps.size, derivatives=True)
    problem = prepared(stamps, value)
    columns = np.stack([value, ddx, ddy, np.ones_like(value)], axis=1).reshape(len(stamps), NUISANCE, -1)
    parameters, left, weight = solve_steadily(columns, problem)
    flux = np.maximum(parameters[:, :1], 0.1)
    px, py = pixel(stamps.x), pixel(stamps.y)
    dx, dy = stamps.x-px+parameters[:, 1]/flux[:, 0], stamps.y-py+parameters[:, 2]/flux[:, 0]
    shape = len(stamps), stamps.size, stamps.size
    centred, certainty = shifted_back((left/flux).reshape(shape), weight.reshape(shape), dx, dy, size)
    if bare:
        centred = centred+psf.render(px, py, size)-bare.render(px, py, size)
    return centred, certainty


def shifted_back(stamps, weight, dx, dy, size):
    """Stamps sampled at whole-pixel offsets from each star's own centre.

    Six-point Lagrange interpolation along each axis; weights are taken from the nearest pixel.

    Parameters
    ----------
    stamps, weight : ndarray, shape (n, side, side)
    dx, dy : ndarray, shape (n,)
        The stars' offsets from the middle pixel, pixels.
    size : int
        Odd side of the result, at most side-6.

    Returns
    -------
    values, weight : ndarray, shape (n, size, size)
    """
    along_y, along_x = (lagrange_matrix(d, stamps.shape[-1], size) for d in (dy, dx))
    values = along_y@np.where(weight > 0, stamps, 0)@along_x.transpose(0, 2, 1)
    margin = (stamps.shape[-1]-size)//2
    return values, weight[:, margin:margin+size, margin:margin+size]


def lagrange_matrix(shift, side, size):
    """Matrices, shape (n, size, side), that sample at the middle `size` pixels plus a shift, by six-point Lagrange."""
    shift = np.clip(shift, -1.5, 1.5)
    low = np.floor(shift).astype(int)
    t = (shift-low)[:, None]
    knots = np.arange(-2, 4)
    weights = np.ones((len(shift), 6))
    for k in range(6):
        for other in range(6):
            if other != k:
                weights[:, k] *= ((t-knots[other])/(knots[k]-knots[other]))[:, 0]
    matrix = np.zeros((len(shift), size, side))
    rows = np.arange(size)
    margin = (side-size)//2
    for k in range(6):
        at = np.clip(rows[None, :]+margin+low[:, None]+knots[k], 0, side-1)
        np.add.at(matrix, (np.arange(len(shift))[:, None], rows[None, :], at), weights[:, k][:, None])
    return matrix


def pixel_polynomials(values, weight, design):
    """Weighted polynomial of the position in each pixel, shrunk by its significance.

    Parameters
    ----------
    values, weight : ndarray, shape (n, size, size)
    design : ndarray, shape (n, k)

    Returns
    -------
    ndarray, shape (k, size, size)
    """
    n, size, _ = values.shape
    v, w = values.reshape(n, -1), weight.reshape(n, -1)
    matrix = np.einsum("np,na,nb->pab", w, design, design, optimize=True)
    matrix += (1e-9*np.trace(matrix, axis1=1, axis2=2)[:, None, None]+1e-30)*np.eye(design.shape[1])
    inverse = np.linalg.inv(matrix)
    solution = np.einsum("pab,np,nb->ap", inverse, w*v, design, optimize=True)
    chi2 = (w*(v-design@solution)**2).sum(axis=0)/max(1, n-design.shape[1])
    variance = np.einsum("paa->ap", inverse)*np.maximum(chi2, 1)
    planes, noise = solution.reshape(-1, size, size), variance.reshape(-1, size, size)
    power, expected = smoothed(planes**2), smoothed(noise)
    return planes*np.clip(1-expected/np.maximum(power, 1e-300), 0, 1)


def smoothed(planes):
    """Means over 3x3 pixels, plane by plane."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    n = planes.shape[-1]
    return sum(padded[:, j:j+n, i:i+n] for j in range(3) for i in range(3))/9


def taper(size):
    """A factor that is 1 in the middle of a stamp and falls to 0 at its rim, shape (size, size)."""
    at = np.arange(size)-size//2
    radius = np.hypot(at[None, :], at[:, None])/(size/2)
    return np.cos(np.pi/2*np.clip((radius-0.6)/0.4, 0, 1))**2
