"""Pixels that no star explains: those that stand out along a line, and empty ones beside bright ones; and what tells them: widths
of peaks, and votes for lines. No global mutable state."""
import numpy as np

from libc.math cimport INFINITY, M_SQRT2 as SQRT2, NAN, sqrt
from crowdsource.cython_ext.functions import of_each


cdef double OF_LOWER = 1.25
"""The lower of two neighbours is more often low by chance than their mean."""


def standing_out(const float[:, ::1] light, const float[:, ::1] error, double least, double significant, double shape_error,
                 const double[:, ::1] fall, unsigned char[:, ::1] out):
    """Mark pixels that stand out, along one of four lines, of both neighbours or of the lower one, or of the four nearest.

    Parameters
    ----------
    light, error : memoryview, shape (ny, nx), float32
        Image less its sky, and the error of each pixel, infinite where it is masked.
    least : float
        Significance of the pixels that are looked at.
    significant : float
        By how many sigma a pixel must stand out.
    shape_error : float
        Relative error of `fall`.
    fall : memoryview, shape (4, 2), float64
        Light of the narrowest star beside its peak, relative to this: mean of both neighbours, and the lower one, along both axes
        and both diagonals.
    out : memoryview, shape (ny, nx), uint8
        Set to 1.

    Raises
    ------
    ValueError
        When shapes differ.
    """
    cdef Py_ssize_t ny = light.shape[0], nx = light.shape[1], y, x
    cdef int k, dy, dx, diagonal
    cdef double top, one, other, of_one, of_other, sigma, lower, of_lower, total, variance
    cdef int lines
    cdef int *steps = [0, 1, 1, 0, 1, 1, 1, -1]
    if error.shape[0] != ny or error.shape[1] != nx or out.shape[0] != ny or out.shape[1] != nx:
        raise ValueError("light, error and out must have the same shape")
    if fall.shape[0] != 4 or fall.shape[1] != 2:
        raise ValueError("fall must have the shape (4, 2)")
    with nogil:
        for y in range(ny):
            for x in range(nx):
                sigma = error[y, x]
                top = light[y, x]
                if not top > least*sigma:
                    continue
                total = variance = 0
                lines = 0
                for k in range(4):
                    dy, dx, diagonal = steps[2*k], steps[2*k+1], k > 1
                    if y < dy or y+dy >= ny or x-abs(dx) < 0 or x+abs(dx) >= nx:
                        continue
                    of_one, of_other = error[y+dy, x+dx], error[y-dy, x-dx]
                    if of_one == INFINITY or of_other == INFINITY:
                        continue
                    one, other = light[y+dy, x+dx], light[y-dy, x-dx]
                    if exceeds(top, (one+other)/2, sigma, (of_one*of_one+of_other*of_other)/4, fall[k, 0], significant,
                               shape_error):
                        out[y, x] = 1
                        break
                    if not diagonal:
                        total += one+other
                        variance += of_one*of_one+of_other*of_other
                        lines += 1
                        if lines == 2 and exceeds(top, total/4, sigma, variance/16, (fall[0, 0]+fall[1, 0])/2, significant, shape_error):
                            out[y, x] = 1
                            break
                    if top < one or top < other:
                        continue
                    lower, of_lower = (one, of_one) if one < other else (other, of_other)
                    if exceeds(top, lower, sigma, of_lower*of_lower, fall[k, 1], OF_LOWER*significant, shape_error):
                        out[y, x] = 1
                        break


cdef inline bint exceeds(double top, double beside, double sigma, double variance, double fall, double significant,
                         double shape_error) noexcept nogil:
    """Whether the light beside a peak is lower than that of the narrowest star."""
    cdef double expected = fall*top, noise = fall*fall*sigma*sigma+variance+shape_error*shape_error*expected*expected
    return expected-beside > significant*sqrt(noise)


def dips(const float[:, ::1] light, const float[:, ::1] error, double significant, double depth, unsigned char[:, ::1] out):
    """Mark pixels that lie below all eight around by more than noise, and than a part of these; masked ones do not count.

    Parameters
    ----------
    light, error : memoryview, shape (ny, nx), float32
        As `standing_out`.
    significant : float
        By how many sigma a pixel must lie below the lowest one around.
    depth : float
        And by which part of that.
    out : memoryview, shape (ny, nx), uint8
        Set to 1.

    Raises
    ------
    ValueError
        When shapes differ.
    """
    cdef Py_ssize_t ny = light.shape[0], nx = light.shape[1], y, x, j, i
    cdef double lowest, value, bound
    if error.shape[0] != ny or error.shape[1] != nx or out.shape[0] != ny or out.shape[1] != nx:
        raise ValueError("light, error and out must have the same shape")
    with nogil:
        for y in range(1, ny-1):
            for x in range(1, nx-1):
                value = light[y, x]
                if error[y, x] == INFINITY:
                    continue
                # most pixels are not so far below even the first of their nearest
                bound = value+significant*SQRT2*error[y, x]
                if (light[y, x-1] <= bound and error[y, x-1] < INFINITY) or (light[y, x+1] <= bound and error[y, x+1] < INFINITY):
                    continue
                if (light[y-1, x] <= bound and error[y-1, x] < INFINITY) or (light[y+1, x] <= bound and error[y+1, x] < INFINITY):
                    continue
                lowest = INFINITY
                for j in range(y-1, y+2):
                    for i in range(x-1, x+2):
                        if (j != y or i != x) and error[j, i] < INFINITY and light[j, i] < lowest:
                            lowest = light[j, i]
                if lowest < INFINITY and lowest-value > significant*SQRT2*error[y, x]+(depth*lowest if lowest > 0 else 0):
                    out[y, x] = 1


def any_beside(const float[:, ::1] light, const float[:, ::1] error, double low, double high):
    """Whether a pixel below so many sigma touches one above so many; masked pixels, whose error is infinite, do not count.

    Parameters
    ----------
    light, error : memoryview, shape (ny, nx), float32
    low, high : float

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        When shapes differ.
    """
    cdef Py_ssize_t ny = light.shape[0], nx = light.shape[1], y, x, j, i
    cdef bint found = False
    if error.shape[0] != ny or error.shape[1] != nx:
        raise ValueError("light and error must have the same shape")
    with nogil:
        for y in range(ny):
            for x in range(nx):
                if not (light[y, x] > high*error[y, x]):
                    continue
                for j in range(max(y-1, 0), min(y+2, ny)):
                    for i in range(max(x-1, 0), min(x+2, nx)):
                        found |= error[j, i] < INFINITY and light[j, i] < low*error[j, i]
                if found:
                    break
            if found:
                break
    return bool(found)


def axis_widths(const float[:, ::1] light, const Py_ssize_t[:] y, const Py_ssize_t[:] x, int up, int right, int reach):
    """Distance between the half heights of peaks on both sides along a line, in steps along it.

    Parameters
    ----------
    light : memoryview, shape (ny, nx), float32
        NaN where a pixel is masked; off the image are the pixels of its edge.
    y, x : memoryview, shape (n,), intp
        Peaks.
    up, right : int
        A step along the line.
    reach : int
        So many steps less one are made to each side.

    Returns
    -------
    ndarray, shape (n,), float64
        NaN where masked pixels are between, or half of the height is not reached.

    Raises
    ------
    ValueError
        When y and x differ in length, or a peak lies off the image.
    """
    cdef Py_ssize_t ny = light.shape[0], nx = light.shape[1], n = len(y), i
    cdef double one_side, width
    cdef float top, before, now
    cdef int k
    cdef Py_ssize_t sign
    if len(x) != n:
        raise ValueError("y and x must have the same length")
    out = np.empty(n)
    cdef double[::1] values = out
    for i in range(n):
        if y[i] < 0 or y[i] >= ny or x[i] < 0 or x[i] >= nx:
            raise ValueError("a peak lies off the image")
    with nogil:
        for i in range(n):
            top, width = light[y[i], x[i]], 0
            for sign in range(-1, 2, 2):
                one_side, before = NAN, 1
                for k in range(1, reach):
                    now = light[min(max(y[i]+sign*k*up, 0), ny-1), min(max(x[i]+sign*k*right, 0), nx-1)]/top
                    # lower than half, or masked
                    if not now >= 0.5:
                        one_side = k-1+(before-0.5)/max(<double>before-now, 1e-9) if now == now else NAN
                        break
                    before = now
                width += one_side
            values[i] = width
    return out


def most_votes(const double[::1] x, const double[::1] y, double reach, double step, int directions):
    """The line along which most points lie: two neighbouring stripes of one direction.

    Parameters
    ----------
    x, y : memoryview, shape (n,), float64
    reach : float
        No point is farther from the origin.
    step : float
        Width of a stripe.
    directions : int
        Of the normal, evenly from 0 to half a turn.

    Returns
    -------
    count, direction, stripe : int
        Points in the two stripes, index of the direction, and of the first stripe, counted from -reach along the normal. The first
        of equal ones.

    Raises
    ------
    ValueError
        When x and y differ in length, or a point lies farther out.
    """
    cdef Py_ssize_t n = len(x), bins = int(2*reach/step)+2, i, k, best_direction = 0, best = 0
    cdef long most = 0
    cdef int d
    cdef double c, s, shift = reach/step
    if len(y) != n:
        raise ValueError("x and y must have the same length")
    for i in range(n):
        if not x[i]*x[i]+y[i]*y[i] <= reach*reach:
            raise ValueError("a point lies farther out than reach")
    normals = np.arange(directions)*np.pi/directions
    cdef double[::1] cosine = of_each("cos", normals)/step, sine = of_each("sin", normals)/step
    cdef int[::1] votes = np.zeros(bins, np.intc)
    with nogil:
        for d in range(directions):
            votes[:] = 0
            c, s = cosine[d], sine[d]
            for i in range(n):
                votes[<Py_ssize_t>(x[i]*c+y[i]*s+shift)] += 1
            for k in range(bins-1):
                if votes[k]+votes[k+1] > most:
                    most, best_direction, best = votes[k]+votes[k+1], d, k
    return most, best_direction, best
