"""What the detections of an object give together: which of them count, and mean fluxes. No global mutable state.

The members of object k are ``member[start[k]:start[k+1]]``, numbers of detections, ascending. Sums are taken in that order.
"""
import numpy as np

from crowdsource.cython_ext.order import order_of
from libc.math cimport fabs, sqrt
from libc.stdlib cimport free, malloc
from crowdsource.cython_ext.middle cimport median

FLUX_COLUMNS = ("flux", "flux_error", "flux_clipped", "flux_clipped_error", "flux_median", "flux_scatter", "flux_scatter_error",
                "flux_chi2", "flux_ok", "flux_ok_error")
COUNT_COLUMNS = ("n_det", "n_used", "n_clipped", "n_ok")

cpdef enum Use:
    AVERAGED = 0
    SUMMED = 1
    SEVERAL = 2
    FARTHER = 3
    OVERLAP = 4

cpdef enum Policy:
    FLAG = 0
    SUM = 1
    CLOSEST = 2


cdef struct Value:
    double flux, variance, common
    bint ok, summed
    int source


cdef struct Sums:
    double weight, flux, variance, common


cdef struct Detector:
    Py_ssize_t first, count
    bint usable
    double sigma


cdef Py_ssize_t most_members(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, Py_ssize_t detections) except -1:
    """The largest number of members, at least 1; raises ValueError unless all members are detections."""
    cdef Py_ssize_t k, most = 1, ends = start.shape[0]
    if ends == 0 or start[0] < 0 or start[ends-1] > member.shape[0]:
        raise ValueError("start needs one number more than there are objects, the last at most the number of members")
    for k in range(ends-1):
        if start[k+1] < start[k]:
            raise ValueError("start must not descend")
        most = max(most, start[k+1]-start[k])
    for k in range(start[0], start[ends-1]):
        if not 0 <= member[k] < detections:
            raise ValueError(f"member {member[k]} is none of {detections} detections")
    return most


def members_of(const Py_ssize_t[::1] owner, Py_ssize_t objects):
    """Numbers of the detections of each object, ascending.

    Parameters
    ----------
    owner : ndarray, shape (n,)
        Object of each detection, -1 for none.
    objects : int

    Returns
    -------
    start : ndarray, shape (objects+1,)
    member : ndarray, shape (m,)
    """
    if objects < 0 or np.max(owner, initial=-1) >= objects:
        raise ValueError(f"owners must be below the number of objects, {objects}")
    start_ = np.zeros(objects+1, dtype=np.intp)
    cdef Py_ssize_t[::1] start = start_, at
    cdef Py_ssize_t i
    for i in range(owner.shape[0]):
        if owner[i] >= 0:
            start[owner[i]+1] += 1
    np.cumsum(start_, out=start_)
    member_ = np.empty(start[objects], dtype=np.intp)
    cdef Py_ssize_t[::1] member = member_
    at = start_.copy()
    for i in range(owner.shape[0]):
        if owner[i] >= 0:
            member[at[owner[i]]] = i
            at[owner[i]] += 1
    return start_, member_


def roles(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, const int[::1] visit, const int[::1] source,
          const unsigned char[::1] usable, const double[::1] sigma, const double[::1] separation, int policy):
    """How each member counts, where an object has more than one of a visit (an exposure in a band).

    Of several detectors that saw the object in one visit, the best is taken: usable, with one detection only, with the smaller
    error of position, then the first. Several detections of one detector fall under the policy.

    Parameters
    ----------
    start, member : ndarray
    visit, source : ndarray, shape (n,)
        Equal for the detections of one visit, and of one detector in it.
    usable : ndarray, shape (n,), uint8
    sigma, separation : ndarray, shape (n,)
        Error of the position, and distance from the object.
    policy : int
        `FLAG`, `SUM` or `CLOSEST`.

    Returns
    -------
    ndarray, shape (n,), uint8
        `AVERAGED` for those that count by themselves, `SUMMED`, `SEVERAL`, `FARTHER` or `OVERLAP`.
    """
    if not len(visit) == len(source) == len(usable) == len(sigma) == len(separation):
        raise ValueError("visit, source, usable, sigma and separation must be as many")
    if policy not in (FLAG, SUM, CLOSEST):
        raise ValueError(f"policy is {policy}: choose FLAG, SUM or CLOSEST")
    use_ = np.zeros(visit.shape[0], dtype=np.uint8)
    cdef unsigned char[::1] use = use_
    most_members(start, member, visit.shape[0])
    cdef Py_ssize_t[::1] arranged = by_visit(start, member, visit, source)
    cdef Py_ssize_t k, a, b
    with nogil:
        for k in range(start.shape[0]-1):
            a = start[k]
            while a < start[k+1]:
                b = a+1
                while b < start[k+1] and visit[arranged[b]] == visit[arranged[a]]:
                    b += 1
                if b > a+1:
                    one_visit(&arranged[a], b-a, source, usable, sigma, separation, policy, use)
                a = b
    return use_


cdef by_visit(start, member, visit, source):
    """The members of each object by visit, source and number, in the objects' places."""
    member = np.asarray(member)[:start[len(start)-1]]
    owner = np.repeat(np.arange(len(start)-1), np.diff(start))
    own = member[start[0]:]
    order = order_of(np.take(source, own).astype(np.int64))
    order = order_of(owner, order_of(np.take(visit, own).astype(np.int64), order))
    return np.concatenate([member[:start[0]], own[order]])


cdef void one_visit(const Py_ssize_t *own, Py_ssize_t n, const int[::1] source, const unsigned char[::1] usable,
                    const double[::1] sigma, const double[::1] separation, int policy, unsigned char[::1] use) noexcept nogil:
    """Roles of the detections of one visit, sorted by source."""
    cdef Py_ssize_t a = 0, b, k, chosen = -1, number = 0
    cdef Detector best, this
    while a < n:
        b = a+1
        while b < n and source[own[b]] == source[own[a]]:
            b += 1
        this.first, this.count, this.usable, this.sigma = own[a], b-a, False, sigma[own[a]]
        for k in range(a, b):
            use[own[k]] = OVERLAP
            this.usable |= usable[own[k]] != 0
            this.sigma = min(this.sigma, sigma[own[k]])
        if chosen < 0 or better(&this, &best):
            best, chosen, number = this, a, b-a
        a = b
    by_policy(own+chosen, number, usable, separation, policy, use)


cdef bint better(const Detector *a, const Detector *b) noexcept nogil:
    """Whether a detector's view of an object is to be taken before another's."""
    if a.usable != b.usable:
        return a.usable
    if (a.count == 1) != (b.count == 1):
        return a.count == 1
    return a.sigma < b.sigma or (a.sigma == b.sigma and a.first < b.first)


cdef void by_policy(const Py_ssize_t *own, Py_ssize_t n, const unsigned char[::1] usable, const double[::1] separation,
                    int policy, unsigned char[::1] use) noexcept nogil:
    """Roles of the detections of one detector in one visit."""
    cdef Py_ssize_t k, closest = 0
    cdef bint complete = True
    if n == 1:
        use[own[0]] = AVERAGED
        return
    for k in range(n):
        complete &= usable[own[k]] != 0
        if separation[own[k]] < separation[own[closest]]:
            closest = k
    for k in range(n):
        if policy == CLOSEST:
            use[own[k]] = AVERAGED if k == closest else FARTHER
        else:
            # a sum needs all of its parts
            use[own[k]] = SUMMED if policy == SUM and complete else SEVERAL


def mean_fluxes(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, const int[::1] band, const int[::1] source,
                const double[:, ::1] flux, const unsigned char[::1] use, const unsigned char[::1] ok, int bands, double clip):
    """Mean fluxes of objects in each band, as `FLUX_COLUMNS` and `COUNT_COLUMNS` name them.

    Weighted means have 1/error^2 as weights. Of the errors, a part is common to all measurements of an object, such as the light
    of stars too faint to be found: what is left of each falls with their number, ``sum w^2 (error^2-common^2)/(sum w)^2``, the
    common part does not, ``(sum w common/sum w)^2``. The clipped one leaves out what is more than `clip` errors from the median.
    The error by scatter is ``sqrt(n/(n-1) sum w^2 (f-mean)^2)/sum w``.

    Parameters
    ----------
    start, member : ndarray
    band, source : ndarray, shape (n,)
    flux : ndarray, shape (n, 3)
        Fluxes, their errors, and the common part of these.
    use : ndarray, shape (n,)
        `AVERAGED`, `SUMMED`, or anything else for those that do not count. What is summed of one source makes one value, of
        the sum of the variances, and of those of the common parts, which is good when all its parts are.
    ok : ndarray, shape (n,)
        Good by all standards.
    bands : int
    clip : float

    Returns
    -------
    values : ndarray, shape (objects, bands, 10)
        NaN where there is none.
    counts : ndarray, shape (objects, bands, 4), int32
    """
    if not len(band) == len(source) == len(flux) == len(use) == len(ok) or flux.shape[1] != 3:
        raise ValueError("band, source, flux, use and ok must be as many, and flux needs three columns")
    cdef Py_ssize_t objects = start.shape[0]-1, k, n, most = most_members(start, member, band.shape[0])
    cdef int b
    values_ = np.full((objects, bands, len(FLUX_COLUMNS)), np.nan)
    counts_ = np.zeros((objects, bands, len(COUNT_COLUMNS)), dtype=np.int32)
    cdef double[:, :, ::1] values = values_
    cdef int[:, :, ::1] counts = counts_
    cdef Value *own = <Value *>malloc(most*sizeof(Value))
    cdef double *room = <double *>malloc(most*sizeof(double))
    if own == NULL or room == NULL:
        free(own)
        free(room)
        raise MemoryError("no memory for the members of an object")
    with nogil:
        for k in range(objects):
            for b in range(bands):
                n = gather(member[start[k]:start[k+1]], band, source, flux, use, ok, b, own, &counts[k, b, 0])
                if n > 0:
                    one_band(own, n, room, clip, &values[k, b, 0], &counts[k, b, 0])
    free(own)
    free(room)
    return values_, counts_


cdef Py_ssize_t gather(const Py_ssize_t[::1] member, const int[::1] band, const int[::1] source, const double[:, ::1] flux,
                       const unsigned char[::1] use, const unsigned char[::1] ok, int b, Value *own, int *count) noexcept nogil:
    """An object's values in a band, what is summed of a source as one; returns how many, and counts the detections."""
    cdef Py_ssize_t j, m, k, n = 0
    for j in range(member.shape[0]):
        m = member[j]
        if band[m] != b:
            continue
        count[0] += 1
        if use[m] != AVERAGED and use[m] != SUMMED:
            continue
        k = n-1
        # others may stand between the parts of a sum
        while use[m] == SUMMED and k >= 0 and not (own[k].summed and own[k].source == source[m]):
            k -= 1
        if use[m] == SUMMED and k >= 0:
            own[k].flux += flux[m, 0]
            own[k].variance += flux[m, 1]*flux[m, 1]
            own[k].common = sqrt(own[k].common*own[k].common+flux[m, 2]*flux[m, 2])
            own[k].ok &= ok[m] != 0
        else:
            own[n].flux, own[n].variance, own[n].ok = flux[m, 0], flux[m, 1]*flux[m, 1], ok[m] != 0
            own[n].common, own[n].summed, own[n].source = flux[m, 2], use[m] == SUMMED, source[m]
            n += 1
    return n


cdef inline void add(Sums *s, const Value *v) noexcept nogil:
    """Take a measurement into a mean."""
    cdef double w = 1/v.variance
    s.weight += w
    s.flux += w*v.flux
    s.variance += w*w*(v.variance-v.common*v.common)
    s.common += w*v.common


cdef inline void mean_of(const Sums *s, double *out) noexcept nogil:
    """The mean and its error; unchanged where there is none."""
    if s.weight > 0:
        out[0] = s.flux/s.weight
        out[1] = sqrt(max(s.variance, 0.)+s.common*s.common)/s.weight


cdef void one_band(const Value *own, Py_ssize_t n, double *room, double clip, double *out, int *count) noexcept nogil:
    """Means of an object's values in a band."""
    cdef Sums every = Sums(0, 0, 0, 0), kept = Sums(0, 0, 0, 0), good = Sums(0, 0, 0, 0)
    cdef double w, plain = 0, spread = 0, chi2 = 0, scattered = 0, middle
    cdef Py_ssize_t i
    cdef int left_out = 0, fine = 0
    for i in range(n):
        room[i] = own[i].flux
        plain += own[i].flux
    middle, plain = median(room, n), plain/n
    for i in range(n):
        add(&every, &own[i])
        if own[i].ok:
            add(&good, &own[i])
            fine += 1
        if fabs(own[i].flux-middle) <= clip*sqrt(own[i].variance):
            add(&kept, &own[i])
        else:
            left_out += 1
    mean_of(&every, out)
    mean_of(&kept, out+2)
    mean_of(&good, out+8)
    for i in range(n):
        w = 1/own[i].variance
        spread += (own[i].flux-plain)*(own[i].flux-plain)
        chi2 += w*(own[i].flux-out[0])*(own[i].flux-out[0])
        scattered += w*w*(own[i].flux-out[0])*(own[i].flux-out[0])
    out[4] = middle
    if n > 1:
        # the scatter of one value is unknown
        out[5], out[6], out[7] = sqrt(spread/(n-1)), sqrt(scattered*n/(n-1))/every.weight, chi2
    count[1], count[2], count[3] = <int>n, left_out, fine
