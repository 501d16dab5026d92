"""The columns of a simulated catalog, as a fit gives them."""
import numpy as np

from ...core.flags import ENGINE, combine
from ...core.selection import SelectionConfig, is_good
from ...engine.schema import magnitudes, make_catalog
from .geometry import DETECTORS, detector_wcs

UNIT = "adu"
RADIUS = 0.02
"""spread_model of a blend of two equal stars."""


def catalog_of(config, exposure, detector, detections, bits):
    """A detector's catalog.

    Parameters
    ----------
    config : SurveyConfig
    exposure : SurveyExposure
    detector : str
    detections : crowdsource.simulate.survey.detections.SimulatedDetections
    bits : crowdsource.core.flags.FlagTable
        The instrument's, with ``saturated`` and ``bad``.

    Returns
    -------
    astropy.table.QTable
        The columns of `crowdsource.engine.schema`, and ``gain`` as DECam's catalogs have it.
    """
    d = detections
    rng = np.random.default_rng((config.seed, 3, exposure.number, DETECTORS[detector]))
    ra, dec = detector_wcs(config, exposure, detector).all_pix2world(d.x, d.y, 0)
    mag, dmag = magnitudes(d.flux, d.dflux, exposure.header_zeropoint)
    values = dict(x=d.x, y=d.y, flux=d.flux, dflux=d.dflux, dx=d.dposition, dy=d.dposition, dflux_iso=d.dflux_iso,
                  ra=ra, dec=dec, mag=mag, dmag=dmag, detection_id=identifiers(exposure, detector, len(d)), fracflux=d.purity,
                  flags=flags(d, bits), fwhm=np.full(len(d), exposure.seeing/config.pixel_scale), **quality(d, rng))
    values["good"] = is_good(values, SelectionConfig())
    table = make_catalog(values, UNIT, world=True, magnitude=True)
    table["gain"] = np.full(len(d), config.gain)
    return table


def identifiers(exposure, detector, number):
    """``detection_id`` of a detector's rows, as DECam's are: exposure*2^39 + detector*2^32 + row."""
    base = np.int64(exposure.number) << np.int64(39) | np.int64(DETECTORS[detector]) << np.int64(32)
    return base | np.arange(number, dtype=np.int64)


def flags(detections, bits):
    """Column ``flags``: saturated and bad pixels, in the instrument's bits and the engine's."""
    d = detections
    dq = np.where(d.saturated, bits.saturated, 0) | np.where(d.bad, bits.bad, 0)
    mask = np.where(d.saturated, ENGINE.saturated | ENGINE.bad, 0) | np.where(d.bad, ENGINE.bad, 0)
    return combine(dq.astype(np.uint32), mask.astype(np.uint16))


def quality(detections, rng):
    """Columns for the shape of a detection, its pixels and other measurements of its flux and position.

    Parameters
    ----------
    detections : crowdsource.simulate.survey.detections.SimulatedDetections
    rng : numpy.random.Generator

    Returns
    -------
    dict of ndarray, shape (n,)
    """
    d, n = detections, len(detections)
    snr = np.maximum(d.flux/d.dflux, 1)
    worse = d.extent*np.minimum(snr, 100)/10
    dspread = 1/snr
    spread = RADIUS*2*d.extent+np.where(d.spurious, rng.normal(0, 0.05, n), 0)+0.1*dspread*rng.normal(size=n)
    other, local = d.dflux_iso*rng.normal(0, 0.3, (2, n))
    return dict(
        dflux_joint=0.95*d.dflux, passno=np.minimum(rng.poisson(1.5*(1-d.purity), n), 9),
        qf=np.where(d.saturated | d.bad, rng.uniform(0.2, 0.9, n), 1-0.01*rng.random(n)),
        rchi2=rng.gamma(30, 1/30, n)+worse+np.where(d.spurious, rng.exponential(1., n), 0),
        fluxlbs=d.flux+local, dfluxlbs=1.1*d.dflux, spread_model=spread, dspread_model=0.1*dspread, fluxiso=d.flux+other,
        xiso=0.3*d.dposition*rng.normal(size=n), yiso=0.3*d.dposition*rng.normal(size=n), sky=rng.normal(1000., 3., n),
        psf_star=(snr > 100) & (d.purity > 0.98) & ~d.saturated & ~d.bad)
