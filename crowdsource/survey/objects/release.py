"""Finished releases: the objects of a whole store, by pixel, as `crowdsource.survey.objects.assemble` made them.

``STORE/releases/NAME/`` holds ``release.json``, and for each pixel ``objects/Norder=k/Dir=d/Npix=p.h5`` and ``members/...`` of
the same name.
"""
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import DataFileError
from ...io.hdf5 import read_rows
from ..healpix import HealpixPixel
from ..store.commit_log import read_signed_json
from ..store.store import RELEASES
from .columns import VOColumn

FORMAT, VERSION = "crowdsource-release", 1
RECORD = "release.json"


@dataclass(frozen=True, eq=False)
class Release:
    """A finished release.

    Attributes
    ----------
    path : Path
    name : str
    record : dict
        What ``release.json`` says.
    pixels : tuple of HealpixPixel
        In the order of the sky's index.
    """

    path: Path
    name: str
    record: dict
    pixels: tuple

    @property
    def bands(self):
        """(name, system) of each band."""
        return tuple(tuple(b) for b in self.record["bands"])

    @property
    def columns(self):
        """`VOColumn` of each column of the objects."""
        return tuple(VOColumn(**c) for c in self.record["columns"])

    @property
    def snapshot(self):
        """Number of the store's commit that it was made from."""
        return self.record["snapshot"]

    def objects(self, pixel):
        """Objects of a pixel, sorted by `SPATIAL_INDEX` and identifier."""
        return self._rows(pixel, "objects", "objects")

    def members(self, pixel):
        """How each detection of a pixel counts, sorted by `SPATIAL_INDEX` and identifier."""
        return self._rows(pixel, "members", "members")

    def changes(self, pixel):
        """What became of objects of the release before; see `crowdsource.survey.objects.identifiers.CHANGE`."""
        return self._rows(pixel, "objects", "changes")

    def _rows(self, pixel, folder, name):
        return read_rows(self.path/folder/pixel.path(".h5"), name)


def open_release(store, name):
    """A finished release of a store.

    Raises
    ------
    DataFileError
        When there is none of that name.
    StoreError
        When its record is damaged or of a later version.
    """
    path = Path(store.path)/RELEASES/name
    if not (path/RECORD).is_file():
        others = releases(store)
        raise DataFileError(path, f"is no release; choose one of {', '.join(others)}" if others else
                            "is no release; make one with crowdsource healpix assemble")
    record, _ = read_signed_json(path/RECORD, FORMAT, VERSION)
    return Release(path, name, record, tuple(HealpixPixel(*p) for p in record["pixels"]))


def releases(store):
    """Names of a store's releases, sorted."""
    folder = Path(store.path)/RELEASES
    return sorted(p.name for p in folder.iterdir() if (p/RECORD).is_file() and not p.name.startswith(".")) \
        if folder.is_dir() else []
