"""Catalogs in files, calibrated: their columns, and what their headers say of it."""
from pathlib import Path

import numpy as np
from astropy.io import fits

from ..core.errors import DataFileError
from ..exposure.results import FIGURES, ROWS, detectors_in, hdu_prefix
from ..io.atomic import atomic_path
from ..io.fits_tables import FITS_ENDINGS, read_hdu, table_hdu
from ..io.hdus import opened, printable
from ..io.tables import write_catalog
from ..psf.formats.native import holds_psf, read_hdus
from .calibrate import aperture_corrections, calibrate
from .catalog import StarCatalog
from .published import KEY, check_published, key_of

PSF, HEADER = "PSF", "HDR"
ROOM = 60
"""Characters of a card for a value and its comment together."""


def calibrate_file(path, reference, *, band=None, colour=None, radius=None, out=None, overwrite=False):
    """Calibrate the catalog in a file: the columns ``mag_cal`` and ``dmag_cal``, and what was found in its header or meta.

    Parameters
    ----------
    path : path-like
        A catalog that crowdsource wrote, in any of its forms, or another table with fluxes. Of a FITS catalog of this project the
        PSF tells what light fluxes leave out.
    reference, band, colour, radius
        As `crowdsource.catalogs.calibrate.calibrate`.
    out : path-like, optional
        The file that is written; the catalog's own, which is replaced as a whole, where it is not given.
    overwrite : bool
        Replace `out` where it exists.

    Returns
    -------
    Calibration

    Raises
    ------
    DataFileError
        When a file cannot be read as a catalog, or is no catalog of this project and would be replaced.
    InputError
        As `crowdsource.catalogs.calibrate.calibrate`.
    OutputError
        When the output exists already and is not of the same inputs and options, which is found before any work is done, or
        cannot be written.
    """
    path = str(path)
    target, replace = (Path(path), True) if out is None else (Path(out), overwrite)
    # a catalog that is replaced by itself is another one afterwards, of which a key would tell nothing
    key = {} if out is None else {KEY: key_of((path, reference), band=band, colour=colour, radius=radius)}
    check_published(target, key.get(KEY), replace)
    ours, detectors = StarCatalog.of(path), detectors_of(path)
    as_fits = str(target).lower().endswith(FITS_ENDINGS)
    if out is None and as_fits and not detectors:
        raise DataFileError(path, "is no catalog of crowdsource: name a new file for the calibrated one (`out`)")
    found = calibrate(ours, reference, band=band, colour=colour, radius=radius, aperture=_aperture(path, ours, detectors))
    if as_fits and detectors:
        _rewrite(path, target, found, found.magnitudes(*ours.fluxes), detectors, replace, key)
        return found
    write_catalog(found.apply(ours.table), target, key, overwrite=replace)
    return found


def detectors_of(path):
    """The names of the detectors in a FITS catalog of this project, "" for an only one; none where it is no such catalog."""
    if not path.lower().endswith(FITS_ENDINGS):
        return []
    with opened(path) as hdus:
        return detectors_in(hdus)


def _aperture(path, catalog, detectors):
    """What `aperture_corrections` says of each row, and the mean of the middles; None where the PSF is not known."""
    parts, middles, start = [], [], 0
    if not detectors:
        return None
    with opened(path) as hdus:
        for detector in detectors:
            before = hdu_prefix(detector)
            if not holds_psf(hdus, before+PSF):
                return None
            header, rows = hdus[before+ROWS].header, hdus[before+ROWS].header["NAXIS2"]
            told = hdus[before+HEADER].header if before+HEADER in hdus else {}
            origin = np.array([[header.get(f"{axis}ORIGIN", 0)] for axis in "XY"])
            places = catalog.pixels[:, start:start+rows]-origin
            part, middle = aperture_corrections(read_hdus(hdus, before+PSF), *places, told.get("FLUXRAD", 0.) or 0.)
            parts.append(part)
            middles.append(middle)
            start += rows
    return np.concatenate(parts), float(np.mean(middles))


def _cards(found):
    """The header cards of a calibration; long names leave no room for a comment."""
    cards = [(k, printable(v) if isinstance(v, str) else v, comment) for k, (v, comment) in found.cards().items()]
    return [fits.Card(k, v, comment if len(str(v))+len(comment) < ROOM else "") for k, v, comment in cards if v is not None]


def _rewrite(path, target, found, magnitudes, detectors, overwrite, key):
    """The file with calibrated magnitudes in its catalogs, and cards in their headers and the first; all else as it is."""
    cards, start = [*_cards(found), *(fits.Card(k, v, "of inputs and options") for k, v in key.items())], 0
    with fits.open(path, memmap=False, disable_image_compression=True, do_not_scale_image_data=True) as hdus:
        for keyword in (*found.cards(), KEY):
            hdus[0].header.remove(keyword, ignore_missing=True)
        hdus[0].header.update(cards)
        for detector in detectors:
            number = hdus.index_of(hdu_prefix(detector)+ROWS)
            table, header = read_hdu(hdus[number]), hdus[number].header
            found.add_columns(table, *(m[start:start+len(table)] for m in magnitudes))
            start += len(table)
            kept = [header.cards[k] for k in FIGURES if k in header]
            hdus[number] = table_hdu(table, hdu_prefix(detector)+ROWS, [*kept, *cards])
        with atomic_path(target, overwrite) as temporary:
            hdus.writeto(temporary)
