"""Which detections of an object count."""

cpdef enum Use:
    AVERAGED = 0
    SUMMED = 1
    SEVERAL = 2
    FARTHER = 3
    OVERLAP = 4

cpdef enum Policy:
    FLAG = 0
    SUM = 1
    CLOSEST = 2


cdef Py_ssize_t most_members(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, Py_ssize_t detections) except -1
