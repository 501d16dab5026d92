"""Association of detections: which positions are objects, and which detections are theirs. No global mutable state.

Points, and all arrays that go with them, are in the order of `sphere.Points`. A pair of points is linked when its squared chord
is at most the sum of the two points' own `half`, and the points are within reach. Nothing that is decided here depends on points
farther away than a fixed number of links, nor on the order in which points came.
"""
import numpy as np

from crowdsource.cython_ext.average cimport most_members
from crowdsource.cython_ext.sphere cimport Points
from libc.math cimport isnan
from libc.stdlib cimport free, malloc

NEAREST = 4
"""So many of the nearest centres are kept for a detection."""


cdef struct Found:
    int *number
    double *d2


cdef int room(Found *found, Py_ssize_t n) except -1:
    """Memory for what a search finds."""
    found.number = <int *>malloc(max(n, 1)*sizeof(int))
    found.d2 = <double *>malloc(max(n, 1)*sizeof(double))
    if found.number == NULL or found.d2 == NULL:
        give_back(found)
        raise MemoryError("no memory for the neighbours of a detection")
    return 0


cdef void give_back(Found *found) noexcept:
    free(found.number)
    free(found.d2)


def density(Points points not None, const double[::1] half, const double[::1] weight, double part,
            const unsigned char[::1] where):
    """Weight of the points around each, itself included, falling as (1-d^2/(part*link)^2)^2 of the distance.

    Parameters
    ----------
    points : Points
    half : ndarray, shape (n,)
        Half of the squared chord of a link, or each point's share of it.
    weight : ndarray, shape (n,)
    part : float
        Reach of the weight in units of the link.
    where : ndarray, shape (n,), uint8
        Which are wanted.

    Returns
    -------
    ndarray, shape (n,)
        NaN where not wanted.
    """
    if not points.n == half.shape[0] == weight.shape[0] == where.shape[0]:
        raise ValueError("half, weight and where must be as many as the points")
    out = np.full(points.n, np.nan)
    cdef double[::1] total = out
    cdef Py_ssize_t i
    cdef Found found
    room(&found, points.n)
    with nogil:
        for i in range(points.n):
            if where[i]:
                total[i] = around_it(points, half, weight, part, i, &found, look(points, i, &found))
    give_back(&found)
    return out


cdef Py_ssize_t look(Points points, Py_ssize_t i, Found *found) noexcept nogil:
    """Find what lies within reach of a point; returns how many do."""
    return points.around(&points.xyz[i, 0], points.ra[i], points.dec[i], points.reach2, found.number, found.d2)


cdef double around_it(Points points, const double[::1] half, const double[::1] weight, double part, Py_ssize_t i,
                      const Found *found, Py_ssize_t n) noexcept nogil:
    """The density at a point, from what lies within its reach."""
    cdef double u, total = 0
    cdef Py_ssize_t k
    for k in range(n):
        u = found.d2[k]/(part*part*(half[i]+half[found.number[k]]))
        if u < 1:
            total += weight[found.number[k]]*(1-u)*(1-u)
    return total


def cover(Points points not None, const double[::1] half, const double[::1] weight, double part, double[::1] dense,
          const double[::1] bound, Py_ssize_t[::1] owner, const int[::1] family, int rounds):
    """Make the densest free points seeds, and give the free points linked to one to the nearest; so many times.

    Where many points lie together few densities matter: those of points that are not surely less dense than a seed beside them.

    Parameters
    ----------
    points : Points
    half, weight, part
        As in `density`.
    dense : ndarray, shape (n,)
        What `density` gave; NaN where it is not known: worked out, in place, where it matters. Points where it is negative are
        never seeds.
    bound : ndarray, shape (n,)
        No density that is not known is larger.
    owner : ndarray, shape (n,)
        The point's seed, -1 for a free point, other negative numbers for one that does not take part; changed in place.
    family : ndarray, shape (n,)
        Points of one family, if that is not negative, are not linked, and a seed takes the nearest of another family only.
    rounds : int
    """
    if not points.n == half.shape[0] == weight.shape[0] == dense.shape[0] == bound.shape[0] == owner.shape[0] == family.shape[0]:
        raise ValueError("half, weight, dense, bound, owner and family must be as many as the points")
    cdef Py_ssize_t i, j, k, n, turn, seeds
    cdef Py_ssize_t[::1] chosen = np.empty(points.n, dtype=np.intp), taken = np.full(points.n, -1, dtype=np.intp)
    # the densest first: those around them need not be looked at
    cdef Py_ssize_t[::1] visit = np.argsort(-np.where(np.isnan(dense), bound, dense), kind="stable")
    cdef double[::1] nearest = np.empty(points.n)
    # the densest seed so far beside each point
    cdef Py_ssize_t[::1] beside = np.empty(points.n, dtype=np.intp)
    cdef Found found, other
    room(&found, points.n)
    room(&other, points.n)
    with nogil:
        for turn in range(rounds):
            seeds = 0
            for i in range(points.n):
                beside[i] = -1
            for j in range(points.n):
                i = visit[j]
                if owner[i] != -1 or dense[i] < 0 or (beside[i] >= 0 and (
                        bound[i] < dense[beside[i]] if isnan(dense[i]) else before(points, dense, beside[i], i))):
                    continue
                n = look(points, i, &found)
                if isnan(dense[i]):
                    dense[i] = around_it(points, half, weight, part, i, &found, n)
                    share_with_equals(points, half, dense, i)
                if highest(points, half, weight, part, dense, bound, owner, family, i, &found, n, &other):
                    chosen[seeds] = i
                    seeds += 1
                    for k in range(n):
                        if linked(half, family, i, &found, k) and (
                                beside[found.number[k]] < 0 or before(points, dense, i, beside[found.number[k]])):
                            beside[found.number[k]] = i
            for k in range(seeds):
                i = chosen[k]
                claim(points, half, owner, family, taken, nearest, i, &found, look(points, i, &found))
            for i in range(points.n):
                if taken[i] >= 0:
                    owner[i] = taken[i]
                    taken[i] = -1
            if seeds == 0:
                break
    give_back(&found)
    give_back(&other)


cdef bint linked(const double[::1] half, const int[::1] family, Py_ssize_t i, const Found *found, Py_ssize_t k) noexcept nogil:
    """Whether what was found is another point that is linked to i."""
    cdef Py_ssize_t j = found.number[k]
    return j != i and found.d2[k] <= half[i]+half[j] and (family[i] < 0 or family[j] != family[i])


cdef bint highest(Points points, const double[::1] half, const double[::1] weight, double part, double[::1] dense,
                  const double[::1] bound, const Py_ssize_t[::1] owner, const int[::1] family, Py_ssize_t i, const Found *found,
                  Py_ssize_t n, Found *other) noexcept nogil:
    """Whether no free point linked to i is denser, or as dense and before it."""
    cdef Py_ssize_t k, j
    for k in range(n):
        j = found.number[k]
        if owner[j] != -1 or not linked(half, family, i, found, k) or (isnan(dense[j]) and bound[j] < dense[i]):
            continue
        if isnan(dense[j]):
            dense[j] = around_it(points, half, weight, part, j, other, look(points, j, other))
            share_with_equals(points, half, dense, j)
        if before(points, dense, j, i):
            return False
    return True


cdef bint before(Points points, const double[::1] dense, Py_ssize_t j, Py_ssize_t i) noexcept nogil:
    """Whether j is denser than i, or as dense and before it; both densities are known."""
    return dense[j] > dense[i] or (dense[j] == dense[i] and points.rank[j] < points.rank[i])


cdef void share_with_equals(Points points, const double[::1] half, double[::1] dense, Py_ssize_t i) noexcept nogil:
    """Give a point's density to those beside it in the order that have its very position, and so the same density."""
    cdef Py_ssize_t j, step
    for step in range(-1, 2, 2):
        j = i+step
        while 0 <= j < points.n and isnan(dense[j]) and half[j] == half[i] and points.ra[j] == points.ra[i] and \
                points.dec[j] == points.dec[i]:
            dense[j] = dense[i]
            j += step


cdef void claim(Points points, const double[::1] half, const Py_ssize_t[::1] owner, const int[::1] family,
                Py_ssize_t[::1] taken, double[::1] nearest, Py_ssize_t seed, const Found *found, Py_ssize_t n) noexcept nogil:
    """Let a seed take the free points linked to it that no nearer seed has taken, of each family but its own the nearest."""
    cdef Py_ssize_t i, j, k, m
    cdef bint first
    for k in range(n):
        j, first = found.number[k], True
        for m in range(n if family[j] >= 0 and j != seed else 0):
            i = found.number[m]
            if i != j and family[i] == family[j] and (i == seed or owner[i] == -1 and found.d2[m] <= half[seed]+half[i] and (
                    found.d2[m] < found.d2[k] or (found.d2[m] == found.d2[k] and points.rank[i] < points.rank[j]))):
                first = False
        if first and owner[j] == -1 and found.d2[k] <= half[seed]+half[j] and (
                taken[j] < 0 or found.d2[k] < nearest[j]
                or (found.d2[k] == nearest[j] and points.rank[seed] < points.rank[taken[j]])):
            taken[j] = seed
            nearest[j] = found.d2[k]


def nearest_centres(Points centres not None, const double[:, ::1] xyz, const double[::1] ra, const double[::1] dec,
                    const double[::1] half):
    """The nearest centres of each detection within its link.

    Parameters
    ----------
    centres : Points
    xyz : ndarray, shape (n, 3)
        Unit vectors of the detections.
    ra, dec : ndarray, shape (n,)
        Degrees; ra from 0 to 360, dec from -90 to 90.
    half : ndarray, shape (n,)
        Half of the squared chord of each detection's link.

    Returns
    -------
    near : ndarray, shape (n, NEAREST)
        Numbers of the centres as they were given, the nearest first, those of equal distance by their numbers; -1 for none.
    d2 : ndarray, shape (n, NEAREST)
        Squared chords.
    """
    cdef Py_ssize_t i, k, n, slots = NEAREST, count = xyz.shape[0]
    if xyz.shape[1] != 3 or ra.shape[0] != count or dec.shape[0] != count or half.shape[0] != count:
        raise ValueError("vectors need three columns, and ra, dec and half must be as many as they are")
    for i in range(count):
        # written so that NaN is refused too
        if not (0 <= ra[i] <= 360 and -90 <= dec[i] <= 90):
            raise ValueError("ra must be from 0 to 360 degrees and dec from -90 to 90")
    near_, d2_ = np.full((count, NEAREST), -1, dtype=np.intp), np.full((count, NEAREST), np.inf)
    cdef Py_ssize_t[:, ::1] near = near_
    cdef double[:, ::1] d2 = d2_
    cdef Found found
    room(&found, centres.n)
    with nogil:
        for i in range(count):
            n = centres.around(&xyz[i, 0], ra[i], dec[i], 2*half[i], found.number, found.d2)
            for k in range(n):
                insert(&near[i, 0], &d2[i, 0], slots, centres.rank[found.number[k]], found.d2[k])
    give_back(&found)
    return near_, d2_


cdef void insert(Py_ssize_t *near, double *d2, Py_ssize_t slots, Py_ssize_t number, double distance) noexcept nogil:
    """Put a centre into a list of the nearest."""
    cdef Py_ssize_t k = slots
    while k > 0 and (near[k-1] < 0 or distance < d2[k-1] or (distance == d2[k-1] and number < near[k-1])):
        k -= 1
        if k+1 < slots:
            near[k+1] = near[k]
            d2[k+1] = d2[k]
    if k < slots:
        near[k] = number
        d2[k] = distance


def absorb(Points centres not None, members, const double[:, ::1] xyz, const double[::1] limit, const int[::1] source,
           const unsigned char[::1] counted, int ratio):
    """Which small objects are the stray detections of a larger one nearby.

    One is, when the larger has at least `ratio` times as many detections, each of the smaller's lies within its own limit of the
    larger's centre, and no image has a detection of both: a star of its own would be seen beside the other in some. The larger
    must not be stray itself. Of several strays with a detection in one image the nearest is taken.

    Parameters
    ----------
    centres : Points
        The objects' centres, with a reach of the largest distance.
    members : tuple of ndarray
        Detections of each object by its number as it was given to `centres`: ``member[start[k]:start[k+1]]``.
    xyz : ndarray, shape (n, 3)
        Unit vectors of the detections.
    limit : ndarray, shape (n,)
        Squared chord up to which each may be from its object.
    source : ndarray, shape (n,)
    counted : ndarray, shape (n,), uint8
        As how many each counts; zero for detections that make no objects: they go along.
    ratio : int

    Returns
    -------
    ndarray, shape (m,), intp
        Number of the object that takes each, its own for those that stay.
    """
    cdef const Py_ssize_t[::1] start = members[0], member = members[1]
    if xyz.shape[1] != 3 or not len(xyz) == len(limit) == len(source) == len(counted) or start.shape[0] != centres.n+1:
        raise ValueError("limit, source and counted must be as many as the vectors, and start one more than the centres")
    most_members(start, member, xyz.shape[0])
    cdef Py_ssize_t m = centres.n, i, k, c, b, n
    into_ = np.arange(m, dtype=np.intp)
    cdef Py_ssize_t[::1] into = into_, target = np.full(m, -1, dtype=np.intp), taken = np.full(m, -1, dtype=np.intp)
    cdef Py_ssize_t[::1] size = np.zeros(m, dtype=np.intp), following = np.full(m, -1, dtype=np.intp)
    cdef double[::1] apart = np.full(m, np.inf)
    cdef Group group = Group(&start[0], NULL, NULL, NULL, NULL, NULL)
    cdef Found found
    if m == 0 or member.shape[0] == 0:
        return into_
    group.member, group.xyz, group.limit, group.source, group.counted = \
        &member[0], &xyz[0, 0], &limit[0], &source[0], &counted[0]
    room(&found, m)
    with nogil:
        for k in range(m):
            for i in range(start[k], start[k+1]):
                size[k] += counted[member[i]]
        for i in range(m):
            c = centres.rank[i]
            n = centres.around(&centres.xyz[i, 0], centres.ra[i], centres.dec[i], centres.reach2, found.number, found.d2)
            for k in range(n):
                b = centres.rank[found.number[k]]
                if b != c and size[c] > 0 and size[b] >= ratio*size[c] and (
                        found.d2[k] < apart[c] or (found.d2[k] == apart[c] and b < target[c])) and \
                        strays(&group, c, b, &centres.xyz[found.number[k], 0]):
                    target[c] = b
                    apart[c] = found.d2[k]
        # a list for each larger object of those that would go into it, the nearest first
        for c in range(m):
            b = target[c]
            if b >= 0 and target[b] < 0:
                line_up(taken, following, apart, b, c)
        for b in range(m):
            c = taken[b]
            while c >= 0:
                k = taken[b]
                while k != c and not (into[k] == b and share(&group, c, k)):
                    k = following[k]
                if k == c:
                    into[c] = b
                c = following[c]
    give_back(&found)
    return into_


cdef struct Group:
    const Py_ssize_t *start
    const Py_ssize_t *member
    const double *xyz
    const double *limit
    const int *source
    const unsigned char *counted


cdef bint strays(const Group *g, Py_ssize_t small, Py_ssize_t large, const double *centre) noexcept nogil:
    """Whether all detections of one object may belong to another, which has none of their images."""
    cdef Py_ssize_t i, j
    cdef double d
    for i in range(g.start[small], g.start[small+1]):
        if not g.counted[g.member[i]]:
            continue
        d = 0
        for j in range(3):
            d += (g.xyz[3*g.member[i]+j]-centre[j])*(g.xyz[3*g.member[i]+j]-centre[j])
        if d > g.limit[g.member[i]]:
            return False
    return not share(g, small, large)


cdef bint share(const Group *g, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """Whether two objects have detections in one image."""
    cdef Py_ssize_t i, j
    for i in range(g.start[a], g.start[a+1]):
        for j in range(g.start[b], g.start[b+1]):
            if g.counted[g.member[i]] and g.counted[g.member[j]] and g.source[g.member[i]] == g.source[g.member[j]]:
                return True
    return False


cdef void line_up(Py_ssize_t[::1] first, Py_ssize_t[::1] following, const double[::1] apart, Py_ssize_t b,
                  Py_ssize_t c) noexcept nogil:
    """Put c into b's list, sorted by distance and number."""
    cdef Py_ssize_t before = -1, k = first[b]
    while k >= 0 and (apart[k] < apart[c] or (apart[k] == apart[c] and k < c)):
        before, k = k, following[k]
    following[c] = k
    if before < 0:
        first[b] = c
    else:
        following[before] = c
