"""What the log of a store consists of: segments, other files, and the changes of a commit.

Fields of `Segment` and `StoredFile` are keys of the commits' JSON: see docs/store.md.
"""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A file with rows of one HEALPix pixel.

    Attributes
    ----------
    path : str
        In the store.
    order, pixel : int
        Order and number of the pixel.
    rows, border : int
        Number of rows, and of those among them that lie in the pixel's border.
    first, last : int
        Lowest and highest image number in it.
    schema : str
        Equal for segments with the same columns.
    sha256 : str
    """

    path: str
    order: int
    pixel: int
    rows: int
    border: int
    first: int
    last: int
    schema: str
    sha256: str


@dataclass(frozen=True)
class StoredFile:
    """A file of rejected rows or of zero points.

    Attributes
    ----------
    path : str
        In the store.
    rows : int
    sha256 : str
    """

    path: str
    rows: int
    sha256: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Commit:
    """The changes of one commit.

    Attributes
    ----------
    added, removed : tuple of Segment
    split : tuple of (int, int)
        Order and number of pixels that are divided and so are no longer leaves.
    images : ndarray, shape (n,)
        New rows of the ledger; None for none.
    dead : tuple of int
        Numbers of images that are replaced.
    rejects, zeropoints : StoredFile or None
    """

    added: tuple = ()
    removed: tuple = ()
    split: tuple = ()
    images: np.ndarray = None
    dead: tuple = ()
    rejects: StoredFile = None
    zeropoints: StoredFile = None

    @property
    def files(self):
        """The files that come with the commit."""
        return [f for f in (*self.added, self.rejects, self.zeropoints) if f is not None]
