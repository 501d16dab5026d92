# %% [markdown]
"""
# A survey

Some exposures in a folder become a catalog of objects. Four commands do it: `plan`, `run`, `status`, `healpix`. Each may be
given again at any time: what is done is not done twice. So it is the same for four exposures on a laptop and for a hundred
thousand on a cluster.

`terminal("...")` runs a command, as you would type it in a terminal, and shows what it says.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table
from terminal import terminal

import crowdsource as cs

# %% [markdown]
"""
## The exposures

Four exposures of the same stars, of two bands and with two seeings.
"""

# %%
terminal("mkdir -p images")
config = {"shape": (150, 150), "stars": 200, "saturated_stars": 0}
stars = cs.simulate_field(cs.SimulationConfig(seed=31, **config)).truth
x, y, flux = (np.array(stars[name]) for name in ("x", "y", "flux"))
for number, (band, fwhm) in enumerate((("g", 3.2), ("g", 4.2), ("r", 3.4), ("r", 3.9))):
    light = flux*(1.6 if band == "r" else 1)
    seen = cs.simulate_field(cs.SimulationConfig(fwhm=fwhm, seed=40+number, **config), stars=(x, y, light))
    seen.header["FILTER"], seen.header["MJD-OBS"] = band, 58000.+number
    cs.write_simulation(seen, f"images/{band}{number}.fits", overwrite=True)

# %% [markdown]
"""
## Plan

`plan` looks for exposures in folders, estimates what they take, and writes a *manifest*: a table with a row for each exposure
and detector. Files of DECam and unWISE are recognised; of others `--instrument generic` says how they are read.
"""

# %%
terminal("crowdsource plan images --instrument generic --out field.ecsv --overwrite")
Table.read("field.ecsv")["exposure", "instrument", "stars", "cpu", "memory", "problem"]

# %% [markdown]
"""
## Run

`--workers` is the number of processes. On a cluster the same command runs as a job array or with Dask ([where tasks
run](../production.md#where-tasks-run)).
"""

# %%
terminal("crowdsource run field.ecsv --workers 2 --quiet")
terminal("crowdsource status field.ecsv")

# %% [markdown]
"""
## Objects

The catalogs go into a store, by place on the sky. `assemble` decides which detections are one star and averages them.
"""

# %%
terminal("crowdsource healpix init store --bands g r")
terminal("crowdsource healpix ingest store field/*/*.cat.fits --quiet")
terminal("crowdsource healpix assemble store --release dr1 --quiet")
terminal("crowdsource healpix export store objects.fits --release dr1 --overwrite --quiet")
objects = Table.read("objects.fits")
objects["object_id", "n_det", "mag_g", "mag_error_g", "mag_r", "mag_error_r"][:5]

# %%
two = (objects["n_used_g"] == 2) & (objects["n_used_r"] == 2)
figure, panel = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
panel.plot(objects["mag_r"][two], (objects["mag_g"]-objects["mag_r"])[two], ".", ms=3)
panel.axhline(2.5*np.log10(1.6), color="0.5", lw=1)
panel.set(xlabel="r", ylabel="g - r", ylim=(-0.5, 1.5), title=f"{two.sum()} objects seen in all four exposures")
plt.show()

# %% [markdown]
"""
All stars were made with one colour, the grey line. The next tutorial gives such a release [to others](sky.py). Details: [many
exposures](../production.md), [the store](../store.md), [objects](../objects.md).
"""
