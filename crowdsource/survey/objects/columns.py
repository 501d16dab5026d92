"""The columns of objects: the only place where their names, types, units, UCDs and definitions stand."""
from dataclasses import dataclass, replace

from ..healpix import SPATIAL_INDEX

NANOMAGGY = "nmgy"
"""Unit of calibrated fluxes: that of magnitude 22.5 in the band's system."""


@dataclass(frozen=True)
class VOColumn:
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


OBJECT_COLUMNS = (
    VOColumn(SPATIAL_INDEX, "i8", "", "pos.healpix", "HEALPix index of the position, order 29, nested"),
    VOColumn("object_id", "i8", "", "meta.id;meta.main",
              "identifier: that of an earlier release, or the index of the place where the object was first seen"),
    VOColumn("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension, mean of detections weighted by errors, clipped"),
    VOColumn("dec", "f8", "deg", "pos.eq.dec;meta.main", "declination, likewise"),
    VOColumn("ra_error", "f4", "arcsec", "stat.error;pos.eq.ra", "error of ra cos(dec), which confusion keeps from falling"),
    VOColumn("dec_error", "f4", "arcsec", "stat.error;pos.eq.dec", "error of dec, likewise"),
    VOColumn("ra_scatter", "f4", "arcsec", "stat.stdev;pos.eq.ra", "standard deviation of ra cos(dec), NaN for one detection"),
    VOColumn("dec_scatter", "f4", "arcsec", "stat.stdev;pos.eq.dec", "standard deviation of dec, NaN for one detection"),
    VOColumn("position_chi2", "f4", "", "stat.fit.chi2;pos.eq",
              "chi2 of the positions about their mean, of 2(n_position-1) degrees of freedom"),
    VOColumn("n_position", "i4", "", "meta.number", "detections whose positions were averaged"),
    VOColumn("n_det", "i4", "", "meta.number", "detections, all bands"),
    VOColumn("n_used", "i4", "", "meta.number", "measurements averaged, all bands"),
    VOColumn("n_ok", "i4", "", "meta.number", "measurements averaged that are good by all standards, all bands"),
    VOColumn("n_several", "i4", "", "meta.number",
              "detections that share their image with another of the object: the policy decides what becomes of them"),
    VOColumn("flags_and", "i8", "", "meta.code.multip", "flags that all detections have"),
    VOColumn("flags_or", "i8", "", "meta.code.multip", "flags that any detection has"),
    VOColumn("first_mjd", "f8", "d", "time.start", "first epoch, modified Julian date"),
    VOColumn("last_mjd", "f8", "d", "time.end", "last epoch, modified Julian date"),
    VOColumn("joint_fit", "i8", "", "meta.id", "the joint fit that most of its detections come from, -1 for none"),
    VOColumn("joint_id", "i8", "", "meta.id", "the object_id of the star in that fit, -1 for none"),
)
MOTION_COLUMNS = (
    VOColumn("pmra", "f4", "mas/yr", "pos.pm;pos.eq.ra", "proper motion in ra times cos(dec), NaN where the time base is short"),
    VOColumn("pmdec", "f4", "mas/yr", "pos.pm;pos.eq.dec", "proper motion in dec"),
    VOColumn("pm_error", "f4", "mas/yr", "stat.error;pos.pm", "error of either"),
    VOColumn("pm_chi2", "f4", "", "stat.fit.chi2;pos.pm", "chi2 of the motion, of 2 n_position-4 degrees of freedom"),
    VOColumn("pm_mjd", "f8", "d", "time.epoch", "mean epoch, at which the position with motion is that of no motion"),
)
BAND_COLUMNS = (
    VOColumn("flux", "f4", NANOMAGGY, "phot.flux", "mean flux in {band} weighted by errors, {system} nanomaggies"),
    VOColumn("flux_error", "f4", NANOMAGGY, "stat.error;phot.flux",
              "error of the mean flux in {band}: photon noise falls with the number of measurements, confusion does not"),
    VOColumn("flux_clipped", "f4", NANOMAGGY, "phot.flux", "the same without those far from the median, in {band}"),
    VOColumn("flux_clipped_error", "f4", NANOMAGGY, "stat.error;phot.flux", "error of the clipped mean in {band}"),
    VOColumn("flux_median", "f4", NANOMAGGY, "phot.flux;stat.median", "median flux in {band}"),
    VOColumn("flux_scatter", "f4", NANOMAGGY, "stat.stdev;phot.flux", "standard deviation of the fluxes in {band}, NaN for one"),
    VOColumn("flux_scatter_error", "f4", NANOMAGGY, "stat.error;phot.flux",
              "error of the mean flux in {band} from the scatter of the measurements, NaN for one"),
    VOColumn("flux_chi2", "f4", "", "stat.fit.chi2;phot.flux",
              "chi2 of the fluxes in {band} about their mean, of n_used-1 degrees of freedom"),
    VOColumn("flux_ok", "f4", NANOMAGGY, "phot.flux", "mean flux in {band} of measurements good by all standards"),
    VOColumn("flux_ok_error", "f4", NANOMAGGY, "stat.error;phot.flux", "its error"),
    VOColumn("mag", "f4", "mag", "phot.mag", "{system} magnitude in {band} of the mean flux, NaN where that is not positive"),
    VOColumn("mag_error", "f4", "mag", "stat.error;phot.mag", "its error"),
    VOColumn("n_det", "i4", "", "meta.number", "detections in {band}"),
    VOColumn("n_used", "i4", "", "meta.number", "measurements averaged in {band}"),
    VOColumn("n_clipped", "i4", "", "meta.number", "those of them that the clipped mean leaves out, in {band}"),
    VOColumn("n_ok", "i4", "", "meta.number", "those of them good by all standards, in {band}"),
    VOColumn("flags_and", "i8", "", "meta.code.multip", "flags that all detections in {band} have"),
    VOColumn("flags_or", "i8", "", "meta.code.multip", "flags that any detection in {band} has"),
    VOColumn("first_mjd", "f8", "d", "time.start", "first epoch in {band}, modified Julian date"),
    VOColumn("last_mjd", "f8", "d", "time.end", "last epoch in {band}, modified Julian date"),
)
MEMBER_COLUMNS = (
    VOColumn("detection_id", "i8", "", "meta.id", "identifier of the detection"),
    VOColumn("object_id", "i8", "", "meta.id.parent", "its object; -1 for none"),
    VOColumn("use", "u1", "", "meta.code", "how it counts; `USES` has the words"),
    VOColumn("ok", "?", "", "meta.code", "good by all standards"),
    VOColumn("separation", "f4", "arcsec", "pos.angDistance", "distance from the middle of the object's detections"),
    VOColumn("flux", "f8", NANOMAGGY, "phot.flux", "calibrated flux"),
    VOColumn("flux_error", "f4", NANOMAGGY, "stat.error;phot.flux", "its error"),
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
    tuple of VOColumn
    """
    of_bands = [c.of_band(*band) for band in bands for c in BAND_COLUMNS]
    return (*OBJECT_COLUMNS, *(MOTION_COLUMNS if motion else ()), *of_bands)


def dtype_of(columns):
    """The structured dtype of rows of some columns."""
    return [(c.name, c.dtype) for c in columns]
