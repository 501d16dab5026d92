"""Small simulated images of one field, and what a joint fit makes of their truth."""
from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.epochs import EpochsConfig, simulate_epochs

FIELD = SimulationConfig(shape=(200, 200), stars=120., fwhm=3.6, slope=1.5, brightest=300, saturated_stars=0, seed=4)
CONFIG = EpochsConfig(images=5, field=FIELD, fwhm=(3., 4.5), dither=8., rotation=4., variables=0.08, variation=0.2)
EDGE = 6


def small_epochs(**options):
    """The truth of a field and its images."""
    return simulate_epochs(replace(CONFIG, **options))


def plain(table, name):
    """A column's values, float64, without their unit."""
    return np.asarray(getattr(table[name], "value", table[name]), float)


def names_of(epochs, prefix="night"):
    return [f"{prefix}-{k}" for k in range(len(epochs))]


class Compared:
    """The objects of a joint fit beside the truth on the image that became the reference.

    Attributes
    ----------
    row : ndarray of int
        The object nearest to each star of the truth, and `off`, its distance, pixels.
    inside : ndarray of bool
        Stars well on the reference.
    """

    def __init__(self, truth, epochs, result):
        self.truth, self.result, self.snr = truth, result, np.asarray(truth["snr"])
        self.epoch = epochs[int(result.objects.meta["reference"].rpartition("-")[2])]
        x, y = self.epoch.x, self.epoch.y
        self.off, self.row = cKDTree(np.c_[plain(result.objects, "x"), plain(result.objects, "y")]).query(np.c_[x, y])
        ny, nx = self.epoch.simulation.data.shape
        self.inside = (np.minimum(x, y) > EDGE) & (x < nx-1-EDGE) & (y < ny-1-EDGE)
        self.alone = cKDTree(np.c_[x, y]).query(np.c_[x, y], 2)[0][:, 1] > 2
        self.variable = np.asarray(truth["variable"])

    def stars(self, low, high=np.inf):
        """Which stars well on the reference have a signal to noise in a range."""
        return self.inside & (self.snr > low) & (self.snr < high)

    def found(self, low, high=np.inf):
        """Those of them that have an object."""
        return self.stars(low, high) & (self.off < 1)

    def flux_errors(self, which, name="flux"):
        """Fluxes of some stars over the truth, less 1; and in sigma."""
        truth = (self.epoch.constant*self.epoch.light)[which]
        flux, error = (plain(self.result.objects, n)[self.row[which]] for n in (name, "d"+name))
        return flux/truth-1, (flux-truth)/error
