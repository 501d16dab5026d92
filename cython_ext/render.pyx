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
    void cs_six_taps(const float *a, Py_ssize_t a_row, Py_ssize_t step, const float *w, int rows, int n, float *out,
                     Py_ssize_t out_row) noexcept
    void cs_combine(const float *a, Py_ssize_t a_row, Py_ssize_t plane, const float *f, int count, int rows, int n, float *out,
                    Py_ssize_t out_row) noexcept
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


cdef void combine(const float[:, :, ::1] planes, const float *factors, Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t high,
                  Py_ssize_t wide, float *out) noexcept nogil:
    """The star's own coefficients on a box of the planes; zero where the box leaves them."""
    cdef Py_ssize_t m = planes.shape[1], left = max(0, -x0), right = min(wide, m-x0), low = max(0, -y0), top = min(high, m-y0)
    if left > 0 or low > 0 or right < wide or top < high:
        memset(out, 0, high*wide*sizeof(float))
    if right > left and top > low:
        cs_combine(&planes[0, y0+low, 0]+x0+left, m, m*m, factors, <int> planes.shape[0], <int> (top-low), <int> (right-left),
                   out+low*wide+left, wide)


cdef void filter_rows(const float *c, Py_ssize_t high, Py_ssize_t wide, Py_ssize_t width, Py_ssize_t step, const float *w,
                      float *out) noexcept nogil:
    """Six-tap filter along x of every row."""
    cdef Py_ssize_t r, i
    cdef const float *a
    if step == 1:
        cs_six_taps(c, wide, 1, w, <int> high, <int> width, out, width)
        return
    for r in range(high):
        for i in range(width):
            a = c+r*wide+i*step
            out[r*width+i] = w[0]*a[0]+w[1]*a[1]+w[2]*a[2]+w[3]*a[3]+w[4]*a[4]+w[5]*a[5]


cdef void filter_columns(const float *rows, Py_ssize_t size, Py_ssize_t width, Py_ssize_t step, const float *w, float factor,
                         float *out) noexcept nogil:
    """Six-tap filter along y."""
    cdef int q
    cdef float[6] taps
    for q in range(6):
        taps[q] = factor*w[q]
    cs_six_taps(rows, step*width, width, taps, <int> size, <int> width, out, width)


cdef struct Workspace:
    # a stamp has size rows of width floats; the box of coefficients under it is high x wide
    Py_ssize_t size, width, high, wide, oversampling
    float *box
    float *rows
    float *slopes


cdef bint prepare(Workspace *s, Py_ssize_t size, Py_ssize_t width, Py_ssize_t oversampling) noexcept nogil:
    """Set up a workspace; gives 0 when there is no memory. `box` must be freed."""
    s.size, s.width, s.oversampling = size, width, oversampling
    s.high, s.wide = oversampling*(size-1)+6, oversampling*(width-1)+6
    s.box = <float *> malloc((s.high*s.wide+2*s.high*width)*sizeof(float))
    s.rows = s.box+s.high*s.wide
    s.slopes = s.rows+s.high*width
    return s.box != NULL


cdef void one_stamp(const float[:, :, ::1] planes, const float *factors, double x, double y, const Workspace *s, float *value,
                    float *ddx, float *ddy) noexcept nogil:
    """One star's stamp and, unless ddx is NULL, its gradient."""
    cdef float[6] wx, dx, wy, dy
    cdef Py_ssize_t half = s.size//2, middle = planes.shape[1]//2, x0, y0
    cdef double u = middle-s.oversampling*(half+x-floor(x+0.5))
    x0 = <Py_ssize_t> floor(u)
    spline_weights(u-x0, wx, dx)
    u = middle-s.oversampling*(half+y-floor(y+0.5))
    y0 = <Py_ssize_t> floor(u)
    spline_weights(u-y0, wy, dy)
    combine(planes, factors, y0-2, x0-2, s.high, s.wide, s.box)
    filter_rows(s.box, s.high, s.wide, s.width, s.oversampling, wx, s.rows)
    filter_columns(s.rows, s.size, s.width, s.oversampling, wy, 1, value)
    if ddx != NULL:
        filter_rows(s.box, s.high, s.wide, s.width, s.oversampling, dx, s.slopes)
        # a source that moves up by one pixel moves the point looked at down by one
        filter_columns(s.slopes, s.size, s.width, s.oversampling, wy, -s.oversampling, ddx)
        filter_columns(s.rows, s.size, s.width, s.oversampling, dy, -s.oversampling, ddy)


def check(const float[:, :, ::1] planes, const float[:, ::1] factors, const double[::1] x, const double[::1] y, Py_ssize_t size,
          Py_ssize_t oversampling):
    """Raise ValueError when shapes do not fit together or a side is even."""
    if y.shape[0] != x.shape[0] or factors.shape[0] != x.shape[0] or factors.shape[1] != planes.shape[0]:
        raise ValueError("x, y and factors must be as many, and factors as many a star as planes")
    if size % 2 == 0 or planes.shape[1] % 2 == 0 or planes.shape[1] != planes.shape[2] or oversampling < 1:
        raise ValueError("stamps and planes must be square with odd sides, oversampling at least 1")


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
    cdef Py_ssize_t n = x.shape[0], k
    check(planes, factors, x, y, size, oversampling)
    many = n if derivatives else 0
    stamps = np.empty((n, size, size), np.float32)
    slopes_x, slopes_y = np.empty((many, size, size), np.float32), np.empty((many, size, size), np.float32)
    cdef float[:, :, ::1] value = stamps, ddx = slopes_x, ddy = slopes_y
    cdef Workspace work
    if not prepare(&work, size, size, oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            if derivatives:
                one_stamp(planes, &factors[k, 0], x[k], y[k], &work, &value[k, 0, 0], &ddx[k, 0, 0], &ddy[k, 0, 0])
            else:
                one_stamp(planes, &factors[k, 0], x[k], y[k], &work, &value[k, 0, 0], NULL, NULL)
    free(work.box)
    return stamps, slopes_x, slopes_y


def render_packed(const float[:, :, ::1] planes, const float[:, ::1] factors, const double[::1] x, const double[::1] y,
                  Py_ssize_t size, Py_ssize_t oversampling, float[::1] buffer, const Py_ssize_t[::1] offset, Py_ssize_t stride):
    """Stamps and gradients as `render`, straight into the flat buffer of the design kernels.

    Parameters
    ----------
    planes, factors, x, y, size, oversampling
        As `render`.
    buffer : memoryview, float32
        Changed: three planes of `size` rows, `stride` apart, zero past the size, for each star.
    offset : memoryview, shape (n,)
        Where each star's planes start.
    stride : int
        Distance of rows, at least size.

    Raises
    ------
    ValueError
        When shapes do not fit together or the stamps do not fit into the buffer.
    MemoryError
        When scratch memory cannot be had.
    """
    cdef Py_ssize_t n = x.shape[0], k, j, i, plane = size*stride
    check(planes, factors, x, y, size, oversampling)
    if stride < size or offset.shape[0] != n or (n and (np.min(offset) < 0 or np.max(offset)+3*plane > buffer.shape[0])):
        raise ValueError("the stamps do not fit into the buffer")
    cdef Workspace work
    cdef float *out
    if not prepare(&work, size, stride, oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            out = &buffer[offset[k]]
            one_stamp(planes, &factors[k, 0], x[k], y[k], &work, out, out+plane, out+2*plane)
            for j in range(3*size):
                for i in range(size, stride):
                    out[j*stride+i] = 0
    free(work.box)


def add_rendered(float[:, ::1] image, const float[:, :, ::1] planes, const float[:, ::1] factors, const double[::1] x,
                 const double[::1] y, const double[::1] flux, Py_ssize_t size, Py_ssize_t oversampling, Py_ssize_t top=0):
    """Add stars to an image, in place; what leaves the image is cut.

    Parameters
    ----------
    image : memoryview, shape (ny, nx), float32
        Changed.
    planes, factors, x, y, size, oversampling
        As `render`.
    flux : memoryview, shape (n,), float64
    top : int
        Row of the whole image, in which positions count, that is the first of `image`.

    Raises
    ------
    ValueError
        When shapes do not fit together.
    MemoryError
        When scratch memory cannot be had.
    """
    cdef Py_ssize_t n = x.shape[0], ny = image.shape[0], nx = image.shape[1], k, j, x0, y0, first, last
    check(planes, factors, x, y, size, oversampling)
    if flux.shape[0] != n:
        raise ValueError("x and flux must be as many")
    stamp = np.empty((size, size+8-size % 8), np.float32)
    cdef float[:, ::1] value = stamp
    cdef Workspace work
    if not prepare(&work, size, value.shape[1], oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            x0, y0 = <Py_ssize_t> floor(x[k]+0.5)-size//2, <Py_ssize_t> floor(y[k]+0.5)-size//2-top
            first, last = max(0, -x0), min(size, nx-x0)
            if last <= first or y0 >= ny or y0+size <= 0:
                continue
            one_stamp(planes, &factors[k, 0], x[k], y[k], &work, &value[0, 0], NULL, NULL)
            for j in range(max(0, -y0), min(size, ny-y0)):
                cs_add(&value[j, first], <float> flux[k], <int> (last-first), &image[y0+j, x0+first])
    free(work.box)
