"""Results and PSFs back from the files that commands and `crowdsource.Result.write` have written."""
import logging
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from typing import Any

from ..config import FitConfig, from_mapping
from ..core.errors import ConfigError, DataFileError
from ..exposure.results import ROWS, detectors_in, hdu_prefix, history_table, read_config
from ..io.fits import read_image as read_plane
from ..io.fits_tables import FITS_ENDINGS, read_hdu
from ..io.hdus import damage_told, opened
from ..io.image_name import ImageName
from ..io.tables import read_table
from ..psf.base import PSF
from ..psf.formats.native import holds_psf, read_hdus
from ..psf.formats.reading import read_psf as read_psf_file
from .images import as_image
from .result import Result

log = logging.getLogger(__name__)
COUNTS = "passno", "sources", "new"
"""Figures of a pass that are whole numbers."""


def read_result(path: str | PathLike[str], *, detector: str | None = None, model: str | PathLike[str] | None = None,
                image: Any = None) -> Result:
    """A result from files, with what they hold; attributes that they do not hold are None.

    Parameters
    ----------
    path : path-like
        A catalog: of FITS with its PSF, configuration and history; of ECSV and Parquet the rows, and the configuration of ECSV.
    detector : str, optional
        Which one, where the catalog has several.
    model : path-like, optional
        The model file, which has model and sky.
    image : optional
        The image that was fitted, as `crowdsource.fit` takes it; with it and the model there are residuals and pictures.

    Raises
    ------
    DataFileError
        When a file cannot be read or lacks the detector, or model and image differ in shape.
    """
    if not str(path).lower().endswith((*FITS_ENDINGS, ".fz", ".gz")):
        from astropy.table import QTable
        catalog = QTable(read_table(str(path)))
        mapping = config_of(catalog.meta.get("config", ()))
        lacking: dict[str, Any] = dict.fromkeys(("model", "sky", "psf", "image"))
        return Result(catalog=catalog, history=[], config=stored_config(mapping, path), **lacking)
    with opened(ImageName.parse(str(path)).path) as hdus, damage_told(path, "rows, PSF or history"):
        prefix = hdu_prefix(chosen(hdus, detector, path))
        catalog = read_hdu(hdus[prefix+ROWS])
        psf: Any = read_hdus(hdus, prefix+"PSF") if holds_psf(hdus, prefix+"PSF") else None
        history = history_of(hdus[prefix+"HIST"]) if prefix+"HIST" in hdus else []
    planes: dict[str, Any] = {"model": None, "sky": None}
    if model is not None:
        file = ImageName.parse(str(model)).path
        planes = {name: read_plane(ImageName(file, prefix+hdu)).floats() for name, hdu in (("model", "MOD"), ("sky", "SKY"))}
    whole: Any = None if image is None else as_image(image)
    if whole is not None and planes["model"] is not None and planes["model"].shape != whole.shape:
        raise DataFileError(model, f"is of an image of shape {planes['model'].shape}, but this one has {whole.shape}; give the "
                            "image that was fitted")
    return Result(catalog=catalog, psf=psf, history=history, config=stored_config(read_config(path), path), image=whole, **planes)


def chosen(hdus: Any, detector: str | None, path: str | PathLike[str]) -> str:
    """The detector of a catalog of which to read; the only one when none is named.

    Raises
    ------
    DataFileError
        When there is none of the name, or several and none is named.
    """
    names = detectors_in(hdus)
    if not names:
        raise DataFileError(path, "holds no catalog of crowdsource; give one that crowdsource wrote")
    if detector is None and len(names) == 1:
        return names[0]
    if detector is None or detector.upper() not in names:
        raise DataFileError(path, f"holds several detectors: give detector, one of {', '.join(names)}" if len(names) > 1 else
                            f"has no detector {detector}; leave it out")
    return detector


def history_of(hdu: Any) -> list[dict[str, Any]]:
    """Figures of each pass from the HDU that holds them; whole ones are ints, as those of a fit are."""
    rows = history_table(hdu)
    for name in COUNTS:
        rows[name] = rows[name].astype(int)
    return [dict(zip(rows.colnames, (value.item() for value in row))) for row in rows]


def config_of(lines: Any) -> dict[str, Any]:
    """Nested values from lines of TOML; none where they are in no such form."""
    try:
        return tomllib.loads("\n".join([lines] if isinstance(lines, str) else lines))
    except tomllib.TOMLDecodeError:
        return {}


def stored_config(mapping: Mapping[str, Any], path: str | PathLike[str]) -> Any:
    """The configuration of a catalog; None, which is logged, where it has options or parts that are not known here."""
    known = {f.name for f in fields(FitConfig)}
    try:
        return from_mapping({name: value for name, value in mapping.items() if name in known}) if mapping else None
    except ConfigError as problem:
        log.warning("%s: its configuration cannot be used here: %s", path, problem)
        return None


def read_psf(path: str | PathLike[str], shape: tuple[int, int] | None = None, *, detector: str | None = None,
             hdu: int | str | None = None) -> PSF:
    """A PSF from a file: a catalog of crowdsource, or any other file that `crowdsource.psf.formats.reading.read_psf` knows.

    Parameters
    ----------
    path : path-like
    shape : tuple of int, optional
        (ny, nx) of the image to be fitted; that of the image which the PSF is of, where the file says so, when not given.
    detector : str, optional
        Which one, of a catalog of several.
    hdu : int or str, optional
        The HDU; the first that holds a PSF when not given.

    Raises
    ------
    DataFileError
        When the file cannot be read, holds no usable PSF, or the shape is not given and the file does not tell it.
    """
    name = ImageName.parse(str(path))
    hdu = hdu if hdu is not None else name.hdu if detector is None else hdu_prefix(detector)+"PSF"
    if shape is not None:
        return read_psf_file(name.path, shape, hdu=hdu)
    with opened(name.path) as hdus:
        labels = [h.name for h in hdus] if hdu is None else [str(hdu).upper()]
        found = next((label for label in labels if holds_psf(hdus, label)), None)
        if found is not None:
            return read_hdus(hdus, found)
    raise DataFileError(name.path, "does not tell of which image its PSF is: give shape, the image's (ny, nx)", hdu)
