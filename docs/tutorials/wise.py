# %% [markdown]
"""
# WISE

A tile of the unWISE coadds. W1 is deeper: its stars are found first, and then measured in W2. The tile is simulated, and small.
With files of your own begin at *W1*.

`terminal("...")` runs a command, as you would type it in a terminal, and shows what it says.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from terminal import terminal

import crowdsource as cs

# %%
terminal("mkdir -p unwise")
terminal("crowdsource simulate unwise/1866p257 --instrument wise --shape 150 150 --stars 350 --overwrite")

# %% [markdown]
"""
## W1

The command wants the tile, the band, and the folder of the files.
"""

# %%
terminal("crowdsource wise 1866p257 1 --dir unwise --out w1.cat.fits --overwrite --quiet")
w1 = cs.read_result("w1.cat.fits").catalog
print(len(w1), "rows,", np.count_nonzero(w1["good"]), "good")
[name for name in w1.colnames if "unwise" in name or name in ("primary", "flags_info")]

# %% [markdown]
"""
## W2 at the positions of W1

The rows of both catalogs are the same stars, so that a colour is a difference of columns.
"""

# %%
terminal("crowdsource wise 1866p257 2 --dir unwise --force w1.cat.fits --out w2.cat.fits --overwrite --quiet")
w2 = cs.read_result("w2.cat.fits").catalog
both = [k for k in range(len(w1)) if w1["good"][k] and w2["flux"][k] > 3*w2["dflux"][k]]
figure, panel = plt.subplots(figsize=(5.4, 4), layout="constrained")
panel.plot((w1["mag"]-w2["mag"])[both], w1["mag"][both], ".", ms=3)
panel.set(xlabel="W1 - W2 (Vega)", ylabel="W1", title=f"{len(both)} stars")
panel.invert_yaxis()
plt.show()

# %% [markdown]
"""
Magnitudes are Vega. The PSF is a model, turned and blurred as the scans are; without the unWISE team's files a built-in one is
used, which is right to a per cent in its core, less so in the spikes of bright stars ([the PSF](../wise.md#psf)). `primary`
says whether a row is nearer to the middle of this tile than of another: use these rows where tiles overlap.
"""
