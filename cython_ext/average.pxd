"""What kernels of averages share."""


cdef Py_ssize_t most_members(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, Py_ssize_t detections) except -1
