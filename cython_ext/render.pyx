"""Rendering of stamps from grids of B-spline coefficients.

A PSF is a linear combination of grids of quintic B-spline coefficients; the factors, polynomials of the position, come
with each star. A shift by part of a pixel is then a separable six-tap filter, and the same coefficients give the exact
gradient. Pixels at and past the grids' edge are zero. No global mutable state.
"""
import numpy as np

from libc.math cimport floor
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from crowdsource.cython_ext.kinds cimport number
from crowdsource.cython_ext.stamps cimport LARGEST, Part, part_on_image

# positions beyond it, pixels, lie far off any image
cdef double FAR = 2.**40

cdef extern from "simd.h" nogil:
    int cs_kind
    void cs_six_taps(const float *a, Py_ssize_t a_row, const Py_ssize_t *at, const float *w, int rows, int n, int keep,
                     float *out, Py_ssize_t out_row) noexcept
    void cs_combine(const float *a, Py_ssize_t a_row, Py_ssize_t plane, const float *f, int count, int rows, int n, float *out,
                    Py_ssize_t out_row) noexcept
    void cs_add(const float *a, Py_ssize_t a_row, float f, int rows, int n, float *out, Py_ssize_t out_row) noexcept

cs_kind = number


cdef inline void spline_weights(double t, float *w, float *d) noexcept nogil:
    """Values and slopes of the six quintic B-splines that reach a point t in [0, 1) past the third knot.

    Unser, Aldroubi and Eden (1993), "B-spline signal processing: part I".
    """
    cdef double s = 1-t, a = 1+t, b = 1+s, c = 2+t, e = 2+s
    cdef double t4 = (t*t)*(t*t), s4 = (s*s)*(s*s), a4 = (a*a)*(a*a), b4 = (b*b)*(b*b), c4 = (c*c)*(c*c), e4 = (e*e)*(e*e)
    w[0] = <float> (s4*s*(1/120.))
    w[5] = <float> (t4*t*(1/120.))
    w[1] = <float> ((b4*b-6*s4*s)*(1/120.))
    w[4] = <float> ((a4*a-6*t4*t)*(1/120.))
    w[2] = <float> ((e4*e-6*b4*b+15*s4*s)*(1/120.))
    w[3] = <float> ((c4*c-6*a4*a+15*t4*t)*(1/120.))
    d[0] = <float> (-s4*(1/24.))
    d[5] = <float> (t4*(1/24.))
    d[1] = <float> (-(b4-6*s4)*(1/24.))
    d[4] = <float> ((a4-6*t4)*(1/24.))
    d[2] = <float> (-(e4-6*b4+15*s4)*(1/24.))
    d[3] = <float> ((c4-6*a4+15*t4)*(1/24.))


cdef struct Workspace:
    # a stamp has size rows of width floats, the first `size` of which count; under it lies a box of coefficients, high rows in
    # as many phases along x as there are samples in a pixel, each of `lane` floats: taps of neighbouring pixels are neighbours
    Py_ssize_t size, width, oversampling, high, lane, wide, count, middle
    void *memory
    float *grids
    float *box
    float *rows
    float *slopes


cdef inline Py_ssize_t aligned(Py_ssize_t n) noexcept nogil:
    """So many floats and some more, that the next ones may lie well in memory."""
    return (n+15)//16*16


cdef bint prepare(Workspace *s, const float[:, :, ::1] grids, Py_ssize_t size, Py_ssize_t width,
                  Py_ssize_t oversampling) noexcept nogil:
    """Set up a workspace with what stamps need of the grids, row by row; gives 0 when there is no memory. Free `memory`."""
    cdef Py_ssize_t m = grids.shape[1], deep, j, k, phase, i, row, column, first
    cdef float *to
    s.size, s.width, s.oversampling, s.count, s.middle = size, width, oversampling, grids.shape[0], m//2
    s.high = oversampling*(size-1)+6
    s.lane = (width+(oversampling+5)//oversampling+7)//8*8
    s.wide = oversampling*s.lane
    deep = s.high+oversampling
    s.memory = calloc(aligned(deep*s.count*s.wide)+aligned(s.high*s.wide)+2*aligned(s.high*width)+16, sizeof(float))
    if s.memory == NULL:
        return 0
    s.grids = <float *> ((<uintptr_t> s.memory+63)//64*64)
    s.box = s.grids+aligned(deep*s.count*s.wide)
    s.rows = s.box+aligned(s.high*s.wide)
    s.slopes = s.rows+aligned(s.high*width)
    first = corner(s)-2
    for j in range(max(0, -first), min(deep, m-first)):
        for k in range(s.count):
            to = s.grids+(j*s.count+k)*s.wide
            for phase in range(oversampling):
                for i in range(s.lane):
                    column = first+phase+oversampling*i
                    if 0 <= column < m:
                        to[phase*s.lane+i] = grids[k, first+j, column]
    return 1


cdef inline Py_ssize_t corner(const Workspace *s) noexcept nogil:
    """The least coefficient, along either axis, that is the third of a stamp's first six."""
    return s.middle-s.oversampling*(s.size//2)-(s.oversampling+1)//2


cdef inline Py_ssize_t begin(const Workspace *s, double x, float *w, float *d) noexcept nogil:
    """How many coefficients past the least one a stamp around x begins, and the weights of its taps and slopes.

    Where x is not finite the weights are NaN, and so is the stamp.
    """
    cdef double u = s.middle-s.oversampling*(s.size//2+x-floor(x+0.5)), low = floor(u), past = low-corner(s)
    spline_weights(u-low, w, d)
    # written so that NaN, which is no whole number, gives 0
    return min(<Py_ssize_t> past, s.oversampling) if past > 0 else 0


cdef inline Py_ssize_t first_pixel(double x, Py_ssize_t size) noexcept nogil:
    """First pixel along an axis of a stamp centred on floor(x+0.5); far off any image where x is not finite or large."""
    cdef double middle = floor(x+0.5)
    return <Py_ssize_t> middle-size//2 if -FAR < middle < FAR else <Py_ssize_t> FAR


cdef void one_stamp(const float *factors, double x, double y, const Workspace *s, float *value, float *ddx,
                    float *ddy) noexcept nogil:
    """One star's stamp and, unless ddx is NULL, its gradient."""
    cdef float[6] wx, dx, wy, dy
    cdef Py_ssize_t[6] along, across
    cdef Py_ssize_t left = begin(s, x, wx, dx), low = begin(s, y, wy, dy), step = s.oversampling*s.width
    cdef int k, size = <int> s.size, width = <int> s.width, high = <int> s.high
    for k in range(6):
        along[k] = (left+k) % s.oversampling*s.lane+(left+k)//s.oversampling
        across[k] = k*width
    cs_combine(s.grids+low*s.count*s.wide, s.count*s.wide, s.wide, factors, <int> s.count, high, <int> s.wide, s.box, s.wide)
    cs_six_taps(s.box, s.wide, along, wx, high, width, width, s.rows, width)
    cs_six_taps(s.rows, step, across, wy, size, width, size, value, width)
    if ddx != NULL:
        # a source that moves up by one pixel moves the point looked at down by one
        for k in range(6):
            dx[k], dy[k] = -s.oversampling*dx[k], -s.oversampling*dy[k]
        cs_six_taps(s.box, s.wide, along, dx, high, width, width, s.slopes, width)
        cs_six_taps(s.slopes, step, across, wy, size, width, size, ddx, width)
        cs_six_taps(s.rows, step, across, dy, size, width, size, ddy, width)


cdef void one_transposed(const float *image, const float *factors, double x, double y, const Workspace *s) noexcept nogil:
    """Add to the grids what each coefficient would add to one star's stamp, times the image."""
    cdef float[6] wx, dx, wy, dy
    cdef Py_ssize_t left = begin(s, x, wx, dx), low = begin(s, y, wy, dy)
    cdef int k, size = <int> s.size, width = <int> s.width, high = <int> s.high, wide = <int> s.wide
    memset(s.rows, 0, s.high*s.width*sizeof(float))
    memset(s.box, 0, s.high*s.wide*sizeof(float))
    for k in range(6):
        cs_add(image, width, wy[k], size, width, s.rows+k*width, s.oversampling*s.width)
    for k in range(6):
        cs_add(s.rows, width, wx[k], high, width, s.box+(left+k) % s.oversampling*s.lane+(left+k)//s.oversampling, s.wide)
    for k in range(<int> s.count):
        cs_add(s.box, s.wide, factors[k], high, wide, s.grids+(low*s.count+k)*s.wide, s.count*s.wide)


cdef int check(const float[:, :, ::1] grids, const float[:, ::1] factors, const double[::1] x, const double[::1] y,
               Py_ssize_t size, Py_ssize_t oversampling) except -1:
    """Raise ValueError when shapes do not fit together, a side is even, or a number is out of range."""
    if y.shape[0] != x.shape[0] or factors.shape[0] != x.shape[0] or factors.shape[1] != grids.shape[0] or grids.shape[0] == 0:
        raise ValueError("x, y and factors must be as many, and factors as many a star as there are grids, at least one")
    if size % 2 == 0 or grids.shape[1] % 2 == 0 or grids.shape[1] != grids.shape[2]:
        raise ValueError(f"stamps of {size} and grids of {grids.shape[1]} by {grids.shape[2]}: both must be square, sides odd")
    if not (1 <= size <= LARGEST and 1 <= oversampling <= LARGEST//size):
        raise ValueError(f"stamps of {size} pixels with {oversampling} samples in each: at least 1 of both, at most {LARGEST} "
                         "along a side, can be rendered")
    return 0


def render(const float[:, :, ::1] grids, const float[:, ::1] factors, const double[::1] x, const double[::1] y,
           Py_ssize_t size, Py_ssize_t oversampling, bint derivatives):
    """Stamps of stars, centred on the pixels floor(x+0.5), floor(y+0.5).

    Parameters
    ----------
    grids : memoryview, shape (k, m, m), float32
        Quintic B-spline coefficients, m odd, the PSF's centre in the middle; `oversampling` samples a pixel.
    factors : memoryview, shape (n, k), float32
        Factor of each grid for each star.
    x, y : memoryview, shape (n,), float64
        Positions, pixels; stamps are NaN where one is not finite.
    size : int
        Odd side of the stamps.
    oversampling : int
        Samples of the grids in a pixel.
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
    check(grids, factors, x, y, size, oversampling)
    many = n if derivatives else 0
    stamps = np.empty((n, size, size), np.float32)
    slopes_x, slopes_y = np.empty((many, size, size), np.float32), np.empty((many, size, size), np.float32)
    cdef float[:, :, ::1] value = stamps, ddx = slopes_x, ddy = slopes_y
    cdef Workspace work
    if not prepare(&work, grids, size, size, oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            if derivatives:
                one_stamp(&factors[k, 0], x[k], y[k], &work, &value[k, 0, 0], &ddx[k, 0, 0], &ddy[k, 0, 0])
            else:
                one_stamp(&factors[k, 0], x[k], y[k], &work, &value[k, 0, 0], NULL, NULL)
    free(work.memory)
    return stamps, slopes_x, slopes_y


def render_transposed(const float[:, :, ::1] images, const float[:, ::1] factors, const double[::1] x, const double[::1] y,
                      Py_ssize_t side, Py_ssize_t oversampling):
    """Sums over images of stars of what each coefficient would add to them: the transpose of `render`, which is linear.

    Parameters
    ----------
    images : memoryview, shape (n, size, size), float32
        Of each star, size odd.
    factors, x, y, oversampling
        As `render`.
    side : int
        Odd side of the grids.

    Returns
    -------
    ndarray, shape (k, side, side), float32

    Raises
    ------
    ValueError
        When shapes do not fit together or a size is even.
    MemoryError
        When scratch memory cannot be had.
    """
    cdef Py_ssize_t n = x.shape[0], size = images.shape[1], count = factors.shape[1], k, j, phase, i, first, row, column
    sums = np.zeros((count, side, side), np.float32)
    cdef float[:, :, ::1] out = sums
    check(out, factors, x, y, size, oversampling)
    if images.shape[0] != n or images.shape[2] != size:
        raise ValueError(f"images must be square, and as many as stars: {images.shape[0]} of {images.shape[1]} by "
                         f"{images.shape[2]} for {n}")
    cdef Workspace work
    cdef const float *grid
    if not prepare(&work, out, size, size, oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            one_transposed(&images[k, 0, 0], &factors[k, 0], x[k], y[k], &work)
        first = corner(&work)-2
        for j in range(work.high+oversampling):
            row = first+j
            if not 0 <= row < side:
                continue
            for k in range(count):
                grid = work.grids+(j*count+k)*work.wide
                for phase in range(oversampling):
                    for i in range(work.lane):
                        column = first+phase+oversampling*i
                        if 0 <= column < side:
                            out[k, row, column] = grid[phase*work.lane+i]
    free(work.memory)
    return sums


def render_packed(const float[:, :, ::1] grids, const float[:, ::1] factors, const double[::1] x, const double[::1] y,
                  Py_ssize_t size, Py_ssize_t oversampling, float[::1] buffer, const Py_ssize_t[::1] offset, Py_ssize_t stride):
    """Stamps and gradients as `render`, straight into the flat buffer of the design kernels.

    Parameters
    ----------
    grids, factors, x, y, size, oversampling
        As `render`.
    buffer : memoryview, float32
        Changed: three stamps of `size` rows, `stride` apart, zero past the size, for each star.
    offset : memoryview, shape (n,)
        Where each star's stamps start.
    stride : int
        Distance of rows, at least size.

    Raises
    ------
    ValueError
        When shapes do not fit together or the stamps do not fit into the buffer.
    MemoryError
        When scratch memory cannot be had.
    """
    cdef Py_ssize_t n = x.shape[0], k, one
    check(grids, factors, x, y, size, oversampling)
    if not size <= stride <= LARGEST or offset.shape[0] != n:
        raise ValueError(f"rows of {size} pixels cannot be {stride} apart, or there are {offset.shape[0]} offsets for {n} stars")
    one = size*stride
    if n and not 0 <= np.min(offset) <= np.max(offset) <= buffer.shape[0]-3*one:
        raise ValueError(f"the stamps do not fit into the buffer: three of {size} rows, {stride} apart, for each of {n} stars, "
                         f"in {buffer.shape[0]} values")
    cdef Workspace work
    cdef float *out
    if not prepare(&work, grids, size, stride, oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            out = &buffer[offset[k]]
            one_stamp(&factors[k, 0], x[k], y[k], &work, out, out+one, out+2*one)
    free(work.memory)


def add_rendered(float[:, ::1] image, const float[:, :, ::1] grids, const float[:, ::1] factors, const double[::1] x,
                 const double[::1] y, const double[::1] flux, Py_ssize_t size, Py_ssize_t oversampling, Py_ssize_t top=0):
    """Add stars to an image, in place; what leaves the image is cut, and stars whose position is not finite are left out.

    Parameters
    ----------
    image : memoryview, shape (ny, nx), float32
        Changed.
    grids, factors, x, y, size, oversampling
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
    cdef Py_ssize_t n = x.shape[0], ny = image.shape[0], nx = image.shape[1], k, x0, y0, wide, width = (size+7)//8*8
    check(grids, factors, x, y, size, oversampling)
    if flux.shape[0] != n or not -FAR <= top <= FAR:
        raise ValueError(f"x and flux must be as many, and top, {top}, a row")
    stamp = np.empty((size, width), np.float32)
    cdef float[:, ::1] value = stamp
    cdef Part part
    cdef Workspace work
    if not prepare(&work, grids, size, width, oversampling):
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    with nogil:
        for k in range(n):
            x0, y0 = first_pixel(x[k], size), first_pixel(y[k], size)-top
            part = part_on_image(x0, y0, size, ny, nx)
            if part.high > 0:
                one_stamp(&factors[k, 0], x[k], y[k], &work, &value[0, 0], NULL, NULL)
                # past its size a row holds zeros, which may be added where there is room
                wide = min(width, nx-x0)-part.left
                cs_add(&value[part.low, part.left], width, <float> flux[k], part.high, <int> wide,
                       &image[y0+part.low, x0+part.left], nx)
    free(work.memory)
