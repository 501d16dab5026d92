"""Order statistics of the good pixels of image blocks. No global mutable state."""
import numpy as np

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef Py_ssize_t FEW = 12


cdef inline Py_ssize_t parted(float *a, float *spare, Py_ssize_t n, float pivot, bint equal) noexcept nogil:
    """Bring what is less than a pivot, or equal to it where asked, to the front; gives how many. Without branches, which would be
    guessed wrong half of the time."""
    cdef Py_ssize_t i, front = 0, back = n-1
    cdef int first
    for i in range(n):
        first = (a[i] < pivot) | (equal & (a[i] == pivot))
        spare[front] = a[i]
        spare[back] = a[i]
        front += first
        back -= 1-first
    memcpy(a, spare, n*sizeof(float))
    return front


cdef float select(float *a, float *spare, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The k-th smallest of n values, which are reordered so that none before it is larger, and none behind it smaller."""
    cdef Py_ssize_t i, j, front
    cdef float pivot, low, high
    while n > FEW:
        low, high = min(a[0], a[n-1]), max(a[0], a[n-1])
        pivot = min(max(low, a[n//2]), high)
        front = parted(a, spare, n, pivot, False)
        if front == 0:
            front = parted(a, spare, n, pivot, True)
            # NaN is not even equal to itself
            if k < front or front == 0:
                return pivot
        if k < front:
            n = front
        else:
            a, k, n = a+front, k-front, n-front
    for i in range(1, n):
        pivot, j = a[i], i
        while j > 0 and a[j-1] > pivot:
            a[j] = a[j-1]
            j -= 1
        a[j] = pivot
    return a[k]


cdef float quantile(float *a, float *spare, Py_ssize_t n, double q, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Quantile of n values by linear interpolation; they are reordered.

    It is looked for among those from `first` to before `last`, where the ones before are no larger and those behind no smaller.
    """
    cdef double at = q*(n-1)
    cdef Py_ssize_t k = min(max(<Py_ssize_t> at, first), last-1), i
    cdef float low = select(a+first, spare, last-first, k-first), high
    if at <= k or k+1 >= n:
        return low
    high = a[k+1]
    for i in range(k+2, last):
        if a[i] < high:
            high = a[i]
    return <float> (low+(at-k)*(high-low))


cdef struct Block:
    Py_ssize_t y0, y1, x0, x1


cdef Py_ssize_t good_values(const float[:, ::1] image, const float[:, ::1] weight, const Block *b, float *out) noexcept nogil:
    """Copy a block's pixels with positive weight; gives their number."""
    cdef Py_ssize_t y, x, n = 0
    for y in range(b.y0, b.y1):
        for x in range(b.x0, b.x1):
            out[n] = image[y, x]
            n += weight[y, x] > 0
    return n


cdef double clipped_mean(const float[:, ::1] image, const float[:, ::1] weight, const Block *b, float low,
                         float high) noexcept nogil:
    """Weighted mean of a block's pixels between two values; the middle of them where there is none."""
    cdef Py_ssize_t y, x
    cdef double total = 0, norm = 0
    for y in range(b.y0, b.y1):
        for x in range(b.x0, b.x1):
            if weight[y, x] > 0 and low <= image[y, x] <= high:
                total += <double> weight[y, x]*image[y, x]
                norm += weight[y, x]
    return total/norm if norm > 0 else 0.5*(low+high)


cdef int check_edges(const Py_ssize_t[::1] edges, Py_ssize_t pixels) except -1:
    """Raise ValueError unless there are two edges at least, which do not descend, of blocks within so many pixels."""
    cdef Py_ssize_t k
    if edges.shape[0] < 2 or edges[0] < 0 or edges[edges.shape[0]-1] > pixels:
        raise ValueError(f"block edges must be two at least, and lie within the {pixels} pixels of the image")
    for k in range(edges.shape[0]-1):
        if edges[k+1] < edges[k]:
            raise ValueError(f"block edges descend from {edges[k]} to {edges[k+1]}")
    return 0


def block_statistics(const float[:, ::1] image, const float[:, ::1] weight, const Py_ssize_t[::1] edges_y,
                     const Py_ssize_t[::1] edges_x, double clip):
    """Median, half widths and clipped mean of the pixels with positive weight in each block of a grid.

    Parameters
    ----------
    image, weight : memoryview, shape (ny, nx), float32
    edges_y, edges_x : memoryview
        Block edges in pixels, not descending.
    clip : float
        The mean is over pixels within so many lower half widths (one sigma for Gaussian noise) of the median.

    Returns
    -------
    values : ndarray, shape (blocks_y, blocks_x, 4), float64
        Quantiles at -1, 0 and +1 sigma, and the weighted clipped mean; NaN where a block has no such pixel.
    count : ndarray, shape (blocks_y, blocks_x), int64
        Pixels used.

    Raises
    ------
    ValueError
        When edges are fewer than two, descend or lie outside the image, or the shapes differ.
    """
    cdef Py_ssize_t by = edges_y.shape[0]-1, bx = edges_x.shape[0]-1, i, j, n, most
    check_edges(edges_y, image.shape[0])
    check_edges(edges_x, image.shape[1])
    if weight.shape[0] != image.shape[0] or weight.shape[1] != image.shape[1]:
        raise ValueError("image and weight must have the same shape")
    values, counts = np.full((by, bx, 4), np.nan), np.zeros((by, bx), np.int64)
    cdef double[:, :, ::1] value = values
    cdef long long[:, ::1] count = counts
    cdef Block b
    most = max(1, np.max(np.diff(edges_y))*np.max(np.diff(edges_x)))
    # one more, since what does not count is written before it is known
    cdef float *scratch = <float *> malloc(2*(most+1)*sizeof(float))
    cdef float *spare = scratch+most+1
    cdef float low, middle, high
    if scratch == NULL:
        raise MemoryError(f"no memory for a block of {most} pixels")
    with nogil:
        for j in range(by):
            for i in range(bx):
                b.y0, b.y1, b.x0, b.x1 = edges_y[j], edges_y[j+1], edges_x[i], edges_x[i+1]
                n = good_values(image, weight, &b, scratch)
                count[j, i] = n
                if n == 0:
                    continue
                middle = quantile(scratch, spare, n, 0.5, 0, n)
                # the median has parted the values
                low = quantile(scratch, spare, n, 0.158655, 0, n//2+1)
                high = quantile(scratch, spare, n, 0.841345, (n-1)//2, n)
                value[j, i, 0], value[j, i, 1], value[j, i, 2] = low, middle, high
                value[j, i, 3] = clipped_mean(image, weight, &b, <float> (middle-clip*(middle-low)),
                                              <float> (middle+clip*(middle-low)))
    free(scratch)
    return values, counts


def spline_rows(const float[:, ::1] values, const float[:, ::1] bends, const Py_ssize_t[::1] start, const float[:, ::1] weights,
                float[:, ::1] out):
    """Cubic splines along the rows of an image.

    Parameters
    ----------
    values, bends : memoryview, shape (ny, knots), float32
        Values and second derivatives at the knots of each row.
    start : memoryview, shape (knots,)
        First pixel of each piece between two knots, from 0, and one past the last piece.
    weights : memoryview, shape (4, nx), float32
        Of the values at either end of a pixel's piece, and of the second derivatives there.
    out : memoryview, shape (ny, nx), float32
        Written to.

    Raises
    ------
    ValueError
        When shapes differ, or pieces leave the rows.
    """
    cdef Py_ssize_t ny = out.shape[0], nx = out.shape[1], knots = start.shape[0], y, x, p
    if not (values.shape[0] == bends.shape[0] == ny and values.shape[1] == bends.shape[1] == knots and weights.shape[0] == 4
            and weights.shape[1] == nx):
        raise ValueError("values and bends, weights and out must belong to the same rows, knots and pixels")
    if knots < 2 or start[0] != 0 or start[knots-1] != nx or (np.diff(start) < 0).any():
        raise ValueError("pieces must cover the rows, in order")
    if nx == 0:
        return
    cdef const float *a = &weights[0, 0]
    cdef const float *b = &weights[1, 0]
    cdef const float *c = &weights[2, 0]
    cdef const float *d = &weights[3, 0]
    cdef float low, high, low_bend, high_bend
    with nogil:
        for y in range(ny):
            for p in range(knots-1):
                low, high, low_bend, high_bend = values[y, p], values[y, p+1], bends[y, p], bends[y, p+1]
                for x in range(start[p], start[p+1]):
                    out[y, x] = a[x]*low+b[x]*high+c[x]*low_bend+d[x]*high_bend
