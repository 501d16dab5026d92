"""Small groups of stars fitted on boxes of their own. No global mutable state."""
import numpy as np

from libc.string cimport memcpy, memset
from crowdsource.cython_ext.kinds cimport number
from crowdsource.cython_ext.smallchol cimport cholesky
from crowdsource.cython_ext.stamps cimport LARGEST, Part, part_on_image

cdef extern from "simd.h" nogil:
    int cs_kind
    void cs_row_products_float(const float *a, int a_rows, const float *b, int b_rows, int n, double *sums) noexcept

cs_kind = number

MOST = 8
"""Stars of a group at most."""
# pixels are counted with an int
cdef Py_ssize_t LARGEST_SIDE = 46340
cdef double RIDGE = 1e-3


def group_models(const float[:, :, :, ::1] stamps, const Py_ssize_t[:, ::1] x0, const Py_ssize_t[:, ::1] y0,
                 const double[:, ::1] flux, Py_ssize_t side):
    """Models of groups of stars on their boxes.

    Parameters
    ----------
    stamps : memoryview, shape (n, k, size, size), float32
        PSFs of the k stars of each group.
    x0, y0 : memoryview, shape (n, k)
        Lower left pixels of the stamps in the box.
    flux : memoryview, shape (n, k), float64
    side : int
        Of the boxes, pixels.

    Returns
    -------
    ndarray, shape (n, side, side), float32

    Raises
    ------
    ValueError
        When shapes differ, stamps are not square, or the side is out of range.
    """
    cdef Py_ssize_t n = stamps.shape[0], members = stamps.shape[1], size = stamps.shape[2], g, k, j, i
    cdef Part part
    if not (x0.shape[0] == y0.shape[0] == flux.shape[0] == n and x0.shape[1] == y0.shape[1] == flux.shape[1] == members):
        raise ValueError("stamps, x0, y0 and flux must be of as many groups and stars")
    if stamps.shape[3] != size or not 0 <= side <= LARGEST:
        raise ValueError(f"stamps must be square, and the side of boxes, {side}, from 0 to {LARGEST}")
    out = np.zeros((n, side, side), np.float32)
    cdef float[:, :, ::1] model = out
    cdef float f
    with nogil:
        for g in range(n):
            for k in range(members):
                f = <float> flux[g, k]
                part = part_on_image(x0[g, k], y0[g, k], size, side, side)
                for j in range(part.low, part.low+part.high):
                    for i in range(part.left, part.left+part.wide):
                        model[g, y0[g, k]+j, x0[g, k]+i] += f*stamps[g, k, j, i]
    return out


cdef inline void spread(const float *stamp, Py_ssize_t size, Py_ssize_t x0, Py_ssize_t y0, Py_ssize_t side,
                        float *column) noexcept nogil:
    """A stamp as a column of pixels of a box; what lies off the stamp stays as it is."""
    cdef Py_ssize_t j, i
    cdef Part part = part_on_image(x0, y0, size, side, side)
    for j in range(part.low, part.low+part.high):
        for i in range(part.left, part.left+part.wide):
            column[(y0+j)*side+x0+i] = stamp[j*size+i]


cdef inline void products(const float *columns, const float *weight, float *weighted, Py_ssize_t pixels, int terms,
                          double *normal, double *rhs) noexcept nogil:
    """Normal matrix, in rows of `terms`, and right-hand side; the residual stands behind the columns."""
    cdef double[600] sums
    cdef int a
    cdef Py_ssize_t i
    for a in range(terms):
        for i in range(pixels):
            weighted[a*pixels+i] = weight[i]*columns[a*pixels+i]
    cs_row_products_float(weighted, terms, columns, terms+1, <int> pixels, sums)
    for a in range(terms):
        memcpy(normal+a*terms, sums+a*(terms+1), terms*sizeof(double))
        rhs[a] = sums[a*(terms+1)+terms]


cdef inline double solved(double *normal, double *rhs, int terms) noexcept nogil:
    """The step in place of the right-hand side, and by how much it lowers chi2 when all is linear."""
    cdef int a, b
    cdef double gain = 0
    for a in range(terms):
        # what has no pixel or no flux stays
        normal[a*terms+a] = normal[a*terms+a]*(1+RIDGE) if normal[a*terms+a] > 0 else 1
    if cholesky(normal, terms, terms):
        for a in range(terms):
            rhs[a] = 0
        return 0
    for a in range(terms):
        for b in range(a):
            rhs[a] -= normal[a*terms+b]*rhs[b]
        rhs[a] /= normal[a*terms+a]
        gain += rhs[a]*rhs[a]
    for a in range(terms-1, -1, -1):
        for b in range(a+1, terms):
            rhs[a] -= normal[b*terms+a]*rhs[b]
        rhs[a] /= normal[a*terms+a]
    return gain


cdef inline double equations_of(const float[:, ::1] residual, const float[:, ::1] weight, const float[:, :, ::1] value,
                               const float[:, :, ::1] ddx, const float[:, :, ::1] ddy, const Py_ssize_t[::1] x0,
                               const Py_ssize_t[::1] y0, float[:, ::1] column, double *normal, double *rhs) noexcept nogil:
    """chi2 of a group's box, its normal matrix and right-hand side. `column` has room for twice as many, and the residual."""
    cdef Py_ssize_t members = value.shape[0], size = value.shape[1], side = residual.shape[0], pixels = side*side, k, i
    cdef int terms = <int> (3*members)
    cdef double s = 0
    for i in range(pixels):
        s += (&residual[0, 0])[i]*(&residual[0, 0])[i]*(&weight[0, 0])[i]
    if terms == 0:
        return s
    memset(&column[0, 0], 0, terms*pixels*sizeof(float))
    for k in range(members):
        spread(&value[k, 0, 0], size, x0[k], y0[k], side, &column[3*k, 0])
        spread(&ddx[k, 0, 0], size, x0[k], y0[k], side, &column[3*k+1, 0])
        spread(&ddy[k, 0, 0], size, x0[k], y0[k], side, &column[3*k+2, 0])
    memcpy(&column[terms, 0], &residual[0, 0], pixels*sizeof(float))
    products(&column[0, 0], &weight[0, 0], &column[terms+1, 0], pixels, terms, normal, rhs)
    return s


cdef int check_groups(const float[:, :, ::1] residual, const float[:, :, ::1] weight, stamps, const Py_ssize_t[:, ::1] x0,
                      const Py_ssize_t[:, ::1] y0) except -1:
    """Raise ValueError unless shapes agree and no group has more than `MOST` stars."""
    if len(stamps) != 3:
        raise ValueError(f"there are {len(stamps)} arrays of stamps: the PSF and its two derivatives are needed")
    cdef const float[:, :, :, ::1] value = stamps[0], one
    cdef Py_ssize_t n = value.shape[0], members = value.shape[1], size = value.shape[2], side = residual.shape[1]
    if members > MOST or side > LARGEST_SIDE:
        raise ValueError(f"a group has at most {MOST} stars, and its box a side of {LARGEST_SIDE} pixels")
    if not (residual.shape[0] == weight.shape[0] == x0.shape[0] == y0.shape[0] == n and x0.shape[1] == y0.shape[1] == members
            and residual.shape[2] == weight.shape[1] == weight.shape[2] == side):
        raise ValueError("residual, weight, stamps, x0 and y0 must be of as many groups and stars, and boxes square")
    for one in stamps:
        if one.shape[0] != n or one.shape[1] != members or one.shape[2] != size or one.shape[3] != size or size == 0 or side == 0:
            raise ValueError("stamps must all be of the same shape, square, and like the boxes of at least one pixel")
    return 0


def group_steps(const float[:, :, ::1] residual, const float[:, :, ::1] weight, stamps, const Py_ssize_t[:, ::1] x0,
                const Py_ssize_t[:, ::1] y0):
    """One step of least squares for all stars of each group.

    Parameters
    ----------
    residual, weight : memoryview, shape (n, side, side), float32
        Data less the model on each group's box; inverse variance.
    stamps : tuple of three arrays, shape (n, k, size, size), float32
        PSFs of the group's stars and their derivatives in x and y; those of stars that are not there are 0.
    x0, y0 : memoryview, shape (n, k)
        Lower left pixels of the stamps in the box.

    Returns
    -------
    change : ndarray, shape (n, k, 3), float64
        Of flux, and flux times shift in x and y.
    chi2, gain : ndarray, shape (n,), float64
        Before the step, and by how much it would be less after it if all were linear.

    Raises
    ------
    ValueError
        When shapes differ, or a group has more than `MOST` stars.
    """
    check_groups(residual, weight, stamps, x0, y0)
    cdef const float[:, :, :, ::1] value = stamps[0], ddx = stamps[1], ddy = stamps[2]
    cdef Py_ssize_t n = value.shape[0], members = value.shape[1], side = residual.shape[1], g, i
    cdef int terms = <int> (3*members)
    change, before, less = np.zeros((n, members, 3)), np.zeros(n), np.zeros(n)
    scratch = np.empty((2*terms+1, side*side), np.float32)
    cdef double[:, :, ::1] out = change
    cdef double[::1] chi2 = before, gain = less
    cdef float[:, ::1] column = scratch
    cdef double[576] normal
    cdef double[24] rhs
    with nogil:
        for g in range(n):
            chi2[g] = equations_of(residual[g], weight[g], value[g], ddx[g], ddy[g], x0[g], y0[g], column, normal, rhs)
            if terms == 0:
                continue
            gain[g] = solved(normal, rhs, terms)
            for i in range(terms):
                out[g, i//3, i % 3] = rhs[i]
    return change, before, less


def group_equations(const float[:, :, ::1] residual, const float[:, :, ::1] weight, stamps, const Py_ssize_t[:, ::1] x0,
                    const Py_ssize_t[:, ::1] y0):
    """The normal equations of each group, as a part of those of several images.

    Parameters and errors as `group_steps`.

    Returns
    -------
    normal : ndarray, shape (n, k, 3, k, 3), float64
        Of flux, and flux times shift in x and y, of the k stars.
    rhs : ndarray, shape (n, k, 3), float64
    chi2 : ndarray, shape (n,), float64
    """
    check_groups(residual, weight, stamps, x0, y0)
    cdef const float[:, :, :, ::1] value = stamps[0], ddx = stamps[1], ddy = stamps[2]
    cdef Py_ssize_t n = value.shape[0], members = value.shape[1], side = residual.shape[1], g
    cdef int terms = <int> (3*members), a, b
    matrices, right, before = np.zeros((n, terms, terms)), np.zeros((n, terms)), np.zeros(n)
    scratch = np.empty((2*terms+1, side*side), np.float32)
    cdef double[:, :, ::1] normal = matrices
    cdef double[:, ::1] rhs = right
    cdef double[::1] chi2 = before
    cdef float[:, ::1] column = scratch
    with nogil:
        for g in range(n):
            if terms == 0:
                chi2[g] = equations_of(residual[g], weight[g], value[g], ddx[g], ddy[g], x0[g], y0[g], column, NULL, NULL)
                continue
            chi2[g] = equations_of(residual[g], weight[g], value[g], ddx[g], ddy[g], x0[g], y0[g], column, &normal[g, 0, 0],
                                   &rhs[g, 0])
            # rounding differs between the halves, as weights multiply the columns of one side
            for a in range(terms):
                for b in range(a):
                    normal[g, b, a] = normal[g, a, b]
    return matrices.reshape(n, members, 3, members, 3), right.reshape(n, members, 3), before
