# %% [markdown]
"""
# DECam

An exposure of the Dark Energy Camera, as the Community Pipeline delivers it: an image (`ooi`), inverse variances (`oow`) and
flags (`ood`). Here it is simulated, and small: two CCDs of 200 x 200 pixels. With an exposure of your own begin at *The fit*.

`terminal("...")` runs a command, as you would type it in a terminal, and shows what it says.
"""

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from terminal import terminal

import crowdsource as cs

# %%
name = "c4d_170316_062107_ooi_z_v1.fits"
terminal(f"crowdsource simulate {name} --instrument decam --ccds N4 S7 --shape 200 200 --overwrite")
print(*sorted(str(p) for p in Path().glob("c4d_*")), sep="\n")

# %% [markdown]
"""
## The fit

The name of the image is enough: the other files are found beside it. `--dry-run` would tell what is going to be done.
"""

# %%
terminal(f"crowdsource {name} --ccds N4 S7 --overwrite")

# %% [markdown]
"""
One file holds both CCDs; the names of HDUs begin with that of the CCD.
"""

# %%
catalog_name = "c4d_170316_062107_ooi_z_v1.cat.fits"
with fits.open(catalog_name) as hdus:
    print([hdu.name for hdu in hdus])
    print({key: hdus["N4_HDR"].header[key] for key in ("FWHMCRWD", "SKYCRWD", "GAINCRWD", "ZPCRWD")})
result = cs.read_result(catalog_name, detector="N4")
result

# %% [markdown]
"""
## Flags

The lower half of `flags` is the pipeline's, the upper half the engine's. Bits of an instrument have names, too:
"""

# %%
from crowdsource.exposure.instrument import load

flags = np.asarray(result.catalog["flags"])
decam = load("decam").flags
for definition in decam.definitions:
    number = np.count_nonzero(flags & (1 << definition.bit))
    if number:
        print(f"{number:5d} rows: {definition.name}, {definition.description}")

# %%
good = result.catalog[result.catalog["good"]]
figure, panel = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
panel.plot(good["mag"], good["dmag"], ".", ms=3)
panel.set(xlabel="z, with the header's zero point", ylabel="dmag", yscale="log", title=f"{len(good)} good rows of N4")
plt.show()

# %% [markdown]
"""
## Next

- [What is made of the planes](../decam.md), of bright stars and galaxies, and how right it is.
- Magnitudes are those of the header's `MAGZERO`. `crowdsource calibrate` replaces it by that of a reference ([two
  catalogs](../catalogs.md)).
- For many exposures: [a survey](survey.py).
"""
