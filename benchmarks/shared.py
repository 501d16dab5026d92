"""What the scripts share: paths, a command as a process of its own with its cost, Markdown tables.

Scripts are run from the root of the repository as modules: ``python -m benchmarks.studies.saturated``.
"""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMAND = Path(sys.executable).parent/"crowdsource"
ONE_THREAD = {n: "1" for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
MEBIBYTE = 1024 if sys.platform != "darwin" else 1024**2
"""Units of the operating system's figure of resident memory in a MiB."""


def timed(command, out=subprocess.DEVNULL):
    """CPU seconds of a command with all that it starts, and its largest resident memory in MiB; None when it fails."""
    process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, stdout=out)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return None if process.returncode else (usage.ru_utime+usage.ru_stime, usage.ru_maxrss/MEBIBYTE)


def run(*words, check=True):
    """Run the command `crowdsource` as a process of its own.

    Parameters
    ----------
    *words
        Its arguments.
    check : bool
        Raise an error when it fails.

    Returns
    -------
    cpu, peak : float
        CPU seconds, and the largest resident memory in MiB.
    status : int
    text : str
        What it printed, with its errors.

    Raises
    ------
    RuntimeError
        When it fails and `check` is true.
    """
    with subprocess.Popen([COMMAND, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **ONE_THREAD}) as child:
        text = child.stdout.read()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if check and child.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {text}")
    return used.ru_utime+used.ru_stime, used.ru_maxrss/MEBIBYTE, child.returncode, text


def table(head, rows):
    """A Markdown table."""
    return "\n".join("| "+" | ".join(map(str, line))+" |" for line in [head, ["---"]*len(head), *rows])
