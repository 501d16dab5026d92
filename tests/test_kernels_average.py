"""Kernels of averages against their slow twins and numpy: members, roles, mean fluxes and positions, motions."""
import numpy as np
import pytest
from crowdsource.cython_ext import average, positions, reference_sky
from crowdsource.cython_ext.average import Policy, Use

FLUX = {name: k for k, name in enumerate(average.FLUX_COLUMNS)}
COUNT = {name: k for k, name in enumerate(average.COUNT_COLUMNS)}
POSITION = {name: k for k, name in enumerate(positions.POSITION_COLUMNS)}
MOTION = {name: k for k, name in enumerate(positions.MOTION_COLUMNS)}


def close(fast, slow):
    # sums of tens of terms
    return np.allclose(fast, slow, rtol=1e-10, atol=1e-12, equal_nan=True)


def some_members(n, objects, seed=1):
    """Random owners, some of them none, and their members; objects without any among them."""
    owner = np.random.default_rng(seed).integers(-1, max(objects-1, 0), n)
    return average.members_of(owner, objects)


def one(n):
    """All of n detections as one object."""
    return np.array([0, n]), np.arange(n)


@pytest.mark.parametrize("n, objects", [(0, 0), (0, 3), (1, 1), (50, 7), (300, 300)])
def test_members(n, objects):
    owner = np.random.default_rng(2).integers(-1, objects, n) if n else np.zeros(0, np.intp)
    for fast, slow in zip(average.members_of(owner, objects), reference_sky.members_of(owner, objects)):
        assert fast.dtype == np.intp and np.array_equal(fast, slow)


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("n, objects, visits, sources", [(0, 0, 1, 1), (0, 2, 1, 1), (300, 30, 2, 2), (300, 100, 3, 3),
                                                         (60, 2, 1, 1), (400, 40, 4, 3)])
def test_roles(policy, n, objects, visits, sources):
    rng = np.random.default_rng(3)
    args = (*some_members(n, objects), rng.integers(0, visits, n).astype(np.intc), rng.integers(0, sources, n).astype(np.intc),
            (rng.random(n) < 0.7).astype(np.uint8), rng.integers(1, 4, n).astype(float), rng.integers(0, 5, n).astype(float))
    fast = average.roles(*args, policy)
    assert np.array_equal(fast, reference_sky.roles(*args, policy))
    # of an exposure one value is averaged at most
    start, member, visit = args[:3]
    for k in range(objects):
        own = member[start[k]:start[k+1]]
        assert all((fast[own[visit[own] == v]] == Use.AVERAGED).sum() <= 1 for v in range(visits))


def roles_of(source, policy, usable=None, sigma=None, separation=None):
    """Roles of one object's detections in one visit, by name."""
    n = len(source)
    usable, sigma, separation = (np.array(default if v is None else v, t) for v, default, t in (
        (usable, [1]*n, np.uint8), (sigma, [1.]*n, float), (separation, [0.1*(k+1) for k in range(n)], float)))
    use = average.roles(*one(n), np.zeros(n, np.intc), np.array(source, np.intc), usable, sigma, separation, policy)
    return [Use(u).name for u in use]


def test_roles_of_overlapping_detectors():
    assert roles_of([7], Policy.FLAG, usable=[0]) == ["AVERAGED"]
    assert roles_of([7, 8], Policy.FLAG) == ["AVERAGED", "OVERLAP"]
    assert roles_of([7, 8], Policy.FLAG, sigma=[2, 1]) == ["OVERLAP", "AVERAGED"]
    assert roles_of([7, 8], Policy.FLAG, sigma=[2, 1], usable=[1, 0]) == ["AVERAGED", "OVERLAP"]
    # one detection goes before a smaller error, and what is usable before that
    assert roles_of([7, 7, 8], Policy.FLAG, sigma=[1, 1, 2]) == ["OVERLAP", "OVERLAP", "AVERAGED"]
    assert roles_of([7, 8, 7], Policy.SUM, usable=[1, 0, 1]) == ["SUMMED", "OVERLAP", "SUMMED"]
    assert roles_of([8, 7, 7], Policy.SUM, usable=[0, 0, 1]) == ["OVERLAP", "SEVERAL", "SEVERAL"]
    # of two that are alike the first, whatever the detector's number
    assert roles_of([8, 7], Policy.CLOSEST) == ["AVERAGED", "OVERLAP"]


@pytest.mark.parametrize("policy, use", [(Policy.FLAG, ["SEVERAL"]*3), (Policy.SUM, ["SUMMED"]*3),
                                         (Policy.CLOSEST, ["FARTHER", "AVERAGED", "FARTHER"])])
def test_roles_of_several_detections_of_a_detector(policy, use):
    assert roles_of([7, 7, 7], policy, separation=[0.3, 0.1, 0.2]) == use
    assert roles_of([7, 7], Policy.CLOSEST, separation=[0.2, 0.2]) == ["AVERAGED", "FARTHER"]


def some_fluxes(n, bands, seed=4):
    """Bands, sources, fluxes, uses and what is good, for `mean_fluxes`."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 9, n).astype(np.intc)
    error = rng.uniform(0.5, 2, n)
    flux = np.stack([rng.normal(0, 3, n), error, error*rng.uniform(0, 1, n)*(rng.random(n) < 0.7)], axis=1)
    # what is of one image is of one band
    return ((source % (bands+1)-1).astype(np.intc), source, flux, rng.integers(0, 5, n).astype(np.uint8),
            (rng.random(n) < 0.6).astype(np.uint8))


@pytest.mark.parametrize("n, objects, bands", [(0, 0, 2), (0, 3, 1), (400, 30, 3), (400, 3, 1), (90, 90, 5), (50, 5, 0)])
@pytest.mark.parametrize("clip", [0.5, 3.])
def test_mean_fluxes(n, objects, bands, clip):
    args = *some_members(n, objects), *some_fluxes(n, bands), bands, clip
    fast, slow = average.mean_fluxes(*args), reference_sky.mean_fluxes(*args)
    assert fast[0].shape == (objects, bands, len(FLUX)) and fast[1].shape == (objects, bands, len(COUNT))
    assert close(fast[0], slow[0]) and np.array_equal(fast[1], slow[1])


def fluxes_of(flux, error=None, use=None, ok=None, source=None, common=0.):
    """Mean fluxes and counts of one object in one band, by name."""
    n = len(flux)
    table = np.stack([flux, np.ones(n) if error is None else error, np.broadcast_to(common, n)], axis=1).astype(float)
    values, counts = average.mean_fluxes(*one(n), np.zeros(n, np.intc), np.arange(n, dtype=np.intc) if source is None else
                                         np.array(source, np.intc), table, np.zeros(n, np.uint8) if use is None else
                                         np.array(use, np.uint8), np.array([1]*n if ok is None else ok, np.uint8), 1, 3.)
    return {c: values[0, 0, k] for c, k in FLUX.items()} | {c: counts[0, 0, k] for c, k in COUNT.items()}


def test_one_flux_tells_nothing_of_the_scatter():
    got = fluxes_of([-5.], [2.])
    assert [got[c] for c in ("flux", "flux_error", "flux_median", "flux_clipped", "flux_ok")] == [-5, 2, -5, -5, -5]
    assert all(np.isnan(got[c]) for c in ("flux_scatter", "flux_scatter_error", "flux_chi2"))


def test_mean_fluxes_are_those_of_numpy():
    rng = np.random.default_rng(5)
    # negative ones keep their sign
    f, e, ok = rng.normal(-1, 2, 41), rng.uniform(0.5, 3, 41), rng.random(41) < 0.5
    f[7] = 300
    got = fluxes_of(f, e, ok=ok)
    w, kept = e**-2, np.abs(f-np.median(f)) <= 3*e
    mean = np.average(f, weights=w)
    wanted = dict(flux=mean, flux_error=w.sum()**-0.5, flux_median=np.median(f), flux_scatter=f.std(ddof=1),
                  flux_chi2=(w*(f-mean)**2).sum(), flux_clipped=np.average(f[kept], weights=w[kept]),
                  flux_clipped_error=w[kept].sum()**-0.5, flux_ok=np.average(f[ok], weights=w[ok]),
                  flux_ok_error=w[ok].sum()**-0.5, flux_scatter_error=np.sqrt(41/40*(w**2*(f-mean)**2).sum())/w.sum())
    assert {c: got[c] for c in wanted} == pytest.approx(wanted, rel=1e-11)
    assert got["flux_clipped"] < 0 < got["flux_scatter"] and got["n_clipped"] == (~kept).sum() >= 1
    assert (got["n_det"], got["n_used"], got["n_ok"]) == (41, 41, ok.sum())
    # with equal errors the error by scatter is that of the mean
    assert fluxes_of(f)["flux_scatter_error"] == pytest.approx(f.std(ddof=1)/np.sqrt(41), rel=1e-11)


def test_what_is_common_to_all_errors_does_not_average_out():
    alone, many = fluxes_of([5.], [2.], common=1.5), fluxes_of([5.]*100, [2.]*100, common=1.5)
    assert alone["flux_error"] == 2
    assert many["flux_error"] == pytest.approx(np.sqrt((2**2-1.5**2)/100+1.5**2), rel=1e-12)
    assert many["flux_error"] == many["flux_clipped_error"] == many["flux_ok_error"]
    # a common part above the whole error leaves nothing else
    assert fluxes_of([5.]*3, [2.]*3, common=2.5)["flux_error"] == pytest.approx(2.5, rel=1e-12)


def test_fluxes_that_are_all_clipped_or_not_good_or_not_used():
    far = fluxes_of([0., 100.], ok=[0, 0], common=0.5)
    assert far["n_clipped"] == 2 and np.isnan(far["flux_clipped"]) and np.isnan(far["flux_ok"]) and far["flux"] == 50
    unused = fluxes_of([1., 2.], use=[Use.OVERLAP, 7])
    assert (unused["n_det"], unused["n_used"]) == (2, 0) and all(np.isnan(unused[c]) for c in FLUX)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [0, 2, 4, 1, 3], [4, 2, 0, 3, 1]])
def test_sums_of_a_source_are_one_value_wherever_its_parts_stand(order):
    flux, error = np.array([1., 2., 10., 20., 5.])[order], np.array([3., 4., 6., 8., 5.])[order]
    source, ok = np.array([1, 1, 2, 2, 3])[order], np.array([1, 1, 1, 0, 1])[order]
    use = np.where(source == 3, Use.AVERAGED, Use.SUMMED)
    got, wanted = fluxes_of(flux, error, use, ok, source), fluxes_of([3., 30., 5.], [5., 10., 5.], ok=[1, 0, 1])
    assert (got["n_det"], got["n_used"], got["n_ok"]) == (5, 3, 2)
    assert {c: got[c] for c in FLUX} == pytest.approx({c: wanted[c] for c in FLUX}, rel=1e-12)


def some_positions(n, seed=6):
    """Offsets with some far ones, variances, the common part of errors, and what is counted."""
    rng = np.random.default_rng(seed)
    offset = rng.normal(0, 1, (n, 2))
    offset[rng.random(n) < 0.1] *= 20
    error = rng.uniform(0.3, 2, n)
    return offset, error**2, error*rng.uniform(0, 1, n), (rng.random(n) < 0.6).astype(np.uint8)


@pytest.mark.parametrize("n, objects", [(0, 0), (0, 2), (1, 1), (400, 20), (200, 100), (200, 200)])
@pytest.mark.parametrize("clip", [1e-9, 1., 4., np.inf])
def test_mean_positions(n, objects, clip):
    args = *some_members(n, objects), *some_positions(n), clip
    assert close(positions.mean_positions(*args), reference_sky.mean_positions(*args))


def test_mean_positions_are_those_of_numpy():
    offset, variance, _, _ = some_positions(30)
    nothing, everyone = np.zeros(30), np.ones(30, np.uint8)
    offset = np.clip(offset, -3, 3)
    got = positions.mean_positions(*one(30), offset, variance, nothing, everyone, np.inf)[0]
    mean = np.average(offset, axis=0, weights=1/variance)
    assert got[:3] == pytest.approx([*mean, (1/variance).sum()**-0.5], rel=1e-11)
    assert got[3:] == pytest.approx([*offset.std(axis=0, ddof=1), ((offset-mean)**2/variance[:, None]).sum(), 30], rel=1e-11)
    # one that is off along one axis only is left out
    offset[4, 1] = 1000
    got = positions.mean_positions(*one(30), offset, variance, nothing, everyone, 9.)[0]
    some = np.arange(30) != 4
    assert got[POSITION["n_used"]] == 29
    assert got[:2] == pytest.approx(np.average(offset[some], axis=0, weights=1/variance[some]), rel=1e-11)
    single = positions.mean_positions(*one(1), offset[:1], variance[:1], nothing[:1], np.zeros(1, np.uint8), 4.)[0]
    assert single[[0, 1, 6]].tolist() == [*offset[0], 1] and np.isnan(single[3:6]).all()
    # what all errors have in common does not average out
    same = positions.mean_positions(*one(30), offset, np.full(30, 4.), np.full(30, 1.5), everyone, np.inf)[0]
    assert same[POSITION["error"]] == pytest.approx(np.sqrt((2**2-1.5**2)/30+1.5**2), rel=1e-12)


@pytest.mark.parametrize("n, objects", [(0, 0), (0, 2), (400, 20), (400, 100)])
@pytest.mark.parametrize("least, base", [(0, 0.), (5, 1.), (5, 9.5)])
def test_motions(n, objects, least, base):
    time = np.random.default_rng(7).uniform(2010, 2020, n)
    time[::9] = np.nan
    offset, variance, _, counted = some_positions(n)
    args = *some_members(n, objects), offset, variance, counted, time, least, base
    assert close(positions.motions(*args), reference_sky.motions(*args))


def test_motions_are_those_of_polyfit():
    offset, variance, _, _ = some_positions(25)
    time = np.random.default_rng(8).uniform(2010, 2020, 25)
    got = positions.motions(*one(25), offset, variance, np.ones(25, np.uint8), time, 3, 1.)[0]
    epoch = np.average(time, weights=1/variance)
    for axis, (at, motion) in enumerate((("east", "pm_east"), ("north", "pm_north"))):
        line, covariance = np.polyfit(time-epoch, offset[:, axis], 1, w=variance**-0.5, cov="unscaled")
        assert [got[MOTION[motion]], got[MOTION[at]]] == pytest.approx(line, rel=1e-9)
        # at the mean time position and motion are independent
        assert [got[MOTION["pm_error"]], got[MOTION["error"]]] == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-9)
    assert got[MOTION["epoch"]] == pytest.approx(epoch, rel=1e-14)


def test_motions_need_members_and_time():
    offset, variance, all_ = np.zeros((5, 2)), np.ones(5), np.ones(5, np.uint8)
    time = np.array([0., 1, 2, 3, 4])
    for n, least, base, fits in ((5, 5, 4., True), (5, 6, 4., False), (5, 5, 4.1, False), (2, 0, 0., False), (3, 0, 0., True)):
        out = positions.motions(*one(n), offset[:n], variance[:n], all_[:n], time[:n], least, base)
        assert np.isfinite(out).all() == fits
    assert np.isnan(positions.motions(*one(5), offset, variance, all_, np.ones(5), 3, 0.)).all()


START, MEMBER, NUMBERS, BYTES, REALS, PAIRS = (np.array([0, 2]), np.array([0, 1]), np.zeros(2, np.intc), np.zeros(2, np.uint8),
                                               np.ones(2), np.ones((2, 2)))
FLUXES = np.ones((2, 3))
CALLS = {
    "roles": lambda start=START, member=MEMBER, last=REALS:
        average.roles(start, member, NUMBERS, NUMBERS, BYTES, REALS, last, 0),
    "mean_fluxes": lambda start=START, member=MEMBER, last=FLUXES:
        average.mean_fluxes(start, member, NUMBERS, NUMBERS, last, BYTES, BYTES, 1, 3.),
    "mean_positions": lambda start=START, member=MEMBER, last=REALS:
        positions.mean_positions(start, member, PAIRS, REALS, last, BYTES, 3.),
    "motions": lambda start=START, member=MEMBER, last=REALS:
        positions.motions(start, member, PAIRS, REALS, BYTES, last, 3, 1.),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arguments_are_checked(call):
    call()
    for change, message in ((dict(member=np.array([0, 2])), "member 2 is none"), (dict(member=np.array([-1, 0])), "member -1"),
                            (dict(start=np.array([0, 3])), "start"), (dict(start=np.array([0, 2, 1])), "descend"),
                            (dict(start=np.array([-1, 2])), "start"), (dict(start=np.zeros(0, np.intp)), "start"),
                            (dict(last=np.ones((3, 3)) if call is CALLS["mean_fluxes"] else np.ones(3)), "as many"),
                            (dict(start=START.astype(np.int32)), "dtype"),
                            (dict(member=np.zeros(4, np.intp)[::2]), "contiguous")):
        with pytest.raises(ValueError, match=message):
            call(**change)
    with pytest.raises(TypeError, match="not 'list'"):
        call(last=[1., 1.])


def test_owners_and_policies_are_checked():
    with pytest.raises(ValueError, match="below the number"):
        average.members_of(np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="below the number"):
        average.members_of(np.array([-1]), -1)
    with pytest.raises(ValueError, match="policy is 3"):
        roles_of([1, 1], 3)
