"""Names of DECam: the files of an exposure, its filters and its CCDs."""
import re
from pathlib import Path

from crowdsource.core.errors import DataFileError, OutputError

PLANE = re.compile(r"_oo([iwd])_")
"""The part of a file's name that says which plane it holds: i the image, w inverse variance, d data quality."""
ENDINGS = ".fits", ".fits.fz", ".fits.gz"
TRUTH = "_truth.fits"
"""Ending of the file of the true stars of a simulated exposure; before it stands the image's name without its ending."""
IMAGE = re.compile(r"_ooi_(?P<filter>[A-Za-z]+)_.*\.fits(\.fz)?$")
FILTERS = {
    "u": "u DECam c0006 3500.0 1000.0", "g": "g DECam SDSS c0001 4720.0 1520.0", "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0", "z": "z DECam SDSS c0004 9260.0 1520.0", "Y": "Y DECam c0005 10095.0 1130.0",
    "VR": "VR DECam c0007 6300.0 2600.0",
}
"""FILTER of the headers, by the filter's short name."""
CCD = re.compile(r"[NS]\d{1,2}")


def is_ccd(name):
    """Whether a text is written as the name of a CCD."""
    return CCD.fullmatch(name) is not None


def ccd_names(value):
    """Names of CCDs from ``"N4 S7"``, ``"N4,S7"`` or a list of such."""
    words = [value] if isinstance(value, str) else value
    parts = [part.upper() for word in words for part in re.split(r"[\s,]+", str(word).strip())]
    if not parts or not all(map(is_ccd, parts)):
        raise ValueError("give CCDs as in N4 S7")
    return tuple(parts)


def stem(path):
    """A file's name without its ending."""
    name = Path(path).name
    return next((name[:-len(e)] for e in sorted(ENDINGS, key=len, reverse=True) if name.endswith(e)), name)


def beside(path, plane):
    """The file of another plane of the same exposure: its name with the other letter, in any of the endings.

    Raises
    ------
    DataFileError
        When there is none.
    """
    name = PLANE.sub(f"_oo{plane}_", path.name)
    for other in (name, *(stem(name)+e for e in ENDINGS)):
        if (path.parent/other).exists():
            return path.parent/other
    option = dict(w=", or name it with `weight_plane=FILE`", d=", or name it with `dq_plane=FILE`").get(plane, "")
    raise DataFileError(path.parent/name, f"there is no such file; fetch it{option}")


def image_of(path):
    """The image's file from that of any plane, or from the name up to the planes' letters.

    Raises
    ------
    DataFileError
        When there is none, or more than one.
    """
    path = Path(path)
    if PLANE.search(path.name):
        return path if "_ooi_" in path.name else beside(path, "i")
    if path.exists():
        return path
    found = sorted(p for p in path.parent.glob(f"{path.name}_ooi_*.fits*") if not p.name.endswith(TRUTH))
    if len(found) != 1:
        raise DataFileError(path, "there is no such file; check the name" if not found else
                            f"stands for {len(found)} files: name one, as {found[0].name}")
    return found[0]


def filter_of(path):
    """The filter's short name in an image's file name, as z in ``c4d_170316_062107_ooi_z_v1.fits.fz``.

    Raises
    ------
    OutputError
        When the file is not named as DECam's pipeline names images, or the filter is unknown.
    """
    found = IMAGE.search(Path(path).name)
    if not found or found["filter"] not in FILTERS:
        raise OutputError(f"{path}: is no image's name as DECam's pipeline gives it; name it as c4d_170316_062107_ooi_z_v1.fits "
                          f"or .fits.fz, with one of the filters {', '.join(FILTERS)}")
    return found["filter"]


def paths_of(path):
    """Files of an exposure that is written, by what they hold: i, w, d and truth; the truth is not compressed."""
    path = Path(path)
    planes = {letter: path.with_name(PLANE.sub(f"_oo{letter}_", path.name)) for letter in "iwd"}
    return {**planes, "truth": path.with_name(stem(path)+TRUTH)}
