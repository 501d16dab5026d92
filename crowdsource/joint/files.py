"""The files of a joint fit: a folder with objects, light curves, and a catalog of each image.

``objects.fits`` holds PRIMARY (version, reference, configuration, images that were left out), OBJECTS and IMAGES;
``lightcurves.parquet`` the light curves, one row an object and image; ``<image>.cat.fits`` what the fit of an image alone writes
as well.
"""
import hashlib
from pathlib import Path

from astropy.io import fits

from ..core.errors import need
from ..core.version import DISTRIBUTION, installed_version
from ..exposure.results import JOINT, Provenance, config_lines, detector_header, write_result
from ..io.atomic_folder import atomic_folder, check_atomic_folder
from ..io.fits import read_header
from ..io.fits_tables import table_hdu
from ..io.hdus import printable
from ..io.tables import native_values, write_catalog

OBJECTS, CURVES = "objects.fits", "lightcurves.parquet"
ROWS, IMAGES = "OBJECTS", "IMAGES"
"""HDUs of the former."""
LEFT = "LEFT"
"""Keywords of images that were left out begin with it."""


def check_outputs(folder, overwrite=False):
    """Raise an error when the folder of a joint fit could not be made, before any work is done.

    Parameters
    ----------
    folder : path-like
    overwrite : bool
        Replace the folder of an earlier joint fit.
    """
    need("pyarrow.parquet", "parquet", "a table of light curves")
    check_atomic_folder(folder, OBJECTS, overwrite)


def write_joint(result, folder, *, inputs=None, refused=None, overwrite=False, key=""):
    """Write a joint fit into a folder, whole or not at all.

    Parameters
    ----------
    result : crowdsource.joint.results.JointResult
    folder : path-like
    inputs : mapping of str to sequence of path-like, optional
        Files that each image was read from, whose checksums its catalog records.
    refused : mapping of str to str, optional
        Images that could not be read, beside those that the result names.
    overwrite : bool
        Replace the folder of an earlier joint fit.
    key : str
        What it is made of; see `crowdsource.io.atomic_folder.published`.

    Raises
    ------
    OutputError
        When the folder exists already or cannot be written.
    MissingExtraError
        When pyarrow is not installed.
    """
    check_outputs(folder, overwrite)
    header = joint_header(result, {**(refused or {}), **result.refused})
    with atomic_folder(folder, OBJECTS, overwrite, key) as made:
        write_objects(made/OBJECTS, header, result.objects, result.images)
        write_catalog(result.light_curves, made/CURVES, {"version": installed_version(), "reference": header["REFERENC"]})
        for name, fit in zip(result.names, result.fits):
            own = Provenance(exposure=fit.image.exposure or name, inputs=tuple((inputs or {}).get(name, ())), joint=header[JOINT])
            write_result(fit, Path(made)/f"{name}.cat.fits", provenance=own, header=detector_header(fit.image, fit))


def write_objects(path, header, objects, images):
    """Write the objects' file."""
    fits.HDUList([fits.PrimaryHDU(header=header), table_hdu(objects, ROWS), table_hdu(images, IMAGES)]).writeto(path)


def tell_left_out(header, lines):
    """Write into a header what was left out, one line each."""
    for k, line in enumerate(lines, 1):
        header[f"{LEFT}{k:03d}"] = printable(line)


def left_out(folder):
    """What was left out of the joint fit in a folder, as `tell_left_out` has told it."""
    header = read_header(Path(folder)/OBJECTS)
    return [str(value) for keyword, value in header.items() if keyword.startswith(LEFT) and keyword[len(LEFT):].isdigit()]


def fit_number(objects, names):
    """A number that tells a joint fit from others: 63 bits of the SHA-256 of its objects and of the names of its images."""
    content = hashlib.sha256(" ".join(sorted(names)).encode())
    for name in objects.colnames:
        content.update(native_values(objects[name]).tobytes())
    return int.from_bytes(content.digest()[:8]) >> 1


def joint_header(result, refused):
    """The primary header of the objects' file."""
    header = fits.Header()
    header["ORIGIN"] = ("crowdsource", "crowded-field photometry")
    header["VERSION"] = (installed_version(), f"of {DISTRIBUTION}")
    header[JOINT] = (fit_number(result.objects, result.names), "number of the joint fit, as in catalogs")
    header["NIMAGES"] = (len(result.names), "images that were fitted")
    header["NOBJECTS"] = (len(result.objects), "stars")
    header["REFERENC"] = printable(result.objects.meta["reference"])
    for k, band in enumerate(result.objects.meta["bands"], 1):
        header[f"BAND{k}"] = printable(band)
    tell_left_out(header, [f"{name}: {why}" for name, why in sorted(refused.items())])
    for k, line in enumerate(config_lines(result.fits[0].config), 1):
        header[f"CFG{k:03d}"] = printable(line)
    for record in result.history:
        header["HISTORY"] = "pass {passno}: {kind}, {sources} stars, {new} new, chi2 {chi2:.3f}".format(**record)
    return header
