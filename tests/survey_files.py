"""Files in the forms of surveys and of Roman and Euclid; see `telescope_files`."""
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from telescope_files import hdu, written

POGSON = 2.5/np.log(10)


def rubin(field, folder):
    """An exposure of LSST's software in counts, with its PhotoCalib, and another one, in its archive."""
    planes = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5, "SUSPECT": 7, "NO_DATA": 8, "INEXACT_PSF": 13}
    mask = hdu(field.flags(1 << 0 | 1 << 5, 1 << 5), "MASK", **field.wcs, **{f"HIERARCH MP_{k}": v for k, v in planes.items()})
    variance = hdu(field.variance.astype(np.float32), "VARIANCE", **field.wcs)
    primary = {"TELESCOP": "Simonyi Survey Telescope", "FILTER": "r_57", "EXPTIME": 30., "DATE-AVG": "2025-08-12T02:24:37",
               "TIMESYS": "TAI", "GAIN": 1., "AR_HDU": 5, "HIERARCH PHOTOCALIB_ID": 7}
    return written(folder/"calexp.fits", primary, hdu(field.data, "IMAGE", **field.wcs, BUNIT="adu"), mask, variance,
                   *photocalibs({3: 40., 7: 2.5})), 31.4-2.5*np.log10(2.5)


def photocalibs(means):
    """The index of an archive of LSST's software, and the table of the PhotoCalibs in it, by their ids."""
    rows, number = np.arange(len(means)), len(means)
    index = {"id": list(means), "cat.archive": [1]*number, "cat.persistable": [0]*number, "row0": rows, "nrows": [1]*number}
    columns = [fits.Column(name, "J", array=np.array(values)) for name, values in index.items()]
    columns.append(fits.Column("name", "64A", array=["PhotoCalib"]*number))
    values = [fits.Column(name, "D", array=np.array(list(means.values()))*k)
              for name, k in (("calibrationMean", 1.), ("calibrationErr", 0.01))]
    tables = [fits.BinTableHDU.from_columns(c) for c in (columns, values)]
    tables[0].header["EXTTYPE"] = "ARCHIVE_INDEX"
    return tables


def rubin_coadd(field, folder):
    """A coadd in nJy."""
    scale = 3.
    bits = {"HIERARCH MP_NO_DATA": 8, "HIERARCH MP_DETECTED": 5, "HIERARCH MP_INEXACT_PSF": 11}
    planes = (hdu(field.data*scale, "IMAGE", **field.wcs, BUNIT="nJy"),
              hdu(field.flags(1 << 8, 1 << 5), "MASK", **field.wcs, **bits),
              hdu((field.variance*scale**2).astype(np.float32), "VARIANCE", **field.wcs))
    return written(folder/"coadd.fits", {"FILTER": "i", "MJD-AVG": 60900.}, *planes), 31.4-2.5*np.log10(scale)


def panstarrs(field, folder):
    """A stack: pixels on an asinh scale in a compressed HDU, linear variance and mask beside it."""
    name, exptime = "rings.v3.skycell.1784.059.stk.r.unconv", 900.
    softening, offset = 12., float(np.median(field.data))
    scaled = POGSON*np.arcsinh((field.data-offset)/2/softening)
    # as the archive's: keywords of a WCS of before the standard
    cards = {k: v for k, v in field.wcs.items() if k[:5] != "CUNIT"}
    cards |= {"PC001001": 1., "PC001002": 0., "PC002001": 0., "PC002002": 1.}
    header = fits.Header({**cards, "BSOFTEN": softening, "BOFFSET": offset, "EXPTIME": exptime, "MJD-OBS": 55800.,
                          "HIERARCH FPA.FILTERID": "r.00000", "HIERARCH CELL.GAIN": 1.02})
    planes = {"": (scaled.astype(np.float32), header), ".wt": (field.variance.astype(np.float32), fits.Header(cards)),
              ".mask": (field.flags(8, 1 << 7 | 1 << 10 | 1 << 12, np.int16), fits.Header(cards))}
    for ending, (plane, own) in planes.items():
        options = dict(compression_type="GZIP_2", quantize_level=0) if plane.dtype.kind == "f" else {}
        written(folder/f"{name}{ending}.fits", {}, fits.CompImageHDU(plane, own, **options))
    return folder/f"{name}.fits", 25+2.5*np.log10(exptime)


def ztf(field, folder):
    """A science image without a map of noise, and its mask."""
    name = "ztf_20200401152477_000468_zr_c10_o_q3_{}.fits"
    cards = dict(field.wcs, ORIGIN="Zwicky Transient Facility", INSTRUME="ZTF/MOSAIC", FILTER="ZTF_r", FILTERID=2, EXPTIME=30.,
                 OBSMJD=58940.15, GAIN=field.gain, READNOI=8., SATURATE=40000., MAGZP=26.2, MAGZPUNC=1e-4, CLRCOEFF=0.09)
    fits.PrimaryHDU(field.data, fits.Header(cards)).writeto(folder/name.format("sciimg"))
    fits.PrimaryHDU(field.flags(1 << 4, 1 << 1 | 1 << 11, np.int16)).writeto(folder/name.format("mskimg"))
    return folder/name.format("sciimg"), 26.2


def des(field, folder):
    """A tile: SCI, MSK, WGT, compressed."""
    cards = fits.Header(dict(field.wcs, BAND="g", MAGZERO=30., EXPTIME=90., GAIN=11., SATURATE=8e4, **{"MJD-OBS": 56600.}))
    options = dict(compression_type="GZIP_2", quantize_level=0)
    weight = np.where(field.bad, 0, 1/field.variance).astype(np.float32)
    planes = (("SCI", field.data), ("MSK", field.flags(1, 32 | 1 << 11)), ("WGT", weight))
    return written(folder/"DES0002+0001_r4907p01_g.fits.fz", {},
                   *(fits.CompImageHDU(plane, cards, name, **(options if plane.dtype.kind == "f" else {}))
                     for name, plane in planes)), 30.


def decam_stack(field, folder):
    """A stack of the Community Pipeline."""
    name = "c4d_160101_012345_{}_g_v1.fits.fz"
    cards = dict(field.wcs, MAGZERO=29.5, EXPTIME=600., **{"MJD-OBS": 57388.})
    planes = {"osi": field.data, "osw": (1/field.variance).astype(np.float32), "osd": field.flags(1, 0, np.int16)}
    for kind, plane in planes.items():
        options = dict(compression_type="GZIP_2", quantize_level=0) if plane.dtype.kind == "f" else {}
        written(folder/name.format(kind), {"INSTRUME": "DECam", "FILTER": "g DECam SDSS c0001 4720.0 1520.0"},
                fits.CompImageHDU(plane, fits.Header(cards), "SCI", **options))
    return folder/name.format("osi"), 29.5


def sdss(field, folder):
    """A frame: nanomaggies without the sky, the calibration and the sky in further HDUs."""
    ny, nx = field.data.shape
    calibration = np.full(nx, 0.005, np.float32)
    # this column and filter have about the field's gain and noise of reading: 3.995 electrons a count, and a variance of 1.96
    sky = np.median(field.data)
    x, y = np.linspace(0, 15, nx, dtype=np.float32)[None], np.linspace(0, 11, ny, dtype=np.float32)[None]
    grid = fits.Column("ALLSKY", "192E", dim="(16,12)", array=np.full((1, 12, 16), sky, np.float32))
    table = fits.BinTableHDU.from_columns([grid, fits.Column("XINTERP", f"{nx}E", array=x),
                                           fits.Column("YINTERP", f"{ny}E", array=y)])
    cards = dict(field.wcs, TELESCOP="2.5m", CAMCOL=4, RUN=3900, FILTER="g", NMGY=0.005, BUNIT="nanomaggy", EXPTIME=53.907456)
    cards["DATE-OBS"] = "2003-03-24"
    first = fits.PrimaryHDU(((field.clean-sky)*calibration).astype(np.float32), fits.Header(cards))
    fits.HDUList([first, fits.ImageHDU(calibration), table]).writeto(folder/"frame-g-003900-4-0607.fits")
    return folder/"frame-g-003900-4-0607.fits", 22.5-2.5*np.log10(0.005)


def spitzer(field, folder):
    """A mosaic of IRAC with its uncertainties and coverage; pixels outside are NaN."""
    scale, area = 2e-3, np.deg2rad(0.6/3600)**2
    cards = dict(field.wcs, CDELT1=-0.6/3600, CDELT2=0.6/3600, TELESCOP="Spitzer", INSTRUME="IRAC", CHNLNUM=1, BUNIT="MJy/sr",
                 GAIN=3.3, FLUXCONV=0.1088, EXPTIME=100., PXSCAL1=-0.6, PXSCAL2=0.6, MJD_OBS=55000.)
    planes = {"maic": np.where(field.bad, np.nan, field.data*scale), "munc": np.sqrt(field.variance)*scale,
              "mcov": np.where(field.bad, 0, 5.)}
    for number, (kind, plane) in zip(("E8348771", "A42446624", "A42446625"), planes.items(), strict=True):
        path = folder/f"SPITZER_I1_4416768_0000_7_{number}_{kind}.fits"
        fits.PrimaryHDU(plane.astype(np.float32), fits.Header(cards)).writeto(path)
    return folder/"SPITZER_I1_4416768_0000_7_E8348771_maic.fits", -2.5*np.log10(scale*1e6*area/3631)


def unwise(field, folder):
    """A coadd in W1, its inverse variance, and the mask of both bands."""
    from crowdsource.instruments.wise.noise import invvar_of
    data, scale = field.data-np.median(field.data), 0.8
    data = (data*scale).astype(np.float32)
    cards = {k: v for k, v in field.wcs.items() if k != "RADESYS"}
    cards |= dict(EQUINOX=2000., BAND=1, MAGZP=22.5, MJDMIN=57000., MJDMAX=57400.)
    planes = {"unwise-0000p000-w1-img-m.fits": data, "unwise-0000p000-msk.fits.gz": field.flags(1 << 4, 1 << 0 | 1 << 21),
              "unwise-0000p000-w1-invvar-m.fits.gz": invvar_of(data, 1/(field.variance*scale**2), 1)}
    for name, plane in planes.items():
        fits.PrimaryHDU(plane, fits.Header(cards)).writeto(folder/name)
    return folder/"unwise-0000p000-w1-img-m.fits", 22.5+2.699-2.5*np.log10(scale)


def roman(field, folder):
    """A file of level 2: DN/s, half-precision errors, a generalised WCS."""
    models, scale, conversion, area = pytest.importorskip("roman_datamodels.datamodels"), 0.01, 0.6, np.deg2rad(0.1/3600)**2
    model = models.ImageModel.create_fake_data(shape=field.data.shape)
    model.data = field.data*np.float32(scale)
    model.err = (np.sqrt(field.variance)*scale).astype(np.float16)
    model.dq = field.flags(1 | 1 << 10, 1 << 2, np.uint32)
    model.meta.photometry.conversion_megajanskys, model.meta.photometry.pixel_area = conversion, area
    model.meta.exposure.exposure_time = 140.
    model.meta.exposure.start_time, model.meta.exposure.end_time = Time("2027-05-01T00:00:00"), Time("2027-05-01T00:02:20")
    model.save(folder/"r0000101001001001001_0001_wfi01_f158_cal.asdf")
    return folder/"r0000101001001001001_0001_wfi01_f158_cal.asdf", -2.5*np.log10(scale*conversion*1e6*area/3631)


def roman_coadd(field, folder):
    """A file of level 3: MJy/sr."""
    models, scale = pytest.importorskip("roman_datamodels.datamodels"), 1e-3
    model = models.MosaicModel.create_fake_data(shape=field.data.shape)
    model.data = np.where(field.bad, np.nan, field.data*scale).astype(np.float32)
    model.err = (np.sqrt(field.variance)*scale).astype(np.float32)
    model.meta.wcsinfo.pixel_scale, model.meta.resample.pixfrac, model.meta.resample.pixel_scale_ratio = 0.055, 1., 0.5
    model.meta.coadd_info.exposure_time = 1000.
    model.save(folder/"r00001_p_v01001001001001_270p65x49y70_f158_coadd.asdf")
    return folder/"r00001_p_v01001001001001_270p65x49y70_f158_coadd.asdf", -2.5*np.log10(scale*1e6*np.deg2rad(0.055/3600)**2/3631)


def euclid(field, folder):
    """Two quadrants of VIS, in counts of an exposure."""
    planes, exptime = [], 560.52
    for quadrant in ("1-1.E", "1-1.F"):
        # the archive's files have text here
        cards = dict(field.wcs, GAIN=3.48, MAGZEROP="24.57", BUNIT="ADU")
        planes += [hdu(field.data, f"{quadrant}.SCI", **cards),
                   hdu(np.sqrt(field.variance).astype(np.float32), f"{quadrant}.RMS"),
                   hdu(field.flags(1 | 1 << 4, 1 << 23), f"{quadrant}.FLG")]
    primary = {"TELESCOP": "EUCLID", "INSTRUME": "VIS", "EXPTIME": exptime, "MJD-OBS": 60400., "FILTER": "VIS"}
    return written(folder/"EUC_VIS_SWL-DET-002681-00-1.fits", primary, *planes), 24.57+2.5*np.log10(exptime)


def nisp(field, folder):
    """A detector of NISP, in electrons of an exposure; a bit that lies on most pixels."""
    names = {"INVALID": 0, "DISCONNECTED": 2, "HOT": 7, "SATUR": 10, "NLINEAR": 11, "PERSIST": 13, "DARKNODET": 15, "COSMIC": 16}
    flags = field.flags(1 | 1 << 7, 1 << 13, np.int32) | 1 << 11 | 1 << 15
    planes = (hdu(field.data*field.gain, "DET11.SCI", **field.wcs, BUNIT="ELECTRON", ZPAB=29.77, GAIN=2.),
              hdu((np.sqrt(field.variance)*field.gain).astype(np.float32), "DET11.RMS", BUNIT="ELECTRON"),
              hdu(flags, "DET11.DQ", **{f"HIERARCH MSK_FLAG_{name}": bit for name, bit in names.items()}))
    primary = {"ORIGIN": "OU-NIR", "INSTRUME": "NISP", "EXPTIME": 87.2, "MJD-OBS": 60400., "FILTER": "Y"}
    return written(folder/"EUC_NIR_W-CAL-IMAGE_Y-2681-1.fits", primary, *planes), 29.77-2.5*np.log10(field.gain)


SURVEYS = (rubin, rubin_coadd, panstarrs, ztf, des, decam_stack, sdss, spitzer, unwise, roman, roman_coadd, euclid, nisp)
