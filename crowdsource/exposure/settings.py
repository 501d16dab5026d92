"""What a run is to do, and the checks that come before any work."""
import os
from dataclasses import dataclass, field
from pathlib import Path

from ..config import from_mapping
from ..core.errors import ConfigError, OutputError, need
from ..io.atomic import check_folder, check_output
from ..io.tables import check_ending
from ..nebulosity.classifier import ORDERS
from ..nebulosity.network import files as network_files
from ..nebulosity.network import read_network
from ..report.page import check_page
from .earlier import check_earlier
from .finished import INFO, MODEL, RESIDUAL, FinishedDetectors


@dataclass(frozen=True, kw_only=True)
class OutputFiles:
    """What is written.

    Attributes
    ----------
    catalog : path-like
    model, info, residual, plot, report : path-like or None
        Model file, info file, file of the residual, picture, and report page.
    regions : path-like or None
        Of the sources, for DS9.
    debug_plots : path-like or None
        Folder for pictures of each pass.
    model_image : bool
        The model file holds the model of the stars, not only sky and flags.
    """

    catalog: object
    model: object = None
    info: object = None
    residual: object = None
    plot: object = None
    report: object = None
    regions: object = None
    debug_plots: object = None
    model_image: bool = True

    @property
    def files(self):
        """The outputs that are files."""
        return [p for p in (self.catalog, *self.image_files.values(), self.plot, self.report, self.regions) if p is not None]

    @property
    def recorded(self):
        """The outputs that tell what they are made of."""
        return [self.catalog, *self.image_files.values()]

    @property
    def image_files(self):
        """The files of planes that are written, by kind."""
        return {kind: p for kind, p in ((MODEL, self.model), (INFO, self.info), (RESIDUAL, self.residual)) if p is not None}


@dataclass(frozen=True, kw_only=True)
class UserCatalogs:
    """Catalogs that a user gives.

    Attributes
    ----------
    forced : str or None
        Positions that make it a forced fit.
    bright, galaxies : str or None
        Bright stars, and galaxies.
    """

    forced: str = None
    bright: str = None
    galaxies: str = None

    @property
    def files(self):
        """Those that are given."""
        return [p for p in (self.forced, self.bright, self.galaxies) if p is not None]


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """Files of an earlier run of the same detectors.

    Attributes
    ----------
    model_file : str or None
        Its sky is that of the first pass, or of all passes where the configuration says ``sky.keep``.
    catalog : str or None
        Its PSF is taken exactly and not refitted.
    """

    model_file: str = None
    catalog: str = None

    @property
    def files(self):
        """Those that are given."""
        return [p for p in (self.model_file, self.catalog) if p is not None]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What a run is to do.

    Attributes
    ----------
    outputs : OutputFiles
    catalogs : UserCatalogs
    earlier : EarlierRun
    config : mapping
        Nested values that go on top of the instrument's configuration; ``preset`` names another base.
    threads : int
        Of each fit.
    overwrite : bool
        Replace files that exist.
    resume : bool
        Go on with a run that was cut off: detectors that it finished are taken as they are.
    """

    outputs: OutputFiles
    catalogs: UserCatalogs = UserCatalogs()
    earlier: EarlierRun = EarlierRun()
    config: dict = field(default_factory=dict)
    threads: int = 1
    overwrite: bool = False
    resume: bool = False

    @property
    def network(self):
        """The files of the network that finds structured background; none where the configuration names no network."""
        nebulosity = from_mapping(self.config).nebulosity
        return network_files(nebulosity.method) if nebulosity.network else ()

    @property
    def reads(self):
        """All files that are read beside the exposure's."""
        return [*self.catalogs.files, *self.network, *self.earlier.files]

    @property
    def replaces(self):
        """Whether outputs that exist may be replaced: what a run that was cut off has left is its own."""
        return self.overwrite or (self.resume and self._unfinished.exists())

    @property
    def _unfinished(self):
        """The folder of the finished detectors of a run that was cut off."""
        return FinishedDetectors(self.outputs.catalog).folder

    def check_inputs(self, detectors):
        """Raise an error when a network, or files of earlier runs, cannot be used. Called before any work is done.

        Parameters
        ----------
        detectors : list of str
            Names of the exposure's detectors.
        """
        if self.network:
            read_network(self.network[0], ORDERS)
        if from_mapping(self.config).sky.keep and self.earlier.model_file is None:
            raise ConfigError("sky.keep keeps a given sky, but there is none: name an earlier run's model file (`sky_from`)")
        check_earlier(detectors, self.earlier.model_file, self.earlier.catalog)

    def check_outputs(self, inputs):
        """Raise an error when an output could not be written, would replace an input or needs a missing package.

        Called before any work is done; `inputs` are the files of the exposure.
        """
        outputs = self.outputs
        check_ending(outputs.catalog)
        if str(outputs.catalog).lower().endswith(".parquet"):
            need("pyarrow.parquet", "parquet", "a Parquet catalog")
        if outputs.plot is not None or outputs.debug_plots is not None:
            need("matplotlib.figure", "plot", "a picture")
        if outputs.report is not None:
            check_page(outputs.report, self.replaces)
        for path in (p for p in outputs.files if p != outputs.report):
            check_output(path, self.replaces)
        named = [Path(p).absolute() for p in outputs.files]
        if len(set(named)) < len(named):
            raise OutputError(f"{named[0]}: two outputs have the same name; give each its own")
        if outputs.debug_plots is not None:
            check_folder(outputs.debug_plots, self.replaces)
        # realpath bears links that form a circle; reading them raises an error later
        read = {os.path.realpath(p) for p in (*inputs, *self.reads)}
        for path in named:
            if os.path.realpath(path) in read:
                raise OutputError(f"{path.name}: is read by this run; give the output another name")
        if self._unfinished.exists() and not (self.resume or self.overwrite):
            raise OutputError(f"{self._unfinished}: holds finished detectors of a run that was cut off; go on with it "
                              "(`resume=True`) or start anew (`overwrite=True`)")

    def nothing_left(self):
        """Whether a run that is to be resumed was finished already."""
        return self.resume and not self._unfinished.exists() and all(Path(p).exists() for p in self.outputs.recorded)

    def may_be_there(self):
        """Whether all outputs exist that a run of the same may have written, and none is to be replaced."""
        asked = self.overwrite or self.resume or self.outputs.debug_plots is not None
        return not asked and not self._unfinished.exists() and all(Path(p).is_file() for p in self.outputs.files)
