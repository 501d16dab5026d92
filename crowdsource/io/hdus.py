"""FITS files opened: their HDUs as far as they can be read, whatever is wrong with the rest."""
import warnings
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from astropy.io import fits
from astropy.io.fits.verify import VerifyError
from astropy.utils.exceptions import AstropyWarning

from ..core.errors import CrowdsourceError, DataFileError
from ..core.nearest import did_you_mean
from .bounded_fits import BoundedFile

UNREADABLE = Exception
"""What astropy raises on damaged files: of its own, of decompressors, of the system, and of arithmetic with odd headers."""


class Hdus(fits.HDUList):
    """The HDUs of a file as far as they can be read: the first that cannot ends the list.

    One whose size is below zero does too: it would be read again and again.
    """

    def __getitem__(self, key):
        try:
            hdu = super().__getitem__(key)
            if isinstance(key, int) and (place := hdu.fileinfo()) is not None and place["datSpan"] < 0:
                raise IndexError(f"the size of HDU {key} is below zero")
            if isinstance(key, int):
                _mend_name(hdu)
            return hdu
        except DataFileError:
            raise
        except UNREADABLE as problem:
            if isinstance(problem, IndexError) or (isinstance(problem, KeyError) and not isinstance(key, int)):
                raise
            raise IndexError(f"HDU {key} cannot be read: {one_line(problem)}") from problem

    def readall(self):
        """Read all headers there are."""
        for _ in self:
            pass


def _mend_name(hdu):
    """Take a name off that cannot be parsed."""
    try:
        _ = hdu.name, hdu.ver
    except VerifyError:
        for keyword in ("EXTNAME", "EXTVER"):
            hdu.header.remove(keyword, ignore_missing=True, remove_all=True)


@contextmanager
def opened(path):
    """The `Hdus` of a file, its oddities not warned of.

    Raises
    ------
    DataFileError
        When it is not there, or no FITS file.
    """
    path = existing(path, "a FITS file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            hdus = Hdus.fromfile(BoundedFile(path), mode="readonly")
        except DataFileError:
            raise
        except UNREADABLE as problem:
            raise DataFileError(path, f"cannot be read as FITS ({one_line(problem)}); give a FITS image") from problem
        with hdus:
            yield hdus


@contextmanager
def damage_told(path, what):
    """Within it, whatever reading a damaged file raises becomes one error that names the file; errors of this project pass.

    Parameters
    ----------
    path : path-like
    what : str
        What is read of the file, for the message.

    Raises
    ------
    DataFileError
        When anything else is raised within.
    """
    try:
        yield
    except CrowdsourceError:
        raise
    except UNREADABLE as problem:
        raise DataFileError(path, f"its {what} cannot be read ({one_line(problem)}): check that the file is whole") from problem


def existing(path, what):
    """The path of a file that is there; `what` it should be is for the message.

    Raises
    ------
    DataFileError
        When it is not there, or a folder, a pipe or a device, which may have no end.
    """
    path = Path(path)
    if not path.exists():
        raise DataFileError(path, f"there is no such file{did_you_mean(path.name, names_beside(path))}; check the name")
    if path.is_dir():
        raise DataFileError(path, f"is a folder; name {what} in it")
    if not path.is_file():
        raise DataFileError(path, f"is a pipe or a device; give {what}")
    return path


def names_beside(path):
    """Names of what lies in the folder of a path; none where there is no such folder."""
    try:
        return sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("."))
    except OSError:
        return []


def parsed(header):
    """A header without the cards that cannot be parsed or have no value; the header itself where it has none of them."""
    odd = [k for k, card in enumerate(header.cards) if not _says(card)]
    if odd:
        header = header.copy()
        for k in reversed(odd):
            del header[k]
    return header


def _says(card):
    """Whether a card can be parsed and has a value."""
    try:
        return isinstance(card.comment, str) and not isinstance(card.value, fits.card.Undefined)
    except (VerifyError, ValueError):
        return False


def one_line(problem):
    """An exception's message on one line, without astropy's advice on options that nobody has here."""
    return " ".join(str(problem).partition("If this is really a FITS file")[0].split()).rstrip(".") or type(problem).__name__


def printable(text):
    """A text as FITS headers take it: what is no printable ASCII as in the address of a page, ``%C3%A4``."""
    return "".join(c if " " <= c <= "~" else quote(c, errors="replace") for c in str(text))
