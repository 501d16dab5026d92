"""Report pages of catalogs in files, with the images, models and headers that belong to them where they are found."""
import re
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from ..core.errors import CrowdsourceError, DataFileError
from ..core.flags import ENGINE, MASK_SHIFT
from ..core.image import Image
from ..exposure.pages import facts_of
from ..exposure.results import detectors_in, hdu_prefix, read_config
from ..exposure.tasks import page_name, path_of_detector
from ..io.fits import read_image as read_plane
from ..io.fits_tables import FITS_ENDINGS, plain, read_hdu
from ..io.hdus import opened
from ..io.image_name import ImageName
from ..report.completeness_plots import ArtificialStars
from ..report.fit_page import FitFacts, write_fit_page
from ..report.page import check_extra
from .images import instrument_of, read_image
from .reading import read_result

MODEL, COMPLETENESS = (".mod.fits", ".model.fits"), (".completeness.fits",)
"""Endings of files that are looked for beside a catalog."""
EXCLUDED = ("saturated", "nonfinite", "nodata", "cosmic", "hot", "trail", "negative")
"""Flags of pixels that a fit has found and left out."""


def write_report(path: str | PathLike[str], out: str | PathLike[str] | None = None, *, detector: str | None = None,
                 model: str | PathLike[str] | None = None, image: Any = None, completeness: str | PathLike[str] | None = None,
                 back: tuple[str, str] | None = None, overwrite: bool = False) -> list[Path]:
    """Write the report page of a catalog: image, model and residual with the sources, PSF, sky, statistics, configuration.

    What cannot be found is left out, and the page says so.

    Parameters
    ----------
    path : path-like
        The catalog; of FITS with its PSF and history, of other formats the rows and the configuration.
    out : path-like, optional
        The HTML file, or a folder for it; beside the catalog when not given. Of several detectors each has a page of
        its own, with the detector's name before the ending.
    detector : str, optional
        Which one, where the catalog has several; all when not given.
    model : path-like, optional
        The model file; that beside the catalog, ``NAME.mod.fits``, when not given.
    image : optional
        The image that was fitted, as `crowdsource.fit` takes it; the one that the catalog says it is of when not given.
    completeness : path-like, optional
        What ``crowdsource completeness`` has written; that beside the catalog, ``NAME.completeness.fits``, when not given.
    back : (str, str), optional
        Words and address of a page above.
    overwrite : bool
        Replace files that exist.

    Returns
    -------
    list of Path
        The pages.

    Raises
    ------
    DataFileError
        When the catalog cannot be read, or a file that is named.
    MissingExtraError
        When bokeh is not installed.
    OutputError
        When a page exists already or cannot be written.
    """
    check_extra()
    path = Path(path)
    place = path.parent if out is None else Path(out)
    file = place if place.suffix.lower() in (".html", ".htm") else place/page_name(path)
    pages = []
    for name in [detector] if detector is not None else _detectors(path):
        found = FoundFit(path, name or "", model, image)
        page = path_of_detector(file, name) if detector is None and name else file
        stars = artificial_stars(path, name or "", completeness)
        write_fit_page(found.result, found.facts, page, missing=found.missing, completeness=stars, back=back, overwrite=overwrite)
        pages.append(page)
    return pages


def _beside(path: Path, endings: tuple[str, ...]) -> Path | None:
    """The first file of these endings that lies beside a catalog."""
    stem = page_name(path).removesuffix(".html")
    return next((p for e in endings if (p := path.parent/f"{stem}{e}").is_file()), None)


def artificial_stars(path: Path, detector: str = "", given: str | PathLike[str] | None = None) -> ArtificialStars | None:
    """What artificial stars have told of the image of a catalog; None where no file is given and none lies beside it.

    Parameters
    ----------
    path : path-like
        The catalog.
    detector : str
        Of several, each has a file of its own.
    given : path-like, optional
        The file.

    Raises
    ------
    DataFileError
        When it holds something else.
    """
    beside = _beside(path_of_detector(path, detector) if detector else path, COMPLETENESS) or _beside(path, COMPLETENESS)
    file = beside if given is None else given
    if file is None:
        return None
    with opened(file) as hdus:
        header = hdus[0].header
        if not str(header.get("FORMAT", "")).startswith("completeness ") or "SURFACE" not in hdus or "CURVE" not in hdus:
            raise DataFileError(file, "holds no completeness; give a file that crowdsource completeness has written")
        depth = np.array(hdus["DEPTH"].data, dtype=np.float32) if "DEPTH" in hdus else None
        surface, curve = (Table({n: plain(column) for n, column in read_hdu(hdus[name]).items()})
                          for name in ("SURFACE", "CURVE"))
        return ArtificialStars(surface=surface, curve=curve, zeropoint=float(header.get("MAGZERO", 0.)), depth=depth,
                               named=bool(header.get("ZPKNOWN", False)), step=float(header.get("DEPTHSTP", 1)))


def _is_fits(path: Path) -> bool:
    return path.name.lower().endswith((*FITS_ENDINGS, ".fz", ".gz"))


def _detectors(path: Path) -> list[str | None]:
    """Detectors of a catalog; None alone for an only one, and for files that have no HDUs."""
    if not _is_fits(path):
        return [None]
    with opened(path) as hdus:
        names = detectors_in(hdus)
    if not names:
        raise DataFileError(path, "holds no catalog of crowdsource; give one that crowdsource wrote")
    return [None] if names == [""] else list(names)


class FoundFit:
    """What belongs to a catalog: its result, the facts of its headers, and sentences about what is missing.

    Parameters
    ----------
    path : path-like
        The catalog.
    detector : str
        Empty for an only one.
    model : path-like, optional
        That beside the catalog when not given.
    image : optional
        As `write_report`.

    Attributes
    ----------
    result : crowdsource.Result
        Its image, model and sky are None where they are not found.
    facts : crowdsource.report.fit_page.FitFacts
    missing : list of str
    """

    def __init__(self, path: str | PathLike[str], detector: str = "", model: Any = None, image: Any = None) -> None:
        self.path, self.detector, self.missing = Path(path), detector, list[str]()
        path = self.path
        model = _beside(path, MODEL) if model is None else model
        self.result: Any = read_result(path, detector=detector or None)
        if "flux" not in self.result.catalog.colnames or "x" not in self.result.catalog.colnames:
            raise DataFileError(path, "has no columns x, y and flux; give a catalog of crowdsource")
        self.facts = self._facts()
        whole = self._image(image)
        if whole is not None and model is None:
            self.missing.append("There is no model file beside the catalog: model, residual and worst places are missing. "
                                "Fit with --model-out or --report, or name the file with --model.")
        if model is not None:
            try:
                self.result = read_result(path, detector=detector or None, model=model, image=self._flagged(whole, model))
            except CrowdsourceError as problem:
                self.missing.append(f"Model and residual are missing: {problem}")
                model = None
        if whole is not None and model is None:
            self.result = read_result(path, detector=detector or None, image=whole)

    def _facts(self) -> FitFacts:
        if not _is_fits(self.path):
            self.missing.append("A catalog of this format holds no PSF and no history of the passes: give one in FITS.")
            return FitFacts(title=self.path.name)
        with opened(self.path) as hdus:
            header, own = hdus[0].header.copy(), hdu_prefix(self.detector)+"HDR"
            found = hdus[own].header if own in hdus else {}
            findings = [found[k] for k in found if re.fullmatch(r"FOUND\d+", k)]
        title = f"{header.get('EXPOSURE', '') or self.path.name} {self.detector}".strip()
        return facts_of(header, findings, title)

    def _image(self, given: Any) -> Image | None:
        """The image that was fitted; None where it is not found, which is noted."""
        if given is not None and not isinstance(given, str | PathLike):
            return given
        try:
            image = fitted_image(self.path, self.detector, given)
        except (CrowdsourceError, OSError) as problem:
            if given is not None:
                raise
            self.missing.append(f"The image that was fitted is not found ({problem}): name it with --image.")
            return None
        psf = self.result.psf
        if psf is not None and psf.shape != image.shape:
            told = f"The image has {image.shape[1]} x {image.shape[0]} pixels, but the fit is of {psf.shape[1]} x {psf.shape[0]}"
            if given is not None:
                raise DataFileError(given, told+"; give the image that was fitted")
            self.missing.append(told+": name the one that was fitted with --image.")
            return None
        return image

    def _flagged(self, image: Image | None, model: Any) -> Image | None:
        """The image without the pixels that the fit has found to be no sky and no star, as the model file tells."""
        if image is None:
            return None
        flags = read_plane(ImageName(Path(model), hdu_prefix(self.detector)+"MSK")).data
        if flags.shape != image.shape or flags.dtype.itemsize < 8:
            return image
        bits = flags >> MASK_SHIFT
        for name in EXCLUDED:
            bit = getattr(ENGINE, name)
            if (where := (bits & bit > 0) & (image.ivar > 0)).any():
                image = image.masked(where, bit)
        return image


def fitted_image(path: str | PathLike[str], detector: str = "", image: str | PathLike[str] | None = None) -> Image:
    """The image that a catalog is of, read as it was for the fit.

    Parameters
    ----------
    path : path-like
        The catalog, of FITS.
    detector : str
    image : path-like, optional
        Where it lies now; where it lay then when not given.

    Raises
    ------
    DataFileError
        When the catalog does not say what it is of, or the image cannot be read.
    """
    if not _is_fits(Path(path)):
        raise DataFileError(path, "does not say how its image is read")
    with opened(path) as hdus:
        header = hdus[0].header
        instrument, first, identity = (str(header.get(k, "")) for k in ("INSTRUME", "IN001", "EXPOSURE"))
    if not instrument or not (first or image):
        raise DataFileError(path, "does not say of which image it is")
    if image is None:
        part = re.search(r"((?::[^:\[\]]+){1,2})(\[|$)", identity)
        image = first+(part.group(1) if part and ":" not in Path(first).name else "")
    if not ImageName.parse(str(image)).path.is_file():
        raise DataFileError(image, "there is no such file")
    options = read_config(path).get(instrument, {})
    names = [detector] if detector else [None]
    if detector:
        # catalogs have the names of detectors in capitals
        names = [n for n in _task_names(str(image), instrument, options) if n.upper() == detector.upper()] or names
    return read_image(image, instrument=instrument, detector=names[0], **options)


def _task_names(image: str, instrument: str, options: dict[str, Any]) -> list[str]:
    return [task.detector for task in instrument_of(image, instrument).open(image, **options).tasks()]
