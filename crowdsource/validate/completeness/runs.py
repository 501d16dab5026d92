"""What is done of one image: a plan of artificial stars, runs of them, fits of new noise, and what these have measured."""
from dataclasses import dataclass, replace
from functools import cached_property

from ...core.errors import ConfigError, InputError
from .local import LocalFit
from .measured import measured
from .plan import star_plan
from .purity import noise_run
from .trial import Scene, one_run


@dataclass(frozen=True, eq=False)
class ImageRuns:
    """One image; `crowdsource.validate.completeness.field.FieldRuns` does the same with many.

    Attributes
    ----------
    scene : crowdsource.validate.completeness.trial.Scene
    base : object
        The image's own fit, with model and sky where purity or cut-outs are wanted.
    """

    scene: object
    base: object

    def plan(self, options):
        """The `crowdsource.validate.completeness.plan.StarPlan`.

        Raises
        ------
        ConfigError
            When more stars are wanted than have room, or what only a joint fit or a search has.
        """
        if options.colours:
            raise ConfigError("colours are of a joint fit of several images: give these, or leave colours out")
        if options.local and self.scene.given is not None:
            raise ConfigError("cut-outs (`local`) are of a fit that searches: a forced fit takes the whole image")
        return star_plan(self.scene.image, self.scene.catalog, self.scene.fwhm, options)

    @cached_property
    def local(self):
        """Fits cut-outs."""
        return LocalFit(self.scene, self.base)

    def star_run(self, plan, run):
        """The table of a run, as `crowdsource.validate.completeness.trial.recovered`."""
        return self.local(plan, run) if plan.local else one_run(self.scene, plan, run)

    def noise_run(self, run, seed):
        """The table of a fit of new noise, as `crowdsource.validate.completeness.purity.noise_run`."""
        return noise_run(self.scene, self.base.model, self.base.sky, run, seed)

    def measured(self, tables, plan, options, noise=()):
        """What runs have measured, by band: of one image there is only one, without a name."""
        found = measured(tables, self.scene, plan, options, noise)
        return {"": replace(found, figures={**found.figures, "FORCED": self.scene.given is not None})}


def scene_of(image, base, fit, psf=None, given=None):
    """The `Scene` of an image and its own fit, a result or a catalog; of a forced fit with the positions that were given.

    Raises
    ------
    InputError
        When no PSF is known.
    """
    catalog = base.catalog if hasattr(base, "catalog") else base
    found = getattr(base, "psf", None)
    if found is None and psf is None:
        raise InputError("fit_function gives a catalog without a PSF: give psf, that of the artificial stars")
    used = getattr(base, "config", None)
    return Scene(image=image, catalog=catalog, psf=psf if found is None else found, fit=fit, given=given,
                 norm_radius=0. if used is None else used.psf.norm_radius)
