"""Results with pictures, cut-outs and files."""
from dataclasses import dataclass, fields
from os import PathLike
from typing import Any

import numpy as np
from astropy.io import fits

from ..core.errors import InputError
from ..core.flags import combine
from ..engine.profiles import add_profiles
from ..engine.state import FitResult
from ..exposure.model_files import model_hdus, plane_header
from ..exposure.pages import write_detector_page
from ..exposure.results import Provenance, detector_header, run_header, write_result
from ..io.atomic import atomic_path, check_output
from ..psf.base import pixel
from ..psf.export import curve_of_growth
from ..report.pictures import fit_figure

PLACES = "x", "y"


@dataclass(frozen=True, eq=False, kw_only=True)
class Cutout:
    """A square around a source; NaN where it leaves the image.

    Attributes
    ----------
    data : ndarray, shape (size, size), float32
    others : ndarray, shape (size, size), float32
        Sky and all other sources.
    residual : ndarray, shape (size, size), float32
        Data less the whole model.
    x, y : float
        Position of the source in the cut-out, pixels.
    origin : tuple of int
        (x0, y0) of its first pixel, in pixels of the parent image.
    """

    data: np.ndarray
    others: np.ndarray
    residual: np.ndarray
    x: float
    y: float
    origin: tuple[int, int]

    @property
    def alone(self) -> np.ndarray:
        """Data less sky and all other sources: the source by itself."""
        return self.data-self.others


class Result(FitResult):
    """The result of a fit: a `crowdsource.FitResult` with pictures and files.

    One that was read from files lacks what they do not hold: those attributes are None.
    """

    @classmethod
    def of(cls, result: FitResult) -> "Result":
        """The same result."""
        return cls(**{f.name: getattr(result, f.name) for f in fields(FitResult)})

    @property
    def residual(self) -> np.ndarray:
        """Data less sky and model, shape (ny, nx), float32; also of pixels that were not used, which ``image.good`` tells.

        Raises
        ------
        InputError
            When the result was read without an image or a model.
        """
        self._require("image", "model", "sky")
        return self.image.data-self.sky-self.model

    def cutout(self, row: int, size: int = 41) -> Cutout:
        """A square around a source.

        Parameters
        ----------
        row : int
            Of the catalog.
        size : int
            Odd side, pixels.

        Raises
        ------
        InputError
            When there is no such row, its position is not on the image, or the size is even; as `residual`.
        """
        self._require("image", "model", "sky", "psf")
        if not -len(self.catalog) <= row < len(self.catalog):
            raise InputError(f"row {row} does not exist: the catalog has {len(self.catalog)} rows")
        if size < 1 or size % 2 == 0:
            raise InputError(f"size is {size}: an odd number of pixels is needed, so that the source is in the middle")
        row %= len(self.catalog)
        x, y = (float(np.asarray(self.catalog[c][row]))-o for c, o in zip(PLACES, self.image.origin))
        ny, nx = self.image.shape
        if not (-0.5 <= x < nx-0.5 and -0.5 <= y < ny-0.5):
            raise InputError(f"row {row} is off the image, at ({x:.1f}, {y:.1f}) of {nx} x {ny} pixels")
        from astropy.nddata import extract_array  # slow to import, and needed here alone

        x0, y0 = int(pixel(x))-size//2, int(pixel(y))-size//2
        data, sky, model, light = (extract_array(plane, (size, size), (pixel(y), pixel(x)), fill_value=np.nan)
                                   for plane in (self.image.data, self.sky, self.model, self._light(row, x, y, size)))
        others = sky+model-light
        return Cutout(data=data, others=others, residual=data-sky-model, x=x-x0, y=y-y0,
                      origin=(x0+self.image.origin[0], y0+self.image.origin[1]))

    def plot(self, title: str = "") -> Any:
        """A page of pictures that shows whether the fit is good, as a matplotlib Figure; a notebook shows it.

        Raises
        ------
        MissingExtraError
            When matplotlib is not installed.
        InputError
            As `residual`.
        """
        self._require("image", "model", "sky", "psf")
        return fit_figure(self, title)

    def report(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write a page that shows the fit, one HTML file: image, model and residual with the sources, PSF, sky, statistics.

        Raises
        ------
        MissingExtraError
            When bokeh is not installed.
        OutputError
            When the file exists already or cannot be written.
        InputError
            As `residual`.
        """
        self._require("image", "model", "sky", "psf")
        provenance = self.image.meta.get("provenance", Provenance(exposure=self.image.exposure))
        header = run_header(self, provenance)
        header["NOISEEST"] = self.image.ivar_estimated
        write_detector_page(self, header, path, self.image.detector, overwrite)

    def write(self, path: str | PathLike[str], *, model: str | PathLike[str] | None = None, overwrite: bool = False) -> None:
        """Write the catalog with PSF, configuration and history, which `crowdsource.read_result` reads.

        Parameters
        ----------
        path : path-like
            FITS; or ECSV or Parquet by its ending, which hold the catalog and the configuration only.
        model : path-like, optional
            FITS file of model, sky and flags.
        overwrite : bool
            Replace files that exist.

        Raises
        ------
        OutputError
            When the ending is not known, a file exists already or cannot be written; nothing is written then.
        InputError
            As `residual`.
        """
        self._require("image", "psf", *(("model", "sky") if model else ()))
        for file in (path, model):
            if file is not None:
                check_output(file, overwrite)
        provenance = self.image.meta.get("provenance", Provenance(exposure=self.image.exposure))
        write_result(self, path, provenance=provenance, header=detector_header(self.image, self), overwrite=overwrite)
        if model is not None:
            planes = {"MOD": self.model, "SKY": self.sky, "MSK": combine(self.image.dq, self.image.mask)}
            hdus = model_hdus(planes, self.image.noise, plane_header(self.image))
            with atomic_path(model, overwrite) as temporary:
                fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(temporary)

    def __repr__(self) -> str:
        return f"<crowdsource.Result: {', '.join(f'{value} {name}'.strip() for name, value in self._figures().items())}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: figures of the fit, and the first rows of the catalog."""
        figures = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in self._figures().items())
        return f"<table>{figures}</table>{self.catalog[:10]._repr_html_()}"

    def _figures(self) -> dict[str, str]:
        """What is said of a result in one line: values by name."""
        figures = {"sources": f"{len(self.catalog)}"}
        if self.image is not None:
            figures["pixels"] = " x ".join(str(n) for n in self.image.shape[::-1])
        if self.psf is not None:
            figures["px FWHM"] = f"{float(self.psf.fwhm()):.2f}"
        if self.history:
            figures["passes"] = f"{len(self.history)}"
            figures["chi2"] = f"{self.history[-1]['chi2']:.2f}"
        return figures

    def _require(self, *names: str) -> None:
        if missing := [name for name in names if getattr(self, name) is None]:
            raise InputError(f"the result was read without {' and '.join(missing)}: give image, and the model file as model, to "
                             "crowdsource.read_result")

    def _light(self, row: int, x: float, y: float, size: int) -> np.ndarray:
        """The light of one source on the whole image."""
        light = np.zeros(self.image.shape, np.float32)
        profile = row-(len(self.catalog)-len(self.extended))
        if profile >= 0:
            add_profiles(light, self.extended[profile:profile+1])
            return light
        if self.model_flux is None:
            radius = self.config.psf.norm_radius if self.config is not None else 0
            flux = float(np.asarray(self.catalog["flux"][row]))/(float(curve_of_growth(self.psf, [radius])[0]) if radius else 1.)
        else:
            flux = self.model_flux[row]
        self.psf.add_to(light, np.array([x]), np.array([y]), np.array([flux], dtype=np.float64), size)
        return light
