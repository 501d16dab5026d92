"""Where a second star would stand beside a source that is wider than the PSF. No global mutable state."""
import numpy as np

from libc.math cimport M_PI, cos, log, sin, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from crowdsource.cython_ext.smallchol cimport cholesky

COLUMNS = ("gain", "flux", "dx", "dy")
cdef int AXES = 16
# places from the nearest to the farthest, in squared steps
cdef int NEAREST = 2, FARTHEST = 9
cdef double LEAST = 1e-4


cdef extern from "simd.h" nogil:
    void cs_shape_sums(const float *p, Py_ssize_t row, const float *w, const float *wr, int rows, int wide, double *sums) noexcept
    void cs_place_sums(const float *t, Py_ssize_t row, const float *w, const float *planes, int rows, int wide, double *sums) noexcept


cdef struct Box:
    # the pixels that count around a source, high rows of `wide` floats: weights, and four planes of what a second star is
    # compared with, all weighted: the residual, the PSF, and its two first differences
    Py_ssize_t high, wide
    float *weight
    float *planes


cdef inline double widest(const double *factor, const double *z, const double *axes) noexcept nogil:
    """Largest gain along an axis, from the Cholesky factor and the right-hand side that it has been divided out of."""
    cdef int k
    cdef double c, s, u0, u1, u2, norm, part, best = 0
    for k in range(AXES):
        c, s = axes[2*k], axes[2*k+1]
        # the second difference along the axis, through the factor's last block
        u0 = factor[21]*c*c+factor[27]*2*c*s+factor[33]*s*s
        u1 = factor[28]*2*c*s+factor[34]*s*s
        u2 = factor[35]*s*s
        norm, part = sqrt(u0*u0+u1*u1+u2*u2), u0*z[3]+u1*z[4]+u2*z[5]
        if norm > 0 and part > best*norm:
            best = part/norm
    return best


cdef inline void spread(const double *sums, double *normal, double *z) noexcept nogil:
    """The lower triangle of the normal matrix, and its right-hand side, from their list."""
    cdef int q, m
    for q in range(6):
        z[q] = sums[21+q]
        for m in range(q+1):
            normal[6*q+m] = sums[q*(q+1)//2+m]


cdef inline bint factored(double *normal, double *z) noexcept nogil:
    """Cholesky factor in place, and the right-hand side divided by it; 0 where the matrix is not positive."""
    cdef int i, q
    if cholesky(normal, 6, 6):
        return 0
    for i in range(6):
        for q in range(i):
            z[i] -= normal[6*i+q]*z[q]
        z[i] /= normal[7*i]
    return 1


cdef void look_at(Box *box, const float *r, const float *w, Py_ssize_t nx, Py_ssize_t low, Py_ssize_t top, Py_ssize_t first,
                  Py_ssize_t last) noexcept nogil:
    """Weights and weighted residual of a box, rows `nx` apart; outside of the rows and columns given they are zero."""
    cdef Py_ssize_t i, j
    cdef float weight
    for j in range(box.high):
        for i in range(box.wide):
            weight = w[j*nx+i] if low <= j < top and first <= i < last else 0
            box.weight[j*box.wide+i] = weight
            box.planes[j*box.wide+i] = weight*r[j*nx+i] if weight > 0 else 0


cdef void compare_with(Box *box, const float *p, Py_ssize_t row) noexcept nogil:
    """The planes of the PSF p of a source, rows `row` apart."""
    cdef Py_ssize_t i, j, k, plane = box.high*box.wide
    cdef const float *a
    for j in range(box.high):
        for i in range(box.wide):
            k, a = j*box.wide+i, p+j*row+i
            box.planes[plane+k] = box.weight[k]*a[0]
            box.planes[2*plane+k] = box.weight[k]*<float> 0.5*(a[1]-(a-1)[0])
            box.planes[3*plane+k] = box.weight[k]*<float> 0.5*(a[row]-(a-row)[0])


cdef inline double likely(const double *sums, const double *factor, const double *z, double slope, double best, double dx,
                          double dy, double *out) noexcept nogil:
    """Keep a place for a second star that is more likely than the best so far, flux and position of the first giving way.

    Gives the logarithm of its odds, twice: what the fit gains, and that faint stars are more frequent.
    """
    cdef double a = sums[2]/factor[0]
    cdef double b = (sums[3]-factor[6]*a)/factor[7]
    cdef double c = (sums[4]-factor[12]*a-factor[13]*b)/factor[14]
    cdef double information = sums[0]-a*a-b*b-c*c, part = sums[1]-a*z[0]-b*z[1]-c*z[2], odds
    if not (information > LEAST*sums[0] and part > 0):
        return best
    odds = part*part/information-2*slope*log(part/information)
    if out[0] > 0 and odds <= best:
        return best
    out[0], out[1], out[2], out[3] = part/sqrt(information), part/information, dx, dy
    return odds


cdef void place(const Box *box, const float *p, Py_ssize_t row, int step, double slope, const double *factor, const double *z,
                double *out) noexcept nogil:
    """The most likely place of a second star; p is the source's PSF at the first pixel of the box."""
    cdef double[5] sums
    cdef double best = 0
    cdef int rise, shift
    for rise in range(-3, 4):
        for shift in range(-3, 4):
            if not NEAREST <= rise*rise+shift*shift <= FARTHEST:
                continue
            cs_place_sums(p-rise*step*row-shift*step, row, box.weight, box.planes, <int> box.high, <int> box.wide, sums)
            best = likely(sums, factor, z, slope, best, shift*step, rise*step, out)


def companions(const float[:, ::1] residual, const float[:, ::1] ivar, const float[:, :, ::1] stamps, const Py_ssize_t[::1] x0,
               const Py_ssize_t[::1] y0, double screen, int step, double slope):
    """Where a second star beside each source would most likely stand, flux and position of the source giving way.

    To second order, shares q and 1-q of a flux F at a distance d along an axis look like one star and F q (1-q) d^2/2 times the
    PSF's second derivative along it. Sources to which that brings something are tried with a second star in 24 places around
    them. Pixels off the image do not count.

    Parameters
    ----------
    residual, ivar : memoryview, shape (ny, nx), float32
        Data less sky and model; inverse variance.
    stamps : memoryview, shape (n, size, size), float32
        PSFs of unit flux, odd; the sums leave out their rims of ``3*step+1`` pixels.
    x0, y0 : memoryview, shape (n,)
        Lower left pixels of the stamps.
    screen : float
        Root of the improvement in chi2 by the second derivative, from which a source is tried.
    step : int
        The places are the pixels between 1.4 and 3 times so many away, in steps of it along the axes.
    slope : float
        Power s of the counts of stars, dN/dF ~ F^-s: faint ones are more frequent.

    Returns
    -------
    ndarray, shape (n, len(COLUMNS)), float64
        Root of the improvement in chi2, flux of the second star, and its place less that of the source, pixels; all 0 where
        nothing is gained.

    Raises
    ------
    ValueError
        When lengths or shapes differ, or stamps have nothing inside their rims.
    """
    cdef Py_ssize_t n = stamps.shape[0], size = stamps.shape[1], ny = residual.shape[0], nx = residual.shape[1]
    cdef Py_ssize_t k, first, last, low, top, rim = 3*step+1
    cdef int q
    if x0.shape[0] != n or y0.shape[0] != n or stamps.shape[2] != size:
        raise ValueError("stamps must be square, and x0 and y0 as many")
    if ivar.shape[0] != ny or ivar.shape[1] != nx:
        raise ValueError("residual and ivar must have the same shape")
    if step < 1 or size <= 2*rim:
        raise ValueError("stamps must be larger than their rims")
    result = np.zeros((n, len(COLUMNS)))
    cdef double[:, ::1] out = result
    cdef double[27] sums
    cdef double[36] normal
    cdef double[6] z
    cdef double[32] axes
    for q in range(AXES):
        axes[2*q], axes[2*q+1] = cos(M_PI*q/AXES), sin(M_PI*q/AXES)
    cdef Box box
    box.high, box.wide = size-2*rim, (size-2*rim+15)//16*16
    cdef Py_ssize_t plane = box.high*box.wide
    # the PSF is copied, since vectors read past the end of its rows
    cdef Py_ssize_t room = size*size+16
    cdef float *memory = <float *> calloc(5*plane+room, sizeof(float))
    if memory == NULL:
        raise MemoryError(f"no memory for a stamp of {size} pixels")
    box.weight, box.planes = memory, memory+plane
    cdef float *psf = memory+5*plane
    cdef const float *inner = psf+rim*size+rim
    with nogil:
        for k in range(n):
            first, last, low, top = max(rim, -x0[k]), min(size-rim, nx-x0[k]), max(rim, -y0[k]), min(size-rim, ny-y0[k])
            if last <= first or top <= low:
                continue
            memcpy(psf, &stamps[k, 0, 0], size*size*sizeof(float))
            look_at(&box, &residual[0, 0]+(y0[k]+rim)*nx+x0[k]+rim, &ivar[0, 0]+(y0[k]+rim)*nx+x0[k]+rim, nx, low-rim, top-rim,
                    first-rim, last-rim)
            cs_shape_sums(inner, size, box.weight, box.planes, <int> box.high, <int> box.wide, sums)
            spread(sums, normal, z)
            if factored(normal, z) and widest(normal, z, axes) > screen:
                compare_with(&box, inner, size)
                place(&box, inner, size, step, slope, normal, z, &out[k, 0])
    free(memory)
    return result
