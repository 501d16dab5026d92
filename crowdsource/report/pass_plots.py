"""Small pictures of each pass of a fit."""
from pathlib import Path

import numpy as np

from ..core.errors import OutputError, need
from ..io.atomic import check_folder
from .measured import reduced
from .pictures import RESIDUAL_RANGE, STYLE, bar, psf_panels, save, show


class PassPlots:
    """An observer of a fit that writes the PSF and the residual after each pass.

    Parameters
    ----------
    folder : path-like
        Made with the first picture. Files are ``pass-NN-psf.png`` and ``pass-NN-residual.png``.
    overwrite : bool
        The folder may hold files already; those of the same names are replaced.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    OutputError
        When the folder cannot be made, or is not empty and may not be written over.
    """

    def __init__(self, folder, overwrite=False):
        need("matplotlib.figure", "plot", "a picture of each pass")
        self.folder = Path(folder)
        check_folder(self.folder, overwrite)

    def _make_folder(self):
        """Not before there is a picture: a fit that fails at once leaves nothing behind."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise OutputError(f"{self.folder}: the folder cannot be made: {problem.strerror}") from problem

    def __call__(self, state):
        """Draw the pictures of a pass, given its `crowdsource.engine.state.PassState`."""
        matplotlib = need("matplotlib", "plot", "a picture of each pass")
        self._make_folder()
        image, name = state.image, f"pass-{state.passno:02d}"
        with matplotlib.rc_context(STYLE):
            figure = matplotlib.figure.Figure(figsize=(8, 8*np.clip(image.shape[0]/image.shape[1], 0.4, 2)+0.4), layout="tight")
            axes = figure.add_subplot()
            plane, step = reduced(np.where(image.good, state.residual*np.sqrt(image.ivar), np.nan))
            ny, nx = image.shape
            shown = show(axes, plane, f"Pass {state.passno}: residual, {len(state.x)} sources", cmap="RdBu_r",
                          vmin=-RESIDUAL_RANGE, vmax=RESIDUAL_RANGE, extent=(-0.5, nx-0.5, -0.5, ny-0.5))
            bar(axes, shown, "sigma")
            save(figure, self.folder/f"{name}-residual.png")
            figure = matplotlib.figure.Figure(figsize=(10, 3.6), layout="constrained")
            residual = np.where(image.good, state.residual, np.nan)
            parts = dict(data=image.data, residual=residual)
            from astropy.table import Table
            sources = (np.asarray(state.x), np.asarray(state.y), np.asarray(state.flux), Table())
            psf_panels(figure, figure.add_gridspec(1, 3, wspace=0.3), state.psf, parts, sources)
            save(figure, self.folder/f"{name}-psf.png")
