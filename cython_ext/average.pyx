"""What the detections of an object give together: mean fluxes, positions and motions. No global mutable state.

The members of object k are ``member[start[k]:start[k+1]]``, numbers of detections, ascending. Sums are taken in that order.
"""
import numpy as np

from crowdsource.cython_ext.roles import Policy, Use, members_of, roles
from crowdsource.cython_ext.roles cimport AVERAGED, SUMMED, most_members
from libc.math cimport INFINITY, fabs, isfinite, sqrt
from libc.stdlib cimport free, malloc

FLUX_COLUMNS = ("flux", "flux_error", "flux_clipped", "flux_clipped_error", "flux_median", "flux_scatter", "flux_scatter_error",
                "flux_chi2", "flux_ok", "flux_ok_error")
COUNT_COLUMNS = ("n_det", "n_used", "n_clipped", "n_ok")
POSITION_COLUMNS = ("east", "north", "error", "scatter_east", "scatter_north", "chi2", "n_used")
MOTION_COLUMNS = ("east", "north", "pm_east", "pm_north", "error", "pm_error", "chi2", "epoch")


cdef struct Value:
    double flux, variance
    bint ok, summed
    int source


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
        `AVERAGED`, `SUMMED`, or anything else for those that do not count. What is summed of one source makes one value, of
        the sum of the variances, which is good when all parts are.
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
    if not len(band) == len(source) == len(flux) == len(use) == len(ok) or flux.shape[1] != 2:
        raise ValueError("band, source, flux, use and ok must be as many, and flux needs two columns")
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
            own[k].ok &= ok[m] != 0
        else:
            own[n].flux, own[n].variance, own[n].ok = flux[m, 0], flux[m, 1]*flux[m, 1], ok[m] != 0
            own[n].summed, own[n].source = use[m] == SUMMED, source[m]
            n += 1
    return n


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

    Members farther than `clip` errors from the median along either axis are left out, of three or more. Where none is counted,
    all members are; where all would be left out, the first stays.

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
    if not len(offset) == len(variance) == len(counted) or offset.shape[1] != 2:
        raise ValueError("offset, variance and counted must be as many, and offset needs two columns")
    cdef Py_ssize_t objects = start.shape[0]-1, k, most = most_members(start, member, offset.shape[0])
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
    if not len(offset) == len(variance) == len(counted) == len(time) or offset.shape[1] != 2:
        raise ValueError("offset, variance, counted and time must be as many, and offset needs two columns")
    cdef Py_ssize_t objects = start.shape[0]-1, k, j, m, n, most = most_members(start, member, offset.shape[0])
    cdef double first, last
    out_ = np.full((objects, len(MOTION_COLUMNS)), np.nan)
    cdef double[:, ::1] out = out_
    cdef Py_ssize_t *own = <Py_ssize_t *>malloc(most*sizeof(Py_ssize_t))
    if own == NULL:
        raise MemoryError("no memory for the members of an object")
    with nogil:
        for k in range(objects):
            n, first, last = 0, INFINITY, -INFINITY
            for j in range(start[k], start[k+1]):
                m = member[j]
                if counted[m] and isfinite(time[m]):
                    own[n], n = m, n+1
                    first, last = min(first, time[m]), max(last, time[m])
            if n >= max(least, 3) and last-first >= base:
                one_motion(own, n, offset, variance, time, &out[k, 0])
    free(own)
    return out_


cdef void one_motion(const Py_ssize_t *own, Py_ssize_t n, const double[:, ::1] offset, const double[::1] variance,
                     const double[::1] time, double *out) noexcept nogil:
    """Position and motion by weighted least squares; writes nothing where all times are one."""
    cdef Py_ssize_t i, m
    cdef double w, s = 0, t = 0, x = 0, y = 0, stt = 0, dx = 0, dy = 0, chi2 = 0, left_x, left_y
    for i in range(n):
        m, w = own[i], 1/variance[own[i]]
        s += w
        t += w*time[m]
        x += w*offset[m, 0]
        y += w*offset[m, 1]
    t, x, y = t/s, x/s, y/s
    for i in range(n):
        m, w = own[i], (time[own[i]]-t)/variance[own[i]]
        stt += w*(time[m]-t)
        dx += w*(offset[m, 0]-x)
        dy += w*(offset[m, 1]-y)
    if not stt > 0:
        return
    dx, dy = dx/stt, dy/stt
    for i in range(n):
        m = own[i]
        left_x, left_y = offset[m, 0]-x-dx*(time[m]-t), offset[m, 1]-y-dy*(time[m]-t)
        chi2 += (left_x*left_x+left_y*left_y)/variance[m]
    out[0], out[1], out[2], out[3] = x, y, dx, dy
    out[4], out[5], out[6], out[7] = 1/sqrt(s), 1/sqrt(stt), chi2, t
