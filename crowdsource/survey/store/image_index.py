"""Which images a store has: what a new catalog is compared with before its rows go into the store."""
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .columns import IMAGE_IDENTITY
from .ledger import ledger_rows

NO_BAND = "no band is known"
ROWS_AT_ONCE = 10_000
"""Rows of the ledger that are turned into Python objects at a time."""
OTHER_SYSTEM = {"AB": "Vega", "Vega": "AB"}


def identity_key(identity):
    """One key from the parts of an image's identity, which are bytes."""
    return b"\0".join(identity)


@dataclass(frozen=True)
class SharedPrefix:
    """Another image of the store whose detection identifiers have the same upper bits.

    Attributes
    ----------
    number : int or None
        Of that image; None where there is none.
    conflict : bool
        Whether the two cannot both be in the store; otherwise the new one replaces the other.
    """

    number: int = None
    conflict: bool = False


class ImageIndex:
    """The images of a store, by identity; `update` follows the states of the store.

    Attributes
    ----------
    by_identity : dict of bytes to int
        Number of the newest image of each identity; keys as from `identity_key`.
    by_id_prefix : dict of int to int
        Number of the newest image by the upper bits of its detection identifiers.
    systems : Counter of (bytes, bytes)
        How many images with rows there are, by band and magnitude system; replaced ones do not count.
    """

    def __init__(self):
        self.by_identity, self.by_id_prefix, self.systems = {}, {}, Counter()
        self.chunks, self.count, self.dead = (), 0, frozenset()

    def update(self, state):
        """Add what has changed since the last state."""
        self.chunks = state.chunks
        for chunk in (c for c in state.chunks if c["source"][-1] >= self.count):
            new = chunk[chunk["source"] >= self.count]
            # as Python objects a ledger takes several times as much memory
            for start in range(0, len(new), ROWS_AT_ONCE):
                self._add(new[start:start+ROWS_AT_ONCE])
        for number in state.dead-self.dead:
            row = self.row(number)
            self.systems[row["band"].item(), row["system"].item()] -= int(row["rows"] > 0)
        self.count, self.dead = state.count, state.dead

    def _add(self, rows):
        columns = (rows[c].tolist() for c in ("source", *IMAGE_IDENTITY, "system", "image", "rows"))
        for number, exposure, detector, band, system, prefix, n in zip(*columns):
            self.by_identity[identity_key((exposure, detector, band))] = number
            if prefix >= 0:
                self.by_id_prefix[prefix] = number
            self.systems[band, system] += n > 0

    def row(self, number):
        """The ledger's row of an image, as an array of shape ()."""
        return ledger_rows(self.chunks, np.array([number]))[0]

    def has(self, metadata):
        """Whether an image is in the store with the same content.

        An image all of whose rows were rejected does not count: it may be tried again, as the other images may have changed.
        """
        number = self.by_identity.get(identity_key(metadata.key))
        if number is None or number in self.dead:
            return False
        row = self.row(number)
        return row["checksum"] == metadata.checksum.encode() and not (row["rows"] == 0 and row["rejected"])

    def shared_prefix(self, catalog):
        """The `SharedPrefix` of a catalog.

        An image of the same exposure, detector and file is the same image under another band: it is replaced, unless the file has
        both.
        """
        number = self.by_id_prefix.get(catalog.id_prefix)
        if number is None or number in self.dead:
            return SharedPrefix()
        row, own = self.row(number), catalog.metadata.key
        key = tuple(row[n].item() for n in IMAGE_IDENTITY)
        same = key[:2] == own[:2] and row["file"] == catalog.metadata.file.encode()
        if key == own or (same and catalog.from_mixed_table):
            return SharedPrefix()
        return SharedPrefix(number, not same or catalog.from_mixed_table)

    def rejection_reason(self, metadata, declared, batch):
        """Why none of an image's rows can be stored; empty where they can.

        Parameters
        ----------
        metadata : crowdsource.survey.store.catalogs.ImageMetadata
        declared : tuple of str
            Bands that the store was made for; any when empty.
        batch : BatchSummary
            Images of the same batch that come before this one.

        Returns
        -------
        str
        """
        if not metadata.band:
            return NO_BAND
        systems = self.systems+batch.systems
        bands = declared or {b.decode() for b, _ in systems}
        if metadata.band not in bands:
            if declared:
                return f"band {metadata.band} is none of the store's"
            similar = [b for b in sorted(bands) if b.lower() == metadata.band.lower()]
            if similar:
                return f"band {metadata.band} differs from the store's {similar[0]} in case only"
        other = OTHER_SYSTEM.get(metadata.system, "")
        if other and systems[metadata.band.encode(), other.encode()] > 0:
            return f"magnitudes are {metadata.system}, those of the store's band {metadata.band} are {other}"
        return ""


class BatchSummary:
    """The images of a batch that were accepted so far.

    Attributes
    ----------
    by_id_prefix : dict of int to ImageMetadata
        By the upper bits of detection identifiers.
    systems : Counter of (bytes, bytes)
        How many images with rows there are, by band and magnitude system.
    """

    def __init__(self):
        self.by_id_prefix, self.systems = {}, Counter()

    def add(self, catalog, outcome):
        """Add an image that is new or replaces another."""
        if catalog.id_prefix >= 0:
            self.by_id_prefix[catalog.id_prefix] = catalog.metadata
        self.systems[catalog.metadata.band.encode(), catalog.metadata.system.encode()] += outcome.rows > 0
