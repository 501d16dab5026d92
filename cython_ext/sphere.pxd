"""Points on the sphere in zones of declination, so that those near a position are found fast."""


cdef class Points:
    cdef readonly object order
    cdef const double[::1] ra, dec
    cdef const double[:, ::1] xyz
    cdef const Py_ssize_t[::1] start, rank
    cdef Py_ssize_t first, zones, n
    cdef double limit, height, reach2

    cdef Py_ssize_t around(self, const double *position, double ra, double dec, double chord2, int *found,
                           double *d2) noexcept nogil
    cdef Py_ssize_t lower(self, Py_ssize_t zone, double ra) noexcept nogil
