"""What a run of a manifest is to do."""
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..config import from_mapping
from ..core.errors import ConfigError
from ..exposure.finished import INFO, MODEL
from ..exposure.instrument import complete, load, registered
from ..io.checksums import checksums
from ..nebulosity.classifier import ORDERS
from ..nebulosity.network import files as network_files
from ..nebulosity.network import read_network
from ..report.page import check_extra


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How each detector is fitted, and what is written.

    Attributes
    ----------
    config : mapping
        Values of the fit as in a TOML file, an instrument's options under its name.
    force, bright, galaxies : str or None
        Catalogs, as in `crowdsource.exposure.settings.UserCatalogs`.
    model, info, plot, report : bool
        Write model files, info files, pictures, report pages.
    threads : int
        Of each fit.
    task_memory : float or None
        Address space of each fit, MB.
    """

    config: dict = field(default_factory=dict)
    force: str = None
    bright: str = None
    galaxies: str = None
    model: bool = False
    info: bool = False
    plot: bool = False
    report: bool = False
    threads: int = 1
    task_memory: float = None

    def check(self, instruments):
        """Raise an error for options that cannot be used with the instruments of a run; called before any work is done.

        Parameters
        ----------
        instruments : set of str
        """
        loaded = {n: load(n) for n in instruments}
        for name, instrument in loaded.items():
            complete(instrument.options, self.of_instrument(name))
        if self.report:
            check_extra()
        fit = from_mapping(self.fit_values(instruments))
        if fit.nebulosity.network:
            read_network(network_files(fit.nebulosity.method)[0], ORDERS)
        if fit.sky.keep:
            raise ConfigError("sky.keep keeps the sky of an earlier run, which a run of a manifest does not have")
        self.reads()

    def of_instrument(self, name):
        """The instrument's options in the configuration."""
        values = self.config.get(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{name} must be a table of the instrument's options")
        return values

    def fit_values(self, instruments):
        """The configuration without the instruments' options."""
        return {n: v for n, v in self.config.items() if n not in {*instruments, *registered()}}

    def reads(self):
        """(path, SHA-256) of the files that each fit reads beside the exposure's."""
        fit = from_mapping({n: v for n, v in self.config.items() if n in ("nebulosity", "preset")})
        network = network_files(fit.nebulosity.method) if fit.nebulosity.network else ()
        named = [Path(p).absolute() for p in (self.force, self.bright, self.galaxies) if p is not None]
        return checksums([*named, *map(Path, network)])

    def job_settings(self, instruments, reads):
        """What jobs are given, as JSON takes it.

        Parameters
        ----------
        instruments : set of str
        reads : list of (str, str)
            From `reads`.
        """
        own = {n: None if (p := getattr(self, n)) is None else str(Path(p).absolute()) for n in ("force", "bright", "galaxies")}
        config = self.fit_values(instruments)
        if from_mapping(config).nebulosity.network:
            method = str(Path(config["nebulosity"]["method"]).absolute())
            config = {**config, "nebulosity": {**config["nebulosity"], "method": method}}
        return {**asdict(self), **own, "config": config, MODEL: self.model, INFO: self.info,
                "reads": [list(r) for r in reads]}

    def result_settings(self, instrument, reads):
        """The settings on which results depend, with the checksums of the files that are read. Parameters as `job_settings`."""
        catalogs = [n for n in ("force", "bright", "galaxies") if getattr(self, n)]
        return [dict(self.config), [digest for _, digest in reads], catalogs,
                self.model, self.info, instrument]
