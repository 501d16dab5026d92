"""Results in files: the catalog with its PSF and history.

``<name>.cat.fits`` holds PRIMARY (version, configuration, inputs with their SHA-256, a summary of the passes), ``HDR`` (the
image's header and what was measured on it), ``PSF`` and what belongs to it, ``CAT`` and ``HIST``. The catalog is the only table,
so that ``astropy.table.Table.read`` takes it; what was measured of the image stands in its header too. Where an exposure has
several detectors, each has such HDUs, with its name and an underscore before theirs. The same run of the same files gives the
same bytes.
"""
import json
import re
import tomllib
import warnings
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from ..config import as_mapping
from ..core.errors import DataFileError
from ..core.image import thinned
from ..core.version import DISTRIBUTION, installed_version
from ..core.world import pixel_scale
from ..io.atomic import atomic_path
from ..io.checksums import checksums
from ..io.fits import read_header
from ..io.fits_tables import FITS_ENDINGS, table_hdu
from ..io.hdus import damage_told, opened, printable
from ..io.tables import check_ending, read_meta, write_catalog
from ..psf.export import curve_of_growth
from ..psf.formats.native import to_hdus as psf_hdus

WHOLE, CLOSE = 299, 121
"""Sides of the boxes in which the light of the whole PSF is summed, and the radii of parts of it are looked for, pixels."""
PASS_LINE = "pass {passno}: {sources} sources, {new} new, chi2 {chi2:.3f}, FWHM {fwhm:.2f} px, sky {sky:.6g}"
MAGNITUDE_SYSTEM = "MAGSYS"
"""Keyword of the primary header. A catalog that has it states its photometric band there too, as ``BAND``, where it is known."""
JOINT = "JOINTFIT"
"""Keyword of the primary header of catalogs of a joint fit: its number, which tells object_id of different fits apart."""
RUN = "RUNSUM"
"""Keyword of the primary header: the same for runs of the same inputs with the same settings."""
FIGURES = ("ORIGIN", "VERSION", "INSTRUME", "EXPOSURE", "BAND", MAGNITUDE_SYSTEM, "MJD-MID", "NSOURCES", "NPASS", "CHI2", "FWHM",
           "SEEING", "PIXSCALE", "ZEROPT", "NOISEEST", "XORIGIN", "YORIGIN")
"""Keywords of the primary header that the header of a catalog's rows has too."""
PLAIN = {"NSOURCES": "sources", "NPASS": "passes", "CHI2": "chi2", "FWHM": "fwhm", "SEEING": "seeing", "PIXSCALE": "pixel_scale",
         "ZEROPT": "zeropoint"}
"""What catalogs that are no FITS call some of them."""
ROWS = "CAT"
"""Name of the HDU of a catalog's rows."""
COLUMN = "COL"
"""Keyword, with a number from 1, of what the columns of the history are."""
OF_PIXELS = re.compile(r"SIMPLE|XTENSION|EXTEND|BITPIX|NAXIS\d*|[PG]COUNT|GROUPS|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|EXTNAME|"
                       r"EXTVER|EXTLEVEL|INHERIT|TFIELDS|T(TYPE|FORM|SCAL|ZERO|NULL|DIM|DISP|UNIT)\d+|THEAP|"
                       r"Z(IMAGE|CMPTYPE|TILE\d+|BITPIX|NAXIS\d*|NAME\d+|VAL\d+|QUANTIZ|DITHER0|SCALE|ZERO|BLANK|TENSION|SIMPLE|"
                       r"EXTEND|[PG]COUNT|HECKSUM|DATASUM|MASKCMP|BLOCKED)")
"""Keywords of how an image's pixels are stored and of its place in its file, which a copy of its header does not take over."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result comes from.

    Attributes
    ----------
    instrument : str
    inputs : tuple of path-like
        Files read.
    options : mapping
        The instrument's options, values by name; None for those not used.
    exposure : str
        Its identity.
    sums : tuple of (str, str), optional
        Checksums of the inputs, taken already.
    joint : int, optional
        Number of the joint fit that the result is part of.
    """

    instrument: str = ""
    inputs: tuple = ()
    options: dict = field(default_factory=dict)
    exposure: str = ""
    sums: tuple = None
    joint: int = None

    def checksums(self):
        """(path, SHA-256) of the inputs; taken now unless they were before."""
        return checksums(self.inputs) if self.sums is None else self.sums


def write_result(result, path, *, provenance=None, header=None, overwrite=False):
    """Write a catalog with its PSF, configuration and history.

    Parameters
    ----------
    result : crowdsource.engine.state.FitResult
    path : path-like
        FITS, or ECSV, VOTable, CSV or Parquet by its ending, which hold the catalog, what was measured of the image and the
        configuration only; CSV the catalog alone.
    provenance : Provenance, optional
    header : astropy.io.fits.Header, optional
        From `detector_header`, for FITS.
    overwrite : bool

    Raises
    ------
    OutputError
        When the ending is not known, the file exists already or cannot be written.
    """
    check_ending(path)
    provenance = provenance or Provenance()
    if str(path).lower().endswith(FITS_ENDINGS):
        primary = run_header(result, provenance)
        hdus = [fits.PrimaryHDU(header=primary), *result_hdus(result, primary, header=header)]
        with atomic_path(path, overwrite) as temporary:
            fits.HDUList(hdus).writeto(temporary)
        return
    write_catalog(result.catalog, path, plain_record(run_header(result, provenance)), overwrite)


def result_hdus(result, primary, detector="", header=None):
    """What a catalog holds of one detector: its header, where there is one, PSF, rows and history.

    Parameters
    ----------
    result : crowdsource.engine.state.FitResult
    primary : astropy.io.fits.Header
        From `run_header`.
    detector : str
    header : astropy.io.fits.Header, optional
        From `detector_header`.

    Returns
    -------
    list of HDUs
    """
    before = hdu_prefix(detector)
    first = [] if header is None else [fits.ImageHDU(header=header, name=before+"HDR")]
    return [*first, *psf_hdus(result.psf, before+"PSF"),
            table_hdu(result.catalog, before+"CAT", [primary.cards[k] for k in FIGURES if k in primary]),
            history_hdu(result.history, before+"HIST")]


def detector_header(image, result):
    """The header that an image came with, as far as it is valid, and what was measured: gain, sky and width of the PSF.

    Parameters
    ----------
    image : crowdsource.core.image.Image
        Its ``meta["header"]`` is the header, where it has one; ``meta["zeropoint_calibrated"]`` tells of its zero point.
    result : crowdsource.engine.state.FitResult

    Returns
    -------
    astropy.io.fits.Header
    """
    header = fits.Header()
    # a card that is warned of here would be each time that the copy is read. Warnings are not made errors: filters are those of
    # all threads
    with warnings.catch_warnings(record=True, action="always", category=AstropyWarning) as warned:
        for card in image.meta.get("header", fits.Header()).copy(strip=True).cards:
            before = len(warned)
            try:
                card.verify("exception")
                copy = fits.Card.fromstring(str(card))
                if len(warned) == before and not OF_PIXELS.fullmatch(copy.keyword):
                    header.append(copy, end=True)
            except (fits.VerifyError, ValueError):
                continue
    for keyword, value, comment in (("GAINCRWD", image.gain, "electrons per unit"),
                                    ("SKYCRWD", np.median(thinned(result.sky)), "median, image units"),
                                    ("FWHMCRWD", result.psf.fwhm(), "in the middle, pixels")):
        header[keyword] = (_finite(value), comment)
    for keyword, (value, comment) in aperture_cards(result.psf, result.config.psf.norm_radius).items():
        header[keyword] = (_finite(value), comment)
    for k, finding in enumerate(result.image.findings, 1):
        header[f"FOUND{k}"] = printable(finding)
    if np.isfinite(image.zeropoint):
        header["ZPCRWD"] = (image.zeropoint, f"zero point of mag, {image.magnitude_system or 'system not known'}")
        if "zeropoint_calibrated" in image.meta:
            header["ZPCALIB"] = (bool(image.meta["zeropoint_calibrated"]), "whether that is calibrated")
    return header


def aperture_cards(psf, radius):
    """What a flux of the catalog is a part of: (value, comment) by keyword.

    Parameters
    ----------
    psf : crowdsource.psf.base.PSF
    radius : float
        Of the circle to which fluxes refer, pixels; 0 for the box over which the PSF sums to 1.
    """
    unit = float(curve_of_growth(psf, [radius])[0]) if radius else 1.
    whole, radii = float(psf.stamp(WHOLE).sum(dtype=np.float64)), np.arange(0.25, CLOSE//2, 0.25)
    near = np.maximum.accumulate(curve_of_growth(psf, radii, side=CLOSE, oversampling=2))/whole
    cards = dict(FLUXBOX=(0 if radius else psf.norm_size, "side of the box of fluxes, px; 0: see FLUXRAD"),
                 FLUXRAD=(float(radius), "radius of a circle of fluxes, px; 0: FLUXBOX"),
                 FLUXALL=(whole/unit, f"light of the PSF in {WHOLE} px, in units of a flux"))
    for part in (50, 80):
        at = float(np.interp(part/100, near, radii, right=np.nan))
        cards[f"EE{part}"] = (at, f"radius of {part} % of that light, px")
    return cards


def add_columns(catalog, columns):
    """Add or replace columns of a catalog, in place; one that is replaced keeps its description."""
    for name, values in columns.items():
        known = catalog[name].info.description if name in catalog.colnames else None
        catalog[name] = values
        catalog[name].info.description = catalog[name].info.description or known


def hdu_prefix(detector):
    """What stands before the names of a detector's HDUs."""
    return f"{detector.upper()}_" if detector else ""


def detectors_in(hdus):
    """Names of the detectors whose rows HDUs hold, as `hdu_prefix` has them: "" for an only one; none where they hold no rows."""
    names = [h.name for h in hdus if getattr(h, "columns", None) is not None]
    return [n.removesuffix(ROWS).removesuffix("_") for n in names if n == ROWS or n.endswith(f"_{ROWS}")]


def history_hdu(history, name):
    """The passes' figures as an image HDU, a row a pass: ``COL1`` ... name its columns, ``KIND1`` ... the kinds of passes.

    NaN where a figure is missing. CPU seconds, which differ from run to run, are left out.
    """
    names = list(dict.fromkeys(n for record in history for n in record if n != "kind" and not n.startswith("cpu_")))
    header = fits.Header({f"{COLUMN}{k}": n for k, n in enumerate(names, 1)})
    header.update({f"KIND{k}": record["kind"] for k, record in enumerate(history, 1) if "kind" in record})
    values = [[record.get(n, np.nan) for n in names] for record in history]
    return fits.ImageHDU(np.array(values, dtype=np.float64), header, name=name)


def read_history(path, detector=""):
    """The figures of the passes of a catalog that `write_result` or a run wrote.

    Parameters
    ----------
    path : path-like
    detector : str

    Returns
    -------
    astropy.table.Table
        A row a pass, float64; ``kind`` text.

    Raises
    ------
    DataFileError
        When the file has no history of that detector, or one that is damaged.
    """
    with opened(path) as hdus, damage_told(path, "history of passes"):
        name = hdu_prefix(detector)+"HIST"
        if name not in hdus:
            raise DataFileError(path, f"holds no history of passes of detector {detector!r}; give a catalog that crowdsource "
                                "wrote")
        return history_table(hdus[name])


def history_table(hdu):
    """The table of `read_history` from its HDU."""
    from astropy.table import Table
    table = Table({hdu.header[f"{COLUMN}{k}"]: column.astype(np.float64) for k, column in enumerate(hdu.data.T, 1)})
    table["kind"] = [hdu.header.get(f"KIND{k}", "") for k in range(1, len(hdu.data)+1)]
    return table


def run_header(result, provenance, detector=""):
    """The primary header of one detector's catalog: version, inputs with checksums, configuration and passes."""
    header, history = fits.Header(), result.history
    header["ORIGIN"] = ("crowdsource", "crowded-field photometry")
    header["VERSION"] = (installed_version(), f"of {DISTRIBUTION}")
    header["INSTRUME"] = (provenance.instrument, "adapter that read the image")
    header["EXPOSURE"] = printable(provenance.exposure)
    if provenance.joint is not None:
        header[JOINT] = (provenance.joint, "number of the joint fit")
    if result.image.band:
        header["BAND"] = (result.image.band, "of the image")
    header[MAGNITUDE_SYSTEM] = (result.image.magnitude_system, "of magnitudes: AB, Vega, or empty if not known")
    if np.isfinite(result.image.mjd):
        header["MJD-MID"] = (result.image.mjd, "of mid-exposure")
    header["NSOURCES"] = (len(result.catalog), "rows of all catalogs")
    header["NPASS"] = (len(history), "passes of the loop")
    header["CHI2"] = (_finite(history[-1]["chi2"]), "mean of (residual/sigma)^2 over good pixels")
    header["FWHM"] = (_finite(result.psf.fwhm()), "of the PSF in the middle, pixels")
    if result.image.wcs is not None:
        (x0, y0), (ny, nx) = result.image.origin, result.image.shape
        scale = pixel_scale(result.image.wcs, x0+(nx-1)/2, y0+(ny-1)/2)
        header["SEEING"] = (_finite(result.psf.fwhm()*scale), "FWHM of the PSF in the middle, arcsec")
        header["PIXSCALE"] = (_finite(scale), "arcsec in a pixel, in the middle")
    for axis, first in zip("XY", result.image.origin):
        if first:
            header[f"{axis}ORIGIN"] = (first, "first pixel of the part that was fitted, from 0")
    if np.isfinite(result.image.zeropoint):
        header["ZEROPT"] = (float(result.image.zeropoint), "magnitude of a flux of 1, of mag")
    for k, (path, digest) in enumerate(provenance.checksums(), 1):
        header[f"IN{k:03d}"] = printable(path)
        header[f"IN{k:03d}SUM"] = digest
    for k, line in enumerate(config_lines(result.config, provenance), 1):
        header[f"CFG{k:03d}"] = printable(line)
    for record in history:
        header["HISTORY"] = f"{detector} {PASS_LINE.format(**record)}".strip()
    return header


def gathered_header(headers):
    """The primary header of several detectors' catalogs in one file, from their own.

    The configuration is that of the first; what an instrument chooses by itself may differ from one detector to the next.
    """
    header = headers[0].copy()
    if len(headers) == 1:
        return header
    for keyword in ("NPASS", "CHI2", "FWHM", "SEEING", "PIXSCALE", "ZEROPT", "XORIGIN", "YORIGIN"):
        header.remove(keyword, ignore_missing=True)
    header["NSOURCES"] = sum(h["NSOURCES"] for h in headers)
    for other in headers[1:]:
        for line in other.get("HISTORY", ()):
            header["HISTORY"] = line
    return header


def _finite(value):
    return float(value) if value is not None and np.isfinite(value) else None


def config_lines(config, provenance=None):
    """A configuration as lines of TOML, one a value with a dotted key; `read_config` reads them from a catalog.

    Parameters
    ----------
    config : crowdsource.config.FitConfig
    provenance : Provenance, optional
        Its options stand under the instrument's name.
    """
    mapping = as_mapping(config)
    if provenance is not None and provenance.instrument:
        mapping[provenance.instrument] = {n: v for n, v in provenance.options.items() if v is not None}
    return list(_dotted(mapping, ""))


def _dotted(mapping, parent):
    for name, value in mapping.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{parent}{name}.")
        else:
            yield f"{parent}{name} = {_toml(value)}"


def _toml(value):
    """A value in TOML; numbers keep every digit."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "["+", ".join(map(_toml, value))+"]"
    return json.dumps(str(value)) if not isinstance(value, (int, float)) else repr(value)


def read_config(path):
    """The configuration that a catalog was made with, nested as in a TOML file; the instrument's options under its name.

    Raises
    ------
    DataFileError
        When the file is no such catalog, or its configuration is damaged.
    """
    with opened(path) as hdus, damage_told(path, "configuration"):
        # a card that cannot be parsed may not be left out: what is read would be another configuration
        lines = lines_in(hdus[0].header)
        found = tomllib.loads("\n".join(lines))
    if not lines:
        raise DataFileError(path, "holds no configuration; give a catalog that crowdsource wrote")
    return found


def lines_in(header):
    """Lines of the configuration that the primary header of a catalog holds."""
    return [header[k] for k in header if k.startswith("CFG")]


def inputs_in(header):
    """(name, SHA-256) of the files that were read, from the primary header of a catalog."""
    return [(header[k], header.get(k+"SUM", "")) for k in header if re.fullmatch(r"IN\d{3}", k)]


def plain_record(header):
    """What ECSV, VOTable and Parquet record beside the rows, from the primary header of a FITS catalog."""
    inputs = [f"{digest}  {name}" for name, digest in inputs_in(header)]
    return dict(version=header["VERSION"], instrument=header["INSTRUME"], exposure=header["EXPOSURE"],
                run=header.get(RUN, ""), band=header.get("BAND", ""), system=header.get(MAGNITUDE_SYSTEM, ""),
                mjd=header.get("MJD-MID", ""),
                **{name: header[k] for k, name in PLAIN.items() if header.get(k) is not None},
                config="\n".join(lines_in(header)), inputs="\n".join(inputs))


def made_by(path):
    """The version that has made a catalog or a file of planes, and what runs of the same have in common; None where unknown.

    Raises
    ------
    DataFileError
        When it cannot be read.
    """
    if str(path).lower().endswith(FITS_ENDINGS):
        header = read_header(path)
        return header.get("VERSION"), header.get(RUN)
    meta = read_meta(str(path))
    return meta.get("version"), meta.get("run")
