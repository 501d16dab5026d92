"""What the built-in detector of structured background finds, and what marking it does to the catalog; prints Markdown.

Filaments and clumps of known light are added to simulated fields, between 3 and 12 FWHM wide.

    python -m benchmarks.studies.nebulosity
"""
import sys
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.shared import table
from crowdsource.config import FitConfig, NebulosityConfig
from crowdsource.core.flags import ENGINE
from crowdsource.core.image import Image
from crowdsource.engine.loop import fit
from crowdsource.simulate import Cluster, SimulationConfig, draw_sky, pipeline_ivar, simulate_field
from crowdsource.validate.evaluate import compare

SEEDS = 1, 2, 3
PLAIN = {
    "2,000 stars": SimulationConfig(stars=2000., nebulosity=0.),
    "6,000 stars": SimulationConfig(stars=6000., nebulosity=0.),
    "15,000 stars": SimulationConfig(stars=15000., nebulosity=0.),
    "15,000 stars, FWHM 2.4 px": SimulationConfig(stars=15000., nebulosity=0., fwhm=2.4),
    "4,000 stars, FWHM 7 px": SimulationConfig(stars=4000., nebulosity=0., fwhm=7., beta=2.6),
    "cluster of 4,000 on 1,500": SimulationConfig(stars=1500., nebulosity=0., clusters=(Cluster(520., 480., 90., 4000.),)),
    "6,000 stars, smooth structure of 6 counts": SimulationConfig(stars=6000.),
}
"""Nothing in them is nebulous but the last, whose structure is on the scales that the sky follows."""
NEBULOUS = {
    f"{stars:,} stars, {counts} counts": (SimulationConfig(stars=float(stars), nebulosity=0.), counts)
    for stars, counts in ((3000, 20), (3000, 60), (3000, 200), (9000, 20), (9000, 60), (9000, 200), (15000, 60))
}
NEBULOUS["6,000 stars, FWHM 2.4 px, 60 counts"] = SimulationConfig(stars=6000., nebulosity=0., fwhm=2.4), 60
NEBULOUS["2,000 stars, FWHM 7 px, 60 counts"] = SimulationConfig(stars=2000., nebulosity=0., fwhm=7.), 60
WIDTHS, FILAMENTS, CLUMPS = (3, 5, 8, 12), 4, 6
INNER, OUTER = 0.3, 0.02
"""Nebulous is what has so much of the brightest light, plain what has less than that."""


@dataclass(frozen=True)
class Scene:
    """A field, its image, and the light that was added to it."""

    field: object
    image: Image
    light: np.ndarray


def texture(config, rng, scale):
    """A random field of unit scatter, smooth below the scale (pixels)."""
    flat = replace(config, sky=1e6, sky_gradient=(0., 0.), nebulosity=1., nebulosity_scale=scale)
    return draw_sky(flat, rng)-flat.sky


def filaments(config, rng):
    """Light of bent filaments and of clumps, with texture, brightest about 1."""
    ny, nx = config.shape
    y, x = np.indices(config.shape)
    light = np.zeros(config.shape)
    for width in config.fwhm*rng.permutation(WIDTHS):
        angle, length = rng.uniform(0, np.pi), nx*rng.uniform(0.15, 0.3)
        (x0, y0), bends = rng.uniform(0.25, 0.75, 2)*(nx, ny), rng.uniform((60, 25), (150, 60))
        u, v = ((x-x0)*np.cos(a)+(y-y0)*np.sin(a) for a in (angle, angle+np.pi/2))
        ridge = v-60*np.sin(u/bends[0]+rng.uniform(0, 6))-30*np.sin(u/bends[1])
        light += rng.uniform(0.5, 1)*np.exp(-4*np.log(2)*(ridge/width)**2-(u/length)**4)
    for _ in range(CLUMPS):
        x0, y0, width = *rng.uniform(0.1, 0.9, 2)*(nx, ny), config.fwhm*rng.uniform(3, 8)
        light += rng.uniform(0.5, 1)*np.exp(-4*np.log(2)*((x-x0)**2+(y-y0)**2)/width**2)
    return light*np.exp(0.5*texture(config, rng, config.fwhm))


def scene(config, counts):
    """A field with so many counts of nebulosity at its brightest, roughly."""
    field, rng = simulate_field(config), np.random.default_rng(config.seed+1000)
    light = counts*filaments(config, rng) if counts else np.zeros(config.shape)
    bad = field.dq > 0
    data = np.where(bad, field.data, np.minimum(field.data+rng.poisson(light*config.gain)/config.gain, config.saturation))
    ivar = np.where(bad, 0, pipeline_ivar(data, bad, config.gain, config.readnoise))
    image = Image.from_arrays(data, ivar, field.dq, gain=config.gain, saturation=config.saturation)
    return Scene(field, image, light)


def fits(s):
    """Results without and with the detector."""
    return [fit(s.image, config=replace(FitConfig(), nebulosity=NebulosityConfig(method=m))) for m in ("off", "detect")]


def marked(result):
    """Where the detector has found structure."""
    return result.image.mask & ENGINE.nebulous > 0


def within(result, s, where):
    """Rows and % of them spurious, % of the stars above 10 sigma found and their flux bias in %, in a part of the image."""
    c = compare(result.catalog, s.field.truth, avoid=~where, avoid_radius=1, bin_edges=(10., np.inf))
    return c.rows, c.spurious, c.bins["found"][0], c.bins["bias"][0]


def plain_row(name, config):
    """What is marked where there is nothing, and what that does."""
    figures = []
    for seed in SEEDS:
        s = scene(replace(config, seed=seed), 0)
        off, on = fits(s)
        every = np.ones(config.shape, bool)
        figures.append((100*marked(on).mean(), *within(off, s, every)[1:3], *within(on, s, every)[1:3]))
    mean, worst = np.mean(figures, axis=0), np.max(figures, axis=0)[0]
    return [name, f"{mean[0]:.2f}", f"{worst:.2f}", f"{mean[1]:.1f} / {mean[3]:.1f}", f"{mean[2]:.1f} / {mean[4]:.1f}"]


def nebulous_row(name, config, counts):
    """What is marked of nebulosity and beside it, and what that does inside and outside."""
    figures = []
    for seed in SEEDS:
        s = scene(replace(config, seed=seed), counts)
        inside, outside = s.light > INNER*counts, s.light < OUTER*counts
        off, on = fits(s)
        figures.append((100*inside.mean(), 100*marked(on)[inside].mean(), 100*marked(on)[outside].mean(),
                        *(v for where in (inside, outside) for r in (off, on) for v in within(r, s, where))))
    f = np.mean(figures, axis=0)
    pairs = [f"{f[k]:.1f} / {f[k+4]:.1f}" for k in (4, 5, 6, 12, 13)]
    return [name, *(f"{v:.1f}" for v in f[:2]), f"{f[2]:.2f}", f"{f[3]:.0f} / {f[7]:.0f}", *pairs]


def main():
    """Run all."""
    head = ["plain field", "marked %", "at most %", "spurious %, off / detect", "found above 10 sigma %, off / detect"]
    sys.stdout.write(table(head, [plain_row(*item) for item in PLAIN.items()])+"\n\n")
    head = ["field and brightest light", "nebulous %", "of it marked %", "elsewhere marked %", "rows inside, off / detect",
            "spurious inside %", "found inside %", "flux bias inside %", "spurious outside %", "found outside %"]
    sys.stdout.write(table(head, [nebulous_row(name, *rest) for name, rest in NEBULOUS.items()])+"\n")


if __name__ == "__main__":
    main()
