"""Artificial stars in all images of a field against the true stars of it, with their colours; and forced fits of one image.

python -m benchmarks.studies.completeness_field [--side 256] [--stars 300] [--fields 1] [--runs 16]
"""
import argparse
import sys
from dataclasses import replace

import numpy as np
from astropy.table import vstack

import crowdsource as cs
from benchmarks.shared import table
from crowdsource.joint.loop import ImageSource
from crowdsource.simulate.epochs import FIELD, EpochsConfig, simulate_epochs
from crowdsource.validate.completeness.colours import POGSON
from crowdsource.validate.completeness.field import field_runs
from crowdsource.validate.evaluate import robust_scatter

SNR = 5, 7, 10, 20, 50, 200
"""Bounds of bins of the signal to noise of an isolated star on the first image of g."""
BANDS = "g", "r"


def true_rows(truth, epochs, result):
    """What became of the true stars well on the reference, by band, as tables of artificial stars tell it; and their S/N."""
    number = result.names.index(result.objects.meta["reference"])
    place, (ny, nx) = epochs[number], epochs[number].simulation.data.shape
    sources = [ImageSource(n, e.image(), None, None) for n, e in zip(result.names, epochs)]
    runs = field_runs(result, sources, None)
    fluxes = {band: (e := epochs[result.names.index(units.image)]).constant*e.light
              for band, units in runs.reference.bands.items()}
    # the true stars are those of the catalog: no others are there that may have the rows
    alone = replace(runs, catalogs={band: t[:0] for band, t in runs.catalogs.items()})
    found = alone.recovered(dict(x=place.x, y=place.y), fluxes, runs.catalogs, 0)
    on = (np.minimum(place.x, place.y) > 6) & (place.x < nx-7) & (place.y < ny-7)
    return {band: found[found["band"] == band][on] for band in BANDS}, np.asarray(truth["snr"])[on]


def figures(tables, slope):
    """Parts that are found in each band and in both, and bias, scatter and pull of colours, as texts.

    Stars count for the former as flux^(1-slope): of artificial ones as many are in each interval of magnitude.
    """
    g, r = (tables[b] for b in BANDS)
    weight = np.asarray(g["flux"])**(1-slope)
    ratio = [np.asarray(t["flux_found"]/t["flux"]) for t in (g, r)]
    known = np.asarray(g["matched"] & r["matched"]) & (ratio[0] > 0) & (ratio[1] > 0)
    off = -POGSON*np.log(ratio[0][known]/ratio[1][known])
    error = POGSON*np.hypot(*(np.asarray(t["dflux"]/t["flux_found"])[known] for t in (g, r)))
    return [len(g), *(f"{100*np.average(v, weights=weight):.1f}" for v in (g["found"], r["found"], g["found"] & r["found"])),
            f"{1000*np.median(off):+.0f} +- {1250*robust_scatter(off)/np.sqrt(len(off)):.0f}", f"{1000*robust_scatter(off):.0f}",
            f"{robust_scatter(off/error):.2f}"]


def positions(tables, snr):
    """Biases, pulls and errors of positions by band and S/N."""
    for band in BANDS:
        for low, high in zip(SNR[:-1], SNR[1:]):
            rows = tables[band][(snr > low) & (snr <= high) & np.asarray(tables[band]["matched"])]
            off = np.asarray(rows["flux_found"]/rows["flux"])-1
            shift = np.r_[rows["x_found"]-rows["x"], rows["y_found"]-rows["y"]]
            yield [band, f"{low}-{high}", len(rows), f"{100*np.median(off):+.1f}", f"{100*robust_scatter(off):.1f}",
                   f"{robust_scatter(np.asarray((rows['flux_found']-rows['flux'])/rows['dflux'])):.2f}",
                   f"{robust_scatter(shift):.3f}", f"{robust_scatter(shift/np.r_[rows['dx'], rows['dy']]):.2f}"]


def forced(rows, snr):
    """Biases and pulls of a forced fit by S/N."""
    for low, high in zip(SNR[:-1], SNR[1:]):
        some = rows[(snr > low) & (snr <= high)]
        off = np.asarray(some["flux_found"]-some["flux"])
        relative, pull = off/some["flux"], off/np.asarray(some["dflux"])
        yield [f"{low}-{high}", len(some), f"{100*np.median(relative):+.1f}", f"{100*robust_scatter(relative):.1f}",
               f"{robust_scatter(pull):.2f}", f"{1.17*robust_scatter(pull)/np.sqrt(len(some)):.2f}"]


def main():
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, value in (("side", 256), ("stars", 300), ("fields", 1), ("runs", 16), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()
    true, artificial, true_snr, snr, given = [], [], [], [], []
    for seed in range(o.seed, o.seed+o.fields):
        field = replace(FIELD, shape=(o.side, o.side), stars=float(o.stars), seed=seed, saturated_stars=0, brightest=1000.)
        truth, epochs = simulate_epochs(EpochsConfig(images=2, bands=BANDS, field=field, variables=0., dither=10.))
        images = [e.image() for e in epochs]
        result = cs.fit_joint(images)
        rows, known = true_rows(truth, epochs, result)
        true.append(rows)
        true_snr.append(known)
        found = cs.completeness(images, result=result, runs=o.runs, purity=0, layout="random")
        artificial.append({band: found[band].table for band in BANDS})
        # of an artificial star by its flux, in the units of the objects, and of the first image
        unit, first = np.median(truth["snr"]/(epochs[0].constant*epochs[0].light)), result.placement.reference.bands["g"].image
        ratio = np.median(epochs[0].constant/epochs[result.names.index(first)].constant)
        snr.append(unit*ratio*np.asarray(found["g"].table["flux"]))
        positions_of = dict(x=epochs[0].x, y=epochs[0].y)
        alone = cs.completeness(images[0], sources=positions_of, runs=2*o.runs, layout="random").table
        given.append((alone, unit*np.asarray(alone["flux"])))
    true, artificial = ({b: vstack([t[b] for t in some]) for b in BANDS} for some in (true, artificial))
    true_snr, snr = np.concatenate(true_snr), np.concatenate(snr)
    lines = []
    for low, high in zip(SNR[:-1], SNR[1:]):
        for name, tables, value in (("true", true, true_snr), ("artificial", artificial, snr)):
            some = {b: t[(value > low) & (value <= high)] for b, t in tables.items()}
            lines.append([f"{low}-{high}", name, *figures(some, 1. if name == "true" else FIELD.slope)])
    write, heads = sys.stdout.write, ("S/N in g", "stars", "number", "found in g %", "in r %", "in both %", "g-r, bias, mmag")
    write(table((*heads, "scatter, mmag", "pull"), lines))
    write("\n\n"+table(("band", "S/N in g", "rows", "bias %", "scatter %", "pull", "position scatter", "position pull"),
                       positions(artificial, snr)))
    rows, value = vstack([t for t, _ in given]), np.concatenate([v for _, v in given])
    write("\n\n"+table(("S/N", "stars", "bias %", "scatter %", "pull", "error"), forced(rows, value))+"\n")


if __name__ == "__main__":
    main()
