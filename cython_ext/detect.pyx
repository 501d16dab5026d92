"""Correlation with a small kernel, and local maxima. No global mutable state."""
import numpy as np

from libc.string cimport memcpy, memset
from crowdsource.cython_ext.kinds cimport number
from crowdsource.cython_ext.stamps cimport LARGEST

cdef extern from "simd.h" nogil:
    int cs_kind
    void cs_correlate(const float *image, Py_ssize_t row, const float *kernel, int size, int n, float *out,
                      Py_ssize_t out_row) noexcept

cs_kind = number


cdef enum:
    # so many rows are worked on at once, so that they stay in the processor's cache; a multiple of four
    STRIP = 32


cdef inline void times(const float *a, const float *b, Py_ssize_t n, float *out) noexcept nogil:
    """Products of two rows, or the first of them where there is no other."""
    cdef Py_ssize_t i
    if b == NULL:
        memcpy(out, a, n*sizeof(float))
        return
    for i in range(n):
        out[i] = a[i]*b[i]


def correlate(const float[:, ::1] image, const float[:, ::1] kernel, const float[:, ::1] weight=None,
              const float[:, ::1] factor=None, Py_ssize_t first=0, last=None, float[:, ::1] out=None):
    """Correlate an image, times weights, with a small odd kernel, and multiply by factors; pixels off the image count as zero.

    Parameters
    ----------
    image : memoryview, shape (ny, nx), float32
    kernel : memoryview, shape (size, size), float32
        size odd.
    weight, factor : memoryview, shape (ny, nx), float32, optional
    first, last : int
        The rows to compute, to the end when `last` is not given.
    out : memoryview, shape (ny, nx), float32, optional
        Where these rows are put.

    Returns
    -------
    ndarray, shape (ny, nx), float32
        ``out[y, x] = factor[y, x] sum kernel[j, i] (image*weight)[y+j-r, x+i-r]`` with r = size//2; `out` where it is given, else
        other rows than those asked for hold anything.

    Raises
    ------
    ValueError
        When the kernel is not square with an odd side, shapes differ, or the rows are not the image's.
    """
    cdef Py_ssize_t ny = image.shape[0], nx = image.shape[1], y, j, top, high, wide = (nx+31)//32*32
    cdef Py_ssize_t stop = ny if last is None else last
    if kernel.shape[1] != kernel.shape[0] or kernel.shape[0] % 2 == 0 or kernel.shape[0] > LARGEST or nx > LARGEST:
        raise ValueError(f"the kernel must be square with an odd side, and neither it nor a row longer than {LARGEST} pixels")
    cdef int size = <int> kernel.shape[0], r = size//2
    if not 0 <= first <= stop <= ny:
        raise ValueError(f"rows {first} to {stop} are not those of an image of {ny}")
    if not (weight is None or (weight.shape[0] == ny and weight.shape[1] == nx)):
        raise ValueError("image and weight must have the same shape")
    if not (factor is None or (factor.shape[0] == ny and factor.shape[1] == nx)):
        raise ValueError("image and factor must have the same shape")
    if not (out is None or (out.shape[0] == ny and out.shape[1] == nx)):
        raise ValueError("image and out must have the same shape")
    cdef float[:, ::1] result = np.empty((ny, nx), np.float32) if out is None else out
    if ny*nx == 0:
        return np.asarray(result)
    cdef Py_ssize_t row = wide+2*r+8
    # between columns of zeros; four rows are computed at once, the last perhaps unused, with a kernel between rows of zeros
    cdef float[:, ::1] window = np.zeros((STRIP+3+2*r, row), np.float32), lines = np.empty((4, wide), np.float32)
    cdef const float[:, ::1] taps = np.pad(kernel, ((3, 3), (0, 0)))
    cdef const float *weights = &weight[0, 0] if weight is not None else NULL
    cdef const float *factors = &factor[0, 0] if factor is not None else NULL
    with nogil:
        for j in range((stop-first+STRIP-1)//STRIP):
            top = first+j*STRIP
            high = min(STRIP, stop-top)
            for y in range(top-r, top+high+r):
                if 0 <= y < ny:
                    times(&image[y, 0], weights+y*nx if weights else NULL, nx, &window[y-top+r, r])
                else:
                    memset(&window[y-top+r, r], 0, nx*sizeof(float))
            for y in range(top, top+high):
                if (y-top) % 4 == 0:
                    cs_correlate(&window[y-top, 0], row, &taps[3, 0], size, <int> wide, &lines[0, 0], wide)
                times(&lines[(y-top) % 4, 0], factors+y*nx if factors else NULL, nx, &result[y, 0])
    return np.asarray(result)


def correlate_at(const float[:, ::1] image, const float[:, ::1] weight, const float[:, ::1] kernel, const Py_ssize_t[::1] y,
                 const Py_ssize_t[::1] x):
    """An image times weights, correlated with a small odd kernel as `correlate` does, at some pixels alone.

    Parameters
    ----------
    image, weight : memoryview, shape (ny, nx), float32
    kernel : memoryview, shape (size, size), float32
    y, x : memoryview, shape (n,)
        Pixels of the image.

    Returns
    -------
    ndarray, shape (n,), float32

    Raises
    ------
    ValueError
        When shapes differ, the kernel is not square with an odd side, or a pixel lies off the image.
    """
    cdef Py_ssize_t ny = image.shape[0], nx = image.shape[1], n = y.shape[0], size = kernel.shape[0], r = size//2, k, j, i
    if weight.shape[0] != ny or weight.shape[1] != nx or x.shape[0] != n:
        raise ValueError("image and weight must have the same shape, and y and x the same length")
    if kernel.shape[1] != size or size % 2 == 0:
        raise ValueError("the kernel must be square with an odd side")
    if n and not (0 <= np.min(y) <= np.max(y) < ny and 0 <= np.min(x) <= np.max(x) < nx):
        raise ValueError("a pixel lies off the image")
    out = np.empty(n, np.float32)
    cdef float[::1] result = out
    cdef const float *a
    cdef const float *w
    cdef const float *c
    cdef float s
    cdef Py_ssize_t first, last
    with nogil:
        for k in range(n):
            s = 0
            first, last = max(0, r-x[k]), min(size, nx+r-x[k])
            for j in range(max(0, r-y[k]), min(size, ny+r-y[k])):
                a, w, c = &image[y[k]+j-r, 0]+(x[k]-r), &weight[y[k]+j-r, 0]+(x[k]-r), &kernel[j, 0]
                for i in range(first, last):
                    s += c[i]*a[i]*w[i]
            result[k] = s
    return out


def bits_near(const unsigned short[:, ::1] mask, unsigned short bits, const Py_ssize_t[::1] y, const Py_ssize_t[::1] x,
              int steps):
    """Whether any of some bits is set within so many steps, along the axes, of each pixel.

    Parameters
    ----------
    mask : memoryview, shape (ny, nx), uint16
    bits : int
    y, x : memoryview, shape (n,)
        Pixels; what lies off the image has no bits.
    steps : int
        Not negative.

    Returns
    -------
    ndarray, shape (n,), bool

    Raises
    ------
    ValueError
        When lengths differ or `steps` is out of range.
    """
    cdef Py_ssize_t ny = mask.shape[0], nx = mask.shape[1], n = y.shape[0], k, j, i, wide
    if x.shape[0] != n or not 0 <= steps <= LARGEST:
        raise ValueError(f"y and x must have the same length, and steps, {steps}, be from 0 to {LARGEST}")
    out = np.zeros(n, np.uint8)
    cdef unsigned char[::1] found = out
    cdef unsigned short seen
    with nogil:
        for k in range(n):
            seen = 0
            # nothing is subtracted from a position before it is known to be small
            if not (-steps <= y[k] < ny+steps and -steps <= x[k] < nx+steps):
                continue
            for j in range(max(0, y[k]-steps), min(ny, y[k]+steps+1)):
                wide = steps-(j-y[k] if j > y[k] else y[k]-j)
                for i in range(max(0, x[k]-wide), min(nx, x[k]+wide+1)):
                    seen |= mask[j, i]
            found[k] = seen & bits > 0
    return out.view(bool)


def local_maxima(const float[:, ::1] image, float threshold):
    """Pixels above a threshold that are the largest of their 3x3 box.

    Of equal neighbours the first in reading order counts; NaN never does.

    Parameters
    ----------
    image : memoryview, shape (ny, nx), float32
    threshold : float
        Only pixels above it.

    Returns
    -------
    y, x : ndarray, int64
    """
    cdef Py_ssize_t ny = image.shape[0], nx = image.shape[1], y, x, j, i, count = 0
    cdef float v, w
    cdef bint top
    found = np.empty((ny*((nx+1)//2)+1, 2), np.int64) if ny*nx < 4096 else np.empty((ny*nx//4+nx+ny+1, 2), np.int64)
    cdef long long[:, ::1] peak = found
    with nogil:
        for y in range(ny):
            for x in range(nx):
                v = image[y, x]
                if not v > threshold:
                    continue
                top = True
                for j in range(max(0, y-1), min(ny, y+2)):
                    for i in range(max(0, x-1), min(nx, x+2)):
                        w = image[j, i]
                        if w > v or (w == v and (j < y or (j == y and i < x))):
                            top = False
                            break
                    if not top:
                        break
                if top and count < peak.shape[0]:
                    peak[count, 0], peak[count, 1] = y, x
                    count += 1
    return found[:count, 0].copy(), found[:count, 1].copy()
