# %% [markdown]
"""
# Many epochs

Six images of one field, taken at different times, with shifts, rotations, seeing and transparency of their own. Fitted one by
one they would give six lists of stars. A joint fit gives one list, and a light curve for each star ([how](../joint.md)).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

import crowdsource as cs
from crowdsource.simulate.epochs import EpochsConfig, simulate_epochs

# %% [markdown]
"""
## The images

A tenth of the stars varies, by 0.2 mag. The images have no world coordinates: the patterns of stars tell how they lie on each
other.
"""

# %%
field = cs.SimulationConfig(shape=(180, 180), stars=130, fwhm=3.4, slope=1.5, brightest=300, saturated_stars=0, seed=8)
truth, epochs = simulate_epochs(EpochsConfig(images=6, field=field, dither=8, variables=0.1, variation=0.2, fwhm=(3, 4.5)))
images = [epoch.image() for epoch in epochs]
names = [f"night{k}" for k in range(len(epochs))]

# %% [markdown]
"""
## The fit

On the command line this is `crowdsource joint night*.fits --out-dir field`.
"""

# %%
result = cs.fit_joint(images, names=names)
result.images["image", "band", "mjd", "scale"]

# %%
result.objects["object_id", "n_images", "n_detected", "rchi2", "stetson_j"][:5]

# %% [markdown]
"""
## Light curves

`result.light_curves` has a row for each star and image, on the flux scale of the reference image. `stetson_j` is large for
stars that vary from image to image by more than their errors.
"""

# %%
objects, curves = result.objects, result.light_curves
variable = np.argsort(np.nan_to_num(objects["stetson_j"], nan=-1))[::-1][:4]
figure, panels = plt.subplots(1, 4, figsize=(10, 2.6), layout="constrained")
for panel, k in zip(panels, variable):
    own = curves[curves["object_id"] == objects["object_id"][k]]
    flux, error = (np.asarray(getattr(own[c], "value", own[c])) for c in ("flux", "dflux"))
    panel.errorbar(range(len(own)), flux/flux.mean(), error/flux.mean(), fmt="o", ms=4)
    panel.set(title=f"object {objects['object_id'][k]}", xlabel="image", ylim=(0.4, 1.6))
panels[0].set_ylabel("flux / mean")
plt.show()

# %% [markdown]
"""
The truth: did these stars vary? Each is looked for in the list of true stars, on the image that became the reference.
"""

# %%
reference = epochs[names.index(objects.meta["reference"])]
for k in variable:
    near = np.argmin(np.hypot(reference.x-objects["x"][k].value, reference.y-objects["y"][k].value))
    varies = "a variable" if truth["variable"][near] else "a constant"
    print(f"object {objects['object_id'][k]}: J {objects['stetson_j'][k]:.1f}, in truth {varies} star")

# %% [markdown]
"""
## What else

- `cs.write_joint(result, "field")` writes the files that the command writes.
- Proper motions and parallaxes: `cs.JointConfig(motion=True)`, where images have dates.
- Fields that are too large for the memory: `--tile`.
- For means of a light curve the errors `dflux` of the table are independent from image to image; see
  [errors](../joint.md#errors).
"""
