"""Simulated fields in files."""
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from ..core.errors import DataFileError, OutputError
from ..core.image import Image
from ..io.atomic import atomic_path
from . import SIMULATED

KEPT_BITS = 7
"""Bits of the mantissa that compressed inverse variances keep."""


def write_simulation(sim, path, overwrite=False):
    """Write IMAGE, IVAR, DQ and TRUTH into one FITS file; a name that ends in ``.fz`` is tile-compressed.

    Compression keeps whole counts and zeros exactly, inverse variances to one per cent, and the truth as float32.

    Raises
    ------
    OutputError
        When the file exists already or cannot be written.
    """
    compressed = str(path).endswith(".fz")
    truth = sim.truth.copy()
    if compressed:
        truth = truth["x", "y", "flux"]
        for name in truth.colnames:
            truth[name] = truth[name].astype(np.float32)
    data = np.round(sim.data).astype(np.int32) if compressed else sim.data
    hdus = [_image_hdu(data, sim.header, "IMAGE", compressed), _image_hdu(sim.ivar, sim.header, "IVAR", compressed),
            _image_hdu(sim.dq.astype(np.int32), sim.header, "DQ", compressed), fits.BinTableHDU(truth, name="TRUTH")]
    for bit in SIMULATED.definitions:
        hdus[2].header[f"DQBIT{bit.bit}"] = (bit.name, bit.description)
    first = [fits.PrimaryHDU()]
    try:
        with atomic_path(path, overwrite=overwrite) as temporary:
            fits.HDUList(first+hdus).writeto(temporary, output_verify="exception")
    except OSError as problem:
        raise problem if isinstance(problem, OutputError) else OutputError(f"{path}: {problem}") from problem


def read_simulation(path):
    """Read a field that `write_simulation` wrote.

    Returns
    -------
    image : crowdsource.core.image.Image
    truth : astropy.table.Table
        x, y, flux and more; ``meta["FLUX5"]`` is the 5 sigma flux.

    Raises
    ------
    DataFileError
        When the file cannot be read or is no such field.
    """
    try:
        with fits.open(path) as hdus:
            data, ivar, dq = (hdus[name].data for name in ("IMAGE", "IVAR", "DQ"))
            header = hdus["IMAGE"].header
            truth = Table.read(hdus["TRUTH"])
    except (OSError, KeyError) as problem:
        raise DataFileError(path, f"not a simulated field: {problem}; crowdsource simulate makes one") from problem
    image = Image.from_arrays(data, ivar, dq, wcs=WCS(header), gain=header["GAIN"], saturation=header["SATURATE"],
                              zeropoint=header["MAGZERO"], exptime=header["EXPTIME"], exposure=header["OBJECT"])
    return image, truth


def _image_hdu(array, header, name, compressed):
    """An image HDU; integers are compressed by Rice's method, floats are rounded and compressed by gzip."""
    if not compressed:
        return fits.ImageHDU(array, header, name)
    options = dict(compression_type="RICE_1")
    if array.dtype.kind == "f":
        array, options = _rounded(array), dict(compression_type="GZIP_2", quantize_level=0)
    return fits.CompImageHDU(array, header, name, tile_shape=(16, array.shape[1]), **options)


def _rounded(array):
    """Values rounded to `KEPT_BITS` bits, which is better than one per cent."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa*2**KEPT_BITS)/2**KEPT_BITS, exponent).astype(array.dtype)
