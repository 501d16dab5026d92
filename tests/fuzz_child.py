"""A process that runs the command again and again: lines of JSON in, one line of JSON out for each.

A job tells the folder to work in and the arguments. What the command says goes to files there, with all that libraries write.
A job that takes too much of the processor ends the process by SIGXCPU: time on the clock says nothing on a busy machine.
"""
import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

from crowdsource.cli.main import main
from crowdsource.engine import loop as fit  # noqa: F401

ROOM = 6 << 30
"""Bytes of addresses that the process may have, on whatever machine: what asks for more gets a MemoryError."""
CPU_SECONDS = 200
"""Most CPU time of one job, s: the slowest sound one takes about two."""
STDOUT, STDERR = ".stdout", ".stderr"


def peak():
    """Most memory that the process held since `forget`, MB."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0])/1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


def forget():
    """Start the count of `peak` anew, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


def limit():
    """Let the process take `CPU_SECONDS` from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(time.process_time())+CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def perform(folder, argv):
    """Run the command in a folder. Returns its exit status, None for an exception that it let through."""
    os.chdir(folder)
    kept = [os.dup(n) for n in (1, 2)]
    for number, name in ((1, STDOUT), (2, STDERR)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    try:
        with warnings.catch_warnings():
            # as in a new process: a warning is shown though it was before
            warnings.simplefilter("always")
            for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)
            return main(argv)
    except SystemExit as stop:
        return stop.code
    except BaseException:
        traceback.print_exc()
        return None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip((1, 2), kept):
            os.dup2(old, number)
            os.close(old)


def serve():
    """Do the jobs that come in until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    out = os.fdopen(os.dup(1), "w")
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        job = json.loads(line)
        forget()
        limit()
        before, start = peak(), time.process_time()
        code = perform(job["folder"], job["argv"])
        os.chdir("/")
        out.write(json.dumps(dict(code=code, megabytes=peak()-before, seconds=time.process_time()-start))+"\n")
        out.flush()


if __name__ == "__main__":
    serve()
