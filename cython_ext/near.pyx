"""Points of a plane near others, by a grid of cells. No global mutable state."""
import numpy as np

from libc.math cimport floor, sqrt


cdef struct Grid:
    double x0, y0, side
    Py_ssize_t nx, ny


cdef inline Py_ssize_t cell_of(double at, double first, double side, Py_ssize_t cells) noexcept nogil:
    """Number of a cell along one axis; what lies outside belongs to the cell at the edge."""
    cdef double cell = floor((at-first)/side)
    return 0 if not cell > 0 else cells-1 if cell >= cells else <Py_ssize_t> cell


cdef Py_ssize_t gather(const double[::1] x, const double[::1] y, const Py_ssize_t[::1] start, const Py_ssize_t[::1] member,
                       const Grid *grid, double cx, double cy, double reach, Py_ssize_t *found) noexcept nogil:
    """Count, and list where `found` is not NULL, the points within reach of a centre."""
    cdef Py_ssize_t count = 0, row, column, m, k
    cdef Py_ssize_t left = cell_of(cx-reach, grid.x0, grid.side, grid.nx), right = cell_of(cx+reach, grid.x0, grid.side, grid.nx)
    cdef Py_ssize_t low = cell_of(cy-reach, grid.y0, grid.side, grid.ny), top = cell_of(cy+reach, grid.y0, grid.side, grid.ny)
    for row in range(low, top+1):
        # cells of a row lie next to each other
        for m in range(start[row*grid.nx+left], start[row*grid.nx+right+1]):
            k = member[m]
            if (x[k]-cx)*(x[k]-cx)+(y[k]-cy)*(y[k]-cy) <= reach*reach:
                if found != NULL:
                    found[count] = k
                count += 1
    return count


cdef Grid grid_of(x, y, double reach):
    """Cells as wide as the reach, but not many more of them than points."""
    cdef Grid grid
    grid.x0, grid.y0 = x.min(), y.min()
    cdef double wide = x.max()-grid.x0, high = y.max()-grid.y0
    grid.side = max(reach, sqrt(wide*high/(2*len(x))), max(wide, high)/(2*len(x)), 1e-300)
    grid.nx, grid.ny = <Py_ssize_t> (wide/grid.side)+1, <Py_ssize_t> (high/grid.side)+1
    return grid


def neighbours(const double[::1] x, const double[::1] y, const double[::1] centre_x, const double[::1] centre_y,
               const double[::1] reach):
    """The points within reach of each centre.

    Parameters
    ----------
    x, y : memoryview, shape (n,), float64
        Points, finite.
    centre_x, centre_y, reach : memoryview, shape (m,), float64
        Finite.

    Returns
    -------
    indptr : ndarray, shape (m+1,), intp
    indices : ndarray, intp
        Points near centre k are ``indices[indptr[k]:indptr[k+1]]``, in no particular order.

    Raises
    ------
    ValueError
        When lengths differ.
    """
    cdef Py_ssize_t n = x.shape[0], m = centre_x.shape[0], k, c
    if y.shape[0] != n or centre_y.shape[0] != m or reach.shape[0] != m:
        raise ValueError("x and y must be as many, and so must centres and reaches")
    pointers = np.zeros(m+1, np.intp)
    if n == 0 or m == 0:
        return pointers, np.zeros(0, np.intp)
    cdef Grid grid = grid_of(np.asarray(x), np.asarray(y), float(np.max(reach)))
    starts, members, cells = np.zeros(grid.nx*grid.ny+2, np.intp), np.empty(n, np.intp), np.empty(n, np.intp)
    cdef Py_ssize_t[::1] start = starts, member = members, cell = cells, pointer = pointers
    with nogil:
        for k in range(n):
            cell[k] = cell_of(y[k], grid.y0, grid.side, grid.ny)*grid.nx+cell_of(x[k], grid.x0, grid.side, grid.nx)
            start[cell[k]+2] += 1
        for c in range(grid.nx*grid.ny):
            start[c+2] += start[c+1]
        for k in range(n):
            # ends where the next cell starts
            member[start[cell[k]+1]] = k
            start[cell[k]+1] += 1
        for k in range(m):
            pointer[k+1] = pointer[k]+gather(x, y, start, member, &grid, centre_x[k], centre_y[k], reach[k], NULL)
    indices = np.empty(max(1, pointers[m]), np.intp)
    cdef Py_ssize_t[::1] index = indices
    with nogil:
        for k in range(m):
            if pointer[k+1] > pointer[k]:
                gather(x, y, start, member, &grid, centre_x[k], centre_y[k], reach[k], &index[pointer[k]])
    return pointers, indices[:pointers[m]]
