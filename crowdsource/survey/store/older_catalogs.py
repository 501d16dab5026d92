"""Catalogs that crowdsource wrote before it stated the magnitude system in the header: their band and system.

Newer ones have the keyword `crowdsource.exposure.results.MAGNITUDE_SYSTEM` and, where it is known, ``BAND`` in the primary
header, whatever their instrument; tables other than FITS have ``system`` and ``band`` in their metadata. In older ones the
system stands in the comment of ``ZPCRWD``, and what two adapters knew of their exposures has to be found from their names.
"""
import re

SYSTEMS = "AB", "Vega"


def system_in_comment(header):
    """The magnitude system that ends the comment of an image header's zero point; empty where it is not known."""
    words = str(header.comments["ZPCRWD"]).split() if "ZPCRWD" in header else []
    return words[-1] if words and words[-1] in SYSTEMS else ""


def corrections(instrument, exposure, band):
    """Band and system of an older catalog that follow from the adapter's name.

    Parameters
    ----------
    instrument : str
        Adapter that made the catalog.
    exposure, band : str
        As the catalog states them.

    Returns
    -------
    dict of str to str
        Some of ``band`` and ``system``.
    """
    if instrument == "wise":
        found = re.search(r"w([12])(e\d+)?$", exposure)
        return dict(system="Vega", band=f"W{found.group(1)}" if found else band)
    if instrument == "decam":
        # the filter's number and wavelengths follow in the header's FILTER
        return dict(band=(band.split() or [""])[0])
    return {}
