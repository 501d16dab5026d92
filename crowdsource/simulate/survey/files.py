"""Simulated surveys in files.

``truth.fits`` holds the tables ``STARS`` and ``EXPOSURES``. Each exposure is a catalog as that of a fit of several detectors,
``decam-1000001_r.cat.fits``, and beside it ``decam-1000001_r.links.fits``, whose tables ``<detector>_LINKS`` list the stars of
each detection.
"""
import logging
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ...config import FitConfig
from ...core.errors import DataFileError
from ...core.image import Image
from ...engine.state import FitResult
from ...exposure.instrument import load
from ...exposure.results import Provenance, gathered_header, hdu_prefix, result_hdus, run_header
from ...io.atomic import atomic_path, check_folder
from ...io.fits_tables import table_hdu
from ...io.hdus import opened
from ...psf.model import FieldPSF
from . import DETECTORS, SurveyConfig, catalog_of, checked, detector_wcs, draw_truth, exposure_size, observe, plan_exposures

log = logging.getLogger(__name__)
TRUTH, CATALOG, LINKS = "truth.fits", ".cat.fits", ".links.fits"
INSTRUMENT = "decam"
EXPOSURE_TIME, SKY = 90., 1000.
"""Values in the headers of all exposures: seconds, and counts of the sky."""


def write_survey(config, out, overwrite=False, progress=None):
    """Simulate a survey and write its files, each as soon as it is finished.

    The same configuration gives the same bytes. Memory is that of the truth and one detector.

    Parameters
    ----------
    config : SurveyConfig
    out : path-like
        Folder, made when it is not there.
    overwrite : bool
        Write into a folder that is not empty; the files of a survey that is there are removed first, so that surveys do not mix.
    progress : callable, optional
        As `crowdsource.exposure.run.run`.

    Returns
    -------
    list of (Path, int)
        Catalogs and their rows.

    Raises
    ------
    ConfigError
        When a value is out of range.
    OutputError
        When the folder is not empty or cannot be written.
    """
    c, out = checked(config), Path(out)
    check_folder(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    remove_survey(out)
    truth, exposures = draw_truth(c), plan_exposures(c)
    write_truth(c, truth, exposures, out/TRUTH, overwrite)
    written = []
    for k, exposure in enumerate(exposures, 1):
        path = out/f"{exposure.name}_{exposure.band}{CATALOG}"
        rows = write_exposure(c, truth, exposure, path, overwrite)
        log.info("%s: %d detections, seeing %.2f arcsec", path, rows, exposure.seeing)
        written.append((path, rows))
        if progress:
            progress("exposures", k, len(exposures), {})
    return written


def remove_survey(folder):
    """Remove the catalogs and links that a folder's truth names; other files stay."""
    try:
        _, exposures = read_truth(folder)
    except DataFileError:
        return
    for name in exposures["file"]:
        path = Path(folder)/Path(name).name
        for file in (path, links_path(path)):
            file.unlink(missing_ok=True)


def links_path(path):
    """Where the links of a catalog are."""
    return path.with_name(path.name.removesuffix(CATALOG)+LINKS)


def write_truth(config, truth, exposures, path, overwrite=False):
    """Write the true stars and exposures.

    Parameters
    ----------
    config : SurveyConfig
    truth : ndarray, shape (n,)
    exposures : tuple of SurveyExposure
    path : path-like
    overwrite : bool
    """
    header = fits.Header()
    for k, (name, value) in enumerate(vars(config).items(), 1):
        header[f"CFG{k:03d}"] = f"{name} = {list(value) if isinstance(value, tuple) else value!r}"
    names = ("number", "band", "mjd", "ra", "dec", "rotation", "seeing", "depth", "zeropoint", "header_zeropoint")
    table = Table({n: [getattr(e, n) for e in exposures] for n in names})
    table["exposure"] = [e.name for e in exposures]
    table["file"] = [f"{e.name}_{e.band}{CATALOG}" for e in exposures]
    with atomic_path(path, overwrite) as temporary:
        fits.HDUList([fits.PrimaryHDU(header=header), fits.BinTableHDU(truth, name="STARS"),
                      table_hdu(table, "EXPOSURES")]).writeto(temporary)


def write_exposure(config, truth, exposure, path, overwrite=False):
    """Write an exposure's catalog and links. Parameters as `write_truth`; returns the number of detections."""
    headers, catalogs, links, rows = [], [], [], 0
    provenance = Provenance(instrument=INSTRUMENT, exposure=exposure.name)
    for detector in DETECTORS:
        detections = observe(config, truth, exposure, detector)
        table = catalog_of(config, exposure, detector, detections, load(INSTRUMENT).flags)
        result = as_result(config, exposure, table)
        headers.append(run_header(result, provenance, detector))
        headers[-1]["NOISEEST"] = (False, "ivar was estimated from the image")
        catalogs += result_hdus(result, headers[-1], detector, image_header(config, exposure, detector))
        links.append(links_hdu(detections.links, table["detection_id"], detector))
        rows += len(table)
    # the catalog last: where it is, all of the exposure is
    for file, primary, hdus in ((links_path(path), None, links), (path, gathered_header(headers), catalogs)):
        with atomic_path(file, overwrite) as temporary:
            fits.HDUList([fits.PrimaryHDU(header=primary), *hdus]).writeto(temporary)
    return rows


def as_result(config, exposure, table):
    """A catalog as a fit of one pass gives it."""
    fwhm = exposure.seeing/config.pixel_scale
    psf = FieldPSF.moffat(exposure_size(config).detector, fwhm, 3.)
    history = [dict(passno=0, kind="search", sources=len(table), new=len(table), chi2=1., fwhm=float(psf.fwhm()), sky=SKY)]
    # headers take band, magnitude system and date from the image, which has no pixels of its own here
    image = Image.from_arrays(np.zeros((1, 1)), np.ones((1, 1)), band=exposure.band, mjd=exposure.mjd, magnitude_system="AB")
    return FitResult(catalog=table, model=None, sky=None, psf=psf, history=history, config=FitConfig(), image=image)


def image_header(config, exposure, detector):
    """The header of a detector's image in the catalog."""
    header = detector_wcs(config, exposure, detector).to_header(relax=True)
    for name in ("MJDREF", "DATE-OBS"):
        header.remove(name, ignore_missing=True)
    ny, nx = exposure_size(config).detector
    middle = EXPOSURE_TIME/86400/2
    for key, value, comment in (
            ("ZNAXIS1", nx, "columns of the image"), ("ZNAXIS2", ny, "rows of the image"),
            ("EXPNUM", exposure.number, "number of the exposure"), ("CCDNUM", DETECTORS[detector], "number of the detector"),
            ("FILTER", f"{exposure.band} DECam", "filter"), ("MJD-OBS", exposure.mjd-middle, "start of the exposure"),
            ("EXPTIME", EXPOSURE_TIME, "s"), ("GAINCRWD", config.gain, "electrons per unit"),
            ("SKYCRWD", SKY, "median, image units"),
            ("FWHMCRWD", exposure.seeing/config.pixel_scale, "in the middle, pixels"),
            ("ZPCRWD", exposure.header_zeropoint, "zero point of mag, AB"), ("ZPCALIB", True, "whether that is calibrated")):
        header[key] = (value, comment)
    return header


def links_hdu(links, detection_id, detector):
    """The stars of each detection of a detector as a table: detection_id, star, fraction."""
    columns = [fits.Column("detection_id", "K", array=np.asarray(detection_id)[links["row"]]),
               fits.Column("star", "J", array=links["star"]), fits.Column("fraction", "E", array=links["fraction"])]
    return fits.BinTableHDU.from_columns(columns, name=hdu_prefix(detector)+"LINKS")


def read_links(path):
    """Links of an exposure's detections.

    Parameters
    ----------
    path : path-like
        Of the catalog or of the links.

    Returns
    -------
    ndarray, shape (m,)
        Structured: ``detection_id``, ``star`` (-1 for none), ``fraction``; sorted by identifier, the largest part first.

    Raises
    ------
    DataFileError
        When it holds none.
    """
    path = Path(path)
    path = links_path(path) if path.name.endswith(CATALOG) else path
    with opened(path) as hdus:
        found = [np.array(h.data).view(np.ndarray) for h in hdus if h.name.endswith("_LINKS")]
    if not found:
        raise DataFileError(path, "holds no links; give a file of crowdsource simulate-survey")
    return np.concatenate([f.astype(f.dtype.newbyteorder("=")) for f in found])


def read_truth(folder):
    """The true stars and exposures of a survey.

    Returns
    -------
    stars : ndarray, shape (n,)
        Structured, as `crowdsource.simulate.survey.draw_truth` gives it.
    exposures : astropy.table.Table
        number, band, mjd, ra, dec, rotation, seeing, depth, zeropoint, header_zeropoint, exposure, file.

    Raises
    ------
    DataFileError
        When the folder holds no survey.
    """
    path = Path(folder)/TRUTH
    with opened(path) as hdus:
        if "STARS" not in hdus or "EXPOSURES" not in hdus:
            raise DataFileError(path, "is no truth of a survey; give a folder of crowdsource simulate-survey")
        stars = np.array(hdus["STARS"].data).view(np.ndarray)
        exposures = Table.read(hdus["EXPOSURES"])
    exposures.convert_bytestring_to_unicode()
    return stars.astype(stars.dtype.newbyteorder("=")), exposures


__all__ = ("SurveyConfig", "read_links", "read_truth", "write_exposure", "write_survey", "write_truth")
