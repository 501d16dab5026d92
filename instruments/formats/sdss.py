"""Corrected frames of SDSS: nanomaggies without sky, whose noise follows from the sky and the calibration in the same file.

The SDSS data model of "frame" (https://data.sdss.org/datamodel) tells how: counts are image/calibration + sky, their variance is
counts/gain + dark variance. Gains (electrons a count) and dark variances (counts squared) are its tables, by column of the camera
and filter. AB magnitudes are those of SDSS less 0.04 in u and more 0.02 in z (https://www.sdss.org, "Fluxes and Magnitudes").
"""
import re
from dataclasses import replace

import numpy as np
from astropy.time import Time
from scipy.ndimage import map_coordinates

from crowdsource.core.errors import DataFileError
from crowdsource.io.fits import number
from crowdsource.io.hdus import UNREADABLE, one_line, opened

from .base import Facts, ImageFormat, Noise, header_facts

NAME = re.compile(r"frame-[ugriz]-\d{6}-[1-6]-\d{4}")
GAINS = {1: (1.62, 3.32, 4.71, 5.165, 4.745), 2: (1.595, 3.855, 4.6, 6.565, 5.155), 3: (1.59, 3.845, 4.72, 4.86, 4.885),
         4: (1.6, 3.995, 4.76, 4.885, 4.775), 5: (1.47, 4.05, 4.725, 4.64, 3.48), 6: (2.17, 4.035, 4.895, 4.76, 4.69)}
DARK = {1: (9.61, 15.6025, 1.8225, 7.84, 0.81), 2: (12.6025, 1.44, 1., 5.76, 1.), 3: (8.7025, 1.3225, 1.3225, 4.6225, 1.),
        4: (12.6025, 1.96, 1.3225, 6.25, 9.61), 5: (9.3025, 1.1025, 0.81, 7.84, 1.8225),
        6: (7.0225, 1.8225, 0.9025, 5.0625, 1.21)}
LATER_GAINS = {(2, "u"): (1100, 1.825)}
LATER_DARK = {(2, "i"): (1500, 6.25), (4, "i"): (1500, 7.5625), (4, "z"): (1500, 12.6025), (5, "z"): (1500, 2.1025)}
"""What changed after a run: (run, value) by column and filter."""
TO_AB = {"u": -0.04, "z": 0.02}


class SDSS(ImageFormat):
    """A corrected frame of SDSS."""

    summary = "a frame of SDSS"

    def claims(self, file):
        """By its name, or by keywords of the camera in nanomaggies."""
        known = {"CAMCOL", "RUN", "NMGY"} <= set(file.primary)
        return bool(file.planes) and (known or bool(NAME.match(file.path.name))) and file.text("FILTER") in tuple("UGRIZ")

    def noise(self, file, chip):
        """The variance by sky, calibration, gain and dark variance. None where the file is an image alone."""
        tables = _tables(file.path)
        if tables is None:
            return None
        (calibration, sky), image, band = tables, self.image(file, chip), str(file.primary["FILTER"]).strip()
        gain, dark = _camera(file.primary, band)
        counts = image.data/calibration+sky(image.data.shape)
        variance = (np.maximum(counts, 0)/gain+dark)*calibration**2
        return Noise("variance", replace(image, data=variance.astype(np.float32)), "its sky, calibration and gain")

    def facts(self, file, chip, image):
        """Magnitude 22.5 is a nanomaggy, corrected to AB; DATE-OBS is a day without its time, which TAI tells."""
        common, band = header_facts(image), str(file.primary["FILTER"]).strip()
        first_row = number(file.primary, "TAI")
        # the camera drifts: a row is read 54 s after its exposure began, the last one 39 s after the first. So the time at which
        # the first row is read, which is what TAI tells, is that of mid-exposure within 10 s
        mjd = common["mjd"] if first_row is None else Time(first_row/86400, format="mjd", scale="tai").utc.mjd
        return Facts(**{**common, "unit": common["unit"] or "nanomaggy", "zeropoint": 22.5+TO_AB.get(band, 0.),
                        "magnitude_system": "AB", "gain": None, "mjd": mjd})


def _camera(header, band):
    """Gain and dark variance of a run."""
    column, run, k = int(header["CAMCOL"]), int(header["RUN"]), "ugriz".index(band)
    out = []
    for table, later in ((GAINS, LATER_GAINS), (DARK, LATER_DARK)):
        since, value = later.get((column, band), (np.inf, None))
        out.append(value if run > since else table[column][k])
    return out


def _tables(path):
    """Nanomaggies in a count along a row, and a function that gives the sky in counts for a shape; None of an image alone."""
    try:
        with opened(path) as hdus:
            # cut-outs, and frames that were brought onto another grid
            if len(hdus) == 1:
                return None
            calibration = np.asarray(hdus[1].data, np.float32).copy()
            row = hdus[2].data[0]
            sky, x, y = (np.array(row[n], np.float64) for n in ("ALLSKY", "XINTERP", "YINTERP"))
    except UNREADABLE as problem:
        raise DataFileError(path, f"has no calibration and sky in HDU 1 and 2 ({one_line(problem)}); fetch the frame again, or "
                            "give a noise map") from problem
    return calibration, lambda shape: map_coordinates(sky, np.meshgrid(y[:shape[0]], x[:shape[1]], indexing="ij"), order=1,
                                                      mode="nearest").astype(np.float32)
