"""How well saturated stars are measured on their unsaturated pixels; prints Markdown.

python -m benchmarks.studies.saturated
"""
import sys

import numpy as np

from benchmarks.shared import table
from crowdsource.engine.loop import fit
from crowdsource.simulate import SimulationConfig, simulate_field

PEAKS, DENSITIES, STARS, SEEDS = (1., 3., 10.), (1000., 6000.), 30, (21, 22)
RADIUS = 2.
"""A row so near, in pixels, is the star's; the brightest counts."""


def errors(density, peak):
    """Relative flux errors, position errors (pixels) and pulls of stars of one peak, and how many there were."""
    out, stars = [], 0
    for seed in SEEDS:
        config = SimulationConfig(stars=density, saturated_stars=STARS, saturated_peaks=(peak, peak), brightest=1000., seed=seed)
        field = simulate_field(config)
        rows = fit(field.image()).catalog
        x, y, flux, error = (np.asarray(getattr(rows[n], "value", rows[n]), dtype=float) for n in ("x", "y", "flux", "dflux"))
        truth = field.truth[np.argsort(-np.asarray(field.truth["flux"]))[:STARS]]
        inside = [min(t["x"], t["y"]) > 20 and max(t["x"], t["y"]) < config.shape[0]-21 for t in truth]
        for t in truth[inside]:
            stars += 1
            near = np.flatnonzero(np.hypot(x-t["x"], y-t["y"]) < RADIUS)
            if len(near):
                k = near[np.argmax(flux[near])]
                out.append((flux[k]/t["flux"]-1, x[k]-t["x"], y[k]-t["y"], (flux[k]-t["flux"])/error[k]))
    return np.array(out), stars


def main():
    """Run all."""
    lines = []
    for density in DENSITIES:
        for peak in PEAKS:
            e, stars = errors(density, peak)
            scatter = 1.4826*np.median(np.abs(e-np.median(e, axis=0)), axis=0)
            position = np.hypot(*scatter[1:3])/np.sqrt(2)
            lines.append([f"{density:.0f}", f"{peak:g}", f"{len(e)} of {stars}", f"{100*np.median(e[:, 0]):+.2f}",
                          f"{100*scatter[0]:.2f}", f"{100*np.abs(e[:, 0]).max():.1f}", f"{position:.3f}", f"{scatter[3]:.2f}"])
    head = ["stars above 5 sigma", "peak / saturation", "found", "flux bias %", "scatter %", "largest error %", "position px",
            "pull"]
    sys.stdout.write(table(head, lines)+"\n")


if __name__ == "__main__":
    main()
