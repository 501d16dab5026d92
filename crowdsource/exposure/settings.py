"""What a run is to do, and the checks that come before any work."""
import os
from dataclasses import dataclass, field
from pathlib import Path

from ..config import from_mapping
from ..core.errors import ConfigError, OutputError, need
from ..io.atomic import check_folder, check_output
from ..io.tables import check_ending
from ..nebulosity.network import files as network_files
from ..nebulosity.network import read_network
from .earlier import check_earlier
from .parts import INFO, MODEL, Parts


@dataclass(frozen=True)
class Settings:
    """What a run is to do.

    Attributes
    ----------
    out : path-like
        The catalog.
    model_out, info_out, plot : path-like or None
        Model file, info file and picture.
    debug_plots : path-like or None
        Folder for pictures of each pass.
    overwrite : bool
        Replace files that exist.
    threads : int
    config : mapping
        Nested values that go on top of the instrument's configuration; ``preset`` names another base.
    force : str or None
        Catalog of positions that makes it a forced fit.
    bright, galaxies : str or None
        Catalogs of bright stars and of galaxies.
    resume : bool
        Go on with a run that was cut off: detectors that it finished are taken as they are.
    model_image : bool
        The model file holds the model of the stars, not only sky and flags.
    sky_from : str or None
        Model file of an earlier run, whose sky is that of the first pass, or of all where the configuration says ``sky.keep``.
    psf_from : str or None
        Catalog of an earlier run, whose PSF is taken exactly and not refitted.
    """
    out: object
    model_out: object = None
    plot: object = None
    debug_plots: object = None
    overwrite: bool = False
    threads: int = 1
    config: dict = field(default_factory=dict)
    force: str = None
    bright: str = None
    galaxies: str = None
    resume: bool = False
    model_image: bool = True
    sky_from: str = None
    psf_from: str = None
    info_out: object = None

    @property
    def files(self):
        """The outputs that are files."""
        return [p for p in (self.out, *self.planes.values(), self.plot) if p is not None]

    @property
    def planes(self):
        """The files of planes that are written, by kind."""
        return {kind: p for kind, p in ((MODEL, self.model_out), (INFO, self.info_out)) if p is not None}

    @property
    def catalogs(self):
        """The user's catalogs that are read."""
        return [p for p in (self.force, self.bright, self.galaxies) if p is not None]

    @property
    def network(self):
        """The files of the network that tells structured background, none where no network is asked."""
        asked = from_mapping(self.config).nebulosity
        return network_files(asked.method) if asked.network else ()

    @property
    def reads(self):
        """All files that are read beside the exposure's."""
        return [*self.catalogs, *self.network, *self.earlier]

    @property
    def earlier(self):
        """The files of earlier runs that are read."""
        return [p for p in (self.sky_from, self.psf_from) if p is not None]

    @property
    def replaces(self):
        """Whether outputs that exist may be replaced: what a run that was cut off has left is its own."""
        return self.overwrite or (self.resume and Parts(self.out).folder.exists())

    def check_inputs(self, detectors):
        """Raise an error when a network, or files of earlier runs, cannot be used. Called before any work is done.

        Parameters
        ----------
        detectors : list of str
            Names of the exposure's.
        """
        if self.network:
            from ..nebulosity.classifier import ORDERS
            read_network(self.network[0], ORDERS)
        if from_mapping(self.config).sky.keep and self.sky_from is None:
            raise ConfigError("sky.keep keeps a given sky, but there is none: name an earlier run's model file (--sky-from)")
        check_earlier(detectors, self.sky_from, self.psf_from)

    def check_outputs(self, inputs):
        """Raise an error when an output could not be written, would replace an input or needs a missing package.

        Called before any work is done; `inputs` are the files of the exposure.
        """
        check_ending(self.out)
        if str(self.out).lower().endswith(".parquet"):
            need("pyarrow.parquet", "parquet", "a Parquet catalog")
        if self.plot is not None or self.debug_plots is not None:
            need("matplotlib.figure", "plot", "a picture")
        for path in self.files:
            check_output(path, self.replaces)
        named = [Path(p).absolute() for p in self.files]
        if len(set(named)) < len(named):
            raise OutputError(f"{named[0]}: two outputs have the same name; give each its own")
        if self.debug_plots is not None:
            check_folder(self.debug_plots, self.replaces)
        # links that go round in a circle have no end, which is told when they are read
        read = {os.path.realpath(p) for p in (*inputs, *self.reads)}
        for path in named:
            if os.path.realpath(path) in read:
                raise OutputError(f"{path.name}: is read by this run; give the output another name")
        parts = Parts(self.out).folder
        if parts.exists() and not (self.resume or self.overwrite):
            raise OutputError(f"{parts}: holds finished detectors of a run that was cut off; go on with it (--resume) or start "
                              "anew (--overwrite)")

    def finished(self):
        """Whether a run that is to be resumed has nothing left to do."""
        wanted = [self.out, *self.planes.values()]
        return self.resume and not Parts(self.out).folder.exists() and all(Path(p).exists() for p in wanted)
