# %% [markdown]
"""
# Forced photometry

A deep image tells where the stars are. A shallow one, of another night or band, is measured at these positions. So every star
has a flux there, also one that nobody would have found: an upper limit, or its share of a mean.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

import crowdsource as cs

# %% [markdown]
"""
## Two images of one field

The same stars, two seeings. The second image has a fifth of the light. A variable star is in the field: it has faded to nothing
there.
"""

# %%
deep = cs.SimulationConfig(shape=(200, 200), stars=350, fwhm=3.2, saturated_stars=0, seed=5)
simulated = cs.simulate_field(deep)
x, y, flux = (np.array(simulated.truth[name]) for name in ("x", "y", "flux"))
fades = int(np.argsort(flux)[-8])
faint = np.where(np.arange(len(flux)) == fades, 0, 0.2*flux)
worse = cs.SimulationConfig(shape=(200, 200), fwhm=4.1, saturated_stars=0, seed=6)
shallow = cs.simulate_field(worse, stars=(x, y, faint))
cs.write_simulation(simulated, "deep.fits", overwrite=True)
cs.write_simulation(shallow, "shallow.fits", overwrite=True)

# %% [markdown]
"""
## Find in one, measure in the other
"""

# %%
found = cs.fit("deep.fits")
forced = cs.fit("shallow.fits", sources=found.catalog)
free = cs.fit("shallow.fits")
print(f"{len(found.catalog)} rows in the deep image; as many in the forced fit: {len(forced.catalog)}")
print(f"a free fit of the shallow image finds {len(free.catalog)}")
forced.catalog["input_row", "flux", "dflux", "flags"][:5]

# %% [markdown]
"""
The catalog has a row for each given position, in their order. The PSF and the sky are those of the shallow image itself.
`deltx` and `delty` say where a star would rather be: for bright stars a check of the positions.

The image has world coordinates, so that `ra` and `dec` of the list are used. Lists of other programs work too: see
[forced fits](../python.md#forced-fits). On the command line it is `crowdsource generic shallow.fits --force deep.cat.fits`.
"""

# %%
ratio = forced.catalog["flux"].value/found.catalog["flux"].value
good = found.catalog["good"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.semilogx(found.catalog["flux"].value[good], ratio[good], ".", ms=3)
left.axhline(0.2, color="0.5", lw=1)
left.set(xlabel="flux in the deep image", ylabel="shallow / deep", ylim=(-0.3, 0.7), title="all have a flux")
signal = forced.catalog["flux"].value/forced.catalog["dflux"].value
right.hist(np.clip(signal, -5, 15), np.linspace(-5, 15, 41), color="#1f77a4")
right.set(xlabel="flux / dflux in the shallow image", ylabel="rows", title="most are faint there")
plt.show()

# %% [markdown]
"""
## The star that has faded

Its flux agrees with 0. `flux + 2 dflux` is an upper limit. Negative fluxes are right: keep them in means.
"""

# %%
near = np.argmin(np.hypot(found.catalog["x"].value-x[fades], found.catalog["y"].value-y[fades]))
row = forced.catalog[near]
print(f"deep: {found.catalog['flux'][near]:.0f}   shallow: {row['flux']:.0f} +- {row['dflux']:.0f}")
faintest = good & (found.catalog["flux"].value < 10*found.catalog["dflux"].value)
weight = forced.catalog["dflux"].value[faintest]**-2
mean = np.sum(weight*forced.catalog["flux"].value[faintest])/np.sum(weight)
print(f"mean of the {faintest.sum()} faintest good stars: {mean:.1f} +- {np.sum(weight)**-0.5:.1f}")

# %% [markdown]
"""
## A list of your own

Any table with positions does; columns of identifiers go along. These positions are wrong by 0.2 pixels in x. With `fixed=False`
they are where the fit begins, and move.
"""

# %%
names = [f"star-{k}" for k in range(len(found.catalog))]
mine = Table({"name": names, "x": found.catalog["x"].value+0.2, "y": found.catalog["y"].value})
moved = cs.fit("shallow.fits", sources=mine, fixed=False).catalog
bright = moved["flux"] > 50*moved["dflux_iso"]
print(f"bright stars moved by {np.median(moved['x'].value[bright]-mine['x'][bright]):+.2f} pixels in x")
moved["name", "flux", "dflux"][:3]
