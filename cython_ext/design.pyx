"""Design matrix and normal equations of many overlapping stamps.

Stamps live in one flat float32 buffer. Source k owns three planes (PSF, d/dx, d/dy), each of ``size[k]`` rows that are
``stride[k]`` floats apart, a multiple of eight; the floats past the size are zero. Its lower left pixel is
``(x0[k], y0[k])`` of the image, which it may leave on any side. No global mutable state.
"""
import numpy as np

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

cdef extern from "simd.h" nogil:
    void cs_products(const float *t, Py_ssize_t t_plane, Py_ssize_t t_row, const float *p, Py_ssize_t p_plane,
                     Py_ssize_t p_row, int rows, int vectors, double *sums) noexcept
    void cs_weigh(const float *w, const float *r, Py_ssize_t row, const float *p, Py_ssize_t p_plane, Py_ssize_t p_row, int rows,
                  int n, float *t, Py_ssize_t t_plane, Py_ssize_t t_row, double *sums) noexcept
    void cs_dot(const float *a, Py_ssize_t a_row, const float *b, Py_ssize_t b_row, int rows, int n, double *sum) noexcept
    void cs_add(const float *a, Py_ssize_t a_row, float f, int rows, int n, float *out, Py_ssize_t out_row) noexcept


def pack(const float[:, :, ::1] stamps, float[::1] buffer, const Py_ssize_t[::1] offset, Py_ssize_t stride):
    """Copy one plane of stamps of one size into the flat buffer.

    Parameters
    ----------
    stamps : memoryview, shape (n, size, size), float32
    buffer : memoryview, float32
        Changed: rows, and zeros behind them up to the stride.
    offset : memoryview, shape (n,)
        Where each stamp starts.
    stride : int
        Distance of rows, at least size.

    Raises
    ------
    ValueError
        When lengths differ or a stamp would leave the buffer.
    """
    cdef Py_ssize_t n = stamps.shape[0], size = stamps.shape[1], k, j
    if offset.shape[0] != n or stamps.shape[2] != size:
        raise ValueError("stamps must be square and as many as offsets")
    if stride < size or (n and (np.min(offset) < 0 or np.max(offset)+size*stride > buffer.shape[0])):
        raise ValueError("the stamps do not fit into the buffer")
    with nogil:
        for k in range(n):
            for j in range(size):
                memcpy(&buffer[offset[k]+j*stride], &stamps[k, j, 0], size*sizeof(float))
                if stride > size:
                    memset(&buffer[offset[k]+j*stride+size], 0, (stride-size)*sizeof(float))


cdef struct Seen:
    # the part of a stamp on the image, counted from the stamp's lower left pixel; nothing where a side is not positive
    Py_ssize_t left, low
    int wide, high


cdef inline Seen seen_part(Py_ssize_t x0, Py_ssize_t y0, Py_ssize_t size, Py_ssize_t ny, Py_ssize_t nx) noexcept nogil:
    cdef Seen part
    part.left, part.low = max(0, -x0), max(0, -y0)
    part.wide, part.high = <int> (min(size, nx-x0)-part.left), <int> (min(size, ny-y0)-part.low)
    return part


def add_stamps(float[:, ::1] image, const float[:, :, ::1] stamps, const Py_ssize_t[::1] x0, const Py_ssize_t[::1] y0,
               const double[::1] flux):
    """Add stamps times fluxes to an image, in place; what leaves the image is cut.

    Parameters
    ----------
    image : memoryview, shape (ny, nx), float32
        Changed.
    stamps : memoryview, shape (n, size, size), float32
    x0, y0 : memoryview, shape (n,)
        Lower left pixels.
    flux : memoryview, shape (n,), float64

    Raises
    ------
    ValueError
        When lengths differ.
    """
    cdef Py_ssize_t n = stamps.shape[0], size = stamps.shape[1], ny = image.shape[0], nx = image.shape[1], k
    cdef Seen part
    if x0.shape[0] != n or y0.shape[0] != n or flux.shape[0] != n:
        raise ValueError("stamps, x0, y0 and flux must be as many")
    with nogil:
        for k in range(n):
            part = seen_part(x0[k], y0[k], size, ny, nx)
            if part.wide > 0 and part.high > 0:
                cs_add(&stamps[k, part.low, part.left], size, <float> flux[k], part.high, part.wide,
                       &image[y0[k]+part.low, x0[k]+part.left], nx)


cdef struct Square:
    # lower left pixel and size of a stamp, and the number of its source
    int x0, y0, size, number


cdef inline bint owns(const Square *a, const Square *b, int least) noexcept nogil:
    """Whether two stamps share at least so many pixels along both axes, and b is the smaller, or as large and later."""
    return ((b.size < a.size or (b.size == a.size and b.number > a.number))
            and a.x0+least <= b.x0+b.size and b.x0+least <= a.x0+a.size
            and a.y0+least <= b.y0+b.size and b.y0+least <= a.y0+a.size)


def overlaps(const Py_ssize_t[:, ::1] layout, Py_ssize_t least=1, Py_ssize_t cell=16):
    """Pairs of sources whose stamps share at least so many pixels along both axes.

    Each pair is listed once, at its owner: the source with the larger stamp, the earlier one where they are equal.

    Parameters
    ----------
    layout : memoryview, shape (n, 5)
        offset, size, stride, x0, y0 of each source.
    least : int
        Pixels, at least 1.
    cell : int
        Size of the search grid's cells, pixels.

    Returns
    -------
    indptr : ndarray, shape (n+1,), int64
    indices : ndarray, int32
        Partners of source k are ``indices[indptr[k]:indptr[k+1]]``.

    Raises
    ------
    MemoryError
        When there is no memory for the list.
    """
    cdef Py_ssize_t n = layout.shape[0], k, m, row, reach, x, y, count = 0, room = 0
    table = np.asarray(layout)
    centre_x, centre_y = table[:, 3]+table[:, 1]//2, table[:, 4]+table[:, 1]//2
    cdef Py_ssize_t x0 = centre_x.min() if n else 0, y0 = centre_y.min() if n else 0
    cx, cy = (centre_x-x0)//cell, (centre_y-y0)//cell
    cdef Py_ssize_t nx = cx.max()+1 if n else 1, ny = cy.max()+1 if n else 1
    key = cy*nx+cx
    order = np.argsort(key, kind="stable")
    starts = np.searchsorted(key[order], np.arange(nx*ny+1)).astype(np.intp)
    indptr = np.zeros(n+1, np.int64)
    # side by side in memory, cell by cell
    squares = np.ascontiguousarray(np.stack([table[order, 3], table[order, 4], table[order, 1], order], axis=1), dtype=np.int32)
    cdef const Py_ssize_t[::1] start = starts
    cdef const int[:, ::1] listed = squares
    cdef long long[::1] ptr = indptr
    cdef const Square *square = <const Square *> &listed[0, 0] if n else NULL
    cdef Square own
    cdef int *found = NULL
    cdef int *more
    with nogil:
        for k in range(n):
            own.x0, own.y0, own.size, own.number = <int> layout[k, 3], <int> layout[k, 4], <int> layout[k, 1], <int> k
            x, y, reach = own.x0+own.size//2-x0, own.y0+own.size//2-y0, own.size-least
            for row in range(max(0, (y-reach)//cell), min(ny, (y+reach)//cell+1)):
                for m in range(start[row*nx+max(0, (x-reach)//cell)], start[row*nx+min(nx, (x+reach)//cell+1)]):
                    if not owns(&own, &square[m], <int> least):
                        continue
                    if count == room:
                        room = 2*room+8*n
                        more = <int *> realloc(found, room*sizeof(int))
                        if more == NULL:
                            free(found)
                            with gil:
                                raise MemoryError(f"no memory for {room} pairs of sources")
                        found = more
                    found[count] = square[m].number
                    count += 1
            ptr[k+1] = count
    indices = np.empty(count, np.int32)
    cdef int[::1] index = indices
    if count:
        memcpy(&index[0], found, count*sizeof(int))
    free(found)
    return indptr, indices


cdef void weigh(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, Py_ssize_t k, const float[:, ::1] ivar,
                const float[:, ::1] residual, float *padded, Py_ssize_t plane, Py_ssize_t row, Py_ssize_t margin,
                Py_ssize_t *clean, double *rhs) noexcept nogil:
    """Stamps times inverse variance between margins of zeros, and their sums with the residual; pixels off the image are zero.

    `clean` is the size of the stamp before: one of the same size overwrites it, and the margins are zero already.
    """
    cdef Py_ssize_t size = layout[k, 1], stride = layout[k, 2], x0 = layout[k, 3], y0 = layout[k, 4]
    cdef Seen part = seen_part(x0, y0, size, ivar.shape[0], ivar.shape[1])
    cdef bint whole = part.wide == size and part.high == size
    if not whole or clean[0] != size:
        memset(padded, 0, 3*plane*sizeof(float))
    clean[0] = size if whole else 0
    rhs[0], rhs[1], rhs[2] = 0, 0, 0
    if part.wide > 0 and part.high > 0:
        cs_weigh(&ivar[y0+part.low, x0+part.left], &residual[y0+part.low, x0+part.left], ivar.shape[1],
                 &buffer[layout[k, 0]+part.low*stride+part.left], size*stride, stride, part.high, part.wide,
                 padded+part.low*row+margin+part.left, plane, row, rhs)


cdef inline void couple(const float *padded, Py_ssize_t plane, Py_ssize_t row, Py_ssize_t margin, const float[::1] buffer,
                        const Py_ssize_t[:, ::1] layout, Py_ssize_t a, Py_ssize_t b, double *sums) noexcept nogil:
    """The 3x3 block of weighted products of the planes of a (rows) and b (columns)."""
    cdef Py_ssize_t shift = layout[b, 3]-layout[a, 3], rise = layout[b, 4]-layout[a, 4]
    cdef Py_ssize_t first = max(0, rise), last = min(layout[a, 1], rise+layout[b, 1])
    # the vectors of eight columns of b that reach into a
    cdef Py_ssize_t left = max(0, -shift)//8, right = (min(layout[b, 1], layout[a, 1]-shift)+7)//8
    cs_products(padded+first*row+margin+shift+8*left, plane, row, &buffer[layout[b, 0]+(first-rise)*layout[b, 2]+8*left],
                layout[b, 1]*layout[b, 2], layout[b, 2], <int> (last-first), <int> (right-left), sums)


def normal_equations(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const float[:, ::1] ivar,
                     const float[:, ::1] residual, const long long[::1] indptr, const int[::1] indices):
    """Blocks of the normal matrix and its right-hand side.

    Parameters
    ----------
    buffer, layout
        The stamps, see the module.
    ivar, residual : memoryview, shape (ny, nx), float32
        Inverse variance, and data less sky and model.
    indptr, indices
        From `overlaps`.

    Returns
    -------
    diagonal : ndarray, shape (n, 3, 3), float64
        Sums over pixels of ivar times products of each source's own planes.
    blocks : ndarray, shape (m, 3, 3), float32
        The same for each pair; rows belong to the owner.
    rhs : ndarray, shape (n, 3), float64
        Sums of ivar times plane times residual.

    Raises
    ------
    ValueError
        When ivar and residual differ in shape.
    MemoryError
        When a scratch stamp cannot be had.
    """
    cdef Py_ssize_t n = layout.shape[0], k, m, q, largest, margin, row, plane, clean = 0
    if ivar.shape[0] != residual.shape[0] or ivar.shape[1] != residual.shape[1]:
        raise ValueError("ivar and residual must have the same shape")
    diagonal, rhs = np.zeros((n, 9)), np.zeros((n, 3))
    blocks = np.zeros((max(1, indices.shape[0]), 9), np.float32)
    cdef double[:, ::1] diag = diagonal, right = rhs
    cdef float[:, ::1] block = blocks
    cdef double[9] sums
    largest = max(np.max(layout[:, 1]), 1) if n else 1
    cdef float *padded = <float *> calloc(3*largest*(largest+2*(largest+8))+16, sizeof(float))
    if padded == NULL:
        raise MemoryError(f"no memory for a scratch stamp of {largest} pixels")
    with nogil:
        for k in range(n):
            # a partner is never larger than its owner, so a margin of one stride holds every shift
            margin = layout[k, 2]
            row = layout[k, 1]+2*margin
            plane = row*layout[k, 1]
            weigh(buffer, layout, k, ivar, residual, padded, plane, row, margin, &clean, &right[k, 0])
            couple(padded, plane, row, margin, buffer, layout, k, k, &diag[k, 0])
            for m in range(indptr[k], indptr[k+1]):
                couple(padded, plane, row, margin, buffer, layout, k, indices[m], sums)
                for q in range(9):
                    block[m, q] = <float> sums[q]
    free(padded)
    return diagonal.reshape(n, 3, 3), blocks[:indices.shape[0]].reshape(-1, 3, 3), rhs


def project(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const float[:, ::1] image, int planes):
    """Sums of stamps times an image: the transposed design matrix times it.

    Parameters
    ----------
    buffer, layout
        The stamps, see the module.
    image : memoryview, shape (ny, nx), float32
    planes : int
        So many of the three are used.

    Returns
    -------
    ndarray, shape (n, 3), float64
        0 for planes that are not used.

    Raises
    ------
    ValueError
        When there are not so many planes.
    """
    cdef Py_ssize_t n = layout.shape[0], ny = image.shape[0], nx = image.shape[1], k, q, size, stride, x0, y0
    cdef Seen part
    if not 1 <= planes <= 3:
        raise ValueError("planes must be 1 to 3")
    sums = np.zeros((n, 3))
    cdef double[:, ::1] sum_of = sums
    with nogil:
        for k in range(n):
            size, stride, x0, y0 = layout[k, 1], layout[k, 2], layout[k, 3], layout[k, 4]
            part = seen_part(x0, y0, size, ny, nx)
            for q in range(planes if part.wide > 0 and part.high > 0 else 0):
                cs_dot(&buffer[layout[k, 0]+(q*size+part.low)*stride+part.left], stride, &image[y0+part.low, x0+part.left], nx,
                       part.high, part.wide, &sum_of[k, q])
    return sums


def spread(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const double[:, ::1] parameters, int planes,
           float[:, ::1] image):
    """Add stamps times parameters to an image, in place: the design matrix times a vector; what leaves the image is cut.

    Parameters
    ----------
    buffer, layout
        The stamps, see the module.
    parameters : memoryview, shape (n, 3), float64
    planes : int
        So many of the three are added.
    image : memoryview, shape (ny, nx), float32
        Changed.

    Raises
    ------
    ValueError
        When lengths differ or there are not so many planes.
    """
    cdef Py_ssize_t n = layout.shape[0], ny = image.shape[0], nx = image.shape[1], k, q, size, stride, x0, y0
    cdef Seen part
    if parameters.shape[0] != n or parameters.shape[1] != 3 or not 1 <= planes <= 3:
        raise ValueError("parameters must be three for each stamp, planes 1 to 3")
    with nogil:
        for k in range(n):
            size, stride, x0, y0 = layout[k, 1], layout[k, 2], layout[k, 3], layout[k, 4]
            part = seen_part(x0, y0, size, ny, nx)
            for q in range(planes if part.wide > 0 and part.high > 0 else 0):
                cs_add(&buffer[layout[k, 0]+(q*size+part.low)*stride+part.left], stride, <float> parameters[k, q], part.high, part.wide,
                       &image[y0+part.low, x0+part.left], nx)


def sparse_columns(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const float[:, ::1] inverse_sigma, int planes):
    """The explicit design matrix in compressed sparse columns.

    Parameters
    ----------
    buffer, layout
        The stamps.
    inverse_sigma : memoryview, shape (ny, nx), float32
        Root of the inverse variance.
    planes : int
        3 for PSF and derivatives, 1 for the PSF alone; column ``k*planes+q`` is plane q of source k.

    Returns
    -------
    values : ndarray, float32
    rows : ndarray, int32
        Pixel numbers ``y*nx+x``.
    indptr : ndarray, shape (n*planes+1,), int64
    """
    cdef Py_ssize_t n = layout.shape[0], ny = inverse_sigma.shape[0], nx = inverse_sigma.shape[1], k, q, j, i, at, p
    table = np.asarray(layout)
    wide = np.minimum(table[:, 1], nx-table[:, 3])-np.maximum(0, -table[:, 3])
    high = np.minimum(table[:, 1], ny-table[:, 4])-np.maximum(0, -table[:, 4])
    count = np.repeat(np.maximum(wide, 0)*np.maximum(high, 0), planes)
    indptr = np.r_[0, np.cumsum(count)].astype(np.int64)
    total = int(indptr[n*planes])
    values, rows = np.zeros(max(1, total), np.float32), np.zeros(max(1, total), np.int32)
    cdef float[::1] value = values
    cdef int[::1] pixel = rows
    at = 0
    with nogil:
        for k in range(n):
            for q in range(planes):
                for j in range(max(0, -layout[k, 4]), min(layout[k, 1], ny-layout[k, 4])):
                    p = layout[k, 0]+(q*layout[k, 1]+j)*layout[k, 2]
                    for i in range(max(0, -layout[k, 3]), min(layout[k, 1], nx-layout[k, 3])):
                        pixel[at] = <int> ((layout[k, 4]+j)*nx+layout[k, 3]+i)
                        value[at] = buffer[p+i]*inverse_sigma[layout[k, 4]+j, layout[k, 3]+i]
                        at += 1
    return values[:total], rows[:total], indptr
