"""What runs of manifests give and cost; prints Markdown.

    python -m benchmarks.studies.production same [FOLDER]      200 exposures run in five ways, 5 % damaged: the same catalogs?
    python -m benchmarks.studies.production killed [FOLDER]    workers, run and scheduler killed at random, and begun again
    python -m benchmarks.studies.production overhead [FOLDER]  cost beside the fits, scaling, and manifests of 100,000 tasks

Exposures are simulated into FOLDER, build/production when not given. Dask's scheduler and workers are processes of this machine.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.shared import COMMAND, ONE_THREAD, ROOT, run, table

sys.path.insert(0, str(ROOT/"tests"))
from small_survey import catalogs, leftovers, make_manifest, make_survey

SINGLE, MOSAICS, DAMAGED = 190, 10, 0.05
TASKS = 100_000
KINDS = "the run", "its processes", "Dask's workers", "Dask's scheduler"
DASK = COMMAND.with_name("dask")


def manifest(folder, name="survey", single=SINGLE, mosaics=MOSAICS, damaged=DAMAGED):
    """The manifest of a simulated survey, made if it is not there."""
    path = folder/f"{name}.ecsv"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder/name, ignore_errors=True)
        make_survey(folder/name, single, mosaics, damaged)
        make_manifest(folder/name, path)
    return path


def port():
    """A free one."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def started(*words):
    """A process in a group of its own, killed with all that it started at the end."""
    child = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                             env={**os.environ, **ONE_THREAD})
    try:
        yield child
    finally:
        kill(child)


def kill(child):
    """SIGKILL for a process and all that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()


def scheduler(number):
    """Words of the command that starts Dask's scheduler on a port."""
    return DASK, "scheduler", "--host", "127.0.0.1", "--port", number, "--no-dashboard"


def worker(number):
    """Words of the command that starts a worker of it, which a nanny starts again."""
    return DASK, "worker", f"tcp://127.0.0.1:{number}", "--nthreads", 1, "--no-dashboard", "--death-timeout", 60


def same(folder, arguments):
    """Run a survey in several ways; all catalogs must be the same bytes."""
    path, lines, whole = manifest(folder), [], None
    with ExitStack() as stack:
        number = port()
        stack.enter_context(started(*scheduler(number)))
        for _ in range(2):
            stack.enter_context(started(*worker(number)))
        ways = {"one process": [()], "two processes": [("--workers", 2)],
                "two threads": [("--executor", "threads", "--workers", 2)],
                "Dask, two workers": [("--executor", "dask", "--scheduler", f"tcp://127.0.0.1:{number}", "--workers", 4)],
                "four slices": [("--task", k, "--of", 4) for k in (3, 1, 4, 2)]}
        for name, calls in ways.items():
            out = folder/"out"
            shutil.rmtree(out, ignore_errors=True)
            start, statuses, named = time.monotonic(), set(), set()
            for words in calls:
                _, _, status, text = run("run", path, "--out", out, *words, check=False)
                statuses.add(status)
                named |= {line.split(": ")[1] for line in text.splitlines() if line.startswith("failed, ")}
            seconds, found = time.monotonic()-start, catalogs(out)
            whole = whole or found
            before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name != "run.json"}
            again, *_ = run("run", path, "--out", out, *calls[0], check=False)
            still = before == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.name != "run.json"}
            lines.append([name, len(found), "yes" if found == whole else "NO", len(named), " ".join(map(str, sorted(statuses))),
                          "nothing" if still else "SOMETHING", len(leftovers(out)), f"{seconds:.0f}", f"{again:.1f}"])
    sys.stdout.write(table(["way", "catalogs", "the same", "failed and named", "status", "a second run changes",
                            "left over: records of failed ones", "s", "CPU s of the second run"], lines)+"\n")
    return 0


def killed(folder, arguments):
    """Kill at random what takes part in a run, until all is done; the catalogs must be those of an undisturbed run."""
    path, rng, lines = manifest(folder), random.Random(1), []
    out = folder/"whole"
    if not out.exists():
        run("run", path, "--out", out, "--workers", 2, "--quiet", check=False)
    whole = catalogs(out)
    for kind in arguments.kinds or KINDS:
        shutil.rmtree(folder/"killed", ignore_errors=True)
        kills = _killed(path, folder/"killed", kind, arguments.kills//4+1, rng)
        found = catalogs(folder/"killed")
        status, text = run("status", path, "--out", folder/"killed", "--verify", check=False)[2:]
        lines.append([kind, kills, len(found), "yes" if found == whole else "NO", "yes" if " 0 wrong" in text else "NO"])
    sys.stdout.write(table(["killed (SIGKILL)", "times", "catalogs", "as undisturbed", "verified"], lines)+"\n")
    return 0


def _killed(path, out, kind, most, rng):
    """Run a manifest to its end while something is killed now and then; gives how often."""
    number, count = port(), 0
    words = ["--workers", 2]
    with ExitStack() as stack:
        cluster = {}
        if kind.startswith("Dask"):
            words = ["--workers", 4, "--executor", "dask", "--scheduler", f"tcp://127.0.0.1:{number}"]
            cluster["scheduler"] = stack.enter_context(started(*scheduler(number)))
            cluster["workers"] = [stack.enter_context(started(*worker(number))) for _ in range(2)]
        while True:
            command = [COMMAND, "run", path, "--out", out, "--quiet", *words]
            child = subprocess.Popen(list(map(str, command)), env={**os.environ, **ONE_THREAD}, start_new_session=True,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while count < most:
                try:
                    child.wait(rng.uniform(0.3, 4 if kind == "the run" else 3))
                    break
                except subprocess.TimeoutExpired:
                    count += 1
                    if kind == "the run":
                        child.kill()
                        break
                    _kill_one(kind, child, cluster, number, stack, rng)
            if child.wait() != -signal.SIGKILL:
                return count


def _kill_one(kind, child, cluster, number, stack, rng):
    if kind == "its processes":
        own = Path(f"/proc/{child.pid}/task").glob("*/children")
        pids = [int(n) for p in own for n in p.read_text().split()]
        if pids:
            os.kill(rng.choice(pids), signal.SIGKILL)
    elif kind == "Dask's workers":
        # the worker itself, not its nanny
        nanny = rng.choice(cluster["workers"])
        pids = [int(n) for p in Path(f"/proc/{nanny.pid}/task").glob("*/children") for n in p.read_text().split()]
        if pids:
            os.kill(rng.choice(pids), signal.SIGKILL)
    else:
        kill(cluster["scheduler"])
        cluster["scheduler"] = stack.enter_context(started(*scheduler(number)))
        for n, old in enumerate(cluster["workers"]):
            kill(old)
            cluster["workers"][n] = stack.enter_context(started(*worker(number)))
        # the time in which it comes up is none for another kill
        time.sleep(5)


def overhead(folder, arguments):
    """What a run costs beside its fits, and manifests of many tasks."""
    path, lines = manifest(folder, "small", 200, 0, 0), []
    took = {}
    for workers in (1, 2):
        out = folder/"out"
        shutil.rmtree(out, ignore_errors=True)
        start = time.monotonic()
        cpu, peak, *_ = run("run", path, "--out", out, "--workers", workers, "--quiet")
        took[workers] = time.monotonic()-start
        records = [json.loads(p.read_text()) for p in out.rglob("*.task.json")]
        fits = sum(d["seconds"] for r in records for d in r["detectors"].values())
        lines.append([workers, len(records), f"{took[workers]:.1f}", f"{fits:.1f}",
                      f"{1000*(workers*took[workers]-fits)/len(records):.0f}", f"{took[1]/took[workers]:.2f}", f"{peak:.0f}"])
    sys.stdout.write(table(["workers", "exposures", "s", "s of fits", "ms per exposure beside them", "times as fast", "MB"],
                           lines)+"\n\n")
    many(folder, arguments)
    return 0


def many(folder, arguments):
    """Manifests of many tasks: planned, looked at, and resumed when all is done."""
    lines = []
    for name, make in (("one detector each", _singles), ("60 CCDs each", _mosaics)):
        place, path = folder/f"many-{name[:2].strip()}", folder/f"many-{name[:2].strip()}.ecsv"
        if not path.exists():
            make(place, path, lines, name)
        out = path.with_suffix(".out")
        for what, words in (("status, nothing done", ("status", path, "--out", folder/"nowhere")),
                            ("status, all done", ("status", path, "--out", out)),
                            ("run, all done", ("run", path, "--out", out, "--quiet"))):
            if "all done" in what and not (out/"run.json").exists():
                _pretend(path, out)
            start = time.monotonic()
            cpu, peak, *_ = run(*words, check=False)
            lines.append([name, what, f"{cpu:.1f}", f"{time.monotonic()-start:.1f}", f"{peak:.0f}"])
    sys.stdout.write(table([f"{TASKS:,} tasks", "command", "CPU s", "s", "MB"], lines)+"\n")


def _singles(place, path, lines, name):
    """Plan so many files of one detector, nearly all links to others."""
    make_survey(place, 1, side=32)
    first = place/"single"/"field0000.fits"
    first = first.rename(first.with_name("field000000.fits"))
    for k in range(1, TASKS):
        name = first.with_name(f"field{k:06d}.fits")
        # a file has so many names at most
        if k % 50_000:
            os.link(first, name)
        else:
            shutil.copyfile(first, name)
            first = name
    start = time.monotonic()
    cpu, peak, *_ = run("plan", place/"single", "--out", path, "--instrument", "generic", "--option", "ivar={path}:IVAR",
                        "dq={path}:DQ", "--no-count", "--quiet")
    lines.append([name, "plan, without counting stars", f"{cpu:.1f}", f"{time.monotonic()-start:.1f}", f"{peak:.0f}"])


def _mosaics(place, path, lines, name):
    """A manifest as that of exposures of 60 CCDs: rows of one, under other names."""
    from dataclasses import replace

    from crowdsource.production.manifest import read_manifest, write_manifest
    make_survey(place, 0, 1, side=64)
    first = make_manifest(place, path)[0]
    path.unlink()
    write_manifest([replace(first, exposure=f"decam-{k}", label=f"decam-{k}", detector=f"N{n}") for k in range(TASKS//60+1)
                    for n in range(1, 61)][:TASKS], path)
    start = time.monotonic()
    read_manifest(path)
    lines.append([name, "reading the manifest", "", f"{time.monotonic()-start:.1f}", ""])


def _pretend(path, out):
    """Records and catalogs as of a run that is done."""
    from crowdsource.production.manifest import entries_by_label, read_manifest
    from crowdsource.production.options import RunOptions
    from crowdsource.production.records import OutputPaths, output_facts, results_key, write_record
    from crowdsource.production.status import write_run
    options = RunOptions()
    out.mkdir()
    write_run(out, options, [], 1)
    told = dict(state="done", reason="", error="", traceback="", seconds=1., cpu=1., memory=200., figures=dict(nsources=10),
                version="1", python="3", host="h", pid=1, started="2026-01-01T00:00:00+00:00", kind="fit", inputs=[])
    for label, entries in entries_by_label(read_manifest(path)).items():
        place, key = OutputPaths(out, label), results_key(entries[0], options.result_settings(entries[0].instrument, []))
        place.folder.mkdir()
        place.catalog.write_bytes(b"as if")
        record = dict(told, key=key, outputs=[output_facts(place.catalog)], task=label,
                      detectors={e.detector: dict(told, key=key, outputs=[], task=e.name) for e in entries})
        write_record(place.record, record)


def main():
    """Run a study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("same", "killed", "overhead", "many"))
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT/"build"/"production")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    arguments = parser.parse_args()
    study = dict(same=same, killed=killed, overhead=overhead, many=many)[arguments.study]
    return study(arguments.folder.resolve(), arguments)


if __name__ == "__main__":
    sys.exit(main())
