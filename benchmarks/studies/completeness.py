"""Artificial stars against the true stars of the same simulated field, cut-outs against whole images, errors made right.

python -m benchmarks.studies.completeness [--side 512] [--stars 1500] [--fields 4] [--whole-runs N | --local-runs 5]
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


def against_truth(fields):
    """Parts that are found, by artificial stars and of the true ones, of (simulation, result, completeness) of several fields."""
    for low, high in zip(SNR[:-1], SNR[1:]):
        of_true, of_artificial, weights = [], [], []
        for sim, result, found in fields:
            stars, _, _, right = true_stars(sim, result.catalog)
            ny, nx = sim.config.shape
            unit = 5/sim.truth.meta["FLUX5"]
            on = (stars["x"] > 0) & (stars["x"] < nx-1) & (stars["y"] > 0) & (stars["y"] < ny-1)
            of_true.append(right[on & (unit*stars["flux"] > low) & (unit*stars["flux"] <= high)])
            some = found.table[(unit*found.table["flux"] > low) & (unit*found.table["flux"] <= high)]
            of_artificial.append(np.asarray(some["found"]))
            # artificial stars have as many in each interval of magnitude; true ones go as flux^-slope
            weights.append((unit*np.asarray(some["flux"]))**(1-sim.config.slope))
        true, artificial, weight = (np.concatenate(v) for v in (of_true, of_artificial, weights))
        share, effective = np.average(artificial, weights=weight), weight.sum()**2/(weight**2).sum()
        bounds = binom_conf_interval([true.sum(), share*effective], [len(true), effective], interval="jeffreys")
        error = np.hypot(*(np.diff(bounds, axis=0)[0]/2))
        yield [f"{low}-{high}", len(true), f"{100*true.mean():.1f}", len(artificial), f"{100*share:.1f}",
               f"{100*(share-true.mean()):+.1f}", f"{100*error:.1f}"]


def pulls(fields):
    """Pulls of the true stars before and after errors are multiplied by the factors of the artificial ones."""
    values = []
    for sim, result, found in fields:
        stars, rows, match, _ = true_stars(sim, result.catalog)
        hit = match >= 0
        row = {n: v[match[hit]] for n, v in rows.items()}
        pull = (row["flux"]-stars["flux"][hit])/row["dflux"]
        after = pull/found.dflux_factor(row["flux"], found.density_of(row))
        values.append((5*row["flux"]/sim.truth.meta["FLUX5"], pull, after))
    snr, before, after = (np.concatenate(v) for v in zip(*values))
    for low, high in zip(PULL_SNR[:-1], PULL_SNR[1:]):
        some = (snr > low) & (snr <= high)
        yield [f"{low}-{high}", some.sum(), f"{robust_scatter(before[some]):.2f}", f"{robust_scatter(after[some]):.2f}",
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
    for name, value in (("side", 512), ("stars", 1500), ("runs", 4), ("fields", 4), ("whole-runs", 0),
                        ("local-runs", 5), ("seed", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    fields = []
    for seed in range(o.seed, o.seed+o.fields):
        sim = simulate_field(SimulationConfig(shape=(o.side, o.side), stars=float(o.stars), seed=seed, nebulosity=0.,
                                              saturated_stars=0, brightest=2000.))
        image = sim.image()
        result = cs.fit(image)
        if seed == o.seed:
            heads = ("stars", "ms a star, whole", "ms, cut-outs", "ratio", "ratio, as many as have room", "found, whole",
                     "found, cut-outs", "differ", "flux, median change/dflux", "scatter", "dflux ratio")
            sys.stdout.write(table(heads, local_against_whole(image, result, o.runs))+"\n\n")
        how = dict(runs=o.whole_runs) if o.whole_runs else dict(runs=o.local_runs, local=True)
        fields.append((sim, result, cs.completeness(image, result=result, layout="random", purity=0, **how)))
    sys.stdout.write(table(("S/N", "true stars", "found %", "artificial stars", "found %", "difference", "error"),
                           against_truth(fields))+"\n\n")
    sys.stdout.write(table(("S/N", "rows", "pull", "after", "error"), pulls(fields))+"\n")


if __name__ == "__main__":
    main()
