"""Folders of many files that are whole or not there: made beside the wanted name, then renamed."""
import fcntl
import os
import re
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import CrowdsourceError, OutputError
from .folder_contents import CONTENTS, is_whole, read_contents, strangers, write_contents

REPLACED = "replaced"
LEFTOVER = re.compile(rf"[0-9a-f]{{32}}|{REPLACED}")
"""What lies in the folder in which folders are made."""


@contextmanager
def atomic_folder(path, mark, overwrite=False, key=""):
    """A new folder that gets the wanted name when the block ends well, with a list of its files.

    What runs that were killed have left beside it is removed. A folder that is replaced is removed too, which is done only where
    its list names all that lies in it.

    Parameters
    ----------
    path : path-like
        The wanted folder.
    mark : str
        Name of a file by which a folder of the same kind is known: no other is replaced, but an empty one.
    overwrite : bool
        Replace a folder that is there.
    key : str
        What it is made of, from `crowdsource.io.folder_contents.made_of`; see `published`.

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
            _clear(workshop)
            made = workshop/uuid.uuid4().hex
            made.mkdir()
            try:
                yield made
                write_contents(made, key)
                check_atomic_folder(path, mark, overwrite)
                if path.exists():
                    os.replace(path, workshop/REPLACED)
                os.replace(made, path)
            finally:
                _clear(workshop)
                workshop.rmdir()
    except OSError as problem:
        if isinstance(problem, CrowdsourceError):
            raise
        raise OutputError(f"{path}: cannot be written ({problem.strerror or problem}); free space or choose another place") \
            from problem


def published(path, mark, key):
    """Whether a folder is there already, whole, and made of the same as `atomic_folder` was told by its key."""
    contents = read_contents(path) if (Path(path)/mark).is_file() else None
    return contents is not None and contents.key == key != "" and is_whole(path, contents)


def _clear(workshop):
    """Remove what was made in a workshop; raises `OutputError` where other things lie there."""
    inside = list(workshop.iterdir())
    other = next((p for p in inside if not LEFTOVER.fullmatch(p.name) or p.is_symlink()), None)
    if other is not None:
        raise OutputError(f"{other}: was not put there by crowdsource, which removes it for nobody; move it away")
    for left in inside:
        remove(left)


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
    if any(path.iterdir()):
        _check_replaced(path, mark, overwrite)


def _check_replaced(path, mark, overwrite):
    """Raise `OutputError` where a folder with something in it may not be replaced."""
    contents = read_contents(path)
    if not (path/mark).is_file() or contents is None or mark not in contents.files:
        raise OutputError(f"{path}: holds other things (it has no {CONTENTS} that lists {mark}); choose another folder")
    other = strangers(path, contents)
    if other:
        raise OutputError(f"{path}: holds {len(other)} things that are not in its {CONTENTS}, as {other[0]}; move them away, or "
                          "choose another folder")
    if not overwrite:
        raise OutputError(f"{path}: exists already; choose another name or allow overwriting (`overwrite=True`)")


def remove(path):
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
