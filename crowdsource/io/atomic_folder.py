"""Folders of many files that are whole or not there: made beside the wanted name, then renamed."""
import fcntl
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import CrowdsourceError, OutputError


@contextmanager
def atomic_folder(path, mark, overwrite=False):
    """A new folder that gets the wanted name when the block ends well.

    What runs that were killed have left beside it is removed.

    Parameters
    ----------
    path : path-like
        The wanted folder.
    mark : str
        Name of a file by which a folder of the same kind is known: no other is replaced, but an empty one.
    overwrite : bool
        Replace a folder that is there.

    Yields
    ------
    pathlib.Path
        Write here.

    Raises
    ------
    OutputError
        When the folder exists and may not be replaced, cannot be written, or another process is making it.
    """
    path = Path(path).absolute()
    check_atomic_folder(path, mark, overwrite)
    workshop = path.with_name(f".{path.name}.partial")
    try:
        with _alone(workshop):
            for left in workshop.iterdir():
                remove(left)
            made = workshop/uuid.uuid4().hex
            made.mkdir()
            try:
                yield made
                check_atomic_folder(path, mark, overwrite)
                if path.exists():
                    os.replace(path, workshop/"replaced")
                os.replace(made, path)
            finally:
                shutil.rmtree(workshop, ignore_errors=True)
    except OSError as problem:
        if isinstance(problem, CrowdsourceError):
            raise
        raise OutputError(f"{path}: cannot be written ({problem.strerror or problem}); free space or choose another place") \
            from problem


@contextmanager
def _alone(workshop):
    """The folder, made when it is not there, and held by no other process while the block runs."""
    while True:
        workshop.mkdir(exist_ok=True)
        try:
            descriptor = os.open(workshop, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process has just finished and removed it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if workshop.exists() and os.path.samestat(os.fstat(descriptor), workshop.stat()):
                yield
                return
        except BlockingIOError as problem:
            raise OutputError(f"{workshop}: another process is writing there; wait for its end, or choose another name") \
                from problem
        finally:
            os.close(descriptor)


def check_atomic_folder(path, mark, overwrite=False):
    """Raise `OutputError` when a folder could not be made, before any work is done; see `atomic_folder`."""
    path = Path(path).absolute()
    if not path.name or not path.parent.is_dir():
        raise OutputError(f"{path}: {path.parent} is not a folder; make it or choose another place")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: no permission to write into {path.parent}; choose another place")
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path}: is a file; name a folder")
    if any(path.iterdir()) and not (path/mark).is_file():
        raise OutputError(f"{path}: holds other things (it has no {mark}); choose another folder")
    if any(path.iterdir()) and not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or allow overwriting (`overwrite=True`)")


def remove(path):
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
