"""Two solvers, one answer; and errors that hold the neighbours."""
from dataclasses import replace

import numpy as np
import pytest

from crowdsource.config import SolveConfig
from crowdsource.config.extensions import SOLVERS
from crowdsource.engine.design import model_image, render_stamps, sky_basis, sparse_matrix
from crowdsource.engine.solvers import (
    LinearProblem,
    build_normal,
    candidate_significance,
    covariances,
    lsqr_step,
    normal_step,
    prior_precision,
)
from crowdsource.psf.model import FieldPSF
from crowdsource.validate.evaluate import robust_scatter

SHAPE = (80, 90)
PSF = FieldPSF.moffat(SHAPE, 4.)
# both solvers much nearer to the minimum than needed, to compare answers and not when they stop
EXACT = SolveConfig(tolerance=1e-9, max_iterations=3000)


def crowd(n=60, seed=1, noise=2., sky=0.):
    """Crowded stars of several stamp sizes at slightly wrong positions, over masked pixels: stamps, ivar, residual, truth."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-3, SHAPE[1]+3, n), rng.uniform(-3, SHAPE[0]+3, n)
    flux = rng.uniform(300, 3000, n)
    shift = rng.normal(0, 0.03, (2, n))
    size = rng.choice([19, 31, 59], n)
    data = model_image(PSF, x+shift[0], y+shift[1], flux, size, SHAPE)+rng.normal(0, noise, SHAPE)+sky
    ivar = np.full(SHAPE, 1/noise**2, np.float32)
    ivar[rng.random(SHAPE) < 0.05] = 0
    ivar[30:36, 20:50] = 0
    data[ivar == 0] = 1e6
    return render_stamps(PSF, x, y, size), ivar, data.astype(np.float32), flux, shift


def linear(stamps, ivar, residual, precision=None):
    """The problem of some stamps; without a prior when no precision is given."""
    return LinearProblem(stamps=stamps, ivar=ivar, residual=residual,
                         precision=np.zeros(len(stamps)) if precision is None else precision)


def precision_of(flux, width=0.3):
    return prior_precision(flux, np.full(len(flux), 10.), width)


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("spacing", [0., 30.])
@pytest.mark.parametrize("seed", [1, 2])
def test_normal_equations_and_lsqr_agree(planes, spacing, seed):
    stamps, ivar, data, flux, _ = crowd(seed=seed, sky=5.*(spacing > 0))
    config = replace(EXACT, sky_spacing=spacing)
    one, two = (SOLVERS.load(m)(linear(stamps, ivar, data, precision_of(flux)), config, planes) for m in ("normal", "lsqr"))
    # blocks are float32, and close pairs know little of each other: a hundredth of the errors
    covariance = covariances(build_normal(linear(stamps, ivar, data)), precision_of(flux), 0., 64)
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))[:, :planes]
    known = np.isfinite(sigma[:, 0])
    assert known.sum() > 50
    assert (np.abs(one.parameters-two.parameters)[known, :planes] < 0.01*sigma[known]).all()
    if spacing:
        assert np.abs(one.sky-two.sky).max() < 0.02
    else:
        assert one.sky is None and two.sky is None
    assert planes == 3 or (one.parameters[:, 1:] == 0).all()
    assert planes == 3 or (two.parameters[:, 1:] == 0).all()


@pytest.mark.parametrize("method", SOLVERS.names())
@pytest.mark.parametrize("planes", [1, 3])
def test_the_answer_is_the_dense_least_squares_solution(method, planes):
    stamps, ivar, data, flux, _ = crowd(25)
    precision = precision_of(flux)
    matrix = sparse_matrix(stamps, np.sqrt(ivar), planes).toarray()
    prior = np.tile([0., 1., 1.], (25, 1))[:, :planes]*precision[:, None]
    normal = matrix.T.astype(float)@matrix+np.diag(prior.ravel())
    known = np.diag(normal) > 0
    solution = np.zeros(25*planes)
    solution[known] = np.linalg.solve(normal[np.ix_(known, known)], (matrix.T@(data*np.sqrt(ivar)).ravel())[known])
    answer = SOLVERS.load(method)(linear(stamps, ivar, data, precision), EXACT, planes)
    assert np.abs(answer.parameters[:, :planes].ravel()-solution).max() < 0.05


@pytest.mark.parametrize("method", SOLVERS.names())
@pytest.mark.parametrize("config, widened", [(EXACT, 0.), (SolveConfig(), 0.1)])
def test_fluxes_and_positions_come_back(method, config, widened):
    pulls = []
    for seed in range(20):
        stamps, ivar, data, flux, shift = crowd(40, seed=seed, noise=2.)
        answer = SOLVERS.load(method)(linear(stamps, ivar, data, precision_of(flux)), config, 3)
        covariance = covariances(build_normal(linear(stamps, ivar, data)), precision_of(flux, 1.))
        sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        known = sigma[:, 0] < 0.3*flux
        pulls.append(((answer.parameters-flux[:, None]*np.c_[np.ones(40), shift.T])/sigma)[known])
    pulls = np.concatenate(pulls)
    assert len(pulls) > 600
    # robust scatters of n pulls are known to 1.16/sqrt(n), 0.04; medians to 1.25/sqrt(n), 0.05. One step to the default tolerance
    # leaves up to half an error in such a crowd, which the passes of a fit take away
    for pull in pulls.T:
        assert abs(robust_scatter(pull)-1) < 0.12+widened and abs(np.median(pull)) < 0.14


def test_sky_fitted_along_takes_the_sky():
    yy, xx = np.mgrid[:SHAPE[0], :SHAPE[1]]
    slope = 20+0.1*xx-0.05*yy
    stamps, ivar, data, flux, _ = crowd(40, seed=6, sky=slope)
    config = replace(SolveConfig(), sky_spacing=40., tolerance=1e-5)
    with_sky, without = (normal_step(linear(stamps, ivar, data, precision_of(flux)), c, 3) for c in (config, SolveConfig()))
    fitted = (sky_basis(SHAPE, 40.)@with_sky.sky).reshape(SHAPE)
    assert np.abs(fitted-slope).max() < 2.
    assert np.median(with_sky.parameters[:, 0]-flux) < 60 < np.median(without.parameters[:, 0]-flux)


@pytest.mark.parametrize("method", SOLVERS.names())
def test_a_source_without_a_good_pixel_stays(method):
    stamps, ivar, data, flux, _ = crowd(10)
    offset, size, stride, x0, y0 = stamps.layout[3]
    ivar[max(0, y0):y0+size, max(0, x0):x0+size] = 0
    answer = SOLVERS.load(method)(linear(stamps, ivar, data, precision_of(flux)), EXACT, 3)
    assert answer.parameters[3] == pytest.approx([0, 0, 0], abs=1e-6)
    assert np.isfinite(answer.parameters).all()


@pytest.mark.parametrize("method", SOLVERS.names())
def test_prior_holds_positions(method):
    stamps, ivar, data, flux, shift = crowd(30, seed=7, noise=0.5)
    loose, tight = (SOLVERS.load(method)(linear(stamps, ivar, data, precision_of(flux, w)), EXACT, 3).parameters
                    for w in (0.3, 1e-5))
    assert np.abs(tight[:, 1:]/flux[:, None]).max() < 1e-4
    assert np.abs(loose[:, 1:]/flux[:, None]).max() > 0.03


def test_prior_precision_knows_the_flux_and_its_error():
    assert prior_precision(np.array([100., -100., 1.]), np.array([5., 5., 5.]), 0.3) == pytest.approx([1/900, 1/900, 1/2.25])


def test_covariance_is_that_of_the_whole_inverse_where_neighbours_are_few():
    stamps, ivar, data, flux, _ = crowd(12, seed=8)
    normal = build_normal(linear(stamps, ivar, data))
    precision = precision_of(flux, 1.)
    covariance = covariances(normal, precision, min_correlation=0., max_neighbours=64)
    matrix = sparse_matrix(stamps, np.sqrt(ivar), 3).toarray().astype(float)
    inverse = np.linalg.inv(matrix.T@matrix+np.diag((np.tile([0., 1., 1.], (12, 1))*precision[:, None]).ravel()))
    for k in range(12):
        # what is left out is neighbours' neighbours, which touch by their wings
        true = inverse[3*k:3*k+3, 3*k:3*k+3]
        assert np.allclose(covariance[k], true, rtol=0.03, atol=0.03*np.sqrt(np.outer(np.diag(true), np.diag(true))))


def test_default_neighbourhood_is_enough_in_a_crowd():
    stamps, ivar, data, flux, _ = crowd(150, seed=9)
    normal = build_normal(linear(stamps, ivar, data))
    precision = precision_of(flux, 1.)
    near = np.sqrt(covariances(normal, precision)[:, 0, 0])
    matrix = sparse_matrix(stamps, np.sqrt(ivar), 3).toarray().astype(float)
    inverse = np.linalg.inv(matrix.T@matrix+np.diag((np.tile([0., 1., 1.], (150, 1))*precision[:, None]).ravel()))
    true = np.sqrt(np.diag(inverse)[::3])
    isolated = 1/np.sqrt(normal.diagonal[:, 0, 0])
    assert np.median(true/isolated) > 1.3
    assert np.median(near/true) == pytest.approx(1, abs=0.05)
    assert (near < 1.001*true).all()


def test_errors_are_the_scatter_of_repeated_fits():
    x, y, flux = np.array([40., 43.5, 60.]), np.array([40., 41., 60.]), np.array([1000., 500., 800.])
    size = np.array([31]*3)
    stamps = render_stamps(PSF, x, y, size)
    clean = model_image(PSF, x, y, flux, size, SHAPE)
    ivar = np.full(SHAPE, 0.25, np.float32)
    rng = np.random.default_rng(10)
    images = ((clean+rng.normal(0, 2, SHAPE)).astype(np.float32) for _ in range(300))
    answers = np.array([normal_step(linear(stamps, ivar, data, precision_of(flux, 100.)), EXACT).parameters for data in images])
    covariance = covariances(build_normal(linear(stamps, ivar, clean)), precision_of(flux, 100.))
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    # a standard deviation of 300 values is known to 4 %
    assert np.allclose(answers.std(axis=0), sigma, rtol=0.14)
    assert sigma[0, 0] > 1.2*sigma[2, 0]


def test_equations_of_a_subset_are_those_of_its_own_stamps():
    stamps, ivar, data, flux, _ = crowd(40)
    keep = np.random.default_rng(3).random(40) > 0.4
    part, own = build_normal(linear(stamps, ivar, data)).subset(keep), build_normal(linear(stamps.subset(keep), ivar, data))
    assert np.array_equal(part.diagonal, own.diagonal) and np.array_equal(part.rhs, own.rhs)
    some = linear(stamps.subset(keep), ivar, data, precision_of(flux[keep]))
    first, second = (normal_step(some, EXACT, 3, n) for n in (part, own))
    # blocks may come in another order
    assert np.allclose(first.parameters, second.parameters, atol=1e-3)
    assert normal_step(linear(stamps.subset(keep), ivar, data, precision_of(flux[keep])), EXACT, 3, part).normal is part


def chi2_of(stamps, ivar, data, precision, planes):
    """Smallest chi2 that the columns reach, priors included."""
    matrix = sparse_matrix(stamps, np.sqrt(ivar), 3).toarray().astype(float)
    prior = (np.tile([0., 1., 1.], (len(stamps), 1))*precision[:, None]).ravel()
    matrix, prior = matrix[:, planes], prior[planes]
    rhs = matrix.T@(data*np.sqrt(ivar)).ravel().astype(float)
    return -rhs@np.linalg.solve(matrix.T@matrix+np.diag(prior), rhs)


def test_gain_of_a_candidate_is_the_root_of_the_improvement_in_chi2():
    x, y, flux = np.array([40., 48., 42.8, 60.]), np.array([40., 41., 41.5, 60.]), np.array([3000., 1000., 300., 0.])
    size = np.array([19]*4)
    stamps = render_stamps(PSF, x, y, size)
    rng = np.random.default_rng(11)
    data = (model_image(PSF, x, y, flux, size, SHAPE)+rng.normal(0, 2, SHAPE)).astype(np.float32)
    ivar = np.full(SHAPE, 0.25, np.float32)
    precision = precision_of(np.array([3000., 1000., 300., 300.]))
    gain = candidate_significance(build_normal(linear(stamps, ivar, data)), precision, 2)
    alone = chi2_of(stamps, ivar, data, precision, np.arange(6))
    for k in (2, 3):
        with_it = chi2_of(stamps, ivar, data, precision, np.r_[np.arange(6), 3*k])
        assert gain[k-2]**2 == pytest.approx(alone-with_it, rel=2e-3, abs=0.01)
    assert gain[0] > 5 and abs(gain[1]) < 4


def test_no_sources():
    stamps = render_stamps(PSF, np.zeros(0), np.zeros(0), np.zeros(0, int))
    ivar, data = np.ones(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    for step in (normal_step, lsqr_step):
        assert step(linear(stamps, ivar, data), SolveConfig(), 3).parameters.shape == (0, 3)
    assert covariances(build_normal(linear(stamps, ivar, data)), np.zeros(0)).shape == (0, 3, 3)


def test_pairs_left_out_come_back_where_the_matrix_needs_them():
    # so dense, and with such wings, that without them it is not positive
    rng, psf, shape = np.random.default_rng(1), FieldPSF.moffat((70, 70), 6., 2.), (70, 70)
    grid = np.arange(3, 67, 2.5)
    x, y = (v.ravel()+rng.uniform(-0.5, 0.5, grid.size**2) for v in np.meshgrid(grid, grid))
    flux, size, ivar = rng.uniform(300, 3000, len(x)), np.full(len(x), 19), np.full(shape, 0.25, np.float32)
    data = model_image(psf, x, y, flux*rng.uniform(-0.5, 0.5, len(x)), size, shape)+rng.normal(0, 2, shape).astype(np.float32)
    stamps, precision, config = render_stamps(psf, x, y, size), precision_of(flux), SolveConfig(tolerance=0.03)
    few, every = (build_normal(linear(stamps, ivar, data), least) for least in (config.min_overlap, 1))
    assert len(few.blocks) < 0.7*len(every.blocks)
    alone = normal_step(linear(stamps, ivar, data, precision), replace(config, min_overlap=1), 3, few)
    assert alone.reduction > 10*config.tolerance
    step, wanted = (normal_step(linear(stamps, ivar, data, precision), config, 3, normal) for normal in (few, every))
    assert step.reduction < config.tolerance and len(step.normal.blocks) == len(every.blocks)
    assert np.array_equal(step.parameters, wanted.parameters)
