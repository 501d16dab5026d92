"""Ingest, assemble and export killed hundreds of times, before or after any change of what is on disk; prints Markdown.

    python -m benchmarks.studies.killed [--kills 500] [--seed 1] [--folder FOLDER]

Rounds go on until so many commands were killed. In each the same catalogs become a store, a release and exports, each command
begun again until it ends by itself; the exports must have the bytes of those that nothing disturbed.
"""
import argparse
import hashlib
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.shared import ROOT, table
from crowdsource.cli.main import main as command
from crowdsource.io.atomic import TEMPORARY

sys.path.insert(0, str(ROOT/"tests"))
from small_catalogs import image_header, rows, write_catalog

CALLS = "replace", "fsync", "rename", "unlink", "mkdir", "rmdir"
"""Functions of `os` before and after which a command may be killed."""
COMMANDS = {
    "init": ("init", "{store}", "--order", "8"), "ingest": ("ingest", "{store}", "{catalogs}"),
    "assemble": ("assemble", "{store}", "--release", "r"),
    "export fits": ("export", "{store}", "{out}/objects.fits", "--release", "r", "--format", "fits"),
    "export parquet": ("export", "{store}", "{out}/objects.parquet", "--release", "r", "--format", "parquet"),
    "export hats": ("export", "{store}", "{out}/hats", "--release", "r", "--format", "hats"),
}


def killed_at(words, step):
    """Run a command in a process of its own that is killed at a step; its exit status, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [step]

    def counted(real):
        def call(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    status = 3
    try:
        status = command(["healpix", *words, "--quiet"])
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.stderr.flush()
        os._exit(status)


def words_of(name, folder, catalogs):
    """Arguments of a command in a round's folder."""
    filled = [w.format(store=folder/"store", out=folder, catalogs="\n".join(map(str, catalogs))) for w in COMMANDS[name]]
    return [part for word in filled for part in word.split("\n")]


def digests(folder):
    """SHA-256 of each file that was exported, by its name."""
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and folder/"store" not in p.parents]
    # beside a file that is written a kill leaves what was not finished, under a name of its own
    found = [p for p in found if not TEMPORARY.fullmatch(p.name)]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def one_round(folder, catalogs, rng):
    """All commands, killed at random; kills by command, and statuses of commands that failed."""
    kills, failed = Counter(), []
    folder.mkdir()
    for name in COMMANDS:
        words = words_of(name, folder, catalogs)
        while rng is not None:
            status = killed_at(words, int(rng.integers(1, 2+int(10**rng.uniform(0, 2.2)))))
            if status != -signal.SIGKILL:
                failed += [f"{name}: status {status}"]*(status != 0)
                break
            kills[name] += 1
            if rng.random() < 0.15:
                break
        # begun again after its end it is a success that changes nothing, and after a kill it ends the work
        status = killed_at(words, 0)
        failed += [f"{name}: status {status} undisturbed"]*(status != 0)
    return kills, failed


def main():
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT/"build"/"killed")
    args = parser.parse_args()
    folder = args.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    catalogs = [write_catalog(folder/f"{k}.cat.fits", rows(200, k//2, ra=150+0.04*(k % 2), image=k+1), f"e{k}",
                              header=image_header("gr"[k % 2])) for k in range(4)]
    _, failed = one_round(folder/"whole", catalogs, None)
    wanted, kills, rng, rounds, other = digests(folder/"whole"), Counter(), np.random.default_rng(args.seed), 0, []
    while kills.total() < args.kills:
        some, wrong = one_round(folder/"round", catalogs, rng)
        found = digests(folder/"round")
        other += [f"round {rounds}: {n}" for n in {*wanted, *found} if wanted.get(n) != found.get(n)]
        kills, failed, rounds = kills+some, failed+[f"round {rounds}: {w}" for w in wrong], rounds+1
        print(*other[-9:], *failed[-9:], sep="\n", file=sys.stderr)
        told = f"round {rounds}: {kills.total()} kills, {len(other)} files differ, {len(failed)} failed"
        print(told, file=sys.stderr, flush=True)
        shutil.rmtree(folder/"round")
    print(table(("command", "times killed"), [(n, kills[n]) for n in COMMANDS]))
    print(f"\n{kills.total()} kills in {rounds} rounds of {len(wanted)} exported files. Files that differ: "
          f"{'; '.join(other[:9]) or 'none'}. Commands that failed: {'; '.join(failed[:9]) or 'none'}.")


if __name__ == "__main__":
    main()
