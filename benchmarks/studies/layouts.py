"""Files of the telescopes' forms fitted without an option, over many fields: chi2, pulls and magnitudes; prints Markdown.

python -m benchmarks.studies.layouts [--seeds N] [--first SEED]
"""
import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.shared import table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]/"tests"))


SHAPE = 288, 288
"""Of the fields, four times those of the tests, pixels."""


def figures_of(writer, field):
    """chi2, pull, error of magnitudes and number of stars compared; see tests/test_telescopes.py."""
    from crowdsource.instruments.generic import Generic
    from test_telescopes import figures, fitted
    with tempfile.TemporaryDirectory() as folder:
        path, zeropoint = writer(field, Path(folder))
        exposure = Generic().open(str(path))
        return figures(fitted(exposure.read(exposure.tasks()[0])), field.truth, zeropoint)


def main():
    from survey_files import SURVEYS
    from telescope_files import TELESCOPES, Field
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=100, metavar="SEED")
    args = parser.parse_args()
    fields, rows = [Field(seed=args.first+k, shape=SHAPE) for k in range(args.seeds)], []
    for writer in (*TELESCOPES, *SURVEYS):
        chi2, pull, offset, number = np.array([figures_of(writer, field) for field in fields]).T
        rows.append([writer.__name__, f"{chi2.mean():.3f}", f"{chi2.min():.3f}-{chi2.max():.3f}", f"{pull.mean():.2f}",
                     f"{pull.std(ddof=1)/np.sqrt(len(pull)):.2f}", f"{offset.mean():+.4f}", f"{number.mean():.0f}"])
    print(table(["form", "chi2", "of fields", "pull", "+-", "magnitudes", "stars"], rows))


if __name__ == "__main__":
    main()
