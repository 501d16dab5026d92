"""Elementary functions by series, in plain arithmetic whose bits do not depend on the processor. No global mutable state."""
import numpy as np

from libc.math cimport INFINITY, NAN, fabs, ldexp
from crowdsource.cython_ext.kinds cimport number

# pi/2 in parts, of which the leading ones have so few bits that small multiples of them are exact
cdef double QUARTER_HIGH = 1.57079632673412561417e+00, QUARTER_MIDDLE = 6.07710050630396597660e-11
cdef double QUARTER_LOW = 2.02226624879595063154e-21, PER_QUARTER = 0.63661977236758134308
ctypedef double (*function)(double) noexcept nogil

cdef double[14] OF_EXP
cdef double[12] OF_LOG
cdef double[10] OF_SIN, OF_COS
cdef double[8] OF_ANGLE
# arctangents of 0, 1/8, ... 1
cdef double[9] OF_EIGHTHS = [0., 0.12435499454676144, 0.24497866312686414, 0.35877067027057225, 0.4636476090008061,
                             0.5585993153435624, 0.6435011087932844, 0.7188299996216245, 0.7853981633974483]


cdef void fill_factors() noexcept:
    """The factors of the series."""
    cdef int k
    cdef double factorial = 1
    for k in range(20):
        factorial = factorial*k if k else 1.
        if k < 14:
            OF_EXP[k] = 1/factorial
        if k % 2:
            OF_SIN[k//2] = (-1 if k//2 % 2 else 1)/factorial
        else:
            OF_COS[k//2] = (-1 if k//2 % 2 else 1)/factorial
    for k in range(12):
        OF_LOG[k] = 2./(2*k+1)
    for k in range(8):
        OF_ANGLE[k] = (-1. if k % 2 else 1.)/(2*k+1)

fill_factors()


cdef extern from "simd.h" nogil:
    int cs_kind
    const double ROUNDS "CS_ROUNDS", LN2_HIGH "CS_LN2_HIGH", LN2_LOW "CS_LN2_LOW", PER_LN2 "CS_PER_LN2", ROOT_HALF "CS_ROOT_HALF"
    double series "cs_series"(double x, const double *factors, int count) noexcept
    void cs_powers(const double *x, double y, double *out, Py_ssize_t n, const double *of_log, const double *of_exp) noexcept
    double cs_fraction(double x, int *power) noexcept
    double cs_power_of_two(int k) noexcept

cs_kind = number


cdef double exp_of(double x) noexcept nogil:
    cdef double whole, r
    if x != x:
        return x
    if x > 710:
        return INFINITY
    if x < -746:
        return 0
    whole = (x*PER_LN2+ROUNDS)-ROUNDS
    r = (x-whole*LN2_HIGH)-whole*LN2_LOW
    if -1000 < whole < 1000:
        return series(r, OF_EXP, 14)*cs_power_of_two(<int> whole)
    return ldexp(series(r, OF_EXP, 14), <int> whole)


cdef double log_of(double x) noexcept nogil:
    cdef double fraction, f
    cdef int power, more = 0
    if x != x or x < 0:
        return NAN
    if x == 0:
        return -INFINITY
    if x == INFINITY:
        return x
    if x < 1e-300:
        x, more = x*cs_power_of_two(60), -60
    fraction = cs_fraction(x, &power)
    if fraction > 2*ROOT_HALF:
        fraction, power = fraction/2, power+1
    power += more
    f = (fraction-1)/(fraction+1)
    return power*LN2_HIGH+(power*LN2_LOW+f*series(f*f, OF_LOG, 12))


cdef double sine_of(double x, int quarters) noexcept nogil:
    """Sine of so many quarters of a turn and x."""
    cdef double whole = (x*PER_QUARTER+ROUNDS)-ROUNDS, r
    cdef int q
    if not -1e9 < x < 1e9:
        return NAN
    r = ((x-whole*QUARTER_HIGH)-whole*QUARTER_MIDDLE)-whole*QUARTER_LOW
    q = <int> (<long long> whole & 3)+quarters
    r = series(r*r, OF_COS, 10) if q & 1 else r*series(r*r, OF_SIN, 10)
    return -r if q & 2 else r


cdef double power_of(double x, double y) noexcept nogil:
    """x to the power y, by multiplications where y is a small whole number."""
    cdef double s = 1
    cdef int n
    if -64 <= y <= 64 and y == <int> y:
        n = abs(<int> y)
        while n:
            if n & 1:
                s *= x
            x *= x
            n >>= 1
        return 1/s if y < 0 else s
    if x == 1:
        return 1
    return exp_of(y*log_of(x))


cdef void powers_of(const double *x, double y, double *out, Py_ssize_t n) noexcept nogil:
    """Powers of numbers in a row, bit for bit those of `power_of`; side by side where there are many and none is extreme."""
    cdef double low = INFINITY, high = 0
    cdef Py_ssize_t i
    cdef bint usual = n >= 8 and not (-64 <= y <= 64 and y == <int> y)
    for i in range(n if usual else 0):
        usual &= 1e-300 <= x[i] <= 1e300
        low, high = min(low, x[i]), max(high, x[i])
    if usual and max(fabs(y*log_of(low)), fabs(y*log_of(high))) < 600:
        cs_powers(x, y, out, n, OF_LOG, OF_EXP)
    else:
        for i in range(n):
            out[i] = power_of(x[i], y)


cdef double angle_of(double y, double x) noexcept nogil:
    """Angle of a point: that of the nearest eighth of a slope, of which there are tables, and a small rest."""
    cdef double small = min(fabs(x), fabs(y)), large = max(fabs(x), fabs(y)), r
    cdef int k
    if x != x or y != y:
        return NAN
    if large == 0:
        return 0
    k = <int> (8*(small/large)+0.5)
    r = (small-k*0.125*large)/(large+k*0.125*small)
    r = OF_EIGHTHS[k]+r*series(r*r, OF_ANGLE, 8)
    if fabs(y) > fabs(x):
        r = 2*OF_EIGHTHS[8]-r
    if x < 0:
        r = 4*OF_EIGHTHS[8]-r
    return -r if y < 0 else r


cdef double cosine_of(double x) noexcept nogil:
    return sine_of(x, 1)


cdef double only_sine_of(double x) noexcept nogil:
    return sine_of(x, 0)


def of_each(str name, const double[::1] x):
    """A function of each number: "exp", "log" (NaN of negative numbers), "sin" or "cos" (NaN of angles of 1e9 and more).

    Parameters
    ----------
    name : str
    x : memoryview, shape (n,), float64

    Returns
    -------
    ndarray, shape (n,), float64

    Raises
    ------
    ValueError
        When there is no such function.
    """
    if name not in ("exp", "log", "sin", "cos"):
        raise ValueError(f"there is no function {name!r}")
    cdef function f = exp_of if name == "exp" else log_of if name == "log" else only_sine_of if name == "sin" else cosine_of
    out = np.empty(x.shape[0])
    cdef double[::1] to = out
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            to[i] = f(x[i])
    return out


def power(const double[::1] x, const double[::1] y):
    """Powers x^y, shape (n,), float64; NaN of negative x where y is no whole number.

    Parameters
    ----------
    x : memoryview, shape (n,), float64
    y : memoryview, shape (n,) or (1,), float64

    Raises
    ------
    ValueError
        When there are not as many of both, nor one power for all.
    """
    if y.shape[0] != x.shape[0] and y.shape[0] != 1:
        raise ValueError(f"there are {x.shape[0]} numbers and {y.shape[0]} powers")
    out = np.empty(x.shape[0])
    cdef double[::1] to = out
    cdef Py_ssize_t i, start = 0, step = y.shape[0] > 1
    with nogil:
        for i in range(1, x.shape[0]+1):
            if i == x.shape[0] or y[i*step] != y[start*step]:
                powers_of(&x[start], y[start*step], &to[start], i-start)
                start = i
    return out


def complex_products(const double[::1] a, const double[::1] b):
    """Products of complex numbers that stand as pairs of real and imaginary parts, shape (2n,), float64.

    Raises
    ------
    ValueError
        When there are not as many of both, or no pairs.
    """
    if b.shape[0] != a.shape[0] or a.shape[0] % 2:
        raise ValueError(f"there are {a.shape[0]} and {b.shape[0]} parts of complex numbers")
    out = np.empty(a.shape[0])
    cdef double[::1] to = out
    cdef Py_ssize_t i
    with nogil:
        for i in range(0, a.shape[0], 2):
            to[i] = a[i]*b[i]-a[i+1]*b[i+1]
            to[i+1] = a[i]*b[i+1]+a[i+1]*b[i]
    return out


def angle(const double[::1] y, const double[::1] x):
    """Angles of points (x, y) from the x axis, shape (n,), float64; 0 of the origin.

    Raises
    ------
    ValueError
        When there are not as many of both.
    """
    if y.shape[0] != x.shape[0]:
        raise ValueError(f"there are {x.shape[0]} x and {y.shape[0]} y")
    out = np.empty(x.shape[0])
    cdef double[::1] to = out
    cdef Py_ssize_t i
    with nogil:
        for i in range(x.shape[0]):
            to[i] = angle_of(y[i], x[i])
    return out
