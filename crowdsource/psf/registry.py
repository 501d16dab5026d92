"""The registries of PSF models and of formats of PSF files.

=======================  ==========================================================================================
entry-point group        a subclass of
=======================  ==========================================================================================
crowdsource.psf_models   `crowdsource.psf.base.PSF`; ``fit(psf=...)`` takes an object of it without registration, but a
                         catalog that holds one is read back by the registered name
crowdsource.psf_formats  `crowdsource.psf.formats.base.PSFFormat`
=======================  ==========================================================================================
"""
from inspect import isabstract

from ..core.registry import Registry
from .base import PSF
from .formats.base import PSFFormat

FIELD = "field"
"""The project's own PSF model. Files that name no model hold this one."""


def _complete_subclass(base):
    return lambda part: isinstance(part, type) and issubclass(part, base) and not isabstract(part)


PSF_MODELS = Registry("crowdsource.psf_models", "PSF model", {FIELD: "crowdsource.psf.model:FieldPSF"},
                      keeps=_complete_subclass(PSF), contract="crowdsource.psf.base")
OWN_FORMATS = {
    "piff": "crowdsource.psf.formats.piff:PiffFormat",
    "native": "crowdsource.psf.formats.native:NativeFormat",
    "roman": "crowdsource.psf.formats.asdf:RomanFormat",
    "lsst": "crowdsource.psf.formats.lsst:LSSTFormat",
    "lsst-cells": "crowdsource.psf.formats.lsst_cells:LSSTCellsFormat",
    "psfex": "crowdsource.psf.formats.psfex:PSFExFormat",
    "stdpsf": "crowdsource.psf.formats.stdpsf:StdPSFFormat",
    "stamp": "crowdsource.psf.formats.stamp:StampFormat",
}
"""The plain stamp takes any image, so it comes last; a Piff file has HDUs of the names that our own have, so it comes first;
formats of other packages are asked before all of these."""
PSF_FORMATS = Registry("crowdsource.psf_formats", "PSF file format", OWN_FORMATS, keeps=_complete_subclass(PSFFormat),
                       contract="crowdsource.psf.formats.base")
