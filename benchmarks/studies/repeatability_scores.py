"""Scores of a release against the truth of its sky; see repeatability.py."""
from dataclasses import dataclass

import numpy as np

from benchmarks.shared import table
from crowdsource.psf.model import FieldPSF
from crowdsource.survey.objects.average import USES
from crowdsource.survey.objects.release import open_release
from crowdsource.survey.store.store import open_store
from crowdsource.validate.evaluate import match_stars, robust_scatter, unexplained

BINS = 13., 15., 16., 17., 18., 19., 20., 21., 22.
BANDS = "gri"
INNER = 430.
"""All images hold the sky so far from its middle along both axes, pixels."""
STEP = 60.
"""So far from the step between the halves places are counted as crowded or sparse, pixels."""
FEW = 15
"""Fewer values make no scatter."""
MMAG = 2500/np.log(10)
AVERAGED = 0


@dataclass(frozen=True)
class Sky:
    """A release, its detections and the truth.

    Attributes
    ----------
    objects : ndarray
        Structured, all of them, with places (x, y) on the tangent plane beside.
    places : ndarray, shape (n, 2)
        Pixels from the middle.
    detections : dict of str to ndarray, shape (m,)
        Those that belong to an object: object (row of `objects`), band (number), image, use, ok, flux, flux_error, joint
        (nanomaggies; the last is the error from photons alone), x, y, error (of either; pixels), name (exposure).
    truth : dict of str to ndarray
        x, y (pixels from the middle), and flux by band (nanomaggies).
    scale : float
        Arcsec per pixel.
    """

    objects: np.ndarray
    places: np.ndarray
    detections: dict
    truth: dict
    scale: float

    @classmethod
    def read(cls, store, name, truth, wcs):
        """The release `name` of a store; `truth` are places and magnitudes on the plane of `wcs`."""
        store = open_store(store)
        release, snapshot = open_release(store, name), store.snapshot()
        objects = np.concatenate([release.objects(p) for p in release.pixels])
        members = np.concatenate([release.members(p) for p in release.pixels])
        rows = np.concatenate([t for p in snapshot.pixels for t in snapshot.read(p)])
        rows, members = (t[np.argsort(t["detection_id"])] for t in (rows, members))
        if not np.array_equal(rows["detection_id"], members["detection_id"]):
            raise RuntimeError("members are not the store's detections")
        order = np.argsort(objects["object_id"])
        mine = order[np.minimum(np.searchsorted(objects["object_id"][order], members["object_id"]), len(order)-1)]
        mine = np.where(members["object_id"] == objects["object_id"][mine], mine, -1)
        x, y = wcs.all_world2pix(rows["ra"], rows["dec"], 0)
        source = rows["source"]
        joint = members["flux_error"]*rows["dflux_joint"]/rows["dflux"]
        detections = dict(object=mine, band=np.array([BANDS.index(b) for b in snapshot.images.band])[source], image=source,
                          use=members["use"], ok=members["ok"], flux=members["flux"], flux_error=members["flux_error"], x=x, y=y,
                          joint=joint, error=np.sqrt(0.5*(rows["dx"]**2+rows["dy"]**2)), name=snapshot.images.exposure[source])
        tx, ty, mags = truth
        true = dict(x=tx, y=ty, **{b: 10**(0.4*(22.5-m)) for b, m in mags.items()})
        return cls(objects, np.stack(wcs.all_world2pix(objects["ra"], objects["dec"], 0), 1), detections, true,
                   abs(wcs.wcs.cdelt[0])*3600)

    def halves(self, x, y):
        """Names of parts of the sky with masks of places."""
        inner = (np.abs(x) < INNER) & (np.abs(y) < INNER)
        return {"crowded": inner & (x < -STEP), "sparse": inner & (x > STEP)}

    def matched(self, band):
        """The star of each object in a band, -1 for none, and the number in the objects of those that are measured in it."""
        at = np.flatnonzero(self.objects[f"flux_{band}"] > 0)
        rows = dict(x=self.places[at, 0], y=self.places[at, 1], flux=self.objects[f"flux_{band}"][at].astype(float))
        stars = dict(x=self.truth["x"], y=self.truth["y"], flux=self.truth[band])
        row = match_stars(stars, rows)
        star = np.full(len(self.objects), -1)
        star[at[row[row >= 0]]] = np.flatnonzero(row >= 0)
        return star, at, rows, stars


def magnitude(flux):
    """Of nanomaggies; NaN for fluxes not positive."""
    return 22.5-2.5*np.log10(np.where(flux > 0, flux, np.nan))


def bins():
    """Bounds of the bins of magnitudes, in pairs."""
    return list(zip(BINS[:-1], BINS[1:]))


def number(value, digits=1, sign=""):
    """As text; empty for NaN."""
    return f"{value:{sign}.{digits}f}" if np.isfinite(value) else ""


def scatter(values):
    """Robust standard deviation; NaN of few."""
    return robust_scatter(values) if len(values) >= FEW else np.nan


def median(values):
    """NaN of few."""
    return float(np.median(values)) if len(values) >= FEW else np.nan


def uses_table(sky):
    """How detections counted, by the part of the sky."""
    d = sky.detections
    parts = sky.halves(d["x"], d["y"])
    rows = [[half, int(where.sum()), *(number(100*np.mean(d["use"][where] == code), 2) for code in USES),
             number(100*np.mean(d["ok"][where]))] for half, where in parts.items()]
    return table(["half", "detections", *(f"{word} %" for word in USES.values()), "good %"], rows)


def epochs(sky, band):
    """Detections of stars that all four images of a band have, good in each: what each differs by from the mean of the four.

    The mean has a part of each epoch's error in it; differences are widened by as much, so that they stand for the error itself.

    Returns
    -------
    dict of str to ndarray
        object, mag; dm, em (millimagnitudes, from the mean, and reported), dx, dy, ep (mas), detection.
    """
    d = sky.detections
    k = np.flatnonzero((d["band"] == BANDS.index(band)) & (d["use"] == AVERAGED) & d["ok"] & (d["object"] >= 0))
    number_of = np.bincount(d["object"][k], minlength=len(sky.objects))
    k = k[number_of[d["object"][k]] == 4]
    group = np.unique(d["object"][k], return_inverse=True)[1]
    out = dict(object=d["object"][k], detection=k)
    mean, wide = _about(group, d["flux"][k], d["flux_error"][k].astype(float))
    out["mag"] = magnitude(mean)
    out["dm"], out["em"] = -MMAG*wide/mean, MMAG*d["flux_error"][k]/mean
    for n in "xy":
        out["d"+n] = 1e3*sky.scale*_about(group, d[n][k], d["error"][k].astype(float))[1]
    out["ep"] = 1e3*sky.scale*d["error"][k]
    return out


def _about(group, values, errors):
    """Weighted means of groups, and each value's difference from its, widened to the error of one value."""
    weight = 1/errors**2
    total = np.bincount(group, weight)[group]
    mean = (np.bincount(group, weight*values)/np.bincount(group, weight))[group]
    return mean, (values-mean)/np.sqrt(np.maximum(1-weight/total, 1e-3))


def repeatability(sky):
    """Scatter of single epochs about the mean of four against their errors: magnitudes and positions."""
    rows = []
    for band in BANDS:
        e = epochs(sky, band)
        star = sky.matched(band)[0][e["object"]]
        true = np.where(star >= 0, sky.truth[band][star], np.nan)
        off = (sky.detections["flux"][e["detection"]]-true)/sky.detections["flux_error"][e["detection"]]
        for half, where in sky.halves(*sky.places[e["object"]].T).items():
            for low, high in bins():
                s = where & (e["mag"] >= low) & (e["mag"] < high)
                if s.sum() < 4*FEW:
                    continue
                both = np.r_[e["dx"][s], e["dy"][s]]
                pull = e["dm"][s]/e["em"][s]
                rows.append([band, half, f"{low:g}-{high:g}", int(s.sum())//4, number(scatter(e["dm"][s])),
                             number(median(e["em"][s])), number(scatter(pull), 2), number(100*np.mean(np.abs(pull) > 3)),
                             number(scatter(off[s & (star >= 0)]), 2),
                             number(scatter(both)), number(median(e["ep"][s])),
                             number(scatter(both/np.tile(e["ep"][s], 2)), 2)])
    return table(["band", "half", "mag", "stars", "scatter mmag", "error mmag", "pull", "beyond 3 %", "pull to the truth",
                  "scatter mas", "error mas",
                  "position pull"], rows)


def floors(sky, bright=17.):
    """What must be added to the errors of bright stars, so that pulls are 1: to each image's, by the half."""
    rows = []
    d = sky.detections
    for band in BANDS:
        star, *_ = sky.matched(band)
        k = np.flatnonzero((d["band"] == BANDS.index(band)) & (d["use"] == AVERAGED) & d["ok"] & (d["object"] >= 0))
        k = k[star[d["object"][k]] >= 0]
        s = star[d["object"][k]]
        true = sky.truth[band][s]
        dm, em = -MMAG*(d["flux"][k]/true-1), MMAG*d["flux_error"][k]/true
        moved = 1e3*sky.scale*np.stack([d["x"][k]-sky.truth["x"][s], d["y"][k]-sky.truth["y"][s]])
        ep = 1e3*sky.scale*d["error"][k]
        halves = sky.halves(d["x"][k], d["y"][k])
        for image in np.unique(d["image"][k]):
            row = [str(d["name"][k][d["image"][k] == image][0])]
            for where in halves.values():
                w = where & (d["image"][k] == image) & (magnitude(true) < bright)
                row += [int(w.sum()), number(median(dm[w]), 1, "+"), number(floor(dm[w], em[w])),
                        *(number(median(m[w]), 1, "+") for m in moved),
                        number(floor(np.r_[tuple(m[w]-np.median(m[w]) for m in moved)], np.tile(ep[w], 2)))]
            rows.append(row)
    head = [f"{half}: {word}" for half in ("crowded", "sparse") for word in
            ("stars", "offset mmag", "floor mmag", "x mas", "y mas", "floor mas")]
    return table(["image", *head], rows)


def floor(values, errors):
    """What added in quadrature to the errors gives a pull of 1; 0 where it is below 1 already, NaN of few."""
    if len(values) < FEW:
        return np.nan
    values = values-np.median(values)
    low, high = 0., 10*robust_scatter(values)
    if robust_scatter(values/errors) <= 1:
        return 0.
    for _ in range(40):
        middle = 0.5*(low+high)
        low, high = (middle, high) if robust_scatter(values/np.hypot(errors, middle)) > 1 else (low, middle)
    return high


def mean_tables(sky):
    """Objects against the truth: found and spurious, and mean fluxes and positions; two tables."""
    counts, means = [], []
    for band in BANDS:
        star, at, rows, stars = sky.matched(band)
        lone = np.zeros(len(sky.objects), bool)
        lone[at] = unexplained(stars, rows)
        found = np.zeros(len(stars["x"]), bool)
        hit = np.flatnonzero(star >= 0)
        ratio = sky.objects[f"flux_{band}"][hit]/stars["flux"][star[hit]]
        found[star[hit[np.abs(np.log(ratio)) < np.log(1.5)]]] = True
        star_halves, object_halves = sky.halves(stars["x"], stars["y"]), sky.halves(*sky.places.T)
        for half in star_halves:
            for low, high in bins():
                s = star_halves[half] & _within(magnitude(stars["flux"]), low, high)
                o = object_halves[half] & _within(sky.objects[f"mag_{band}"], low, high)
                if s.sum() < FEW:
                    continue
                several = o & (sky.objects[f"n_det_{band}"] > 1)
                counts.append([band, half, f"{low:g}-{high:g}", int(s.sum()), number(100*np.mean(found[s])), int(o.sum()),
                               number(100*np.mean(lone[o])), number(100*np.mean(lone[several]))])
                means.append([band, half, f"{low:g}-{high:g}", *_of_means(sky, band, star, o & (star >= 0))])
    return (table(["band", "half", "mag", "stars", "found %", "objects", "spurious %", "spurious of 2 and more %"], counts),
            table(["band", "half", "mag", "objects", "bias mmag", "scatter mmag", "error mmag", "pull", "clipped pull",
                   "position mas", "error mas", "position pull"], means))


def _within(values, low, high):
    return (values >= low) & (values < high)


def _of_means(sky, band, star, where):
    """Cells of one line: mean fluxes and positions of some objects against the truth."""
    o, s = sky.objects[where], star[where]
    true = sky.truth[band][s]
    difference, error = o[f"flux_{band}"]-true, o[f"flux_error_{band}"]
    clipped = (o[f"flux_clipped_{band}"]-true)/o[f"flux_clipped_error_{band}"]
    moved = sky.scale*np.r_[sky.places[where, 0]-sky.truth["x"][s], sky.places[where, 1]-sky.truth["y"][s]]
    place = np.r_[o["ra_error"], o["dec_error"]]
    return [int(where.sum()), number(-MMAG*median(difference/true), 1, "+"), number(MMAG*scatter(difference/true)),
            number(MMAG*median(error/true)), number(scatter(difference/error), 2),
            number(scatter(clipped[np.isfinite(clipped)]), 2), number(1e3*scatter(moved)), number(1e3*median(place)),
            number(scatter(moved/place), 2)]


def bright_row(result, made, share, half, bright=17., away=60):
    """Cells of one line: stars of an image brighter than a magnitude, and not at its edges, in a half of it, against the truth.

    Offsets are in magnitudes: negative where fluxes are too high.
    """
    rows = {n: np.asarray(getattr(result.catalog[n], "value", result.catalog[n]), dtype=float)
            for n in ("x", "y", "flux", "dflux", "dflux_joint", "qf")}
    rows = {n: v[rows["flux"] > 0] for n, v in rows.items()}
    stars = {n: np.asarray(made.truth[n]) for n in ("x", "y", "flux")}
    stars["flux"] = share*stars["flux"]
    dense = stars["x"] < 511.5 if np.median(stars["x"]) < 511.5 else stars["x"] > 511.5
    middle = (made.data.shape[1]-1)/2
    inside = np.maximum(np.abs(stars["x"]-middle), np.abs(stars["y"]-middle)) < middle-20
    match = match_stars(stars, rows)
    where = inside & (np.abs(stars["x"]-middle) > away) & (dense == (half == "crowded")) & (match >= 0)
    where &= (made.config.zeropoint-2.5*np.log10(stars["flux"]) < bright) & (rows["qf"][match] > 0.99)
    true, row = stars["flux"][where], match[where]
    difference = rows["flux"][row]-true
    sky = (result.sky-made.sky)[:, slice(0, 450) if (half == "crowded") == (np.median(stars["x"]) < middle) else slice(570, None)]
    return [int(where.sum()), number(-MMAG*median(difference/true), 1, "+"), number(MMAG*scatter(difference/true)),
            number(MMAG*median(rows["dflux"][row]/true)), number(scatter(difference/rows["dflux"][row]), 2),
            number(scatter(difference/rows["dflux_joint"][row]), 2), number(float(np.median(sky)), 1),
            number(100*(area(result.psf, stars["x"][where])/area(FieldPSF.of(made.psf), stars["x"][where])-1), 2)]


def area(psf, x):
    """1/sum(p^2) in the middle of the columns in which some stars lie, half way up an image, pixels."""
    return 1/np.sum(psf.stamp(59, np.median(x), 511.5)**2)
