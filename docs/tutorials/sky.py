# %% [markdown]
"""
# Catalogs of the sky

A release of objects becomes a HATS catalog: Parquet files by place on the sky. [lsdb](https://docs.lsdb.io) opens it, however
large it is, searches it and matches it with others. The detections come from a simulated survey of six exposures, without
pixels.

`terminal("...")` runs a command, as you would type it in a terminal, and shows what it says.
"""

# %%
from pathlib import Path

import lsdb
import matplotlib.pyplot as plt
from terminal import terminal

# %%
terminal("crowdsource simulate-survey catalogs --stars 2500 --exposures 6 --quiet --overwrite")
print(*sorted(p.name for p in Path("catalogs").glob("*.fits"))[:4], sep="\n")

# %% [markdown]
"""
## From catalogs to a release
"""

# %%
terminal("crowdsource healpix init store")
terminal("crowdsource healpix ingest store catalogs --quiet")
terminal("crowdsource healpix assemble store --release dr1 --quiet")
terminal("crowdsource healpix export store dr1 --release dr1 --detections nested")

# %% [markdown]
"""
## With lsdb

The catalog is opened, not read: rows are loaded when `compute` asks for them.
"""

# %%
objects = lsdb.open_catalog("dr1")
objects

# %%
near = objects.cone_search(270, -29, 60).compute()
print(len(near), "objects within 60 arcsec")
near[["ra", "dec", "n_det", "mag_r", "mag_error_r"]].head()

# %% [markdown]
"""
With `--detections nested` each object carries its detections along: a light curve is a column.
"""

# %%
star = near.sort_values("n_det").iloc[-1]
star["detections"][["mjd", "band", "calibrated_flux", "calibrated_flux_error"]]

# %%
figure, panel = plt.subplots(figsize=(5.4, 3.6), layout="constrained")
panel.plot(near["ra"], near["dec"], ".", ms=3)
panel.set(xlabel="ra", ylabel="dec", aspect="equal")
panel.invert_xaxis()
plt.show()

# %% [markdown]
"""
Other catalogs in this form are matched by `objects.crossmatch(other)`. [More about releases](../release.md).
"""
