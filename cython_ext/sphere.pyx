"""Points on the sphere in zones of declination, so that those near a position are found fast. No global mutable state.

What is found, and its order, depends on the points' positions and numbers alone: never on what else was loaded with them.
"""
import numpy as np

from crowdsource.cython_ext.order import order_of
from libc.math cimport asin, atan2, cos, fabs, floor, sin, sqrt, M_PI

cdef double DEGREE = M_PI/180
# of zones and of windows in right ascension, so that rounding loses none; it is enough for reaches from SMALLEST on
cdef double SLACK = 1+1e-6
cdef double SMALLEST = 1e-6
# numbers of what is found are of type int
cdef Py_ssize_t MOST = 2**31-1


def unit_vectors(const double[::1] ra, const double[::1] dec):
    """Unit vectors of positions on the sphere.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.

    Returns
    -------
    ndarray, shape (n, 3)
    """
    if ra.shape[0] != dec.shape[0]:
        raise ValueError(f"ra and dec must be as many, not {ra.shape[0]} and {dec.shape[0]}")
    out = np.empty((ra.shape[0], 3))
    cdef double[:, ::1] v = out
    cdef Py_ssize_t i
    with nogil:
        for i in range(ra.shape[0]):
            v[i, 0] = cos(dec[i]*DEGREE)*cos(ra[i]*DEGREE)
            v[i, 1] = cos(dec[i]*DEGREE)*sin(ra[i]*DEGREE)
            v[i, 2] = sin(dec[i]*DEGREE)
    return out


def ra_dec(const double[:, ::1] vectors):
    """Right ascension from 0 to 360 and declination of vectors of any length.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)

    Returns
    -------
    ra, dec : ndarray, shape (n,)
        Degrees.
    """
    if vectors.shape[1] != 3:
        raise ValueError(f"vectors need three columns, not {vectors.shape[1]}")
    ra, dec = np.empty(vectors.shape[0]), np.empty(vectors.shape[0])
    cdef double[::1] a = ra, d = dec
    cdef Py_ssize_t i
    with nogil:
        for i in range(vectors.shape[0]):
            a[i] = atan2(vectors[i, 1], vectors[i, 0])/DEGREE
            if a[i] < 0:
                a[i] += 360
            if a[i] >= 360:
                a[i] = 0
            d[i] = atan2(vectors[i, 2], sqrt(vectors[i, 0]*vectors[i, 0]+vectors[i, 1]*vectors[i, 1]))/DEGREE
    return ra, dec


def offsets(const double[:, ::1] vectors, const Py_ssize_t[::1] which, const double[::1] ra, const double[::1] dec):
    """Offsets from positions nearby.

    Parameters
    ----------
    vectors : ndarray, shape (n, 3)
        Unit vectors.
    which : ndarray, shape (n,), intp
        Number of the position from which each is measured, -1 for none.
    ra, dec : ndarray, shape (m,)
        The positions, degrees.

    Returns
    -------
    ndarray, shape (n, 2)
        East and north, arcsec: components of the vector in the plane that touches the sphere at the position; NaN for none.
    """
    if vectors.shape[1] != 3 or which.shape[0] != vectors.shape[0] or ra.shape[0] != dec.shape[0]:
        raise ValueError("vectors need three columns, which must be as many as they are, and ra as many as dec")
    if np.max(which, initial=-1) >= ra.shape[0]:
        raise ValueError(f"which must be below the number of positions, {ra.shape[0]}")
    out, axes = np.full((vectors.shape[0], 2), np.nan), np.empty((ra.shape[0], 4))
    cdef double[:, ::1] o = out, a = axes
    cdef double second = DEGREE/3600
    cdef Py_ssize_t i, k
    with nogil:
        for k in range(ra.shape[0]):
            a[k, 0], a[k, 1], a[k, 2], a[k, 3] = sin(ra[k]*DEGREE), cos(ra[k]*DEGREE), sin(dec[k]*DEGREE), cos(dec[k]*DEGREE)
        for i in range(vectors.shape[0]):
            k = which[i]
            if k >= 0:
                o[i, 0] = (vectors[i, 1]*a[k, 1]-vectors[i, 0]*a[k, 0])/second
                o[i, 1] = (vectors[i, 2]*a[k, 3]-(vectors[i, 0]*a[k, 1]+vectors[i, 1]*a[k, 0])*a[k, 2])/second
    return out


def moved(const double[::1] ra, const double[::1] dec, const double[:, ::1] offset):
    """Positions at offsets from others: the reverse of `offsets`.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.
    offset : ndarray, shape (n, 2)
        East and north, arcsec.

    Returns
    -------
    ra, dec : ndarray, shape (n,)
        Degrees, ra from 0 to 360.
    """
    if offset.shape[1] != 2 or ra.shape[0] != offset.shape[0] or dec.shape[0] != offset.shape[0]:
        raise ValueError("offsets need two columns, and ra and dec must be as many as they are")
    vectors = np.empty((ra.shape[0], 3))
    cdef double[:, ::1] v = vectors
    cdef double sa, ca, sd, cd, e, n, c, second = DEGREE/3600
    cdef Py_ssize_t i
    with nogil:
        for i in range(ra.shape[0]):
            sa, ca, sd, cd = sin(ra[i]*DEGREE), cos(ra[i]*DEGREE), sin(dec[i]*DEGREE), cos(dec[i]*DEGREE)
            e, n = offset[i, 0]*second, offset[i, 1]*second
            c = sqrt(1-e*e-n*n)
            v[i, 0] = c*cd*ca-n*sd*ca-e*sa
            v[i, 1] = c*cd*sa-n*sd*sa+e*ca
            v[i, 2] = c*sd+n*cd
    return ra_dec(vectors)


cdef class Points:
    """Positions on the sphere, sorted by zones of declination and by right ascension.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees; ra from 0 to 360, dec from -90 to 90.
    reach : float
        No search goes farther, degrees; from 1e-6 to below 1.

    Attributes
    ----------
    order : ndarray, shape (n,)
        Numbers of the given points in the order in which they are kept. Equal positions stay in the given order.
    """
    def __init__(self, ra, dec, double reach):
        ra, dec = np.ascontiguousarray(ra, dtype=np.float64), np.ascontiguousarray(dec, dtype=np.float64)
        if ra.ndim != 1 or ra.shape != dec.shape:
            raise ValueError(f"ra and dec must be vectors of one length, not of shapes {ra.shape} and {dec.shape}")
        if not SMALLEST <= reach < 1:
            raise ValueError(f"reach is {reach} degrees: must be at least {SMALLEST} and below 1")
        # written so that NaN is refused too
        if not ((ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)).all():
            raise ValueError("ra must be from 0 to 360 degrees and dec from -90 to 90")
        if len(ra) > MOST:
            raise ValueError(f"{len(ra)} points are too many: at most {MOST} are searched together")
        self.height = reach*SLACK
        zone = np.floor((dec+90)/self.height).astype(np.int64)
        # numbers that are not negative are in the order of their bits; zero has two of which one is negative
        self.order = order_of(zone, order_of((ra+0.).view(np.int64)))
        self.first = zone.min() if len(zone) else 0
        self.zones = zone.max()-self.first+1 if len(zone) else 0
        self.n = len(zone)
        self.start = np.searchsorted(zone[self.order], np.arange(self.first, self.first+self.zones+1)).astype(np.intp)
        self.ra, self.dec, self.rank = ra[self.order], dec[self.order], self.order.astype(np.intp)
        self.xyz = unit_vectors(self.ra, self.dec)
        self.limit = reach
        self.reach2 = chord2(reach)

    def __len__(self):
        return self.n

    @property
    def reach(self):
        """As given."""
        return self.limit

    @property
    def vectors(self):
        """Unit vectors in that order, shape (n, 3)."""
        return np.asarray(self.xyz)

    @property
    def sorted_positions(self):
        """Right ascension and declination in that order, degrees."""
        return np.asarray(self.ra), np.asarray(self.dec)

    cdef Py_ssize_t around(self, const double *position, double ra, double dec, double chord2, int *found,
                           double *d2) noexcept nogil:
        """Points within the root of `chord2` of a position, and within reach; writes their numbers and squared chords.

        Returns how many there are.
        """
        cdef double width, d, limit2 = min(chord2, self.reach2)
        cdef Py_ssize_t zone = <Py_ssize_t>floor((dec+90)/self.height)-self.first, k, j, n = 0, part
        cdef double low[2]
        cdef double high[2]
        cdef int parts = 1
        if fabs(dec)+2*self.height >= 90:
            # at a pole any right ascension is near; beside it the window ends where rounding is magnified most
            low[0], high[0] = 0., 360.
        else:
            width = asin(sin(self.height*DEGREE)/cos(dec*DEGREE))/DEGREE
            low[0], high[0] = ra-width, ra+width
            if low[0] < 0:
                low[1], high[1], parts = low[0]+360, 360., 2
            elif high[0] >= 360:
                low[1], high[1], parts = 0., high[0]-360, 2
        for k in range(max(zone-1, 0), min(zone+2, self.zones)):
            for part in range(parts):
                j = self.lower(k, low[part])
                while j < self.start[k+1] and self.ra[j] <= high[part]:
                    d = squared(&self.xyz[j, 0], position)
                    if d <= limit2:
                        found[n] = <int>j
                        d2[n] = d
                        n += 1
                    j += 1
        return n

    cdef Py_ssize_t lower(self, Py_ssize_t zone, double ra) noexcept nogil:
        """First point of a zone whose right ascension is not below `ra`."""
        cdef Py_ssize_t a = self.start[zone], b = self.start[zone+1], m
        while a < b:
            m = (a+b)//2
            if self.ra[m] < ra:
                a = m+1
            else:
                b = m
        return a


cdef inline double squared(const double *a, const double *b) noexcept nogil:
    """Squared distance of two vectors."""
    return (a[0]-b[0])*(a[0]-b[0])+(a[1]-b[1])*(a[1]-b[1])+(a[2]-b[2])*(a[2]-b[2])


def chord2(double angle):
    """Squared chord of an angle in degrees, on the unit sphere."""
    return 4*sin(angle*DEGREE/2)**2
