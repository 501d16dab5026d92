"""Structured background of an image, by whichever way the configuration asks for."""
import logging
from dataclasses import dataclass

import numpy as np

from ..core.flags import ENGINE
from .classifier import MODES, ORDERS
from .detector import structured
from .network import read_network
from .options import DETECT, OFF

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Structure:
    """Where the background has structure.

    Attributes
    ----------
    where : ndarray of bool, shape (ny, nx)
    probabilities : ndarray, shape (3 or 4, ny, nx), float32, or None
        Of nebulosity, light, normal sky and perhaps errors, when a network was asked.
    """

    where: np.ndarray
    probabilities: np.ndarray = None


def is_due(config, passno, last):
    """Whether this pass looks for structure if no other has: a network before all, the detector once there is a model.

    Parameters
    ----------
    config : crowdsource.nebulosity.options.NebulosityConfig
    passno : int
    last : bool
        No pass comes after it.
    """
    return config.method != OFF and (config.network or passno >= config.passno or last)


def find(image, model, psf, config):
    """The structure of an image's background.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    model : ndarray, shape (ny, nx), float32
        Of the stars.
    psf : crowdsource.psf.base.PSF
    config : crowdsource.nebulosity.options.NebulosityConfig

    Returns
    -------
    Structure

    Raises
    ------
    DataFileError
        When the network's files cannot be used.
    """
    if config.method == DETECT:
        found = Structure(structured(image, model, psf, config))
    else:
        found = Structure(*MODES[config.mode](filled(image), read_network(config.method, ORDERS), config))
    log.info("structured background: %.2f%% of the image", 100*found.where.mean())
    return found


def filled(image):
    """The pixels as a network sees them: those that are not finite have the median of the others."""
    lost = image.mask & ENGINE.nonfinite > 0
    return np.where(lost, np.median(image.data[~lost]), image.data)
