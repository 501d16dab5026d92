"""Cholesky factors of small dense matrices, row-major float64, no checks: callers own the shapes."""
from libc.math cimport sqrt


cdef inline double dot(const double *a, const double *b, int n) noexcept nogil:
    """Sum of products, in four sums that do not wait for each other."""
    cdef double s0 = 0, s1 = 0, s2 = 0, s3 = 0
    cdef int k, whole = n//4*4
    for k in range(0, whole, 4):
        s0 += a[k]*b[k]
        s1 += a[k+1]*b[k+1]
        s2 += a[k+2]*b[k+2]
        s3 += a[k+3]*b[k+3]
    for k in range(whole, n):
        s0 += a[k]*b[k]
    return (s0+s2)+(s1+s3)


cdef inline int cholesky(double *a, int n, int stride) noexcept nogil:
    """Factor a = L L' in place (lower triangle); gives the order of the first minor that is not positive, or 0."""
    cdef int i, j
    cdef double s
    cdef double *ri
    cdef double *rj
    for j in range(n):
        rj = a+j*stride
        for i in range(j, n):
            ri = a+i*stride
            s = ri[j]-dot(ri, rj, j)
            if i == j:
                if not s > 0:
                    return j+1
                rj[j] = sqrt(s)
            else:
                ri[j] = s/rj[j]
    return 0


cdef inline int invert3(const double *a, double *out) noexcept nogil:
    """Inverse of a symmetric positive 3x3 matrix by cofactors; gives 1 where the determinant is not positive."""
    cdef double c00 = a[4]*a[8]-a[5]*a[7], c01 = a[5]*a[6]-a[3]*a[8], c02 = a[3]*a[7]-a[4]*a[6]
    cdef double determinant = a[0]*c00+a[1]*c01+a[2]*c02
    if not determinant > 0:
        return 1
    out[0] = c00/determinant
    out[1] = out[3] = c01/determinant
    out[2] = out[6] = c02/determinant
    out[4] = (a[0]*a[8]-a[2]*a[6])/determinant
    out[5] = out[7] = (a[2]*a[3]-a[0]*a[5])/determinant
    out[8] = (a[0]*a[4]-a[1]*a[3])/determinant
    return 0
