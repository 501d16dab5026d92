"""Order statistics of the good pixels of image blocks. No global mutable state."""
import numpy as np

from libc.stdlib cimport free, malloc


cdef float select(float *a, Py_ssize_t n, Py_ssize_t k) noexcept nogil:
    """The k-th smallest of n values, which are reordered (Hoare's selection)."""
    cdef Py_ssize_t low = 0, high = n-1, i, j
    cdef float pivot, swap
    while low < high:
        pivot = a[(low+high)//2]
        i, j = low, high
        while i <= j:
            while a[i] < pivot:
                i += 1
            while pivot < a[j]:
                j -= 1
            if i <= j:
                swap = a[i]
                a[i] = a[j]
                a[j] = swap
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return a[k]


cdef float quantile(float *a, Py_ssize_t n, double q, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Quantile of n values by linear interpolation; they are reordered.

    It is looked for among those from `first` to before `last`, where the ones before are no larger and those behind no smaller.
    """
    cdef double at = q*(n-1)
    cdef Py_ssize_t k = min(max(<Py_ssize_t> at, first), last-1), i
    cdef float low = select(a+first, last-first, k-first), high
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
            if weight[y, x] > 0:
                out[n] = image[y, x]
                n += 1
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


def block_statistics(const float[:, ::1] image, const float[:, ::1] weight, const Py_ssize_t[::1] edges_y,
                     const Py_ssize_t[::1] edges_x, double clip):
    """Median, half widths and clipped mean of the pixels with positive weight in each block of a grid.

    Parameters
    ----------
    image, weight : memoryview, shape (ny, nx), float32
    edges_y, edges_x : memoryview
        Block edges in pixels, increasing.
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
        When an edge lies outside the image or the shapes differ.
    """
    cdef Py_ssize_t by = edges_y.shape[0]-1, bx = edges_x.shape[0]-1, i, j, n, most
    if edges_y[0] < 0 or edges_x[0] < 0 or edges_y[by] > image.shape[0] or edges_x[bx] > image.shape[1]:
        raise ValueError("block edges leave the image")
    if weight.shape[0] != image.shape[0] or weight.shape[1] != image.shape[1]:
        raise ValueError("image and weight must have the same shape")
    values, counts = np.full((by, bx, 4), np.nan), np.zeros((by, bx), np.int64)
    cdef double[:, :, ::1] value = values
    cdef long long[:, ::1] count = counts
    cdef Block b
    most = max(1, np.max(np.diff(edges_y))*np.max(np.diff(edges_x)))
    cdef float *scratch = <float *> malloc(most*sizeof(float))
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
                middle = quantile(scratch, n, 0.5, 0, n)
                # the median has parted the values
                low, high = quantile(scratch, n, 0.158655, 0, n//2+1), quantile(scratch, n, 0.841345, (n-1)//2, n)
                value[j, i, 0], value[j, i, 1], value[j, i, 2] = low, middle, high
                value[j, i, 3] = clipped_mean(image, weight, &b, <float> (middle-clip*(middle-low)),
                                              <float> (middle+clip*(middle-low)))
    free(scratch)
    return values, counts
