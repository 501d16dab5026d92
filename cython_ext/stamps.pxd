"""Stamps on an image: the part of a stamp that lies on it, and the check of a layout of stamps in a flat buffer.

A layout has five columns: offset, size, stride, x0, y0. Source k owns three stamps (PSF, d/dx, d/dy) that follow each other,
the first at ``buffer[offset[k]]``, each of ``size[k]`` rows that are ``stride[k]`` floats apart.
"""


cdef enum:
    # the largest size, stride, and distance from the image's corner: sums and products of them do not overflow
    LARGEST = 1 << 20
    FARTHEST = 1 << 30


cdef struct Part:
    # columns and rows of a stamp that lie on an image, counted from its lower left pixel; no rows where it misses the image
    Py_ssize_t left, low
    int wide, high


cdef inline Part part_on_image(Py_ssize_t x0, Py_ssize_t y0, Py_ssize_t size, Py_ssize_t ny, Py_ssize_t nx) noexcept nogil:
    """The part on an image of shape (ny, nx) of a stamp whose lower left pixel is (x0, y0), which may be any numbers."""
    cdef Part part
    part.left, part.low, part.wide, part.high = 0, 0, 0, 0
    # nothing is subtracted from a position before it is known to be small
    if x0 < nx and y0 < ny and x0 > -size and y0 > -size:
        part.left, part.low = max(0, -x0), max(0, -y0)
        part.wide, part.high = <int> (min(size, nx-x0)-part.left), <int> (min(size, ny-y0)-part.low)
    return part


cdef inline int check_layout(const Py_ssize_t[:, ::1] layout, Py_ssize_t length) except -1:
    """Raise ValueError unless each source's three stamps lie in a buffer of `length` values, rows a multiple of eight apart."""
    cdef Py_ssize_t k, offset, size, stride
    if layout.shape[1] != 5:
        raise ValueError(f"layout has {layout.shape[1]} columns: it needs offset, size, stride, x0 and y0")
    for k in range(layout.shape[0]):
        offset, size, stride = layout[k, 0], layout[k, 1], layout[k, 2]
        if not 1 <= size <= stride <= LARGEST or stride % 8 != 0:
            raise ValueError(f"source {k} has a stamp of {size} pixels with rows {stride} apart: the size must be at least 1, "
                             f"the stride at least the size, a multiple of eight and at most {LARGEST}")
        if not 0 <= offset <= length-3*size*stride:
            raise ValueError(f"the stamps of source {k} leave the buffer: three of {size} rows, {stride} apart, from {offset}, "
                             f"in a buffer of {length}")
        if not (-FARTHEST <= layout[k, 3] <= FARTHEST and -FARTHEST <= layout[k, 4] <= FARTHEST):
            raise ValueError(f"the stamp of source {k} begins at ({layout[k, 3]}, {layout[k, 4]}): at most {FARTHEST} pixels "
                             "from the image's corner are allowed")
    return 0
