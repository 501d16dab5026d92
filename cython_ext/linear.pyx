"""Dense algebra whose bits do not depend on the processor: products in a fixed order, elimination, rotations. No global mutable
state."""
import numpy as np

from libc.math cimport fabs, sqrt
from crowdsource.cython_ext.kinds cimport number

# sides and lengths are counted with an int
cdef Py_ssize_t MOST = 2**31-16

cdef extern from "simd.h" nogil:
    int cs_kind
    void cs_row_products_float(const float *a, int a_rows, const float *b, int b_rows, int n, double *sums) noexcept
    void cs_row_products_double(const double *a, int a_rows, const double *b, int b_rows, int n, double *sums) noexcept
    void cs_combine(const float *a, Py_ssize_t a_row, Py_ssize_t plane, const float *f, int count, int rows, int n, float *out,
                    Py_ssize_t out_row) noexcept
    void cs_combine_double(const double *a, const double *f, int count, int n, double *out) noexcept

cs_kind = number

ctypedef fused real:
    float
    double


cdef int check_stacks(const real[:, :, ::1] a, const real[:, :, ::1] b, Py_ssize_t common, Py_ssize_t of_b) except -1:
    """Raise ValueError unless two stacks of matrices are as many, or one of them one, and fit together."""
    if common != of_b or not (a.shape[0] == b.shape[0] or a.shape[0] == 1 or b.shape[0] == 1):
        raise ValueError(f"{a.shape[0]} matrices of {a.shape[1]} by {a.shape[2]} and {b.shape[0]} of {b.shape[1]} by {b.shape[2]} "
                         "have no products")
    if max(a.shape[1], a.shape[2], b.shape[1], b.shape[2]) > MOST:
        raise ValueError(f"a side of a matrix exceeds {MOST}")
    return 0


def row_products(const real[:, :, ::1] a, const real[:, :, ::1] b):
    """Sums over the last axis of products of each row of one matrix with each row of another, for stacks of them.

    Parameters
    ----------
    a, b : memoryview, shapes (n, i, p) and (n, j, p), float32 or float64
        Either may be one matrix for all.

    Returns
    -------
    ndarray, shape (n, i, j), float64
        Summed in eight lanes of floats, or four of doubles.

    Raises
    ------
    ValueError
        When shapes do not fit together.
    """
    check_stacks(a, b, a.shape[2], b.shape[2])
    cdef Py_ssize_t n = 0 if a.shape[0] == 0 or b.shape[0] == 0 else max(a.shape[0], b.shape[0]), k, of_a, of_b
    result = np.zeros((n, a.shape[1], b.shape[1]))
    cdef double[:, :, ::1] out = result
    if result.size == 0 or a.shape[2] == 0:
        return result
    with nogil:
        for k in range(n):
            of_a, of_b = k if a.shape[0] > 1 else 0, k if b.shape[0] > 1 else 0
            if real is float:
                cs_row_products_float(&a[of_a, 0, 0], <int> a.shape[1], &b[of_b, 0, 0], <int> b.shape[1], <int> a.shape[2],
                                      &out[k, 0, 0])
            else:
                cs_row_products_double(&a[of_a, 0, 0], <int> a.shape[1], &b[of_b, 0, 0], <int> b.shape[1], <int> a.shape[2],
                                       &out[k, 0, 0])
    return result


def combinations(const real[:, :, ::1] factors, const real[:, :, ::1] rows):
    """Products of matrices, for stacks of them: sums of rows times factors, one row after the other.

    Parameters
    ----------
    factors, rows : memoryview, shapes (n, i, k) and (n, k, p), float32 or float64
        Either may be one matrix for all.

    Returns
    -------
    ndarray, shape (n, i, p), of the same type

    Raises
    ------
    ValueError
        When shapes do not fit together.
    """
    check_stacks(factors, rows, factors.shape[2], rows.shape[1])
    cdef Py_ssize_t n = 0 if factors.shape[0] == 0 or rows.shape[0] == 0 else max(factors.shape[0], rows.shape[0])
    cdef Py_ssize_t k, i, of_a, of_b, count = rows.shape[1], wide = rows.shape[2]
    result = np.zeros((n, factors.shape[1], wide), np.float32 if real is float else np.float64)
    cdef real[:, :, ::1] out = result
    if result.size == 0 or count == 0:
        return result
    with nogil:
        for k in range(n):
            of_a, of_b = k if factors.shape[0] > 1 else 0, k if rows.shape[0] > 1 else 0
            for i in range(factors.shape[1]):
                if real is float:
                    cs_combine(&rows[of_b, 0, 0], 0, wide, &factors[of_a, i, 0], <int> count, 1, <int> wide, &out[k, i, 0], 0)
                else:
                    cs_combine_double(&rows[of_b, 0, 0], &factors[of_a, i, 0], <int> count, <int> wide, &out[k, i, 0])
    return result


cdef int eliminate(double *a, double *b, Py_ssize_t n, Py_ssize_t wide) noexcept nogil:
    """Solve for `wide` right-hand sides in place, by Gauss's elimination with the largest pivots of columns; 1 where singular.

    What is not a number gives NaN.
    """
    cdef Py_ssize_t j, i, k, top
    cdef double factor, t
    for j in range(n):
        top = j
        for i in range(j+1, n):
            if fabs(a[i*n+j]) > fabs(a[top*n+j]):
                top = i
        if a[top*n+j] == 0:
            return 1
        if top != j:
            for k in range(j, n):
                t = a[j*n+k]
                a[j*n+k] = a[top*n+k]
                a[top*n+k] = t
            for k in range(wide):
                t = b[j*wide+k]
                b[j*wide+k] = b[top*wide+k]
                b[top*wide+k] = t
        for i in range(j+1, n):
            factor = a[i*n+j]/a[j*n+j]
            if factor == 0:
                continue
            for k in range(j+1, n):
                a[i*n+k] -= factor*a[j*n+k]
            for k in range(wide):
                b[i*wide+k] -= factor*b[j*wide+k]
    for j in range(n-1, -1, -1):
        for i in range(j+1, n):
            factor = a[j*n+i]
            for k in range(wide):
                b[j*wide+k] -= factor*b[i*wide+k]
        for k in range(wide):
            b[j*wide+k] /= a[j*n+j]
    return 0


def solutions(double[:, :, ::1] matrices, double[:, :, ::1] values):
    """Solve stacks of linear equations in place.

    Parameters
    ----------
    matrices : memoryview, shape (n, k, k), float64
        Changed to something else.
    values : memoryview, shape (n, k, m), float64
        Right-hand sides; replaced by the solutions.

    Returns
    -------
    int
        Number of the first matrix that is singular, or -1.

    Raises
    ------
    ValueError
        When shapes do not fit together.
    """
    cdef Py_ssize_t n = matrices.shape[0], side = matrices.shape[1], k, bad = -1
    if matrices.shape[2] != side or values.shape[0] != n or values.shape[1] != side:
        raise ValueError("matrices must be square, with a right-hand side for each")
    if n == 0 or side == 0 or values.shape[2] == 0:
        return -1
    with nogil:
        for k in range(n):
            if bad < 0 and eliminate(&matrices[k, 0, 0], &values[k, 0, 0], side, values.shape[2]):
                bad = k
    return bad


cdef inline double row_product(const double *a, const double *b, Py_ssize_t n) noexcept nogil:
    """Sum of products of two rows."""
    cdef double s
    cs_row_products_double(a, 1, b, 1, <int> n, &s)
    return s


cdef inline void turn(double *a, double *b, Py_ssize_t n, double c, double s) noexcept nogil:
    """Rotate two rows in their plane."""
    cdef Py_ssize_t k
    cdef double t
    for k in range(n):
        t = a[k]
        a[k] = c*t-s*b[k]
        b[k] = s*t+c*b[k]


def rotated(double[:, ::1] rows, double[:, ::1] turns, double least, int most):
    """Make the rows of a matrix orthogonal by rotations of pairs of them, in place: the singular value decomposition.

    Hestenes (1958), J. Soc. Indust. Appl. Math. 6, 51.

    Parameters
    ----------
    rows : memoryview, shape (k, n), float64
    turns : memoryview, shape (k, m), float64
        Gets the same rotations.
    least : float
        Pairs whose product, in units of their lengths, is smaller count as orthogonal.
    most : int
        Sweeps over all pairs.

    Returns
    -------
    bool
        Whether all pairs have become so.

    Raises
    ------
    ValueError
        When there are not as many rows of both.
    """
    cdef Py_ssize_t k = rows.shape[0], n = rows.shape[1], i, j
    if turns.shape[0] != k or n > MOST or turns.shape[1] > MOST:
        raise ValueError(f"there are {k} rows to be rotated, and {turns.shape[0]} to follow them")
    if k < 2 or n == 0:
        return True
    cdef double[::1] square = np.zeros(k)
    cdef double product, zeta, t, c
    cdef int sweep
    cdef bint done = False
    with nogil:
        for sweep in range(most):
            done = True
            for i in range(k):
                square[i] = row_product(&rows[i, 0], &rows[i, 0], n)
            for i in range(k-1):
                for j in range(i+1, k):
                    product = row_product(&rows[i, 0], &rows[j, 0], n)
                    if not fabs(product) > least*sqrt(square[i])*sqrt(square[j]):
                        continue
                    done = False
                    zeta = (square[j]-square[i])/(2*product)
                    t = (1 if zeta > 0 else -1)/(fabs(zeta)+sqrt(1+zeta*zeta))
                    c = 1/sqrt(1+t*t)
                    turn(&rows[i, 0], &rows[j, 0], n, c, c*t)
                    if turns.shape[1]:
                        turn(&turns[i, 0], &turns[j, 0], turns.shape[1], c, c*t)
                    square[i] = row_product(&rows[i, 0], &rows[i, 0], n)
                    square[j] = row_product(&rows[j, 0], &rows[j, 0], n)
            if done:
                break
    return done
