"""Joint fits of many images against fits of single ones: depth, errors, motions, bands, repeats of real images; prints Markdown.

    python -m benchmarks.studies.joint truth [IMAGES ...]     simulated images, 1 4 16 64 by default, and a single image as deep
    python -m benchmarks.studies.joint bands                  two bands together and each alone
    python -m benchmarks.studies.joint motions                proper motions, and these with parallaxes
    python -m benchmarks.studies.joint real IMAGE ...         repeats of real images, alone and together; halves by date

Options of the instrument for real images: --gain, --saturation, --readnoise.
"""
import argparse
import time
from dataclasses import replace

import numpy as np
from astropy.io import fits
from scipy.spatial import cKDTree

from benchmarks.shared import table
from crowdsource import Image, fit
from crowdsource.joint.config import JointConfig
from crowdsource.joint.frame import powers
from crowdsource.joint.loop import fit_joint
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.epochs import EpochsConfig, simulate_epochs
from crowdsource.validate.evaluate import match_stars, unexplained

SNR = (1, 2), (2, 3), (3, 5), (5, 7), (7, 10), (10, 20), (20, 50), (50, 200), (200, 1e5)
"""Of an isolated star on one image like the reference."""
HEAD = ["rows", "spurious %", "S/N of half found", *(f"found % {low:g}-{high:g}" for low, high in SNR), "CPU s per image"]
COLUMNS = "x", "y", "flux", "dflux", "dx", "dy"
EDGE = 12
BETTER = 1.5
"""A star is found where its flux is right within this factor."""
NEAR = 1.
"""An object so close to a star that varies may be that star, pixels."""
MANY = 0.8
"""Share of the images that show an object whose scatter counts."""
MMAG = 2500/np.log(10)
FEW = 12
LEAST_MOTION, LEAST_PARALLAX = 0.003, 0.3
"""Errors of what bright stars have in common that no photon noise explains, pixels a year, and mas."""


def scatter(values):
    """Robust standard deviation; NaN of few values."""
    values = values[np.isfinite(values)]
    return 1.4826*np.median(np.abs(values-np.median(values))) if len(values) >= FEW else np.nan


def text(value, digits=1):
    return f"{value:.{digits}f}" if np.isfinite(value) else ""


def field(stars, seed=5):
    return SimulationConfig(shape=(512, 512), stars=stars, fwhm=3.6, sky=300., seed=seed, faintest=0.1, saturated_stars=0)


def columns(catalog, names):
    return {n: np.asarray(getattr(catalog[n], "value", catalog[n]), float) for n in names}


def scores(rows, stars, snr):
    """Cells by bin of signal to noise: stars, found, flux scatter and pull, position pull; rows, spurious rows."""
    ny = nx = 512
    def inside(t):
        return (t["x"] > EDGE) & (t["y"] > EDGE) & (t["x"] < nx-1-EDGE) & (t["y"] < ny-1-EDGE)
    use = inside(rows) & (rows["flux"] > 0)
    rows = {n: v[use] for n, v in rows.items()}
    use = inside(stars)
    stars, snr = {n: v[use] for n, v in stars.items()}, snr[use]
    row, lone = match_stars(stars, rows), unexplained(stars, rows)
    cells = []
    for low, high in SNR:
        s = (snr >= low) & (snr < high)
        hit = np.flatnonzero(s & (row >= 0))
        ratio = rows["flux"][row[hit]]/stars["flux"][hit]
        good = hit[np.abs(np.log(ratio)) < np.log(BETTER)]
        off = rows["flux"][row[good]]-stars["flux"][good]
        moved = np.r_[tuple((rows[c][row[good]]-stars[c][good])/rows["d"+c][row[good]] for c in "xy")]
        cells.append([f"{low:g}-{high:g}", int(s.sum()), 100*len(good)/max(1, s.sum()), 100*scatter(off/stars["flux"][good]),
                      scatter(off/rows["dflux"][row[good]]), scatter(moved)])
    return cells, len(lone), 100*np.mean(lone)


def depth(cells):
    """Signal to noise at which half of the stars are found, between the bins' middles."""
    middle, found = np.array([[np.sqrt(float(c[0].split("-")[0])*float(c[0].split("-")[1])), c[2]] for c in cells]).T
    k = int(np.argmax(found > 50))
    if k == 0:
        return middle[0]
    part = (50-found[k-1])/(found[k]-found[k-1])
    return float(middle[k-1]*(middle[k]/middle[k-1])**part)


def reference_truth(epochs, names, reference):
    """The truth on the image that became the reference: places and fluxes in the box of its PSF, without variations."""
    epoch = epochs[names.index(reference)]
    return dict(x=epoch.x, y=epoch.y, flux=epoch.constant*epoch.light)


def joint(epochs, world=False, **options):
    """A joint fit of simulated images, with their world coordinates or without, and its CPU seconds."""
    names = [f"i{k:03d}" for k in range(len(epochs))]
    start = time.process_time()
    result = fit_joint([e.image(world) for e in epochs], names=names, joint=JointConfig(**options))
    return result, names, time.process_time()-start


def truth_study(numbers, stars):
    """Depth and errors against the number of images; a single image as deep for comparison."""
    lines, detail = [], []
    for images in numbers:
        truth, epochs = simulate_epochs(EpochsConfig(images=images, field=field(stars)))
        result, names, cpu = joint(epochs)
        wanted = reference_truth(epochs, names, result.objects.meta["reference"])
        rows = columns(result.objects, COLUMNS)
        lines.append(row_of(f"{images} images", scores(rows, wanted, np.asarray(truth["snr"])), cpu/images))
        detail.append((f"{images} images", scores(rows, wanted, np.asarray(truth["snr"]))[0],
                       repeats(result, constant(rows, wanted, np.asarray(truth["variable"])))))
        first = epochs[0]
        if images == numbers[0]:
            start = time.process_time()
            alone = fit(first.image())
            cpu = time.process_time()-start
            own = dict(x=first.x, y=first.y, flux=first.flux*first.light)
            single = scores(columns(alone.catalog, COLUMNS), own, np.asarray(truth["snr"]))
            lines.insert(0, row_of("the reference alone", single, cpu))
        if images > 1:
            # one exposure as long as all together, at their mean seeing
            c = replace(first.simulation.config, fwhm=float(np.mean([e.simulation.config.fwhm for e in epochs])),
                        gain=first.simulation.config.gain*images, readnoise=first.simulation.config.readnoise*images**0.5)
            deep = simulate_field(c, stars=(first.x, first.y, first.flux))
            found = fit(deep.image())
            own = dict(x=first.x, y=first.y, flux=first.flux*first.light)
            lines.append(row_of(f"one exposure as long as {images}",
                                scores(columns(found.catalog, COLUMNS), own, np.asarray(truth["snr"])), np.nan))
    print(f"{stars:g} stars above 5 sigma of the reference\n")
    print(table(["fit", *HEAD], lines), "\n")
    for name, cells, repeated in detail:
        print(name, "\n")
        print(table(["S/N", "stars", "found %", "flux scatter %", "flux pull", "position pull"],
                    [[c[0], c[1], *(text(v, d) for v, d in zip(c[2:], (1, 2, 2, 2)))] for c in cells]), "\n")
        if repeated:
            print(table(["S/N of the mean", "objects", "chi of repeats"], repeated), "\n")


def row_of(name, score, cpu):
    cells, rows, spurious = score
    return [name, rows, text(spurious), text(depth(cells), 2), *(text(c[2]) for c in cells), text(cpu, 2)]


def constant(rows, stars, variable):
    """Which objects are not within `NEAR` of a star that varies."""
    places = cKDTree(np.c_[stars["x"], stars["y"]][variable])
    return places.query(np.c_[rows["x"], rows["y"]])[0] > NEAR


def repeats(result, which):
    """Scatter of the fluxes of some objects about their means, in `dflux_epoch`, by signal to noise."""
    curves, images = result.light_curves, len(result.names)
    if images < 3:
        return []
    ids, flux, error = (np.asarray(getattr(curves[n], "value", curves[n])) for n in ("object_id", "flux", "dflux"))
    known = np.isfinite(error) & (np.asarray(curves["qf"]) > 0.9) & which[ids]
    ids, flux, error = ids[known], flux[known], error[known].astype(float)
    n = len(result.objects)
    weight = 1/error**2
    total, count = np.bincount(ids, weight, n), np.bincount(ids, minlength=n)
    mean = np.bincount(ids, weight*flux, n)/np.where(total > 0, total, 1)
    wide = np.sqrt(np.maximum(1-weight/total[ids], 1e-3))
    chi = (flux-mean[ids])/error/wide
    snr = (mean*np.sqrt(total))[ids]
    out = []
    for low, high in ((3, 5), (5, 10), (10, 20), (20, 50), (50, 100), (100, 1e5)):
        s = (snr >= low) & (snr < high) & (count[ids] > 0.8*images)
        out.append([f"{low:g}-{high:g}", len(np.unique(ids[s])), text(scatter(chi[s]), 2)])
    return out


def bands_study(stars):
    """Two bands together and each alone: what is found, and the scatter of colours about the truth."""
    c = EpochsConfig(images=4, bands=("g", "r"), field=field(stars), variables=0.)
    truth, epochs = simulate_epochs(c)
    snr, rows = np.asarray(truth["snr"]), []
    whole = joint(epochs)
    alone = {b: joint([e for e in epochs if e.band == b]) for b in c.bands}
    for name, (result, own, cpu), part in [("g and r", whole, epochs)]+[
            (b, alone[b], [e for e in epochs if e.band == b]) for b in c.bands]:
        wanted = reference_truth(part, own, result.objects.meta["reference"])
        band = part[own.index(result.objects.meta["reference"])].band
        flux = f"flux_{band}" if name == "g and r" else "flux"
        cat = columns(result.objects, ("x", "y", flux, "d"+flux, "dx", "dy"))
        cat = dict(x=cat["x"], y=cat["y"], flux=cat[flux], dflux=cat["d"+flux], dx=cat["dx"], dy=cat["dy"])
        rows.append(row_of(name, scores(cat, wanted, snr), cpu/len(part)))
    print(table(["bands", *HEAD], rows), "\n")
    print(table(["S/N", "stars", "scatter of the colour together, mag", "of separate fits, mag"],
                colours(truth, epochs, whole, alone)))


def colours(truth, epochs, whole, alone):
    """Scatter of colours less the true ones, by signal to noise, of the same stars."""
    both, names, _ = whole
    first = {b: next(e for e in epochs if e.band == b) for b in ("g", "r")}
    true = -2.5*np.log10(first["g"].constant/first["r"].constant)
    ref = epochs[names.index(both.objects.meta["reference"])]
    where = cKDTree(np.c_[ref.x, ref.y])

    def matched(x, y):
        off, star = where.query(np.c_[x, y], distance_upper_bound=1.)
        return np.where(np.isfinite(off), star, -1)

    o = both.objects
    star = matched(np.asarray(o["x"].value), np.asarray(o["y"].value))
    together = np.full(len(truth), np.nan)
    flux = {b: np.asarray(o[f"flux_{b}"].value) for b in ("g", "r")}
    good = (star >= 0) & (flux["g"] > 0) & (flux["r"] > 0)
    together[star[good]] = -2.5*np.log10(flux["g"][good]/flux["r"][good])
    separate = np.full((2, len(truth)), np.nan)
    for line, b in zip(separate, ("g", "r")):
        result, own, _ = alone[b]
        part = [e for e in epochs if e.band == b]
        e = part[own.index(result.objects.meta["reference"])]
        own = columns(result.objects, COLUMNS)
        off, star = cKDTree(np.c_[e.x, e.y]).query(np.c_[own["x"], own["y"]], distance_upper_bound=1.)
        good = np.isfinite(off) & (own["flux"] > 0)
        line[star[good]] = -2.5*np.log10(own["flux"][good])
    separate, snr, rows = separate[0]-separate[1], np.asarray(truth["snr"]), []
    for low, high in SNR:
        s = (snr >= low) & (snr < high) & np.isfinite(together) & np.isfinite(separate)
        rows.append([f"{low:g}-{high:g}", int(s.sum()), *(text(scatter((v-true)[s]), 3) for v in (together, separate))])
    return rows


def motions_study(stars):
    """Proper motions of 0.1 pixels a year in three years against the truth."""
    truth, epochs = simulate_epochs(EpochsConfig(images=12, field=field(stars), motion=0.1, years=3., variables=0.))
    result, names, _ = joint(epochs, motion=True)
    e, o = epochs[names.index(result.objects.meta["reference"])], result.objects
    off, star = cKDTree(np.c_[e.x, e.y]).query(np.c_[o["x"].value, o["y"].value], distance_upper_bound=1.)
    good = np.isfinite(off)
    star = np.where(good, star, 0)
    angle = np.angle(np.median((e.x[1:]-e.x[:-1]+1j*(e.y[1:]-e.y[:-1]))/np.asarray(truth["x"][1:]-truth["x"][:-1]+1j*(
        truth["y"][1:]-truth["y"][:-1]))))
    turned = (np.asarray(truth["pm_x"])+1j*np.asarray(truth["pm_y"]))*np.exp(1j*angle)
    left = np.stack([np.asarray(o["pm_"+axis].value)-true[star] for axis, true in (("x", turned.real), ("y", turned.imag))])
    error = np.stack([np.asarray(o["dpm_"+axis].value) for axis in "xy"])
    known = good & np.isfinite(left+error).all(axis=0)
    bright = known & (np.asarray(truth["snr"])[star] > 20)
    left = np.stack([relative(o, *values, bright, LEAST_MOTION) for values in zip(left, error)])
    print(table(["S/N", "objects", "scatter, millipixels a year", "error", "pull"],
                astrometry_rows(np.asarray(truth["snr"])[star], known, 1000*left, 1000*error)))


def astrometry_rows(snr, known, left, error):
    """Rows by signal to noise: objects, scatter of what is wrong, error, and pull; shape (values, n) of the last two."""
    rows = []
    for low, high in SNR[3:]:
        s = known & (snr >= low) & (snr < high)
        rows.append([f"{low:g}-{high:g}", int(s.sum()), text(scatter(left[:, s].ravel())), text(np.median(error[:, s])),
                     text(scatter((left[:, s]/error[:, s]).ravel()), 2)])
    return rows


def parallaxes_study(stars):
    """Parallaxes of 10 mas in the mean beside motions, twelve images in two years, against the truth."""
    truth, epochs = simulate_epochs(EpochsConfig(images=12, field=field(stars), motion=0.1, parallax=10., years=2., variables=0.))
    result, names, _ = joint(epochs, world=True, parallax=True)
    e, o = epochs[names.index(result.objects.meta["reference"])], result.objects
    off, star = cKDTree(np.c_[e.x, e.y]).query(np.c_[o["x"].value, o["y"].value], distance_upper_bound=1.)
    star = np.where(np.isfinite(off), star, 0)
    snr, left = np.asarray(truth["snr"])[star], np.asarray(o["parallax"].value-truth["parallax"][star])
    error = np.asarray(o["dparallax"].value)
    known = np.isfinite(off+left+error)
    left = relative(o, left, error, known & (snr > 20), LEAST_PARALLAX)
    print(table(["S/N", "objects", "scatter, mas", "error", "pull"], astrometry_rows(snr, known, left[None], error[None])))


def relative(objects, left, error, bright, least):
    """What is left of motions or parallaxes without what bright stars have in common, as polynomials of the position.

    Frames take that up.
    """
    terms = powers(*((np.asarray(objects[c].value)-256)/256 for c in "xy"), 3)
    root = 1/np.hypot(error[bright], least)
    return left-terms@np.linalg.lstsq(terms[bright]*root[:, None], left[bright]*root, rcond=None)[0]


def read(path, args):
    with fits.open(path) as hdus:
        h = next(h for h in hdus if h.data is not None)
        return Image.from_arrays(h.data.astype(np.float32), gain=args.gain, saturation=args.saturation, readnoise=args.readnoise,
                                 mjd=float(h.header.get("MJD-OBS", np.nan)))


def real_study(paths, args):
    """Repeats of real images by magnitude, alone and together."""
    images = [read(p, args) for p in paths]
    names = [f"{k:03d}" for k in range(len(paths))]
    start = time.process_time()
    single = [fit(i) for i in images]
    alone = time.process_time()-start
    start = time.process_time()
    result = fit_joint(images, names=names)
    together = time.process_time()-start
    print(f"{len(images)} images; CPU seconds {alone:.1f} alone, {together:.1f} together; rows on an image "
          f"{np.mean([len(s.catalog) for s in single]):.0f} alone, {np.mean(result.images['sources']):.0f} together\n")
    head = ["magnitude from the brightest", "objects, those found alone", "rms together, mmag", "of those", "alone", "ratio",
            "error together", "chi"]
    print(table(head, repeat_rows(result, single, names)), "\n")
    order = np.argsort([i.mjd for i in images])
    halves = [fit_joint([images[k] for k in part], names=[names[k] for k in part]) for part in np.array_split(order, 2)]
    print(in_both(halves, result))


def repeat_rows(result, single, names):
    """Cells by bin of magnitude; bins begin at the brightest star that is nowhere saturated."""
    images = len(result.names)
    flux, error = curves_of(result)
    alone = at_objects(result, [single[names.index(name)].catalog for name in result.names])
    both = np.isfinite(alone).sum(axis=0) >= MANY*images
    bins, rows = magnitude_bins(result, flux), []
    alone = on_one_scale(alone, flux, both & np.any(bins, axis=0))
    for b, s in enumerate(bins):
        t = s & both
        weight = 1/error[:, s]**2
        mean = np.nansum(weight*flux[:, s], axis=0)/np.nansum(np.where(np.isfinite(flux[:, s]), weight, 0), axis=0)
        chi = (flux[:, s]-mean)/error[:, s]*np.sqrt(images/(images-1))
        cells = rms(flux[:, s]), rms(flux[:, t]), rms(alone[:, t])
        rows.append([b+1, f"{s.sum()}, {t.sum()}", text(cells[0]), text(cells[1]), text(cells[2]), text(cells[1]/cells[2], 2),
                     text(np.nanmedian(MMAG*error[:, s]/flux[:, s])), text(scatter(chi), 2)])
    return rows


def curves_of(result):
    """Fluxes and errors of the light curves of a joint fit, shape (images, objects)."""
    curves, number = result.light_curves, {name: k for k, name in enumerate(result.names)}
    of_curves, place = np.unique(np.asarray(curves["image"]), return_inverse=True)
    k = np.array([number[str(i)] for i in of_curves])[place]
    flux, error = np.full((2, len(result.names), len(result.objects)), np.nan)
    ids = np.asarray(curves["object_id"])
    flux[k, ids], error[k, ids] = curves["flux"].value, curves["dflux"].value
    return flux, error


def at_objects(result, catalogs):
    """Fluxes of the rows of each image's catalog that are nearest to the objects of a joint fit, shape (images, objects)."""
    x, y = np.asarray(result.objects["x"].value), np.asarray(result.objects["y"].value)
    out = np.full((len(catalogs), len(x)), np.nan)
    for line, frame, catalog in zip(out, result.frames, catalogs):
        cat = columns(catalog, ("x", "y", "flux"))
        px, py = frame(x, y)
        off, row = cKDTree(np.c_[cat["x"], cat["y"]]).query(np.c_[px, py], distance_upper_bound=1.)
        back = cKDTree(np.c_[px, py]).query(np.c_[cat["x"], cat["y"]])[1]
        mine = np.flatnonzero(np.isfinite(off))
        mine = mine[back[row[mine]] == mine]
        line[mine] = cat["flux"][row[mine]]
    return out


def on_one_scale(fluxes, like, stars):
    """Fluxes of other catalogs, each image's divided by the median ratio to those of a joint fit; of some stars."""
    with np.errstate(all="ignore"):
        return fluxes/np.nanmedian(fluxes[:, stars]/like[:, stars], axis=1)[:, None]


def magnitude_bins(result, flux):
    """Objects that most images show and none saturates, in bins of a magnitude."""
    saturated = (np.asarray(result.objects["flags"]) >> 32) & 2 > 0
    with np.errstate(all="ignore"):
        mag = -2.5*np.log10(np.nanmedian(flux, axis=0))
    usable = (np.isfinite(flux).sum(axis=0) >= MANY*len(flux)) & ~saturated & np.isfinite(mag)
    first = np.sort(mag[usable])[10]
    return [usable & (mag >= first+b) & (mag < first+b+1) for b in range(6)]


def rms(flux):
    """Median over stars of the standard deviation of their magnitudes, mmag."""
    with np.errstate(all="ignore"):
        mags = MMAG*np.log(np.where(flux > 0, flux, np.nan))
        return float(np.nanmedian(np.nanstd(mags, axis=0, ddof=1))) if flux.size else np.nan


def in_both(halves, whole):
    """Share of the objects of each half that the other has too, by magnitude."""
    first, second = halves
    by = {name: k for k, name in enumerate(whole.names)}
    places = []
    for half in halves:
        frame = whole.frames[by[half.objects.meta["reference"]]]
        places.append(np.c_[frame.inverse(half.objects["x"].value, half.objects["y"].value)])
    inside = [(p.min(axis=1) > 60) & (p.max(axis=1) < 450) for p in places]
    off = cKDTree(places[1]).query(places[0])[0]
    flux = np.asarray(first.objects["flux"].value)
    mag = -2.5*np.log10(np.where(flux > 0, flux, np.nan))
    start = np.nanpercentile(mag[inside[0]], 0.3)
    rows = []
    for b in range(7):
        s = inside[0] & (mag >= start+b) & (mag < start+b+1)
        rows.append([b+1, int(s.sum()), text(100*np.mean(off[s] < 1.))])
    return table(["magnitude", "objects of the first half", "in the second %"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("truth", "bands", "motions", "real"))
    parser.add_argument("what", nargs="*")
    parser.add_argument("--stars", type=float, default=1000.)
    parser.add_argument("--gain", type=float, default=1.9)
    parser.add_argument("--saturation", type=float, default=60000.)
    parser.add_argument("--readnoise", type=float, default=5.)
    args = parser.parse_args()
    if args.study == "truth":
        truth_study([int(n) for n in args.what] or [1, 4, 16, 64], args.stars)
    elif args.study == "bands":
        bands_study(args.stars)
    elif args.study == "motions":
        motions_study(args.stars)
        parallaxes_study(args.stars)
    else:
        real_study(args.what, args)


if __name__ == "__main__":
    main()
