"""Weighted-moment centroids on neighbour-subtracted stamps. No global mutable state."""
import numpy as np


cdef inline bint barycentre(const float *p, const float *light, const float *w, bint weighted, Py_ssize_t size,
                            Py_ssize_t radius, double *x, double *y) noexcept nogil:
    """Barycentre of light, relative to the middle of the stamp, weighted by ivar and the PSF or in a plain aperture.

    Gives 0 where the weighted light does not sum to something positive.
    """
    cdef double total = 0, mx = 0, my = 0, f
    cdef Py_ssize_t j, i, c = size//2
    for j in range(size):
        for i in range(size):
            if not weighted and (j-c)*(j-c)+(i-c)*(i-c) > radius*radius:
                continue
            f = light[j*size+i]*w[j*size+i]
            if weighted:
                f *= p[j*size+i]
            total += f
            mx += f*(i-c)
            my += f*(j-c)
    if not total > 0:
        return False
    x[0], y[0] = mx/total, my/total
    return True


def centroids(const float[:, :, ::1] psf, const float[:, :, ::1] light, const float[:, :, ::1] weight, bint weighted,
              Py_ssize_t radius):
    """Barycentres of stamps, and of the PSF itself in the same weights.

    Parameters
    ----------
    psf : memoryview, shape (n, size, size), float32
        PSF at each source.
    light : memoryview, shape (n, size, size), float32
        Neighbour-subtracted stamps.
    weight : memoryview, shape (n, size, size), float32
        Inverse variance, 0 for pixels that must not be used.
    weighted : bool
        Weight with the PSF; otherwise a plain aperture.
    radius : int
        Its radius, pixels.

    Returns
    -------
    measured, expected : ndarray, shape (n, 2), float64
        x and y relative to the stamps' middle, of the light and of the PSF; both 0 where one is undefined.

    Raises
    ------
    ValueError
        When shapes differ or stamps are not square.
    """
    cdef Py_ssize_t n = psf.shape[0], size = psf.shape[1], k
    if not (light.shape[0] == weight.shape[0] == n
            and psf.shape[2] == light.shape[1] == light.shape[2] == weight.shape[1] == weight.shape[2] == size):
        raise ValueError("psf, light and weight must have the same shape, and stamps must be square")
    if size == 0:
        return np.zeros((n, 2)), np.zeros((n, 2))
    measured, expected = np.zeros((n, 2)), np.zeros((n, 2))
    cdef double[:, ::1] a = measured, b = expected
    cdef bint ok
    with nogil:
        for k in range(n):
            ok = barycentre(&psf[k, 0, 0], &light[k, 0, 0], &weight[k, 0, 0], weighted, size, radius, &a[k, 0], &a[k, 1])
            ok = ok and barycentre(&psf[k, 0, 0], &psf[k, 0, 0], &weight[k, 0, 0], weighted, size, radius, &b[k, 0], &b[k, 1])
            if not ok:
                a[k, 0] = a[k, 1] = b[k, 0] = b[k, 1] = 0
    return measured, expected
