"""Fits are the same, bit for bit, by whatever kind of kernels, and whatever processor other libraries believe to run on."""
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from crowdsource.cython_ext import kinds
from small_epochs import FIELD, small_epochs

LEAST = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
         "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-AVX,-AVX_Usable"}
"""OpenBLAS, NumPy and the C library without wide or fused instructions; of no consequence but on Linux on x86-64."""
FIT = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")  # NumPy warns of features that the processor does not have
import crowdsource as cs
from crowdsource.cython_ext import kinds
data, ivar = np.load(sys.argv[1])
result = cs.fit(cs.Image.from_arrays(data, ivar, saturation=20000.), progress=False)
catalog = result.catalog
columns = {n: np.asarray(getattr(catalog[n], "value", catalog[n])) for n in catalog.colnames}
np.savez(sys.argv[2], kind_of_kernels=kinds.KIND, plane_sky=result.sky, plane_model=result.model, plane_psf=result.psf.stamp(59),
         **columns)
"""


JOINT = """
import sys, warnings
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
warnings.simplefilter("ignore")
import crowdsource as cs
from crowdsource.cython_ext import kinds
columns = {"kind_of_kernels": kinds.KIND}
with np.load(sys.argv[1]) as file:
    parts = list(zip(file["data"], file["ivar"], file["mjd"], file["wcs"]))
for world in (True, False):
    images = [cs.Image.from_arrays(data, ivar, mjd=mjd, wcs=WCS(fits.Header.fromstring(str(wcs))) if world else None)
              for data, ivar, mjd, wcs in parts]
    result = cs.fit_joint(images, joint=cs.JointConfig(parallax=world, max_passes=5))
    for k, table in enumerate([result.objects, result.images, *(fit.catalog for fit in result.fits)]):
        columns |= {f"{world} {k} {n}": np.asarray(getattr(table[n], "value", table[n])) for n in table.colnames}
np.savez(sys.argv[2], **{n: v for n, v in columns.items() if np.asarray(v).dtype.kind != "O"})
"""


PARTS = """
import sys, warnings
from types import SimpleNamespace
import numpy as np
from astropy.wcs import WCS
warnings.simplefilter("ignore")
from crowdsource.catalogs.calibrate import fitted
from crowdsource.catalogs.match import match
from crowdsource.cython_ext import kinds
from crowdsource.instruments.decam.seam import seam_step
from crowdsource.instruments.skymasks import tangent_offsets
from crowdsource.instruments.wise.psf import polar_model, profile_over
from crowdsource.psf.profiles.halo import Halo
from crowdsource.psf.profiles.moffat import profile_stamp
from astropy.table import Table
numbers = np.load(sys.argv[1])
ra, dec, mag, *_ = numbers.reshape(-1, 500)
wcs = WCS(naxis=2)
wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = ("RA---TAN", "DEC--TAN"), (30., -40.), (1024, 1024), (-7e-4, 7e-4)
wise = profile_over(polar_model(None, 1), SimpleNamespace(wcs=wcs, shape=(2048, 2048), origin=(0, 0)), 1)
first = Table(dict(ra=30+ra/50, dec=-40+dec/50, r_mag=20+mag, r_mag_err=np.full(500, 0.01)))
second = Table(dict(ra=first["ra"]+1e-5*dec, dec=first["dec"]+3e-5, g_mag=21+mag, g_mag_err=np.full(500, 0.01)))
np.savez(sys.argv[2], kind_of_kernels=kinds.KIND, wise_samples=wise.samples, wise_weights=wise.weights,
         halo=profile_stamp(31, (3., 0.1, 0.05, 2.5), halo=Halo(((0.2, 2., 1.7), (0.05, 20., 1.5)), ())),
         seam=seam_step(numbers, np.ones(numbers.shape, bool)), matched=match(first, second)["separation"],
         offsets=tangent_offsets(30+ra, -40+dec, 30., -40.), **fitted(mag/50+25, np.full(500, 1e-4), dec))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """File of a crowded field of Gaussian stars, some elongated, with an uneven sky: data and inverse variance."""
    rng = np.random.default_rng(28)
    y, x = np.mgrid[:110, :130]
    data = 200+0.1*x+10*np.sin(y/40)
    for flux, px, py in zip(10**rng.uniform(2.3, 5, 180), rng.uniform(-2, 132, 180), rng.uniform(-2, 112, 180)):
        shape = ((x-px)**2+(y-py)**2+0.1*(x-px)*(y-py))/1.3**2
        data += flux/(2*np.pi*1.3**2)*(0.9*np.exp(-shape/2)+0.1/(1+shape/8)**2)
    noise = np.sqrt(data/4+9)
    path = tmp_path_factory.mktemp("bits")/"image.npy"
    np.save(path, np.array([data+noise*rng.normal(size=data.shape), 1/noise**2], dtype=np.float32))
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """File of images of stars that move, one of which shows a transient: data, inverse variances, dates, world coordinates."""
    _, epochs = small_epochs(images=5, field=replace(FIELD, shape=(90, 90), stars=45.), dither=5., fwhm=(3., 4.), motion=0.2,
                             parallax=60., years=2.3, transients=1, transient_images=(1, 1))
    images = [e.image(world=True) for e in epochs]
    path = tmp_path_factory.mktemp("bits")/"images.npz"
    np.savez(path, data=[i.data for i in images], ivar=[i.ivar for i in images], mjd=[i.mjd for i in images],
             wcs=[i.wcs.to_header_string() for i in images])
    return path


def fitted(image, environment, folder, program=FIT):
    """Columns and planes of a fit by a process with an environment of its own."""
    out = folder/"out.npz"
    # one thread: OpenBLAS's threads would need memory for each processor
    whole = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    subprocess.run([sys.executable, "-c", program, image, out], check=True, env=whole)
    with np.load(out) as file:
        return dict(file)


def test_names_of_kernels():
    assert kinds.AVAILABLE[0] == "plain" and kinds.KIND in kinds.AVAILABLE and kinds.chosen_kind("") == kinds.AVAILABLE[-1]
    with pytest.raises(ImportError, match="CROWDSOURCE_KERNELS is 'fast': it must be one of plain, avx2, avx512, or not set"):
        kinds.chosen_kind("fast")
    for name in set(kinds.NAMES)-set(kinds.AVAILABLE):
        with pytest.raises(ImportError, match="this processor lacks the instructions: it has plain"):
            kinds.chosen_kind(name)


def different(one, other):
    """Names of columns and planes that differ in any bit."""
    assert one.keys() == other.keys()
    return [n for n in one if one[n].dtype != other[n].dtype or one[n].tobytes() != other[n].tobytes()]


def test_wrong_kind_is_one_line_of_the_command():
    words = [sys.executable, "-c", "import sys; from crowdsource.cli.main import main; sys.exit(main())", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, kinds.VARIABLE: "fast"})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "crowdsource: error: CROWDSOURCE_KERNELS is 'fast': it must be one of plain, avx2, avx512, or not set\n"


def test_same_bits_of_joint_fits(images, tmp_path):
    least = fitted(images, {kinds.VARIABLE: "plain", **LEAST}, tmp_path, JOINT)
    assert least.pop("kind_of_kernels") == "plain" and len(least["True 0 x"]) > 20 and np.isfinite(least["True 0 parallax"]).any()
    found = fitted(images, {"OPENBLAS_CORETYPE": "Haswell"}, tmp_path, JOINT)
    assert found.pop("kind_of_kernels") == kinds.KIND
    # the projections of wcslib are the C library's sines: with and without fused instructions they differ in the last bit
    assert {n.split()[-1] for n in different(least, found)} <= {"ra", "dec"}
    for name in (n for n in least if n.endswith((" ra", " dec"))):
        np.testing.assert_allclose(found[name], least[name], rtol=1e-14)


def test_same_bits_of_instruments_and_catalogs(tmp_path):
    path = tmp_path/"numbers.npy"
    np.save(path, np.random.default_rng(6).normal(size=(800, 400)))
    least = fitted(path, {kinds.VARIABLE: "plain", **LEAST}, tmp_path, PARTS)
    found = fitted(path, {"OPENBLAS_CORETYPE": "Haswell"}, tmp_path, PARTS)
    assert least["wise_samples"].shape[0] > 1 and np.abs(least["seam"]).max() > 0 and len(least["matched"]) > 400
    assert different(least, found) == ["kind_of_kernels"]*(kinds.KIND != "plain")


def test_same_bits(image, tmp_path):
    least = fitted(image, {kinds.VARIABLE: "plain", **LEAST}, tmp_path)
    assert least.pop("kind_of_kernels") == "plain" and len(least["x"]) > 60
    # which of several differences there is, benchmarks/studies/same_bits.py tells
    for name, core in zip((*kinds.AVAILABLE[1:], ""), ("Nehalem", "Haswell", "Zen")):
        found = fitted(image, {kinds.VARIABLE: name, "OPENBLAS_CORETYPE": core}, tmp_path)
        assert found.pop("kind_of_kernels") == (name or kinds.KIND)
        assert different(least, found) == []
