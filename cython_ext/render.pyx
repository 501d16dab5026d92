"""Rendering of stamps from B-spline coefficient planes.

A PSF is a linear combination of planes of quintic B-spline coefficients; the factors, polynomials of the position, come
with each star. A shift by part of a pixel is then a separable six-tap filter, and the same coefficients give the exact
gradient. Pixels at and past the planes' edge are zero. No global mutable state.
"""
import numpy as np

from libc.math cimport floor
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef extern from "simd.h" nogil:
    void cs_six_taps(const float *a, Py_ssize_t step, const float *w, int n, float *out) noexcept
    void cs_add(const float *a, float f, int n, float *out) noexcept


cdef inline void spline_weights(double t, float *w, float *d) noexcept nogil:
    """Values and slopes of the six quintic B-splines that reach a point t in [0, 1) past the third knot.

    Unser, Aldroubi and Eden (1993), "B-spline signal processing: part I".
    """
    cdef double s = 1-t, t2 = t*t, s2 = s*s, t4 = t2*t2, s4 = s2*s2
    w[0] = <float> (s4*s/120)
    w[5] = <float> (t4*t/120)
    w[1] = <float> (((1+s)**5-6*s4*s)/120)
    w[4] = <float> (((1+t)**5-6*t4*t)/120)
    w[2] = <float> (((2+s)**5-6*(1+s)**5+15*s4*s)/120)
    w[3] = <float> (((2+t)**5-6*(1+t)**5+15*t4*t)/120)
    d[0] = <float> (-s4/24)
    d[5] = <float> (t4/24)
    d[1] = <float> (-((1+s)**4-6*s4)/24)
    d[4] = <float> (((1+t)**4-6*t4)/24)
    d[2] = <float> (-((2+s)**4-6*(1+s)**4+15*s4)/24)
    d[3] = <float> (((2+t)**4-6*(1+t)**4+15*t4)/24)


cdef void combine(const float[:, :, ::1] planes, const float *factors, Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t side,
                  float *out) noexcept nogil:
    """The star's own coefficients on a box of the planes; zero where the box leaves them."""
    cdef Py_ssize_t count = planes.shape[0], m = planes.shape[1], k, j
    cdef Py_ssize_t first = max(0, -x0), last = min(side, m-x0)
    memset(out, 0, side*side*sizeof(float))
    if last <= first:
        return
    for j in range(max(0, -y0), min(side, m-y0)):
        for k in range(count):
            cs_add(&planes[k, y0+j, 0]+x0+first, factors[k], <int> (last-first), out+j*side+first)


cdef void filter_rows(const float *c, Py_ssize_t side, Py_ssize_t size, Py_ssize_t step, const float *w, const float *d,
                      bint slopes, float *value, float *slope) noexcept nogil:
    """Six-tap filter along x of every row, values and slopes."""
    cdef Py_ssize_t r, i
    cdef const float *a
    cdef float *v
    cdef float *g
    for r in range(side):
        a, v, g = c+r*side, value+r*size, slope+r*size
        if step == 1:
            cs_six_taps(a, 1, w, <int> size, v)
            if slopes:
                cs_six_taps(a, 1, d, <int> size, g)
        else:
            for i in range(size):
                v[i] = w[0]*a[0]+w[1]*a[1]+w[2]*a[2]+w[3]*a[3]+w[4]*a[4]+w[5]*a[5]
                if slopes:
                    g[i] = d[0]*a[0]+d[1]*a[1]+d[2]*a[2]+d[3]*a[3]+d[4]*a[4]+d[5]*a[5]
                a += step


cdef void filter_columns(const float *rows, Py_ssize_t size, Py_ssize_t step, const float *w, float factor,
                         float *out) noexcept nogil:
    """Six-tap filter along y."""
    cdef Py_ssize_t j
    cdef int q
    cdef float[6] taps
    for q in range(6):
        taps[q] = factor*w[q]
    for j in range(size):
        cs_six_taps(rows+j*step*size, size, taps, <int> size, out+j*size)


def render(const float[:, :, ::1] planes, const float[:, ::1] factors, const double[::1] x, const double[::1] y,
           Py_ssize_t size, Py_ssize_t oversampling, bint derivatives):
    """Stamps of stars, centred on the pixels floor(x+0.5), floor(y+0.5).

    Parameters
    ----------
    planes : memoryview, shape (k, m, m), float32
        Quintic B-spline coefficients, m odd, the PSF's centre in the middle; `oversampling` samples a pixel.
    factors : memoryview, shape (n, k), float32
        Factor of each plane for each star.
    x, y : memoryview, shape (n,), float64
        Positions, pixels.
    size : int
        Odd side of the stamps.
    oversampling : int
        Samples of the planes in a pixel.
    derivatives : bool
        Also give the gradient with respect to the position.

    Returns
    -------
    value, ddx, ddy : ndarray, shape (n, size, size), float32
        The last two empty without derivatives.

    Raises
    ------
    ValueError
        When shapes do not fit together or a size is even.
    MemoryError
        When scratch memory cannot be had.
    """
    cdef Py_ssize_t n = x.shape[0], k, half = size//2, side = oversampling*(size-1)+6, x0, y0, middle = planes.shape[1]//2
    if y.shape[0] != n or factors.shape[0] != n or factors.shape[1] != planes.shape[0]:
        raise ValueError("x, y and factors must be as many, and factors as many a star as planes")
    if size % 2 == 0 or planes.shape[1] % 2 == 0 or planes.shape[1] != planes.shape[2] or oversampling < 1:
        raise ValueError("stamps and planes must be square with odd sides, oversampling at least 1")
    many = n if derivatives else 0
    stamps = np.empty((n, size, size), np.float32)
    slopes_x, slopes_y = np.empty((many, size, size), np.float32), np.empty((many, size, size), np.float32)
    cdef float[:, :, ::1] value = stamps, ddx = slopes_x, ddy = slopes_y
    cdef float[6] wx, dx, wy, dy
    cdef double u
    cdef float *scratch = <float *> malloc((side*side+2*side*size)*sizeof(float))
    if scratch == NULL:
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    cdef float *rows = scratch+side*side
    cdef float *slope = rows+side*size
    with nogil:
        for k in range(n):
            u = middle-oversampling*(half+x[k]-floor(x[k]+0.5))
            x0 = <Py_ssize_t> floor(u)
            spline_weights(u-x0, wx, dx)
            u = middle-oversampling*(half+y[k]-floor(y[k]+0.5))
            y0 = <Py_ssize_t> floor(u)
            spline_weights(u-y0, wy, dy)
            combine(planes, &factors[k, 0], y0-2, x0-2, side, scratch)
            filter_rows(scratch, side, size, oversampling, wx, dx, derivatives, rows, slope)
            filter_columns(rows, size, oversampling, wy, 1, &value[k, 0, 0])
            if derivatives:
                # a source that moves up by one pixel moves the point looked at down by one
                filter_columns(slope, size, oversampling, wy, -oversampling, &ddx[k, 0, 0])
                filter_columns(rows, size, oversampling, dy, -oversampling, &ddy[k, 0, 0])
    free(scratch)
    return stamps, slopes_x, slopes_y
