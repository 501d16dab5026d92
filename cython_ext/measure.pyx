"""Measurements of each source on its own stamp. No global mutable state."""
import numpy as np

from libc.math cimport M_PI, sqrt
from libc.string cimport memcpy, memset
from crowdsource.cython_ext.kinds cimport number
from crowdsource.cython_ext.smallchol cimport invert3
from crowdsource.cython_ext.stamps cimport LARGEST, Part, part_on_image

# pixels of a stamp are counted with an int
cdef Py_ssize_t MOST_SIDE = 46340
COLUMNS = ("qf", "rchi2", "fracflux", "fluxlbs", "dfluxlbs", "fwhm", "spread_model", "dspread_model", "fluxiso", "xiso", "yiso")


cdef extern from "simd.h" nogil:
    int cs_kind
    struct cs_measured:
        double p, pp, pq, pr, wp, w, wpp, wpt, wpg, wpx, wpy, wxx, wxy, wyy, wdp, wdx, wdy, wd, wdg, wgg
    void cs_measure_sums(const float *p, const float *g, const float *dx, const float *dy, const float *r, const float *m,
                         const float *w, int n, double flux, cs_measured *to) noexcept

cs_kind = number


cdef inline void conclude(const cs_measured *s, double *out) noexcept nogil:
    """The measurements from the sums; all 0 for a source without a good pixel, but fwhm."""
    cdef double determinant, f
    cdef double[9] normal, inverse
    out[5] = 1.18*s.p/sqrt(M_PI*s.pp) if s.pp > 0 else 0
    if not (s.wpp > 0 and s.pq > 0):
        return
    out[0] = s.pq/s.p
    out[1] = s.pr/s.pq
    out[2] = s.wdp/s.wpt if s.wpt != 0 else 0
    determinant = s.wpp*s.w-s.wp*s.wp
    if determinant > 1e-12*s.wpp*s.w:
        out[3] = (s.w*s.wdp-s.wp*s.wd)/determinant
        out[4] = sqrt(s.w/determinant)
    if s.wdp != 0:
        # ratio of projections on the smeared and the sharp PSF, less the same for the PSF itself
        out[6] = s.wdg/s.wdp-s.wpg/s.wpp
        f = s.wgg*s.wdp*s.wdp+s.wpp*s.wdg*s.wdg-2*s.wdp*s.wdg*s.wpg
        out[7] = sqrt(f if f > 0 else 0)/(s.wdp*s.wdp)
    normal[0], normal[1], normal[2] = s.wpp, s.wpx, s.wpy
    normal[3], normal[4], normal[5] = s.wpx, s.wxx, s.wxy
    normal[6], normal[7], normal[8] = s.wpy, s.wxy, s.wyy
    if invert3(normal, inverse) == 0:
        out[8] = inverse[0]*s.wdp+inverse[1]*s.wdx+inverse[2]*s.wdy
        if out[8] > 0:
            out[9] = (inverse[3]*s.wdp+inverse[4]*s.wdx+inverse[5]*s.wdy)/out[8]
            out[10] = (inverse[6]*s.wdp+inverse[7]*s.wdx+inverse[8]*s.wdy)/out[8]


cdef void cut(const float[:, ::1] plane, Py_ssize_t x0, Py_ssize_t y0, Py_ssize_t side, float *out) noexcept nogil:
    """A square part of a plane, row after row; pixels off it are zero."""
    cdef Part part = part_on_image(x0, y0, side, plane.shape[0], plane.shape[1])
    cdef Py_ssize_t j
    if part.wide < side or part.high < side:
        memset(out, 0, side*side*sizeof(float))
    for j in range(part.low, part.low+part.high):
        memcpy(out+j*side+part.left, &plane[y0+j, x0+part.left], part.wide*sizeof(float))


def measure(const float[:, ::1] residual, const float[:, ::1] model, const float[:, ::1] ivar, stamps,
            const Py_ssize_t[::1] x0, const Py_ssize_t[::1] y0, const double[::1] flux):
    """Measure sources on stamps of one size; pixels off the image do not count as good.

    Parameters
    ----------
    residual, model, ivar : memoryview, shape (ny, nx), float32
        Data less sky and model; the model of all sources; inverse variance.
    stamps : tuple of four arrays, shape (n, size, size), float32
        PSF, its derivatives in x and y, and the PSF smeared by a small disc.
    x0, y0 : memoryview, shape (n,)
        Lower left pixels of the stamps.
    flux : memoryview, shape (n,), float64

    Returns
    -------
    ndarray, shape (n, len(COLUMNS)), float64

    Raises
    ------
    ValueError
        When lengths or shapes differ.
    """
    if len(stamps) != 4:
        raise ValueError(f"there are {len(stamps)} arrays of stamps: the PSF, its two derivatives and the smeared PSF are needed")
    cdef const float[:, :, ::1] p = stamps[0], dx = stamps[1], dy = stamps[2], g = stamps[3], one
    cdef Py_ssize_t n = p.shape[0], size = p.shape[1], ny = residual.shape[0], nx = residual.shape[1], k
    if x0.shape[0] != n or y0.shape[0] != n or flux.shape[0] != n:
        raise ValueError("stamps, x0, y0 and flux must be as many")
    for one in (p, dx, dy, g):
        if one.shape[0] != n or one.shape[1] != size or one.shape[2] != size or not 1 <= size <= MOST_SIDE:
            raise ValueError(f"stamps must all be of the same shape, and square with a side from 1 to {MOST_SIDE}")
    if model.shape[0] != ny or model.shape[1] != nx or ivar.shape[0] != ny or ivar.shape[1] != nx:
        raise ValueError("residual, model and ivar must have the same shape")
    result = np.zeros((n, len(COLUMNS)))
    cdef double[:, ::1] out = result
    cdef cs_measured sums
    # the pixels under a stamp, one after the other
    under = np.empty((3, size, size), np.float32)
    cdef float[:, :, ::1] pixels = under
    with nogil:
        for k in range(n):
            cut(residual, x0[k], y0[k], size, &pixels[0, 0, 0])
            cut(model, x0[k], y0[k], size, &pixels[1, 0, 0])
            cut(ivar, x0[k], y0[k], size, &pixels[2, 0, 0])
            cs_measure_sums(&p[k, 0, 0], &g[k, 0, 0], &dx[k, 0, 0], &dy[k, 0, 0], &pixels[0, 0, 0], &pixels[1, 0, 0],
                            &pixels[2, 0, 0], <int> (size*size), flux[k], &sums)
            conclude(&sums, &out[k, 0])
    return result


def cutouts(const float[:, ::1] plane, const Py_ssize_t[::1] x0, const Py_ssize_t[::1] y0, Py_ssize_t side):
    """Square parts of a plane; pixels off it are zero.

    Parameters
    ----------
    plane : memoryview, shape (ny, nx), float32
    x0, y0 : memoryview, shape (n,)
        Lower left pixels.
    side : int

    Returns
    -------
    ndarray, shape (n, side, side), float32

    Raises
    ------
    ValueError
        When lengths differ or the side is out of range.
    """
    cdef Py_ssize_t n = x0.shape[0], k
    if y0.shape[0] != n or not 1 <= side <= LARGEST:
        raise ValueError(f"x0 and y0 must be as many, and the side, {side}, at least 1 and at most {LARGEST}")
    result = np.empty((n, side, side), np.float32)
    cdef float[:, :, ::1] out = result
    with nogil:
        for k in range(n):
            cut(plane, x0[k], y0[k], side, &out[k, 0, 0])
    return result


def chi2(const float[:, ::1] data, const float[:, ::1] sky, const float[:, ::1] model, const float[:, ::1] ivar):
    """Sum of the squares of data less sky and model over their variance, and the number of pixels with a weight.

    Parameters
    ----------
    data, sky, model, ivar : memoryview, shape (ny, nx), float32

    Returns
    -------
    total : float
    count : int

    Raises
    ------
    ValueError
        When shapes differ.
    """
    cdef Py_ssize_t ny = data.shape[0], nx = data.shape[1], y, x, count = 0
    if not (sky.shape[0] == model.shape[0] == ivar.shape[0] == ny and sky.shape[1] == model.shape[1] == ivar.shape[1] == nx):
        raise ValueError("data, sky, model and ivar must have the same shape")
    cdef double residual
    # sums that do not wait for each other
    cdef double[4] totals = [0, 0, 0, 0]
    with nogil:
        for y in range(ny):
            for x in range(nx):
                residual = data[y, x]-sky[y, x]-model[y, x]
                totals[x & 3] += residual*residual*ivar[y, x]
                count += ivar[y, x] > 0
    return (totals[0]+totals[2])+(totals[1]+totals[3]), count
