"""The folder of a joint fit from those of its tiles.

Stars at a border are kept once, new ones are numbered through, and everything is written tile by tile and image by image, so that
memory does not grow with the field but for the table of objects.
"""
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import vstack

from ..core.errors import need
from ..core.version import installed_version
from ..exposure.results import FIGURES, JOINT, gathered_header
from ..io.atomic_folder import atomic_folder
from ..io.fits_tables import read_hdu, table_hdu
from ..io.hdus import opened
from ..io.tables import native_values, plain
from .files import CURVES, IMAGES, LEFT, OBJECTS, ROWS, fit_number, tell_left_out, write_objects
from .tiles import FieldTile, on_borders

REACH = 1.
"""Stars of two tiles that are nearer to each other than this are one, reference pixels."""
SLACK = 2*REACH
"""So far outside of its borders a tile keeps stars until its neighbours are done."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedTile:
    """A tile that was fitted.

    Attributes
    ----------
    tile : FieldTile
    folder : pathlib.Path
        As `crowdsource.joint.files.write_joint` writes it.
    """

    tile: FieldTile
    folder: Path

    def image_file(self, name):
        """The catalog of an image."""
        return self.folder/f"{name}.cat.fits"


@dataclass(frozen=True, eq=False)
class Renumbered:
    """Which stars of a tile are kept, and their numbers.

    Attributes
    ----------
    old, new : ndarray of int, shape (n,)
        The former ascending.
    """

    old: np.ndarray
    new: np.ndarray

    def of(self, ids):
        """Which of some rows are of kept stars, and the new numbers of these."""
        place = np.minimum(np.searchsorted(self.old, ids), max(0, len(self.old)-1))
        keep = self.old[place] == ids if len(self.old) else np.zeros(len(ids), bool)
        return keep, self.new[place[keep]]

    def table(self, table):
        """The rows of a table with an ``object_id`` that are kept, renumbered."""
        keep, ids = self.of(np.asarray(table["object_id"]))
        table = table[keep]
        table["object_id"][:] = ids
        return table


def gather(parts, folder, *, names, origin, next_id=0, refused=None, overwrite=False, key=""):
    """Write the folder of a joint fit from those of its tiles, whole or not at all.

    Parameters
    ----------
    parts : sequence of FinishedTile
        One at least.
    folder : path-like
    names : sequence of str
        Of all images.
    origin : tuple of int
        Of the reference, as `crowdsource.joint.reference.Reference.origin`.
    next_id : int
        Number of the first star that is not in a given list.
    refused : mapping of str to str, optional
        Images that were left out, and why.
    overwrite : bool
    key : str
        As that of `crowdsource.joint.files.write_joint`.

    Returns
    -------
    int
        Number of objects.
    """
    parquet = need("pyarrow.parquet", "parquet", "a table of light curves")
    headers, tables, images = zip(*(_objects_of(p) for p in parts))
    kept = renumbered([p.tile for p in parts], tables, origin, next_id)
    objects = _stacked([k.table(t) for k, t in zip(kept, tables)])
    header = gathered_joint_header(parts, headers, names, objects, refused or {})
    with atomic_folder(folder, OBJECTS, overwrite, key) as made:
        write_objects(made/OBJECTS, header, objects, _stacked(images))
        writer = None
        for part, numbers in zip(parts, kept):
            curves = _renumbered_curves(parquet.read_table(part.folder/CURVES), numbers)
            meta = {"version": installed_version(), "reference": header["REFERENC"]}
            writer = writer or parquet.ParquetWriter(made/CURVES, curves.schema.with_metadata(meta))
            writer.write_table(curves.replace_schema_metadata(meta))
        writer.close()
        for name in names:
            _gather_image(name, parts, kept, made, header[JOINT])
    return len(objects)


def renumbered(tiles, tables, origin, next_id):
    """The `Renumbered` of each tile.

    Parameters
    ----------
    tiles : sequence of FieldTile
    tables : sequence of astropy.table.QTable
        Their objects.
    origin, next_id
        As `gather`.
    """
    places = [np.stack([plain(t[axis])-o for axis, o in zip("xy", origin)], axis=1) for t in tables]
    out, number = [], next_id
    for keep, table in zip(on_borders(tiles, places, REACH), tables):
        old = np.sort(native_values(table["object_id"])[keep])
        fresh = old >= next_id
        new = old.copy()
        new[fresh] = number+np.arange(fresh.sum())
        number += int(fresh.sum())
        out.append(Renumbered(old, new))
    return out


def _renumbered_curves(curves, numbers):
    arrow = need("pyarrow", "parquet", "a table of light curves")
    keep, ids = numbers.of(curves["object_id"].to_numpy())
    curves = curves.filter(arrow.array(keep))
    place = curves.column_names.index("object_id")
    return curves.set_column(place, curves.schema.field(place), arrow.array(ids))


def _gather_image(name, parts, kept, made, number):
    """Write the catalog of an image: all rows in one table, its header, and the PSF and passes of each tile under its name."""
    headers, tables, others = [], [], []
    for part, numbers in zip(parts, kept):
        if not part.image_file(name).exists():
            continue
        with opened(part.image_file(name)) as hdus:
            headers.append(hdus[0].header.copy())
            tables.append(numbers.table(read_hdu(hdus["CAT"])))
            for hdu in hdus[1:]:
                if hdu.name == "HDR" and len(headers) == 1:
                    others.append(hdu.copy())
                elif hdu.name not in ("CAT", "HDR"):
                    others.append(hdu.copy())
                    others[-1].name = hdu.name if len(parts) == 1 else f"{part.tile.name}_{hdu.name}".upper()
    if headers:
        rows, header = _stacked(tables), gathered_header(headers)
        header["NSOURCES"], header[JOINT] = len(rows), number
        cards = [header.cards[k] for k in FIGURES if k in header]
        fits.HDUList([fits.PrimaryHDU(header=header), *others, table_hdu(rows, "CAT", cards)]).writeto(made/f"{name}.cat.fits")


def _objects_of(part):
    """Header, objects and images of a tile, the latter with its name in the second column."""
    with opened(part.folder/OBJECTS) as hdus:
        header, objects, images = hdus[0].header.copy(), read_hdu(hdus[ROWS]), read_hdu(hdus[IMAGES])
    images.add_column(np.full(len(images), part.tile.name), index=1, name="tile")
    images["tile"].info.description = "name of the tile"
    return header, objects, images


def _stacked(tables):
    return vstack(tables, join_type="exact", metadata_conflicts="silent")


def gathered_joint_header(parts, headers, names, objects, refused):
    """The primary header of the objects' file, from those of the tiles."""
    header = headers[0].copy()
    header.remove("HISTORY", remove_all=True, ignore_missing=True)
    header[JOINT] = fit_number(objects, names)
    header["NIMAGES"], header["NOBJECTS"] = len(names), len(objects)
    header.insert("NOBJECTS", ("NTILES", len(parts), "with stars"), after=True)
    left = [f"{name}: {why}" for name, why in sorted(refused.items())]
    left += [f"{part.tile.name}: {line}" for part, own in zip(parts, headers) for line in own[f"{LEFT}*"].values()]
    for keyword in list(header[f"{LEFT}*"]):
        del header[keyword]
    tell_left_out(header, left)
    for part, own in zip(parts, headers):
        for line in own.get("HISTORY", ()):
            header["HISTORY"] = f"{part.tile.name}: {line}"
    return header
