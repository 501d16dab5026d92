# %% [markdown]
"""
# One image

A field is simulated, fitted and compared with its truth. With an image of your own begin at *The fit*.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import cKDTree

import crowdsource as cs

# %% [markdown]
"""
## The image

A field of 256 x 256 pixels. 600 of its stars are above 5 sigma, and there are many fainter ones. The file has the image, its
inverse variance, flags, and the list of true stars.
"""

# %%
field = cs.SimulationConfig(shape=(256, 256), stars=600, fwhm=3.6, saturated_stars=1, seed=11)
cs.write_simulation(cs.simulate_field(field), "field.fits", overwrite=True)

# %% [markdown]
"""
## The fit

A file name is enough. What lies in the file is recognised by the names of its HDUs. A result shows its figures and its first
rows; `result.catalog` has all rows, `result.image.findings` tells what was odd about the image.
"""

# %%
result = cs.fit("field.fits")
result

# %% [markdown]
"""
## Look at it

`result.plot()` is the page that the command writes with `--plot`. Image and model should look alike. The residual, in units of
the noise, should show no stars and no rings.
"""

# %%
result.plot()

# %% [markdown]
"""
A single star: in the image, without all others, and what is left when it is subtracted too.
"""

# %%
bright = int(np.argmax(np.where(result.catalog["good"], result.catalog["flux"].value, 0)))
cut = result.cutout(bright, 31)
figure, panels = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
planes = {"image": cut.data-np.median(cut.data), "the star alone": cut.alone, "residual": cut.residual}
for panel, (title, plane) in zip(panels, planes.items()):
    panel.imshow(plane, origin="lower", cmap="gray", vmin=-100, vmax=1500)
    panel.set_title(title)
    panel.set_axis_off()
plt.show()

# %% [markdown]
"""
## Which rows

Rows below 3 sigma, or with doubts, are there to take the light of faint stars out of others. They are not `good`
([why](../selection.md)). The names of the flags of a row (`bit0` is a bit of
the file's own flags, which has no name here):
"""

# %%
catalog = result.catalog
stars = catalog[catalog["good"]]
print(f"{len(catalog)} rows, {len(stars)} of them good")
flagged = catalog[catalog["flags"] != 0]
print(cs.decode(flagged["flags"][0]))

# %% [markdown]
"""
## Are the errors right?

The truth is known here. For stars above 10 sigma, the difference of fluxes in units of `dflux` should scatter by 1.
(`cs.compare` makes such scores by one call.)
"""

# %%
_, truth = cs.read_simulation("field.fits")
inside = (truth["x"] > 0) & (truth["x"] < 255) & (truth["y"] > 0) & (truth["y"] < 255)
bright = truth[inside & (truth["snr"] > 10)]
distance, row = cKDTree(np.c_[catalog["x"].value, catalog["y"].value]).query(np.c_[bright["x"], bright["y"]])
near = (distance < 1) & catalog["good"][row]
pull = (catalog["flux"].value[row]-bright["flux"])[near]/catalog["dflux"].value[row][near]
print(f"{near.sum()} of {len(bright)} stars above 10 sigma have a good row within a pixel")
print(f"median {np.median(pull):+.2f}, scatter {1.4826*np.median(np.abs(pull-np.median(pull))):.2f} (both in dflux)")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
left.hist(np.clip(pull, -5, 5), np.linspace(-5, 5, 31), color="#1f77a4")
left.set(xlabel="(flux - truth) / dflux", ylabel="stars")
right.loglog(catalog["flux"], catalog["dflux"], ".", ms=2, label="dflux, neighbours free")
right.loglog(catalog["flux"], catalog["dflux_iso"], ".", ms=2, label="dflux_iso, a star alone")
right.set(xlabel="flux", ylabel="error")
right.legend()
plt.show()

# %% [markdown]
"""
## Keep it

`write` gives the file that the command gives; `read_result` reads it back. A table of magnitudes for others is one line more.
"""

# %%
result.write("field.cat.fits", overwrite=True)
again = cs.read_result("field.cat.fits")
good = again.catalog[again.catalog["good"]]
good["ra", "dec", "mag", "dmag"].write("stars.ecsv", overwrite=True)
print(f"{len(again.catalog)} rows; stars are {np.median(again.catalog['fwhm'].value):.2f} pixels wide")

# %% [markdown]
"""
The same on the command line: `crowdsource field.fits --plot field.png`.

Next: [two bands](../notebooks/cmd.ipynb), [artificial stars](artificial_stars.py), or all that [Python](../python.md) can do.
"""
