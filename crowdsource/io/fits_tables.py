"""Tables as HDUs of FITS files."""
import numpy as np
from astropy.io import fits

FITS_ENDINGS = ".fits", ".fit"
"""Endings of catalogs in FITS."""


def table_hdu(table, name):
    """A binary table HDU with units and, as TCOMM, descriptions."""
    columns = []
    for n in table.colnames:
        values = np.asarray(getattr(table[n], "value", table[n]))
        columns.append(fits.Column(n, fits_format(values.dtype), unit=str(table[n].info.unit or "") or None, array=values))
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    for k, n in enumerate(table.colnames, 1):
        if table[n].info.description:
            hdu.header[f"TCOMM{k}"] = table[n].info.description
    return hdu


def fits_format(dtype):
    """TFORM of a column of a NumPy type."""
    if dtype.kind in "SU":
        return f"{max(1, dtype.itemsize//(4 if dtype.kind == 'U' else 1))}A"
    return {"b": "L", "f8": "D", "f4": "E", "i8": "K", "i4": "J", "i2": "I", "u1": "B", "i1": "I"}.get(
        "b" if dtype.kind == "b" else f"{dtype.kind}{dtype.itemsize}", "K")


def read_hdu(hdu):
    """The table that `table_hdu` has made an HDU of, with units and descriptions.

    Parameters
    ----------
    hdu : astropy.io.fits.BinTableHDU

    Returns
    -------
    astropy.table.QTable
    """
    from astropy.table import QTable
    table = QTable.read(hdu)
    table.meta.clear()
    table.convert_bytestring_to_unicode()
    for k, name in enumerate(hdu.columns.names, 1):
        table[name].info.description = hdu.header.get(f"TCOMM{k}")
    return table
