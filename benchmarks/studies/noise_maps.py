"""How an image's background scatters in units of its noise map, taken as what it is and as what it is not; prints Markdown.

    python -m benchmarks.studies.noise_maps FOLDER ...

Each folder has images ``NAME_im.fits`` with ``NAME_ivar.fits``, as `benchmarks.peers.fields` writes them.
"""
import sys
from pathlib import Path

import numpy as np

from benchmarks.shared import table
from crowdsource.core.noise import scatter_in_units_of
from crowdsource.core.noise_maps import NOISE_OF
from crowdsource.io.fits import read_image


def main(folders):
    """Measure each image."""
    rows = []
    for image in sorted(p for folder in folders for p in Path(folder).glob("*_im.fits")):
        given = image.with_name(image.name.replace("_im.fits", "_ivar.fits"))
        if given.exists():
            values = read_image(given).floats()
            with np.errstate(all="ignore"):
                found = scatter_in_units_of(NOISE_OF.values(), values, read_image(image).floats())
            rows.append([image.name.removesuffix("_im.fits"), *(f"{v:.3g}" for v in found)])
    print(table(["image", *(f"as {name}" for name in NOISE_OF)], rows))


if __name__ == "__main__":
    main(sys.argv[1:])
