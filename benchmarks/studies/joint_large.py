"""A large joint fit in tiles: CPU time, memory and the gain of workers; prints Markdown.

    python -m benchmarks.studies.joint_large FOLDER [--images 64] [--shape 1024,2048] [--stars 20] [--tile 512] [--workers 1,2]

Simulated images are written into the folder and fitted by ``crowdsource joint --tile`` in a process of its own, once for each
number of workers. Memory is that of the largest single process; the wall time of one worker over that of several is the gain. The
first image alone is fitted by ``crowdsource generic`` for comparison. Stars are those above 5 sigma for each 1000 pixels.
"""
import argparse
import filecmp
import resource
import subprocess
import sys
import time
from pathlib import Path

from astropy.io import fits

from benchmarks.shared import table
from crowdsource.simulate import SimulationConfig
from crowdsource.simulate.epochs import EpochsConfig, simulate_epochs

HEAD = ("what", "workers", "objects", "rows on images", "CPU s", "CPU us a row", "wall s", "largest process MB")


def write_images(folder, images, shape, stars):
    """Write the images where they are not there yet; their names."""
    names = [folder/f"image{k:03d}.fits" for k in range(images)]
    if all(p.exists() for p in names):
        return names
    field = SimulationConfig(shape=shape, stars=stars*shape[0]*shape[1]/1000, fwhm=3.6, slope=1.5, brightest=3000,
                             saturated_stars=2, seed=5)
    _, epochs = simulate_epochs(EpochsConfig(images=images, field=field))
    for path, epoch in zip(names, epochs):
        header = fits.Header(dict(FILTER="r", MJD=epoch.mjd, GAIN=field.gain))
        hdus = [fits.PrimaryHDU(epoch.simulation.data, header), fits.ImageHDU(epoch.simulation.ivar, name="IVAR"),
                fits.ImageHDU(epoch.simulation.dq, name="DQ")]
        fits.HDUList(hdus).writeto(path, overwrite=True)
    return names


def measured(words):
    """CPU seconds, wall seconds, and MB of the largest process, of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    program = "import sys; from crowdsource.cli.main import main; sys.exit(main(sys.argv[1:]))"
    child = ("import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
             "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", child, sys.executable, "-c", program, *map(str, words)], check=True,
                          stdout=subprocess.PIPE, text=True)
    wall, after = time.monotonic()-start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime+after.ru_stime-before.ru_utime-before.ru_stime
    return cpu, wall, int(done.stdout.split()[-1])/1024


def rows_of(folder):
    """Objects, and rows of all images."""
    counts = [fits.getheader(p, "CAT")["NAXIS2"] for p in folder.glob("*.cat.fits")]
    return fits.getheader(folder/"objects.fits", "OBJECTS")["NAXIS2"], sum(counts)


def main():
    """Make images, fit them, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--shape", default="1024,2048")
    parser.add_argument("--stars", type=float, default=20.)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--workers", default="1,2")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    names = write_images(args.folder, args.images, tuple(int(n) for n in args.shape.split(",")), args.stars)
    planes = "ivar={path}:IVAR", "dq={path}:DQ"
    single = args.folder/"single.cat.fits"
    cpu, wall, memory = measured(["generic", names[0], "--ivar", f"{names[0]}:IVAR", "--dq", f"{names[0]}:DQ", "--out", single,
                                  "--overwrite", "--quiet"])
    count = fits.getheader(single, "CAT")["NAXIS2"]
    rows = [["one image alone", "", count, count, f"{cpu:.0f}", f"{1e6*cpu/count:.0f}", f"{wall:.0f}", f"{memory:.0f}"]]
    outs = []
    for workers in args.workers.split(","):
        outs.append(args.folder/f"joint-{workers}")
        cpu, wall, memory = measured(["joint", *names, "--option", *planes, "--tile", args.tile, "--workers", workers,
                                      "--out-dir", outs[-1], "--overwrite", "--quiet"])
        objects, on_images = rows_of(outs[-1])
        rows.append([f"{args.images} images", workers, objects, on_images, f"{cpu:.0f}", f"{1e6*cpu/on_images:.0f}",
                     f"{wall:.0f}", f"{memory:.0f}"])
    print(table(HEAD, rows))
    files = [p.name for p in outs[0].iterdir()]
    same = all(filecmp.cmpfiles(outs[0], out, files, shallow=False)[0] == files for out in outs[1:])
    print(f"\nall files are the same: {same}")


if __name__ == "__main__":
    main()
