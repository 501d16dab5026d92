"""The whole way from catalogs to a release that others open: what it costs, and whether kills change it; prints Markdown.

    python -m benchmarks.studies.sky chain [FOLDER] [--stars N ...]  cost of each command on simulated surveys of 40 exposures
    python -m benchmarks.studies.sky killed [FOLDER] [--kills N]     ingest, assemble and export killed at random moments

Surveys are simulated into FOLDER, build/sky when not given, where they are not there. Each command is a process of its own; CPU
seconds, with those of the system, and memory are the process's.
"""
import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.shared import COMMAND, ONE_THREAD, ROOT, run, table
from crowdsource.survey.objects.release import open_release
from crowdsource.survey.store.store import open_store

STARS = 40_000, 390_000
"""Of the surveys: some one and ten million detections."""
KILLED_STARS, KILLED_EXPOSURES = 10_000, 12
MARK = "collection.properties"


def survey(folder, stars, exposures=40):
    """Folder of a simulated survey, made if it is not there."""
    place = folder/f"survey-{stars}"
    if not (place/"truth.fits").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run("simulate-survey", place, "--stars", stars, "--exposures", exposures, "--quiet")
    return place


def steps(catalogs, store, out):
    """The commands from an empty store to an export, by name; the store's folder must not be there."""
    return {"ingest": ("ingest", store, catalogs, "--quiet"), "assemble": ("assemble", store, "--release", "one", "--quiet"),
            "export": ("export", store, out, "--release", "one", "--quiet")}


def chain(folder, arguments):
    """Cost of each command for surveys of several sizes."""
    lines = []
    for stars in arguments.stars:
        catalogs, store, out = survey(folder, stars), folder/"store", folder/"export"
        for old in (store, out):
            shutil.rmtree(old, ignore_errors=True)
        run("healpix", "init", store, "--quiet")
        spent = {}
        for name, words in steps(catalogs, store, out).items():
            cpu, peak, *_ = run("healpix", *words)
            spent[name] = cpu
            record = open_release(open_store(store), "one").record if name != "ingest" else None
            rows = int(open_store(store).snapshot().images.rows.sum())
            lines.append([f"{rows:,}", name, f"{cpu:.1f}", f"{rows/cpu:,.0f}", f"{peak:.0f}"])
        objects = sum(count for count, _ in record["counts"])
        total = sum(spent.values())
        lines.append([f"{rows:,}", f"all, {objects:,} objects", f"{total:.1f}", f"{rows/total:,.0f}", ""])
    sys.stdout.write(table(["detections", "command", "CPU s", "detections per CPU s", "MB"], lines)+"\n")


def killed(folder, arguments):
    """Kill the commands at random moments and give them again; what comes out must be what undisturbed ones give."""
    catalogs = survey(folder, KILLED_STARS, KILLED_EXPOSURES)
    rng, count, whole, same = random.Random(1), 0, None, []
    usual = {}
    while whole is None or count < arguments.kills:
        store, out = folder/"killed", folder/"killed-export"
        for old in (store, out):
            shutil.rmtree(old, ignore_errors=True)
        run("healpix", "init", store, "--order", 7, "--max-rows", 5000, "--quiet")
        for name, words in steps(catalogs, store, out).items():
            start = time.monotonic()
            most = 1.1*usual[name] if name in usual else None
            count += until_done(words, lambda m=most: m and rng.uniform(0, m), store, out)
            usual.setdefault(name, time.monotonic()-start)
        result = content(store, out)
        whole = result if whole is None else whole
        same.append(result == whole)
        status, text = run("healpix", "info", store, "--verify", check=False)[2:]
        same[-1] &= status == 0 or ("unknown: " in text and "problem: " not in text)
    lines = [[count, len(same)-1, sum(same[1:])]]
    sys.stdout.write(table(["kills", "times all was done", "identical to the undisturbed one, and verified"], lines)+"\n")
    return 0 if all(same) else 1


def until_done(words, wait, store, out):
    """Give a command again and again, killed after a while, until it ends by itself; gives the number of kills."""
    kills = 0
    while True:
        child = subprocess.Popen([COMMAND, "healpix", *map(str, words)], env={**os.environ, **ONE_THREAD},
                                 stderr=subprocess.DEVNULL)
        try:
            child.wait(wait())
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            kills += 1
            continue
        # one that was killed when all was done but its end says that it is there
        there = (store/"releases"/"one").exists() if words[0] == "assemble" else (out/MARK).exists()
        if child.returncode and not (words[0] != "ingest" and there):
            raise SystemExit(f"{words[0]} failed")
        return kills


def content(store, out):
    """Checksums of a release's tables in the order of the sky, without how it is divided, and of an export's files."""
    release = open_release(open_store(store), "one")
    sums = [hashlib.sha256() for _ in range(2)]
    for pixel in release.pixels:
        sums[0].update(release.objects(pixel).tobytes())
        sums[1].update(release.members(pixel).tobytes())
    files = {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.rglob("*")) if p.is_file()}
    return [s.hexdigest() for s in sums], files


def main():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("chain", "killed"))
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT/"build"/"sky")
    parser.add_argument("--stars", nargs="+", type=int, default=STARS)
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    return {"chain": chain, "killed": killed}[arguments.what](arguments.folder, arguments)


if __name__ == "__main__":
    sys.exit(main())
