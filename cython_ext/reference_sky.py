"""Slow twins of the kernels of the sky: every pair of points looked at, every object by itself.

Where a kernel takes `sphere.Points`, only their vectors, their order and their reach are used.
"""
import numpy as np

AVERAGED, SUMMED, SEVERAL, FARTHER, OVERLAP = range(5)
FLAG, SUM, CLOSEST = range(3)
NEAREST = 4


def chord2(angle):
    """Twin of `sphere.chord2`."""
    return (2*np.sin(np.radians(angle)/2))**2


def axes(ra, dec):
    """Unit vectors away from the centre, to the east and to the north, at positions on the sphere; each of shape (n, 3)."""
    a, d = np.radians(ra), np.radians(dec)
    nothing = np.zeros_like(a)
    return (np.stack([np.cos(d)*np.cos(a), np.cos(d)*np.sin(a), np.sin(d)], axis=1),
            np.stack([-np.sin(a), np.cos(a), nothing], axis=1),
            np.stack([-np.sin(d)*np.cos(a), -np.sin(d)*np.sin(a), np.cos(d)], axis=1))


def unit_vectors(ra, dec):
    """Twin of `sphere.unit_vectors`."""
    return axes(ra, dec)[0]


def ra_dec(vectors):
    """Twin of `sphere.ra_dec`."""
    x, y, z = np.transpose(vectors)
    ra = np.degrees(np.arctan2(y, x)) % 360
    return np.where(ra == 360, 0, ra), np.degrees(np.arctan2(z, np.hypot(x, y)))


def offsets(vectors, which, ra, dec):
    """Twin of `sphere.offsets`."""
    out, some = np.full((len(vectors), 2), np.nan), which >= 0
    _, *both = axes(ra[which[some]], dec[which[some]])
    out[some] = np.degrees(np.stack([(vectors[some]*axis).sum(axis=1) for axis in both], axis=1))*3600
    return out


def moved(ra, dec, offset):
    """Twin of `sphere.moved`."""
    out, east, north = axes(ra, dec)
    e, n = np.radians(np.transpose(offset)/3600)
    return ra_dec(np.sqrt(1-e**2-n**2)[:, None]*out+e[:, None]*east+n[:, None]*north)


def squares(a, b):
    """Squared chords between all vectors of a and all of b."""
    return ((a[:, None]-b[None])**2).sum(axis=2)


def links(points, half):
    """Squared chords between all points, and whether they are linked."""
    d2 = squares(points.vectors, points.vectors)
    return d2, (d2 <= np.add.outer(half, half)) & (d2 <= chord2(points.reach))


def density(points, half, weight, part, where):
    """Twin of `match.density`."""
    d2 = squares(points.vectors, points.vectors)
    fall = 1-d2/(part**2*np.add.outer(half, half))
    return np.where(where, np.where((fall > 0) & (d2 <= chord2(points.reach)), fall**2, 0)@weight, np.nan)


def cover(points, half, weight, part, dense, bound, owner, family, rounds):
    """Twin of `match.cover`; needs no bounds."""
    dense = np.where(np.isnan(dense), density(points, half, weight, part, np.ones(len(half), bool)), dense)
    d2, linked = links(points, half)
    rank = points.order
    related = (family[:, None] == family) & (family >= 0)
    linked &= ~related | np.eye(len(rank), dtype=bool)
    for _ in range(rounds):
        free = np.flatnonzero(owner == -1)
        best = {i: max((dense[j], -rank[j], j) for j in free if linked[i, j] or j == i)[2] for i in free}
        seeds = [i for i in free if best[i] == i and dense[i] >= 0]
        for j in free:
            near = [(d2[i, j], rank[i], i) for i in seeds if linked[i, j] and (i == j or family[j] < 0 or j == min(
                (d2[i, k], rank[k], k) for k in free if linked[i, k] and related[j, k])[2])]
            if near:
                owner[j] = min(near)[2]


def nearest_centres(centres, xyz, ra, dec, half):
    """Twin of `match.nearest_centres`; ra and dec say nothing that xyz does not."""
    d2 = squares(xyz, centres.vectors)
    near, distance = np.full((len(xyz), NEAREST), -1), np.full((len(xyz), NEAREST), np.inf)
    for i in range(len(xyz)):
        found = sorted((d2[i, k], centres.order[k]) for k in range(len(centres.order))
                       if d2[i, k] <= min(2*half[i], chord2(centres.reach)))
        for slot, (d, number) in enumerate(found[:NEAREST]):
            near[i, slot], distance[i, slot] = number, d
    return near, distance


def settle(near, d2, rank, source, centres, rounds):
    """Twin of `settling.settle`: what each centre has of each source in a dict, the detections' lists of centres as lists."""
    wanted = [[(int(c), d) for c, d in zip(*row) if c >= 0] for row in zip(near, d2)]
    kept = {}
    for _ in range(rounds):
        asking = [i for i in range(len(near)) if wanted[i] and i not in kept.values()]
        asked = {}
        for i in asking:
            asked.setdefault((wanted[i][0][0], source[i]), []).append(i)
        for position, new in asked.items():
            those = new+([kept[position]] if position in kept else [])
            kept[position] = min(those, key=lambda i: (wanted[i][0][1], rank[i]))
            for i in those:
                if i != kept[position]:
                    wanted[i].pop(0)
    owner = np.full(len(near), -1)
    for (centre, _), i in kept.items():
        owner[i] = centre
    extra = (owner < 0) & (near[:, 0] >= 0)
    return np.where(extra, near[:, 0], owner), extra


def absorb(centres, members, xyz, limit, source, counted, ratio):
    """Twin of `match.absorb`."""
    position = np.empty((len(centres.order), 3))
    position[centres.order] = centres.vectors
    own = [[m for m in those if counted[m]] for those in lists_of(*members)]
    images, size = [{source[m] for m in those} for those in own], [sum(int(counted[m]) for m in those) for those in own]
    d2 = squares(position, position)
    reach2, many, into = chord2(centres.reach), range(len(position)), np.arange(len(position))

    def takes(b, c):
        return b != c and own[c] and size[b] >= ratio*size[c] and d2[c, b] <= reach2 and not images[b] & images[c] \
            and all(((xyz[m]-position[b])**2).sum() <= limit[m] for m in own[c])

    target = [min(((d2[c, b], b) for b in many if takes(b, c)), default=(0, -1))[1] for c in many]
    for b in many:
        taken = set()
        for _, c in sorted((d2[b, c], c) for c in many if target[c] == b and target[b] < 0):
            if not images[c] & taken:
                into[c], taken = b, taken | images[c]
    return into


def members_of(owner, objects):
    """Twin of `average.members_of`."""
    members = [np.flatnonzero(owner == k) for k in range(objects)]
    return np.r_[0, np.cumsum([len(m) for m in members])].astype(int), np.concatenate([*members, []]).astype(int)


def lists_of(start, member):
    """Numbers of the detections of each object, as lists."""
    return [[int(m) for m in member[a:b]] for a, b in zip(start[:-1], start[1:])]


def roles(start, member, visit, source, usable, sigma, separation, policy):
    """Twin of `average.roles`."""
    use = np.zeros(len(visit), np.uint8)
    for own in lists_of(start, member):
        for v in {visit[m] for m in own}:
            detectors = {}
            for m in own:
                if visit[m] == v:
                    detectors.setdefault(source[m], []).append(m)
            use[[m for those in detectors.values() for m in those]] = OVERLAP
            best = min(detectors.items(), key=lambda d: (not any(usable[m] for m in d[1]), len(d[1]) > 1,
                                                         min(sigma[m] for m in d[1]), d[1][0]))[1]
            use[best] = _by_policy(best, usable, separation, policy)
    return use


def _by_policy(those, usable, separation, policy):
    """Roles of the detections of one detector."""
    if len(those) == 1:
        return AVERAGED
    if policy == CLOSEST:
        closest = min(those, key=lambda m: separation[m])
        return [AVERAGED if m == closest else FARTHER for m in those]
    return SUMMED if policy == SUM and all(usable[m] for m in those) else SEVERAL


def mean_fluxes(start, member, band, source, flux, use, ok, bands, clip):
    """Twin of `average.mean_fluxes`."""
    objects = lists_of(start, member)
    values, counts = np.full((len(objects), bands, 10), np.nan), np.zeros((len(objects), bands, 4), np.int32)
    for k, own in enumerate(objects):
        for b in range(bands):
            here = [m for m in own if band[m] == b]
            alone = [[m] for m in here if use[m] == AVERAGED]
            sums = [[m for m in here if use[m] == SUMMED and source[m] == s] for s in {source[m] for m in here}]
            parts = [those for those in alone+sums if those]
            counts[k, b, 0] = len(here)
            if parts:
                f = np.array([flux[those, 0].sum() for those in parts])
                variance, common2 = (np.array([(flux[those, c]**2).sum() for those in parts]) for c in (1, 2))
                good = np.array([all(ok[m] for m in those) for those in parts])
                values[k, b], counts[k, b, 1:] = _one_band(f, variance, np.sqrt(common2), good, clip)
    return values, counts


def _weighted(f, variance, common):
    """Weighted mean and its error, by the covariance of the values: of any two the product of what is common."""
    if not len(f):
        return np.nan, np.nan
    weight = 1/variance/(1/variance).sum()
    covariance = np.outer(common, common)
    np.fill_diagonal(covariance, np.maximum(variance, common**2))
    return weight@f, np.sqrt(weight@covariance@weight)


def _one_band(f, variance, common, good, clip):
    """Means of some values, and how many there are of which kind."""
    n = len(f)
    mean, error = _weighted(f, variance, common)
    kept = np.abs(f-np.median(f)) <= clip*np.sqrt(variance)
    spread = [np.nan]*3
    if n > 1:
        pull = (f-mean)/variance
        spread = [f.std(ddof=1), np.sqrt(n/(n-1)*(pull**2).sum())/(1/variance).sum(), ((f-mean)**2/variance).sum()]
    clipped, fine = (_weighted(f[some], variance[some], common[some]) for some in (kept, good))
    return [mean, error, *clipped, np.median(f), *spread, *fine], [n, n-kept.sum(), good.sum()]


def mean_positions(start, member, offset, variance, common, counted, clip):
    """Twin of `positions.mean_positions`."""
    objects = lists_of(start, member)
    out = np.full((len(objects), 7), np.nan)
    for k, everyone in enumerate(objects):
        own = [m for m in everyone if counted[m]] or everyone
        if own:
            at, v, c = offset[own], variance[own], common[own]
            near = (np.abs(at-np.median(at, axis=0)) <= clip*np.sqrt(v)[:, None]).all(axis=1)
            near = near if len(own) > 2 else np.ones(len(own), bool)
            near = near if near.any() else np.arange(len(own)) == 0
            at, v, c, n = at[near], v[near], c[near], near.sum()
            mean = np.average(at, axis=0, weights=1/v)
            out[k, [0, 1, 2, 6]] = *mean, _weighted(at[:, 0], v, c)[1], n
            if n > 1:
                out[k, 3:6] = *at.std(axis=0, ddof=1), ((at-mean)**2/v[:, None]).sum()
    return out


def motions(start, member, offset, variance, counted, time, least, base):
    """Twin of `positions.motions`: the normal equations of a line solved as a whole."""
    objects = lists_of(start, member)
    out = np.full((len(objects), 8), np.nan)
    for k, everyone in enumerate(objects):
        own = [m for m in everyone if counted[m] and np.isfinite(time[m])]
        if len(own) < max(least, 3) or np.ptp(time[own]) < base or np.ptp(time[own]) == 0:
            continue
        v, epoch = variance[own], np.average(time[own], weights=1/variance[own])
        design = np.stack([np.ones(len(own)), time[own]-epoch], axis=1)/np.sqrt(v)[:, None]
        covariance = np.linalg.inv(design.T@design)
        wanted = offset[own]/np.sqrt(v)[:, None]
        line = covariance@design.T@wanted
        out[k] = *line[0], *line[1], *np.sqrt(np.diag(covariance)), ((wanted-design@line)**2).sum(), epoch
    return out


def order_of(keys, before=None):
    """As `order.order_of`."""
    before = np.arange(len(keys)) if before is None else np.asarray(before)
    return before[np.argsort(np.asarray(keys)[before], kind="stable")]
