"""Checks of lists of pairs: the partners of source k are ``indices[indptr[k]:indptr[k+1]]``."""


cdef inline int check_numbers(const int[::1] numbers, Py_ssize_t count, Py_ssize_t end, bint complements, name) except -1:
    """Raise ValueError unless the first `count` numbers (or, with `complements`, their complements) are from 0 to below `end`."""
    cdef Py_ssize_t m
    cdef unsigned int limit = <unsigned int> min(end, 2147483648)
    cdef int sign = -1 if complements else 0
    cdef bint outside = False
    # without a branch, so that it vectorises; as an unsigned number a negative one is too large
    for m in range(count):
        outside |= <unsigned int> (numbers[m] ^ (numbers[m] >> 31 & sign)) >= limit
    if outside:
        for m in range(count):
            if <unsigned int> (numbers[m] ^ (numbers[m] >> 31 & sign)) >= limit:
                raise ValueError(f"{name}[{m}] is {numbers[m]}: there are {end}")
    return 0


cdef inline int check_pairs(const long long[::1] indptr, const int[::1] indices, Py_ssize_t n) except -1:
    """Raise ValueError unless indptr ascends from 0 within indices, n+1 numbers, and all partners are among n sources."""
    cdef Py_ssize_t k
    if indptr.shape[0] != n+1 or n < 0:
        raise ValueError(f"indptr has {indptr.shape[0]} numbers: {max(n, 0)} sources need one more than they are")
    if indptr[0] != 0 or indptr[n] > indices.shape[0]:
        raise ValueError(f"indptr runs from {indptr[0]} to {indptr[n]}: it must begin at 0 and stay within the "
                         f"{indices.shape[0]} indices")
    for k in range(n):
        if indptr[k+1] < indptr[k]:
            raise ValueError(f"indptr descends from {indptr[k]} to {indptr[k+1]} at source {k}")
    return check_numbers(indices, indptr[n], n, False, "indices")
