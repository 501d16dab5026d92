"""Artificial stars against the true stars of the same simulated field, cut-outs against whole images, errors made right.

python -m benchmarks.studies.completeness [--side 512] [--stars 1500] [--runs 4] [--local-runs 10] [--seed 5]
"""
import argparse
import sys
import time
from functools import partial

import numpy as np
from astropy.stats import binom_conf_interval
from astropy.table import vstack

import crowdsource as cs
from benchmarks.shared import table
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.validate.completeness.local import LocalFit
from crowdsource.validate.completeness.measure import scene_of
from crowdsource.validate.completeness.plan import StarOptions, star_plan
from crowdsource.validate.completeness.trial import one_run
from crowdsource.validate.evaluate import FLUX_FACTOR, match_stars, robust_scatter

SNR = 3, 4, 5, 7, 10, 15, 20, 50, 100
"""Bounds of bins of the signal to noise of an isolated star."""
PULL_SNR = 5, 10, 20, 50, 200


def plain(catalog, *names):
    """Columns as plain arrays."""
    return {n: np.asarray(getattr(catalog[n], "value", catalog[n])) for n in names}


def true_stars(sim, catalog):
    """Which true stars a catalog has, and the row of each."""
    stars, rows = plain(sim.truth, "x", "y", "flux"), plain(catalog, "x", "y", "flux", "dflux")
    rows = {n: v[rows["flux"] > 0] for n, v in rows.items()}
    match = match_stars(stars, rows)
    ratio = np.where(match >= 0, rows["flux"][match], np.inf)/stars["flux"]
    return stars, rows, match, np.abs(np.log(ratio)) < np.log(FLUX_FACTOR)


def against_truth(sim, result, found):
    """Parts that are found, by artificial stars and of the true ones."""
    stars, _, _, right = true_stars(sim, result.catalog)
    ny, nx = sim.config.shape
    on = (stars["x"] > 0) & (stars["x"] < nx-1) & (stars["y"] > 0) & (stars["y"] < ny-1)
    unit = 5/sim.truth.meta["FLUX5"]
    for low, high in zip(SNR[:-1], SNR[1:]):
        true = on & (unit*stars["flux"] > low) & (unit*stars["flux"] <= high)
        some = found.table[(unit*found.table["flux"] > low) & (unit*found.table["flux"] <= high)]
        # artificial stars have as many in each interval of magnitude; true ones go as flux^-slope
        weight = np.asarray(some["flux"])**(1-sim.config.slope)
        share = np.average(some["found"], weights=weight)
        effective = weight.sum()**2/(weight**2).sum()
        low_bound, high_bound = binom_conf_interval(right[true].sum(), true.sum(), interval="jeffreys")
        error = np.hypot((high_bound-low_bound)/2, np.sqrt(max(share*(1-share), 0.01)/effective))
        curve = found.fraction(found.magnitude(stars["flux"][true])).mean()
        yield [f"{low}-{high}", true.sum(), f"{100*right[true].mean():.1f}", len(some), f"{100*share:.1f}", f"{100*curve:.1f}",
               f"{(right[true].mean()-share)/error:+.1f}"]


def pulls(sim, result, found):
    """Pulls of the true stars before and after errors are multiplied by the factors of the artificial ones."""
    stars, rows, match, _ = true_stars(sim, result.catalog)
    hit = match >= 0
    row = {n: v[match[hit]] for n, v in rows.items()}
    pull = (row["flux"]-stars["flux"][hit])/row["dflux"]
    after = pull/found.dflux_factor(row["flux"], found.density_of(row))
    snr = 5*row["flux"]/sim.truth.meta["FLUX5"]
    for low, high in zip(PULL_SNR[:-1], PULL_SNR[1:]):
        some = (snr > low) & (snr <= high)
        yield [f"{low}-{high}", some.sum(), f"{robust_scatter(pull[some]):.2f}", f"{robust_scatter(after[some]):.2f}",
               f"{1.17/np.sqrt(max(some.sum(), 1)):.2f}"]


def local_against_whole(image, result, runs):
    """The same stars fitted in cut-outs and in whole images: cost, and what differs."""
    scene = scene_of(image, result, partial(cs.fit))
    plan = star_plan(image, scene.catalog, scene.fwhm, StarOptions())
    start = time.process_time()
    whole = vstack([one_run(scene, plan, k) for k in range(runs)])
    middle = time.process_time()
    local = LocalFit(scene, result)
    cut = vstack([local(plan, k) for k in range(runs)])
    end = time.process_time()
    most = star_plan(image, scene.catalog, scene.fwhm, StarOptions(local=True))
    as_usual = local(most, 0)
    last = time.process_time()
    both = np.asarray(whole["found"] & cut["found"])
    change = np.asarray((cut["flux_found"]-whole["flux_found"])/whole["dflux"])[both]
    return [[len(whole), f"{1000*(middle-start)/len(whole):.1f}", f"{1000*(end-middle)/len(cut):.2f}",
             f"{(end-middle)/(middle-start):.3f}", f"{(last-end)/len(as_usual)/((middle-start)/len(whole)):.3f}",
             whole["found"].sum(), cut["found"].sum(), np.sum(whole["found"] != cut["found"]), f"{np.median(change):+.3f}",
             f"{robust_scatter(change):.2f}", f"{np.median((cut['dflux']/whole['dflux'])[both]):.2f}"]]


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, value in (("side", 512), ("stars", 1500), ("runs", 4), ("local-runs", 10), ("seed", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    sim = simulate_field(SimulationConfig(shape=(o.side, o.side), stars=float(o.stars), seed=o.seed, nebulosity=0.,
                                          saturated_stars=0, brightest=2000.))
    image = sim.image()
    result = cs.fit(image)
    heads = ("stars", "ms a star, whole", "ms, cut-outs", "ratio", "ratio, as many as have room", "found, whole",
             "found, cut-outs",
             "differ", "flux, median change/dflux", "scatter", "dflux ratio")
    sys.stdout.write(table(heads, local_against_whole(image, result, o.runs))+"\n\n")
    found = cs.completeness(image, result=result, runs=o.local_runs, local=True)
    sys.stdout.write(table(("S/N", "true stars", "found %", "artificial stars", "found %", "by the curve %", "difference/error"),
                           against_truth(sim, result, found))+"\n\n")
    sys.stdout.write(table(("S/N", "rows", "pull", "after", "error"), pulls(sim, result, found))+"\n\n")
    sys.stdout.write("\n".join(found.lines())+"\n")


if __name__ == "__main__":
    main()
