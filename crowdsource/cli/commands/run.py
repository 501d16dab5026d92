"""``crowdsource run``: fit what a manifest lists, here or on a cluster."""
import signal
from contextlib import contextmanager
from math import inf

from ...core.errors import ConfigError
from ...core.memory import memory_budget
from ...io.toml import read_toml
from ...production.executors import open_workers
from ...production.manifest import read_manifest
from ...production.options import RunOptions
from ...production.run import Run
from ...production.state import FollowUp, SchedulingPolicy, StopRequest, part_of_manifest
from ..arguments import add_executor, add_manifest, add_verbosity, check_workers, run_folder


def add_arguments(parser):
    """Arguments of the command."""
    add_manifest(parser)
    where = parser.add_argument_group("where")
    add_executor(where)
    where.add_argument("--memory", type=float, metavar="MB",
                       help="memory that the running tasks together are expected to need at most; a file "
                       "that needs more is refused")
    where.add_argument("--task", type=int, default=1, metavar="I", help="do only the I-th of N parts (--of N), counted from 1")
    where.add_argument("--of", type=int, default=1, metavar="N", help="number of parts, each of every N-th exposure; default 1")
    when = parser.add_argument_group("when something is wrong")
    when.add_argument("--time-limit", type=float, metavar="S", help="stop a task after so many seconds")
    when.add_argument("--task-memory", type=float, metavar="MB", help="limit of the address space of a task")
    when.add_argument("--retries", type=int, default=3, metavar="N",
                      help="how often a task is tried again after a temporary error, such as a full disk; default 3")
    when.add_argument("--retry-failed", action="store_true",
                      help="try all failed tasks again, also those that failed for a lasting reason")
    fit = parser.add_argument_group("the fit")
    fit.add_argument("--config", metavar="FILE", help="TOML file of options; an instrument's options stand under its name")
    fit.add_argument("--force", metavar="CATALOG",
                     help="measure fluxes at the positions of this catalog (ra, dec); search for no sources")
    fit.add_argument("--bright-stars", metavar="CATALOG", help="bright stars, which get very large stamps")
    fit.add_argument("--galaxies", metavar="CATALOG", help="galaxies; blends are not split inside them (DECam)")
    fit.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each fit; default 1")
    fit.add_argument("--models", action="store_true", help="write model files")
    fit.add_argument("--infos", action="store_true", help="write info files")
    fit.add_argument("--pictures", action="store_true", help="write pictures of image, model and residual")
    fit.add_argument("--reports", action="store_true", help="write a report page of each detector")
    afterwards = parser.add_argument_group("afterwards")
    afterwards.add_argument("--then", choices=("healpix",),
                            help="ingest finished catalogs into a store as they appear, and assemble a release at the end")
    afterwards.add_argument("--store", metavar="STORE", help="the store, made by crowdsource healpix init")
    afterwards.add_argument("--release", metavar="NAME", help="name of the release; none is made when not given")
    add_verbosity(parser)


def run(args, console):
    """Run; see `crowdsource.cli.commands`."""
    check_workers(args.workers)
    for name in ("memory", "time_limit", "task_memory"):
        if getattr(args, name) is not None and not getattr(args, name) > 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be positive")
    if (args.store is None) != (args.then is None) or (args.release and not args.then):
        raise ConfigError("--then healpix, --store and --release belong together")
    follow_up = None if args.then is None else FollowUp(args.store, args.release, assemble=args.of == 1)
    options = _options(args)
    entries = part_of_manifest(read_manifest(args.manifest, args.root), args.task, args.of)
    out = run_folder(args)
    workers = open_workers(args.executor, args.workers, args.time_limit, args.scheduler)
    policy = SchedulingPolicy(memory=inf if args.memory is None else args.memory, retries=args.retries,
                              retry_failed=args.retry_failed)
    manifest_run = Run(entries, out, options, workers, policy, follow_up)
    stop = StopRequest()
    with console.progress() as progress, memory_budget(args.memory), _signals(stop, console) as received:
        report = manifest_run(stop, progress)
    lines = [f"{out}: {report.done} of {report.total} detectors are done ({report.before} were before), {len(report.failed)} "
             f"failed, {report.left} left", *report.lines]
    lines += [f"failed, {f.reason}: {name}: {f.message}" for name, f in report.failed.items()]
    if report.stopped:
        lines.append(f"stopped: {report.stopped}")
    return lines, 128+received[0] if received else report.status


def _options(args):
    config = {} if args.config is None else read_toml(args.config)
    return RunOptions(config=config, force=args.force, bright=args.bright_stars, galaxies=args.galaxies, model=args.models,
                      info=args.infos, plot=args.pictures, report=args.reports, threads=args.threads,
                      task_memory=args.task_memory)


@contextmanager
def _signals(stop, console):
    """Let SIGINT and SIGTERM stop the run: after the first no more tasks start, the second abandons those that run."""
    received = []

    def take(number, _):
        received.append(number)
        stop.level += 1
        if stop.level == 1:
            console.log.warning("no more tasks are started; those that run are finished. A second signal abandons them")

    before = {s: signal.signal(s, take) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
