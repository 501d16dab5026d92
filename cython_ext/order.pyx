"""Sorting by the digits of whole numbers, several times as fast as by comparisons where tables are long. No global mutable
state.
"""
import numpy as np

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    BITS = 11
    DIGITS = 6          # of 11 bits hold the 64 of a key
    VALUES = 1 << BITS

MOST = 2**31-1
"""Rows that are sorted together."""

ctypedef unsigned long long uint64


def order_of(const long long[::1] keys, before=None):
    """The order of whole numbers; those of equal ones stay in the order in which they are given.

    Parameters
    ----------
    keys : ndarray, shape (n,), int64
    before : ndarray, shape (n,), intp, optional
        An order to begin from, as that by a less important key.

    Returns
    -------
    ndarray, shape (n,), intp
        As `numpy.lexsort` of the less important key and this one.
    """
    cdef Py_ssize_t n = keys.shape[0], i
    cdef bint ascending = True
    if n > MOST:
        raise ValueError(f"{n} rows are too many: at most {MOST} are sorted together")
    if before is not None and len(before) != n:
        raise ValueError(f"an order of {len(before)} is not one of {n} keys")
    out = np.arange(n, dtype=np.intp) if before is None else np.array(before, dtype=np.intp)
    cdef Py_ssize_t[::1] order = out
    for i in range(n):
        if not 0 <= order[i] < n:
            raise ValueError(f"{order[i]} is no row of {n}")
    with nogil:
        for i in range(1, n):
            if keys[order[i]] < keys[order[i-1]]:
                ascending = False
                break
    if not ascending:
        by_digits(keys, order)
    return out


cdef int by_digits(const long long[::1] keys, Py_ssize_t[::1] order) except -1:
    """Bring an order into that of the keys, from the least digit to the greatest; digits that all share are passed over."""
    cdef Py_ssize_t n = keys.shape[0], i
    cdef int digit
    cdef uint64 value, sign = <uint64>1 << 63
    cdef uint64 *key = <uint64 *>malloc(2*n*sizeof(uint64))
    cdef int *row = <int *>malloc(2*n*sizeof(int))
    cdef Py_ssize_t *count = <Py_ssize_t *>malloc(DIGITS*VALUES*sizeof(Py_ssize_t))
    cdef uint64 *key_from = key
    cdef uint64 *key_to = key+n
    cdef int *row_from = row
    cdef int *row_to = row+n
    if key == NULL or row == NULL or count == NULL:
        free(key)
        free(row)
        free(count)
        raise MemoryError("no memory to sort keys")
    with nogil:
        memset(count, 0, DIGITS*VALUES*sizeof(Py_ssize_t))
        for i in range(n):
            # with the sign turned, negative numbers come first
            value = <uint64>keys[order[i]]^sign
            key[i], row[i] = value, <int>order[i]
            for digit in range(DIGITS):
                count[digit*VALUES+(value >> digit*BITS & VALUES-1)] += 1
        for digit in range(DIGITS):
            if count[digit*VALUES+(key_from[0] >> digit*BITS & VALUES-1)] == n:
                continue
            scatter(key_from, row_from, key_to, row_to, n, digit*BITS, count+digit*VALUES)
            key_from, key_to = key_to, key_from
            row_from, row_to = row_to, row_from
        for i in range(n):
            order[i] = row_from[i]
    free(key)
    free(row)
    free(count)
    return 0


cdef void scatter(const uint64 *key, const int *row, uint64 *key_to, int *row_to, Py_ssize_t n, int shift,
                  Py_ssize_t *count) noexcept nogil:
    """Sort keys and their rows by one digit, of whose values there are so many."""
    cdef Py_ssize_t i, k, at = 0, number
    for k in range(VALUES):
        number = count[k]
        count[k] = at
        at += number
    for i in range(n):
        k = key[i] >> shift & VALUES-1
        key_to[count[k]] = key[i]
        row_to[count[k]] = row[i]
        count[k] += 1


cdef class Rows:
    """Rows of several tables, one after the other, that are copied as bytes: NumPy copies structures column by column.

    Parameters
    ----------
    tables : list of (ndarray, shape (k, width), int8; ndarray, shape (n,), intp)
        Rows of one width, and which of them are meant; one table at least. The arrays must not change.
    """
    cdef object tables
    cdef const char **row
    cdef Py_ssize_t n, width

    def __cinit__(self, tables):
        cdef const char[:, ::1] rows
        cdef const Py_ssize_t[::1] which
        cdef Py_ssize_t i, k = 0
        # a list of its own holds the arrays as long as rows point into them
        self.tables = tables = list(tables)
        if not tables or np.ndim(tables[0][0]) != 2:
            raise ValueError("there must be at least one table, of rows of bytes")
        self.width = tables[0][0].shape[1]
        self.n = sum(len(w) for _, w in tables)
        self.row = <const char **>malloc(max(self.n, 1)*sizeof(char *))
        if self.row == NULL:
            raise MemoryError(f"no memory for the addresses of {self.n} rows")
        for rows, which in tables:
            if rows.shape[1] != self.width:
                raise ValueError(f"rows of {rows.shape[1]} and {self.width} bytes are of different tables")
            for i in range(which.shape[0]):
                if not 0 <= which[i] < rows.shape[0]:
                    raise ValueError(f"{which[i]} is no row of {rows.shape[0]}")
                self.row[k] = &rows[which[i], 0]
                k += 1

    def __dealloc__(self):
        free(self.row)

    def __len__(self):
        return self.n

    def take(self, const Py_ssize_t[::1] order):
        """Copies of rows by number.

        Parameters
        ----------
        order : ndarray, shape (m,), intp

        Returns
        -------
        ndarray, shape (m, width), int8
        """
        cdef Py_ssize_t i, m = order.shape[0]
        out_ = np.empty((m, self.width), dtype=np.int8)
        cdef char[:, ::1] out = out_
        for i in range(m):
            if not 0 <= order[i] < self.n:
                raise ValueError(f"{order[i]} is no row of {self.n}")
        with nogil:
            for i in range(m):
                memcpy(&out[i, 0], self.row[order[i]], self.width)
        return out_
