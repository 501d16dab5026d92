"""Identifiers of objects, which are kept from release to release.

An object's identifier is the HEALPix index of the position where it was first seen, which depends on its detections alone. With
an earlier release, an object takes over the identifier of the earlier object of which it holds most detections, unless another
object holds more of that.
"""
from dataclasses import dataclass

import numpy as np

from ..healpix import SPATIAL_INDEX, index_of
from ..sorting import order_by

CHANGE = [("change", "u1"), ("previous_id", "i8"), ("object_id", "i8"), ("n_shared", "i4")]
MERGED, SPLIT, GONE = 1, 2, 3
CHANGES = {MERGED: "merged", SPLIT: "split", GONE: "gone"}
"""The detections of an earlier object went into an object with another identifier, which has more detections of a second earlier
object; went into several objects; or are all gone or in no object (object_id -1)."""


@dataclass(frozen=True, eq=False)
class PreviousObjects:
    """Objects of an earlier release in and around a pixel.

    Attributes
    ----------
    index, detection_id, object_id : ndarray, shape (n,), int64
        Of the members that are in an object.
    object_ids : ndarray, shape (m,), int64
        Identifiers of the objects, ascending.
    """

    index: np.ndarray
    detection_id: np.ndarray
    object_id: np.ndarray
    object_ids: np.ndarray


def new_identifiers(ra, dec):
    """Identifiers of new objects: the spatial index of each position, the next free number where two objects share it.

    Parameters
    ----------
    ra, dec : ndarray, shape (n,)
        Degrees.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    return _without_clashes(index_of(ra, dec), np.lexsort((dec, ra)), np.zeros(0, np.int64))


def _without_clashes(ids, order, taken):
    """Identifiers without duplicates: the next free number where one is taken. Earlier ones in `order` keep theirs."""
    by_id = order[order_by(ids[order])]
    ordered = ids[by_id]
    clash = np.isin(ordered, taken)
    clash[1:] |= ordered[1:] == ordered[:-1]
    used = set(taken.tolist()) | set(ordered[~clash].tolist()) if clash.any() else ()
    for k in np.flatnonzero(clash):
        while int(ordered[k]) in used:
            ordered[k] += 1
        used.add(int(ordered[k]))
    out = np.empty_like(ids)
    out[by_id] = ordered
    return out


def carry_over_identifiers(ids, owner, rows, previous):
    """Identifiers with those of an earlier release kept, and what became of the earlier objects.

    Parameters
    ----------
    ids : ndarray, shape (m,), int64
        From `new_identifiers`.
    owner : ndarray, shape (n,)
        Object of each detection, -1 for none.
    rows : mapping of str to ndarray, shape (n,)
        `SPATIAL_INDEX` and detection_id of the detections; ascending by the latter.
    previous : PreviousObjects or None

    Returns
    -------
    ids : ndarray, shape (m,), int64
    changes : ndarray
        Structured, as `CHANGE`.
    """
    if previous is None or not len(previous.object_ids):
        return ids, np.zeros(0, CHANGE)
    who, which, shared = _shares(owner, rows, previous)
    # the heir of an earlier object is the object with most of its detections, the one with the lower identifier of two equal ones
    best = order_by(which, -shared, ids[who])
    heir = np.r_[True, which[best][1:] != which[best][:-1]] if len(best) else np.zeros(0, bool)
    heirs = best[heir]
    # an object takes the identifier of that earlier object of which it has most detections
    chosen = heirs[order_by(who[heirs], -shared[heirs], which[heirs])]
    chosen = chosen[np.r_[True, who[chosen][1:] != who[chosen][:-1]]] if len(chosen) else chosen
    out, kept = ids.copy(), np.zeros(len(ids), bool)
    out[who[chosen]], kept[who[chosen]] = which[chosen], True
    new = np.flatnonzero(~kept)
    out[new] = _without_clashes(ids[new], order_by(ids[new]), previous.object_ids)
    return out, _changes(out, who, which, shared, previous)


def _shares(owner, rows, previous):
    """(object, earlier object, detections in both) of all pairs that have any."""
    order = order_by(previous.detection_id)
    known = previous.detection_id[order]
    at = np.minimum(np.searchsorted(known, rows["detection_id"]), max(len(known)-1, 0))
    if not len(known):
        return (np.zeros(0, np.int64),)*3
    # an image that was measured anew may use an identifier for another star
    same = (known[at] == rows["detection_id"]) & (previous.index[order][at] == rows[SPATIAL_INDEX]) & (owner >= 0)
    pairs = np.stack([owner[same], previous.object_id[order][at[same]]], axis=1)
    found, shared = np.unique(pairs, axis=0, return_counts=True)
    return found[:, 0], found[:, 1], shared


def _changes(ids, who, which, shared, previous):
    """What became of earlier objects that are not simply continued."""
    moved = ids[who] != which
    parts = np.isin(which, which[moved])
    several = np.isin(which, np.unique(which)[np.unique(which, return_counts=True)[1] > 1])
    out = np.zeros(int(parts.sum()), CHANGE)
    out["change"] = np.where(several[parts], SPLIT, MERGED)
    out["previous_id"], out["object_id"], out["n_shared"] = which[parts], ids[who][parts], shared[parts]
    lost = np.setdiff1d(previous.object_ids, which)
    gone = np.zeros(len(lost), CHANGE)
    gone["change"], gone["previous_id"], gone["object_id"] = GONE, lost, -1
    return np.concatenate([out, gone])
