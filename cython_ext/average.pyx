"""What the detections of an object give together: which of them count, mean fluxes and positions. No global mutable state.

The members of object k are ``member[start[k]:start[k+1]]``, numbers of detections, ascending. Sums are taken in that order.
"""
import numpy as np

from libc.math cimport NAN, fabs, isfinite, sqrt
from libc.stdlib cimport free, malloc

FLUX_COLUMNS = ("flux", "flux_error", "flux_clipped", "flux_clipped_error", "flux_median", "flux_scatter", "flux_scatter_error",
                "flux_chi2", "flux_ok", "flux_ok_error")
COUNT_COLUMNS = ("n_det", "n_used", "n_clipped", "n_ok")
POSITION_COLUMNS = ("east", "north", "error", "scatter_east", "scatter_north", "chi2", "n_used")
MOTION_COLUMNS = ("east", "north", "pm_east", "pm_north", "error", "pm_error", "chi2", "epoch")

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
    double flux, variance
    bint ok


cdef struct Detector:
    Py_ssize_t first, count
    bint usable
    double sigma


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
    use_ = np.zeros(visit.shape[0], dtype=np.uint8)
    cdef unsigned char[::1] use = use_
    cdef Py_ssize_t k, a, b, most = 1
    for k in range(start.shape[0]-1):
        most = max(most, start[k+1]-start[k])
    cdef Py_ssize_t *own = <Py_ssize_t *>malloc(most*sizeof(Py_ssize_t))
    if own == NULL:
        raise MemoryError("no memory for the members of an object")
    with nogil:
        for k in range(start.shape[0]-1):
            arrange(&member[start[k]], start[k+1]-start[k], visit, source, own)
            a = 0
            while a < start[k+1]-start[k]:
                b = a+1
                while b < start[k+1]-start[k] and visit[own[b]] == visit[own[a]]:
                    b += 1
                if b > a+1:
                    one_visit(own+a, b-a, source, usable, sigma, separation, policy, use)
                a = b
    free(own)
    return use_


cdef void arrange(const Py_ssize_t *member, Py_ssize_t n, const int[::1] visit, const int[::1] source,
                  Py_ssize_t *own) noexcept nogil:
    """Members by visit, source and number: nearly sorted already, so that insertion is fast."""
    cdef Py_ssize_t i, j, m
    for i in range(n):
        m, j = member[i], i
        while j > 0 and (visit[own[j-1]] > visit[m] or (visit[own[j-1]] == visit[m] and source[own[j-1]] > source[m])):
            own[j] = own[j-1]
            j -= 1
        own[j] = m


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

    Weighted means have 1/error^2 as weights. The clipped one leaves out what is more than `clip` errors from the median. The
    error by scatter is ``sqrt(n/(n-1) sum w^2 (f-mean)^2)/sum w``.

    Parameters
    ----------
    start, member : ndarray
    band, source : ndarray, shape (n,)
    flux : ndarray, shape (n, 2)
        Fluxes and their errors.
    use : ndarray, shape (n,)
        `AVERAGED`, `SUMMED`, or anything else for those that do not count.
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
    cdef Py_ssize_t objects = start.shape[0]-1, k, j, m, n, most = 1
    cdef int b
    for k in range(objects):
        most = max(most, start[k+1]-start[k])
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
                n = 0
                for j in range(start[k], start[k+1]):
                    m = member[j]
                    if band[m] != b:
                        continue
                    counts[k, b, 0] += 1
                    if use[m] == SUMMED and n > 0 and j > start[k] and use[member[j-1]] == SUMMED \
                            and source[member[j-1]] == source[m]:
                        own[n-1].flux += flux[m, 0]
                        own[n-1].variance += flux[m, 1]*flux[m, 1]
                        own[n-1].ok &= ok[m] != 0
                    elif use[m] == AVERAGED or use[m] == SUMMED:
                        own[n].flux, own[n].variance, own[n].ok = flux[m, 0], flux[m, 1]*flux[m, 1], ok[m] != 0
                        n += 1
                if n > 0:
                    one_band(own, n, room, clip, &values[k, b, 0], &counts[k, b, 0])
    free(own)
    free(room)
    return values_, counts_


cdef void one_band(const Value *own, Py_ssize_t n, double *room, double clip, double *out, int *count) noexcept nogil:
    """Means of an object's values in a band."""
    cdef double w, weight = 0, total = 0, good = 0, good_total = 0, kept = 0, kept_total = 0, mean, plain = 0, spread = 0
    cdef double chi2 = 0, scattered = 0, middle
    cdef Py_ssize_t i
    cdef int left_out = 0, fine = 0
    for i in range(n):
        room[i] = own[i].flux
        plain += own[i].flux
    middle, plain = median(room, n), plain/n
    for i in range(n):
        w = 1/own[i].variance
        weight += w
        total += w*own[i].flux
        if own[i].ok:
            good += w
            good_total += w*own[i].flux
            fine += 1
        if fabs(own[i].flux-middle) <= clip*sqrt(own[i].variance):
            kept += w
            kept_total += w*own[i].flux
        else:
            left_out += 1
    mean = total/weight
    for i in range(n):
        w = 1/own[i].variance
        spread += (own[i].flux-plain)*(own[i].flux-plain)
        chi2 += w*(own[i].flux-mean)*(own[i].flux-mean)
        scattered += w*w*(own[i].flux-mean)*(own[i].flux-mean)
    out[0], out[1] = mean, 1/sqrt(weight)
    if kept > 0:
        out[2], out[3] = kept_total/kept, 1/sqrt(kept)
    out[4] = middle
    if n > 1:
        # one value tells nothing of the scatter
        out[5], out[6], out[7] = sqrt(spread/(n-1)), sqrt(scattered*n/(n-1))/weight, chi2
    if good > 0:
        out[8], out[9] = good_total/good, 1/sqrt(good)
    count[1], count[2], count[3] = <int>n, left_out, fine


cdef double median(double *values, Py_ssize_t n) noexcept nogil:
    """Median; the values are sorted in place."""
    cdef Py_ssize_t i, j, gap = 1
    cdef double v
    while gap < n//3:
        gap = 3*gap+1
    # after Shell: members are few, and their values need no other order
    while gap > 0:
        for i in range(gap, n):
            v, j = values[i], i
            while j >= gap and values[j-gap] > v:
                values[j] = values[j-gap]
                j -= gap
            values[j] = v
        gap //= 3
    return values[n//2] if n % 2 else 0.5*(values[n//2-1]+values[n//2])


def mean_positions(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, const double[:, ::1] offset,
                   const double[::1] variance, const unsigned char[::1] counted, double clip):
    """Mean positions of objects, as `POSITION_COLUMNS` name them, with weights of 1/variance.

    Members farther than `clip` errors from the median along either axis are left out. Where none is counted, all members are.

    Parameters
    ----------
    start, member : ndarray
    offset : ndarray, shape (n, 2)
        East and north of a place near the object, any unit.
    variance : ndarray, shape (n,)
        Of the position along each axis, positive.
    counted : ndarray, shape (n,), uint8
    clip : float

    Returns
    -------
    ndarray, shape (objects, 7)
        Scatter and chi2, of 2(n_used-1) degrees of freedom, are NaN where one member is left.
    """
    cdef Py_ssize_t objects = start.shape[0]-1, k, most = 1
    for k in range(objects):
        most = max(most, start[k+1]-start[k])
    out_ = np.full((objects, len(POSITION_COLUMNS)), np.nan)
    cdef double[:, ::1] out = out_
    cdef Py_ssize_t *own = <Py_ssize_t *>malloc(most*sizeof(Py_ssize_t))
    cdef double *room = <double *>malloc(most*sizeof(double))
    if own == NULL or room == NULL:
        free(own)
        free(room)
        raise MemoryError("no memory for the members of an object")
    with nogil:
        for k in range(objects):
            if start[k+1] > start[k]:
                one_position(own, kept(&member[start[k]], start[k+1]-start[k], offset, variance, counted, clip, own, room),
                             offset, variance, &out[k, 0])
    free(own)
    free(room)
    return out_


cdef Py_ssize_t kept(const Py_ssize_t *member, Py_ssize_t n, const double[:, ::1] offset, const double[::1] variance,
                     const unsigned char[::1] counted, double clip, Py_ssize_t *own, double *room) noexcept nogil:
    """Members that count and are not far from the median; writes their numbers, returns how many there are."""
    cdef Py_ssize_t i, m = 0, left = 0
    cdef double x, y
    cdef bint away
    for i in range(n):
        if counted[member[i]]:
            own[m] = member[i]
            m += 1
    if m == 0:
        for i in range(n):
            own[i] = member[i]
        m = n
    for i in range(m):
        room[i] = offset[own[i], 0]
    x = median(room, m)
    for i in range(m):
        room[i] = offset[own[i], 1]
    y = median(room, m)
    for i in range(m):
        away = fabs(offset[own[i], 0]-x) > clip*sqrt(variance[own[i]]) or fabs(offset[own[i], 1]-y) > clip*sqrt(variance[own[i]])
        # with two, each is as far from the middle as the other
        if m < 3 or not away:
            own[left] = own[i]
            left += 1
    if left == 0:
        own[0], left = own[0], 1
    return left


cdef void one_position(const Py_ssize_t *own, Py_ssize_t n, const double[:, ::1] offset, const double[::1] variance,
                       double *out) noexcept nogil:
    """Weighted mean of positions."""
    cdef double w, weight = 0, x = 0, y = 0, px = 0, py = 0, sx = 0, sy = 0, chi2 = 0
    cdef Py_ssize_t i
    for i in range(n):
        w = 1/variance[own[i]]
        weight += w
        x += w*offset[own[i], 0]
        y += w*offset[own[i], 1]
        px += offset[own[i], 0]
        py += offset[own[i], 1]
    x, y, px, py = x/weight, y/weight, px/n, py/n
    for i in range(n):
        sx += (offset[own[i], 0]-px)*(offset[own[i], 0]-px)
        sy += (offset[own[i], 1]-py)*(offset[own[i], 1]-py)
        chi2 += ((offset[own[i], 0]-x)*(offset[own[i], 0]-x)+(offset[own[i], 1]-y)*(offset[own[i], 1]-y))/variance[own[i]]
    out[0], out[1], out[2], out[6] = x, y, 1/sqrt(weight), n
    if n > 1:
        out[3], out[4], out[5] = sqrt(sx/(n-1)), sqrt(sy/(n-1)), chi2


def motions(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, const double[:, ::1] offset, const double[::1] variance,
            const unsigned char[::1] counted, const double[::1] time, int least, double base):
    """Proper motions of objects by weighted least squares, as `MOTION_COLUMNS` name them; NaN where the time base is too short.

    Parameters
    ----------
    start, member, offset, variance, counted : ndarray
        As `mean_positions`; only counted members serve.
    time : ndarray, shape (n,)
        Any unit; members where it is not finite do not serve.
    least : int
        Smallest number of members, at least 3.
    base : float
        Smallest range of their times.

    Returns
    -------
    ndarray, shape (objects, 8)
        Position at the weighted mean time, ``epoch``; motion a unit of time; chi2 of 2 n-4 degrees of freedom.
    """
    cdef Py_ssize_t objects = start.shape[0]-1, k, j, m, n
    cdef double w, s, st, first, last, x, y, t, stt, sx, sy, chi2, dx, dy
    out_ = np.full((objects, len(MOTION_COLUMNS)), np.nan)
    cdef double[:, ::1] out = out_
    for k in range(objects):
        n, s, st, sx, sy, stt = 0, 0., 0., 0., 0., 0.
        first, last = np.inf, -np.inf
        for j in range(start[k], start[k+1]):
            m = member[j]
            if counted[m] and isfinite(time[m]):
                w, n = 1/variance[m], n+1
                s += w
                st += w*time[m]
                sx += w*offset[m, 0]
                sy += w*offset[m, 1]
                first, last = min(first, time[m]), max(last, time[m])
        if n < max(least, 3) or not last-first >= base:
            continue
        t, x, y, dx, dy, chi2 = st/s, sx/s, sy/s, 0., 0., 0.
        for j in range(start[k], start[k+1]):
            m = member[j]
            if counted[m] and isfinite(time[m]):
                w = (time[m]-t)/variance[m]
                stt += w*(time[m]-t)
                dx += w*(offset[m, 0]-x)
                dy += w*(offset[m, 1]-y)
        if not stt > 0:
            continue
        dx, dy = dx/stt, dy/stt
        for j in range(start[k], start[k+1]):
            m = member[j]
            if counted[m] and isfinite(time[m]):
                chi2 += ((offset[m, 0]-x-dx*(time[m]-t))**2+(offset[m, 1]-y-dy*(time[m]-t))**2)/variance[m]
        out[k, 0], out[k, 1], out[k, 2], out[k, 3] = x, y, dx, dy
        out[k, 4], out[k, 5], out[k, 6], out[k, 7] = 1/sqrt(s), 1/sqrt(stt), chi2, t
    return out_
