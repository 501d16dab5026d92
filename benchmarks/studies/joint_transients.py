"""Constants of the search for transients from simulated fields: found transients against false ones; prints Markdown.

    python -m benchmarks.studies.joint_transients [--fields 6] [--images 16]

Each constant of `crowdsource.joint.transients` is varied alone, the others as they are, on fields of the first half of seeds;
the value of the best score counts where the other half confirms it. The score is the share of transients that are found less the
number of false ones on an image: a hundredth of the transients is worth one false star on a hundred images. Fields are sparse,
crowded, or have cosmic rays, a saturated star and many variable stars.
"""
import argparse
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.shared import table
from crowdsource import FitConfig
from crowdsource.joint import transients
from crowdsource.joint.config import JointConfig
from crowdsource.joint.loop import ImageSource, joint_state, settled
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.epochs import EpochsConfig, simulate_epochs
from crowdsource.simulate.stars import five_sigma_flux, true_psf

FIELD = SimulationConfig(shape=(256, 256), stars=200., fwhm=3.6, slope=1.5, brightest=300, saturated_stars=0)
KINDS = {"sparse": dict(), "crowded": dict(stars=800.), "dirty": dict(cosmic_rays=10, saturated_stars=1)}
TRANSIENTS = 24
SNR = (5, 7), (7, 10), (10, 20)
TRIED = {"BOUND": (0.8, 0.9, 1.1, 1.25), "BOX_SIDE": (1.5, 2.5, 3.), "WORST_CHI": (1., 2., 6., 10.),
         "PSF_ERROR": (0.02, 0.03, 0.08, 0.12), "LEAST_RATIO": (0.06, 0.12, 0.4, 0.6), "CROWD": (3., 5., 15., 25.),
         "MOST_TOGETHER": (1, 3, 4), "LEAST_OTHERS": (1., 2., 5., 8.)}
"""Values beside those of now; the bound of significance is multiplied by the first."""
SAME = 1.
"""A star found so near to one of the truth is that star, pixels."""
TOLD = 3.
"""Nothing is false that is near a star of so many sigma on an image."""


@dataclass(eq=False)
class Score:
    """What was found with some values, in all fields.

    Attributes
    ----------
    there, found : ndarray, shape (bins,)
        Transients by signal to noise on the best image, and those that the list has.
    false, images : int
    of_fields : list of float
        Score of each field.
    """

    there: np.ndarray = field(default_factory=lambda: np.zeros(len(SNR)))
    found: np.ndarray = field(default_factory=lambda: np.zeros(len(SNR)))
    false: int = 0
    images: int = 0
    of_fields: list = field(default_factory=list)

    def add(self, there, found, false, images):
        """Add a field."""
        self.there, self.found, self.false, self.images = self.there+there, self.found+found, self.false+false, self.images+images
        self.of_fields.append(found.sum()/max(1, there.sum())-false/images)

    @property
    def value(self):
        """Mean of the fields."""
        return float(np.mean(self.of_fields))

    def gain(self, other):
        """By how much the score is above another of the same fields, and the error of that."""
        off = np.subtract(self.of_fields, other.of_fields)
        return float(off.mean()), float(off.std(ddof=1)/np.sqrt(len(off)))

    def cells(self):
        """Found by bin, %, and false stars on a hundred images."""
        return [*(f"{100*f/max(1, n):.0f}" for f, n in zip(self.found, self.there)), f"{100*self.false/self.images:.1f}"]


class Scene:
    """A field before its last pass, and its truth on the reference."""

    def __init__(self, kind, seed, images):
        own = replace(FIELD, seed=seed, **KINDS[kind])
        truth, epochs = simulate_epochs(EpochsConfig(
            images=images, field=own, fwhm=(3., 4.5), dither=8., variables=0.3 if kind == "dirty" else 0.08, variation=0.2,
            transients=TRANSIENTS, transient_snr=(SNR[0][0], SNR[-1][1])))
        sources = [ImageSource(f"{k:03d}", e.image(), None, FitConfig()) for k, e in enumerate(epochs)]
        state, _ = joint_state(sources, JointConfig())
        self.state = settled(state, lambda *_: None)
        first = epochs[int(self.state.epochs[0].name)]
        sigma = np.array([five_sigma_flux(e.simulation.config, true_psf(e.simulation.config))/5 for e in epochs])
        self.snr = (np.array([e.flux for e in epochs])/sigma[:, None]).max(axis=0)
        self.place, self.images = np.c_[first.x, first.y], images
        self.transient = np.arange(len(truth)) >= len(truth)-TRANSIENTS

    def searched(self, name, value):
        """Transients and found ones by signal to noise, and false stars, with a constant of some value."""
        before, stars = len(self.state.stars), searched(self.state, name, value).stars
        near, _ = cKDTree(np.c_[stars.x, stars.y]).query(self.place)
        shown = self.place[self.snr > TOLD]
        off, _ = cKDTree(shown).query(np.c_[stars.x, stars.y][before:].reshape(-1, 2))
        bins = [self.transient & (self.snr >= low) & (self.snr < high) for low, high in SNR]
        return (np.array([b.sum() for b in bins]), np.array([(near[b] < SAME).sum() for b in bins]), int((off > SAME).sum()),
                self.images)


def searched(state, name, value):
    """The state with transients, found with a constant of some value."""
    changed = "single_bound" if name == "BOUND" else name
    kept = getattr(transients, changed)
    try:
        setattr(transients, changed, (lambda *a: value*kept(*a)) if name == "BOUND" else value)
        return transients.with_transients(state)
    finally:
        setattr(transients, changed, kept)


def scores(kinds, seeds, images):
    """The `Score` of each constant and value on fields of some kinds and seeds; values of now are None."""
    out = {(name, value): Score() for name, values in TRIED.items() for value in values} | {None: Score()}
    for seed in seeds:
        for kind in kinds:
            scene = Scene(kind, seed, images)
            for key, score in out.items():
                score.add(*scene.searched(*(key or ("BOX_SIDE", transients.BOX_SIDE))))
    return out


def main():
    """Vary, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", type=int, default=6, help="of each kind, half of them held out")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--kinds", default=",".join(KINDS))
    args = parser.parse_args()
    half, kinds = args.fields//2, args.kinds.split(",")
    train, held = (scores(kinds, s, args.images) for s in (range(1, half+1), range(101, 101+args.fields-half)))
    rows = []
    for name, values in {None: (None,), **TRIED}.items():
        now = 1. if name == "BOUND" else getattr(transients, name) if name else ""
        best = max(values, key=lambda v, name=name: train[name and (name, v)].value)
        for value in values:
            key = name and (name, value)
            (gain, error), (other, other_error) = train[key].gain(train[None]), held[key].gain(held[None])
            better = value == best and gain > 2*error and other > 2*other_error
            rows.append([name or "as they are", now, value or "", *train[key].cells(), f"{gain:+.3f} +- {error:.3f}",
                         *held[key].cells(), f"{other:+.3f} +- {other_error:.3f}", "better" if name and better else ""])
    shown = [f"found % {low}-{high}" for low, high in SNR]
    print(table(["constant", "now", "tried", *shown, "false on 100 images", "gain", *(f"held out: {s}" for s in shown),
                 "false on 100 images", "gain", ""], rows))


if __name__ == "__main__":
    main()
