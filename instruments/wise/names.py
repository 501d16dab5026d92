"""Names of unWISE: tiles, and the files of a tile."""
import re
from pathlib import Path

from crowdsource.core.errors import OutputError

from .atlas import atlas

KINDS = "img-m", "invvar-m", "n-m", "n-u", "msk"
"""Image, inverse variance, numbers of exposures that were kept and of all, mask."""
OPTIONAL = "n-u", "msk"
COADD = re.compile(r"\d{4}[pm]\d{3}")
IMAGE = re.compile(r"unwise-(\d{4}[pm]\d{3})-w(\d)-img-m\.fits(\.gz)?$")
TRUTH = "unwise-{coadd}-truth.fits"
"""Name of the file of the true stars of a simulated tile."""


def files_of(folder, coadd, band, epoch):
    """The file of each kind, None where there is none.

    Parameters
    ----------
    folder : Path
    coadd : str
    band : int
    epoch : int or None

    Returns
    -------
    dict of str to (Path or None)
    """
    tops = {kind: [folder] if epoch is None else [folder/f"e{epoch:03d}"] for kind in KINDS}
    if epoch is not None:
        tops["msk"] = [folder/"fulldepth", folder]
    found = {}
    for kind in KINDS:
        file = f"unwise-{coadd}-msk.fits" if kind == "msk" else f"unwise-{coadd}-w{band}-{kind}.fits"
        tried = [where/(file+end) for top in tops[kind] for where in (top, top/coadd[:3]/coadd) for end in ("", ".gz")]
        found[kind] = next((path for path in tried if path.is_file()), None)
    return found


def tile_of(path):
    """(folder, coadd) of a tile that is written.

    Parameters
    ----------
    path : path-like
        A tile's name after its folder, as ``FOLDER/1866p257``, or one of its ``img-m`` files.

    Raises
    ------
    OutputError
        When it is neither.
    InputError
        When there is no such tile.
    """
    path = Path(path)
    found = IMAGE.search(path.name)
    coadd = found[1] if found else path.name
    if not COADD.fullmatch(coadd):
        raise OutputError(f"{path}: is no tile; end it with a tile's name, as 1866p257, or its unwise-1866p257-w1-img-m.fits")
    atlas().index(coadd)
    return path.parent, coadd


def paths_of(folder, coadd, bands, truth=False):
    """The files of a tile that is written: (band, kind), msk and truth; all but images and truth are compressed."""
    paths = {(band, kind): folder/f"unwise-{coadd}-w{band}-{kind}.fits{end}" for band in bands
             for kind, end in (("img-m", ""), ("invvar-m", ".gz"), ("n-m", ".gz"), ("n-u", ".gz"))}
    paths["msk"] = folder/f"unwise-{coadd}-msk.fits.gz"
    return {**paths, "truth": folder/TRUTH.format(coadd=coadd)} if truth else paths
