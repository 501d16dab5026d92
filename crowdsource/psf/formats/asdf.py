"""Reference files of the Roman Space Telescope: ASDF with stamps at positions on a detector.

The tree is ``roman: {psf: array, meta: {oversample, pixel_x, pixel_y}}``; the array has axes for defocus, spectral type and
position before those of the stamp. The stamps in focus are taken, of the middle one of the spectral types.
"""
import numpy as np

from ...core.errors import InputError, need
from .base import PSFFormat
from .nodes import psf_of_nodes


class RomanFormat(PSFFormat):
    """A Roman EPSF reference file."""

    summary = "a Roman ASDF reference file"
    is_fits = False

    def claims(self, file):
        """By the file's ending."""
        return file.path.suffix.lower() == ".asdf"

    def read(self, file, shape, norm_size):
        """See `PSFFormat.read`.

        Raises
        ------
        MissingExtraError
            When asdf is not installed.
        """
        asdf = need("asdf", "roman", "a PSF in ASDF")
        with asdf.open(file.path) as opened:
            roman = opened.tree.get("roman", {})
            try:
                meta, psf = roman["meta"], np.array(roman["psf"], dtype=np.float64)
                oversampling, x, y = int(meta["oversample"]), np.array(meta["pixel_x"]), np.array(meta["pixel_y"])
            except (KeyError, TypeError, ValueError) as problem:
                raise InputError("its tree has no roman.psf with roman.meta.oversample, pixel_x and pixel_y "
                                 f"({problem})") from None
        if psf.ndim < 3:
            raise InputError(f"roman.psf has {psf.ndim} axes: at least position, row and column are needed")
        while psf.ndim > 4:
            psf = psf[0]
        stamps = psf if psf.ndim == 3 else psf[len(psf)//2]
        return psf_of_nodes(stamps, x, y, shape, oversampling, norm_size)
