"""The page of a detector's fit, from its result and the headers of its catalog."""
import numpy as np

from ..config import FitConfig
from ..report.fit_page import FitFacts, write_fit_page
from .results import MAGNITUDE_SYSTEM, config_lines, inputs_in, lines_in

DEFAULTS = frozenset(config_lines(FitConfig()))


def facts_of(header, findings=(), title=""):
    """What the page of a fit says of it, from the primary header of its catalog.

    Parameters
    ----------
    header : astropy.io.fits.Header
    findings : sequence of str
        What was odd about the pixels.
    title : str
        The exposure's identity when not given.

    Returns
    -------
    crowdsource.report.fit_page.FitFacts
    """
    return FitFacts(
        title=title or str(header.get("EXPOSURE", "")) or "A fit", instrument=str(header.get("INSTRUME", "")),
        band=str(header.get("BAND", "")), magnitude_system=str(header.get(MAGNITUDE_SYSTEM, "")),
        version=str(header.get("VERSION", "")), mjd=_number(header, "MJD-MID"), zeropoint=_number(header, "ZEROPT"),
        pixel_scale=_number(header, "PIXSCALE"), origin=tuple(int(header.get(f"{axis}ORIGIN", 0)) for axis in "XY"),
        noise_estimated=bool(header.get("NOISEEST", False)), findings=tuple(findings),
        inputs=tuple(inputs_in(header)), config=tuple(lines_in(header)), usual=DEFAULTS)


def _number(header, keyword):
    value = header.get(keyword)
    return float(value) if isinstance(value, int | float) else np.nan


def write_detector_page(result, header, path, detector="", overwrite=False):
    """Write the page of a fit that has just been done.

    Parameters
    ----------
    result : crowdsource.engine.state.FitResult
    header : astropy.io.fits.Header
        From `crowdsource.exposure.results.run_header`.
    path : path-like
    detector : str
    overwrite : bool
    """
    title = f"{header.get('EXPOSURE', '')} {detector}".strip()
    write_fit_page(result, facts_of(header, result.image.findings, title), path, overwrite=overwrite)
