"""A plain stamp: a 2-D image of the PSF."""
from ..model import FieldPSF
from ..profiles.stamp import StampProfile
from .base import PSFFormat, is_image, oversampling_of, with_odd_sides


class StampFormat(PSFFormat):
    """A 2-D image; the keyword OVERSAMP or OVERSAMPLING tells how many samples a pixel has, 1 where there is none."""

    summary = "a square stamp with an odd number of pixels"

    def claims(self, file):
        """Whether the HDU is a 2-D image."""
        return is_image(file.hdu, 2)

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`."""
        stamp = with_odd_sides(file.hdu.data)
        profile = StampProfile.from_stamp(stamp, shape, oversampling_of(file.hdu.header, 1))
        return FieldPSF.of(profile, norm_size=norm_size)
