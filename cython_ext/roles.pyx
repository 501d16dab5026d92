"""Which detections are an object's, and which of them count. No global mutable state.

The members of object k are ``member[start[k]:start[k+1]]``, numbers of detections, ascending.
"""
import numpy as np

from libc.stdlib cimport free, malloc


cdef struct Detector:
    Py_ssize_t first, count
    bint usable
    double sigma


cdef Py_ssize_t most_members(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, Py_ssize_t detections) except -1:
    """The largest number of members, at least 1; raises ValueError unless all members are detections."""
    cdef Py_ssize_t k, most = 1, ends = start.shape[0]
    if ends == 0 or start[0] < 0 or start[ends-1] > member.shape[0]:
        raise ValueError("start needs one number more than there are objects, the last at most the number of members")
    for k in range(ends-1):
        if start[k+1] < start[k]:
            raise ValueError("start must not descend")
        most = max(most, start[k+1]-start[k])
    for k in range(start[0], start[ends-1]):
        if not 0 <= member[k] < detections:
            raise ValueError(f"member {member[k]} is none of {detections} detections")
    return most


def members_of(const Py_ssize_t[::1] owner, Py_ssize_t objects):
    """Numbers of the detections of each object, ascending.

    Parameters
    ----------
    owner : ndarray, shape (n,)
        Object of each detection, -1 for none.
    objects : int

    Returns
    -------
    start : ndarray, shape (objects+1,)
    member : ndarray, shape (m,)
    """
    if objects < 0 or np.max(owner, initial=-1) >= objects:
        raise ValueError(f"owners must be below the number of objects, {objects}")
    start_ = np.zeros(objects+1, dtype=np.intp)
    cdef Py_ssize_t[::1] start = start_, at
    cdef Py_ssize_t i
    for i in range(owner.shape[0]):
        if owner[i] >= 0:
            start[owner[i]+1] += 1
    np.cumsum(start_, out=start_)
    member_ = np.empty(start[objects], dtype=np.intp)
    cdef Py_ssize_t[::1] member = member_
    at = start_.copy()
    for i in range(owner.shape[0]):
        if owner[i] >= 0:
            member[at[owner[i]]] = i
            at[owner[i]] += 1
    return start_, member_


def roles(const Py_ssize_t[::1] start, const Py_ssize_t[::1] member, const int[::1] visit, const int[::1] source,
          const unsigned char[::1] usable, const double[::1] sigma, const double[::1] separation, int policy):
    """How each member counts, where an object has more than one of a visit (an exposure in a band).

    Of several detectors that saw the object in one visit, the best is taken: usable, with one detection only, with the smaller
    error of position, then the first. Several detections of one detector fall under the policy.

    Parameters
    ----------
    start, member : ndarray
    visit, source : ndarray, shape (n,)
        Equal for the detections of one visit, and of one detector in it.
    usable : ndarray, shape (n,), uint8
    sigma, separation : ndarray, shape (n,)
        Error of the position, and distance from the object.
    policy : int
        `FLAG`, `SUM` or `CLOSEST`.

    Returns
    -------
    ndarray, shape (n,), uint8
        `AVERAGED` for those that count by themselves, `SUMMED`, `SEVERAL`, `FARTHER` or `OVERLAP`.
    """
    if not len(visit) == len(source) == len(usable) == len(sigma) == len(separation):
        raise ValueError("visit, source, usable, sigma and separation must be as many")
    if policy not in (FLAG, SUM, CLOSEST):
        raise ValueError(f"policy is {policy}: choose FLAG, SUM or CLOSEST")
    use_ = np.zeros(visit.shape[0], dtype=np.uint8)
    cdef unsigned char[::1] use = use_
    cdef Py_ssize_t k, a, b, most = most_members(start, member, visit.shape[0])
    cdef Py_ssize_t *own = <Py_ssize_t *>malloc(most*sizeof(Py_ssize_t))
    if own == NULL:
        raise MemoryError("no memory for the members of an object")
    with nogil:
        for k in range(start.shape[0]-1):
            arrange(&member[start[k]], start[k+1]-start[k], visit, source, own)
            a = 0
            while a < start[k+1]-start[k]:
                b = a+1
                while b < start[k+1]-start[k] and visit[own[b]] == visit[own[a]]:
                    b += 1
                if b > a+1:
                    one_visit(own+a, b-a, source, usable, sigma, separation, policy, use)
                a = b
    free(own)
    return use_


cdef void arrange(const Py_ssize_t *member, Py_ssize_t n, const int[::1] visit, const int[::1] source,
                  Py_ssize_t *own) noexcept nogil:
    """Members by visit, source and number: nearly sorted already, so that insertion is fast."""
    cdef Py_ssize_t i, j, m
    for i in range(n):
        m, j = member[i], i
        while j > 0 and (visit[own[j-1]] > visit[m] or (visit[own[j-1]] == visit[m] and source[own[j-1]] > source[m])):
            own[j] = own[j-1]
            j -= 1
        own[j] = m


cdef void one_visit(const Py_ssize_t *own, Py_ssize_t n, const int[::1] source, const unsigned char[::1] usable,
                    const double[::1] sigma, const double[::1] separation, int policy, unsigned char[::1] use) noexcept nogil:
    """Roles of the detections of one visit, sorted by source."""
    cdef Py_ssize_t a = 0, b, k, chosen = -1, number = 0
    cdef Detector best, this
    while a < n:
        b = a+1
        while b < n and source[own[b]] == source[own[a]]:
            b += 1
        this.first, this.count, this.usable, this.sigma = own[a], b-a, False, sigma[own[a]]
        for k in range(a, b):
            use[own[k]] = OVERLAP
            this.usable |= usable[own[k]] != 0
            this.sigma = min(this.sigma, sigma[own[k]])
        if chosen < 0 or better(&this, &best):
            best, chosen, number = this, a, b-a
        a = b
    by_policy(own+chosen, number, usable, separation, policy, use)


cdef bint better(const Detector *a, const Detector *b) noexcept nogil:
    """Whether a detector's view of an object is to be taken before another's."""
    if a.usable != b.usable:
        return a.usable
    if (a.count == 1) != (b.count == 1):
        return a.count == 1
    return a.sigma < b.sigma or (a.sigma == b.sigma and a.first < b.first)


cdef void by_policy(const Py_ssize_t *own, Py_ssize_t n, const unsigned char[::1] usable, const double[::1] separation,
                    int policy, unsigned char[::1] use) noexcept nogil:
    """Roles of the detections of one detector in one visit."""
    cdef Py_ssize_t k, closest = 0
    cdef bint complete = True
    if n == 1:
        use[own[0]] = AVERAGED
        return
    for k in range(n):
        complete &= usable[own[k]] != 0
        if separation[own[k]] < separation[own[closest]]:
            closest = k
    for k in range(n):
        if policy == CLOSEST:
            use[own[k]] = AVERAGED if k == closest else FARTHER
        else:
            # a sum needs all of its parts
            use[own[k]] = SUMMED if policy == SUM and complete else SEVERAL
