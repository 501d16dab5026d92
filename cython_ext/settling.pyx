"""Which detections go to which centre, where several of one image want the same. No global mutable state."""
import numpy as np


cdef struct Proposals:
    # of each detection: the centre that keeps it, how many refused it, and the last round of that
    Py_ssize_t *owner
    int *refused
    int *when
    # detections that are kept, at places by centre and source; -1 for a free place, of which there are as many at least
    Py_ssize_t *kept
    Py_ssize_t mask


def settle(const Py_ssize_t[:, ::1] near, const double[:, ::1] d2, const Py_ssize_t[::1] rank, const int[::1] source,
           Py_ssize_t centres, int rounds):
    """Give each detection a centre, so that a centre gets one of each source, the nearest, where there is another for the rest.

    In each round each detection without a centre proposes itself to the nearest that has not refused it; a centre keeps the
    nearest one of a source and refuses the others. Those left at the end are given to their nearest centre as more than one of a source.

    Parameters
    ----------
    near, d2 : ndarray, shape (n, m)
        From `nearest_centres`.
    rank : ndarray, shape (n,)
        Decides between equal distances.
    source : ndarray, shape (n,)
    centres : int
        How many there are.
    rounds : int

    Returns
    -------
    owner : ndarray, shape (n,)
        Number of the centre; -1 where none is near.
    extra : ndarray, shape (n,), bool
        Given to a centre that has a nearer one of the same source.
    """
    cdef Py_ssize_t count = near.shape[0], i
    if d2.shape[0] != count or d2.shape[1] != near.shape[1] or rank.shape[0] != count or source.shape[0] != count:
        raise ValueError("near and d2 must have one shape, and rank and source be as many as their rows")
    if near.shape[1] == 0 or np.max(near, initial=-1) >= centres:
        raise ValueError(f"near needs at least one column, and numbers below that of the centres, {centres}")
    cdef Py_ssize_t[::1] owner = np.full(count, -1, dtype=np.intp)
    cdef Py_ssize_t[::1] kept = np.full(2 << max(count, 1).bit_length(), -1, dtype=np.intp)
    cdef int[::1] refused = np.zeros(count, dtype=np.intc), when = np.full(count, -1, dtype=np.intc)
    cdef unsigned char[::1] extra = np.zeros(count, dtype=np.uint8)
    cdef Proposals state
    cdef int turn
    if count == 0 or centres == 0:
        return np.asarray(owner), np.asarray(extra).view(bool)
    state.owner, state.refused, state.when, state.kept, state.mask = &owner[0], &refused[0], &when[0], &kept[0], len(kept)-1
    with nogil:
        for turn in range(rounds):
            if not all_propose(near, d2, rank, source, &state, turn):
                break
        for i in range(count):
            if owner[i] == -1 and near[i, 0] >= 0:
                owner[i] = near[i, 0]
                extra[i] = 1
    return np.asarray(owner), np.asarray(extra).view(bool)


cdef bint all_propose(const Py_ssize_t[:, ::1] near, const double[:, ::1] d2, const Py_ssize_t[::1] rank, const int[::1] source,
                  Proposals *state, int turn) noexcept nogil:
    """One round: each detection without a centre proposes itself to one. Returns whether any did."""
    cdef Py_ssize_t i, c, rival, place
    cdef bint moved = False
    for i in range(near.shape[0]):
        # one that was refused in this round proposes itself again in the next: else the order would matter
        if state.owner[i] != -1 or state.when[i] == turn or state.refused[i] >= near.shape[1] or near[i, state.refused[i]] < 0:
            continue
        moved = True
        c = near[i, state.refused[i]]
        place = place_of(state, source, c, source[i])
        rival = state.kept[place]
        if rival >= 0 and not nearer(d2, rank, state.refused, i, rival):
            refuse(state, i, turn)
            continue
        if rival >= 0:
            refuse(state, rival, turn)
        state.owner[i] = c
        state.kept[place] = i
    return moved


cdef Py_ssize_t place_of(const Proposals *state, const int[::1] source, Py_ssize_t centre, int wanted) noexcept nogil:
    """Where the detection of a source that a centre has is kept; a free place for none. What is kept there is only replaced."""
    cdef unsigned long long hashed = (<unsigned long long>centre*0x9E3779B97F4A7C15ULL) ^ (
        <unsigned long long>wanted*0xC2B2AE3D27D4EB4FULL)
    cdef Py_ssize_t place = <Py_ssize_t>((hashed ^ (hashed >> 32)) & <unsigned long long>state.mask), i = state.kept[place]
    while i >= 0 and (source[i] != wanted or state.owner[i] != centre):
        place = (place+1) & state.mask
        i = state.kept[place]
    return place


cdef bint nearer(const double[:, ::1] d2, const Py_ssize_t[::1] rank, const int *refused, Py_ssize_t i,
                 Py_ssize_t rival) noexcept nogil:
    """Whether i is nearer to the centre to which both propose themselves than its rival."""
    cdef double a = d2[i, refused[i]], b = d2[rival, refused[rival]]
    return a < b or (a == b and rank[i] < rank[rival])


cdef void refuse(Proposals *state, Py_ssize_t who, int turn) noexcept nogil:
    """Leave a detection without a centre, until it proposes itself to the next in another round."""
    state.owner[who] = -1
    state.refused[who] += 1
    state.when[who] = turn
