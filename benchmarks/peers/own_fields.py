"""Fields of our own for the benchmarks: unlike the reference fields in what a tuning could lean on.

python -m benchmarks.peers.own_fields FOLDER [NAME ...]
"""
import argparse
from pathlib import Path

from crowdsource.simulate import Cluster, SimulationConfig, simulate_field
from crowdsource.simulate.files import write_simulation

FIELDS = {
    "sharp": SimulationConfig(stars=8000., fwhm=2.2, beta=3.5, seed=11),
    "wide": SimulationConfig(stars=2500., fwhm=7., beta=2.6, fwhm_gradient=(0.05, -0.03), seed=12),
    "cluster": SimulationConfig(stars=1500., clusters=(Cluster(520., 480., 90., 4000.),), seed=13),
    "other": SimulationConfig(stars=6000., slope=2.1, fwhm=3.4, gain=1.3, readnoise=4., sky=900., sky_gradient=(-0.1, 0.08),
                              nebulosity=20., saturation=60000., bad_columns=5, seed=14),
}


def field_file(folder, name):
    """The field's file, made when it is not there yet."""
    path = Path(folder)/f"{name}.fits"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_simulation(simulate_field(FIELDS[name]), path)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(FIELDS), help=", ".join(FIELDS))
    arguments = parser.parse_args()
    for field in arguments.names:
        print(field_file(arguments.folder, field))
