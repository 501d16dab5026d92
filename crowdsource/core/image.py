"""Image: the pixels of one detector or coadd with all that the engine may know of them.

Arrays from outside are checked and converted into the engine's form here, once, and nowhere else.
"""
import logging
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np

from .errors import InputError
from .flags import ENGINE
from .nodata import constant
from .noise import estimate_ivar, scaled_weight, share, weightless, without_marks
from .tiles import bands
from .world import check_wcs

log = logging.getLogger(__name__)
LARGEST_NOISE = 1e12
"""Of a typical pixel, image units; the smallest noise is its inverse."""
LARGEST_VALUE = 1e17
"""float32 holds the square of this value; larger values cannot be light and count as not finite."""
LARGEST_CHI2 = 1e18
"""Largest squared significance of one pixel: no detector counts to 1e9 sigma."""
LARGEST_RATIO = 1e12
"""Of a pixel's weight to the typical one; pixels of more weight count as not finite, pixels of less than its inverse get none."""
THINNED = 1e6
"""Number of pixels from which on the median of a plane is that of every nth pixel."""


def native(array, name, dtype, copy=False):
    """A copy or view of a 2-D array in the wanted dtype, in the machine's byte order and C-contiguous; values may be NaN.

    Parameters
    ----------
    array : array_like, shape (ny, nx)
        Integer or floating, in any byte order.
    name : str
        What it is, for messages.
    dtype : dtype
        The wanted dtype.
    copy : bool
        Always copy; an array that cannot be written to is copied in any case.

    Raises
    ------
    InputError
        When it is not two-dimensional, empty, or of a dtype that cannot be converted.
    """
    array = np.asanyarray(array)
    if np.ma.isMaskedArray(array):
        raise InputError(f"{name} is a masked array: pass array.data and give its mask as mask")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {array.dtype}: convert it to a real number type, as in array.astype('f4')")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} has shape {array.shape}: a plane of shape (ny, nx) is needed"
                         +"; choose one of the cube's"*(array.ndim > 2))
    if np.issubdtype(dtype, np.integer) and array.dtype.kind == "f":
        raise InputError(f"{name} has dtype {array.dtype}: flags are integers, as in array.astype('u4')")
    with np.errstate(over="ignore"):
        # values beyond the range of the wanted dtype become infinite
        return np.array(array, dtype=dtype, order="C", copy=copy or not array.flags.writeable or None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Image:
    """Pixels of one detector, validated; make it with `Image.from_arrays`.

    Attributes
    ----------
    data : ndarray, shape (ny, nx), float32
        Pixel values in the image's units, 0 where not finite or beyond 1e17, which counts as not finite.
    ivar : ndarray, shape (ny, nx), float32
        Inverse variance of `data` in units^-2; 0 where the pixel must not be used.
    dq : ndarray, shape (ny, nx), uint32
        The instrument's flag bits.
    mask : ndarray, shape (ny, nx), uint16
        The engine's flag bits (`crowdsource.core.flags.ENGINE`).
    wcs : astropy.wcs.WCS or None
        World coordinates of the *parent* image's 0-based pixels.
    origin : tuple of int
        (x0, y0) of this cut-out in its parent; catalogs are in the parent's pixels.
    band : str
        Filter name; empty when not known.
    mjd : float
        Modified Julian date of mid-exposure; NaN when not known.
    exptime : float
        Exposure time in seconds; NaN when not known.
    zeropoint : float
        Magnitude of one unit of flux; NaN when not known.
    magnitude_system : str
        "AB" or "Vega"; empty when not known.
    gain : float
        Electrons per unit; NaN when not known.
    saturation : float
        Level from which pixels are saturated: they are flagged and get ivar 0; inf when not known.
    ivar_estimated : bool
        The inverse variance was estimated from the image, not given.
    exposure, detector : str
        Identity of the exposure and of the detector in it.
    meta : mapping
        Anything else; read-only.
    findings : tuple of str
        What was odd about the pixels and what was done about it, in sentences.
    """

    data: np.ndarray
    ivar: np.ndarray
    dq: np.ndarray
    mask: np.ndarray
    wcs: object = None
    origin: tuple = (0, 0)
    band: str = ""
    mjd: float = np.nan
    exptime: float = np.nan
    zeropoint: float = np.nan
    magnitude_system: str = ""
    gain: float = np.nan
    saturation: float = np.inf
    ivar_estimated: bool = False
    exposure: str = ""
    detector: str = ""
    meta: MappingProxyType = field(default_factory=lambda: MappingProxyType({}))
    findings: tuple = ()

    @classmethod
    def from_arrays(cls, data, ivar=None, dq=None, mask=None, *, bad=None, weight=None, shared=1., readnoise=None, copy=True,
                    **metadata) -> "Image":
        """Validate arrays and make an Image of them.

        Pixels are no data (ivar 0, flag ``nodata``) where a large area holds one exact value, as outside of a mosaic's footprint,
        and where their weight is below 1e-6 of that of others, as where errors of 1e9 say that there are no data. What is found
        is logged.

        Parameters
        ----------
        data : array_like, shape (ny, nx)
            Pixel values; NaN, infinite ones and those beyond 1e17 get ivar 0 and a flag. An astropy Quantity says the unit, a
            masked array which pixels are not to be used.
        ivar : array_like, shape (ny, nx), optional
            Inverse variance; estimated from the background noise and the gain when not given. Values that are NaN, negative or
            infinite mark bad pixels, which get ivar 0. Pixels of more than 1e12 times the median, or of a value that no noise
            explains (more than 1e9 sigma), count as not finite.
        dq : array_like of integers or bool, shape (ny, nx), optional
            Instrument bits; they mask nothing by themselves (an adapter sets ivar to 0 where its bits say so). One of bool is as
            `mask`.
        mask : array_like of bool or integers, shape (ny, nx), optional
            True where a pixel is not to be used: it gets ivar 0, and noise is not estimated on it. One of integers holds engine
            bits.
        bad : array_like of bool, shape (ny, nx), optional
            Further pixels not to be used.
        weight : array_like, shape (ny, nx), optional
            Instead of ivar: relative weights of the background, whose scale is measured on the image.
        shared : float, optional
            With weight: by how much the noise of a star exceeds what differences of pixels tell, where neighbours share noise as
            in drizzled images.
        readnoise : float, optional
            Electrons; used only where noise is estimated.
        copy : bool
            False: the Image uses arrays that are of its dtypes already without a copy; they are changed in place, and read-only
            from then on.
        **metadata
            The remaining attributes; those of ``findings`` come before what is found here.

        Raises
        ------
        InputError
            When the arrays differ in shape, cannot be converted, ivar is negative or infinite on more than half of the pixels
            that have data, or no pixel is good.
        """
        excluded = {"bad": bad, "data": np.ma.getmask(data) if np.ma.is_masked(data) else None}
        excluded |= {plane_name: plane for plane_name, plane in (("dq", dq), ("mask", mask)) if _is_boolean(plane)}
        dq, mask = (None if _is_boolean(plane) else plane for plane in (dq, mask))
        data, ivar, unit = _without_units(data, ivar)
        data = native(np.ma.getdata(data), "data", np.float32, copy)
        check_wcs(metadata.get("wcs"))
        planes = dict(dq=_plane(dq, "dq", np.uint32, data.shape, copy), mask=_plane(mask, "mask", np.uint16, data.shape, copy))
        # where no level is known, an infinite pixel is not a saturated one
        finite, level = (data < LARGEST_VALUE) & (data > -LARGEST_VALUE), metadata.get("saturation", np.inf)
        saturated = np.isfinite(level) & (data >= level)
        planes["mask"][saturated] |= ENGINE.saturated
        use = finite & ~saturated
        for plane_name, plane in excluded.items():
            use &= _plane(plane, plane_name, np.uint8, data.shape) == 0
        name, given = ("weight", weight) if ivar is None else ("ivar", ivar)
        if given is not None:
            given = _noise_map(given, name, data.shape, copy)
            use &= given != 0
        nodata, found = _without_data(data, use, given, name)
        ivar = _estimated(data, use, given, metadata.get("gain", np.nan), readnoise, shared) if ivar is None else given
        odd = _cleared(ivar, data)
        planes["mask"][~finite | odd] |= ENGINE.nonfinite
        planes["mask"][nodata] |= ENGINE.nodata
        planes["mask"][ivar == 0] |= ENGINE.bad
        data[~finite] = 0
        metadata["meta"] = MappingProxyType({**unit, **metadata.get("meta", {})})
        metadata["findings"] = (*metadata.get("findings", ()), *found)
        for sentence in metadata["findings"]:
            log.warning("%s", sentence)
        arrays = {plane_name: _frozen(plane) for plane_name, plane in dict(data=data, ivar=ivar, **planes).items()}
        return cls(**arrays, ivar_estimated=name == "weight", **metadata)

    @classmethod
    def from_nddata(cls, nddata, **metadata) -> "Image":
        """Make an Image from an `astropy.nddata.NDData` or ``CCDData``.

        An uncertainty of any kind is converted to ivar, masked pixels get ivar 0, wcs and unit are kept.

        Raises
        ------
        InputError
            As `from_arrays`.
        """
        from astropy.nddata import InverseVariance
        ivar = None
        if nddata.uncertainty is not None:
            ivar = np.array(nddata.uncertainty.represent_as(InverseVariance).array, dtype=np.float32)
        data = np.array(nddata.data, dtype=np.float32)
        mask = None if nddata.mask is None else np.broadcast_to(np.asarray(nddata.mask, bool), data.shape)
        if nddata.unit is not None:
            metadata["meta"] = {"unit": nddata.unit.to_string(), **metadata.get("meta", {})}
        return cls.from_arrays(data, ivar, mask=mask, wcs=nddata.wcs, **metadata)

    def __repr__(self):
        ny, nx = self.shape
        parts = f"{nx} x {ny} pixels", f"noise {self.noise:.3g}", f"{100*(1-self.good.mean()):.2g} % not used", self.band
        return f"<crowdsource.Image: {', '.join(p for p in parts if p)}>"

    def __getstate__(self):
        """State for pickling: without what can be computed again, and with a plain dictionary for `meta`."""
        return {**{n: v for n, v in self.__dict__.items() if n != "good"}, "meta": dict(self.meta)}

    def __setstate__(self, state):
        self.__dict__.update(state, meta=MappingProxyType(state["meta"]))
        for name in ("data", "ivar", "dq", "mask"):
            state[name].flags.writeable = False

    @property
    def shape(self):
        """(ny, nx)."""
        return self.data.shape

    @cached_property
    def good(self):
        """Boolean plane, true where ivar is positive."""
        return _frozen(self.ivar > 0)

    @cached_property
    def noise(self):
        """Typical noise of a pixel, image units, from the median inverse variance."""
        return float(1/np.sqrt(_typical(self.ivar)))

    def with_mask(self, mask):
        """A new Image with another engine mask; nothing else changes."""
        return replace(self, mask=_frozen(native(mask, "mask", np.uint16)))

    def flagged(self, where, dq=0, mask=0):
        """A new Image with bits of the instrument (dq) and the engine (mask) set where `where` is true; ivar does not change."""
        return replace(self, dq=_frozen(np.where(where, self.dq | np.uint32(dq), self.dq)),
                       mask=_frozen(np.where(where, self.mask | np.uint16(mask), self.mask)))

    def masked(self, where, bit):
        """A new Image with ivar 0 and an engine bit set where `where` is true."""
        return replace(self, ivar=_frozen(np.where(where, np.float32(0), self.ivar)),
                       mask=_frozen(np.where(where, self.mask | np.uint16(bit | ENGINE.bad), self.mask)))

    def with_finding(self, sentence):
        """The same Image, with one more sentence in its `findings`, which is logged."""
        log.warning(sentence)
        return replace(self, findings=(*self.findings, sentence))

    def cutout(self, x0, x1, y0, y1) -> "Image":
        """The part x0 <= x < x1, y0 <= y < y1 as a new Image that remembers its origin.

        Raises
        ------
        InputError
            When the box is empty or leaves the image.
        """
        ny, nx = self.shape
        if not (0 <= x0 < x1 <= nx and 0 <= y0 < y1 <= ny):
            raise InputError(f"cut-out {x0}:{x1},{y0}:{y1} is empty or leaves the image of {nx} x {ny} pixels")
        box = np.s_[y0:y1, x0:x1]
        part = {n: _frozen(np.ascontiguousarray(getattr(self, n)[box])) for n in ("data", "ivar", "dq", "mask")}
        return replace(self, **part, origin=(self.origin[0]+x0, self.origin[1]+y0))


def _is_boolean(plane):
    return plane is not None and np.asanyarray(plane).dtype.kind == "b"


def _without_units(data, ivar):
    """Data and inverse variance as plain arrays, the latter in the unit that the data ask for, and metadata of the unit."""
    if not hasattr(data, "to_value") or getattr(data, "unit", None) is None:
        return data, ivar, {}
    wanted = data.unit**-2
    try:
        ivar = ivar.to_value(wanted) if hasattr(ivar, "to_value") else ivar
    except ValueError as problem:
        raise InputError(f"ivar is in {ivar.unit}, and data need it in {wanted}: convert it") from problem
    return data.value, ivar, {"unit": data.unit.to_string()}


def thinned(plane):
    """Every nth pixel of a plane along both axes, so that a median is of some million pixels."""
    step = max(1, int(np.sqrt(plane.size/THINNED)))
    return plane[::step, ::step]


def _typical(ivar):
    """The median inverse variance of good pixels; 0 when there are none."""
    for sample in (thinned(ivar), ivar):
        positive = sample[sample > 0]
        if len(positive):
            # no mean of the two values in the middle, which may overflow float32
            return float(np.partition(positive, len(positive)//2)[len(positive)//2])
    return 0.


def _without_data(data, use, given, name):
    """Find the pixels without data and the marks in the noise map, if one is given; both are changed in place.

    Parameters
    ----------
    data : ndarray, shape (ny, nx), float32
    use : ndarray of bool, shape (ny, nx)
        Pixels that count; afterwards without those that are found.
    given : ndarray or None
        Inverse variance or weights; afterwards 0 where a pixel is not used.
    name : str
        Which of them it is.

    Returns
    -------
    nodata : ndarray of bool, shape (ny, nx)
    findings : list of str
    """
    # before the noise map is judged: what it says outside of the footprint means nothing
    nodata, findings = constant(data, use), []
    if number := int(nodata.sum()):
        findings.append(f"{share(number, data.size)} hold one exact value and count as no data")
        use &= ~nodata
    if given is None:
        return nodata, findings
    given[~use] = 0
    findings.extend(without_marks(given, use, name))
    weak = weightless(given)
    if number := int(weak.sum()):
        findings.append(f"{share(number, data.size)} have next to no weight beside the others and count as no data")
        given[weak] = 0
        nodata |= weak
    use &= given > 0
    return nodata, findings


def _estimated(data, use, weight, gain, readnoise, shared):
    """Inverse variance from the pixels that are used, and from relative weights if given."""
    data = np.where(use, data, np.float32(np.nan))
    if weight is None:
        return estimate_ivar(data, gain, readnoise)
    return scaled_weight(data, weight, gain, readnoise, shared)


def _cleared(ivar, data):
    """Set to 0, in place, the ivar of pixels that float32 cannot compute with.

    Returns
    -------
    ndarray of bool, shape (ny, nx)
        Those whose ivar or value is too large.

    Raises
    ------
    InputError
        When no pixel is left, or float32 does not hold powers of the typical noise.
    """
    typical = _typical(ivar)
    noise = 1/np.sqrt(typical) if typical else 1.
    if not 1/LARGEST_NOISE < noise < LARGEST_NOISE:
        raise InputError(f"the typical noise of {noise:.1e} is beyond what float32 computes with: "
                         f"multiply the data by {10**-np.round(np.log10(noise)):.0e}")
    odd = np.empty(ivar.shape, bool)
    with np.errstate(over="ignore", invalid="ignore"):
        # band by band, so that intermediate results stay in the processor's cache
        for rows in bands(len(ivar)):
            weight = ivar[rows]
            chi2 = data[rows]*data[rows]
            chi2 *= weight
            found = np.greater(weight, LARGEST_RATIO*typical, out=odd[rows])
            found |= ~(chi2 < LARGEST_CHI2)
            found &= weight > 0
            weight[found | (weight < typical/LARGEST_RATIO)] = 0
    if not ivar.any():
        raise InputError("no good pixel: every pixel is masked, not finite or has zero inverse variance; "
                         "check the bad bits and the weight map")
    return odd


def _frozen(array):
    array.flags.writeable = False
    return array


def _plane(array, name, dtype, shape, copy=False):
    """A flag plane of the data's shape; zeros when not given."""
    if array is None:
        return np.zeros(shape, dtype)
    array = np.asanyarray(array)
    if array.dtype.kind == "b":
        array = array.astype(dtype)
    array = native(array, name, dtype, copy)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape} but data has {shape}: cut them to the same pixels")
    return array


def _noise_map(array, name, shape, copy):
    """Inverse variance or weights of the data's shape."""
    array = native(array, name, np.float32, copy)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape} but data has {shape}: cut them to the same pixels")
    return array
