"""Slow twins of the kernels of the sky, `sphere`, `match`, `average` and `positions`: the same results, as plain as can be.

`points` are `sphere.Points` whose vectors and order alone are used. All pairs are looked at.
"""
import numpy as np

from crowdsource.cython_ext.average import Policy, Use

ARCSEC = np.pi/180/3600


def unit_vectors(ra, dec):
    """Twin of `sphere.unit_vectors`."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d)*np.cos(a), np.cos(d)*np.sin(a), np.sin(d)], axis=1)


def places(vectors):
    """Twin of `sphere.places`."""
    v = np.asarray(vectors)
    return np.degrees(np.arctan2(v[:, 1], v[:, 0])) % 360, np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])))


def offsets(vectors, which, ra, dec):
    """Twin of `sphere.offsets`, each from a place."""
    a, d = np.radians(ra)[which], np.radians(dec)[which]
    east = np.stack([-np.sin(a), np.cos(a), 0*a], axis=1)
    north = np.stack([-np.sin(d)*np.cos(a), -np.sin(d)*np.sin(a), np.cos(d)], axis=1)
    return np.stack([np.sum(vectors*east, axis=1), np.sum(vectors*north, axis=1)], axis=1)/ARCSEC


def moved(ra, dec, offset):
    """Twin of `sphere.moved`: the place that lies so far in the plane that touches the sphere."""
    a, d = np.radians(ra), np.radians(dec)
    east = np.stack([-np.sin(a), np.cos(a), 0*a], axis=1)
    north = np.stack([-np.sin(d)*np.cos(a), -np.sin(d)*np.sin(a), np.cos(d)], axis=1)
    plane = offset[:, :1]*ARCSEC*east+offset[:, 1:]*ARCSEC*north
    return places(plane+np.sqrt(1-np.sum(plane**2, axis=1))[:, None]*unit_vectors(ra, dec))


def chord2(angle):
    """Twin of `sphere.chord2`."""
    return 2-2*np.cos(np.radians(angle))


def members_of(owner, objects):
    """Twin of `average.members_of`: a list of arrays of detections."""
    return [np.flatnonzero(np.asarray(owner) == k) for k in range(objects)]


def squared(a, b):
    """Squared distances of all pairs of two sets of vectors."""
    return ((np.asarray(a)[:, None]-np.asarray(b)[None])**2).sum(axis=2)


def density(points, half, weight, part):
    """Twin of `match.density`."""
    d2 = squared(points.vectors, points.vectors)
    u = d2/(part**2*(half[:, None]+half[None]))
    return np.sum(weight[None]*np.where(u < 1, (1-u)**2, 0), axis=1)


def cover(points, half, dense, owner, rounds):
    """Twin of `match.cover`."""
    linked = squared(points.vectors, points.vectors) <= half[:, None]+half[None]
    d2 = squared(points.vectors, points.vectors)
    for _ in range(rounds):
        free = owner == -1
        key = [(-dense[i], points.order[i]) for i in range(len(owner))]
        seeds = [i for i in np.flatnonzero(free & (dense >= 0))
                 if all(key[i] < key[j] for j in np.flatnonzero(free & linked[i]) if j != i)]
        for i in np.flatnonzero(free):
            near = sorted((d2[i, s], points.order[s], s) for s in seeds if linked[i, s])
            if near:
                owner[i] = near[0][2]


def nearest_centres(centres, xyz, half, slots=4):
    """Twin of `match.nearest_centres`."""
    near, out = np.full((len(xyz), slots), -1), np.full((len(xyz), slots), np.inf)
    d2 = squared(xyz, centres.vectors)
    for i in range(len(xyz)):
        found = sorted((d2[i, k], centres.order[k]) for k in range(len(centres)) if d2[i, k] <= 2*half[i])[:slots]
        for k, (distance, number) in enumerate(found):
            near[i, k], out[i, k] = number, distance
    return near, out


def settle(near, d2, rank, source, centres, rounds):
    """Twin of `match.settle`: in each round all ask, then each centre chooses among those and what it has."""
    owner, sent = np.full(len(near), -1), np.zeros(len(near), int)
    for _ in range(rounds):
        asking = [i for i in range(len(near)) if owner[i] < 0 and sent[i] < near.shape[1] and near[i, sent[i]] >= 0]
        for i in asking:
            owner[i] = near[i, sent[i]]
        for c in range(centres):
            for s in set(source[owner == c]):
                those = sorted(np.flatnonzero((owner == c) & (source == s)), key=lambda i: (d2[i, sent[i]], rank[i]))
                for i in those[1:]:
                    owner[i] = -1
                    sent[i] += 1
    extra = (owner < 0) & (near[:, 0] >= 0)
    return np.where(extra, near[:, 0], owner), extra


def absorb(centres, members, xyz, limit, source, counted, ratio):
    """Twin of `match.absorb`; `centres` in the order in which they were given have vectors `place`."""
    start, member = members
    place = np.empty((len(centres), 3))
    place[centres.order] = centres.vectors
    own = [[i for i in member[start[k]:start[k+1]] if counted[i]] for k in range(len(place))]
    images = [set(source[i] for i in those) for those in own]
    d2, reach2 = squared(place, place), (2*np.sin(np.radians(centres.reach)/2))**2
    target = np.full(len(place), -1)
    for c in range(len(place)):
        large = [b for b in range(len(place)) if b != c and own[c] and len(own[b]) >= ratio*len(own[c]) and d2[c, b] <= reach2
                 and all(np.sum((xyz[i]-place[b])**2) <= limit[i] for i in own[c]) and not images[b] & images[c]]
        target[c] = min(large, key=lambda b: (d2[c, b], b), default=-1)
    into = np.arange(len(place))
    for b in range(len(place)):
        taken = set()
        for c in sorted(np.flatnonzero(target == b), key=lambda c: (d2[c, b], c)):
            if target[b] < 0 and not images[c] & taken:
                into[c], taken = b, taken | images[c]
    return into


def roles(members, visit, source, usable, sigma, separation, policy):
    """Twin of `average.roles`; `members` is a list of arrays of detections."""
    use = np.zeros(len(visit), np.uint8)
    for those in members:
        for v in set(visit[those]):
            seen = those[visit[those] == v]
            detectors = [seen[source[seen] == s] for s in set(source[seen])]
            best = min(detectors, key=lambda d: (not usable[d].any(), len(d) > 1, sigma[d].min(), d.min()))
            use[seen] = Use.OVERLAP
            use[best] = Use.AVERAGED
            if len(best) > 1 and policy == Policy.CLOSEST:
                use[best] = Use.FARTHER
                use[min(best, key=lambda i: (separation[i], i))] = Use.AVERAGED
            elif len(best) > 1:
                use[best] = Use.SUMMED if policy == Policy.SUM and usable[best].all() else Use.SEVERAL
    return use


def mean_fluxes(flux, variance, common, ok, clip):
    """What `average.mean_fluxes` gives of one object in one band, from its measurements: ten values, three counts."""
    def part(some):
        if not some.any():
            return np.nan, np.nan
        w = 1/variance[some]/np.sum(1/variance[some])
        # the covariance of the measurements: their own variances, and the common part in each pair
        own = np.diag(variance[some]-common[some]**2)+np.outer(common[some], common[some])
        return w@flux[some], np.sqrt(w@own@w)
    n, w = len(flux), 1/variance
    mean, near = np.average(flux, weights=w), np.abs(flux-np.median(flux)) <= clip*np.sqrt(variance)
    several = np.array([np.std(flux, ddof=1), np.sqrt(np.sum(w**2*(flux-mean)**2)*n/(n-1))/w.sum(), np.sum(w*(flux-mean)**2)]) \
        if n > 1 else np.full(3, np.nan)
    every = np.ones(n, bool)
    return [*part(every), *part(near), np.median(flux), *several, *part(ok)], [n, n-near.sum(), ok.sum()]


def mean_positions(offset, variance, common, counted, clip):
    """What `positions.mean_positions` gives of one object."""
    those = np.flatnonzero(counted) if np.any(counted) else np.arange(len(offset))
    if len(those) > 2:
        away = np.any(np.abs(offset[those]-np.median(offset[those], axis=0)) > clip*np.sqrt(variance[those])[:, None], axis=1)
        those = those[~away] if not away.all() else those[:1]
    x, w = offset[those], 1/variance[those]
    mean, c = np.average(x, axis=0, weights=w), common[those]
    error = np.sqrt(w@(np.diag(variance[those]-c**2)+np.outer(c, c))@w)/w.sum()
    if len(those) == 1:
        return [*mean, error, np.nan, np.nan, np.nan, 1]
    return [*mean, error, *np.std(x, axis=0, ddof=1), np.sum(w[:, None]*(x-mean)**2), len(those)]


def motions(offset, variance, time):
    """What `positions.motions` gives of one object whose members all serve, by the normal equations of a line."""
    w = 1/variance
    t0 = np.average(time, weights=w)
    design = np.stack([np.ones(len(time)), time-t0], axis=1)
    normal = design.T@(w[:, None]*design)
    line = np.linalg.solve(normal, design.T@(w[:, None]*offset))
    error = np.sqrt(np.diagonal(np.linalg.inv(normal)))
    return [*line[0], *line[1], *error, np.sum(w[:, None]*(offset-design@line)**2), t0]
