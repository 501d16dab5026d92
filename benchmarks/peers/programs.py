"""Other programs on a simulated field, each as a process of its own, for the comparison that `run.py` makes.

    PYTHON benchmarks/peers/programs.py NAME IMAGE[:HDU] IVAR[:HDU] OUT.fits FWHM

It imports nothing of this project, so that it runs in any environment which has the other program, numpy and astropy. OUT gets a
table with x, y, flux, dflux. All programs are told the width of the stars.
"""
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

GAIN = 4.
"""Electrons per count that the photon noise of bright stars is taken to have where a program asks, as in most of the fields."""


def published(image, ivar, fwhm):
    """Version 0.5.9 of the published code as it comes, the PSF refitted."""
    from crowdsource import crowdsource_base, psf
    start = psf.SimplePSF(psf.moffat_psf(fwhm, stampsz=511, deriv=False))
    rows = crowdsource_base.fit_im(image, start, weight=np.sqrt(ivar), refit_psf=True)[0]
    # its x runs along the first axis
    return Table(dict(x=rows["y"], y=rows["x"], flux=rows["flux"], dflux=rows["dflux"]))


def sep(image, ivar, fwhm):
    """Extraction and circular apertures."""
    import sep as library
    library.set_extract_pixstack(3_000_000)
    mask = ivar == 0
    background = library.Background(image, mask=mask, bw=64, bh=64)
    data, noise = image-background.back(), np.sqrt(1/np.where(mask, 1, ivar)).astype(np.float32)
    found = library.extract(data, 1.5, err=noise, mask=mask, minarea=5, deblend_cont=0.005)
    flux, error, _ = library.sum_circle(data, found["x"], found["y"], fwhm, err=noise, mask=mask)
    return Table(dict(x=found["x"], y=found["y"], flux=flux, dflux=error))


def photutils(image, ivar, fwhm):
    """Two passes of grouped PSF photometry with a Moffat profile of known width."""
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground
    from photutils.detection import DAOStarFinder
    from photutils.psf import IterativePSFPhotometry, MoffatPSF, SourceGrouper
    mask = ivar == 0
    background = Background2D(image, 64, mask=mask, sigma_clip=SigmaClip(3.), bkg_estimator=MedianBackground())
    model = MoffatPSF(alpha=fwhm/(2*np.sqrt(2**(1/3)-1)), beta=3.)
    noise = np.sqrt(1/np.where(mask, np.median(ivar), ivar))
    finder = DAOStarFinder(4*float(np.median(background.background_rms)), fwhm)
    side = int(2*round(fwhm)+1)
    fit = IterativePSFPhotometry(model, (side, side), finder, grouper=SourceGrouper(1.5*fwhm), aperture_radius=fwhm, maxiters=2)
    rows = fit(image-background.background, mask=mask, error=noise)
    return Table(dict(x=rows["x_fit"], y=rows["y_fit"], flux=rows["flux_fit"], dflux=rows["flux_err"]))


FIRST_COLUMNS = ("NUMBER", "X_IMAGE", "Y_IMAGE", "FLUX_RADIUS", "FLUX_APER(1)", "FLUXERR_APER(1)", "ELONGATION", "FLAGS",
                 "SNR_WIN", "VIGNET(35,35)")
LAST_COLUMNS = ("XPSF_IMAGE", "YPSF_IMAGE", "FLUX_PSF", "FLUXERR_PSF")
FILTER = "CONV NORM\n1 2 1\n2 4 2\n1 2 1\n"


def sextractor(image, ivar, fwhm):
    """SExtractor, PSFEx on its stars, and SExtractor again with that PSF."""
    program = shutil.which("source-extractor") or shutil.which("sex")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        fits.writeto(here/"image.fits", image)
        fits.writeto(here/"weight.fits", ivar)
        (here/"filter.conv").write_text(FILTER, encoding="utf-8")
        (here/"empty.conf").write_text("", encoding="utf-8")

        def extract(columns, out, kind, *more):
            (here/"columns").write_text("\n".join(columns)+"\n", encoding="utf-8")
            subprocess.run([program, "image.fits", "-c", "empty.conf", "-PARAMETERS_NAME", "columns", "-CATALOG_NAME", out,
                            "-CATALOG_TYPE", kind, "-FILTER_NAME", "filter.conv", "-WEIGHT_TYPE", "MAP_WEIGHT", "-WEIGHT_IMAGE",
                            "weight.fits", "-DETECT_MINAREA", "3", "-DETECT_THRESH", "1.5", "-GAIN", str(GAIN), "-VERBOSE_TYPE",
                            "QUIET", "-PHOT_APERTURES", f"{2*fwhm:.2f}", "-SATUR_LEVEL", "1e9", *more], cwd=here, check=True)

        extract(FIRST_COLUMNS, "first.cat", "FITS_LDAC")
        subprocess.run(["psfex", "first.cat", "-c", "empty.conf", "-VERBOSE_TYPE", "QUIET", "-PSFVAR_DEGREES", "2", "-WRITE_XML",
                        "N", "-CHECKPLOT_DEV", "NULL", "-CHECKPLOT_TYPE", "NONE", "-CHECKIMAGE_TYPE", "NONE", "-NTHREADS", "1",
                        "-SAMPLE_FWHMRANGE", f"{fwhm/2:.2f},{2*fwhm:.2f}"], cwd=here, check=True, stderr=subprocess.DEVNULL)
        extract(LAST_COLUMNS, "last.cat", "FITS_1.0", "-PSF_NAME", "first.psf")
        rows = Table.read(here/"last.cat", hdu=1)
    return Table(dict(x=np.asarray(rows["XPSF_IMAGE"])-1, y=np.asarray(rows["YPSF_IMAGE"])-1, flux=np.asarray(rows["FLUX_PSF"]),
                      dflux=np.asarray(rows["FLUXERR_PSF"])))


PEERS = dict(published=published, sep=sep, photutils=photutils, sextractor=sextractor)


def plane(name):
    """The plane FILE[:HDU], float32."""
    path, _, hdu = name.partition(":")
    return np.ascontiguousarray(fits.getdata(path, hdu or 0), dtype=np.float32)


def main():
    """Run one program."""
    name, *planes, out, fwhm = sys.argv[1:]
    image, ivar = (plane(p) for p in planes)
    rows = PEERS[name](image, ivar, float(fwhm))
    rows[np.isfinite(rows["x"]) & np.isfinite(rows["y"]) & np.isfinite(rows["flux"])].write(out, overwrite=True)


if __name__ == "__main__":
    main()
