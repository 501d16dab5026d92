"""Conjugate gradients on block normal equations, and local blocks of their inverse. No global mutable state."""
import numpy as np

from libc.math cimport fabs, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from crowdsource.cython_ext.kinds cimport number
from crowdsource.cython_ext.pairs cimport check_numbers, check_pairs
from crowdsource.cython_ext.smallchol cimport cholesky, invert3


cdef Py_ssize_t MOST_PAIRS = 2**31-1

cdef extern from "simd.h" nogil:
    int cs_kind
    void cs_block_row(const float *blocks, const int *others, Py_ssize_t count, const double *x, double *y,
                      Py_ssize_t own) noexcept

cs_kind = number


cdef void multiply(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                   const int[::1] indices, const float *tail, const double[:, ::1] z, double beta, double[:, ::1] p,
                   double[:, ::1] y) noexcept nogil:
    """p = z + beta p and y = N p for the symmetric matrix of which each off-diagonal block is stored once, at its row's owner.

    Vectors hold three numbers a source and a fourth, which in p is 0. `tail` is the last block: kernels read past blocks.
    """
    cdef Py_ssize_t n = diagonal.shape[0], last = indices.shape[0]-1, k, first, count
    cdef double a, b, c
    for k in range(n):
        a, b, c = z[k, 0]+beta*p[k, 0], z[k, 1]+beta*p[k, 1], z[k, 2]+beta*p[k, 2]
        p[k, 0], p[k, 1], p[k, 2] = a, b, c
        y[k, 0] = diagonal[k, 0]*a+diagonal[k, 1]*b+diagonal[k, 2]*c
        y[k, 1] = diagonal[k, 3]*a+diagonal[k, 4]*b+diagonal[k, 5]*c
        y[k, 2] = diagonal[k, 6]*a+diagonal[k, 7]*b+diagonal[k, 8]*c
    for k in range(n):
        first = indptr[k]
        count = min(indptr[k+1], last)-first
        if count > 0:
            cs_block_row(&blocks[first, 0], &indices[first], count, &p[0, 0], &y[0, 0], k)
        if first <= last < indptr[k+1]:
            cs_block_row(tail, &indices[last], 1, &p[0, 0], &y[0, 0], k)


cdef double advance(const double[:, ::1] inverse, double alpha, const double[:, ::1] p, const double[:, ::1] w, double[:, ::1] x,
                    double[:, ::1] r, double[:, ::1] z) noexcept nogil:
    """x + alpha p, r - alpha w, and z = M^-1 r with 3x3 diagonal blocks; gives the product of r and z."""
    cdef Py_ssize_t k
    cdef double a, b, c, total = 0
    for k in range(r.shape[0]):
        x[k, 0] += alpha*p[k, 0]
        x[k, 1] += alpha*p[k, 1]
        x[k, 2] += alpha*p[k, 2]
        a, b, c = r[k, 0]-alpha*w[k, 0], r[k, 1]-alpha*w[k, 1], r[k, 2]-alpha*w[k, 2]
        r[k, 0], r[k, 1], r[k, 2] = a, b, c
        z[k, 0] = inverse[k, 0]*a+inverse[k, 1]*b+inverse[k, 2]*c
        z[k, 1] = inverse[k, 3]*a+inverse[k, 4]*b+inverse[k, 5]*c
        z[k, 2] = inverse[k, 6]*a+inverse[k, 7]*b+inverse[k, 8]*c
        total += a*z[k, 0]+b*z[k, 1]+c*z[k, 2]
    return total


cdef double dot(const double[:, ::1] a, const double[:, ::1] b) noexcept nogil:
    """Product of two vectors of which three numbers a source count."""
    cdef double s = 0
    cdef Py_ssize_t k
    for k in range(a.shape[0]):
        s += a[k, 0]*b[k, 0]+a[k, 1]*b[k, 1]+a[k, 2]*b[k, 2]
    return s


cdef void block_inverse(const double[:, ::1] diagonal, double[:, ::1] inverse, int n_parameters) noexcept nogil:
    """Inverse of each diagonal block, of its first entry alone where n_parameters is 1; zeros where it is singular."""
    cdef Py_ssize_t k, q
    for k in range(diagonal.shape[0]):
        if n_parameters == 3 and invert3(&diagonal[k, 0], &inverse[k, 0]) == 0:
            continue
        for q in range(9):
            inverse[k, q] = 0
        if diagonal[k, 0] > 0:
            inverse[k, 0] = 1/diagonal[k, 0]


cdef int check_matrix(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                      const int[::1] indices) except -1:
    """Raise ValueError unless blocks have nine columns and partners are sources."""
    if diagonal.shape[1] != 9 or blocks.shape[1] != 9:
        raise ValueError(f"diagonal and blocks have {diagonal.shape[1]} and {blocks.shape[1]} columns: both need nine")
    return check_pairs(indptr, indices, diagonal.shape[0])


def conjugate_gradients(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                        const int[::1] indices, const double[:, ::1] rhs, int n_parameters, double tolerance, int max_iterations):
    """Solve N x = rhs with a 3x3 block Jacobi preconditioner, from x = 0.

    Parameters
    ----------
    diagonal : memoryview, shape (n, 9), float64
        Diagonal blocks, any prior added.
    blocks : memoryview, shape (m, 9), float32
        Off-diagonal blocks, each pair once.
    indptr, indices
        Partners of each owner, as in `design.overlaps`.
    rhs : memoryview, shape (n, 3), float64
        Right-hand side.
    n_parameters : int
        3 to solve for all, 1 for the first of each three alone, the other two staying 0.
    tolerance : float
        Stop when the preconditioned residual norm fell by this factor.
    max_iterations : int
        Stop after so many iterations; and where the matrix turns out not to be positive.

    Returns
    -------
    x : ndarray, shape (n, 3), float64
    iterations : int
    reduction : float
        Final over first preconditioned residual norm.

    Raises
    ------
    ValueError
        When shapes differ, partners are no sources, or `n_parameters` is neither 1 nor 3.
    """
    cdef Py_ssize_t n = diagonal.shape[0]
    check_matrix(diagonal, blocks, indptr, indices)
    if rhs.shape[0] != n or rhs.shape[1] != 3 or blocks.shape[0] < indices.shape[0] or n_parameters not in (1, 3):
        raise ValueError(f"rhs needs three numbers for each of {n} sources, blocks as many rows as there are indices, and "
                         f"n_parameters must be 1 or 3, not {n_parameters}")
    solution, work = np.zeros((n, 4)), np.zeros((4, n, 4))
    inverses = np.zeros((n, 9))
    work[0, :, :3] = rhs
    cdef double[:, ::1] x = solution, r = work[0], z = work[1], p = work[2], w = work[3], inverse = inverses
    cdef double rz, first, fresh, curvature, beta = 0
    cdef int iteration = 0
    cdef float[12] tail
    if indices.shape[0]:
        memcpy(tail, &blocks[indices.shape[0]-1, 0], 9*sizeof(float))
    tail[9] = 0
    with nogil:
        block_inverse(diagonal, inverse, n_parameters)
        rz = first = advance(inverse, 0, p, w, x, r, z)
        while iteration < max_iterations and rz > tolerance*tolerance*first:
            multiply(diagonal, blocks, indptr, indices, tail, z, beta, p, w)
            curvature = dot(p, w)
            if not curvature > 0:
                break
            fresh = advance(inverse, rz/curvature, p, w, x, r, z)
            beta = fresh/rz
            rz = fresh
            iteration += 1
    return np.ascontiguousarray(solution[:, :3]), iteration, (max(rz, 0.)/first)**0.5 if first > 0 else 0.


def product(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr, const int[::1] indices,
            const double[:, ::1] x):
    """N x, shape (n, 3), for a part of a larger problem that a caller solves; arguments and errors as `conjugate_gradients`."""
    cdef Py_ssize_t n = diagonal.shape[0]
    check_matrix(diagonal, blocks, indptr, indices)
    if x.shape[0] != n or x.shape[1] != 3 or blocks.shape[0] < indices.shape[0]:
        raise ValueError(f"x needs three numbers for each of {n} sources, and blocks as many rows as there are indices")
    vectors = np.zeros((3, n, 4))
    vectors[0, :, :3] = x
    cdef double[:, ::1] z = vectors[0], p = vectors[1], y = vectors[2]
    cdef float[12] tail
    if indices.shape[0]:
        memcpy(tail, &blocks[indices.shape[0]-1, 0], 9*sizeof(float))
    tail[9] = 0
    with nogil:
        multiply(diagonal, blocks, indptr, indices, tail, z, 0., p, y)
    return np.ascontiguousarray(vectors[2, :, :3])


cdef inline Py_ssize_t block_of(int near) noexcept nogil:
    """Number of a pair's block; partners that own it hold its complement."""
    return near if near >= 0 else ~near


cdef int strongest(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                   const int[::1] indices, const int[::1] near, Py_ssize_t k, Py_ssize_t end, double least, int most,
                   int *chosen) noexcept nogil:
    """The `most` partners of k, of those below `end`, with the largest flux correlation above `least`; gives their number."""
    cdef int count = 0, j, worst
    cdef double[64] weight
    cdef double c
    cdef Py_ssize_t m, b
    if most == 0:
        return 0
    for m in range(indptr[k], indptr[k+1]):
        b = indices[m]
        if b >= end:
            continue
        c = fabs(blocks[block_of(near[m]), 0])/sqrt(diagonal[k, 0]*diagonal[b, 0]+1e-300)
        if c < least:
            continue
        if count < most:
            weight[count], chosen[count] = c, <int> b
            count += 1
            continue
        worst = 0
        for j in range(1, count):
            if weight[j] < weight[worst]:
                worst = j
        if c > weight[worst]:
            weight[worst], chosen[worst] = c, <int> b
    return count


cdef Py_ssize_t find(const long long[::1] indptr, const int[::1] indices, Py_ssize_t k, int b) noexcept nogil:
    """Position of partner b among those of k, or -1."""
    cdef Py_ssize_t m
    for m in range(indptr[k], indptr[k+1]):
        if indices[m] == b:
            return m
    return -1


cdef void put(double *dense, int stride, int row, int column, const float *block, bint transposed) noexcept nogil:
    """Write a 3x3 block below the diagonal of a dense matrix."""
    cdef int i, j
    for i in range(3):
        for j in range(3):
            dense[(row+i)*stride+column+j] = block[3*j+i] if transposed else block[3*i+j]


cdef void fill_local(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                     const int[::1] indices, const int[::1] near, const int *chosen, int count, double *dense,
                     int stride) noexcept nogil:
    """The lower triangle of the dense normal matrix of a few sources."""
    cdef int i, j, q
    cdef Py_ssize_t m
    for i in range(3*count):
        for j in range(i+1):
            dense[i*stride+j] = 0
    for i in range(count):
        for q in range(9):
            dense[(3*i+q//3)*stride+3*i+q % 3] = diagonal[chosen[i], q]
        for j in range(i):
            m = find(indptr, indices, chosen[i], chosen[j])
            if m >= 0:
                put(dense, stride, 3*i, 3*j, &blocks[block_of(near[m]), 0], near[m] < 0)


def partners(const long long[::1] indptr, const int[::1] indices):
    """All partners of each source from a list of pairs at their owners: those it owns, then its owners.

    Parameters
    ----------
    indptr, indices
        Partners that each source owns, at most 2^31-1.

    Returns
    -------
    indptr : ndarray, shape (n+1,), int64
    indices, near : ndarray, int32
        Partners, and the number of each pair's block: itself where the source owns it, its complement ``~number`` where the
        partner does.

    Raises
    ------
    ValueError
        When partners are no sources, or pairs are too many to be numbered.
    """
    cdef Py_ssize_t n = indptr.shape[0]-1, k, m, at
    check_pairs(indptr, indices, n)
    if indptr[n] > MOST_PAIRS:
        raise ValueError(f"{indptr[n]} pairs are too many: at most {MOST_PAIRS} can be numbered")
    ends = np.zeros(n+1, np.int64)
    everyone, numbers = np.empty(2*indptr[n], np.int32), np.empty(2*indptr[n], np.int32)
    cdef long long[::1] end = ends
    cdef int[::1] partner = everyone, near = numbers
    with nogil:
        for m in range(indptr[n]):
            end[indices[m]+1] += 1
        for k in range(n):
            end[k+1] += end[k]+indptr[k+1]-indptr[k]
        # from here end[k] is where the next partner of k goes
        for k in range(n):
            for m in range(indptr[k], indptr[k+1]):
                at = end[k]+m-indptr[k]
                partner[at], near[at] = indices[m], <int> m
        for k in range(n):
            end[k] += indptr[k+1]-indptr[k]
        for k in range(n):
            for m in range(indptr[k], indptr[k+1]):
                at = end[indices[m]]
                partner[at], near[at] = <int> k, <int> ~m
                end[indices[m]] += 1
    return np.r_[0, ends[:n]], everyone, numbers


cdef int check_neighbours(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                          const int[::1] indices, const int[::1] near, int most) except -1:
    """Raise ValueError unless all partners are sources, each with a block, and a local matrix of `most` of them can be had."""
    check_matrix(diagonal, blocks, indptr, indices)
    if not 0 <= most <= 64:
        raise ValueError(f"most is {most}: must be between 0 and 64")
    if near.shape[0] < indptr[diagonal.shape[0]]:
        raise ValueError(f"near has {near.shape[0]} numbers: it needs one for each of {indptr[diagonal.shape[0]]} partners")
    return check_numbers(near, indptr[diagonal.shape[0]], blocks.shape[0], True, "near")


def local_covariance(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                     const int[::1] indices, const int[::1] near, double least, int most):
    """Diagonal 3x3 blocks of the inverse of N, each with its strongest neighbours marginalised.

    For source k the normal matrix of k and its neighbours is inverted densely; every other source is taken as known.

    Parameters
    ----------
    diagonal, blocks
        The matrix, each off-diagonal block stored once, at its owner.
    indptr, indices, near
        All partners of each source, owned or not, and the number of each pair's block: itself where the source owns it,
        its complement ``~number`` where the partner does.
    least : float
        Neighbours with a smaller flux correlation are taken as known.
    most : int
        At most so many neighbours, 64 at most.

    Returns
    -------
    ndarray, shape (n, 9), float64
        Covariance blocks; infinite where the local matrix is singular.

    Raises
    ------
    ValueError
        When shapes differ, partners are no sources, there are no such blocks, or `most` is out of range.
    """
    cdef Py_ssize_t n = diagonal.shape[0], k
    cdef int count, size, stride = 3*(most+1), i, j, q
    check_neighbours(diagonal, blocks, indptr, indices, near, most)
    result = np.full((n, 9), np.inf)
    cdef double[:, ::1] out = result
    cdef int[65] chosen
    cdef double[9] tail
    cdef double *dense = <double *> malloc(stride*stride*sizeof(double))
    if dense == NULL:
        raise MemoryError("no memory for a local matrix")
    with nogil:
        for k in range(n):
            if not diagonal[k, 0] > 0:
                continue
            count = strongest(diagonal, blocks, indptr, indices, near, k, n, least, most, chosen)
            chosen[count] = <int> k
            size = 3*(count+1)
            fill_local(diagonal, blocks, indptr, indices, near, chosen, count+1, dense, stride)
            if cholesky(dense, size, stride):
                continue
            # the last block of L holds the Schur complement's factor: its inverse is the marginal covariance
            i = size-3
            for q in range(9):
                tail[q] = 0
                for j in range(min(q//3, q % 3)+1):
                    tail[q] += dense[(i+q//3)*stride+i+j]*dense[(i+q % 3)*stride+i+j]
            invert3(tail, &out[k, 0])
    free(dense)
    return result


def trial_fluxes(const double[:, ::1] diagonal, const float[:, ::1] blocks, const long long[::1] indptr,
                 const int[::1] indices, const int[::1] near, const double[:, ::1] rhs, Py_ssize_t first, double least, int most):
    """Flux, and its variance, that each candidate would have if it joined the sources and they gave way.

    The flux over the root of its variance is the root of the improvement in chi2. Candidates do not see each other.

    Parameters
    ----------
    diagonal, blocks, indptr, indices, near
        The normal matrix of sources and candidates, as for `local_covariance`.
    rhs : memoryview, shape (n, 3), float64
        Right-hand side for the residual.
    first : int
        Rows from here on are candidates.
    least : float
        Neighbours with a smaller flux correlation do not give way.
    most : int
        At most so many neighbours do, 64 at most.

    Returns
    -------
    ndarray, shape (n-first, 2), float64
        Flux and variance; 0 and infinite for a candidate that its neighbours can stand for.

    Raises
    ------
    ValueError
        When shapes differ, partners are no sources, there are no such blocks, or `first` or `most` is out of range.
    """
    cdef Py_ssize_t n = diagonal.shape[0], k, m
    cdef int count, size, stride = 3*max(1, most), i, j
    cdef double information, projection, t
    check_neighbours(diagonal, blocks, indptr, indices, near, most)
    if rhs.shape[0] != n or rhs.shape[1] != 3 or not 0 <= first <= n:
        raise ValueError(f"rhs needs three numbers for each of {n} sources, and first must be one of them or {n}, not {first}")
    result = np.zeros((n-first, 2))
    result[:, 1] = np.inf
    cdef double[:, ::1] out = result
    cdef int[65] chosen
    cdef double *dense = <double *> malloc((stride*stride+2*stride)*sizeof(double))
    if dense == NULL:
        raise MemoryError("no memory for a local matrix")
    cdef double *column = dense+stride*stride
    cdef double *right = column+stride
    with nogil:
        for k in range(first, n):
            if not diagonal[k, 0] > 0:
                continue
            count = strongest(diagonal, blocks, indptr, indices, near, k, first, least, most, chosen)
            size = 3*count
            fill_local(diagonal, blocks, indptr, indices, near, chosen, count, dense, stride)
            if cholesky(dense, size, stride):
                continue
            for i in range(count):
                m = find(indptr, indices, k, chosen[i])
                for j in range(3):
                    # the candidate's flux against the neighbour's three parameters
                    column[3*i+j] = blocks[block_of(near[m]), 3*j if near[m] < 0 else j]
                    right[3*i+j] = rhs[chosen[i], j]
            information, projection = diagonal[k, 0], rhs[k, 0]
            for i in range(size):
                for j in range(i):
                    t = dense[i*stride+j]
                    column[i] -= t*column[j]
                    right[i] -= t*right[j]
                column[i] /= dense[i*stride+i]
                right[i] /= dense[i*stride+i]
                information -= column[i]*column[i]
                projection -= column[i]*right[i]
            if information > 1e-6*diagonal[k, 0]:
                out[k-first, 0], out[k-first, 1] = projection/information, 1/information
    free(dense)
    return result
