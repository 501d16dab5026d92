"""Small sound FITS files of each kind that the command takes, to be damaged: what they hold, and their bytes."""
import gzip
import io
import warnings
from dataclasses import dataclass, field

import numpy as np
from astropy.io import fits
from scipy import ndimage

SKY, NOISE = 100., 3.
COADD = "1866p257"
DECAM = "c4d_170316_062107_{}_{}_v1.fits"
OUT, MODEL = "out.cat.fits", "out.mod.fits"
PSF_SIDE = 15


@dataclass
class Plane:
    """An HDU.

    Attributes
    ----------
    name : str
        EXTNAME; empty for none.
    data : ndarray or None
        Pixels, or the rows of a table where it is structured.
    header : dict
    """
    name: str
    data: object
    header: dict = field(default_factory=dict)


@dataclass
class File:
    """A FITS file.

    Attributes
    ----------
    name : str
    planes : list of Plane
        The first is the primary HDU's.
    packing : str
        "gz" for gzip, "fz" for compressed HDUs, empty for none.
    """
    name: str
    planes: list
    packing: str = ""

    def bytes(self):
        """Content of the file, before gzip."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus = fits.HDUList([_primary(self.planes[0]), *(_extension(p, self.packing == "fz") for p in self.planes[1:])])
            out = io.BytesIO()
            hdus.writeto(out, output_verify="silentfix")
        return out.getvalue()

    def packed(self, content):
        """What lies on the disk."""
        return gzip.compress(content, 1, mtime=0) if self.packing == "gz" else content


@dataclass
class FileSet:
    """The files of an exposure, and the command that fits it.

    Attributes
    ----------
    kind : str
    files : list of File
    argv : list of str
    """
    kind: str
    files: list
    argv: list


def _primary(plane):
    return fits.PrimaryHDU(None if _is_table(plane.data) else plane.data, fits.Header(plane.header))


def _extension(plane, compressed):
    header = fits.Header(plane.header)
    if _is_table(plane.data):
        return fits.BinTableHDU(plane.data, header, name=plane.name)
    if compressed and plane.data is not None and plane.data.ndim == 2 and 0 not in plane.data.shape:
        # Rice's method takes no integers of 64 bits
        method = "GZIP_2" if plane.data.dtype.kind in "iu" and plane.data.dtype.itemsize == 8 else "RICE_1"
        return fits.CompImageHDU(plane.data, header, name=plane.name, compression_type=method, quantize_level=4, dither_seed=1)
    return fits.ImageHDU(plane.data, header, name=plane.name)


def _is_table(data):
    return data is not None and data.dtype.names is not None


def stars(shape, rng):
    """A few Gaussian stars on a flat sky with noise, float32."""
    light = np.zeros(shape)
    for _ in range(rng.integers(1, 7)):
        light[rng.integers(shape[0]), rng.integers(shape[1])] += 10**rng.uniform(3, 5)
    sigma = rng.uniform(0.8, 2.2)
    return (ndimage.gaussian_filter(light, sigma)+SKY+rng.normal(0, NOISE, shape)).astype(np.float32)


def wcs_cards(shape, matrix="CD"):
    """A tangential WCS of one of two forms."""
    scale = 0.26/3600
    cards = dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150., CRVAL2=2., CRPIX1=shape[1]/2, CRPIX2=shape[0]/2,
                 CUNIT1="deg", CUNIT2="deg")
    cards.update(dict(CD1_1=-scale, CD1_2=0., CD2_1=0., CD2_2=scale) if matrix == "CD" else dict(CDELT1=-scale, CDELT2=scale))
    return cards


def _shape(rng):
    return tuple(int(v) for v in rng.integers(32, 65, 2))


def generic(rng):
    """Image, noise map and flags in one file or in three, perhaps a PSF or positions beside it."""
    shape = _shape(rng)
    header = dict(**wcs_cards(shape, rng.choice(["CD", "CDELT"])), GAIN=4., SATURATE=60000., MAGZERO=25., EXPTIME=30.,
                  FILTER="r", **{"MJD-OBS": 57000.})
    noise = rng.choice(["ivar", "ivar", "ivar", "rms", "weight", "inverse-sigma", ""])
    value = dict(rms=NOISE, weight=7.).get(noise, NOISE**-2 if noise == "ivar" else 1/NOISE)
    planes = [Plane("IMAGE", stars(shape, rng), header), Plane("IVAR", np.full(shape, value, np.float32), header),
              Plane("DQ", (rng.random(shape) < 0.01).astype(np.int32), header)]
    packing = rng.choice(["", "", "", "gz", "fz"])
    ending = f".fits.{packing}" if packing else ".fits"
    if rng.random() < 0.6:
        name = "field"+ending
        files, names = [File(name, [Plane("", None), *planes], packing)], {p.name: f"{name}:{p.name}" for p in planes}
    else:
        files = [File(p.name.lower()+ending, [Plane("", None), p] if packing == "fz" else [p], packing) for p in planes]
        names = {p.name: f.name for p, f in zip(planes, files)}
    argv = ["generic", names["IMAGE"], *([f"--{noise}", names["IVAR"]] if noise else []), "--dq", names["DQ"]]
    if rng.random() < 0.3:
        argv += ["--model-out", MODEL]
    beside = rng.random()
    if beside < 0.1:
        files.append(File("psf.fits", [Plane("", _stamp())]))
        argv += ["--psf", "psf.fits"]
    elif beside < 0.2:
        files.append(File("positions.fits", [Plane("", None), Plane("CAT", _positions(shape, rng))]))
        argv += [rng.choice(["--force", "--bright-stars"]), "positions.fits"]
    return FileSet("generic", files, argv)


def _stamp():
    at = np.arange(PSF_SIDE)-PSF_SIDE//2
    return np.exp(-(at[:, None]**2+at**2)/8).astype(np.float32)


def _positions(shape, rng):
    rows = np.zeros(5, [("x", "f8"), ("y", "f8"), ("mag", "f4")])
    rows["x"], rows["y"], rows["mag"] = rng.uniform(0, shape[1], 5), rng.uniform(0, shape[0], 5), 9
    return rows


def decam(rng):
    """The three planes of one or two CCDs."""
    shape, packing = _shape(rng), rng.choice(["", "", "fz"])
    ccds = ["N4", "S7"][:rng.choice([1, 1, 2])]
    band, code = rng.choice(["z DECam SDSS c0004 9260.0 1520.0", "VR DECam c0007 6300.0 2600.0"]), rng.choice([0, 0, 3, 5])
    primary = dict(INSTRUME="DECam", PLVER="V4.8.2", EXPNUM=630780, FILTER=band, EXPTIME=107., MAGZERO=29.9,
                   **{"MJD-OBS": 57828.26})
    files = []
    for letter in "iwd":
        planes = [Plane("", None, primary)]
        for number, ccd in enumerate(ccds):
            plane = dict(i=stars(shape, rng), w=np.full(shape, NOISE**-2, np.float32),
                         d=np.where(rng.random(shape) < 0.01, code, 0).astype(np.int16))[letter]
            planes.append(Plane(ccd, plane, dict(**wcs_cards(shape), FWHM=4.+number, CCDNUM=35+number, BUNIT="adu")))
        files.append(File(DECAM.format("oo"+letter, "z")+(".fz" if packing else ""), planes, packing))
    argv = ["decam", files[0].name, *(["--model-out", MODEL] if rng.random() < 0.3 else [])]
    return FileSet("decam", files, argv)


def wise(rng):
    """The five planes of a cut-out of a tile."""
    shape = _shape(rng)
    header = dict(wcs_cards(shape), CRVAL1=186.667667, CRVAL2=25.745556, CD1_1=-2.75/3600, CD2_2=2.75/3600, MAGZP=22.5,
                  MJDMIN=55356., MJDMAX=58266., BAND=1)
    planes = {"w1-img-m": stars(shape, rng)-np.float32(SKY), "w1-invvar-m": np.full(shape, NOISE**-2, np.float32),
              "w1-n-m": np.full(shape, 150, np.int16), "w1-n-u": np.full(shape, 160, np.int16),
              "msk": np.where(rng.random(shape) < 0.01, 1 << 9, 0).astype(np.int32)}
    files = []
    for name, data in planes.items():
        packing = rng.choice(["", "gz"])
        files.append(File(f"unwise-{COADD}-{name}.fits"+(".gz" if packing else ""), [Plane("", data, header)], packing))
    argv = ["wise", files[0].name, *(["--model-out", MODEL] if rng.random() < 0.3 else [])]
    return FileSet("wise", files, argv)


KINDS = {generic: 0.7, decam: 0.2, wise: 0.1}
"""What makes sets of files, and how often."""


def sound_set(rng):
    """A `FileSet` that can be fitted."""
    make = rng.choice(list(KINDS), p=list(KINDS.values()))
    return make(rng)
