"""Files in the forms of telescopes, of one simulated field: each writer gives the file and the magnitude of one count."""
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from crowdsource.simulate import SimulationConfig, simulate_field

FIELD = SimulationConfig(shape=(144, 144), stars=85., slope=1.5, brightest=1e3, saturated_stars=0, fwhm=2.6,
                         fwhm_gradient=(0., 0.), sky_gradient=(0., 0.), nebulosity=0., seed=8)
STERADIANS = 1e-14
"""Area of a pixel of Webb in its short-wavelength channel, about."""


class Field:
    """The field in counts, with variances as a pipeline gives them, and pixels that are bad or only remarkable."""

    def __init__(self, **options):
        sim = simulate_field(replace(FIELD, **options))
        self.data, self.truth, self.header, self.gain = sim.data, sim.truth, sim.header, FIELD.gain
        self.variance = 1/sim.ivar
        shape = self.data.shape
        self.bad = np.zeros(shape, bool)
        # a dead column away from bright stars: a star beside what is flagged as saturated counts as saturated itself
        column = 10+int(np.argmin([sim.data[:, x-6:x+7].max() for x in range(10, shape[1]-10)]))
        self.bad[:, column] = self.bad[60:64, 30:34] = True
        self.clean = self.data
        self.data = np.where(self.bad, np.random.default_rng(1).uniform(1e4, 3e4, shape), self.data).astype(np.float32)
        # pipelines flag stars, and what they have corrected
        self.remarkable = self.data > np.median(self.data)+20*np.sqrt(np.median(self.variance))
        self.wcs = {k: v for k, v in self.header.items() if k[:5] in ("CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT", "RADES")}

    def flags(self, bad, remarkable, dtype=np.int32):
        """A plane of flags: one value for bad pixels, another for good ones that a pipeline has remarked on."""
        return (np.where(self.bad, bad, 0) | np.where(self.remarkable, remarkable, 0)).astype(dtype)


def hdu(data, name=None, version=1, **cards):
    """An image HDU."""
    made = fits.ImageHDU(data, name=name, ver=version)
    made.header.update(cards)
    return made


def written(path, primary, *hdus):
    """The file, of the cards of its first header and the other HDUs."""
    first = fits.PrimaryHDU()
    first.header.update(primary)
    fits.HDUList([first, *hdus]).writeto(path)
    return path


def jwst_cal(field, folder):
    ImageModel = pytest.importorskip("stdatamodels.jwst.datamodels").ImageModel
    scale, zeropoint = 1e-3, -2.5*np.log10(1e6*STERADIANS*1e-3/3631.)
    model, area = ImageModel(field.data.shape), 1+np.linspace(-0.03, 0.03, field.data.shape[1], dtype=np.float32)[None, :]
    area = np.broadcast_to(area, field.data.shape).copy()
    model.data, model.err, model.area = field.data*scale/area, (np.sqrt(field.variance)*scale/area).astype(np.float32), area
    # DO_NOT_USE with DEAD; a jump in some groups
    model.dq = field.flags(1 | 1 << 10, 1 << 2, np.uint32)
    _webb(model, field)
    model.save(folder/"jw01234001001_02101_00001_nrcb1_cal.fits")
    return folder/"jw01234001001_02101_00001_nrcb1_cal.fits", zeropoint


def jwst_i2d(field, folder):
    ImageModel = pytest.importorskip("stdatamodels.jwst.datamodels").ImageModel
    scale, zeropoint = 1e-3, -2.5*np.log10(1e6*STERADIANS*1e-3/3631.)
    model = ImageModel(field.data.shape)
    model.data = np.where(field.bad, np.nan, field.data*scale).astype(np.float32)
    model.err = np.where(field.bad, np.nan, np.sqrt(field.variance)*scale).astype(np.float32)
    model.wht = np.where(field.bad, 0, 100.).astype(np.float32)
    model.con = np.ones((1, *field.data.shape), np.uint32)
    model.meta.resample.pixfrac, model.meta.resample.pixel_scale_ratio = 1., 1.
    _webb(model, field)
    model.save(folder/"jw01234-o001_t001_nircam_clear-f150w_i2d.fits")
    return folder/"jw01234-o001_t001_nircam_clear-f150w_i2d.fits", zeropoint


def _webb(model, field):
    meta = model.meta
    meta.telescope, meta.bunit_data, meta.bunit_err = "JWST", "MJy/sr", "MJy/sr"
    meta.photometry.pixelarea_steradians = STERADIANS
    camera = meta.instrument
    camera.name, camera.detector, camera.filter, camera.pupil = "NIRCAM", "NRCB1", "F150W", "CLEAR"
    meta.exposure.type, meta.exposure.exposure_time, meta.exposure.mid_time = "NRC_IMAGE", 311., 59800.5
    info, h = meta.wcsinfo, field.wcs
    info.wcsaxes, info.ctype1, info.ctype2, info.cunit1, info.cunit2 = 2, h["CTYPE1"], h["CTYPE2"], "deg", "deg"
    info.crpix1, info.crpix2, info.crval1, info.crval2 = h["CRPIX1"], h["CRPIX2"], h["CRVAL1"], h["CRVAL2"]
    info.cdelt1, info.cdelt2, info.pc1_1, info.pc1_2, info.pc2_1, info.pc2_2 = h["CDELT1"], h["CDELT2"], 1., 0., 0., 1.


FLAM = dict(PHOTFLAM=7.9e-20, PHOTPLAM=5921.9)
AB_OF_FLAM = -2.5*np.log10(7.9e-20)-5*np.log10(5921.9)-2.408


def hst_flc(field, folder):
    """Both chips of ACS/WFC: electrons, errors, bits, and the gain of the amplifiers, which has been applied."""
    exptime, planes = 500., []
    for version in (1, 2):
        cards = dict(field.wcs, BUNIT="ELECTRONS", CCDCHIP=3-version, **FLAM)
        planes += [hdu(field.data*field.gain, "SCI", version, **cards),
                   hdu((np.sqrt(field.variance)*field.gain).astype(np.float32), "ERR", version, **field.wcs, BUNIT="ELECTRONS"),
                   hdu(field.flags(4, 64, np.int16), "DQ", version, **field.wcs)]
    primary = dict(TELESCOP="HST", INSTRUME="ACS", DETECTOR="WFC", FILTER1="F606W", FILTER2="CLEAR2L", EXPTIME=exptime,
                   CCDGAIN=2., EXPSTART=53000., EXPEND=53000.+exptime/86400)
    # one count of the field is `gain` electrons
    return written(folder/"jabc01xyq_flc.fits", primary, *planes), AB_OF_FLAM+2.5*np.log10(exptime/field.gain)


def hst_drc(field, folder):
    """Electrons a second, with weights on the scale of exposure times."""
    exptime = 2000.
    scale = field.gain/exptime
    cards = dict(field.wcs, BUNIT="ELECTRONS/S", **FLAM)
    weight = np.where(field.bad, 0, exptime).astype(np.float32)
    primary = dict(TELESCOP="HST", INSTRUME="WFC3", DETECTOR="UVIS", FILTER="F606W", EXPTIME=exptime, CCDGAIN=1.5,
                   EXPSTART=57000., EXPEND=57000.2, NDRIZIM=8, D001KERN="point", D001PIXF=1., D001SCAL=0.0396, D001ISCL=0.0396)
    return written(folder/"ibcd01010_drc.fits", primary, hdu((field.data*scale).astype(np.float32), "SCI", **cards),
                   hdu(weight, "WHT", **field.wcs), hdu(np.ones(field.data.shape, np.int32), "CTX", **field.wcs)
                   ), AB_OF_FLAM-2.5*np.log10(scale)


TELESCOPES = (jwst_cal, jwst_i2d, hst_flc, hst_drc)
