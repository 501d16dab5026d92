"""Kernels of the sky against their slow twins, which look at every pair of points: searches, association, averages."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from crowdsource.cython_ext import average, match, reference_sky, settling, sphere
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdsource.core.errors import ConfigError
from crowdsource.survey.objects.association import REACH_IN_RADII, AssociationConfig, DetectionPositions, associate

LINK = 1/3600
"""Of most tests, degrees."""


def crowd(n, ra, dec, links, seed=1):
    """Positions spread over so many links around one."""
    offset = np.random.default_rng(seed).uniform(-links/2, links/2, (n, 2))*LINK*3600
    return reference_sky.moved(np.full(n, ra), np.full(n, float(dec)), offset)


def chain(n):
    """Positions along a meridian, each a bit less than a link from the next."""
    return np.full(n, 77.), 10+np.arange(n)*0.97*LINK


def copies(n, times):
    """A crowd each of whose places is there several times."""
    ra, dec = crowd(n, 200., -30., 5)
    return np.tile(ra, times), np.tile(dec, times)


FIELDS = {
    "equator": crowd(150, 120., 0., 12), "across ra 0": crowd(150, 0., 60., 12), "north pole": crowd(150, 33., 90., 9),
    "beside the south pole": crowd(150, 210., -90+3*LINK, 9), "89.999 degrees": crowd(150, 359.9, 89.999, 9),
    "equal places": copies(30, 4), "one place": copies(1, 70), "chain": chain(60), "nothing": (np.zeros(0), np.zeros(0)),
    "one point": (np.array([360.]), np.array([-90.])), "0 and 360": (np.array([0., 360., 360., 0.]), np.full(4, 5.)),
    "far apart": (np.arange(0., 360., 10), np.linspace(-90, 90, 36)),
}
fields = pytest.mark.parametrize("field", FIELDS)


def same(fast, slow):
    """Whether all arrays agree: exactly where they are whole numbers."""
    def agree(a, b):
        return np.array_equal(a, b) if a.dtype.kind in "iub" else np.allclose(a, b, rtol=1e-11, atol=1e-13, equal_nan=True)

    return all(agree(a, b) for a, b in zip(fast, slow, strict=True))


def halves(n, seed=2):
    """Shares of the squared chord of a link: some full ones, some less."""
    full = 0.5*sphere.chord2(LINK)
    return full*np.minimum(np.random.default_rng(seed).uniform(0.2, 2, n), 1)


def everywhere(n=500, seed=3):
    """Positions all over the sphere, the poles and ra 0 among them."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    ra[:6], dec[:6] = (0, 360, 0, 123, 359.9999999999, 1e-13), (0, 0, 90, -90, 89.9999999, -89.9999999)
    return ra, dec


def test_unit_vectors_and_places_are_those_of_astropy():
    ra, dec = everywhere()
    vectors = sphere.unit_vectors(ra, dec)
    # a few roundings of numbers below 1
    assert np.allclose(vectors, SkyCoord(ra, dec, unit="deg").cartesian.xyz.value.T, rtol=0, atol=1e-15)
    assert np.allclose(vectors, reference_sky.unit_vectors(ra, dec), rtol=0, atol=1e-15)
    assert sphere.chord2(0.3) == pytest.approx(reference_sky.chord2(0.3), rel=1e-14)
    length = np.random.default_rng(4).uniform(1e-3, 1e3, (len(ra), 1))
    back = sphere.ra_dec(vectors*length)
    there = SkyCoord(*(vectors*length).T, representation_type="cartesian").spherical
    # a rounding of 360 degrees; the vectors, not the places, know where ra 0 and the poles are
    assert np.allclose(back[1], there.lat.deg, rtol=0, atol=1e-13) and same(back, reference_sky.ra_dec(vectors*length))
    assert np.allclose(sphere.unit_vectors(*back), vectors, rtol=0, atol=2e-15)
    assert (back[0] >= 0).all() and (back[0] < 360).all()


def test_places_of_vectors_that_name_no_place_or_just_miss_ra_0():
    ra, dec = sphere.ra_dec(np.array([[0., 0, 0], [0, 0, 5], [0, 0, -5], [1, -1e-300, 0], [1, -0., 0], [-1, -0., 0]]))
    assert ra.tolist() == [0, 0, 0, 0, 0, 180] and dec.tolist() == [0, 90, -90, 0, 0, 0]


def test_offsets_and_moves_are_those_of_astropy_and_undo_each_other():
    ra, dec = everywhere()
    offset = np.random.default_rng(5).normal(0, 30, (len(ra), 2))
    offset[::7] = 0
    moved = sphere.moved(ra, dec, offset)
    vectors = sphere.unit_vectors(*moved)
    # 1e-15 radian is 2e-10 arcsec
    which = np.arange(len(ra))
    assert np.allclose(sphere.offsets(vectors, which, ra, dec), offset, rtol=0, atol=1e-9)
    # each from some other place, or from none
    which = np.random.default_rng(6).integers(-1, 9, len(ra))
    offsets = [where.offsets(vectors, which, ra[:9].copy(), dec[:9].copy()) for where in (sphere, reference_sky)]
    assert np.allclose(*offsets, rtol=0, atol=1e-9, equal_nan=True) and np.array_equal(np.isnan(offsets[0][:, 0]), which < 0)
    assert np.allclose(vectors, reference_sky.unit_vectors(*reference_sky.moved(ra, dec, offset)), rtol=0, atol=2e-15)
    frame = SkyCoord(ra, dec, unit="deg").skyoffset_frame()
    seen = SkyCoord(*moved, unit="deg").transform_to(frame)
    # in the plane that touches the sphere offsets are the vector's own components
    east, north = (np.cos(seen.lat)*np.sin(seen.lon)).value, np.sin(seen.lat).value
    assert np.allclose(np.degrees([east, north])*3600, offset.T, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ra, dec", [(50., 0.), (50., 60.), (0., 60.), (50., 89.999), (0., 90.), (77., -90.), (360., -89.9998)])
@pytest.mark.parametrize("reach", [0.375/3600, 0.003, 0.5])
def test_searches_are_complete(ra, dec, reach):
    n = 300
    places = reference_sky.moved(np.full(n, ra), np.full(n, dec), np.random.default_rng(6).uniform(-3, 3, (n, 2))*reach*3600)
    points = sphere.Points(*places, reach)
    # weights whose sum tells which points were found; a part so large counts those within reach in full
    weight = np.random.default_rng(7).integers(0, 2**40, n).astype(float)
    found = match.density(points, np.full(n, 0.5*sphere.chord2(reach)), weight, 1e9, np.ones(n, np.uint8))
    near = reference_sky.squares(points.vectors, points.vectors) <= sphere.chord2(reach)
    assert near.sum() > 10*n
    assert np.array_equal(np.round(found), near@weight)
    assert (reference_sky.unit_vectors(*points.sorted_positions)-points.vectors).max() < 1e-15
    # what is searched from need not be among the points
    others = reference_sky.moved(np.full(40, ra), np.full(40, dec), np.random.default_rng(8).uniform(-3, 3, (40, 2))*reach*3600)
    args = points, sphere.unit_vectors(*others), *others, np.full(40, 0.5*sphere.chord2(reach))
    assert same(match.nearest_centres(*args), reference_sky.nearest_centres(*args))


@pytest.mark.parametrize("height", [1., 1+1e-6])
def test_pairs_a_link_apart_are_found_across_the_edges_of_zones(height):
    # from the top of a zone to the bottom of the next but one, were it not for rounding
    n, rng = 4000, np.random.default_rng(9)
    ra = np.linspace(0, 359, n)
    dec = rng.integers(1, int(179/LINK/height), n)*LINK*height-90-rng.integers(0, 3, n)*1.4e-14
    other = dec+LINK-rng.integers(0, 4, n)*1.4e-14
    points, half = sphere.Points(ra, dec, LINK), np.full(n, 0.5*sphere.chord2(LINK))
    vectors = sphere.unit_vectors(ra, other)
    close = ((vectors-sphere.unit_vectors(ra, dec))**2).sum(axis=1) <= sphere.chord2(LINK)*(1-1e-15)
    near, _ = match.nearest_centres(points, vectors, ra, other, half)
    assert close.sum() > n/4
    assert (near == np.arange(n)[:, None]).any(axis=1)[close].all()


@pytest.mark.parametrize("ra, dec, reach", [([1, np.nan], [2, 2], LINK), ([1, 2], [2, np.inf], LINK), ([-1e-9], [0], LINK),
                                            ([361], [0], LINK), ([0], [90.1], LINK), ([0, 1], [0], LINK), ([[0]], [[0]], LINK),
                                            ([0], [0], 0.), ([0], [0], np.nan), ([0], [0], 1.), ([0], [0], 1e-9)])
def test_points_that_are_no_places_are_refused(ra, dec, reach):
    with pytest.raises(ValueError, match="ra (and dec )?must be|reach is"):
        sphere.Points(ra, dec, reach)


@fields
@pytest.mark.parametrize("full", [True, False])
def test_density(field, full):
    points = sphere.Points(*FIELDS[field], LINK)
    half = np.full(len(points), 0.5*sphere.chord2(LINK)) if full else halves(len(points))
    weight = np.random.default_rng(10).uniform(0, 2, len(points))
    for part, share in ((0.6, 1.), (1., 0.5), (1.7, 0.)):
        args = points, half, weight, part, (np.random.default_rng(12).random(len(points)) < share).astype(np.uint8)
        assert same([match.density(*args)], [reference_sky.density(*args)])


@fields
@pytest.mark.parametrize("rounds", [0, 1, 5])
@pytest.mark.parametrize("levels", [2, 10**9])
def test_cover(field, rounds, levels):
    points, rng = sphere.Points(*FIELDS[field], LINK), np.random.default_rng(11)
    # few levels make many equal densities
    dense = np.floor(rng.random(len(points))*levels)
    dense[rng.random(len(points)) < 0.1] = -1
    fast = np.where(rng.random(len(points)) < 0.1, -2, -1).astype(np.intp)
    slow, family = fast.copy(), np.maximum(rng.integers(-9, 3, len(points)), -1).astype(np.intc)
    for turn in range(2):
        args = points, halves(len(points), turn), dense, 1., dense, dense
        match.cover(*args, fast, family, rounds)
        reference_sky.cover(*args, slow, family, rounds)
        assert np.array_equal(fast, slow)


@fields
@pytest.mark.parametrize("loose", [1e-9, 0.3, np.inf])
def test_cover_by_bounds_of_densities_is_that_by_densities(field, loose):
    points, rng = sphere.Points(*FIELDS[field], LINK), np.random.default_rng(13)
    n = len(points)
    half, weight, family = halves(n), rng.uniform(0, 2, n), np.maximum(rng.integers(-9, 3, n), -1).astype(np.intc)
    known = match.density(points, half, weight, 0.6, np.ones(n, np.uint8))
    some = np.where(rng.random(n) < 0.7, np.nan, known)
    owners = [np.full(n, -1) for _ in range(2)]
    match.cover(points, half, weight, 0.6, known.copy(), known, owners[0], family, 4)
    match.cover(points, half, weight, 0.6, some, known+loose*rng.random(n)+1e-9, owners[1], family, 4)
    assert np.array_equal(*owners)
    # those that were worked out have the very bits
    assert np.array_equal(some[np.isfinite(some)], known[np.isfinite(some)])


@fields
@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 9])
def test_nearest_centres_and_who_goes_to_which(field, rounds):
    ra, dec = FIELDS[field]
    rng = np.random.default_rng(12)
    points, some = sphere.Points(ra, dec, LINK), rng.permutation(len(ra))[:len(ra)//3+1]
    centres = sphere.Points(ra[some], dec[some], LINK)
    args = centres, points.vectors, *points.sorted_positions, halves(len(points))
    near, d2 = match.nearest_centres(*args)
    assert same((near, d2), reference_sky.nearest_centres(*args))
    for sources in (1, 3, 1000):
        source = rng.integers(0, sources, len(ra)).astype(np.intc)
        fast, slow = (where.settle(near, d2, points.order.astype(np.intp), source, len(some), rounds)
                      for where in (settling, reference_sky))
        assert same(fast, slow) and fast[1].dtype == bool
        one_each = set(zip(fast[0][~fast[1]].tolist(), source[~fast[1]].tolist()))
        assert len(one_each-{(-1, s) for s in range(sources)}) == ((fast[0] >= 0) & ~fast[1]).sum()


@fields
@pytest.mark.parametrize("ratio", [1, 2])
def test_strays(field, ratio):
    rng, (ra, dec) = np.random.default_rng(15), FIELDS[field]
    points, some = sphere.Points(ra, dec, LINK), rng.permutation(len(ra))[:len(ra)//4]
    centres = sphere.Points(ra[some], dec[some], 2*LINK)
    for sources, likely in ((3, 0.9), (200, 0.9), (200, 0.3)):
        # each detection belongs to one of the three centres nearest to it, mostly to that with the lowest number
        apart = reference_sky.squares(points.vectors, reference_sky.unit_vectors(ra[some], dec[some]))
        nearest = np.sort(np.argsort(apart)[:, :3])
        which = np.minimum(rng.geometric(0.8, len(ra))-1, nearest.shape[1]-1)
        owner = nearest[np.arange(len(ra)), which] if len(some) else np.full(len(ra), -1)
        args = (centres, average.members_of(owner, len(some)), points.vectors, rng.uniform(0.1, 6, len(ra))*sphere.chord2(LINK),
                rng.integers(0, sources, len(ra)).astype(np.intc), (rng.random(len(ra)) < likely).astype(np.uint8), ratio)
        into = match.absorb(*args)
        assert np.array_equal(into, reference_sky.absorb(*args))
        # what is taken went nowhere before
        assert np.array_equal(into[into], into)
    assert field != "equator" or (into != np.arange(len(some))).any()


def test_many_columns_of_centres():
    # more of them than a byte counts: each detection is sent away by all but the last
    n, m = 400, 300
    near, d2 = np.tile(np.arange(m), (n, 1)), np.tile(np.arange(n)[:, None]*1., (1, m))
    args = near, d2, np.arange(n), np.zeros(n, np.intc), m, 500
    assert same(settling.settle(*args), reference_sky.settle(*args))


def test_association_kernels_check_their_arguments():
    points, two, three = sphere.Points([1., 1.], [2., 2.], LINK), np.zeros(2), np.zeros(3)
    with pytest.raises(ValueError, match="as many as the points"):
        match.density(points, three, two, 1., np.ones(2, np.uint8))
    with pytest.raises(ValueError, match="as many as the points"):
        match.cover(points, two, two, 1., two, two, np.zeros(3, np.intp), np.zeros(2, np.intc), 1)
    with pytest.raises(ValueError, match="as they are"):
        match.nearest_centres(points, np.zeros((2, 3)), two, two, three)
    with pytest.raises(ValueError, match="ra must be"):
        match.nearest_centres(points, np.zeros((2, 3)), two, two*np.nan, two)
    with pytest.raises(TypeError, match="None"):
        match.density(None, two, two, 1., np.ones(2, np.uint8))
    near, source = np.zeros((2, 4), np.intp), np.zeros(2, np.intc)
    for members, limit in (((np.array([0, 1]), np.array([0])), two), ((np.array([0, 1, 2]), np.array([0, 1])), three),
                           ((np.array([0, 1, 2]), np.array([0, 2])), two)):
        with pytest.raises(ValueError, match="as many as the vectors|member 2 is none"):
            match.absorb(points, members, np.zeros((2, 3)), limit, source, np.ones(2, np.uint8), 2)
    for bad, message in (((near, np.zeros((2, 3)), near[:, 0].copy(), source, 1, 1), "shape"),
                         ((near+1, np.zeros((2, 4)), near[:, 0].copy(), source, 1, 1), "below"),
                         ((near[:, :0].copy(), np.zeros((2, 0)), near[:, 0].copy(), source, 1, 1), "column")):
        with pytest.raises(ValueError, match=message):
            settling.settle(*bad)
    with pytest.raises(ValueError, match="dtype"):
        settling.settle(near, np.zeros((2, 4)), near[:, 0].copy(), source.astype(np.int64), 1, 1)
    with pytest.raises(ValueError, match="contiguous"):
        sphere.unit_vectors(np.zeros(4)[::2], two)
    vectors, which = np.zeros((2, 3)), np.zeros(2, np.intp)
    for kernel, *arguments in ((sphere.unit_vectors, two, three), (sphere.ra_dec, np.zeros((2, 2))),
                               (sphere.offsets, vectors, which, two, three), (sphere.offsets, vectors, which[:1], two, two),
                               (sphere.moved, two, two, np.zeros((3, 2)))):
        with pytest.raises(ValueError, match="as many|columns"):
            kernel(*arguments)
    with pytest.raises(ValueError, match="which must be below"):
        sphere.offsets(vectors, which+2, two, two)


def some_places(ra, dec, seed=13, sources=5):
    """`DetectionPositions` with random weights, some of them none, and errors, some not known."""
    rng, n = np.random.default_rng(seed), len(ra)
    sigma = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0, 0.5, n))
    weight = np.where(rng.random(n) < 0.1, 0, rng.uniform(0.5, 2, n))
    weight[:1] = 1
    source = rng.integers(0, sources, n).astype(np.int32)
    # two joint fits of two images each, in which all detections near each other are one star
    place = np.round(np.stack([ra, dec], axis=1)/LINK).astype(int)
    star = np.unique(place, axis=0, return_inverse=True)[1].ravel()+1000*seed
    joint = np.where(source[:, None] < 4, np.stack([source//2, star], axis=1), -1)
    return DetectionPositions(ra, dec, sigma, weight, source, joint)


def subset(places, chosen):
    return DetectionPositions(*(v[chosen] for v in vars(places).values()))


def told(found):
    """What is said of each detection, with the object's place for its number: comparable bit for bit."""
    place = np.where(found.owner[:, None] >= 0, np.stack([found.ra, found.dec], axis=1)[found.owner], np.nan) if len(found.ra) \
        else np.full((len(found.owner), 2), np.nan)
    return np.column_stack([place, found.separation, found.offset])


SETS = st.tuples(st.integers(0, 10**6),
                 st.sampled_from([(0., 0.), (359.9999, 60.), (10., 89.999), (10., 90.), (0., -90.), (180., -45.)]),
                 st.integers(0, 200), st.floats(2, 15), st.sampled_from([0., 3.]))
"""Seed, middle, number of places, how many links they spread over, and `AssociationConfig.sigmas`."""


def config(sigmas):
    return AssociationConfig(radius=LINK*3600, sigmas=sigmas)


def kernels(points, half, weight, source):
    """What the kernels give one after the other; arrays and owners' numbers are in the order in which the points were given."""
    order = points.order
    half, weight, source = half[order], weight[order], source[order]
    dense = match.density(points, half, weight, 0.6, np.ones(len(points), np.uint8))
    owner = np.full(len(points), -1, np.intp)
    match.cover(points, half, weight, 0.6, dense, dense, owner, np.where(source < 2, source, -1), 3)
    seeds = np.flatnonzero(owner == np.arange(len(points)))
    ra, dec = (v[seeds].copy() for v in points.sorted_positions)
    near, d2 = match.nearest_centres(sphere.Points(ra, dec, LINK), points.vectors, *points.sorted_positions, half)
    own, extra = settling.settle(near, d2, order.astype(np.intp), source, len(seeds), 3)
    out = np.full((len(points), 5), -1.)
    out[order, 0], out[order, 1], out[order, 4] = dense, np.where(owner >= 0, order[owner], owner), extra
    out[order, 2] = np.where(own >= 0, order[seeds[own]], own) if len(seeds) else own
    out[order, 3] = d2[:, 0]
    return out


@settings(max_examples=60, deadline=None)
@given(SETS, st.integers(1, 300))
def test_what_is_far_away_does_not_matter(drawn, more):
    """Not in the last bit: the zones, their neighbours and the lists are shared with others, the sums are not."""
    seed, (ra, dec), n, links, sigmas = drawn
    rng = np.random.default_rng(seed)
    near = some_places(*crowd(n, ra, dec, links, seed), seed)
    # a ring around it, and what has the same declination or the same right ascension farther away
    angle, far = rng.uniform(0, 2*np.pi, more), (REACH_IN_RADII+links)*rng.choice([1.01, 1.5, 300.], more)
    offset = np.stack([np.sin(angle), np.cos(angle)], axis=1)*far[:, None]
    others = some_places(*reference_sky.moved(np.full(more, ra), np.full(more, dec), offset), seed+1)
    # numbers may lie between the others', in the same order
    kept = np.sort(rng.permutation(n+more)[:n])
    order = np.empty(n+more, np.intp)
    order[kept], order[np.setdiff1d(np.arange(n+more), kept)] = np.arange(n), np.arange(n, n+more)
    both = DetectionPositions(*(np.concatenate(v)[order] for v in zip(vars(near).values(), vars(others).values())))
    alone, within = associate(near, config(sigmas)), associate(both, config(sigmas))
    assert np.array_equal(told(within)[kept], told(alone), equal_nan=True)
    label = np.unique(within.owner[kept], return_inverse=True)[1]
    assert np.array_equal(label, np.unique(alone.owner, return_inverse=True)[1])
    half, weight = halves(n+more), np.abs(both.weight)
    one = kernels(sphere.Points(near.ra, near.dec, LINK), half[kept], weight[kept], near.source)
    two = kernels(sphere.Points(both.ra, both.dec, LINK), half, weight, both.source)[kept]
    two[:, 1:3] = np.where(two[:, 1:3] >= 0, np.searchsorted(kept, two[:, 1:3]), two[:, 1:3])
    assert np.array_equal(one, two)


@settings(max_examples=60, deadline=None)
@given(SETS)
def test_the_order_in_which_detections_come_does_not_matter(drawn):
    """Where places and weights all differ only the stars of joint fits are placed by numbers; these are given back."""
    seed, (ra, dec), n, links, sigmas = drawn
    places = replace(some_places(*crowd(n, ra, dec, links, seed), seed), joint=np.full((n, 2), -1))
    mixed = np.random.default_rng(seed).permutation(n)
    first, second = associate(places, config(sigmas)), associate(subset(places, mixed), config(sigmas))
    assert np.array_equal(told(first)[mixed], told(second), equal_nan=True)
    half, weight = halves(n), places.weight+np.linspace(0.5, 1, n)
    one = kernels(sphere.Points(places.ra, places.dec, LINK), half, weight, places.source)
    two = kernels(sphere.Points(places.ra[mixed], places.dec[mixed], LINK), half[mixed], weight[mixed], places.source[mixed])
    two[:, 1:3] = np.where(two[:, 1:3] >= 0, mixed[two[:, 1:3].astype(int)] if n else 0, two[:, 1:3])
    assert np.array_equal(one[mixed], two)


@pytest.mark.parametrize("ra, dec", [(80., 0.), (0., 89.9)])
def test_in_a_crowd_without_end_nothing_beyond_the_reach_matters(ra, dec):
    # a strip several times as long as what may matter, each place linked to some others
    n, rng = 4000, np.random.default_rng(14)
    offset = np.stack([rng.uniform(-2.5, 2.5, n), rng.uniform(-2.5*REACH_IN_RADII, 2.5*REACH_IN_RADII, n)], axis=1)
    places = some_places(*reference_sky.moved(np.full(n, ra), np.full(n, dec), offset))
    found = associate(places, config(0.))
    some = np.flatnonzero(np.hypot(*offset.T) < 4)
    for i in some[::4]:
        near = np.hypot(*(offset-offset[i]).T) < REACH_IN_RADII
        part = associate(subset(places, near), config(0.))
        here = np.searchsorted(np.flatnonzero(near), i)
        assert near.sum() < n/2 and np.array_equal(told(part)[here], told(found)[i], equal_nan=True)


def test_associations_of_nothing():
    none = associate(some_places(*FIELDS["nothing"]), AssociationConfig())
    assert len(none.owner) == len(none.ra) == len(none.separation) == 0 and none.offset.shape == (0, 2)


def test_associations_of_what_makes_no_objects():
    ra, dec = crowd(20, 10., 10., 5)
    nothing = associate(DetectionPositions(ra, dec, np.zeros(20), np.zeros(20), np.zeros(20, np.int32), np.full((20, 2), -1)),
                        AssociationConfig())
    assert (nothing.owner == -1).all() and len(nothing.ra) == 0 and np.isnan(nothing.separation).all()


@fields
def test_every_detection_with_weight_is_some_objects(field):
    places = some_places(*FIELDS[field])
    found = associate(places, config(0.))
    assert (found.owner[places.weight > 0] >= 0).all()
    assert np.array_equal(np.unique(found.owner[found.owner >= 0]), np.arange(len(found.ra)))
    own = found.owner >= 0
    at = reference_sky.unit_vectors(found.ra, found.dec)[found.owner[own]]
    chord = np.sqrt(((reference_sky.unit_vectors(places.ra, places.dec)[own]-at)**2).sum(axis=1))
    # at such distances a chord is as long as what it spans; places are rounded to 1e-9 arcsec
    assert np.allclose(np.degrees(chord)*3600, found.separation[own], rtol=0, atol=1e-8)
    assert np.allclose(np.hypot(*found.offset[own].T), found.separation[own], rtol=1e-12)


@pytest.mark.parametrize("change, message", [
    (dict(radius=0.), "radius is 0 arcsec"), (dict(radius=61.), "at most 60"), (dict(radius=np.nan), "radius is nan"),
    (dict(sigmas=-1.), "sigmas"), (dict(error_floor=0.), "error_floor"), (dict(seed_part=0.), "seed_part"),
    (dict(seed_part=1.1), "seed_part"), (dict(policy="mean"), "'mean': choose one of flag, sum, nearest")])
def test_configurations_that_make_no_sense(change, message):
    AssociationConfig().check()
    with pytest.raises(ConfigError, match=message):
        AssociationConfig(**change).check()
