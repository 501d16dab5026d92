"""Read a PSF from a file of any registered format."""
from ...core.errors import DataFileError, InputError
from ...io.decompress import check_unpacked
from ...io.hdus import damage_told, existing, opened
from ..registry import OWN_FORMATS, PSF_FORMATS
from .base import PSFFile


def read_psf(path, shape, hdu=None, norm_size=59, file_format=None):
    """A PSF from a file.

    By default these formats are known; packages may register more, which are asked first:

    - a 2-D stamp (`crowdsource.psf.formats.stamp`);
    - what this project wrote, and so every catalog of it (`native`);
    - a PSFEx model that varies with the position in the image (`psfex`);
    - a 3-D cube of stamps on a grid of positions, as in STDPSF files and those of STPSF (`stdpsf`);
    - a Roman reference file in ASDF (`asdf`);
    - a Piff file, which must be one that you trust (`piff`);
    - an exposure of LSST with a PSFEx model (`lsst`), or a cell-based coadd (`lsst_cells`).

    Parameters
    ----------
    path : path-like
    shape : tuple of int
        (ny, nx) of the image to be fitted.
    hdu : int or str, optional
        Number or name of the HDU. When not given, the first that a format recognises.
    norm_size : int
        The PSF sums to 1 over this box, pixels; files of this project carry their own.
    file_format : str, or PSFFormat class, optional
        The only format to be tried, by its registered name or as the class itself.

    Returns
    -------
    crowdsource.psf.base.PSF

    Raises
    ------
    DataFileError
        When the file cannot be read or holds no usable PSF.
    """
    path, shape, formats = existing(path, "a file that holds a PSF"), tuple(shape), _formats(file_format)
    with damage_told(path, "PSF"):
        file = PSFFile(path)
        for each in formats:
            if not each.is_fits and each.claims(file):
                return _read(each, file, shape, norm_size)
        with opened(path) as hdus:
            # an HDU with the name of a PSF before other images, which any stamp may be
            candidates = sorted(range(len(hdus)), key=lambda k: not hdus[k].name.endswith("PSF")) if hdu is None else \
                [_number(path, hdus, hdu)]
            for file in (PSFFile(path, hdus, k) for k in candidates):
                check_unpacked(file.hdu, path, file.label)
                for each in formats:
                    if each.is_fits and each.claims(file):
                        return _read(each, file, shape, norm_size)
    understood = ", ".join(each.summary for each in formats)
    if hdu is None:
        raise DataFileError(path, f"no HDU holds a PSF: understood are {understood}")
    raise DataFileError(path, f"the HDU holds no PSF: understood are {understood}", hdu)


def _formats(file_format):
    """The formats to be tried, those of other packages first."""
    if file_format is not None:
        return [PSF_FORMATS.resolve(file_format)()]
    others = [name for name in PSF_FORMATS.names() if name not in OWN_FORMATS]
    return [PSF_FORMATS.load(name)() for name in (*others, *OWN_FORMATS)]


def _read(file_format, file, shape, norm_size):
    """The PSF of a file that a format recognised; its errors name the file."""
    try:
        return file_format.read(file, shape, norm_size)
    except InputError as problem:
        raise DataFileError(file.path, str(problem), None if file.hdus is None else file.label) from problem


def _number(path, hdus, hdu):
    """Number of the HDU that is asked for by number or name."""
    known = {**{str(k): k for k in range(len(hdus))}, **{h.name.upper(): k for k, h in reversed(list(enumerate(hdus)))}}
    if str(hdu).upper() in known:
        return known[str(hdu).upper()]
    names = ", ".join(f"{k} {h.name or 'PRIMARY'}" for k, h in enumerate(hdus))
    raise DataFileError(path, f"there is no such HDU; it has {names}", hdu)
