"""Mean positions of objects from their detections, and proper motions. No global mutable state.

The members of object k are as in `average`. Sums are taken in their order.
"""
import numpy as np

from libc.math cimport INFINITY, fabs, isfinite, sqrt
from libc.stdlib cimport free, malloc
from crowdsource.cython_ext.average cimport most_members
from crowdsource.cython_ext.middle cimport median

POSITION_COLUMNS = ("east", "north", "error", "scatter_east", "scatter_north", "chi2", "n_used")
MOTION_COLUMNS = ("east", "north", "pm_east", "pm_north", "error", "pm_error", "chi2", "epoch")


cdef struct Motion:
    Py_ssize_t n
    double weight, time, x, y, first, last, spread, dx, dy, chi2


def mean_positions(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, const double[:, ::1] offset,
                   const double[::1] variance, const double[::1] common, const unsigned char[::1] counted, double clip):
    """Mean positions of objects, as `POSITION_COLUMNS` name them, with weights of 1/variance.

    The common part of the errors does not fall with their number, as in `average.mean_fluxes`.

    Members farther than `clip` errors from the median along either axis are left out, of three or more. Where none is counted,
    all members are; where all would be left out, the first stays.

    Parameters
    ----------
    start, member : ndarray
    offset : ndarray, shape (n, 2)
        East and north of a position near the object, any unit.
    variance : ndarray, shape (n,)
        Of the position along each axis, positive.
    common : ndarray, shape (n,)
        Part of its root that all members share.
    counted : ndarray, shape (n,), uint8
    clip : float

    Returns
    -------
    ndarray, shape (objects, 7)
        Scatter and chi2, of 2(n_used-1) degrees of freedom, are NaN where one member is left.
    """
    if not len(offset) == len(variance) == len(common) == len(counted) or offset.shape[1] != 2:
        raise ValueError("offset, variance, common and counted must be as many, and offset needs two columns")
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
                             offset, variance, common, &out[k, 0])
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
                       const double[::1] common, double *out) noexcept nogil:
    """Weighted mean of positions."""
    cdef double w, independent = 0, shared = 0, weight = 0, x = 0, y = 0, px = 0, py = 0, sx = 0, sy = 0, chi2 = 0
    cdef Py_ssize_t i
    for i in range(n):
        w = 1/variance[own[i]]
        weight += w
        independent += w*w*(variance[own[i]]-common[own[i]]*common[own[i]])
        shared += w*common[own[i]]
        x += w*offset[own[i], 0]
        y += w*offset[own[i], 1]
        px += offset[own[i], 0]
        py += offset[own[i], 1]
    x, y, px, py = x/weight, y/weight, px/n, py/n
    for i in range(n):
        sx += (offset[own[i], 0]-px)*(offset[own[i], 0]-px)
        sy += (offset[own[i], 1]-py)*(offset[own[i], 1]-py)
        chi2 += ((offset[own[i], 0]-x)*(offset[own[i], 0]-x)+(offset[own[i], 1]-y)*(offset[own[i], 1]-y))/variance[own[i]]
    out[0], out[1], out[2], out[6] = x, y, sqrt(max(independent, 0.)+shared*shared)/weight, n
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
    most_members(start, member, offset.shape[0])
    cdef Py_ssize_t objects = start.shape[0]-1, k
    out_ = np.full((objects, len(MOTION_COLUMNS)), np.nan)
    cdef double[:, ::1] out = out_
    cdef Motion this
    with nogil:
        for k in range(objects):
            if start[k+1] == start[k]:
                continue
            middle_of(&member[start[k]], start[k+1]-start[k], offset, variance, counted, time, &this)
            # where all times are one there is no motion, however short a base may be
            if this.n >= max(least, 3) and this.last-this.first >= base and this.last > this.first:
                slope_of(&member[start[k]], start[k+1]-start[k], offset, variance, counted, time, &this)
                out[k, 0], out[k, 1], out[k, 2], out[k, 3] = this.x, this.y, this.dx, this.dy
                out[k, 4], out[k, 5], out[k, 6], out[k, 7] = 1/sqrt(this.weight), 1/sqrt(this.spread), this.chi2, this.time
    return out_


cdef void middle_of(const Py_ssize_t *member, Py_ssize_t n, const double[:, ::1] offset, const double[::1] variance,
                    const unsigned char[::1] counted, const double[::1] time, Motion *this) noexcept nogil:
    """Weighted means of times and positions, and the range of the times."""
    cdef Py_ssize_t j, m
    cdef double w
    this.n, this.weight, this.time, this.x, this.y, this.first, this.last = 0, 0., 0., 0., 0., INFINITY, -INFINITY
    for j in range(n):
        m = member[j]
        if counted[m] and isfinite(time[m]):
            w = 1/variance[m]
            this.n += 1
            this.weight += w
            this.time += w*time[m]
            this.x += w*offset[m, 0]
            this.y += w*offset[m, 1]
            this.first, this.last = min(this.first, time[m]), max(this.last, time[m])
    if this.n > 0:
        this.time, this.x, this.y = this.time/this.weight, this.x/this.weight, this.y/this.weight


cdef void slope_of(const Py_ssize_t *member, Py_ssize_t n, const double[:, ::1] offset, const double[::1] variance,
                   const unsigned char[::1] counted, const double[::1] time, Motion *this) noexcept nogil:
    """Motion about the means, and what it leaves."""
    cdef Py_ssize_t j, m
    cdef double t, ex, ey
    this.spread, this.dx, this.dy, this.chi2 = 0., 0., 0., 0.
    for j in range(n):
        m = member[j]
        if counted[m] and isfinite(time[m]):
            t = time[m]-this.time
            this.spread += t*t/variance[m]
            this.dx += t*(offset[m, 0]-this.x)/variance[m]
            this.dy += t*(offset[m, 1]-this.y)/variance[m]
    this.dx, this.dy = this.dx/this.spread, this.dy/this.spread
    for j in range(n):
        m = member[j]
        if counted[m] and isfinite(time[m]):
            t = time[m]-this.time
            ex, ey = offset[m, 0]-this.x-this.dx*t, offset[m, 1]-this.y-this.dy*t
            this.chi2 += (ex*ex+ey*ey)/variance[m]
