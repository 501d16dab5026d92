"""Find the structured background of an image with the method that the configuration names."""
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
    """The pixels where the background has structure.

    Attributes
    ----------
    where : ndarray of bool, shape (ny, nx)
        True where the background has structure.
    probabilities : ndarray, shape (3 or 4, ny, nx), float32, or None
        Probabilities of the classes nebulosity, light, normal sky and, with four classes, errors. None without a network.
    """

    where: np.ndarray
    probabilities: np.ndarray = None


def is_due(config, passno, last):
    """Whether this pass searches for structure, provided that no earlier pass has done so.

    A network is applied before the first pass. The detector needs a model of the stars and runs from pass `config.passno` on.

    Parameters
    ----------
    config : crowdsource.nebulosity.options.NebulosityConfig
    passno : int
        Number of this pass, from 0.
    last : bool
        Whether this is the last pass.
    """
    return config.method != OFF and (config.network or passno >= config.passno or last)


def find(image, model, psf, config):
    """Find the structure of an image's background.

    Parameters
    ----------
    image : crowdsource.core.image.Image
    model : ndarray, shape (ny, nx), float32
        Model of the stars, image units.
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
    """The pixels as given to a network: those that are not finite, or no data, are replaced by the median of the others."""
    lost = image.mask & (ENGINE.nonfinite | ENGINE.nodata) > 0
    return np.where(lost, np.median(image.data[~lost]), image.data)
