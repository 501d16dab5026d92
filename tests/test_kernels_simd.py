"""The innermost loops give the same bits for every kind of processor, and the same without vector types up to rounding."""
import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent/"cython_ext"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
KINDS = ("plain", "avx2", "avx512")
SIZE, STRIDE, ROWS = 19, 24, 40
LOOPS = {
    "products": "(t, a, b, p, c, d, i, j, sums) const float *t, ptrdiff_t a, ptrdiff_t b, const float *p, ptrdiff_t c, "
                "ptrdiff_t d, int i, int j, double *sums",
    "correlate": "(m, r, k, s, n, o, q) const float *m, ptrdiff_t r, const float *k, int s, int n, float *o, ptrdiff_t q",
    "six_taps": "(a, r, at, w, m, n, k, o, q) const float *a, ptrdiff_t r, const ptrdiff_t *at, const float *w, int m, int n, "
                "int k, float *o, ptrdiff_t q",
    "combine": "(a, r, p, f, c, m, n, o, q) const float *a, ptrdiff_t r, ptrdiff_t p, const float *f, int c, int m, int n, "
               "float *o, ptrdiff_t q",
    "dot": "(a, r, b, q, m, n, s) const float *a, ptrdiff_t r, const float *b, ptrdiff_t q, int m, int n, double *s",
    "weigh": "(w, r, b, p, c, d, m, n, t, e, f, s) const float *w, const float *r, ptrdiff_t b, const float *p, ptrdiff_t c, "
             "ptrdiff_t d, int m, int n, float *t, ptrdiff_t e, ptrdiff_t f, double *s",
    "block_row": "(b, o, c, x, y, k) const float *b, const int *o, ptrdiff_t c, const double *x, double *y, ptrdiff_t k",
    "row_products_float": "(a, i, b, j, n, s) const float *a, int i, const float *b, int j, int n, double *s",
    "row_products_double": "(a, i, b, j, n, s) const double *a, int i, const double *b, int j, int n, double *s",
    "combine_double": "(a, f, c, n, o) const double *a, const double *f, int c, int n, double *o",
    "measure_sums": "(p, g, x, y, r, m, w, n, f, s) const float *p, const float *g, const float *x, const float *y, "
                    "const float *r, const float *m, const float *w, int n, double f, struct cs_measured *s",
    "add": "(a, r, f, m, n, o, q) const float *a, ptrdiff_t r, float f, int m, int n, float *o, ptrdiff_t q",
    "powers": "(x, y, o, n, l, e) const double *x, double y, double *o, ptrdiff_t n, const double *l, const double *e"}
"""Arguments of each loop, and their types."""


def compiled(folder, kinds, *flags):
    """The loops of some kinds in a library, as functions ``<kind>_<loop>``; and whether the processor has what they need."""
    lines = ['#include "simd.h"']
    for kind in kinds:
        for loop, told in LOOPS.items():
            names, types = told.split(") ", 1)
            lines.append(f"void {kind}_{loop}({types}) {{ cs_{kind}_{loop}{names}); }}")
    if len(kinds) > 1:
        lines += [f'int has_{kind}(void) {{ return __builtin_cpu_supports("{a}") && __builtin_cpu_supports("{b}"); }}'
                  for kind, a, b in (("avx2", "avx2", "avx2"), ("avx512", "avx512dq", "avx512vl"))]
    source, library = folder/"loops.c", folder/"loops.so"
    source.write_text("\n".join(lines)+"\n", encoding="utf-8")
    # as the kernels are built: with sanitizers, perhaps
    options = "-O3", "-ffp-contract=off", "-shared", "-fPIC", "-w", *os.environ.get("CFLAGS", "").split(), *flags, f"-I{FOLDER}"
    subprocess.run([COMPILER, *options, str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Functions of each kind that this processor has; "portable" are those without vector types."""
    if COMPILER is None or not FOLDER.is_dir():
        pytest.skip("no C compiler, or the kernels' source is not beside the tests")
    machine = subprocess.run([COMPILER, "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    kinds = KINDS if machine.startswith("x86_64") else KINDS[:1]
    both = compiled(tmp_path_factory.mktemp("vectors"), kinds)
    portable = compiled(tmp_path_factory.mktemp("portable"), KINDS[:1], "-U__GNUC__")
    there = [k for k in kinds if k == "plain" or getattr(both, f"has_{k}")()]
    given = {"portable": (portable, "plain"), **{k: (both, k) for k in there}}
    if "avx2" in there and "avx512" not in there:
        # sixteen lanes in two halves
        given["sixteen"] = compiled(tmp_path_factory.mktemp("sixteen"), KINDS[2:], '-DCS_WIDEST="avx2"'), "avx512"
    return given


def as_c(value):
    """An array as a pointer, a number as the C type of its own."""
    if isinstance(value, np.ndarray):
        return value.ctypes.data_as(ctypes.c_void_p)
    kind = ctypes.c_float if isinstance(value, np.float32) else ctypes.c_double if isinstance(value, float) else ctypes.c_ssize_t
    return kind(value)


def results(libraries, loop, arguments, out):
    """What each kind leaves in the array `out`, which is one of the arguments."""
    given = {}
    for name, (library, kind) in libraries.items():
        own = out.copy()
        getattr(library, f"{kind}_{loop}")(*(as_c(own if a is out else a) for a in arguments))
        given[name] = own
    return given


def same(given, which=np.s_[:]):
    wanted, plain = given.pop("portable"), given["plain"]
    assert np.abs(wanted).max() > 0
    for name, values in given.items():
        np.testing.assert_array_equal(values[which], plain[which], err_msg=name)
        np.testing.assert_allclose(values[which], wanted[which], rtol=2e-5, atol=2e-5*np.abs(wanted[which]).max(), err_msg=name)


def floats(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_products(libraries, vectors):
    t, p = floats(3, ROWS, STRIDE), floats(3, ROWS, STRIDE, seed=1)
    out, plane = np.zeros(9), ROWS*STRIDE
    same(results(libraries, "products", [t, plane, STRIDE, p, plane, STRIDE, ROWS-3, vectors, out], out))


@pytest.mark.parametrize("size", [3, 9, 19])
def test_correlation(libraries, size):
    image, kernel = floats(4+size, 96+size+8), np.zeros((size+6, size), np.float32)
    kernel[3:-3] = floats(size, size, seed=1)
    out = np.zeros((4, 96), np.float32)
    same(results(libraries, "correlate", [image, image.shape[1], kernel[3:], size, 96, out, 96], out))


@pytest.mark.parametrize("n, keep", [(5, 5), (8, 5), (19, 19), (24, 19), (31, 31), (48, 41)])
def test_six_taps(libraries, n, keep):
    image, weights, at = floats(ROWS, n+8), floats(6, seed=1), np.array([0, 1, 2, 3, 5, 8], dtype=np.intp)
    out = np.full((ROWS, n), np.float32(7))
    given = results(libraries, "six_taps", [image, n+8, at, weights, ROWS, n, keep, out, n], out)
    assert all((v[:, keep:] == 0).all() for v in given.values())
    same(given)


@pytest.mark.parametrize("n", range(1, 41))
@pytest.mark.parametrize("count", [1, 3, 6, 7])
def test_combine(libraries, n, count):
    # behind each row of the result stands what must not be written to
    grids, factors, out = floats(ROWS, count, n), floats(count, seed=1), np.full((ROWS, n+8), np.float32(7))
    given = results(libraries, "combine", [grids, count*n, n, factors, count, ROWS, n, out, n+8], out)
    assert all((values[:, n:] == 7).all() for values in given.values())
    np.testing.assert_allclose(given["portable"][:, :n], np.einsum("rkn,k->rn", grids.astype(float), factors), atol=1e-5)
    same(given)


@pytest.mark.parametrize("n", [3, 8, 19])
def test_dot(libraries, n):
    out = np.zeros(1)
    same(results(libraries, "dot", [floats(ROWS, STRIDE), STRIDE, floats(ROWS, 50, seed=1), 50, ROWS, n, out], out))


@pytest.mark.parametrize("n", [3, 8, 19])
def test_weigh(libraries, n):
    weight, left, planes = np.abs(floats(ROWS, 50)), floats(ROWS, 50, seed=1), floats(3, ROWS, STRIDE, seed=2)
    sums, weighted = {}, {}
    for name, (library, kind) in libraries.items():
        sums[name], weighted[name] = np.zeros(3), np.zeros((3, ROWS, STRIDE), np.float32)
        getattr(library, f"{kind}_weigh")(*map(as_c, (weight, left, 50, planes, ROWS*STRIDE, STRIDE, ROWS, n, weighted[name],
                                                      ROWS*STRIDE, STRIDE, sums[name])))
    same(sums)
    same(weighted)


def test_block_row(libraries):
    # the fourth float of a block's last row is read, and of no consequence
    blocks, others, x = floats(6*9+1), np.array([0, 2, 3, 5, 6, 7], dtype=np.int32), np.zeros((8, 4))
    x[:, :3] = floats(8, 3, seed=1)
    out = np.zeros((8, 4))
    same(results(libraries, "block_row", [blocks, others, 6, x, out, 4], out), np.s_[:, :3])


@pytest.mark.parametrize("n", [1, 9, 361])
def test_measurements(libraries, n):
    planes, out = floats(7, n), np.zeros(20)
    planes[6] = np.maximum(planes[6], 0)
    if n == 1:
        planes[6] = 1
    same(results(libraries, "measure_sums", [*planes, n, 12.5, out], out))


@pytest.mark.parametrize("n", [3, 8, 19, 37])
def test_add(libraries, n):
    stamps, out = floats(ROWS, n), floats(ROWS, 50, seed=1)
    same(results(libraries, "add", [stamps, n, np.float32(2.5), ROWS, n, out, 50], out))


@pytest.mark.parametrize("kind", ["float", "double"])
@pytest.mark.parametrize("rows, others", [(3, 6), (1, 1), (2, 5)])
@pytest.mark.parametrize("n", [1, 7, 8, 21, 32])
def test_row_products(libraries, kind, rows, others, n):
    a, b = (floats(count, n, seed=count+k).astype(f"f{4 if kind == 'float' else 8}") for k, count in enumerate((rows, others)))
    out = np.zeros((rows, others))
    given = results(libraries, f"row_products_{kind}", [a, rows, b, others, n, out], out)
    np.testing.assert_allclose(given["plain"], a.astype(float)@b.T.astype(float), rtol=1e-4, atol=1e-4)
    same(given)


@pytest.mark.parametrize("n", [1, 5, 16, 37])
def test_combine_doubles(libraries, n):
    rows, factors, out = floats(6, n).astype(float), floats(6, seed=1).astype(float), np.ones(n)
    given = results(libraries, "combine_double", [rows, factors, 6, n, out], out)
    np.testing.assert_allclose(given["plain"], factors@rows, rtol=1e-12, atol=1e-12)
    same(given)


@pytest.mark.parametrize("n", [1, 4, 37])
def test_powers(libraries, n):
    x, y, out = np.exp(3*floats(n).astype(float)), -2.7, np.zeros(n)
    # the factors of the series of the logarithm, in f^2, and of the exponential
    of_log, of_exp = 2/np.arange(1., 24, 2), 1/np.cumprod(np.r_[1., np.arange(1., 14)])
    given = results(libraries, "powers", [x, y, out, n, of_log, of_exp], out)
    np.testing.assert_allclose(given["plain"], x**y, rtol=1e-14)
    same(given)
