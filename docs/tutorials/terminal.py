"""Commands of the tutorials."""
from subprocess import PIPE, STDOUT, CalledProcessError, run


def terminal(line):
    """Run a command as in a terminal, and show what it says.

    Raises
    ------
    subprocess.CalledProcessError
        When it fails.
    """
    done = run(line, shell=True, text=True, stdout=PIPE, stderr=STDOUT, check=False)
    print("$", line)
    print(done.stdout)
    if done.returncode:
        raise CalledProcessError(done.returncode, line)
