"""Which rows of a catalog to use: the column ``good``."""
from dataclasses import dataclass

import numpy as np

from .flags import ENGINE, MASK_SHIFT

NEAR_BRIGHT = 0.2
"""Share of the light at a source that is its own, below which it is flagged `near_bright`: of such rows, on real frames, half are
not found again in another exposure, where of those with as much significance elsewhere nine in ten are."""


@dataclass(frozen=True)
class SelectionConfig:
    """Which rows are in a catalog, and which of them are good.

    Attributes
    ----------
    min_snr : float
        Rows whose flux is less than this many of its errors are left out of the catalog; 0 keeps all. Forced and
        joint fits keep all rows.
    good_snr : float
        Rows below this are not good.
    min_qf : float
        Rows with a smaller PSF-weighted fraction of good pixels are not good.
    max_rchi2 : float
        Rows with a larger reduced chi2 are not good.
    flags : tuple of str
        Rows with one of these flags of `crowdsource.core.flags.ENGINE` are not good.
    bits : int
        Nor those with one of these bits of the instrument's data quality.
    """

    min_snr: float = 0.
    good_snr: float = 3.
    min_qf: float = 0.7
    max_rchi2: float = 5.
    flags: tuple = ("bad", "saturated", "nonfinite", "uncertain", "offimage", "nodata", "cosmic", "hot", "trail", "negative",
                    "near_bright")
    bits: int = 0


def is_good(columns, config):
    """Which rows are good by a configuration.

    Parameters
    ----------
    columns : mapping of str to ndarray, shape (n,)
        Those of `crowdsource.engine.schema` named flux, dflux, qf, rchi2 and flags.
    config : SelectionConfig

    Returns
    -------
    ndarray of bool, shape (n,)
        False where a value is NaN.
    """
    excluded = sum(getattr(ENGINE, name) for name in config.flags) << MASK_SHIFT | config.bits
    good = significant(columns, config.good_snr) & (np.asarray(columns["qf"]) >= config.min_qf)
    good &= np.asarray(columns["rchi2"]) <= config.max_rchi2
    return good & (np.asarray(columns["flags"]) & excluded == 0)


def significant(columns, snr):
    """Which rows' fluxes are at least so many of their errors; parameters and return as `is_good`."""
    return np.asarray(columns["flux"]) >= snr*np.asarray(columns["dflux"])


def near_bright(fracflux, qf):
    """Flags, int64, of sources at which hardly any of the light is their own; `fracflux` and `qf` have the shape (n,).

    Where no pixel is good nothing is known of the light.
    """
    near = (np.asarray(fracflux) < NEAR_BRIGHT) & (np.asarray(qf) > 0)
    return np.where(near, ENGINE.near_bright << MASK_SHIFT, 0).astype(np.int64)
