"""Points of a plane near others, by a grid of cells. No global mutable state."""
import numpy as np

from libc.math cimport floor, sqrt
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy


cdef double MOST = 1e150


cdef struct Grid:
    double x0, y0, side
    Py_ssize_t nx, ny


cdef inline Py_ssize_t cell_of(double at, double first, double side, Py_ssize_t cells) noexcept nogil:
    """Number of a cell along one axis; what lies outside belongs to the cell at the edge."""
    cdef double cell = floor((at-first)/side)
    return 0 if not cell > 0 else cells-1 if cell >= cells else <Py_ssize_t> cell


cdef struct Point:
    double x, y
    Py_ssize_t number


cdef struct Found:
    # numbers, how many there are, and how many there is room for
    Py_ssize_t *numbers
    Py_ssize_t count, room


cdef bint gather(const Point *points, const Py_ssize_t *start, const Grid *grid, double cx, double cy, double reach,
                 Found *found) noexcept nogil:
    """Add the points within reach of a centre; gives 0 when there is no memory."""
    cdef Py_ssize_t row, m
    cdef Py_ssize_t *more
    cdef Py_ssize_t left = cell_of(cx-reach, grid.x0, grid.side, grid.nx), right = cell_of(cx+reach, grid.x0, grid.side, grid.nx)
    cdef Py_ssize_t low = cell_of(cy-reach, grid.y0, grid.side, grid.ny), top = cell_of(cy+reach, grid.y0, grid.side, grid.ny)
    cdef double square = reach*reach, dx, dy
    for row in range(low, top+1):
        # cells of a row lie next to each other
        for m in range(start[row*grid.nx+left], start[row*grid.nx+right+1]):
            dx, dy = points[m].x-cx, points[m].y-cy
            if dx*dx+dy*dy <= square:
                if found.count == found.room:
                    found.room = 2*found.room+1024
                    more = <Py_ssize_t *> realloc(found.numbers, found.room*sizeof(Py_ssize_t))
                    if more == NULL:
                        return 0
                    found.numbers = more
                found.numbers[found.count] = points[m].number
                found.count += 1
    return 1


cdef Grid grid_of(x, y, double reach):
    """Cells as wide as the reach, but not many more of them than points."""
    cdef Grid grid
    grid.x0, grid.y0 = x.min(), y.min()
    cdef double wide = x.max()-grid.x0, high = y.max()-grid.y0
    grid.side = max(reach, sqrt(wide*high/(2*len(x))), max(wide, high)/(2*len(x)), 1e-300)
    grid.nx, grid.ny = <Py_ssize_t> (wide/grid.side)+1, <Py_ssize_t> (high/grid.side)+1
    return grid


cdef bint within(const double[::1] values, double least) noexcept nogil:
    """Whether all values are from the least one to `MOST`; NaN is not."""
    cdef Py_ssize_t k
    cdef bint good = True
    for k in range(values.shape[0]):
        good &= (values[k] >= least) & (values[k] <= MOST)
    return good


def neighbours(const double[::1] x, const double[::1] y, const double[::1] centre_x, const double[::1] centre_y,
               const double[::1] reach):
    """The points within reach of each centre.

    Parameters
    ----------
    x, y : memoryview, shape (n,), float64
        Points, finite.
    centre_x, centre_y, reach : memoryview, shape (m,), float64
        Finite; the reach not negative.

    Returns
    -------
    indptr : ndarray, shape (m+1,), intp
    indices : ndarray, intp
        Points near centre k are ``indices[indptr[k]:indptr[k+1]]``, in no particular order.

    Raises
    ------
    ValueError
        When lengths differ, a number is not finite or a reach is negative.
    MemoryError
        When there is no memory for the list.
    """
    cdef Py_ssize_t n = x.shape[0], m = centre_x.shape[0], k, c
    if y.shape[0] != n or centre_y.shape[0] != m or reach.shape[0] != m:
        raise ValueError("x and y must be as many, and so must centres and reaches")
    if not (within(x, -MOST) and within(y, -MOST) and within(centre_x, -MOST) and within(centre_y, -MOST) and within(reach, 0)):
        raise ValueError("points, centres and reaches must be finite and at most 1e150 (so are squares), and no reach negative")
    pointers = np.zeros(m+1, np.intp)
    if n == 0 or m == 0:
        return pointers, np.zeros(0, np.intp)
    cdef Grid grid = grid_of(np.asarray(x), np.asarray(y), float(np.max(reach)))
    starts, cells = np.zeros(grid.nx*grid.ny+2, np.intp), np.empty(n, np.intp)
    cdef Py_ssize_t[::1] start = starts, cell = cells, pointer = pointers
    cdef Point *points = <Point *> malloc(n*sizeof(Point))
    cdef Found found = Found(NULL, 0, 0)
    cdef bint enough = points != NULL
    with nogil:
        if enough:
            for k in range(n):
                cell[k] = cell_of(y[k], grid.y0, grid.side, grid.ny)*grid.nx+cell_of(x[k], grid.x0, grid.side, grid.nx)
                start[cell[k]+2] += 1
            for c in range(grid.nx*grid.ny):
                start[c+2] += start[c+1]
            for k in range(n):
                # ends where the next cell starts
                points[start[cell[k]+1]] = Point(x[k], y[k], k)
                start[cell[k]+1] += 1
            for k in range(m):
                enough = gather(points, &start[0], &grid, centre_x[k], centre_y[k], reach[k], &found)
                if not enough:
                    break
                pointer[k+1] = found.count
    free(points)
    indices = np.empty(found.count if enough else 0, np.intp)
    cdef Py_ssize_t[::1] index = indices
    if enough and found.count:
        memcpy(&index[0], found.numbers, found.count*sizeof(Py_ssize_t))
    free(found.numbers)
    if not enough:
        raise MemoryError(f"no memory for the neighbours of {m} points")
    return pointers, indices
