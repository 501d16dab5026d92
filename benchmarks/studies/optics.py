"""Images of telescopes in space, fitted with the PSF that the fit finds and with the true one: which PSF costs what.

python -m benchmarks.studies.optics [NAME ...]
"""
import argparse
import time

from crowdsource import fit
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.optics import Telescope, optical_psf, simulate_optical_field
from crowdsource.validate.evaluate import compare

CONFIG = SimulationConfig(shape=(700, 700), stars=3500., slope=1.75, sky=80., gain=2., readnoise=8., brightest=5e4, nebulosity=0.,
                          saturation=6e4, seed=71)
FIELDS = {
    "cross": Telescope(resolution=1.45, vanes=(45, 135, 225, 315), aberrations=(0.03, 0.02, 0.02, 0.01, 0.01), jitter=0.2),
    "segments": Telescope(resolution=1.1, segments=3, obscured=0.2, vanes=(90, 210, 330), aberrations=(0.02, 0., 0.03, 0.02)),
    "narrow": Telescope(resolution=0.6, obscured=0.35, vanes=(20, 140, 260), aberrations=(0.01, 0.03, 0., 0.02), jitter=0.1),
    "wide": Telescope(resolution=1.8, vanes=(0, 60, 120, 180, 240, 300), aberrations=(0.02, 0.02, 0.03, 0., 0.02), jitter=0.2),
}


def report(name, psf):
    """Print the figures of a field of a PSF."""
    image, truth = simulate_optical_field(psf, CONFIG)
    saturated = image.mask & 2 > 0
    for label, given in (("found", None), ("true", psf)):
        start = time.process_time()
        result = fit(image, psf=given)
        cpu = time.process_time()-start
        figures = compare(result.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape, avoid=saturated)
        bins = " ".join(f"{b['found']:.1f}/{b['bias']:+.2f}/{b['pull']:.2f}/{b['position_pull']:.2f}/{b['tails']:.1f}"
                        for b in figures.bins)
        everywhere = compare(result.catalog, truth, flux5=truth.meta["FLUX5"], shape=image.shape).spurious
        print(f"{name} {label:5s} FWHM {result.psf.fwhm():.2f} px, {cpu:.1f} CPU s, {len(result.catalog)} rows, spurious "
              f"{figures.spurious:.1f} % (with the surroundings of saturated stars {everywhere:.1f}); found/bias/pull/position "
              f"pull/tails by S/N: {bins}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(FIELDS), help=", ".join(FIELDS))
    for field in parser.parse_args().names:
        report(field, optical_psf(FIELDS[field], CONFIG.shape))
