"""Outputs that are whole or not there: written under a temporary name, then moved into place."""
import errno
import filecmp
import os
import re
import uuid
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import CrowdsourceError, OutputError

TEMPORARY = re.compile(r"\.\d+-[0-9a-f]{8}-.+")
"""Names that `atomic_path` gives."""


@contextmanager
def atomic_path(path, overwrite=False):
    """A temporary path beside the wanted one that takes its place when the block ends well.

    Parameters
    ----------
    path : path-like
        The wanted file.
    overwrite : bool
        Replace an existing file. Otherwise one that is there stays, and is an error only where it differs: what is published
        again is there already.

    Yields
    ------
    pathlib.Path
        Write here; it ends as the wanted name does, so that writers which look at endings work.

    Raises
    ------
    OutputError
        When the file exists and may not be replaced, its folder cannot be written, or the disk is full.
    """
    path = Path(path)
    check_output(path, overwrite=True)
    temporary = path.with_name(f".{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        if overwrite or not (path.exists() and filecmp.cmp(temporary, path, shallow=False)):
            check_output(path, overwrite)
            os.replace(temporary, path)
    except OSError as problem:
        if isinstance(problem, CrowdsourceError):
            raise
        raise OutputError(f"{path}: cannot be written ({problem.strerror or problem}); free space or choose another place") \
            from problem
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporary_files(folder):
    """Remove what processes that were killed have left in a folder, where no other process may be writing now."""
    for path in Path(folder).glob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def check_output(path, overwrite=False):
    """Raise `OutputError` when a file could not be written there, before any work is done."""
    path = Path(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{path}: {folder} is not a folder; make it or choose another place")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is a device, not a file; choose another name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or allow overwriting (`overwrite=True`)")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path}: no permission to write into {folder}; choose another place") \
            from PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def check_folder(path, overwrite=False):
    """Raise `OutputError` when a folder could not be made or written, or holds files that may not be replaced."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path}: is a file; name a folder")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise OutputError(f"{path}: is not empty; choose another folder or allow overwriting (`overwrite=True`)")
    nearest = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise OutputError(f"{path}: {nearest} is not a folder; choose another place")
    if not os.access(nearest, os.W_OK):
        raise OutputError(f"{path}: no permission to write into {nearest}")
