"""Whole fits on an emulated aarch64 processor beside those on this one: which arrays differ in any bit; prints Markdown.

    python -m benchmarks.studies.emulated FOLDER

FOLDER gets Debian's Python and libraries for aarch64, NumPy, SciPy, astropy and what else the package needs from a package index,
and the kernels, compiled for it. It needs Debian with ``dpkg --add-architecture arm64``, ``apt-get update``, the packages
gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static, and a Python of the version that Debian has. The programs are
those of tests/test_same_bits.py. It takes some minutes: the emulator is 15 times slower than the processor.
"""
import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.shared import ONE_THREAD, ROOT, table

sys.path.insert(0, str(ROOT/"tests"))
import test_same_bits

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
DEBIAN = ("libc6", "libexpat1", "zlib1g", "libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1",
          "libstdc++6", "libgcc-s1", "libcrypt1", "libreadline8", "libtinfo6",
          *(name.format(VERSION) for name in ("python{}-minimal", "libpython{}-minimal", "libpython{}-stdlib")))
WHEELS = "numpy", "scipy", "astropy", "pyerfa", "h5py", "PyYAML", "packaging", "astropy-iers-data", "tqdm"
PLATFORMS = "manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64"
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=off", "-w", "-shared", "-fPIC",
         "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION", "-DPy_LIMITED_API=0x030b0000")
"""As setup.py has them."""
PROGRAMS = {"FIT": "image", "JOINT": "images", "PARTS": "numbers"}


def run(*words, **more):
    """Run a command to its end."""
    subprocess.run([str(word) for word in words], check=True, **more)


def prepare(folder):
    """Python for aarch64, what the package imports, and the package with its kernels."""
    packages, root, site, own = (folder/name for name in ("packages", "root", "site", "own"))
    for path in (packages, root, site):
        path.mkdir(parents=True, exist_ok=True)
    run("apt-get", "download", *(f"{name}:arm64" for name in DEBIAN), cwd=packages)
    for package in packages.glob("*.deb"):
        run("dpkg-deb", "-x", package, root)
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:", "--target", site,
        *(f"--platform={name}" for name in PLATFORMS), f"--python-version={VERSION}", *(f"{w}=={version(w)}" for w in WHEELS))
    compiled = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(ROOT/"crowdsource", own/"crowdsource", ignore=compiled)
    for room in ("cython_ext", "instruments", "data"):
        shutil.copytree(ROOT/room, own/"crowdsource"/room, ignore=compiled)
    kernels = own/"crowdsource"/"cython_ext"
    for source in kernels.glob("*.c"):
        headers = kernels, sysconfig.get_path("include"), np.get_include()
        run("aarch64-linux-gnu-gcc", *FLAGS, *(f"-I{path}" for path in headers), source, "-o", source.with_suffix(".abi3.so"))
    return ["qemu-aarch64-static", "-L", root, root/"usr"/"bin"/f"python{VERSION}"], os.pathsep.join(map(str, (own, site)))


def inputs(folder):
    """The inputs of the programs, by name."""
    class Folders:
        """What gives a test its folder."""

        def mktemp(self, _):
            """The folder."""
            return folder
    numbers = folder/"numbers.npy"
    np.save(numbers, np.random.default_rng(6).normal(size=(800, 400)))
    return {"image": test_same_bits.image.__wrapped__(Folders()), "images": test_same_bits.images.__wrapped__(Folders()),
            "numbers": numbers}


def found(python, environment, program, given, out):
    """Arrays that a program gives."""
    # in a folder that holds no package of this name
    run(*python, "-c", program, given, out, env={**os.environ, **ONE_THREAD, **environment}, cwd=out.parent)
    with np.load(out) as file:
        return dict(file)


def main():
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    emulator, path = prepare(folder)
    given, rows = inputs(folder), []
    for name, kind in PROGRAMS.items():
        program = getattr(test_same_bits, name)
        own = found([sys.executable], {}, program, given[kind], folder/"own.npz")
        other = found(emulator, {"PYTHONPATH": path}, program, given[kind], folder/"other.npz")
        names = [n for n in test_same_bits.different(own, other) if n != "kind_of_kernels"]
        largest = {n: float(np.nanmax(np.abs(own[n]-other[n]))/max(np.nanmax(np.abs(own[n])), 1e-300)) for n in names}
        worst = sorted(names, key=largest.get)[-6:]
        rows.append([name, len(own)-1, len(names), ", ".join(f"{n} {largest[n]:.1g}" for n in reversed(worst))])
    print(table(["program", "arrays", "differ", "most, in units of their largest values"], rows))


if __name__ == "__main__":
    main()
