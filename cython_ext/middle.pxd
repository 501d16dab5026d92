"""The median of a few values."""


cdef inline double median(double *values, Py_ssize_t n) noexcept nogil:
    """Median; the values are sorted in place."""
    cdef Py_ssize_t i, j, gap = 1
    cdef double v
    while gap < n//3:
        gap = 3*gap+1
    # after Shell: members are few, and their values need no other order
    while gap > 0:
        for i in range(gap, n):
            v, j = values[i], i
            while j >= gap and values[j-gap] > v:
                values[j] = values[j-gap]
                j -= gap
            values[j] = v
        gap //= 3
    return values[n//2] if n % 2 else 0.5*(values[n//2-1]+values[n//2])
