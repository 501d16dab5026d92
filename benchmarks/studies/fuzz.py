"""Damaged PSFs, catalogs, packed planes, configurations, manifests, records and stores, given to their readers; prints Markdown.

    python -m benchmarks.studies.fuzz [--cases 4000] [--first SEED] [--kinds KIND ...]

Each kind has so many cases; a case follows from its seed alone, see tests/fuzz_readers.py. They run in a process of bounded
memory and CPU time; one that ends it, and one that takes too much, is a fault, as is any exception but those of this project.
Damaged images are given to the whole command by `benchmarks.regression.fuzz`.
"""
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict

from benchmarks.shared import ROOT, table

ROOM, SECONDS, BATCH = 6 << 30, 60, 250
"""Bytes of addresses of a process, CPU seconds that a case may take until it is killed, cases of one process."""


def serve(kind, first, count):
    """Run cases in this process, a line of JSON for each."""
    sys.path.insert(0, str(ROOT/"tests"))
    from fuzz_readers import verdict
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    for seed in range(first, first+count):
        soft = int(time.process_time())+SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        folder = tempfile.mkdtemp()
        try:
            print(json.dumps(asdict(verdict(kind, seed, folder))), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def answers(kind, first, count):
    """What became of cases, in processes that are replaced when they end early."""
    at = first
    while at < first+count:
        number = min(BATCH, first+count-at)
        argv = [sys.executable, "-m", "benchmarks.studies.fuzz", "--serve", kind, str(at), str(number)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
                              env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}) as process:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
                    at += 1
                    number -= 1
        if number:
            yield dict(kind=kind, seed=at, said="", fault=f"ended the process ({process.returncode})", seconds=0., megabytes=0.)
            at += 1


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4000)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--kinds", nargs="+", default=["psf", "catalog", "plane", "config", "manifest", "record", "store", "own"])
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve[0], *map(int, args.serve[1:]))
        return
    rows = []
    for kind in args.kinds:
        found = []
        for answer in answers(kind, args.first, args.cases):
            found.append(answer)
            if answer["fault"]:
                print(f"{kind} {answer['seed']}: {answer['fault']}", file=sys.stderr, flush=True)
        faults = sum(bool(a["fault"]) for a in found)
        refused = sum(": " in a["said"] and not a["fault"] for a in found)
        rows.append((kind, len(found), len(found)-faults-refused, refused, faults, f"{max(a['seconds'] for a in found):.1f}",
                     f"{max(a['megabytes'] for a in found):.0f}"))
        print(f"{kind} done: {rows[-1]}", file=sys.stderr, flush=True)
    print(table(("kind", "cases", "used", "refused", "faults", "most CPU s", "most MB"), rows))


if __name__ == "__main__":
    main()
