"""Files that are made of two catalogs: whether one that is there is of the same inputs and options, which it tells itself."""
from pathlib import Path

from ..core.errors import CrowdsourceError
from ..core.version import installed_version
from ..io.atomic import check_output
from ..io.checksums import checksums
from ..io.folder_contents import made_of
from ..io.hdus import existing
from ..io.image_name import ImageName
from ..io.tables import check_ending, read_meta

KEY = "MADEOF"
"""Keyword, or name in the meta, of a `key_of` inputs and options."""
DIGITS = 32


def key_of(inputs, **options):
    """What a file is made of, as a checksum: of the inputs' names and bytes, of the options and of this version.

    Parameters
    ----------
    inputs : sequence of path-like
        Catalogs, as `crowdsource.io.tables.read_table` takes them.
    **options
        Values that JSON takes.

    Returns
    -------
    str

    Raises
    ------
    DataFileError
        When an input is not there or cannot be read.
    """
    names = [str(name) for name in inputs]
    sums = checksums([existing(ImageName.parse(name).path, "a table") for name in names])
    return made_of(names, [digest for _, digest in sums], options, installed_version())[:DIGITS]


def check_published(path, key, overwrite=False):
    """Raise `OutputError` when a file cannot be written, or is there and made of something else, before any work is done.

    CSV does not tell what it is made of: a file of that form is never the same.

    Parameters
    ----------
    path : path-like
    key : str
        From `key_of`.
    overwrite : bool
        Replace a file that is there, whatever it is.
    """
    check_ending(path)
    check_output(path, overwrite=True)
    if overwrite or not Path(path).exists():
        return
    try:
        same = read_meta(str(path)).get(KEY.lower()) == key
    except CrowdsourceError:
        same = False
    check_output(path, overwrite=same)
