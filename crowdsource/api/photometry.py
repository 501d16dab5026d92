"""Photometry with the calls and columns of photutils: a notebook changes to it by one line."""
import logging
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..psf.adopt import is_function, parameter_names, values_at
from ..psf.base import pixel
from .fitting import fit
from .images import is_nddata
from .result import Result

log = logging.getLogger(__name__)
STARTS = {"": ("_init", "init", "", "_0", "0", "centroid", "_centroid", "_peak", "cen", "_cen", "pos", "_pos", "_fit", "fit"),
          "flux": ("_init", "init", "", "_0", "0", "_fit", "fit")}
"""Endings of names of columns with starting values: of positions after x and y, of fluxes; the first that is there counts."""
PARTIAL, OUTSIDE, NOT_POSITIVE, NO_ERROR, MASKED, NO_POSITION, NO_FLUX = 1, 2, 4, 16, 128, 512, 1024
"""Bits of photutils' flags."""
UNKNOWN = 1e29
"""Errors from this on say that nothing is known."""


class PSFPhotometry:
    """PSF photometry of one image, called as ``photutils.psf.PSFPhotometry`` is.

    All sources are fitted at once, with the sky: what photutils has for groups, local backgrounds and single fits has no part
    here, and is accepted so that a call need not change.

    Parameters
    ----------
    psf_model : PSF model of photutils, crowdsource.PSF or None
        It is kept as it is; None: found from the image. Where the model's x_0 and y_0 are fixed, positions are.
    fit_shape : int or tuple of int
        Odd (ny, nx) of the pixels of which qfit, cfit, n_pixels_fit and reduced_chi2 tell. The fit takes as many as matter.
    finder : callable, optional
        Gives the sources: called as ``finder(data, mask=mask)``. Without it, and without starting values, crowdsource looks for
        them.
    grouper, fitter, fitter_maxiters, xy_bounds, aperture_radius, local_bkg_estimator, group_warning_threshold : optional
        Have no part.
    progress_bar : bool
    **options
        As `crowdsource.fit` takes them, such as ``threshold=5`` or ``gain=2.1``.

    Attributes
    ----------
    results : astropy.table.QTable or None
        What the last call gave.
    result : crowdsource.Result or None
        All that came of the last call.
    init_params : astropy.table.Table or None
        Starting values of the last call, where there were any.
    """

    def __init__(self, psf_model: Any, fit_shape: int | tuple[int, int], *, finder: Any = None, grouper: Any = None,
                 fitter: Any = None, fitter_maxiters: int = 100, xy_bounds: Any = None, aperture_radius: float | None = None,
                 local_bkg_estimator: Any = None, group_warning_threshold: int = 25, progress_bar: bool = False,
                 **options: Any) -> None:
        self.psf_model, self.finder, self.progress_bar, self.options = psf_model, finder, progress_bar, options
        self.fit_shape = tuple(int(n) for n in np.broadcast_to(fit_shape, 2))
        if any(n < 3 or n % 2 == 0 for n in self.fit_shape):
            raise InputError(f"fit_shape is {fit_shape}: odd numbers of at least 3 pixels are needed")
        self.results: Any = None
        self.result: Result | None = None
        self.init_params: Any = None
        unused = {"grouper": grouper, "xy_bounds": xy_bounds, "local_bkg_estimator": local_bkg_estimator}
        if given := [name for name, value in unused.items() if value is not None]:
            log.info("%s: without part here, since all sources are fitted at once, with the sky", ", ".join(given))

    def __call__(self, data: Any, *, mask: Any = None, error: Any = None, init_params: Any = None) -> Any:
        """Fit an image.

        Parameters
        ----------
        data : array_like, Quantity or astropy.nddata.NDData, shape (ny, nx)
        mask : array_like of bool, shape (ny, nx), optional
            True where a pixel is not to be used.
        error : array_like or Quantity, shape (ny, nx), optional
            1 sigma of each pixel, with the photons of stars; estimated from the image when not given.
        init_params : Table, optional
            x and y, under any of photutils' names, from which the fit starts, and perhaps id.

        Returns
        -------
        astropy.table.QTable
            Columns as photutils': id, group_id, group_size, local_bkg (the sky), x_init, y_init, flux_init, x_fit, y_fit,
            flux_fit, their errors x_err ..., n_pixels_fit, qfit, cfit, reduced_chi2, flags (photutils' bits). None where the
            finder finds nothing.

        Raises
        ------
        InputError, ConfigError
            As `crowdsource.fit`; when init_params lack positions.
        """
        data, mask, error = _planes(data, mask, error)
        start = init_params
        if start is None and self.finder is not None:
            start = self.finder(data, mask=mask)
            if start is None:
                self.results = self.result = self.init_params = None
                return None
        sources = None if start is None else {c: _start(start, c) for c in "xy"}
        kept = {} if self.psf_model is None else {"refit": False}
        given = {name: value for name, value in (("mask", mask), ("error", error)) if value is not None}
        self.init_params = start
        self.result = fit(data, self.psf_model, sources=sources, fixed=self._fixed(), progress=self.progress_bar,
                          **{**kept, **given, **self.options})
        self.results = self._table(self.result, start, error is not None)
        return self.results

    def make_model_image(self, shape: tuple[int, int], *, psf_shape: Any = None, include_local_bkg: bool = False) -> Any:
        """The model of the last call.

        Parameters
        ----------
        shape : tuple of int
            (ny, nx), that of the image.
        psf_shape : optional
            Has no part: stars are as wide as they were fitted.
        include_local_bkg : bool
            With the sky.

        Returns
        -------
        ndarray or Quantity, shape (ny, nx)

        Raises
        ------
        InputError
            When nothing was fitted, or an image of another shape.
        """
        result = self._last()
        if tuple(shape) != result.image.shape:
            raise InputError(f"shape is {tuple(shape)}, but the image that was fitted has {result.image.shape}")
        unit = self.results["flux_fit"].unit
        model = result.model+result.sky if include_local_bkg else result.model.copy()
        return model if unit is None else model*unit

    def make_residual_image(self, data: Any, *, psf_shape: Any = None, include_local_bkg: bool = False) -> Any:
        """Data less the model of the last call. Parameters and errors as `make_model_image`, data as the call."""
        data, _, _ = _planes(data, None, None)
        return data-self.make_model_image(np.shape(data), psf_shape=psf_shape, include_local_bkg=include_local_bkg)

    def _last(self) -> Result:
        if self.result is None:
            raise InputError("nothing has been fitted yet: call the object with data first")
        return self.result

    def _fixed(self) -> bool:
        """Whether the model's positions are fixed."""
        return is_function(self.psf_model) and all(self.psf_model.fixed[name] for name in parameter_names(self.psf_model)[:2])

    def _light(self, norm_size: int) -> float:
        """Flux of a star in the terms of the model, in units of that in the box of the PSF."""
        if not is_function(self.psf_model):
            return 1.
        at = np.arange(norm_size)-norm_size//2
        return 1/float(values_at(self.psf_model, *np.meshgrid(at, at)).sum())

    def _table(self, result: Result, start: Any, noise_known: bool) -> Any:
        """The columns of photutils."""
        from astropy.table import QTable
        catalog, image = result.catalog, result.image
        unit = image.meta.get("unit")
        light = self._light(result.psf.norm_size)
        found = {name: np.asarray(getattr(catalog[name], "value", catalog[name]), dtype=np.float64)
                 for name in ("x", "y", "dx", "dy", "flux", "dflux", "sky")}
        for name in ("flux", "dflux"):
            found[name] = found[name]*light
        errors = {name: np.where(found[name] < UNKNOWN, found[name], np.nan) for name in ("dx", "dy", "dflux")}
        begin = {c: found[c] if start is None else _start(start, c) for c in "xy"}
        first = np.full(len(catalog), np.nan) if start is None else _start(start, "flux", np.full(len(catalog), np.nan))
        measures = self._quality(result, begin, found["flux"])
        table = QTable()
        table["id"] = np.asarray(start["id"]) if start is not None and "id" in start.colnames else np.arange(1, len(catalog)+1)
        table["group_id"], table["group_size"] = np.ones(len(catalog), int), np.full(len(catalog), len(catalog))
        table["local_bkg"] = _with_unit(found["sky"], unit)
        columns = {"x_init": begin["x"], "y_init": begin["y"], "flux_init": first,
                   "x_fit": found["x"], "y_fit": found["y"], "flux_fit": found["flux"],
                   "x_err": errors["dx"], "y_err": errors["dy"], "flux_err": errors["dflux"]}
        for name, values in columns.items():
            table[name] = _with_unit(values, unit if name.startswith("flux") else None)
        table["n_pixels_fit"], table["qfit"], table["cfit"] = (measures[name] for name in ("number", "qfit", "cfit"))
        table["reduced_chi2"] = measures["chi2"] if noise_known else np.full(len(catalog), np.nan)
        table["flags"] = self._flags(result, found, errors, measures["number"])
        return table

    def _quality(self, result: Result, begin: dict[str, np.ndarray], flux: np.ndarray) -> dict[str, np.ndarray]:
        """What is left of the fit in `fit_shape` around each starting position: numbers of pixels, qfit, cfit and chi2."""
        image, (ny, nx) = result.image, result.image.shape
        residual = np.where(image.good, result.residual, np.nan)
        high, wide = self.fit_shape
        x, y = (pixel(np.nan_to_num(begin[c], nan=-1e6)) for c in "xy")
        down, left = np.mgrid[-(high//2):high//2+1, -(wide//2):wide//2+1]
        at = y[:, None, None]+down, x[:, None, None]+left
        inside = (at[0] >= 0) & (at[0] < ny) & (at[1] >= 0) & (at[1] < nx)
        at = tuple(np.clip(v, 0, n-1) for v, n in zip(at, (ny, nx)))
        values = np.where(inside, residual[at], np.nan)
        good = np.isfinite(values)
        number = good.sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            chi2 = np.where(good, values**2*image.ivar[at], 0).sum(axis=(1, 2))/np.maximum(number-3, 1)
            qfit = np.where(good, np.abs(values), 0).sum(axis=(1, 2))*np.where(number > 0, 1, np.nan)/flux
            cfit = values[:, high//2, wide//2]/flux
        return {"number": number, "qfit": qfit, "cfit": cfit, "chi2": np.where(number > 3, chi2, np.nan)}

    def _flags(self, result: Result, found: dict[str, np.ndarray], errors: dict[str, np.ndarray],
               number: np.ndarray) -> np.ndarray:
        """Photutils' bits."""
        ny, nx = result.image.shape
        place = np.isfinite(found["x"]) & np.isfinite(found["y"])
        with np.errstate(invalid="ignore"):
            off = (found["x"] < -0.5) | (found["x"] > nx-0.5) | (found["y"] < -0.5) | (found["y"] > ny-0.5)
            bits = ((PARTIAL, number < np.prod(self.fit_shape)), (OUTSIDE, off), (NOT_POSITIVE, found["flux"] <= 0),
                    (NO_ERROR, ~np.isfinite(errors["dflux"])), (MASKED, number == 0), (NO_POSITION, ~place),
                    (NO_FLUX, ~np.isfinite(found["flux"])))
        return np.sum([np.where(where, bit, 0) for bit, where in bits], axis=0)


def _planes(data: Any, mask: Any, error: Any) -> tuple[Any, Any, Any]:
    """Data, mask and error, of which an NDData holds all."""
    if not is_nddata(data):
        return np.asanyarray(data), mask, error
    from astropy.nddata import StdDevUncertainty
    unit = 1 if data.unit is None else data.unit
    if data.uncertainty is not None:
        error = data.uncertainty.represent_as(StdDevUncertainty).array*unit
    return np.asarray(data.data)*unit, data.mask, error


def _start(table: Any, name: str, default: Any = None) -> np.ndarray:
    """A column of starting values under any of photutils' names."""
    for ending in STARTS.get(name, STARTS[""]):
        if name+ending in table.colnames:
            column = table[name+ending]
            return np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
    if default is None:
        raise InputError(f"init_params has no column {name}_init or {name}; it has {', '.join(table.colnames)}")
    return default


def _with_unit(values: np.ndarray, unit: str | None) -> Any:
    if not unit:
        return values
    from astropy import units
    return units.Quantity(values, unit)
