"""The scenes on which tuned constants are tried: groups of small fields whose truth is known.

The fields are of other kinds and seeds than those of the README's table. A constant is derived from the scenes named in
`Group.training` and checked on those in `Group.held_out`, which differ in their seeds and, where a telescope makes them, in its
optics.
"""
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial

import numpy as np
from astropy.table import Table
from crowdsource.instruments.generic import Generic

from benchmarks.calibrate.figures import of_comparison, of_score
from benchmarks.peers.bounds import write_bounds
from benchmarks.peers.fields import Recipe, make_field, write_field
from benchmarks.peers.score import Bounds, score
from benchmarks.shared import ROOT
from benchmarks.studies.dirty import BOX, dirty_field
from benchmarks.studies.nebulosity import scene as nebulous_scene
from benchmarks.studies.optics import FIELDS
from crowdsource import FitConfig, Image
from crowdsource.config import NebulosityConfig
from crowdsource.core.noise import estimate_ivar
from crowdsource.engine.loop import fit
from crowdsource.simulate import SimulationConfig, five_sigma_flux, simulate_field, true_psf
from crowdsource.simulate.optics import Telescope, optical_psf, simulate_optical_field
from crowdsource.validate.evaluate import compare

FOLDER = ROOT/"build"/"calibration"
SMALL, SMALLER = (512, 512), (360, 360)
EDGE = 20
"""Rows and stars nearer to an edge are not compared, pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """A field with its truth, and how it is fitted.

    Attributes
    ----------
    image : callable
        Gives the `Image`; where it depends on constants it is made again each time.
    figures : callable
        ``figures(catalog, cpu)`` gives the `Figures` of a catalog.
    options : dict
        Options of `crowdsource.fit`.
    """

    image: Callable
    figures: Callable
    options: dict = field(default_factory=dict)

    def fitted(self, config):
        """The catalog of a fit."""
        return fit(self.image(), config=config, **self.options).catalog


@dataclass(frozen=True, eq=False, kw_only=True)
class Group:
    """Scenes of one kind.

    Attributes
    ----------
    make : callable
        ``make(name, seed)`` gives a `Scene`.
    kinds : tuple of str
        Names of the scenes.
    first_seeds : tuple of int
        Seed of the first scene for training, and of the first one held out; the others follow.
    config : FitConfig
    held_out_kinds : tuple of str
        Names of the scenes that are held out, where they are others.
    """

    make: Callable
    kinds: tuple
    first_seeds: tuple
    config: FitConfig = field(default_factory=FitConfig)
    held_out_kinds: tuple = ()

    @property
    def training(self):
        """(name, seed) of each scene for training."""
        return tuple((name, self.first_seeds[0]+k) for k, name in enumerate(self.kinds))

    @property
    def held_out(self):
        """(name, seed) of each scene that is held out."""
        return tuple((name, self.first_seeds[1]+k) for k, name in enumerate(self.held_out_kinds or self.kinds))


def against(truth, shape, catalog, cpu):
    """`Figures` of a catalog compared with a table of stars."""
    return of_comparison(compare(catalog, truth, shape=shape, edge=EDGE), cpu)


STARS = {
    "sparse": Recipe(shape=(768, 768), stars=600, seed=0, fwhm=4.4, beta=3.2, block=256),
    "medium": Recipe(shape=SMALL, stars=1700, seed=0, fwhm=3.6, beta=2.8, block=128),
    "crowded": Recipe(shape=SMALL, stars=4500, seed=0, fwhm=4.2, beta=3., block=64),
    "extreme": Recipe(shape=SMALL, stars=8000, seed=0, fwhm=3.8, beta=3.3, block=64),
    "sharp": Recipe(shape=SMALL, stars=4000, seed=0, fwhm=2.6, beta=3.5, block=64),
}


def stars(name, seed):
    """A field of stars with its bounds, which is made if it is not there."""
    label = f"{name}-{seed}"
    if not (FOLDER/f"{label}_bounds.fits").exists():
        write_field(make_field(replace(STARS[name], seed=seed)), FOLDER, label)
        write_bounds(FOLDER, label)
    image, ivar, dq = (str(FOLDER/f"{label}_{plane}.fits") for plane in ("im", "ivar", "dq"))
    exposure = Generic().open(image, ivar=ivar, dq=dq)
    read, bounds = exposure.read(exposure.tasks()[0]), Bounds.read(FOLDER, label)
    return Scene(image=lambda: read, figures=lambda catalog, cpu: of_score(score(bounds, catalog), cpu))


NEBULOUS = {
    "none": (SimulationConfig(shape=SMALL, stars=3000., nebulosity=0.), 0),
    "faint": (SimulationConfig(shape=SMALL, stars=1500., nebulosity=0.), 20),
    "filaments": (SimulationConfig(shape=SMALL, stars=2000., nebulosity=0.), 60),
    "bright": (SimulationConfig(shape=SMALL, stars=1000., nebulosity=0., fwhm=3.2), 200),
}
"""Fields and how bright the light in them is, counts."""


def nebulous(name, seed):
    """A field with filaments and clumps of light."""
    config, counts = NEBULOUS[name]
    made = nebulous_scene(replace(config, seed=seed), counts)
    return Scene(image=lambda: made.image, figures=partial(against, made.field.truth, config.shape))


DIRTY = {
    "few": SimulationConfig(shape=SMALL, stars=400., saturated_stars=8, saturated_peaks=(40., 1.5), bleeding=0.3, bad_columns=4,
                            cosmic_rays=60., cosmic_rays_flagged=1., rim=8),
    "many": SimulationConfig(shape=SMALL, stars=2500., saturated_stars=12, saturated_peaks=(60., 1.2), bleeding=0.2,
                             bad_columns=6, cosmic_rays=40., cosmic_rays_flagged=1.),
    "wide": SimulationConfig(shape=SMALL, stars=900., saturated_stars=8, saturated_peaks=(20., 1.5), fwhm=5., bad_columns=4,
                             cosmic_rays=60., cosmic_rays_flagged=1.),
    "narrow": SimulationConfig(shape=SMALL, stars=2500., saturated_stars=10, saturated_peaks=(30., 1.2), fwhm=2.6, bleeding=0.3,
                               bad_columns=4, cosmic_rays=60., cosmic_rays_flagged=1.),
}
LISTED, LIST_ERROR = 6, 2.
"""Number of brightest stars that are given as bright, and the scatter of their given positions along each axis, pixels."""


def dirty(name, seed):
    """A field with saturated stars, trails, bad columns and cosmic rays that are flagged; its brightest stars are listed."""
    config = replace(DIRTY[name], seed=seed)
    made = simulate_field(config)
    brightest = made.truth[np.argsort(-np.asarray(made.truth["flux"]))[:LISTED]]
    rng = np.random.default_rng(seed)
    listed = {axis: np.asarray(brightest[axis])+rng.normal(0, LIST_ERROR, LISTED) for axis in "xy"}
    image = made.image()
    return Scene(image=lambda: image, figures=partial(against, made.truth, config.shape), options=dict(bright=listed))


FORCED = {
    "sparse": SimulationConfig(shape=SMALL, stars=400., sky_gradient=(0.2, 0.1)),
    "medium": SimulationConfig(shape=SMALL, stars=1500.),
    "crowded": SimulationConfig(shape=SMALL, stars=4000.),
    "wide": SimulationConfig(shape=SMALL, stars=1500., fwhm=6., beta=2.6),
}
KNOWN = 3.
"""Isolated signal to noise from which stars are given."""


def forced(name, seed):
    """A field whose stars are known, above a signal to noise."""
    config = replace(FORCED[name], seed=seed)
    made = simulate_field(config)
    known = made.truth[np.asarray(made.truth["flux"]) > KNOWN/5*made.truth.meta["FLUX5"]]
    image = made.image()
    return Scene(image=lambda: image, figures=partial(against, made.truth, config.shape),
                 options=dict(sources=dict(x=np.asarray(known["x"]), y=np.asarray(known["y"]))))


TELESCOPES = {
    **FIELDS, "narrow": replace(FIELDS["narrow"], resolution=0.8),
    "tilted": Telescope(resolution=1.3, vanes=(10, 100, 190, 280), aberrations=(0., 0.03, 0.02, 0.02, 0.02), jitter=0.15),
    "hexagons": Telescope(resolution=1.2, segments=2, obscured=0.25, vanes=(30, 150, 270), aberrations=(0.02, 0.02, 0.02, 0.)),
    "bare": Telescope(resolution=0.9, obscured=0.3, aberrations=(0.03, 0.01, 0., 0.01), jitter=0.1),
    "arms": Telescope(resolution=1.7, vanes=(90, 210, 330), aberrations=(0.03, 0., 0.02, 0.02), jitter=0.2),
}
OPTICAL = SimulationConfig(shape=SMALLER, stars=900., slope=1.75, sky=80., gain=2., readnoise=8., brightest=3e4, nebulosity=0.,
                           saturation=6e4)


def optical(name, seed):
    """A field as a telescope in space sees it: rings, spikes and a core that the pixels undersample."""
    config = replace(OPTICAL, seed=seed)
    image, truth = simulate_optical_field(optical_psf(TELESCOPES[name], config.shape), config)
    return Scene(image=lambda: image, figures=partial(against, truth, config.shape))


ERROR = 0.06
"""Relative error of the width of a PSF that is given."""


def given(name, seed):
    """The same, with a PSF of the telescope that is given, somewhat too wide."""
    one = optical(name, seed)
    telescope = TELESCOPES[name]
    wrong = replace(telescope, jitter=np.hypot(telescope.jitter, ERROR*telescope.resolution))
    return replace(one, options=dict(psf=optical_psf(wrong, OPTICAL.shape)))


WIDE = {
    "rings": Telescope(resolution=3.8, obscured=0.2, aberrations=(0.02, 0.01)),
    "clear": Telescope(resolution=3., obscured=0., aberrations=(0.02,)),
    "blurred": Telescope(resolution=1.5, jitter=1.7),
    "halo": Telescope(resolution=2.8, obscured=0.3, aberrations=(0.05, 0.04, 0.05, 0.03), jitter=0.5),
}
SHAPES = replace(OPTICAL, shape=SMALL, stars=150., brightest=3e3)


def shapes(name, seed):
    """A field of few, well-sampled stars whose profile is no Moffat's."""
    config = replace(SHAPES, seed=seed)
    image, truth = simulate_optical_field(optical_psf(WIDE[name], config.shape, half=100), config)
    return Scene(image=lambda: image, figures=partial(against, truth, config.shape))


ARTIFACTS = ("cosmic-1.6-sparse", "cosmic-3-crowded", "cosmic-6-medium", "hot-1.6-sparse", "hot-3-medium", "satlevel-3-medium",
             "satlevel-6-medium", "holes-3-crowded", "holes-6-medium", "column-3-medium", "bleed-1.6-sparse", "trail-3-medium",
             "real-1.6-sparse")
GALAXIES = (*(f"galaxies-{fwhm}-{density}" for fwhm in ("1.6", "3", "6") for density in ("medium", "crowded")), "clean-3-crowded")


def soiled(name, seed):
    """A field of the study of dirty images: a case, its FWHM and its density; galaxies count as stars do."""
    case, fwhm, density = name.split("-")
    f = dirty_field(case, float(fwhm), density, seed)
    image, light = f.image(), f.stamp(BOX).sum()
    x, y, flux = np.vstack([f.stars, f.added]).T
    truth = Table(dict(x=x, y=y, flux=light*flux), meta=dict(FLUX5=light*five_sigma_flux(f.psf, true_psf(f.psf))))
    return Scene(image=lambda: image, figures=partial(against, truth, image.shape))


FEW = SimulationConfig(shape=SMALL, faintest=0.5, brightest=60., saturated_stars=0)
FEW_STARS = {"thirty": 30., "sixty": 60., "hundred": 100., "two hundred": 200., "four hundred": 400.}


def few(name, seed):
    """A field with few stars, most of them faint."""
    config = replace(FEW, stars=FEW_STARS[name], seed=seed)
    made = simulate_field(config)
    image = made.image()
    return Scene(image=lambda: image, figures=partial(against, made.truth, config.shape))


NOISELESS = {
    "sparse": SimulationConfig(shape=SMALL, stars=400.),
    "medium": SimulationConfig(shape=SMALL, stars=1500., gain=1.5),
    "crowded": SimulationConfig(shape=SMALL, stars=4000.),
    "narrow": SimulationConfig(shape=SMALL, stars=3000., fwhm=2.6, sky=60.),
}


def noiseless(name, seed):
    """A field that comes without a map of its noise."""
    config = replace(NOISELESS[name], seed=seed)
    made = simulate_field(config)

    def image():
        ivar = estimate_ivar(made.data, config.gain, config.readnoise)
        return Image.from_arrays(made.data, np.where(made.dq > 0, 0, ivar).astype(np.float32), made.dq, gain=config.gain,
                                 saturation=config.saturation)

    return Scene(image=image, figures=partial(against, made.truth, config.shape))


GROUPS = {
    "stars": Group(make=stars, kinds=tuple(STARS), first_seeds=(7100, 8200)),
    "nebulous": Group(make=nebulous, kinds=tuple(NEBULOUS), first_seeds=(7300, 8300),
                      config=FitConfig(nebulosity=NebulosityConfig(method="detect"))),
    "dirty": Group(make=dirty, kinds=tuple(DIRTY), first_seeds=(7400, 8400)),
    "forced": Group(make=forced, kinds=tuple(FORCED), first_seeds=(7500, 8500)),
    "optical": Group(make=optical, kinds=tuple(TELESCOPES)[:4], held_out_kinds=tuple(TELESCOPES)[4:], first_seeds=(7600, 8600)),
    "given": Group(make=given, kinds=tuple(TELESCOPES)[:4], held_out_kinds=tuple(TELESCOPES)[4:], first_seeds=(7600, 8600)),
    "shapes": Group(make=shapes, kinds=tuple(WIDE), first_seeds=(7900, 8900)),
    "artifacts": Group(make=soiled, kinds=ARTIFACTS, first_seeds=(100, 200)),
    "extended": Group(make=soiled, kinds=GALAXIES, first_seeds=(100, 200)),
    "few": Group(make=few, kinds=tuple(FEW_STARS), first_seeds=(7700, 8700)),
    "noiseless": Group(make=noiseless, kinds=tuple(NOISELESS), first_seeds=(7800, 8800)),
}


@cache
def scene(group, name, seed):
    """A scene of a group, made once."""
    return GROUPS[group].make(name, seed)
