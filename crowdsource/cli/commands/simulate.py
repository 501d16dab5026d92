"""``crowdsource simulate``: make a field of stars whose truth is known."""
from dataclasses import fields

from ...core.docstrings import attributes
from ...core.errors import ConfigError
from ...exposure.instrument import SimulatesExposures, load, require
from ...io.atomic import check_output
from ...simulate import simulate_field
from ...simulate.config import Cluster, SimulationConfig
from ...simulate.files import write_simulation
from ..arguments import add_verbosity
from ..parser import with_default


def add_arguments(parser):
    """Arguments from the fields of `SimulationConfig`, and what is written where."""
    parser.add_argument("out", metavar="OUT", help="FITS file; compressed when its name ends in .fz")
    parser.add_argument("--instrument", metavar="NAME",
                        help="write an exposure of this instrument, decam or wise: OUT is the name "
                        "of the image, as c4d_170316_062107_ooi_z_v1.fits.fz, or of the tile, as FOLDER/1866p257; defaults of "
                        "the options are the instrument's")
    parser.add_argument("--ccds", nargs="+", default=[], metavar="CCD",
                        help="names of the instrument's detectors, as N4 S7; a small choice when not given")
    described = attributes(SimulationConfig)
    for f in fields(SimulationConfig):
        option = "--"+f.name.replace("_", "-")
        text = with_default(described[f.name][1].rstrip("."), f.default).replace("%", "%%")
        if f.name == "clusters":
            parser.add_argument("--cluster", dest="clusters", action="append", nargs=4, type=float,
                                metavar=("X", "Y", "RADIUS", "STARS"),
                                help="a cluster of stars: position, radius (pixels) and number; may be repeated")
        elif isinstance(f.default, tuple):
            parser.add_argument(option, nargs=len(f.default), type=type(f.default[0]), metavar=f.name.upper(), help=text)
        else:
            parser.add_argument(option, type=type(f.default), help=text, metavar=f.name.upper())
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    add_verbosity(parser)


def given_values(args):
    """The fields of `SimulationConfig` that the command line gives, by name."""
    values = {f.name: getattr(args, f.name) for f in fields(SimulationConfig)}
    values = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items() if v is not None}
    if "clusters" in values:
        values["clusters"] = tuple(Cluster(*c) for c in values["clusters"])
    return values


def run(args, console):
    """Simulate; see `crowdsource.cli.commands`."""
    values = given_values(args)
    if args.instrument is not None:
        instrument = load(args.instrument)
        require(instrument, SimulatesExposures)
        return [str(file) for file in instrument.simulate(args.out, args.ccds, args.overwrite, **values)], 0
    if args.ccds:
        raise ConfigError("--ccds needs --instrument, whose detectors they are")
    check_output(args.out, overwrite=True)
    sim = simulate_field(SimulationConfig(**values))
    write_simulation(sim, args.out, overwrite=args.overwrite)
    ny, nx = sim.data.shape
    return [f"{args.out}: {nx} x {ny} pixels, {len(sim.truth)} stars, 5 sigma at {sim.truth.meta['FLUX5']:.1f} counts"], 0
