"""Small surveys of many exposures, some of them damaged, and runs of their manifests, for tests and studies."""
import hashlib
from pathlib import Path

import numpy as np

from crowdsource.exposure.instrument import load
from crowdsource.production.manifest import write_manifest
from crowdsource.production.plan import PlanRequest, plan
from crowdsource.simulate import SimulationConfig, simulate_field
from crowdsource.simulate.files import write_simulation

CCDS = "N4", "S4"
DECAM = "c4d_170316_0621{:02d}_ooi_z_v1.fits"
FIELD = dict(stars=40, brightest=100., saturated_stars=0, bad_columns=0)
REQUEST = PlanRequest(options=(("ivar", "{path}:IVAR"), ("dq", "{path}:DQ")), instrument="generic")


def make_survey(folder, single, mosaics=0, damaged=0., side=96, seed=1):
    """Write exposures of one detector and of two; some are cut off, and some hold no number.

    Parameters
    ----------
    folder : Path
        Gets ``single`` and ``mosaic``.
    single, mosaics : int
        Exposures of each kind.
    damaged : float
        Part of them that is damaged, in turns.
    side : int
        Pixels.
    seed : int

    Returns
    -------
    set of str
        Names of the damaged files.
    """
    rng, bad = np.random.default_rng(seed), set()
    (folder/"single").mkdir(parents=True)
    (folder/"mosaic").mkdir()
    files = []
    for k in range(single):
        path = folder/"single"/f"field{k:04d}.fits"
        write_simulation(simulate_field(SimulationConfig(shape=(side, side), seed=k+1, **FIELD)), path)
        files.append(path)
    for k in range(mosaics):
        path = folder/"mosaic"/DECAM.format(k)
        load("decam").simulate(str(path), CCDS, shape=(side, side), seed=1000+k, **FIELD)
        files.append(path)
    for turn, k in enumerate(rng.choice(len(files), round(damaged*len(files)), replace=False)):
        damage(files[k], turn)
        bad.add(files[k].name)
    return bad


def damage(path, turn):
    """Cut a file off in its pixels, or in its header, or make its pixels no numbers."""
    content = bytearray(path.read_bytes())
    if turn % 3 == 2:
        # the first image HDU's pixels, behind its header
        start = content.find(b"END"+b" "*77, 2880)//2880*2880+2880
        content[start:start+96*96*4] = b"\xff"*(96*96*4)
    else:
        del content[len(content)//3 if turn % 3 == 0 else 2000:]
    path.write_bytes(content)


def make_manifest(folder, path, count=False):
    """Plan what `make_survey` wrote, and write the manifest; gives its entries."""
    found = plan([folder/"single"], PlanRequest(REQUEST.instrument, REQUEST.options, count=count)).entries
    found += plan([folder/"mosaic"], PlanRequest(count=count)).entries if any((folder/"mosaic").iterdir()) else []
    write_manifest(found, path, overwrite=True)
    return found


def catalogs(out):
    """Checksums of all catalogs of a run, by their path in its folder."""
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(out).rglob("*.cat.fits"))}


def leftovers(out):
    """What should not be in a run's folder when it has ended well: parts, locks and temporary files."""
    return sorted(str(p.relative_to(out)) for p in Path(out).rglob("*") if p.name.startswith(".") or p.name.endswith(".parts"))


SLOW = '''"""An adapter whose images never come."""
import time

from crowdsource.instruments.generic import Generic


class Slow(Generic):
    """Reads for ever."""
    name = "slow"

    def open(self, path, **options):
        exposure = super().open(path, **options)
        object.__setattr__(exposure, "read", lambda task: time.sleep(10_000))
        return exposure
'''


def slow_camera(folder):
    """Write a package, found from its folder on, that registers an instrument ``slow``."""
    (folder/"slowcam.py").write_text(SLOW)
    (folder/"slowcam-1.dist-info").mkdir()
    (folder/"slowcam-1.dist-info"/"METADATA").write_text("Metadata-Version: 2.1\nName: slowcam\nVersion: 1\n")
    (folder/"slowcam-1.dist-info"/"entry_points.txt").write_text("[crowdsource.instruments]\nslow = slowcam:Slow\n")
