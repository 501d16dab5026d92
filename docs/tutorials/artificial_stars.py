# %% [markdown]
"""
# Artificial stars

Which stars does a catalog miss? Add stars whose flux you know to the image, fit it again, and count. The answer is for your
image, with its crowding, its PSF and its bad pixels.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import crowdsource as cs

# %%
config = cs.SimulationConfig(shape=(256, 256), stars=500, fwhm=3.6, saturated_stars=0, seed=21)
field = cs.simulate_field(config)
image = field.image()
result = cs.fit(image)

# %% [markdown]
"""
## Completeness

Few stars are added at a time, so that they do not change the crowding, and the image is fitted again in several runs. With
`local=True` only cut-outs around the stars are fitted, which takes a tenth of the time.
"""

# %%
found = cs.completeness(image, result.psf, runs=2, local=True, purity=0, seed=1)
print(*found.lines(), sep="\n")

# %%
rows = found.surface[found.surface["density_class"] == 0]
magnitude = found.magnitude(np.sqrt(rows["flux_low"]*rows["flux_high"]))
fraction = np.array(rows["fraction"])
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.3), layout="constrained")
left.errorbar(magnitude, fraction, [fraction-rows["fraction_low"], rows["fraction_high"]-fraction], fmt="o", capsize=2)
along = np.linspace(magnitude.min(), magnitude.max(), 200)
left.plot(along, found.fraction(along), color="0.5", lw=1)
left.set(xlabel="magnitude", ylabel="part found", ylim=(0, 1.05))
right.errorbar(magnitude, rows["bias"], rows["scatter"], fmt="o", capsize=2)
right.axhline(0, color="0.5", lw=1)
right.set(xlabel="magnitude", ylabel="(flux - truth) / truth")
plt.show()

# %% [markdown]
"""
A star is found when a row that is not another star's lies close to it, with a flux right within a factor of 1.5.
[Completeness](../completeness.md) tells the rule, the tables, the depth map and what follows for `dflux`; the command is
`crowdsource completeness image.fits`.

To add stars by yourself, at positions and with colours that you choose, use `cs.inject`: it adds the photon noise too.
"""

# %%
error = np.median(result.catalog["dflux_iso"].value)
added = {"x": [60.3, 181.], "y": [100.7, 42.2], "flux": [40*error, 40*error]}
more = cs.inject(image, result.psf, added, seed=3)
print(f"added light: {np.sum(more.data-image.data):.0f} of {80*error:.0f}, and its noise")
