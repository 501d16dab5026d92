"""Design matrix and normal equations of many overlapping stamps.

Stamps live in one flat float32 buffer. Source k owns three stamps (PSF, d/dx, d/dy), each of ``size[k]`` rows that are
``stride[k]`` floats apart, a multiple of eight; the floats past the size are zero. Their lower left pixel is
``(x0[k], y0[k])`` of the image, which they may leave on any side. No global mutable state.
"""
import numpy as np

from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset
from crowdsource.cython_ext.kinds cimport number
from crowdsource.cython_ext.pairs cimport check_pairs
from crowdsource.cython_ext.stamps cimport FARTHEST, LARGEST, Part, check_layout, part_on_image

cdef Py_ssize_t MOST_PIXELS = 2**31-1, ANY_LENGTH = 2**62

cdef extern from "simd.h" nogil:
    int cs_kind
    void cs_products(const float *t, Py_ssize_t t_plane, Py_ssize_t t_row, const float *p, Py_ssize_t p_plane,
                     Py_ssize_t p_row, int rows, int vectors, double *sums) noexcept
    void cs_weigh(const float *w, const float *r, Py_ssize_t row, const float *p, Py_ssize_t p_plane, Py_ssize_t p_row, int rows,
                  int n, float *t, Py_ssize_t t_plane, Py_ssize_t t_row, double *sums) noexcept
    void cs_dot(const float *a, Py_ssize_t a_row, const float *b, Py_ssize_t b_row, int rows, int n, double *sum) noexcept
    void cs_add(const float *a, Py_ssize_t a_row, float f, int rows, int n, float *out, Py_ssize_t out_row) noexcept

cs_kind = number


def pack(const float[:, :, ::1] stamps, float[::1] buffer, const Py_ssize_t[::1] offset, Py_ssize_t stride):
    """Copy stamps of one size into the flat buffer.

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
    if not size <= stride <= LARGEST or (n and (np.min(offset) < 0 or np.max(offset) > buffer.shape[0]-size*stride)):
        raise ValueError(f"the stamps do not fit into the buffer: {n} of {size} rows, {stride} apart, in {buffer.shape[0]}")
    with nogil:
        for k in range(n):
            for j in range(size):
                memcpy(&buffer[offset[k]+j*stride], &stamps[k, j, 0], size*sizeof(float))
                if stride > size:
                    memset(&buffer[offset[k]+j*stride+size], 0, (stride-size)*sizeof(float))


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
        When lengths differ or stamps are not square.
    """
    cdef Py_ssize_t n = stamps.shape[0], size = stamps.shape[1], ny = image.shape[0], nx = image.shape[1], k
    cdef Part part
    if x0.shape[0] != n or y0.shape[0] != n or flux.shape[0] != n or stamps.shape[2] != size:
        raise ValueError("stamps must be square, and stamps, x0, y0 and flux as many")
    with nogil:
        for k in range(n):
            part = part_on_image(x0[k], y0[k], size, ny, nx)
            if part.high > 0:
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


cdef struct Grid:
    # corner and side of its cells, pixels, and how many there are
    Py_ssize_t x0, y0, cell, nx, ny


cdef struct Pairs:
    # second sources of pairs, how many there are, and how many there is room for
    int *second
    Py_ssize_t count, room


cdef bint add_partners(const Square *own, const Square *square, const Py_ssize_t *start, const Grid *grid, int least,
                       Pairs *pairs) noexcept nogil:
    """Add the partners that a source owns, of squares listed cell by cell; gives 0 when there is no memory."""
    cdef Py_ssize_t x = own.x0+own.size//2-grid.x0, y = own.y0+own.size//2-grid.y0, reach = own.size-least, row, m
    cdef Py_ssize_t left = max(0, (x-reach)//grid.cell), end = min(grid.nx, (x+reach)//grid.cell+1), count = pairs.count
    cdef int *more
    for row in range(max(0, (y-reach)//grid.cell), min(grid.ny, (y+reach)//grid.cell+1)):
        for m in range(start[row*grid.nx+left], start[row*grid.nx+end]):
            if not owns(own, &square[m], least):
                continue
            if count == pairs.room:
                pairs.room = 2*pairs.room+8*start[grid.nx*grid.ny]
                more = <int *> realloc(pairs.second, pairs.room*sizeof(int))
                if more == NULL:
                    return 0
                pairs.second = more
            pairs.second[count] = square[m].number
            count += 1
    pairs.count = count
    return 1


def overlaps(const Py_ssize_t[:, ::1] layout, shape, Py_ssize_t least=1, Py_ssize_t cell=16):
    """Pairs of sources whose stamps share at least so many pixels along both axes.

    Each pair is listed once, at its owner: the source with the larger stamp, the earlier one where they are equal. A source whose
    stamp misses the image has no partners, so that memory does not depend on how far away it is.

    Parameters
    ----------
    layout : memoryview, shape (n, 5)
        offset, size, stride, x0, y0 of each source.
    shape : tuple of int
        (ny, nx) of the image.
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
    ValueError
        When the layout, the shape, `least` or `cell` is out of range.
    MemoryError
        When there is no memory for the list.
    """
    cdef Py_ssize_t n = layout.shape[0], ny, nx, k
    ny, nx = shape
    check_layout(layout, ANY_LENGTH)
    if not (0 <= ny <= FARTHEST and 0 <= nx <= FARTHEST and 1 <= least <= LARGEST and 1 <= cell <= LARGEST):
        raise ValueError(f"shape {shape}, least {least} and cell {cell} must be numbers of pixels, the last two at least 1")
    table, indptr = np.asarray(layout), np.zeros(n+1, np.int64)
    size, x, y = table[:, 1], table[:, 3], table[:, 4]
    here = np.flatnonzero((x < nx) & (y < ny) & (x > -size) & (y > -size))
    if len(here) == 0:
        return indptr, np.zeros(0, np.int32)
    middle_x, middle_y = (x+size//2)[here], (y+size//2)[here]
    cdef Grid grid = Grid(middle_x.min(), middle_y.min(), cell, 0, 0)
    cx, cy = (middle_x-grid.x0)//cell, (middle_y-grid.y0)//cell
    grid.nx, grid.ny = cx.max()+1, cy.max()+1
    key = cy*grid.nx+cx
    order = np.argsort(key, kind="stable")
    cdef const Py_ssize_t[::1] start = np.searchsorted(key[order], np.arange(grid.nx*grid.ny+1)).astype(np.intp)
    # side by side in memory, cell by cell
    order = here[order]
    cdef const int[:, ::1] listed = np.stack([x[order], y[order], size[order], order], axis=1).astype(np.int32)
    cdef Pairs pairs = Pairs(NULL, 0, 0)
    cdef long long[::1] ptr = indptr
    cdef Square own
    cdef bint enough = True
    with nogil:
        for k in range(n):
            own.x0, own.y0, own.size, own.number = <int> layout[k, 3], <int> layout[k, 4], <int> layout[k, 1], <int> k
            if enough and part_on_image(own.x0, own.y0, own.size, ny, nx).high > 0:
                enough = add_partners(&own, <const Square *> &listed[0, 0], &start[0], &grid, <int> least, &pairs)
            ptr[k+1] = pairs.count
    indices = np.empty(pairs.count if enough else 0, np.int32)
    cdef int[::1] index = indices
    if enough and pairs.count:
        memcpy(&index[0], pairs.second, pairs.count*sizeof(int))
    free(pairs.second)
    if not enough:
        raise MemoryError(f"no memory for the overlaps of {n} sources")
    return indptr, indices


cdef void weigh(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, Py_ssize_t k, const float[:, ::1] ivar,
                const float[:, ::1] residual, float *padded, Py_ssize_t plane, Py_ssize_t row, Py_ssize_t margin,
                Py_ssize_t *clean, double *rhs) noexcept nogil:
    """Stamps times inverse variance between margins of zeros, and their sums with the residual; pixels off the image are zero.

    Stamps in `padded` are `plane` values apart, with rows `row` apart that begin with `margin` zeros.

    `clean` is the size of the stamp before: one of the same size overwrites it, and the margins are zero already.
    """
    cdef Py_ssize_t size = layout[k, 1], stride = layout[k, 2], x0 = layout[k, 3], y0 = layout[k, 4]
    cdef Part part = part_on_image(x0, y0, size, ivar.shape[0], ivar.shape[1])
    cdef bint whole = part.wide == size and part.high == size
    if not whole or clean[0] != size:
        memset(padded, 0, 3*plane*sizeof(float))
    clean[0] = size if whole else 0
    rhs[0], rhs[1], rhs[2] = 0, 0, 0
    if part.high > 0:
        cs_weigh(&ivar[y0+part.low, x0+part.left], &residual[y0+part.low, x0+part.left], ivar.shape[1],
                 &buffer[layout[k, 0]+part.low*stride+part.left], size*stride, stride, part.high, part.wide,
                 padded+part.low*row+margin+part.left, plane, row, rhs)


cdef inline void couple(const float *padded, Py_ssize_t plane, Py_ssize_t row, Py_ssize_t margin, const float[::1] buffer,
                        const Py_ssize_t[:, ::1] layout, Py_ssize_t a, Py_ssize_t b, double *sums) noexcept nogil:
    """The 3x3 block of weighted products of the stamps of a (rows) and b (columns)."""
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
        Sums over pixels of ivar times products of each source's own stamps.
    blocks : ndarray, shape (m, 3, 3), float32
        The same for each pair; rows belong to the owner.
    rhs : ndarray, shape (n, 3), float64
        Sums of ivar times stamp times residual.

    Raises
    ------
    ValueError
        When ivar and residual differ in shape, stamps leave the buffer, or partners are no sources.
    MemoryError
        When a scratch stamp cannot be had.
    """
    cdef Py_ssize_t n = layout.shape[0], k, m, q, largest, margin, row, plane, clean = 0
    if ivar.shape[0] != residual.shape[0] or ivar.shape[1] != residual.shape[1]:
        raise ValueError("ivar and residual must have the same shape")
    check_layout(layout, buffer.shape[0])
    check_pairs(indptr, indices, n)
    diagonal, rhs = np.zeros((n, 9)), np.zeros((n, 3))
    blocks = np.zeros((max(1, indices.shape[0]), 9), np.float32)
    cdef double[:, ::1] diag = diagonal, right = rhs
    cdef float[:, ::1] block = blocks
    cdef double[9] sums
    largest = max(np.max(layout[:, 1]), 1) if n else 1
    cdef float *padded = <float *> calloc(3*largest*(largest+16)+16, sizeof(float))
    if padded == NULL:
        raise MemoryError(f"no memory for a scratch stamp of {largest} pixels")
    with nogil:
        for k in range(n):
            # partners are read in vectors of eight, of which the outermost reach up to seven columns past the owner
            margin = 8
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


def project(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const float[:, ::1] image, int n_parameters):
    """Sums of stamps times an image: the transposed design matrix times it.

    Parameters
    ----------
    buffer, layout
        The stamps, see the module.
    image : memoryview, shape (ny, nx), float32
    n_parameters : int
        So many of the three stamps of each source are used.

    Returns
    -------
    ndarray, shape (n, 3), float64
        0 for stamps that are not used.

    Raises
    ------
    ValueError
        When stamps leave the buffer or `n_parameters` is none of 1, 2 and 3.
    """
    cdef Py_ssize_t n = layout.shape[0], ny = image.shape[0], nx = image.shape[1], k, q, size, stride, x0, y0
    cdef Part part
    check_layout(layout, buffer.shape[0])
    if not 1 <= n_parameters <= 3:
        raise ValueError(f"n_parameters is {n_parameters}: must be 1 to 3")
    sums = np.zeros((n, 3))
    cdef double[:, ::1] sum_of = sums
    with nogil:
        for k in range(n):
            size, stride, x0, y0 = layout[k, 1], layout[k, 2], layout[k, 3], layout[k, 4]
            part = part_on_image(x0, y0, size, ny, nx)
            for q in range(n_parameters if part.high > 0 else 0):
                cs_dot(&buffer[layout[k, 0]+(q*size+part.low)*stride+part.left], stride, &image[y0+part.low, x0+part.left], nx,
                       part.high, part.wide, &sum_of[k, q])
    return sums


def spread(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const double[:, ::1] parameters, int n_parameters,
           float[:, ::1] image):
    """Add stamps times parameters to an image, in place: the design matrix times a vector; what leaves the image is cut.

    Parameters
    ----------
    buffer, layout
        The stamps, see the module.
    parameters : memoryview, shape (n, 3), float64
    n_parameters : int
        So many of the three stamps of each source are added.
    image : memoryview, shape (ny, nx), float32
        Changed.

    Raises
    ------
    ValueError
        When lengths differ, stamps leave the buffer or `n_parameters` is none of 1, 2 and 3.
    """
    cdef Py_ssize_t n = layout.shape[0], ny = image.shape[0], nx = image.shape[1], k, q, size, stride, x0, y0
    cdef Part part
    check_layout(layout, buffer.shape[0])
    if parameters.shape[0] != n or parameters.shape[1] != 3 or not 1 <= n_parameters <= 3:
        raise ValueError(f"parameters must be three for each of {n} sources, and n_parameters 1 to 3")
    with nogil:
        for k in range(n):
            size, stride, x0, y0 = layout[k, 1], layout[k, 2], layout[k, 3], layout[k, 4]
            part = part_on_image(x0, y0, size, ny, nx)
            for q in range(n_parameters if part.high > 0 else 0):
                cs_add(&buffer[layout[k, 0]+(q*size+part.low)*stride+part.left], stride, <float> parameters[k, q], part.high,
                       part.wide, &image[y0+part.low, x0+part.left], nx)


def sparse_columns(const float[::1] buffer, const Py_ssize_t[:, ::1] layout, const float[:, ::1] inverse_sigma, int n_parameters):
    """The explicit design matrix in compressed sparse columns.

    Parameters
    ----------
    buffer, layout
        The stamps.
    inverse_sigma : memoryview, shape (ny, nx), float32
        Root of the inverse variance.
    n_parameters : int
        3 for PSF and derivatives, 1 for the PSF alone; column ``k*n_parameters+q`` is stamp q of source k.

    Returns
    -------
    values : ndarray, float32
    rows : ndarray, int32
        Pixel numbers ``y*nx+x``.
    indptr : ndarray, shape (n*n_parameters+1,), int64

    Raises
    ------
    ValueError
        When stamps leave the buffer, `n_parameters` is none of 1, 2 and 3, or the image has too many pixels for the row numbers.
    """
    cdef Py_ssize_t n = layout.shape[0], ny = inverse_sigma.shape[0], nx = inverse_sigma.shape[1], k, q, j, i, at, p
    check_layout(layout, buffer.shape[0])
    if not 1 <= n_parameters <= 3:
        raise ValueError(f"n_parameters is {n_parameters}: must be 1 to 3")
    if ny*nx > MOST_PIXELS:
        raise ValueError(f"the image has {ny*nx} pixels: rows of a sparse matrix are numbered up to {MOST_PIXELS}")
    table = np.asarray(layout)
    wide = np.minimum(table[:, 1], nx-table[:, 3])-np.maximum(0, -table[:, 3])
    high = np.minimum(table[:, 1], ny-table[:, 4])-np.maximum(0, -table[:, 4])
    count = np.repeat(np.maximum(wide, 0)*np.maximum(high, 0), n_parameters)
    indptr = np.r_[0, np.cumsum(count)].astype(np.int64)
    total = int(indptr[n*n_parameters])
    values, rows = np.zeros(max(1, total), np.float32), np.zeros(max(1, total), np.int32)
    cdef float[::1] value = values
    cdef int[::1] pixel = rows
    at = 0
    with nogil:
        for k in range(n):
            for q in range(n_parameters):
                for j in range(max(0, -layout[k, 4]), min(layout[k, 1], ny-layout[k, 4])):
                    p = layout[k, 0]+(q*layout[k, 1]+j)*layout[k, 2]
                    for i in range(max(0, -layout[k, 3]), min(layout[k, 1], nx-layout[k, 3])):
                        pixel[at] = <int> ((layout[k, 4]+j)*nx+layout[k, 3]+i)
                        value[at] = buffer[p+i]*inverse_sigma[layout[k, 4]+j, layout[k, 3]+i]
                        at += 1
    return values[:total], rows[:total], indptr
