"""Detectors of the Roman telescope with the PSFs of galsim.roman, fitted with the PSF that the fit finds and with the true one.

python -m benchmarks.studies.roman [FILTER ...]     needs the package galsim
"""
import argparse

import numpy as np
from galsim import Convolve, Pixel, PositionD, roman

from benchmarks.studies.optics import CONFIG, report
from crowdsource.psf.model import FieldPSF
from crowdsource.psf.profiles.stamp import StampProfile

DETECTORS = {"Y106": 1, "H158": 7, "F184": 18}
"""Detector on which each filter is simulated: near the middle of the focal plane, and at its corners."""
OVERSAMPLING, HALF = 4, 60
WAVES = 5
"""Wavelengths of a filter that are added up."""


def stamp_at(band, detector, x, y):
    """PSF at a position of a detector, integrated over the pixel, `OVERSAMPLING` samples a pixel."""
    out, side = 0., 2*HALF*OVERSAMPLING+1
    for wave in np.linspace(band.blue_limit, band.red_limit, WAVES+2)[1:-1]:
        psf = roman.getPSF(detector, None, SCA_pos=PositionD(x, y), pupil_bin=8, wavelength=wave)
        seen = Convolve(psf, Pixel(roman.pixel_scale))
        out = out+seen.drawImage(nx=side, ny=side, scale=roman.pixel_scale/OVERSAMPLING, method="no_pixel").array
    return out.astype(np.float64)


def roman_psf(name):
    """The PSF of a filter, whose variation over the whole detector is seen over the simulated part of one."""
    band, (ny, nx) = roman.getBandpasses()[name], CONFIG.shape
    along = np.array([0.1, 0.5, 0.9])
    where = [(u, v) for u in along for v in along]
    stamps = [stamp_at(band, DETECTORS[name], u*roman.n_pix, v*roman.n_pix) for u, v in where]
    x, y = np.array(where).T*[[nx], [ny]]
    profile = StampProfile.from_stamps(stamps, x, y, CONFIG.shape, 1, OVERSAMPLING)
    return FieldPSF(profile, CONFIG.shape, np.zeros((1, 1, 1)), 59, OVERSAMPLING)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="FILTER", default=list(DETECTORS), help=", ".join(DETECTORS))
    for name in parser.parse_args().names:
        report(name, roman_psf(name))
