"""Planes of images in files while they are not worked on, where all together would not fit into memory."""
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

OF_IMAGE, OF_STATE = ("data", "ivar", "dq", "mask"), ("sky", "model", "model_error")
BYTES = 30
"""Of a pixel in all planes of an image that is being fitted."""
SHARE = 0.5
"""Planes may take so much of the memory; the rest is for what is being worked on."""


@dataclass(frozen=True)
class StoredPlane:
    """A plane in a file.

    Attributes
    ----------
    path : pathlib.Path
    shape : tuple of int
    """

    path: Path
    shape: tuple

    def __len__(self):
        return self.shape[0]


class Memory:
    """Keeps all planes where they are."""

    def put(self, state, name):
        """The state as it is kept while it is not worked on."""
        return state

    def get(self, state):
        """The state as it is worked on."""
        return state


class Shelf(Memory):
    """Keeps planes in files of a temporary folder, which goes with the last object that refers to the shelf."""

    def __init__(self):
        folder = TemporaryDirectory(prefix="crowdsource-joint-")
        self.folder = Path(folder.name)
        weakref.finalize(self, folder.cleanup)

    def put(self, state, name):
        """The state with its planes in files; those that are there already stay."""
        image = {n: self._stored(getattr(state.image, n), f"{name}.{n}") for n in OF_IMAGE}
        planes = {n: self._stored(getattr(state, n), f"{name}.{n}") for n in OF_STATE}
        return replace(state, image=replace(state.image, **image), matched=None, **planes)

    def get(self, state):
        """The state with its planes mapped from their files."""
        image = {n: _mapped(getattr(state.image, n)) for n in OF_IMAGE}
        return replace(state, image=replace(state.image, **image), **{n: _mapped(getattr(state, n)) for n in OF_STATE})

    def _stored(self, plane, name):
        if plane is None or isinstance(plane, StoredPlane):
            return plane
        path = self.folder/f"{name}.npy"
        if isinstance(plane, np.memmap) and plane.filename == str(path):
            return StoredPlane(path, plane.shape)
        # a file that is mapped elsewhere stays whole: the new one takes its name
        fresh = path.with_suffix(".fresh.npy")
        np.save(fresh, plane)
        fresh.replace(path)
        return StoredPlane(path, plane.shape)


def _mapped(plane):
    return np.load(plane.path, mmap_mode="r") if isinstance(plane, StoredPlane) else plane


def shelf_for(images, shape, memory):
    """Where planes are kept.

    Parameters
    ----------
    images : int
    shape : tuple of int
        (ny, nx) of one.
    memory : float or None
        Limit, MB.

    Returns
    -------
    Memory
    """
    return Memory() if memory is None or images*shape[0]*shape[1]*BYTES < SHARE*memory*1e6 else Shelf()
