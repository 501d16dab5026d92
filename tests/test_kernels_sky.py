"""The kernels of the sky against their slow twins, and what must hold for any input."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdsource.catalog.match import LINKS, AssociationConfig, Places, associate
from crowdsource.cython_ext import average, match, positions, sphere
from crowdsource.cython_ext import reference_sky as twin

ARCSEC = 1/3600
REACH = 0.5*ARCSEC
CENTRES = [(0., 0.), (359.99999, 20.), (123., -60.), (77., 89.9999), (10., 90.), (200., -90.)]


def crowd(n, ra, dec, side=3., seed=1):
    """Places of a crowd of so many arcseconds on a side, some of them equal, in no order."""
    rng = np.random.default_rng(seed)
    offset = rng.uniform(-side/2, side/2, (n, 2))
    if n > 4:
        offset[3], offset[n//2:n//2+2] = offset[1], offset[0]
    return sphere.moved(np.full(n, ra), np.full(n, dec), offset)


def points_of(n, ra, dec, **more):
    return sphere.Points(*crowd(n, ra, dec, **more), REACH)


def halves(n, seed=3):
    """Links that differ from point to point, up to the reach."""
    return np.random.default_rng(seed).uniform(0.1, 0.5, n)*sphere.chord2(REACH)


@pytest.mark.parametrize("ra, dec", CENTRES)
def test_places_and_offsets(ra, dec):
    a, d = crowd(50, ra, dec)
    vectors = sphere.unit_vectors(a, d)
    # float64 holds 1e-16 of the radius; an arcsecond is 5e-6 of it
    assert vectors == pytest.approx(twin.unit_vectors(a, d), abs=1e-15)
    assert sphere.unit_vectors(*sphere.places(3*vectors)) == pytest.approx(vectors, abs=1e-15)
    assert np.all((sphere.places(vectors)[0] >= 0) & (sphere.places(vectors)[0] < 360))
    middle = np.full(50, float(ra)), np.full(50, float(dec))
    which = np.random.default_rng(1).permutation(50)
    offset = sphere.offsets(vectors, which, *middle)
    assert offset == pytest.approx(twin.offsets(vectors, which, *middle), abs=1e-9)
    assert np.isnan(sphere.offsets(vectors[:1], np.array([-1]), *middle)).all()
    for moved in (sphere.moved(*middle, offset), twin.moved(*middle, offset)):
        assert sphere.unit_vectors(*moved) == pytest.approx(vectors, abs=1e-15)


@pytest.mark.parametrize("ra, dec", CENTRES)
@pytest.mark.parametrize("n", [0, 1, 2, 150])
def test_association_steps_agree_with_their_twins(ra, dec, n):
    points, half = points_of(n, ra, dec), halves(n)
    weight = np.where(np.arange(n) % 7 == 3, 0., np.random.default_rng(5).uniform(0.5, 2, n))
    dense = match.density(points, half, weight, 0.6)
    assert dense == pytest.approx(twin.density(points, half, weight, 0.6), rel=1e-6)
    dense = np.where(weight > 0, dense, -1)
    owner, expected = np.full(n, -1, dtype=np.intp), np.full(n, -1, dtype=np.intp)
    match.cover(points, half, dense, owner, 3)
    twin.cover(points, half, dense, expected, 3)
    assert owner.tolist() == expected.tolist()
    centres = sphere.Points(*crowd(n//3, ra, dec, seed=9), REACH)
    near, d2 = match.nearest_centres(centres, points.vectors, *points.sorted_places, half)
    found, distance = twin.nearest_centres(centres, points.vectors, half)
    assert near.tolist() == found.tolist() and d2 == pytest.approx(distance, rel=1e-6)
    source = (np.arange(n) % 4).astype(np.intc)
    for rounds in (1, 2, 5):
        result = match.settle(near, d2, points.order.astype(np.intp), source, n//3, rounds)
        for a, b in zip(result, twin.settle(near, d2, points.order, source, n//3, rounds)):
            assert a.tolist() == b.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_stray_objects_agree_with_their_twin(seed):
    rng = np.random.default_rng(seed)
    n, m = 120, 30
    detections, centres = points_of(n, 0., 0., side=2, seed=seed), points_of(m, 0., 0., side=2, seed=seed+50)
    owner = rng.choice(m, n, p=rng.dirichlet(np.full(m, 0.3)))
    source, counted = rng.integers(0, 40, n).astype(np.intc), (rng.random(n) < 0.9).astype(np.uint8)
    members, limit = average.members_of(owner.astype(np.intp), m), rng.uniform(0, 6, n)*sphere.chord2(REACH)
    into = match.absorb(centres, members, detections.vectors, limit, source, counted, 2)
    expected = twin.absorb(centres, members, detections.vectors, limit, source, counted, 2)
    assert into.tolist() == expected.tolist()
    assert np.sum(into != np.arange(m)) > 0


@pytest.mark.parametrize("dec", [0., 60., 89.999, 90., -90.])
def test_search_finds_all(dec):
    # half a degree around the prime meridian, and the whole of a pole's surroundings
    rng = np.random.default_rng(2)
    ra = np.mod(rng.uniform(-0.5, 0.5, 400) if abs(dec) < 89 else rng.uniform(0, 360, 400), 360)
    d = np.clip(dec+rng.normal(0, 2*ARCSEC, 400), -90, 90)
    points = sphere.Points(ra, d, 60*ARCSEC)
    every = match.density(points, np.full(400, sphere.chord2(60*ARCSEC)/2), np.ones(400), 1.)
    assert every == pytest.approx(twin.density(points, np.full(400, sphere.chord2(60*ARCSEC)/2), np.ones(400), 1.), rel=1e-9)


@pytest.mark.parametrize("policy", list(average.Policy))
@pytest.mark.parametrize("seed", range(4))
def test_roles_agree_with_their_twin(policy, seed):
    rng = np.random.default_rng(seed)
    n = 300
    owner = rng.integers(-1, 40, n).astype(np.intp)
    source = rng.integers(0, 12, n).astype(np.intc)
    visit, usable = (source//3).astype(np.intc), (rng.random(n) < 0.8).astype(np.uint8)
    sigma, separation = rng.choice([0.1, 0.2, 0.3], n), rng.choice([0.05, 0.1, 0.2], n)
    start, member = average.members_of(owner, 40)
    those = [member[a:b] for a, b in zip(start[:-1], start[1:])]
    assert [t.tolist() for t in those] == [t.tolist() for t in twin.members_of(owner, 40)]
    use = average.roles(start, member, visit, source, usable, sigma, separation, policy)
    held = owner >= 0
    assert use[held].tolist() == twin.roles(those, visit, source, usable, sigma, separation, policy)[held].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_means_agree_with_their_twins(seed):
    rng = np.random.default_rng(seed)
    n, m = 200, 30
    start, member = average.members_of(rng.integers(0, m, n).astype(np.intp), m)
    flux, error, ok = rng.normal(0, 5, n), rng.uniform(0.5, 2, n), rng.random(n) < 0.7
    common = error*rng.uniform(0, 1, n)*(rng.random(n) < 0.5)
    values, counts = average.mean_fluxes(start, member, np.zeros(n, np.intc), np.arange(n, dtype=np.intc),
                                         np.stack([flux, error, common], axis=1), np.zeros(n, np.uint8),
                                         ok.astype(np.uint8), 1, 2.)
    offset, counted = rng.normal(0, 1, (n, 2)), (rng.random(n) < 0.6).astype(np.uint8)
    place = positions.mean_positions(start, member, offset, error**2, common, counted, 1.5)
    time = rng.uniform(0, 5, n)
    motion = positions.motions(start, member, offset, error**2, np.ones(n, np.uint8), time, 4, 0.)
    for k in range(m):
        own = member[start[k]:start[k+1]]
        if len(own):
            expected = twin.mean_fluxes(flux[own], error[own]**2, common[own], ok[own], 2.)
            assert values[k, 0] == pytest.approx(expected[0], rel=1e-9, nan_ok=True)
            assert counts[k, 0].tolist() == [len(own), *expected[1]]
            expected = twin.mean_positions(offset[own], error[own]**2, common[own], counted[own], 1.5)
            assert place[k] == pytest.approx(expected, rel=1e-9, nan_ok=True)
        if len(own) >= 4:
            assert motion[k] == pytest.approx(twin.motions(offset[own], error[own]**2, time[own]), rel=1e-7)
        else:
            assert np.all(np.isnan(motion[k]))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CENTRES))
def test_far_neighbours_and_the_order_do_not_matter(seed, centre):
    rng, config = np.random.default_rng(seed), AssociationConfig()
    n, far = 150, 60
    ra, dec = crowd(n, *centre, seed=seed)
    more = crowd(far, centre[0], centre[1]*0.999-np.sign(centre[1] or 1)*(LINKS+20)*config.radius*ARCSEC, seed=seed+1)
    every = [np.concatenate(p) for p in zip((ra, dec), more)]
    sigma, source = rng.uniform(0.02, 0.2, n+far), rng.integers(0, 9, n+far).astype(np.int32)
    weight = np.where(rng.random(n+far) < 0.1, 0., rng.uniform(0.3, 2, n+far))
    alone = associate(Places(ra, dec, sigma[:n], weight[:n], source[:n]), config)
    both = associate(Places(*every, sigma, weight, source), config)
    same = both.owner[:n]
    # numbers of objects differ, but not which detections share one, nor any bit of where it is
    assert [np.flatnonzero(same == k).tolist() for k in same] == [np.flatnonzero(alone.owner == k).tolist() for k in alone.owner]
    held = same >= 0
    assert both.ra[same[held]].tobytes() == alone.ra[alone.owner[held]].tobytes()
    assert both.separation[:n][held].tobytes() == alone.separation[held].tobytes()


def test_chords():
    # 1e-16 of what is near 2
    assert [sphere.chord2(a) for a in (1., 60., 180.)] == pytest.approx([twin.chord2(a) for a in (1., 60., 180.)], abs=1e-15)


def test_points_that_cannot_be():
    with pytest.raises(ValueError, match="vectors of one length"):
        sphere.Points(np.zeros(3), np.zeros(2), REACH)
    with pytest.raises(ValueError, match="reach is 2"):
        sphere.Points(np.zeros(3), np.zeros(3), 2.)
