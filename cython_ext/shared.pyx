"""Sums of the normal equations of several images, each in parameters of its own. No global mutable state."""
import numpy as np

from crowdsource.cython_ext.pairs cimport check_numbers, check_pairs


cdef inline long long place(const int[::1] indices, long long low, long long high, int wanted) noexcept nogil:
    """Where an ascending part of the indices has a number, or -1."""
    cdef long long middle, end = high
    while low < high:
        middle = (low+high)//2
        if indices[middle] < wanted:
            low = middle+1
        else:
            high = middle
    return low if low < end and indices[low] == wanted else -1


def places(const long long[::1] indptr, const int[::1] indices, const long long[::1] part_indptr, const int[::1] part_indices,
           const int[::1] rows):
    """Where the pairs of one image stand among those of all.

    Parameters
    ----------
    indptr, indices
        Pairs of all images: each at its smaller number, partners ascending.
    part_indptr, part_indices
        Pairs of the image, of its own n numbers, each at either of the two.
    rows : memoryview, shape (n,), int32
        What each of its numbers is among those of all.

    Returns
    -------
    ndarray, shape (m,), int64
        Place of each of the image's pairs, -1 for those that are not there.

    Raises
    ------
    ValueError
        When pairs or rows are none of the numbers.
    """
    cdef Py_ssize_t n = rows.shape[0], total = indptr.shape[0]-1, k, m
    cdef int first, second
    check_pairs(part_indptr, part_indices, n)
    check_pairs(indptr, indices, total)
    check_numbers(rows, n, total, False, "rows")
    out = np.empty(part_indptr[n], np.int64)
    cdef long long[::1] where = out
    with nogil:
        for k in range(n):
            for m in range(part_indptr[k], part_indptr[k+1]):
                first, second = rows[k], rows[part_indices[m]]
                if first > second:
                    first, second = second, first
                where[m] = place(indices, indptr[first], indptr[first+1], second)
    return out


def add_blocks(const float[:, :, ::1] blocks, const long long[::1] part_indptr, const int[::1] part_indices, const int[::1] rows,
               const double[:, :, ::1] factors, const long long[::1] where, float[:, :, ::1] total):
    """Add an image's blocks, each with its factors from both sides, to those of all images, in place.

    Parameters
    ----------
    blocks : memoryview, shape (m, 3, 3), float32
        Of the image's pairs; rows belong to the number at which a pair stands.
    part_indptr, part_indices, rows
        As `places`.
    factors : memoryview, shape (n, 3, 3), float64
        Derivatives of the image's parameters by those of all images.
    where : memoryview, shape (m,), int64
        From `places`, none of them -1.
    total : memoryview, shape (l, 3, 3), float32
        Of all pairs; rows belong to the smaller number.

    Raises
    ------
    ValueError
        When shapes differ or places are not among the pairs.
    """
    cdef Py_ssize_t n = rows.shape[0], k, m
    cdef int i, j, b
    cdef double[9] half, whole
    cdef double s
    cdef bint turned
    check_pairs(part_indptr, part_indices, n)
    if blocks.shape[1] != 3 or blocks.shape[2] != 3 or total.shape[1] != 3 or total.shape[2] != 3 or factors.shape[0] != n \
            or factors.shape[1] != 3 or factors.shape[2] != 3 or blocks.shape[0] < part_indptr[n] or where.shape[0] < part_indptr[n]:
        raise ValueError("blocks and factors must be of 3x3, as many as pairs and sources")
    for m in range(part_indptr[n]):
        if not 0 <= where[m] < total.shape[0]:
            raise ValueError(f"where[{m}] is {where[m]}: there are {total.shape[0]} pairs")
    with nogil:
        for k in range(n):
            for m in range(part_indptr[k], part_indptr[k+1]):
                b = part_indices[m]
                for i in range(3):
                    for j in range(3):
                        half[3*i+j] = blocks[m, i, 0]*factors[b, 0, j]+blocks[m, i, 1]*factors[b, 1, j]+blocks[m, i, 2]*factors[b, 2, j]
                turned = rows[k] > rows[b]
                for i in range(3):
                    for j in range(3):
                        s = factors[k, 0, i]*half[j]+factors[k, 1, i]*half[3+j]+factors[k, 2, i]*half[6+j]
                        if turned:
                            total[where[m], j, i] += <float> s
                        else:
                            total[where[m], i, j] += <float> s
