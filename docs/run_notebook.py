"""Run a notebook in a folder of its own and keep what its cells show: ``python docs/run_notebook.py NOTEBOOK [OUTPUT]``."""
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

TIMEOUT = 600
"""Seconds for a cell."""


def main(path, output=None):
    """Run the notebook in a file; without an output it is written over.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}},
                       record_timing=False).execute()
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    nbformat.write(notebook, Path(output or path))


if __name__ == "__main__":
    main(*sys.argv[1:])
