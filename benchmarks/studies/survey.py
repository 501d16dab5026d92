"""Score what a matcher makes of a simulated survey's detections; prints Markdown.

    crowdsource simulate-survey FOLDER
    python -m benchmarks.studies.survey FOLDER                    the matchers of survey_matchers.py
    python -m benchmarks.studies.survey FOLDER --objects FILE     objects of others: any table of detection_id and object_id

A detection is its main star's, the one that gave most of its flux; an object is the star's that most of its detections are of.
A star can be found where it is the main star of some detection.

- found: it is an object's star
- spurious: objects that are no star's
- wrong merges: objects that hold detections of another star too, where some exposure tells the two apart; pure ones hold such
  a detection of which the other star gave most
- wrong splits: stars whose detections lie in several objects; doubled ones are the star of several objects
"""
import argparse
import sys
import time
from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from scipy.spatial import cKDTree

from benchmarks.studies.survey_matchers import MATCHERS, averaged, read_survey, vectors
from crowdsource.simulate.survey import true_positions

PURE = 0.8
"""A star of which a detection has more than this part of its flux does not share it."""
CLEAN = 0.99
"""So much of the flux of each of a clean star's detections is its own."""
VISITS = 1, 2, 5, 15
"""Groups of numbers of exposures begin at these."""
MAGNITUDES = 18., 20., 21., 22., 23.
"""Groups of magnitudes, in the middle one of the bands, end at these."""
BRIGHT = 20.
"""Mean fluxes above so many sigma are bright."""


@dataclass(frozen=True)
class Judged:
    """What is right and wrong of objects.

    Attributes
    ----------
    star : ndarray, shape (m,), int
        Of each object; -1 for none.
    detections, visits : ndarray, shape (m,), int
        Numbers of its detections and exposures.
    merged, merged_pure : ndarray of bool, shape (m,)
    misplaced : ndarray of bool, shape (n,)
        Detections of a star in an object of another one.
    star_visits : ndarray, shape (s,), int
        Exposures in which a star is some detection's.
    found, split, doubled : ndarray of bool, shape (s,)
    """

    star: np.ndarray
    detections: np.ndarray
    visits: np.ndarray
    merged: np.ndarray
    merged_pure: np.ndarray
    misplaced: np.ndarray
    star_visits: np.ndarray
    found: np.ndarray
    split: np.ndarray
    doubled: np.ndarray


def judge(survey, owner):
    """Compare objects with the truth.

    Parameters
    ----------
    survey : survey_matchers.Survey
    owner : ndarray, shape (n,), int
        Number of each detection's object, from 0 on; -1 for none.

    Returns
    -------
    Judged
    """
    m, s = int(owner.max(initial=-1))+1, len(survey.stars)
    real = survey.star >= 0
    # one key for each exposure that has a star, by star
    seen = np.unique(survey.star[real].astype(np.int64)*len(survey.exposures)+survey.exposure[real])
    star_visits = np.bincount(seen//len(survey.exposures), minlength=s)
    taken = owner >= 0
    visits = np.bincount(np.unique(owner[taken]*len(survey.exposures)+survey.exposure[taken])//len(survey.exposures), minlength=m)
    pair, which = np.unique(owner[taken]*(s+1)+survey.star[taken]+1, return_inverse=True)
    objects, stars = pair//(s+1), pair % (s+1)-1
    count, share = np.bincount(which), np.bincount(which, survey.fraction[taken])
    pure = np.bincount(which, survey.fraction[taken] > PURE) > 0
    best = np.lexsort([stars, -share, -count, objects])
    best = best[np.flatnonzero(np.diff(objects[best], prepend=-1))]
    star = np.full(m, -1)
    star[objects[best]] = stars[best]
    other = (stars >= 0) & (star[objects] >= 0) & (stars != star[objects])
    other[other] = told_apart(seen, len(survey.exposures), star[objects[other]], stars[other])
    names = np.bincount(star[star >= 0], minlength=s)
    return Judged(star, np.bincount(owner[taken], minlength=m), visits, np.bincount(objects, other, m) > 0,
                  np.bincount(objects, other & pure, m) > 0, real & taken & (star[owner] != survey.star), star_visits, names > 0,
                  np.bincount(stars[stars >= 0], minlength=s) > 1, names > 1)


def told_apart(seen, exposures, first, second):
    """Whether some exposure has a detection of each of two stars.

    Parameters
    ----------
    seen : ndarray, shape (k,), int64
        star*exposures+exposure, sorted.
    exposures : int
    first, second : ndarray, shape (p,), int

    Returns
    -------
    ndarray of bool, shape (p,)
    """
    start, stop = (np.searchsorted(seen, (first.astype(np.int64)+more)*exposures) for more in (0, 1))
    pair = np.repeat(np.arange(len(first)), stop-start)
    at = np.arange(len(pair))-np.repeat(np.cumsum(stop-start)-(stop-start), stop-start)+start[pair]
    key = second[pair].astype(np.int64)*exposures+seen[at] % exposures
    place = np.minimum(np.searchsorted(seen, key), len(seen)-1)
    return np.bincount(pair, seen[place] == key, len(first)) > 0


def percent(values, where=slice(None)):
    """Part of true values, as text in percent; empty where there are none."""
    values = values[where]
    return f"{100*np.mean(values):.2f}" if len(values) else ""


def markdown(head, rows):
    """A table."""
    return "\n".join(["| "+" | ".join(head)+" |", "|"+" --- |"*len(head), *("| "+" | ".join(map(str, r))+" |" for r in rows)])


def counts_table(survey, judged, objects):
    """Completeness, spurious objects, merges and splits: of all, by density, by number of exposures, and by magnitude.

    Parameters
    ----------
    survey : survey_matchers.Survey
    judged : Judged
    objects : survey_matchers.Objects

    Returns
    -------
    str
    """
    density = survey.stars["density"]
    edges = np.quantile(density, np.linspace(0, 1, 6))[1:-1]
    star_group = np.searchsorted(edges, density)
    object_group = star_group[nearest_star(survey, judged, objects)]
    rows = [group_row("all", judged, np.ones(len(density), bool), np.ones(len(judged.star), bool))]
    names = [f"below {edges[0]:.3f}", *(f"{a:.3f} to {b:.3f}" for a, b in zip(edges, edges[1:])), f"above {edges[-1]:.3f}"]
    rows += [group_row(f"{name} arcsec^-2", judged, star_group == k, object_group == k) for k, name in enumerate(names)]
    for low, high in zip(VISITS, (*VISITS[1:], None)):
        upper = " or more" if high is None else f" to {high-1}" if high > low+1 else ""
        name = f"{low}{upper} exposures" if upper else "1 exposure"
        of_stars, of_objects = ((v >= low) & (v < (high or np.inf)) for v in (judged.star_visits, judged.visits))
        rows.append(group_row(name, judged, of_stars, of_objects))
    rows += magnitude_rows(survey, judged)
    head = ("group", "stars", "found %", "split %", "doubled %", "objects", "spurious %", "spurious, 2 or more detections %",
            "merged %", "merged, pure %")
    return markdown(head, rows)


def magnitude_rows(survey, judged):
    """Rows of `counts_table` by the magnitude of stars, and of objects that are a star's."""
    band = survey.bands[len(survey.bands)//2]
    group = np.searchsorted(MAGNITUDES, survey.stars[f"mag_{band}"])
    names = [f"{band} < {MAGNITUDES[0]:g}", *(f"{a:g} < {band} < {b:g}" for a, b in zip(MAGNITUDES, MAGNITUDES[1:])),
             f"{band} > {MAGNITUDES[-1]:g}"]
    return [group_row(name, judged, group == k, (judged.star >= 0) & (group[judged.star] == k)) for k, name in enumerate(names)]


def group_row(name, judged, stars, objects):
    """A row of `counts_table` for some stars and objects."""
    j, can = judged, stars & (judged.star_visits > 0)
    several = objects & (j.detections > 1)
    return [name, can.sum(), percent(j.found, can), percent(j.split, can), percent(j.doubled, can), objects.sum(),
            percent(j.star < 0, objects), percent(j.star < 0, several), percent(j.merged, objects),
            percent(j.merged_pure, objects)]


def nearest_star(survey, judged, objects):
    """Each object's star, or the one that is nearest to an object of none."""
    star, none = judged.star.copy(), np.flatnonzero(judged.star < 0)
    tree = cKDTree(vectors(survey.stars["ra"], survey.stars["dec"]))
    known = np.isfinite(objects.ra[none])
    star[none[known]] = tree.query(vectors(objects.ra[none[known]], objects.dec[none[known]]))[1]
    return star


def clean_objects(survey, judged, owner):
    """Objects of a star that does not vary, all of whose detections are good and of that star alone."""
    ours = owner >= 0
    right = survey.good & (survey.fraction > CLEAN) & (survey.star == judged.star[owner])
    wrong = np.bincount(owner[ours], ~right[ours], len(judged.star)) > 0
    return ~wrong & (judged.star >= 0) & (survey.stars["amplitude"][judged.star] == 0)


def pull(values):
    """Median and robust scatter of values, as text."""
    values = values[np.isfinite(values)]
    if not len(values):
        return ["", ""]
    low, middle, high = np.quantile(values, [0.158655, 0.5, 0.841345])
    return [f"{middle:.3f}", f"{(high-low)/2:.3f}"]


def means_table(survey, judged, objects, clean):
    """Bias and pull of mean fluxes, and pulls of positions.

    Parameters
    ----------
    survey : survey_matchers.Survey
    judged : Judged
    objects : survey_matchers.Objects
    clean : ndarray of bool, shape (m,)

    Returns
    -------
    str
    """
    own = np.flatnonzero(judged.star >= 0)
    truth = survey.stars[judged.star[own]]
    rows = []
    for k, band in enumerate(survey.bands):
        flux, error = objects.flux[own, k], objects.dflux[own, k]
        true = 10**(0.4*(22.5-truth[f"mag_{band}"].astype(np.float64)))
        has, bright = np.isfinite(flux), flux > BRIGHT*error
        for name, which in (("clean, bright", clean[own] & bright), ("clean", clean[own] & has), ("all, bright", bright),
                            ("all", has)):
            off = (flux-true)[which]
            bias = f"{100*np.median(off/true[which]):.3f}" if which.any() else ""
            rows.append([f"flux {band}", name, which.sum(), bias, *pull(off/error[which])])
    rows += position_rows(objects, own, truth, clean)
    return markdown(("mean", "stars", "number", "median bias, % or mas", "median pull", "scatter of pull"), rows)


def position_rows(objects, own, truth, clean):
    """Rows of `means_table` for positions; stars are taken where they are at the object's mean date."""
    ra, dec = true_positions(truth, objects.mjd[own])
    east = 3600*((objects.ra[own]-ra+180) % 360-180)*np.cos(np.radians(dec))
    north = 3600*(objects.dec[own]-dec)
    rows = []
    for axis, off in (("ra", east), ("dec", north)):
        for name, which in (("clean", clean[own]), ("all", np.ones(len(own), bool))):
            bias = f"{1000*np.nanmedian(off[which]):.3f}" if which.any() else ""
            rows.append([axis, name, which.sum(), bias, *pull(off[which]/objects.position_error[own][which])])
    return rows


def differing(first, second):
    """Parts of the objects of each of two assignments that are not, detection for detection, one of the other's."""
    m, other = int(first.max())+1, int(second.max())+1
    pair, count = np.unique(first.astype(np.int64)*other+second, return_counts=True)
    same = (count == np.bincount(first, minlength=m)[pair//other]) & (count == np.bincount(second, minlength=other)[pair % other])
    return 1-same.sum()/m, 1-same.sum()/other


def numbered(survey, table):
    """Numbers of objects, from 0 on, from a table of detection_id and object_id; -1 where there is none."""
    ids, given = np.asarray(table["detection_id"]), np.asarray(table["object_id"])
    order = np.argsort(ids)
    place = np.minimum(np.searchsorted(ids, survey.detection_id, sorter=order), len(ids)-1)
    found = ids[order[place]] == survey.detection_id
    owner = np.where(found, given[order[place]], -1)
    _, number = np.unique(owner[owner >= 0], return_inverse=True)
    out = np.full(len(owner), -1)
    out[owner >= 0] = number
    return out


def report(survey, owner, objects=None):
    """Both tables of one matcher.

    Parameters
    ----------
    survey : survey_matchers.Survey
    owner : ndarray, shape (n,)
    objects : survey_matchers.Objects, optional
        Means; made here when not given.

    Returns
    -------
    str
    """
    objects = objects or averaged(survey, owner)
    judged = judge(survey, owner)
    misplaced = f"Detections of a star in an object of another: {percent(judged.misplaced, survey.star >= 0)} %"
    never = f"Stars that are no detection's: {percent(judged.star_visits == 0)} %"
    return "\n\n".join([counts_table(survey, judged, objects), f"{misplaced}. {never}.",
                        means_table(survey, judged, objects, clean_objects(survey, judged, owner))])


def main(argv=None):
    """Run the matchers and print what comes of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--matchers", nargs="+", choices=list(MATCHERS), default=list(MATCHERS), metavar="NAME",
                        help=", ".join(MATCHERS))
    parser.add_argument("--objects", metavar="FILE", help="a table of detection_id and object_id, scored instead")
    args = parser.parse_args(argv)
    survey = read_survey(args.folder)
    print(f"{len(survey.stars)} stars, {len(survey.exposures)} exposures, {len(survey.ra)} detections")
    if args.objects:
        print(report(survey, numbered(survey, Table.read(args.objects))))
        return 0
    owners = {}
    for name in args.matchers:
        start = time.process_time()
        try:
            owners[name] = MATCHERS[name](survey)
        except ImportError as problem:
            print(f"\n## {name}\n\nNot there: {problem}", file=sys.stderr)
            continue
        print(f"\n## {name}\n\n{time.process_time()-start:.1f} s of CPU time\n\n{report(survey, owners[name])}")
    if {"nearest", "backwards"} <= set(owners):
        parts = differing(owners["nearest"], owners["backwards"])
        print(f"\nObjects of the plain matcher that are not there in the other order: {100*parts[0]:.2f} %, {100*parts[1]:.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
