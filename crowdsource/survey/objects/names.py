"""Identifiers of objects: where each was first seen, carried on from release to release.

An object's identifier is the HEALPix index of its first place, a function of its detections alone. With an earlier release, an
object takes over the identifier of the earlier object of which it holds most detections, where no other object holds more of it.
"""
from dataclasses import dataclass

import numpy as np

from ..healpix import INDEX, index_of
from ..sorting import order_by

CHANGE = [("change", "u1"), ("previous_id", "i8"), ("object_id", "i8"), ("n_shared", "i4")]
MERGED, SPLIT, GONE = 1, 2, 3
CHANGES = {MERGED: "merged", SPLIT: "split", GONE: "gone"}
"""An earlier object's detections went into one with another identifier, which has more of a second earlier one; went apart; are
all gone, or in no object (object_id -1)."""


@dataclass(frozen=True)
class Earlier:
    """What of an earlier release lies in and around a pixel.

    Attributes
    ----------
    index, detection_id, object_id : ndarray, shape (n,), int64
        Of its members that are in an object.
    names : ndarray, shape (m,), int64
        Identifiers of its objects, ascending.
    """
    index: np.ndarray
    detection_id: np.ndarray
    object_id: np.ndarray
    names: np.ndarray


def named(ra, dec):
    """Identifiers of objects that are seen first: the index of the place of each, the next free one where two share it.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    return _spread(index_of(ra, dec), np.lexsort((dec, ra)), np.zeros(0, np.int64))


def _spread(names, order, taken):
    """Names, the next free one where one is taken or comes again; `order` decides who is asked first."""
    by_name = order[order_by(names[order])]
    ordered = names[by_name]
    clash = np.isin(ordered, taken)
    clash[1:] |= ordered[1:] == ordered[:-1]
    used = set(taken.tolist()) | set(ordered[~clash].tolist()) if clash.any() else ()
    for k in np.flatnonzero(clash):
        while int(ordered[k]) in used:
            ordered[k] += 1
        used.add(int(ordered[k]))
    out = np.empty_like(names)
    out[by_name] = ordered
    return out


def carried(names, owner, rows, earlier):
    """Identifiers with those of an earlier release carried on, and what became of the earlier objects.

    Parameters
    ----------
    names : ndarray, shape (m,), int64
        From `named`.
    owner : ndarray, shape (n,)
        Object of each detection, -1 for none.
    rows : mapping of str to ndarray, shape (n,)
        `INDEX` and detection_id of the detections; ascending by the latter.
    earlier : Earlier or None

    Returns
    -------
    names : ndarray, shape (m,), int64
    changes : ndarray
        Structured, as `CHANGE`.
    """
    if earlier is None or not len(earlier.names):
        return names, np.zeros(0, CHANGE)
    who, which, shared = _shares(owner, rows, earlier)
    # an earlier object goes to the one that has most of it, the first by name where two have as much
    best = order_by(which, -shared, names[who])
    heir = np.r_[True, which[best][1:] != which[best][:-1]] if len(best) else np.zeros(0, bool)
    heirs = best[heir]
    # and an object takes the name of that of which it has most
    chosen = heirs[order_by(who[heirs], -shared[heirs], which[heirs])]
    chosen = chosen[np.r_[True, who[chosen][1:] != who[chosen][:-1]]] if len(chosen) else chosen
    out, kept = names.copy(), np.zeros(len(names), bool)
    out[who[chosen]], kept[who[chosen]] = which[chosen], True
    new = np.flatnonzero(~kept)
    out[new] = _spread(names[new], order_by(names[new]), earlier.names)
    return out, _changes(out, who, which, shared, earlier)


def _shares(owner, rows, earlier):
    """(object, earlier object, detections in both) of all pairs that have any."""
    order = order_by(earlier.detection_id)
    known = earlier.detection_id[order]
    at = np.minimum(np.searchsorted(known, rows["detection_id"]), max(len(known)-1, 0))
    if not len(known):
        return (np.zeros(0, np.int64),)*3
    # an image that was measured anew may use an identifier for another star
    same = (known[at] == rows["detection_id"]) & (earlier.index[order][at] == rows[INDEX]) & (owner >= 0)
    pairs = np.stack([owner[same], earlier.object_id[order][at[same]]], axis=1)
    found, shared = np.unique(pairs, axis=0, return_counts=True)
    return found[:, 0], found[:, 1], shared


def _changes(names, who, which, shared, earlier):
    """What became of earlier objects that did not just go on."""
    moved = names[who] != which
    parts = np.isin(which, which[moved])
    several = np.isin(which, np.unique(which)[np.unique(which, return_counts=True)[1] > 1])
    out = np.zeros(int(parts.sum()), CHANGE)
    out["change"] = np.where(several[parts], SPLIT, MERGED)
    out["previous_id"], out["object_id"], out["n_shared"] = which[parts], names[who][parts], shared[parts]
    lost = np.setdiff1d(earlier.names, which)
    gone = np.zeros(len(lost), CHANGE)
    gone["change"], gone["previous_id"], gone["object_id"] = GONE, lost, -1
    return np.concatenate([out, gone])
