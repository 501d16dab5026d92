"""Elementary functions whose bits do not depend on the processor.

Those of NumPy and of the C library come in variants for processors with wide or fused instructions, which differ in the last bit;
so do NumPy's products of complex numbers. Fits are the same bits anywhere.
"""
import numpy as np

from ..cython_ext import functions as kernel

# Abramowitz and Stegun (1964), 6.1.41
STIRLING = 1/12, -1/360, 1/1260, -1/1680, 1/1188, -691/360360
LN10 = 2.302585092994046
STIRLING_FROM = 10.
"""From here on Stirling's series is exact enough."""
SINH_TERMS = 20
"""Powers of the series of the hyperbolic sine; below 1 the next is less than rounding."""
ERF_TO, ERF_TERMS = 6., 160
"""From there on the error function is 1, and as many terms are enough up to there."""


def exp(x):
    """Exponential of each number, float64."""
    return _of_each("exp", x)


def log(x):
    """Natural logarithm of each number, float64; -infinity of 0, NaN of negative numbers."""
    return _of_each("log", x)


def sin(x):
    """Sine of each angle, radians, float64."""
    return _of_each("sin", x)


def cos(x):
    """Cosine of each angle, radians, float64."""
    return _of_each("cos", x)


def angle(y, x):
    """The angle of a point from the x axis to the y axis, radians, float64, as `numpy.arctan2`; arrays are broadcast."""
    y, x = np.broadcast_arrays(np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64))
    out = kernel.angle(np.ascontiguousarray(y).ravel(), np.ascontiguousarray(x).ravel()).reshape(x.shape)
    return out if out.ndim else float(out)


def log10(x):
    """Logarithm to the base of 10 of each number, float64; as `log` otherwise."""
    return log(x)/LN10


def sinh(x):
    """Hyperbolic sine of each number, float64."""
    x = np.asarray(x, dtype=np.float64)
    near = np.clip(x, -1, 1)
    small, term = near.copy(), near.copy()
    for k in range(2, SINH_TERMS, 2):
        term = term*near*near/(k*(k+1))
        small = small+term
    large = exp(np.abs(x))
    return np.where(np.abs(x) < 1, small, np.sign(x)*(large-1/np.maximum(large, 1))/2)


def erf(x):
    """Error function of each number, float64, by a series without negative terms (Abramowitz and Stegun 1964, 7.1.6)."""
    x = np.clip(np.asarray(x, dtype=np.float64), -ERF_TO, ERF_TO)
    term = 2/np.sqrt(np.pi)*x*exp(-x*x)
    total = term.copy()
    for n in range(1, ERF_TERMS):
        term = term*(2*x*x/(2*n+1))
        total = total+term
    return total


def power(x, y):
    """Powers of x, float64, by multiplications where the power y is a small whole number; arrays are broadcast."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    # most often one power of many numbers, which needs no array of powers
    if y.size != 1 or y.ndim > x.ndim:
        x, y = np.broadcast_arrays(x, y)
    out = kernel.power(np.ascontiguousarray(x).ravel(), np.ascontiguousarray(y).ravel()).reshape(x.shape)
    return out if out.ndim else float(out)


def log_gamma(x):
    """Logarithm of the gamma function of a positive number."""
    factor = 1.
    while x < STIRLING_FROM:
        factor, x = factor*x, x+1
    rest = sum(c/power(x, 2*k+1) for k, c in enumerate(STIRLING))
    return (x-0.5)*log(x)-x+0.5*log(2*np.pi)+rest-log(factor)


def times(a, b):
    """Product of two arrays of complex numbers, or of one with real ones."""
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype == b.dtype == np.complex128 and a.shape == b.shape:
        parts = (np.ascontiguousarray(v).ravel().view(np.float64) for v in (a, b))
        return kernel.complex_products(*parts).view(np.complex128).reshape(a.shape)
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.complex128)
    if np.iscomplexobj(a) and np.iscomplexobj(b):
        out.real, out.imag = a.real*b.real-a.imag*b.imag, a.real*b.imag+a.imag*b.real
    else:
        factor, numbers = (b, a) if np.iscomplexobj(a) else (a, b)
        out.real, out.imag = numbers.real*factor, numbers.imag*factor
    return out


def squared_modulus(a):
    """Square of the absolute value of each complex number."""
    return a.real**2+a.imag**2


def _of_each(name, x):
    """A function of each number of an array of any shape, or of a number."""
    x = np.asarray(x, dtype=np.float64)
    out = kernel.of_each(name, np.ascontiguousarray(x).ravel()).reshape(x.shape)
    return out if out.ndim else float(out)
