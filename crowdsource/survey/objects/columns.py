"""The columns of objects: the only place where their names, types, units, UCDs and definitions stand."""
from dataclasses import dataclass, replace

from ..healpix import INDEX

NANOMAGGY = "nmgy"
"""Unit of calibrated fluxes: that of magnitude 22.5 in the band's system."""


@dataclass(frozen=True)
class SkyColumn:
    """One column of objects.

    Attributes
    ----------
    name : str
    dtype : str
        NumPy dtype.
    unit : str
        "" for none; `NANOMAGGY` is no unit of the VO, and stands for itself.
    ucd : str
        As UCD1+ spells it, "" for none.
    description : str
    """
    name: str
    dtype: str
    unit: str
    ucd: str
    description: str

    def of_band(self, band, system):
        """The column of a band: ``{band}`` in its texts is the band, ``{system}`` its system of magnitudes."""
        described = self.description.format(band=band, system=system or "unknown")
        return replace(self, name=f"{self.name}_{band.lower()}", description=described)


IDENTITY = (
    SkyColumn(INDEX, "i8", "", "pos.healpix", "HEALPix index of the position, order 29, nested"),
    SkyColumn("object_id", "i8", "", "meta.id;meta.main",
              "identifier: that of an earlier release, or the index of the place where the object was first seen"),
    SkyColumn("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension, mean of detections weighted by errors, clipped"),
    SkyColumn("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination, likewise"),
    SkyColumn("ra_error", "f4", "arcsec", "stat.error;pos.eq.ra", "error of ra cos(dec), which confusion keeps from falling"),
    SkyColumn("dec_error", "f4", "arcsec", "stat.error;pos.eq.dec", "error of dec, likewise"),
    SkyColumn("ra_scatter", "f4", "arcsec", "stat.stdev;pos.eq.ra", "standard deviation of ra cos(dec), NaN for one detection"),
    SkyColumn("dec_scatter", "f4", "arcsec", "stat.stdev;pos.eq.dec", "standard deviation of dec, NaN for one detection"),
    SkyColumn("position_chi2", "f4", "", "stat.fit.chi2;pos.eq",
              "chi2 of the positions about their mean, of 2(n_position-1) degrees of freedom"),
    SkyColumn("n_position", "i4", "", "meta.number", "detections whose positions were averaged"),
    SkyColumn("n_det", "i4", "", "meta.number", "detections, all bands"),
    SkyColumn("n_used", "i4", "", "meta.number", "measurements averaged, all bands"),
    SkyColumn("n_ok", "i4", "", "meta.number", "measurements averaged that are good by all standards, all bands"),
    SkyColumn("n_several", "i4", "", "meta.number",
              "detections that share their image with another of the object: the policy decides what becomes of them"),
    SkyColumn("flags_and", "i8", "", "meta.code.multip", "flags that all detections have"),
    SkyColumn("flags_or", "i8", "", "meta.code.multip", "flags that any detection has"),
    SkyColumn("first_mjd", "f8", "d", "time.start", "first epoch, modified Julian date"),
    SkyColumn("last_mjd", "f8", "d", "time.end", "last epoch, modified Julian date"),
)
MOTION = (
    SkyColumn("pmra", "f4", "mas/yr", "pos.pm;pos.eq.ra", "proper motion in ra times cos(dec), NaN where the time base is short"),
    SkyColumn("pmdec", "f4", "mas/yr", "pos.pm;pos.eq.dec", "proper motion in dec"),
    SkyColumn("pm_error", "f4", "mas/yr", "stat.error;pos.pm", "error of either"),
    SkyColumn("pm_chi2", "f4", "", "stat.fit.chi2;pos.pm", "chi2 of the motion, of 2 n_position-4 degrees of freedom"),
    SkyColumn("pm_mjd", "f8", "d", "time.epoch", "mean epoch, at which the position with motion is that of no motion"),
)
OF_BAND = (
    SkyColumn("flux", "f4", NANOMAGGY, "phot.flux", "mean flux in {band} weighted by errors, {system} nanomaggies"),
    SkyColumn("flux_error", "f4", NANOMAGGY, "stat.error;phot.flux",
              "error of the mean flux in {band}: photon noise falls with the number of measurements, confusion does not"),
    SkyColumn("flux_clipped", "f4", NANOMAGGY, "phot.flux", "the same without those far from the median, in {band}"),
    SkyColumn("flux_clipped_error", "f4", NANOMAGGY, "stat.error;phot.flux", "error of the clipped mean in {band}"),
    SkyColumn("flux_median", "f4", NANOMAGGY, "phot.flux;stat.median", "median flux in {band}"),
    SkyColumn("flux_scatter", "f4", NANOMAGGY, "stat.stdev;phot.flux", "standard deviation of the fluxes in {band}, NaN for one"),
    SkyColumn("flux_scatter_error", "f4", NANOMAGGY, "stat.error;phot.flux",
              "error of the mean flux in {band} from the scatter of the measurements, NaN for one"),
    SkyColumn("flux_chi2", "f4", "", "stat.fit.chi2;phot.flux",
              "chi2 of the fluxes in {band} about their mean, of n_used-1 degrees of freedom"),
    SkyColumn("flux_ok", "f4", NANOMAGGY, "phot.flux", "mean flux in {band} of measurements good by all standards"),
    SkyColumn("flux_ok_error", "f4", NANOMAGGY, "stat.error;phot.flux", "its error"),
    SkyColumn("mag", "f4", "mag", "phot.mag", "{system} magnitude in {band} of the mean flux, NaN where that is not positive"),
    SkyColumn("mag_error", "f4", "mag", "stat.error;phot.mag", "its error"),
    SkyColumn("n_det", "i4", "", "meta.number", "detections in {band}"),
    SkyColumn("n_used", "i4", "", "meta.number", "measurements averaged in {band}"),
    SkyColumn("n_clipped", "i4", "", "meta.number", "those of them that the clipped mean leaves out, in {band}"),
    SkyColumn("n_ok", "i4", "", "meta.number", "those of them good by all standards, in {band}"),
    SkyColumn("flags_and", "i8", "", "meta.code.multip", "flags that all detections in {band} have"),
    SkyColumn("flags_or", "i8", "", "meta.code.multip", "flags that any detection in {band} has"),
    SkyColumn("first_mjd", "f8", "d", "time.start", "first epoch in {band}, modified Julian date"),
    SkyColumn("last_mjd", "f8", "d", "time.end", "last epoch in {band}, modified Julian date"),
)
MEMBER = (
    SkyColumn("detection_id", "i8", "", "meta.id", "identifier of the detection"),
    SkyColumn("object_id", "i8", "", "meta.id.parent", "its object; -1 for none"),
    SkyColumn("use", "u1", "", "meta.code", "how it counts; `USES` has the words"),
    SkyColumn("ok", "?", "", "meta.code", "good by all standards"),
    SkyColumn("separation", "f4", "arcsec", "pos.angDistance", "distance from the middle of the object's detections"),
    SkyColumn("flux", "f8", NANOMAGGY, "phot.flux", "calibrated flux"),
    SkyColumn("flux_error", "f4", NANOMAGGY, "stat.error;phot.flux", "its error"),
)


def object_columns(bands, motion=False):
    """The columns of objects, in order.

    Parameters
    ----------
    bands : tuple of (str, str)
        Names and systems.
    motion : bool
        Whether proper motions are fitted.

    Returns
    -------
    tuple of SkyColumn
    """
    of_bands = [c.of_band(*band) for band in bands for c in OF_BAND]
    return (*IDENTITY, *(MOTION if motion else ()), *of_bands)


def row_type(columns):
    """The structured dtype of rows of some columns."""
    return [(c.name, c.dtype) for c in columns]
