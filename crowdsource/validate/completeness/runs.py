"""What is done of one image: a plan of artificial stars, runs of them, fits of new noise, and what these have measured."""
from dataclasses import dataclass, replace

from ...core.errors import ConfigError
from .local import LocalFit
from .measured import measured
from .plan import star_plan
from .purity import noise_run
from .trial import one_run


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

    def star_run(self, plan, run):
        """The table of a run, as `crowdsource.validate.completeness.trial.recovered`."""
        return (LocalFit(self.scene, self.base)(plan, run) if plan.local else one_run(self.scene, plan, run))

    def noise_run(self, run, seed):
        """The table of a fit of new noise, as `crowdsource.validate.completeness.purity.noise_run`."""
        return noise_run(self.scene, self.base.model, self.base.sky, run, seed)

    def measured(self, tables, plan, options, noise=()):
        """What runs have measured, by band: of one image there is only one, without a name."""
        found = measured(tables, self.scene, plan, options, noise)
        return {"": replace(found, figures={**found.figures, "FORCED": self.scene.given is not None})}
