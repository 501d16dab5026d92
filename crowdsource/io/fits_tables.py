"""Tables as HDUs of FITS files."""
import re
from itertools import count

import numpy as np
from astropy.io import fits

from .hdus import printable

FITS_ENDINGS = ".fits", ".fit"
"""Endings of catalogs in FITS."""
OTHER_UNIT = "FUNIT"
"""Keyword, with the column's number, of a unit that the FITS standard does not have: readers would warn of it as TUNIT."""
CARD = 70
"""Characters of a comment that a card holds."""


def table_hdu(table, name, cards=()):
    """A binary table HDU with units and descriptions: as TCOMM, and as astropy's tables read them.

    Parameters
    ----------
    table : astropy.table.QTable
    name : str
    cards : iterable of astropy.io.fits.Card
        That go into its header, which is the ``meta`` of a table read from it.

    Returns
    -------
    astropy.io.fits.BinTableHDU
    """
    columns, table = [], _named_in_ascii(table)
    for n in table.colnames:
        values = _values(table[n])
        columns.append(fits.Column(n, fits_format(values.dtype), unit=standard_unit(table[n].info.unit), array=values))
    hdu = fits.BinTableHDU.from_columns(columns, name=name)
    for k, n in enumerate(table.colnames, 1):
        if table[n].info.description:
            hdu.header[f"TCOMM{k}"] = table[n].info.description
        if table[n].info.unit is not None and hdu.columns[n].unit is None:
            hdu.header[f"{OTHER_UNIT}{k}"] = str(table[n].info.unit)
    hdu.header.extend(cards)
    for line in _astropy_columns(table):
        hdu.header["COMMENT"] = line
    return hdu


def _named_in_ascii(table):
    """The table itself, or a copy in which names of columns have no characters that FITS does not know."""
    odd, taken = {}, set(table.colnames)
    for name in table.colnames:
        if printable(name) != name:
            plain_name = re.sub(r"[^0-9A-Za-z_]", "_", name)
            odd[name] = next(n for k in count(1) if (n := plain_name+f"_{k}"*(k > 1)) not in taken)
            taken.add(odd[name])
    if odd:
        table = table.copy(copy_data=False)
        table.rename_columns(list(odd), list(odd.values()))
    return table


def plain(column):
    """A column's values without their unit, with their mask where they have one."""
    return column if isinstance(column, np.ma.MaskedArray) else getattr(column, "value", column)


def _values(column):
    """A column's values without their unit: NaN where a number is masked, and text where anything may stand."""
    values = np.ma.asarray(plain(column))
    if values.dtype.kind == "O":
        values = np.ma.asarray(np.asarray(values.filled("")).astype(str))
    if values.dtype.kind == "U" and not all(map(str.isascii, values.data.ravel())):
        return np.array([printable(text) for text in values.data.ravel()]).reshape(values.shape)
    return values.filled(np.nan) if values.dtype.kind == "f" else values.data


def standard_unit(unit):
    """A unit as FITS writes it; None where there is none, or one that FITS does not know."""
    try:
        return unit.to_string("fits") or None if unit is not None else None
    except ValueError:
        return None


def _astropy_columns(table):
    """Comments from which astropy's tables take descriptions of columns; none where there are no descriptions."""
    from astropy.table import Column, Table
    from astropy.table.meta import get_yaml_from_table
    if not any(table[n].info.description for n in table.colnames):
        return
    bare = Table([Column(np.empty(0, getattr(table[n], "value", table[n]).dtype), n, unit=table[n].info.unit,
                         description=table[n].info.description)
                  for n in table.colnames], meta={"__serialized_columns__": {}})
    yield "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--"
    for line in get_yaml_from_table(bare):
        whole = max(len(line)-1, 0)//CARD
        yield from (line[k*CARD:(k+1)*CARD]+"\\" for k in range(whole))
        yield line[whole*CARD:]
    yield "--END-ASTROPY-SERIALIZED-COLUMNS--"


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
    from astropy.table import QTable, Table
    table = QTable(described(Table.read(hdu), hdu), copy=False)
    table.meta.clear()
    table.convert_bytestring_to_unicode()
    return table


def described(table, hdu):
    """A table of an HDU with what the header says of columns where astropy does not look: it stands in the table's meta else."""
    for k, name in enumerate(hdu.columns.names, 1):
        description, unit = (table.meta.pop(f"{keyword}{k}", None) for keyword in ("TCOMM", OTHER_UNIT))
        table[name].info.description = table[name].info.description or description
        if unit is not None:
            table[name].unit = unit
    return table
